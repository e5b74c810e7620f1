//! Locations as columns: a city database names half a million of them.
//!
//! 20 octets each; a [`Location`] with its unit vector is made when one is asked for. Layer 2.

use super::{Accuracy, Location, LocationId, Point};
use crate::columns::{Sink, Source, damaged};
use crate::fleet::Country;
use std::io::{self, Read, Write};

/// Mark: the point is a city.
const CITY: u8 = 1;
/// Mark: there is a country.
const COUNTRY: u8 = 2;
/// Mark: there is a point.
const POINT: u8 = 4;

/// Locations by [`LocationId`]; the first is [`Location::UNKNOWN`]. Immutable.
#[derive(Debug, Clone, PartialEq)]
pub struct Places {
    /// Marks, the country's two letters, a spare.
    marks: Vec<[u8; 4]>,
    /// Degrees north, 0 without a point.
    lats: Vec<f64>,
    /// Degrees east, 0 without a point.
    lons: Vec<f64>,
}

impl Places {
    /// These locations, the first of which is unknown.
    pub(super) fn of(locations: impl IntoIterator<Item = Location>) -> Self {
        let mut places = Self { marks: Vec::new(), lats: Vec::new(), lons: Vec::new() };
        for location in locations {
            let is_city = location.accuracy == Accuracy::City;
            let mut mark = [if is_city { CITY } else { 0 }, 0, 0, 0];
            if let Some(country) = location.country {
                mark[0] |= COUNTRY;
                mark[1..3].copy_from_slice(&country.0);
            }
            if location.point.is_some() {
                mark[0] |= POINT;
            }
            places.marks.push(mark);
            places.lats.push(location.point.map_or(0.0, |point| point.lat()));
            places.lons.push(location.point.map_or(0.0, |point| point.lon()));
        }
        places.marks.shrink_to_fit();
        places.lats.shrink_to_fit();
        places.lons.shrink_to_fit();
        places
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Never: the first is always there.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// What `id` stands for. Cost: a sine and a cosine or two.
    pub fn get(&self, id: LocationId) -> Location {
        let at = id.index();
        let [marks, first, second, _] = self.marks[at];
        let point = (marks & POINT != 0).then(|| Point::new(self.lats[at], self.lons[at])).flatten();
        Location {
            country: (marks & COUNTRY != 0).then_some(Country([first, second])),
            point,
            accuracy: if marks & CITY != 0 { Accuracy::City } else { Accuracy::CountryPoint },
        }
    }

    /// A location in 20 octets: marks, country, a spare, latitude and longitude in IEEE 754 form.
    pub(super) fn told(&self, id: LocationId) -> [u8; 20] {
        let mut octets = [0; 20];
        octets[..4].copy_from_slice(&self.marks[id.index()]);
        octets[4..12].copy_from_slice(&self.lats[id.index()].to_be_bytes());
        octets[12..].copy_from_slice(&self.lons[id.index()].to_be_bytes());
        octets
    }

    /// Octets on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.marks.capacity() * 4 + (self.lats.capacity() + self.lons.capacity()) * 8
    }

    /// Writes all.
    pub(super) fn write(&self, out: &mut Sink<impl Write>) -> io::Result<()> {
        let marks: Vec<u32> = self.marks.iter().map(|mark| u32::from_le_bytes(*mark)).collect();
        out.array(&marks)?;
        out.numbers(&self.lats)?;
        out.numbers(&self.lons)
    }

    /// Reads what [`Places::write`] wrote, each place checked.
    pub(super) fn read(from: &mut Source<impl Read>) -> io::Result<Self> {
        let marks: Vec<u32> = from.array()?;
        let marks: Vec<[u8; 4]> = marks.into_iter().map(u32::to_le_bytes).collect();
        let lats: Vec<f64> = from.numbers(marks.len() as u64)?;
        let lons: Vec<f64> = from.numbers(marks.len() as u64)?;
        let are_fit = |mark: &[u8; 4]| {
            let is_country = mark[1].is_ascii_uppercase() && mark[2].is_ascii_uppercase();
            mark[0] <= (CITY | COUNTRY | POINT)
                && mark[3] == 0
                && (if mark[0] & COUNTRY != 0 { is_country } else { mark[1..3] == [0, 0] })
                && (mark[0] & CITY == 0 || mark[0] & POINT != 0)
        };
        let is_sound = marks.first() == Some(&[0; 4])
            && marks.iter().all(are_fit)
            && lats.iter().all(|lat| (-90.0..=90.0).contains(lat))
            && lons.iter().all(|lon| (-180.0..=180.0).contains(lon));
        if is_sound { Ok(Self { marks, lats, lons }) } else { Err(damaged("a location that is none")) }
    }
}
