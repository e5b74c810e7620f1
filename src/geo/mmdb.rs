//! A MaxMind-format database as two cuttings of the address families.
//!
//! Owns the walk over one file under limits; what a record says stands in [`super::record`], what
//! several files say together in [`super`]. Layer 2.
//!
//! The file is trusted in nothing. The search tree is walked by `maxminddb`, which checks every
//! offset; but a hostile tree can share its branches, and hostile records their parts, so that a
//! few octets spell out more networks and values than memory holds. Therefore:
//! - at most three networks a tree node ([`NETWORKS_PER_NODE_MAX`]) are taken (a tree has one more
//!   leaf than nodes), dead ends included, aliases never skipped unseen;
//! - each record is decoded once, whole, and all records together may visit at most eight values an
//!   octet of the file ([`WORK_PER_OCTET_MAX`]); `maxminddb` bounds a single one to 65,536.
//!
//! A file that breaks a limit, or in which one offset is wrong, is refused as a whole. The crate's
//! own verification is not used: it refuses files without a description, of which there are many,
//! and walking everything once finds the rest.
//!
//! | kind of file | IPv4 | IPv6 |
//! |---|---|---|
//! | version 4 | all of it | unknown |
//! | version 6 with an IPv4 subtree at `::/96` | the subtree | outside the transition blocks |
//! | version 6 without | unknown | outside the transition blocks |

use super::ranges::RangesBuilder;
use super::record::Record;
use super::{CountryPoints, LocationId, Locations, Ranges, native_v6_blocks};
use crate::prefix::{Block, Prefix};
use crate::problem::Problem;
use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use maxminddb::{LookupResult, MaxMindDbError, Reader, WithinOptions};
use rustc_hash::FxHashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Networks taken from a tree, per node.
const NETWORKS_PER_NODE_MAX: u64 = 3;

/// Networks taken from any tree: one for each block that the walk begins with, and some.
const NETWORKS_MIN: u64 = 1024;

/// Values that records may visit, per octet of the file.
const WORK_PER_OCTET_MAX: u64 = 8;

/// Values that the records of any file may visit.
const WORK_MIN: u64 = 1 << 20;

/// What a walk has cost so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Work {
    /// Networks and dead ends seen.
    networks: u64,
    /// Distinct records decoded.
    records: u64,
    /// Values visited in them.
    values: u64,
}

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// It is no database, or a broken one.
    #[error("{0}")]
    Broken(#[from] MaxMindDbError),
    /// Its tree spells out too many networks.
    #[error("a search tree of {nodes} nodes with more than {networks} networks")]
    Networks {
        /// Nodes of the tree.
        nodes: u64,
        /// Networks taken before giving up.
        networks: u64,
    },
    /// Its records spell out too many values.
    #[error("records of more than {values} values in {octets} octets")]
    Values {
        /// Values visited before giving up.
        values: u64,
        /// Size of the file.
        octets: u64,
    },
    /// It is a database, but not of places.
    #[error("no network with a country or a point")]
    NoPlaces,
}

impl Refused {
    /// As a problem of `file`.
    pub(super) fn in_file(&self, file: &str) -> Problem {
        Problem::at(0, "", self, "a MaxMind-format database of countries or cities").in_file(file)
    }
}

/// What one file says.
#[derive(Debug)]
pub(super) struct Compiled {
    /// IPv4.
    pub(super) v4: Ranges<u32>,
    /// IPv6.
    pub(super) v6: Ranges<u128>,
}

/// Reads the database `octets`, giving its locations ids of `locations`.
///
/// # Errors
/// See [`Refused`]; `locations` may then hold some that nothing uses.
pub(super) fn compile(
    octets: &[u8],
    points: &CountryPoints,
    locations: &mut Locations,
) -> Result<Compiled, Refused> {
    let reader = Reader::from_source(octets)?;
    let has_v6 = reader.metadata().ip_version == 6;
    let mut walk = Walk::new(&reader, octets.len(), points, locations);
    let v4 = walk.v4()?;
    let v6 = if has_v6 { walk.v6()? } else { Ranges::default() };
    if v4.is_unknown() && v6.is_unknown() {
        return Err(Refused::NoPlaces);
    }
    Ok(Compiled { v4, v6 })
}

