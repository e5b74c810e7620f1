//! Where addresses are: GeoIP bytes in, networks and locations out; and how far apart places are.
//!
//! Owns the compiled form ([`Geography`]: two cuttings of the address families into ranges, each
//! with a [`Location`]), the reading of MaxMind-format databases and of the table of country points,
//! and the published distance. Opens no file and reads no clock: bytes come in as `(name, octets)`.
//! Special-purpose blocks are not its business; transition blocks of IPv6 are left out, because
//! their clients are looked up as the IPv4 addresses they are. Layer 2.
//!
//! **Several databases** are laid over each other, file by file in the order given:
//! - the country is that of the first file that knows one;
//! - a city's point beats a country's point, whatever the order; of two cities the first file's
//!   wins; a later file's city is taken only where it does not put the address into another country.
//!
//! Invariant: [`LocationId`] 0 is "unknown" and stands for no country and no point; no two
//! locations of one geography are equal.

mod country_points;
mod mmdb;
pub mod places;
pub mod point;
pub mod ranges;
mod record;

pub use country_points::CountryPoints;
pub use places::Places;
pub use point::{Point, distance};
pub use ranges::{Cursor, Range, Ranges};

use crate::columns::{Sink, Source, damaged};
use crate::fleet::Country;
use crate::prefix::{Bits, Block, Prefix};
use crate::problem::Problem;
use rustc_hash::FxHashMap;
use std::io::{self, Read, Write};
use std::net::IpAddr;

/// How precise a location's point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Accuracy {
    /// One point for all of a country, or none at all.
    CountryPoint,
    /// A place the database names for this network.
    City,
}

/// Where a network is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Location {
    /// Its country; `None` when unknown.
    pub country: Option<Country>,
    /// Its place; `None` when unknown.
    pub point: Option<Point>,
    /// What the point is; [`Accuracy::CountryPoint`] without one.
    pub accuracy: Accuracy,
}

impl Location {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self { country: None, point: None, accuracy: Accuracy::CountryPoint };

    /// What is known when `later` is laid under `self` (see the module's rules).
    fn filled_from(self, later: Self) -> Self {
        let country = self.country.or(later.country);
        let agrees = later.country.is_none() || later.country == country;
        let better = self.point.is_none() || later.accuracy > self.accuracy;
        if later.point.is_some() && agrees && better {
            Self { country, point: later.point, accuracy: later.accuracy }
        } else {
            Self { country, ..self }
        }
    }
}

/// A location of one [`Geography`]; 0 is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LocationId(u32);

impl LocationId {
    /// No country, no point.
    pub const UNKNOWN: Self = Self(0);

    /// Position in [`Geography::locations`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where every address is. Immutable.
#[derive(Debug, Clone, PartialEq)]
pub struct Geography {
    /// IPv4.
    pub v4: Ranges<u32>,
    /// IPv6, the transition blocks unknown.
    pub v6: Ranges<u128>,
    /// By [`LocationId`]; the first is [`Location::UNKNOWN`], no two are equal.
    pub locations: Places,
    /// SHA-256 of what it says, in hexadecimal: equal digests, equal answers.
    pub digest: String,
}

impl Geography {
    /// Nothing is known anywhere.
    pub fn empty() -> Self {
        Self::of(Ranges::default(), Ranges::default(), Locations::default())
    }

    /// Compiles `networks`, which may nest: an address gets the location of the longest network
    /// around it, and of two equal networks that of the later one.
    pub fn from_networks(networks: impl IntoIterator<Item = (Prefix, Location)>) -> Self {
        let mut locations = Locations::default();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, location) in networks {
            let id = locations.id_of(location);
            match prefix {
                Prefix::V4(block) => v4.push((block, id)),
                Prefix::V6(block) => v6.push((block, id)),
            }
        }
        Self::of(Ranges::from_networks(v4), Ranges::from_networks(v6), locations)
    }

