//! One record of a database, whatever its shape, as the few facts that matter.
//!
//! Known shapes: nested (`country.iso_code`, `location.latitude`), flat (`country_code`,
//! `latitude`), and `country` as text. Degrees may be double, float, an integer or text. Everything
//! else in a record is walked and forgotten; anything but a map is a record without facts. Layer 2.
//!
//! The walk counts what it visits, so that [`super::mmdb`] can bound the work of a whole file:
//! records may overlap and share parts through pointers, and a small file can then say a lot.

use super::{Accuracy, CountryPoints, Location, Point};
use crate::fleet::Country;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Codes that databases write where they know no country: regional registries' pseudo-countries
/// and user-assigned ones.
const PLACEHOLDERS: [&[u8; 2]; 4] = [b"AP", b"EU", b"XX", b"ZZ"];

/// Points that city databases give networks of which they know the country alone.
const DEFAULT_CENTROIDS: [(&[u8; 2], f64, f64); 14] = [
    (b"AU", -33.494, 143.2104),
    (b"BR", -22.8305, -43.2192),
    (b"CA", 43.6319, -79.3716),
    (b"CN", 34.7732, 113.722),
    (b"DE", 51.2993, 9.491),
    (b"FR", 48.8582, 2.3387),
    (b"GB", 51.4964, -0.1224),
    (b"IN", 21.9974, 79.0011),
    (b"IT", 43.1479, 12.1097),
    (b"JP", 35.69, 139.69),
    (b"NL", 52.3824, 4.8995),
    (b"RU", 55.7386, 37.6068),
    (b"US", 37.751, -97.822),
    (b"US", 38.0, -97.0),
];

/// How near a point must be to a default centroid to be one, in degrees: four decimals, as floats.
const CENTROID_TOLERANCE: f64 = 0.000_06;

/// An accuracy radius from which a point says no more than the country, in kilometres.
const COUNTRY_RADIUS_KM: f64 = 1000.0;

/// Deepest nesting of maps and arrays that a record may have; real ones have 4.
const DEPTH_MAX: u8 = 16;

/// What a record, or a part of one, says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Record {
    /// Its country, placeholders left out.
    country: Option<Country>,
    /// Degrees north, as written.
    lat: Option<f64>,
    /// Degrees east, as written.
    lon: Option<f64>,
    /// Accuracy radius in kilometres.
    radius_km: Option<f64>,
    /// The value itself when it is a number, or text that reads as one.
    number: Option<f64>,
    /// The value itself when it is text of two letters.
    code: Option<Country>,
    /// Values visited, and one for each 32 octets of text.
    pub(super) work: u64,
}

impl Record {
    /// Where a network with this record is.
    ///
    /// Out-of-range degrees, half a pair and 0,0 are no point. A default centroid, or a point with
    /// a radius of [`COUNTRY_RADIUS_KM`], is the country's point. A country alone has the point that
    /// `points` gives it, if any.
    pub(super) fn location(&self, points: &CountryPoints) -> Location {
        let point = self.lat.zip(self.lon).filter(|&degrees| degrees != (0.0, 0.0));
        let point = point.and_then(|(lat, lon)| Point::new(lat, lon));
        if point.is_some() && !self.is_coarse() {
            return Location { country: self.country, point, accuracy: Accuracy::City };
        }
        let of_country = self.country.and_then(|country| points.get(country));
        Location { country: self.country, point: of_country.or(point), accuracy: Accuracy::CountryPoint }
    }

    /// Whether the point says no more than the country does.
    fn is_coarse(&self) -> bool {
        if self.radius_km.is_some_and(|km| km >= COUNTRY_RADIUS_KM) {
            return true;
        }
        let near = |a: Option<f64>, b: f64| a.is_some_and(|a| (a - b).abs() < CENTROID_TOLERANCE);
        DEFAULT_CENTROIDS.iter().any(|&(code, lat, lon)| {
            self.country == Some(Country(*code)) && near(self.lat, lat) && near(self.lon, lon)
        })
    }