/// A walk over one file.
struct Walk<'a> {
    /// The file.
    reader: &'a Reader<&'a [u8]>,
    /// Where countries are.
    points: &'a CountryPoints,
    /// Takes the locations found.
    locations: &'a mut Locations,
    /// Location of each record decoded so far, by its offset in the data section.
    ids: FxHashMap<usize, LocationId>,
    /// Size of the file.
    octets: u64,
    /// Spent so far.
    work: Work,
}

impl<'a> Walk<'a> {
    /// A walk over `reader`, a file of `octets`, that has not begun.
    fn new(
        reader: &'a Reader<&'a [u8]>,
        octets: usize,
        points: &'a CountryPoints,
        locations: &'a mut Locations,
    ) -> Self {
        let octets = octets as u64;
        Self { reader, points, locations, ids: FxHashMap::default(), octets, work: Work::default() }
    }

    /// Networks that may be taken.
    fn networks_max(&self) -> u64 {
        u64::from(self.reader.metadata().node_count) * NETWORKS_PER_NODE_MAX + NETWORKS_MIN
    }

    /// Values that may be visited.
    fn values_max(&self) -> u64 {
        self.octets * WORK_PER_OCTET_MAX + WORK_MIN
    }

    /// The IPv4 half.
    fn v4(&mut self) -> Result<Ranges<u32>, Refused> {
        let mut builder = RangesBuilder::default();
        let all = Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0).map_err(MaxMindDbError::InvalidNetwork)?;
        self.each(IpNetwork::V4(all), |network, id| {
            // A network of IPv6 here is a record above the place where IPv4 would be.
            if let Prefix::V4(block) = network {
                builder.span(block.first(), block.last(), id);
            }
        })?;
        Ok(builder.finish())
    }

    /// The IPv6 half.
    fn v6(&mut self) -> Result<Ranges<u128>, Refused> {
        let mut builder = RangesBuilder::default();
        for native in native_v6_blocks() {
            let network = Ipv6Network::new(Ipv6Addr::from(native.first()), native.len());
            let network = network.map_err(MaxMindDbError::InvalidNetwork)?;
            self.each(IpNetwork::V6(network), |network, id| {
                if let Prefix::V6(block) = network {
                    let inner = clipped(block, native);
                    builder.span(inner.first(), inner.last(), id);
                }
            })?;
        }
        Ok(builder.finish())
    }

    /// Calls `found` with each network inside `area` of which something is known, or with the one
    /// around it, in address order.
    fn each(&mut self, area: IpNetwork, mut found: impl FnMut(Prefix, LocationId)) -> Result<(), Refused> {
        // Dead ends and aliases are asked for so that they are counted; the areas hold no aliases.
        let options = WithinOptions::default().include_networks_without_data().include_aliased_networks();
        for result in self.reader.within(area, options)? {
            let result = result?;
            self.work.networks += 1;
            if self.work.networks > self.networks_max() {
                let nodes = u64::from(self.reader.metadata().node_count);
                return Err(Refused::Networks { nodes, networks: self.networks_max() });
            }
            let Some(offset) = result.offset() else { continue };
            let id = match self.ids.get(&offset) {
                Some(&id) => id,
                None => self.decode(&result, offset)?,
            };
            if id != LocationId::UNKNOWN {
                found(Prefix::masked(result.network()?), id);
            }
        }
        Ok(())
    }

    /// Decodes the record at `offset` of the data section, seen for the first time.
    fn decode(&mut self, result: &LookupResult<'a, &'a [u8]>, offset: usize) -> Result<LocationId, Refused> {
        let record: Record = result.decode()?.unwrap_or_default();
        self.work.records += 1;
        self.work.values += record.work;
        if self.work.values > self.values_max() {
            return Err(Refused::Values { values: self.values_max(), octets: self.octets });
        }
        let id = self.locations.id_of(record.location(self.points));
        self.ids.insert(offset, id);
        Ok(id)
    }
}

/// The part of `block` inside `area`: of two blocks that meet, one covers the other.
fn clipped(block: Block<u128>, area: Block<u128>) -> Block<u128> {
    if block.covers(area) { area } else { block }
}

#[cfg(test)]
mod tests {
    use super::super::{Accuracy, Geography, Location};
    use super::*;
    use std::net::IpAddr;
    use std::path::{Path, PathBuf};

