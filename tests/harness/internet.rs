//! A table of Internet size: every announced prefix, given to clusters all over the world.
//!
//! `target/prefixes.csv.gz` (made by `make prefixes`) holds really announced prefixes with their
//! origins; where it is missing a made-up list of the same size and length mix stands in.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

/// Prefixes and the number of the network that announces each.
pub struct Internet {
    /// `prefix` as text and origin.
    pub prefixes: Vec<(String, u32)>,
}

impl Internet {
    /// Reads the prefix table, or makes one up.
    pub fn read() -> Self {
        match read_table() {
            Some(prefixes) => Self { prefixes },
            None => {
                eprintln!("no target/prefixes.csv.gz: measuring with a made-up table of the same size");
                Self { prefixes: made_up() }
            }
        }
    }

    /// A full table at `epoch` over 500 clusters of up to 16 appliances: each origin has its cluster of
    /// that epoch, one prefix in four has a second candidate. Three services share two views.
    pub fn table(&self, epoch: u64) -> String {
        let mut text = fleet(epoch);
        for (prefix, origin) in &self.prefixes {
            route(&mut text, prefix, *origin, epoch);
        }
        text
    }

    /// The prefixes that [`Internet::delta`] changes.
    pub fn changed(&self, base: u64, count: usize) -> impl Iterator<Item = &(String, u32)> {
        let step = self.prefixes.len() / count;
        self.prefixes.iter().skip(base as usize % step).step_by(step).take(count)
    }

    /// A delta of `count` routes from `base` to `base + 1`: prefixes all over the table get their
    /// cluster of that epoch.
    pub fn delta(&self, base: u64, count: usize) -> String {
        let mut text = format!("{{\"delta\":{{\"format\":1,\"base\":{base},\"epoch\":{}}}}}\n", base + 1);
        for (prefix, origin) in self.changed(base, count) {
            route(&mut text, prefix, *origin, base + 1);
        }
        text
    }
}

/// Clusters in the fleet.
pub const CLUSTERS: u32 = 500;

/// The cluster of an origin at an epoch.
pub fn cluster_of(origin: u32, epoch: u64) -> u32 {
    (origin.wrapping_mul(2_654_435_761) >> 8).wrapping_add(epoch as u32 * 7) % CLUSTERS
}

/// Whether an origin's prefixes have one candidate only.
pub fn is_single(origin: u32) -> bool {
    !origin.is_multiple_of(4)
}

fn route(text: &mut String, prefix: &str, origin: u32, epoch: u64) {
    let first = cluster_of(origin, epoch);
    let second = (first + 1) % CLUSTERS;
    let written = if is_single(origin) {
        writeln!(text, r#"{{"route":{{"prefix":"{prefix}","via":[{{"cluster":"c{first:03}"}}]}}}}"#)
    } else {
        writeln!(
            text,
            r#"{{"route":{{"prefix":"{prefix}","via":[{{"cluster":"c{first:03}","as_path_len":1}},{{"cluster":"c{second:03}","as_path_len":2}}]}}}}"#
        )
    };
    written.expect("writing to a string");
}

fn fleet(epoch: u64) -> String {
    let mut text = format!("{{\"table\":{{\"format\":1,\"epoch\":{epoch},\"source\":\"internet\"}}}}\n");
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    for site in 0..100 {
        let (lat, lon) = (f64::from(site % 12) * 10.0 - 50.0, f64::from(site) * 3.5 - 170.0);
        line(format!(r#"{{"site":{{"code":"s{site:02}","lat":{lat:.2},"lon":{lon:.2}}}}}"#));
    }
    for cluster in 0..CLUSTERS {
        let class = ["embedded", "private_peering", "public_peering", "transit"][cluster as usize % 4];
        let tags = if cluster % 3 == 0 { "" } else { r#","tags":["live"]"# };
        line(format!(
            r#"{{"cluster":{{"name":"c{cluster:03}","site":"s{:02}","class":"{class}"{tags}}}}}"#,
            cluster % 100
        ));
        for n in 0..=cluster % 16 {
            line(format!(
                r#"{{"appliance":{{"name":"c{cluster:03}-a{n:02}","cluster":"c{cluster:03}","ipv4":"10.{}.{}.{n}","ipv6":"2001:db8:{cluster:x}::{n:x}","hostname":"c{cluster:03}-a{n:02}.cdn.example","capacity_mbps":40000}}}}"#,
                cluster / 256,
                cluster % 256
            ));
        }
    }
    line(r#"{"service":{"name":"video.cdn.example","default_clusters":["c001","c003"]}}"#.to_owned());
    line(
        r#"{"service":{"name":"download.cdn.example","ttl_s":60,"default_clusters":["c001","c003"]}}"#
            .to_owned(),
    );
    line(
        r#"{"service":{"name":"live.cdn.example","tags":["live"],"default_clusters":["c001","c007"]}}"#
            .to_owned(),
    );
    text
}

fn read_table() -> Option<Vec<(String, u32)>> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), std::path::PathBuf::from);
    let path = [target.as_path(), Path::new(env!("CARGO_MANIFEST_DIR")).join("target").as_path()]
        .into_iter()
        .map(|dir| dir.join("prefixes.csv.gz"))
        .find(|path| path.exists())?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).ok()?).read_to_string(&mut text).ok()?;
    let line = |line: &str| {
        let (prefix, origin) = line.split_once(',')?;
        Some((prefix.to_owned(), origin.parse().ok()?))
    };
    text.lines().map(line).collect()
}

/// 1,080,000 IPv4 and 254,000 IPv6 prefixes, two thirds of them /24 and /48.
fn made_up() -> Vec<(String, u32)> {
    let mut state = 42u64;
    let mut next = move |limit: u64| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    };
    let mut found = std::collections::BTreeMap::new();
    while found.len() < 1_334_000 {
        let origin = next(80_000) as u32;
        let prefix = if found.len() < 1_080_000 {
            let len = [24, 24, 24, 24, 22, 23, 21, 20, 16][next(9) as usize];
            let addr = ((0x0100_0000 + next(0xde00_0000)) as u32) & (u32::MAX << (32 - len));
            format!("{}/{len}", std::net::Ipv4Addr::from(addr))
        } else {
            let len = [48, 48, 48, 44, 40, 32, 29][next(7) as usize];
            let addr = ((0x2000_0000u128 + u128::from(next(0x1000_0000))) << 96
                | u128::from(next(1 << 32)) << 64)
                & (u128::MAX << (128 - len));
            format!("{}/{len}", std::net::Ipv6Addr::from(addr))
        };
        found.insert(prefix, origin);
    }
    found.into_iter().collect()
}