    /// Takes from `value`, which stood under `key`, what a record says.
    fn take(&mut self, key: Key, value: Self) {
        match key {
            Key::Country => self.country = value.country.or(value.code).or(self.country),
            Key::Code => self.country = self.country.or(value.code),
            Key::Location => {
                self.lat = value.lat.or(self.lat);
                self.lon = value.lon.or(self.lon);
                self.radius_km = value.radius_km.or(self.radius_km);
            }
            Key::Latitude => self.lat = value.number,
            Key::Longitude => self.lon = value.number,
            Key::Radius => self.radius_km = value.number,
            Key::Other => {}
        }
        self.work += value.work;
    }

    /// A record that is the number `number` and nothing else.
    fn of_number(number: f64) -> Self {
        Self { number: Some(number), work: 1, ..Self::default() }
    }

    /// A record without facts.
    fn of_nothing(work: u64) -> Self {
        Self { work, ..Self::default() }
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        Value { depth: 0 }.deserialize(decoder)
    }
}

/// The keys of a record that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    /// `country`: a map with `iso_code`, or text.
    Country,
    /// `iso_code`, `country_code`.
    Code,
    /// `location`.
    Location,
    /// `latitude`.
    Latitude,
    /// `longitude`.
    Longitude,
    /// `accuracy_radius`.
    Radius,
    /// Any other.
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        decoder.deserialize_identifier(KeyVisitor)
    }
}

/// Reads a [`Key`].
struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key of a map")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Key, E> {
        Ok(match text {
            "country" => Key::Country,
            "iso_code" | "country_code" => Key::Code,
            "location" => Key::Location,
            "latitude" => Key::Latitude,
            "longitude" => Key::Longitude,
            "accuracy_radius" => Key::Radius,
            _ => Key::Other,
        })
    }

    fn visit_bytes<E: Error>(self, octets: &[u8]) -> Result<Key, E> {
        self.visit_str(std::str::from_utf8(octets).unwrap_or_default())
    }
}

/// Reads any value into a [`Record`]; the seed and the visitor in one.
#[derive(Debug, Clone, Copy)]
struct Value {
    /// Maps and arrays around it.
    depth: u8,
}