    /// Where the test databases are.
    fn directory() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mmdb")
    }

    fn octets(name: &str) -> Vec<u8> {
        std::fs::read(directory().join(name)).expect("the test databases are in the repository")
    }

    fn points() -> CountryPoints {
        CountryPoints::parse("country,lat,lon,place\nGB,51.51,-0.13,London\nUS,41.85,-87.65,Chicago\n")
            .expect("the sample is right")
    }

    fn read(names: &[&str]) -> Geography {
        let files: Vec<_> = names.iter().map(|n| ((*n).to_owned(), octets(n))).collect();
        Geography::read(&files, &points()).expect("good databases are read").0
    }

    fn at(geography: &Geography, addr: &str) -> Location {
        geography.location(geography.lookup(addr.parse::<IpAddr>().expect("an address")))
    }

    fn check(geography: &Geography, addr: &str, expected: &str) {
        let found = at(geography, addr);
        let country = found.country.map_or_else(|| "?".to_owned(), |c| c.as_str().to_owned());
        let point = found.point.map_or_else(|| "nowhere".to_owned(), |p| format!("{},{}", p.lat(), p.lon()));
        assert_eq!(format!("{country} {point}"), expected, "{addr}");
    }

    #[test]
    fn a_city_database_says_what_its_maker_says() {
        let geography = read(&["good/GeoIP2-City-Test.mmdb"]);
        check(&geography, "81.2.69.142", "GB 51.5142,-0.0931");
        check(&geography, "89.160.20.112", "SE 58.4167,15.6167");
        check(&geography, "216.160.83.56", "US 47.2513,-122.3149");
        check(&geography, "202.196.224.1", "PH 13,122");
        check(&geography, "2001:218::1", "JP 35.68536,139.75309");
        check(&geography, "2001:480:10::1", "US 32.7203,-117.1552");
        check(&geography, "8.8.8.8", "? nowhere");
        // Transition forms are looked up as IPv4; here they are unknown.
        check(&geography, "::ffff:81.2.69.142", "? nowhere");
        check(&geography, "2002:5102:458e::1", "? nowhere");
        assert_eq!(
            geography.network_of("81.2.69.142".parse().expect("an address")).map(|p| p.to_string()),
            Some("81.2.69.142/31".to_owned())
        );
    }

    #[test]
    fn a_country_database_takes_the_countries_points() {
        let geography = read(&["good/GeoLite2-Country-Test.mmdb"]);
        check(&geography, "81.2.69.142", "GB 51.51,-0.13");
        check(&geography, "89.160.20.112", "SE nowhere");
        check(&geography, "2001:218::1", "JP nowhere");
        assert_eq!(at(&geography, "81.2.69.142").accuracy, Accuracy::CountryPoint);
    }

    #[test]
    fn files_are_laid_over_each_other_in_order() {
        let [city, country] = ["good/GeoIP2-City-Test.mmdb", "good/GeoLite2-Country-Test.mmdb"];
        for both in [read(&[city, country]), read(&[country, city])] {
            check(&both, "81.2.69.142", "GB 51.5142,-0.0931");
            check(&both, "202.196.224.1", "PH 13,122");
        }
        let (alone, twice) = (read(&[city]), read(&[city, city]));
        assert_eq!(alone, twice);
    }

    #[test]
    fn no_file_is_nothing_known_and_no_place_is_refused() {
        assert_eq!(Geography::read(&[], &points()), Ok((Geography::empty(), vec![])));
        let names = ["good/MaxMind-DB-test-ipv4-28.mmdb", "good/MaxMind-DB-no-ipv4-search-tree.mmdb"];
        let files = names.map(|n| (n.to_owned(), octets(n)));
        let problems = Geography::read(&files, &points()).expect_err("they hold no places");
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let tail = "found no network with a country or a point, expected a MaxMind-format database of \
                    countries or cities";
        assert_eq!(shown, names.map(|n| format!("{n}: {tail}")));
    }

    /// Compared with the crate's own lookup, one address at a time: the slow twin.
    #[test]
    fn agrees_with_lookups_in_the_database() {
        for name in ["good/GeoIP2-City-Test.mmdb", "good/GeoLite2-Country-Test.mmdb"] {
            let (octets, geography) = (octets(name), read(&[name]));
            let reader = Reader::from_source(&octets[..]).expect("a good database");
            let expected = |addr: IpAddr| {
                let record: Option<Record> = reader.lookup(addr).expect("found").decode().expect("decoded");
                record.unwrap_or_default().location(&points())
            };
            for (start, _) in geography.v4.iter() {
                for addr in [start, start.wrapping_sub(1), start.wrapping_add(1)] {
                    let addr = IpAddr::from(Ipv4Addr::from(addr));
                    assert_eq!(at(&geography, &addr.to_string()), expected(addr), "{addr}");
                }
            }
            for (start, _) in geography.v6.iter() {
                for addr in [start, start.wrapping_sub(1), start.wrapping_add(1)] {
                    let addr = Ipv6Addr::from(addr);
                    let native = native_v6_blocks().iter().any(|b| b.contains(u128::from(addr)));
                    let want = if native { expected(addr.into()) } else { Location::UNKNOWN };
                    assert_eq!(at(&geography, &addr.to_string()), want, "{addr}");
                }
            }
        }
    }

    /// Text as the format stores it: type 2, at most 28 octets.
    fn text(text: &str) -> Vec<u8> {
        [&[0x40 | text.len() as u8], text.as_bytes()].concat()
    }

    /// A database of 32-bit records: the tree, the separator, the data, the least metadata.
    fn database(version: u8, nodes: &[(u32, u32)], data: &[u8]) -> Vec<u8> {
        let mut octets = Vec::new();
        for (left, right) in nodes {
            octets.extend([left.to_be_bytes(), right.to_be_bytes()].concat());
        }
        octets.extend([0; 16]);
        octets.extend(data);
        octets.extend(b"\xab\xcd\xefMaxMind.com\xe9");
        // Unsigned numbers: type 5 (16 bits) in one octet, type 6 (32 bits) in four, type 9 in none.
        let count = [&[0xc4][..], &(nodes.len() as u32).to_be_bytes()].concat();
        let (two, none) = (vec![0xa1, 2], vec![0xa0]);
        for (key, value) in [
            ("binary_format_major_version", two),
            ("binary_format_minor_version", none),
            ("build_epoch", vec![0x00, 0x02]),
            ("database_type", text("test")),
            ("description", vec![0xe0]),
            ("ip_version", vec![0xa1, version]),
            ("languages", vec![0x00, 0x04]),
            ("node_count", count),
            ("record_size", vec![0xa1, 32]),
        ] {
            octets.extend(text(key));
            octets.extend(value);
        }
        octets
    }

    /// A flat record with floats, as the two-file city databases have it.
    fn flat_record() -> Vec<u8> {
        let mut record = vec![0xe3];
        record.extend([text("country_code"), text("NL")].concat());
        for (key, degrees) in [("latitude", 52.372f32), ("longitude", 4.885)] {
            record.extend(text(key));
            record.extend([0x04, 0x08]);
            record.extend(degrees.to_be_bytes());
        }
        record
    }

    #[test]
    fn flat_files_of_one_family_each_make_one_geography() {
        // 128.0.0.0/1 and 8000::/1.
        let files =
            [4, 6].map(|version| (format!("v{version}"), database(version, &[(1, 1 + 16)], &flat_record())));
        let (geography, warnings) = Geography::read(&files, &points()).expect("good databases");
        assert_eq!(warnings, vec![]);
        check(&geography, "127.255.255.255", "? nowhere");
        check(&geography, "128.0.0.0", "NL 52.372,4.885");
        check(&geography, "7fff::", "? nowhere");
        check(&geography, "8000::", "NL 52.372,4.885");
        let (_, warnings) = Geography::read(&files[..1], &points()).expect("a good database");
        assert_eq!(
            warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["geoip.files: found no location for IPv6, expected databases of both families"]
        );
    }

    #[test]
    fn a_record_wider_than_the_native_blocks_is_cut_to_them() {
        // One node: ::/1 holds every transition block, 8000::/1 none.
        let (geography, _) =
            Geography::read(&[("x".into(), database(6, &[(1 + 16, 1 + 16)], &flat_record()))], &points())
                .expect("a good database");
        check(&geography, "2a00::1", "NL 52.372,4.885");
        for foreign in ["::1", "::ffff:192.0.2.1", "64:ff9b::1", "2001::1", "2002::1", "192.0.2.1"] {
            check(&geography, foreign, "? nowhere");
        }
        assert_eq!(geography.locations.len(), 2);
    }

    #[test]
    fn trees_that_share_their_branches_are_refused() {
        // Each node leads to the next on both sides: 2^96 ways to one place.
        let mut nodes: Vec<(u32, u32)> = (0..96).map(|i| (i + 1, i + 1)).collect();
        for last in [(97, 97), (97 + 16, 97 + 16)] {
            nodes.push(last);
            let octets = database(6, &nodes, &flat_record());
            let refused = compile(&octets, &points(), &mut Locations::default());
            assert!(matches!(refused, Err(Refused::Networks { .. })), "{refused:?}");
            nodes.pop();
        }
    }

    #[test]
    fn records_that_share_their_parts_are_refused() {
        // Maps of one key and 28 pointers to one list of 250 numbers, as many maps as leaves.
        let list: Vec<u8> = [&[0x1d, 0x04, 221][..], &[0xa0; 250]].concat();
        let pointers: Vec<u8> = [&[0x1c, 0x04][..], &[0x20, 0x00].repeat(28)].concat();
        let map: Vec<u8> = [&[0xe1][..], &text("a"), &pointers].concat();
        let leaves = 1024u32;
        let data: Vec<u8> = [list.clone(), map.repeat(leaves as usize)].concat();
        let record = |leaf: u32| 1023 + 16 + (list.len() + leaf as usize * map.len()) as u32;
        let below = |node: u32| if node < 1023 { node } else { record(node - 1023) };
        let nodes: Vec<(u32, u32)> = (0..1023).map(|i| (below(2 * i + 1), below(2 * i + 2))).collect();
        let refused = compile(&database(4, &nodes, &data), &points(), &mut Locations::default());
        assert!(matches!(refused, Err(Refused::Values { .. })), "{refused:?}");
    }

    /// Every file of a directory of the test databases.
    fn files_in(name: &str) -> Vec<(String, Vec<u8>)> {
        let entries = std::fs::read_dir(directory().join(name)).expect("the directory is there");
        let mut files: Vec<(String, Vec<u8>)> = entries
            .map(|entry| entry.expect("readable").path())
            .map(|path| (path.display().to_string(), std::fs::read(&path).expect("readable")))
            .collect();
        assert!(!files.is_empty());
        files.sort();
        files
    }

    #[test]
    fn bad_and_hostile_files_are_refused_within_bounds() {
        for (name, octets) in files_in("bad").into_iter().chain(files_in("limits")) {
            let refused = compile(&octets, &points(), &mut Locations::default());
            assert!(refused.is_err(), "{name}: {refused:?}");
        }
    }

    #[test]
    fn work_is_bounded_by_size() {
        for (name, octets) in files_in("good").into_iter().chain(files_in("bad")).chain(files_in("limits")) {
            let Ok(reader) = Reader::from_source(&octets[..]) else { continue };
            let (points, mut locations) = (points(), Locations::default());
            let mut walk = Walk::new(&reader, octets.len(), &points, &mut locations);
            let _ = walk.v4().and_then(|_| walk.v6());
            assert!(walk.work.networks <= walk.networks_max() + 1, "{name}: {:?}", walk.work);
            assert!(walk.work.values <= walk.values_max() + 200_000, "{name}: {:?}", walk.work);
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let whole = octets("good/GeoIP2-City-Test.mmdb");
        for len in (0..whole.len()).step_by(997).chain(whole.len() - 40..whole.len()) {
            let cut = compile(&whole[..len], &points(), &mut Locations::default());
            assert!(cut.is_err(), "{len}");
        }
    }

    #[test]
    fn damage_anywhere_never_panics() {
        let whole = octets("good/GeoIP2-City-Test.mmdb");
        let mut state = 5u64;
        for _ in 0..400 {
            let mut damaged = whole.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let place = (state >> 33) as usize % damaged.len();
                damaged[place] = (state >> 24) as u8;
            }
            let _ = compile(&damaged, &points(), &mut Locations::default());
        }
    }
}