    /// Reads databases, `(name, octets)` each, and lays them over each other in that order (see the
    /// module's rules); `points` gives countries their place. No file: nothing is known.
    ///
    /// Comes with warnings: a family of which no file says anything.
    ///
    /// # Errors
    /// A problem for each file that is no database, is broken, breaks a limit or knows no place.
    pub fn read(
        files: &[(String, Vec<u8>)],
        points: &CountryPoints,
    ) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let mut problems = Vec::new();
        let mut locations = Locations::default();
        let (mut v4, mut v6) = (Ranges::default(), Ranges::default());
        for (file, octets) in files {
            match mmdb::compile(octets, points, &mut locations) {
                Ok(found) => {
                    let mut pairs = FxHashMap::default();
                    v4 = v4.zip_with(&found.v4, |a, b| locations.overlaid(a, b, &mut pairs));
                    v6 = v6.zip_with(&found.v6, |a, b| locations.overlaid(a, b, &mut pairs));
                }
                Err(refused) => problems.push(refused.in_file(file)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let geography = Self::of(v4, v6, locations);
        let warnings = if files.is_empty() { Vec::new() } else { geography.warnings() };
        Ok((geography, warnings))
    }

    /// A warning for each family of which nothing is known, though there are databases.
    pub fn warnings(&self) -> Vec<Problem> {
        let halves = [("IPv4", self.v4.is_unknown()), ("IPv6", self.v6.is_unknown())];
        let blank = halves.into_iter().filter(|(_, is_unknown)| *is_unknown);
        let warning = |family| {
            Problem::at(0, "geoip.files", format!("no location for {family}"), "databases of both families")
        };
        blank.map(|(family, _)| warning(family)).collect()
    }

    /// Writes all of it, for [`Geography::load`].
    ///
    /// # Errors
    /// Those of the stream.
    pub fn save(&self, out: &mut Sink<impl Write>) -> io::Result<()> {
        out.array(self.digest.as_bytes())?;
        self.locations.write(out)?;
        self.v4.write(out)?;
        self.v6.write(out)
    }

    /// Reads what [`Geography::save`] wrote. Everything is checked that a lookup relies on; that the
    /// digest is the right one is taken on trust in the stream's checksum.
    ///
    /// # Errors
    /// Those of the stream; when it holds no geography.
    pub fn load(from: &mut Source<impl Read>) -> io::Result<Self> {
        let digest = String::from_utf8(from.array()?).map_err(|_| damaged("a digest that is none"))?;
        let locations = Places::read(from)?;
        let v4 = Ranges::read(from, locations.len())?;
        let v6 = Ranges::read(from, locations.len())?;
        Ok(Self { v4, v6, locations, digest })
    }

    /// Octets on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.v4.heap_bytes() + self.v6.heap_bytes() + self.locations.heap_bytes()
    }

    /// The location of `addr`, taken as written: no transition form is looked through.
    pub fn lookup(&self, addr: IpAddr) -> LocationId {
        match addr {
            IpAddr::V4(addr) => self.v4.lookup(u32::from(addr)),
            IpAddr::V6(addr) => self.v6.lookup(u128::from(addr)),
        }
    }

    /// What `id` stands for.
    pub fn location(&self, id: LocationId) -> Location {
        self.locations.get(id)
    }

    /// The largest aligned block around `addr` that has one location; `None` where it is unknown.
    pub fn network_of(&self, addr: IpAddr) -> Option<Prefix> {
        match addr {
            IpAddr::V4(addr) => self.v4.network_of(u32::from(addr)).map(Prefix::V4),
            IpAddr::V6(addr) => self.v6.network_of(u128::from(addr)).map(Prefix::V6),
        }
    }

    /// Puts the parts together and takes the digest. Ids are given anew in the order of first use,
    /// so that what nothing uses goes and equal geographies are equal in every field.
    fn of(v4: Ranges<u32>, v6: Ranges<u128>, found: Locations) -> Self {
        let mut used = vec![LocationId::UNKNOWN];
        let mut renamed = vec![LocationId::UNKNOWN; found.list.len()];
        let mut name = |id: LocationId| {
            let old = id.index();
            if old > 0 && renamed[old] == LocationId::UNKNOWN {
                renamed[old] = LocationId(used.len() as u32);
                used.push(id);
            }
            renamed[old]
        };
        let (v4, v6) = (v4.renamed(&mut name), v6.renamed(&mut name));
        let locations = Places::of(used.into_iter().map(|id| found.list[id.index()]));
        let digest = digest_of(&v4, &v6, &locations);
        Self { v4, v6, locations, digest }
    }
}

/// Locations while they are collected: equal ones get one id.
#[derive(Debug)]
struct Locations {
    /// By id; the first is [`Location::UNKNOWN`].
    list: Vec<Location>,
    /// The way back.
    ids: FxHashMap<LocationKey, LocationId>,
}

/// A location as something that can be compared and hashed: country, degrees as bits, accuracy.
type LocationKey = (Option<Country>, Option<(u64, u64)>, Accuracy);

impl Default for Locations {
    /// Only the unknown one.
    fn default() -> Self {
        let mut locations = Self { list: Vec::new(), ids: FxHashMap::default() };
        locations.id_of(Location::UNKNOWN);
        locations
    }
}

impl Locations {
    /// The id of `location`, a new one when it was not seen before.
    ///
    /// # Panics
    /// At 2^32 locations, which no database of a supported size holds.
    fn id_of(&mut self, mut location: Location) -> LocationId {
        if location.point.is_none() {
            location.accuracy = Accuracy::CountryPoint;
        }
        let degrees = location.point.map(|p| (p.lat().to_bits(), p.lon().to_bits()));
        *self.ids.entry((location.country, degrees, location.accuracy)).or_insert_with(|| {
            let id = u32::try_from(self.list.len()).expect("a search tree has fewer than 2^32 leaves");
            self.list.push(location);
            LocationId(id)
        })
    }