impl Value {
    /// What is inside a map or an array that is itself `self`.
    ///
    /// # Errors
    /// At [`DEPTH_MAX`].
    fn inside<E: Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom("a record nested deeper than 16 levels"));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Record;

    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<Record, D::Error> {
        decoder.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value {
    type Value = Record;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Record, A::Error> {
        let inside = self.inside()?;
        let mut record = Record::of_nothing(1);
        while let Some(key) = map.next_key::<Key>()? {
            let value = map.next_value_seed(inside)?;
            record.take(key, value);
            record.work += 1;
        }
        Ok(record)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Record, A::Error> {
        let inside = self.inside()?;
        let mut work = 1;
        while let Some(value) = list.next_element_seed(inside)? {
            work += value.work;
        }
        Ok(Record::of_nothing(work))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Record, E> {
        let code = Country::new(text).filter(|country| !PLACEHOLDERS.contains(&&country.0));
        let number = if text.len() <= 24 { text.parse().ok() } else { None };
        Ok(Record { code, number, work: 1 + text.len() as u64 / 32, ..Record::default() })
    }

    fn visit_bytes<E: Error>(self, octets: &[u8]) -> Result<Record, E> {
        Ok(Record::of_nothing(1 + octets.len() as u64 / 32))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Record, E> {
        Ok(Record::of_number(number))
    }

    /// Floats are rounded to four decimals, which a float of up to 180 holds, so that 37.422 does
    /// not become 37.42200088500977.
    fn visit_f32<E: Error>(self, number: f32) -> Result<Record, E> {
        Ok(Record::of_number(libm::round(f64::from(number) * 1e4) / 1e4))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Record, E> {
        Ok(Record::of_number(number as f64))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Record, E> {
        Ok(Record::of_number(number as f64))
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Record, E> {
        Ok(Record::of_nothing(1))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Record, E> {
        Ok(Record::of_nothing(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> CountryPoints {
        CountryPoints::parse("country,lat,lon,place\nNL,52.37,4.9,Amsterdam\nUS,40.71,-74.01,New York\n")
            .expect("the sample is right")
    }

    fn check(json: &str, expected: &str) {
        let record: Record = serde_json::from_str(json).expect("the sample is JSON");
        let found = record.location(&points());
        let country = found.country.map_or_else(|| "?".to_owned(), |c| c.as_str().to_owned());
        let point = found.point.map_or_else(|| "nowhere".to_owned(), |p| format!("{},{}", p.lat(), p.lon()));
        assert_eq!(format!("{country} {point} {:?}", found.accuracy), expected, "{json}");
    }

    #[test]
    fn every_shape_is_read() {
        check(
            r#"{"country":{"iso_code":"GB","names":{"en":"x"}},"location":{"latitude":51.5,"longitude":-0.1}}"#,
            "GB 51.5,-0.1 City",
        );
        check(
            r#"{"country_code":"NL","latitude":52.1,"longitude":5.1,"city":"Utrecht"}"#,
            "NL 52.1,5.1 City",
        );
        check(r#"{"latitude":"52.1","longitude":"5","country":"nl"}"#, "NL 52.1,5 City");
        check(r#"{"country":{"iso_code":"NL"}}"#, "NL 52.37,4.9 CountryPoint");
        check(r#"{"country_code":"NL"}"#, "NL 52.37,4.9 CountryPoint");
        check(r#"{"country_code":"BR"}"#, "BR nowhere CountryPoint");
        check(r#"{"latitude":1,"longitude":-2}"#, "? 1,-2 City");
    }

    #[test]
    fn what_is_no_place_is_left_out() {
        for code in ["None", "", "AP", "EU", "ZZ", "XX", "-", "A1", "N"] {
            check(&format!(r#"{{"country_code":"{code}"}}"#), "? nowhere CountryPoint");
        }
        check(r#"{"country_code":"NL","latitude":0,"longitude":0}"#, "NL 52.37,4.9 CountryPoint");
        check(r#"{"latitude":0.0,"longitude":0.0}"#, "? nowhere CountryPoint");
        check(r#"{"country_code":"NL","latitude":91,"longitude":0}"#, "NL 52.37,4.9 CountryPoint");
        check(r#"{"country_code":"NL","latitude":1}"#, "NL 52.37,4.9 CountryPoint");
        check(r#"{"country_code":"NL","latitude":"NaN","longitude":"1"}"#, "NL 52.37,4.9 CountryPoint");
        check(
            r#"{"country_code":"US","latitude":37.751,"longitude":-97.822}"#,
            "US 40.71,-74.01 CountryPoint",
        );
        check(r#"{"country_code":"NL","latitude":37.751,"longitude":-97.822}"#, "NL 37.751,-97.822 City");
        check(
            r#"{"country":{"iso_code":"BR"},"location":{"accuracy_radius":1000,"latitude":-9,"longitude":-50}}"#,
            "BR -9,-50 CountryPoint",
        );
        check(r#"[1,2,{"country_code":"NL"}]"#, "? nowhere CountryPoint");
        check("197379", "? nowhere CountryPoint");
        check(r#""NL""#, "? nowhere CountryPoint");
        check(r#"{"registered_country":{"iso_code":"NL"}}"#, "? nowhere CountryPoint");
    }

    #[test]
    fn work_is_counted_and_depth_is_bounded() {
        let work = |json: &str| serde_json::from_str::<Record>(json).map(|r| r.work).ok();
        assert_eq!(work("1"), Some(1));
        assert_eq!(work(r#"{"a":1,"b":[1,2,3]}"#), Some(8));
        assert_eq!(work(&format!("\"{}\"", "x".repeat(320))), Some(11));
        assert!(work(&format!("{}{}", "[".repeat(16), "]".repeat(16))).is_some());
        assert!(work(&format!("{}{}", "[".repeat(17), "]".repeat(17))).is_none());
    }

    #[test]
    fn floats_keep_their_decimals() {
        let record = Value { depth: 0 }.visit_f32::<serde_json::Error>(37.422).expect("a number");
        assert_eq!(record.number, Some(37.422));
    }
}
