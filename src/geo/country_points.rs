//! One place for each country, for clients of whom only the country is known.
//!
//! Read from text of the columns `country,lat,lon,place`; which text is not its business. Layer 2.

use super::Point;
use crate::fleet::Country;
use crate::problem::Problem;
use rustc_hash::FxHashMap;

/// Country → point. Immutable.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CountryPoints {
    /// By country.
    points: FxHashMap<Country, Point>,
}

impl CountryPoints {
    /// First line of the text.
    const HEADER: &'static str = "country,lat,lon,place";

    /// Reads the table: the header, then a line a country; the place is for people and may contain
    /// commas. Empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// Every line that is not so, and every country that comes twice.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let mut points = FxHashMap::default();
        let mut problems = Vec::new();
        let mut has_header = false;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if !has_header {
                has_header = true;
                if line != Self::HEADER {
                    problems.push(Problem::at(number, "", line, Self::HEADER));
                }
                continue;
            }
            match read_line(number, line) {
                Ok((country, point)) => {
                    if points.insert(country, point).is_some() {
                        problems.push(Problem::at(number, "country", line, "each country once"));
                    }
                }
                Err(problem) => problems.push(problem),
            }
        }
        if !has_header {
            problems.push(Problem::at(0, "", "no line", Self::HEADER));
        }
        if problems.is_empty() { Ok(Self { points }) } else { Err(problems) }
    }

    /// The text that comes with the program: `data/country_points.csv`.
    pub const BUILT_IN: &'static str = include_str!("../../data/country_points.csv");

    /// The points that come with the program.
    pub fn built_in() -> Self {
        Self::parse(Self::BUILT_IN).unwrap_or_default()
    }

    /// The point of `country`; `None` when the table has none.
    pub fn get(&self, country: Country) -> Option<Point> {
        self.points.get(&country).copied()
    }

    /// Number of countries.
    pub fn count(&self) -> usize {
        self.points.len()
    }
}

/// Reads one line after the header.
///
/// # Errors
/// The first column that is wrong.
fn read_line(number: u64, line: &str) -> Result<(Country, Point), Problem> {
    let mut columns = line.splitn(4, ',').map(str::trim);
    let mut column = || columns.next().unwrap_or_default();
    let (country, lat, lon) = (column(), column(), column());
    let country = Country::new(country)
        .ok_or_else(|| Problem::at(number, "country", country, "two letters of ISO 3166-1"))?;
    let degrees =
        |key, text: &str, expected| text.parse::<f64>().map_err(|_| Problem::at(number, key, text, expected));
    let lat_degrees = degrees("lat", lat, "degrees, -90 to 90")?;
    let lon_degrees = degrees("lon", lon, "degrees, -180 to 180")?;
    let point = Point::new(lat_degrees, lon_degrees).ok_or_else(|| {
        Problem::at(number, "lat", format!("{lat},{lon}"), "degrees, -90 to 90 and -180 to 180")
    })?;
    Ok((country, point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_points_are_good() {
        assert!(CountryPoints::built_in().count() > 240);
    }

    fn check(text: &str, expected: Result<usize, &[&str]>) {
        let found = CountryPoints::parse(text).map(|p| p.count());
        let found = found.map_err(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            found.as_ref().map_err(|l| l.iter().map(String::as_str).collect::<Vec<_>>()),
            expected.as_ref().map_err(|l| l.to_vec()),
            "{text}"
        );
    }

    #[test]
    fn lines_are_read_and_every_bad_one_is_named() {
        check("country,lat,lon,place\nNL,52.37,4.9,Amsterdam\nUS,40.7,-74,\"New York, NY\"\n", Ok(2));
        check("# why\n\ncountry,lat,lon,place\r\nJP,35.7,139.7,Tokyo\r\n", Ok(1));
        check("", Err(&["found no line, expected country,lat,lon,place"]));
        check(
            "NL,52.37,4.9,Amsterdam",
            Err(&["1: found NL,52.37,4.9,Amsterdam, expected country,lat,lon,place"]),
        );
        check(
            "country,lat,lon,place\nNLD,1,1,\nNL,x,1,\nNL,91,1,\nNL,1,1,\nNL,1,1,\nBE\nDE,nan,1",
            Err(&[
                "2: country: found NLD, expected two letters of ISO 3166-1",
                "3: lat: found x, expected degrees, -90 to 90",
                "4: lat: found 91,1, expected degrees, -90 to 90 and -180 to 180",
                "6: country: found NL,1,1,, expected each country once",
                "7: lat: found , expected degrees, -90 to 90",
                "8: lat: found nan,1, expected degrees, -90 to 90 and -180 to 180",
            ]),
        );
    }
}