    /// The location of an address that one file puts at `first` and a later one at `later`; `pairs`
    /// remembers the answers for these two files.
    fn overlaid(
        &mut self,
        first: LocationId,
        later: LocationId,
        pairs: &mut FxHashMap<(LocationId, LocationId), LocationId>,
    ) -> LocationId {
        if first == LocationId::UNKNOWN || later == LocationId::UNKNOWN || first == later {
            return first.max(later);
        }
        *pairs.entry((first, later)).or_insert_with(|| {
            let both = self.list[first.index()].filled_from(self.list[later.index()]);
            self.id_of(both)
        })
    }
}

/// SHA-256 over the ranges and the locations they name, in address order; ids do not enter, so
/// that it depends on what is said and not on the order it was read in.
fn digest_of(v4: &Ranges<u32>, v6: &Ranges<u128>, locations: &Places) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(b"steerd geography 1\n");
    feed(&mut context, v4, locations);
    feed(&mut context, v6, locations);
    context.finish().as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Adds `ranges` to the digest: the family, the count, then each first address and location.
fn feed<B: Bits>(context: &mut ring::digest::Context, ranges: &Ranges<B>, locations: &Places) {
    context.update(&[B::LEN]);
    context.update(&(ranges.count() as u64).to_be_bytes());
    let mut buffer = Vec::with_capacity(36 * 1024);
    for (start, id) in ranges.iter() {
        buffer.extend_from_slice(&start.widen().to_be_bytes());
        buffer.extend_from_slice(&locations.told(id));
        if buffer.len() == 36 * 1024 {
            context.update(&buffer);
            buffer.clear();
        }
    }
    context.update(&buffer);
}

/// The blocks of IPv6 outside the transition blocks and outside `::/96`, in address order: where a
/// database may speak of IPv6 clients.
fn native_v6_blocks() -> Vec<Block<u128>> {
    let mut foreign = crate::prefix::transition::blocks().to_vec();
    foreign.push(Block::around(0, 96));
    let mut native = Vec::new();
    let mut open = vec![Block::<u128>::all()];
    while let Some(block) = open.pop() {
        if foreign.iter().any(|f| f.covers(block)) {
            continue;
        }
        match block.halves().filter(|_| foreign.iter().any(|&f| block.covers(f))) {
            Some((low, high)) => open.extend([high, low]),
            None => native.push(block),
        }
    }
    native
}

#[cfg(test)]
mod tests {
    use super::*;

    fn city(country: &str, lat: f64, lon: f64) -> Location {
        Location { country: Country::new(country), point: Point::new(lat, lon), accuracy: Accuracy::City }
    }

    fn country(country: &str, lat: f64, lon: f64) -> Location {
        Location { accuracy: Accuracy::CountryPoint, ..city(country, lat, lon) }
    }

    #[test]
    fn the_longest_network_wins_and_equal_locations_share_an_id() {
        let (ams, gru) = (city("NL", 52.31, 4.76), city("BR", -23.44, -46.47));
        let networks = [("10.0.0.0/8", ams), ("10.1.0.0/16", gru), ("2001:db8::/32", ams)];
        let networks = networks.map(|(p, l)| (p.parse::<Prefix>().expect("a prefix"), l));
        let geography = Geography::from_networks(networks);
        let at = |addr: &str| geography.location(geography.lookup(addr.parse().expect("an address")));
        assert_eq!(at("10.0.0.1"), ams);
        assert_eq!(at("10.1.0.1"), gru);
        assert_eq!(at("11.0.0.0"), Location::UNKNOWN);
        assert_eq!(at("2001:db8::1"), ams);
        assert_eq!(geography.locations.len(), 3);
        assert_eq!(
            geography.network_of("10.128.0.1".parse().expect("an address")).map(|p| p.to_string()),
            Some("10.128.0.0/9".to_owned())
        );
        let mut reversed = networks;
        reversed.reverse();
        assert_eq!(Geography::from_networks(reversed).digest, geography.digest);
        assert_ne!(Geography::empty().digest, geography.digest);
    }

    /// Of both kinds of ranges, with countries alone and with cities.
    fn sample() -> Geography {
        let (ams, gru) = (city("NL", 52.31, 4.76), country("BR", -23.44, -46.47));
        let nowhere = Location { country: Country::new("AQ"), ..Location::UNKNOWN };
        let networks = [
            ("10.0.0.0/8", ams),
            ("10.1.0.0/16", gru),
            ("2001:db8::/32", ams),
            ("2001:db8::/72", nowhere),
            ("11.0.0.0/8", nowhere),
        ];
        Geography::from_networks(networks.map(|(p, l)| (p.parse::<Prefix>().expect("a prefix"), l)))
    }

    /// What `geography` is saved as.
    fn saved(geography: &Geography) -> Vec<u8> {
        let mut sink = Sink::new(Vec::new());
        geography.save(&mut sink).expect("a vector takes everything");
        sink.finish().expect("a vector takes everything")
    }

    /// What `octets` are read as.
    fn loaded(octets: &[u8]) -> io::Result<Geography> {
        let mut source = Source::new(octets, octets.len() as u64)?;
        let geography = Geography::load(&mut source)?;
        source.finish().map(|()| geography)
    }

    #[test]
    fn what_was_saved_comes_back() {
        for geography in [sample(), Geography::empty()] {
            assert_eq!(loaded(&saved(&geography)).expect("just saved"), geography);
        }
        let upper =
            Geography::from_networks([("2001:db8::/64".parse().expect("a prefix"), city("NL", 1.0, 2.0))]);
        assert_eq!(loaded(&saved(&upper)).expect("just saved"), upper);
    }

    #[test]
    fn behind_the_checksum_nothing_is_trusted_either() {
        let octets = saved(&sample());
        let whole = octets.len() - 4;
        for at in 0..whole {
            for change in [1u8, 0x80, 0xff] {
                let mut bad = octets.clone();
                bad[at] ^= change;
                let crc = crc32fast::hash(&bad[..whole]);
                bad[whole..].copy_from_slice(&crc.to_le_bytes());
                let Ok(other) = loaded(&bad) else { continue };
                // What is accepted can be asked anything.
                for (start, _) in other.v4.iter() {
                    let id = other.lookup(IpAddr::from(start.to_be_bytes()));
                    assert!(other.location(id).point.is_none_or(|point| point.lat().abs() <= 90.0));
                }
                assert!(other.v6.iter().all(|(start, id)| other.v6.range_at(start).id == id));
            }
        }
    }

    #[test]
    fn later_files_fill_what_earlier_ones_leave_open() {
        let check = |first: Location, second: Location, expected: Location| {
            assert_eq!(first.filled_from(second), expected, "{first:?} over {second:?}");
        };
        let none = Location::UNKNOWN;
        let (nl, nl_city, de_city) = (country("NL", 52.4, 4.9), city("NL", 52.0, 5.0), city("DE", 50.1, 8.7));
        let nowhere = Location { country: None, ..de_city };
        check(none, nl, nl);
        check(nl, none, nl);
        check(nl, nl_city, nl_city);
        check(nl_city, nl, nl_city);
        check(nl, de_city, nl);
        check(nl_city, de_city, nl_city);
        check(nl, nowhere, Location { country: nl.country, ..nowhere });
        check(nowhere, nl, Location { country: nl.country, ..nowhere });
        check(Location { country: nl.country, ..none }, de_city, Location { country: nl.country, ..none });
    }

    #[test]
    fn native_blocks_and_foreign_ones_make_up_the_family() {
        let mut all = native_v6_blocks();
        assert!(all.is_sorted());
        all.extend(crate::prefix::transition::blocks());
        all.push(Block::around(0, 96));
        all.sort();
        let mut next = Some(0u128);
        for block in all {
            assert_eq!(next, Some(block.first()), "{block}");
            next = block.last().checked_add(1);
        }
        assert_eq!(next, None);
    }
}
