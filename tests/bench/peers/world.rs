//! The table that everybody carries, in full or in part; whom its clients belong to; and the
//! appliances as they appear in answers.
//!
//! A prefix belongs to a cluster by its origin and the epoch. The address and the host name of an
//! appliance name its cluster, so each answer can be judged: `10.h.l.n` and `cHHH-aNN.cdn.example`.
//! The judge is a longest match over plain hash maps, one a prefix length.

use crate::harness::internet::{CLUSTERS, Internet, cluster_of};
use crate::mix;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

/// The cluster of clients that no prefix covers.
pub const NOBODY: u32 = CLUSTERS;

/// Prefixes that peers carry at most, IPv4 and IPv6.
const SAMPLE: [usize; 2] = [200_000, 50_000];

/// Clients that are asked for in turn.
const CLIENTS: usize = 1 << 18;

/// Prefixes, and clients with the longest one that covers each.
pub struct World {
    /// In text, with the number of the announcing network.
    pub internet: Internet,
    /// Clients asked for.
    pub clients: Vec<IpAddr>,
    /// By client: the number of the prefix that its /24 or /56 matches.
    by_subnet: Vec<Option<u32>>,
    /// By client: the number of the prefix that its address matches.
    by_address: Vec<Option<u32>>,
}

impl World {
    /// A world of `internet` with at most `clients` clients.
    pub fn new(internet: Internet, clients: usize) -> Self {
        let blocks = mix::blocks(&internet);
        let mut clients = mix::clients(&blocks, clients);
        clients.retain(|client| is_ordinary(*client));
        let judge = Judge::new(&internet);
        let by_subnet = clients.iter().map(|client| judge.longest(subnet(*client))).collect();
        let by_address = clients.iter().map(|client| judge.longest(*client)).collect();
        Self { internet, clients, by_subnet, by_address }
    }

    /// Every `step`-th announced prefix, and a sample of them for peers.
    pub fn both(step: usize) -> (Self, Self) {
        let mut internet = Internet::read();
        internet.prefixes.retain(|(prefix, _)| {
            prefix.split_once('/').and_then(|(addr, _)| addr.parse().ok()).is_some_and(is_ordinary)
        });
        internet.prefixes = internet.prefixes.into_iter().step_by(step).collect();
        let sampled = sample(&internet.prefixes);
        let clients = (CLIENTS / step).max(4096);
        (Self::new(internet, clients), Self::new(Internet { prefixes: sampled }, clients))
    }

    /// By client: the cluster at `epoch` for its DNS query.
    pub fn clusters_by_subnet(&self, epoch: u64) -> Vec<u32> {
        self.clusters(&self.by_subnet, |_| epoch)
    }

    /// By client: the cluster at `epoch` for its HTTP request.
    pub fn clusters_by_address(&self, epoch: u64) -> Vec<u32> {
        self.clusters(&self.by_address, |_| epoch)
    }

    /// By client: the cluster after [`World::delta`] from `base` of `count` prefixes, for its DNS query
    /// and for its HTTP request.
    pub fn clusters_after_delta(&self, base: u64, count: usize) -> [Vec<u32>; 2] {
        let step = self.step(count);
        let is_changed = |number: usize| number.is_multiple_of(step) && number / step < count;
        let epoch = |number| base + u64::from(is_changed(number));
        [self.clusters(&self.by_subnet, epoch), self.clusters(&self.by_address, epoch)]
    }

    /// By client: the cluster of the prefix it matches, at the epoch that the prefix's number has.
    fn clusters(&self, matches: &[Option<u32>], epoch: impl Fn(usize) -> u64) -> Vec<u32> {
        let cluster = |number: &Option<u32>| {
            number.map_or(NOBODY, |number| {
                let number = number as usize;
                cluster_of(self.internet.prefixes[number].1, epoch(number))
            })
        };
        matches.iter().map(cluster).collect()
    }

    /// The distance of `count` prefixes all over the table.
    fn step(&self, count: usize) -> usize {
        (self.internet.prefixes.len() / count).max(1)
    }

    /// The table at `epoch` as steerd takes it, with `size` appliances in each cluster.
    pub fn table(&self, epoch: u64, size: usize) -> String {
        self.table_from(epoch, 0..size)
    }

    /// The same where the appliances of a cluster have these numbers, by which they have addresses.
    pub fn table_from(&self, epoch: u64, appliances: Range<usize>) -> String {
        let mut text = format!("{{\"table\":{{\"format\":1,\"epoch\":{epoch},\"source\":\"bench\"}}}}\n");
        text.push_str("{\"site\":{\"code\":\"s\",\"lat\":52.0,\"lon\":4.0}}\n");
        for cluster in 0..=NOBODY {
            // Only those that nobody announces to are open to anyone.
            let class = if cluster == NOBODY { "transit" } else { "embedded" };
            line(
                &mut text,
                format_args!(r#"{{"cluster":{{"name":"c{cluster:03}","site":"s","class":"{class}"}}}}"#),
            );
            for n in appliances.clone() {
                let (v4, host) = (address(cluster, n), host(cluster, n));
                line(
                    &mut text,
                    format_args!(
                        r#"{{"appliance":{{"name":"c{cluster:03}-a{n:02}","cluster":"c{cluster:03}","ipv4":"{v4}","ipv6":"2001:db8:{cluster:x}::{n:x}","hostname":"{host}","capacity_mbps":40000}}}}"#
                    ),
                );
            }
        }
        line(
            &mut text,
            format_args!(
                r#"{{"service":{{"name":"video.cdn.example","default_clusters":["c{NOBODY}"],"scheme":"http","port":80}}}}"#
            ),
        );
        for (prefix, origin) in &self.internet.prefixes {
            route(&mut text, prefix, *origin, epoch);
        }
        text
    }

    /// A delta from `base` that gives `count` prefixes all over the table their clusters of the next
    /// epoch.
    pub fn delta(&self, base: u64, count: usize) -> String {
        let next = base + 1;
        let mut text = format!("{{\"delta\":{{\"format\":1,\"base\":{base},\"epoch\":{next}}}}}\n");
        for (prefix, origin) in self.internet.prefixes.iter().step_by(self.step(count)).take(count) {
            route(&mut text, prefix, *origin, next);
        }
        text
    }
}

/// The address of appliance `n` of a cluster.
pub fn address(cluster: u32, n: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, (cluster / 256) as u8, (cluster % 256) as u8, n as u8)
}

/// The cluster of an appliance's address.
pub fn cluster_of_address(addr: Ipv4Addr) -> u32 {
    let [_, high, low, _] = addr.octets();
    u32::from(high) * 256 + u32::from(low)
}

/// The host name of appliance `n` of a cluster.
pub fn host(cluster: u32, n: usize) -> String {
    format!("c{cluster:03}-a{n:02}.cdn.example")
}

/// The cluster in the `Location` of a redirect.
pub fn cluster_of_location(location: &[u8]) -> Option<u32> {
    let digits = location.strip_prefix(b"http://c")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The client as its query tells it.
fn subnet(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(addr) => IpAddr::V4((u32::from(addr) & !0xff).into()),
        IpAddr::V6(addr) => IpAddr::V6((u128::from(addr) & !0 << 72).into()),
    }
}

/// Adds a line to a table.
fn line(text: &mut String, object: std::fmt::Arguments) {
    writeln!(text, "{object}").expect("writing to a string");
}

/// Adds the route of a prefix.
fn route(text: &mut String, prefix: &str, origin: u32, epoch: u64) {
    let cluster = cluster_of(origin, epoch);
    line(text, format_args!(r#"{{"route":{{"prefix":"{prefix}","via":[{{"cluster":"c{cluster:03}"}}]}}}}"#));
}

/// Evenly spread prefixes of both families.
fn sample(prefixes: &[(String, u32)]) -> Vec<(String, u32)> {
    let (v6, v4): (Vec<_>, Vec<_>) = prefixes.iter().partition(|(prefix, _)| prefix.contains(':'));
    let spread = |all: Vec<&(String, u32)>, limit: usize| {
        let step = all.len().div_ceil(limit).max(1);
        all.into_iter().step_by(step).cloned().collect::<Vec<_>>()
    };
    [spread(v4, SAMPLE[0]), spread(v6, SAMPLE[1])].concat()
}

/// Whether all servers look at an address alike: not in a special block, whose clients steerd takes
/// for their resolvers, nor an IPv4 client in IPv6 form.
fn is_ordinary(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => {
            let [a, b, c, _] = addr.octets();
            !matches!(
                (a, b, c),
                (0 | 10 | 127 | 224.., ..)
                    | (100, 64..=127, _)
                    | (169, 254, _)
                    | (172, 16..=31, _)
                    | (192, 0, 0 | 2)
                    | (192, 31, 196)
                    | (192, 52, 193)
                    | (192, 88, 99)
                    | (192, 168, _)
                    | (192, 175, 48)
                    | (198, 18..=19, _)
                    | (198, 51, 100)
                    | (203, 0, 113)
            )
        }
        IpAddr::V6(addr) => {
            let [first, second, ..] = addr.segments();
            let is_special = first == 0x2001 && (second < 0x200 || second == 0xdb8)
                || first == 0x2002
                || first == 0x2620 && second == 0x4f
                || first >> 4 == 0x3ff;
            first >> 13 == 1 && !is_special
        }
    }
}

/// A longest match that is obviously right.
struct Judge(HashMap<(bool, u8), HashMap<u128, u32>>);

impl Judge {
    /// Over all prefixes of `internet`.
    fn new(internet: &Internet) -> Self {
        let mut tables: HashMap<_, HashMap<_, _>> = HashMap::new();
        for (number, (prefix, _)) in internet.prefixes.iter().enumerate() {
            let (addr, len) = prefix.split_once('/').expect("a prefix");
            let (is_v4, bits) = bits(addr.parse().expect("an address"));
            let len: u8 = len.parse().expect("a length");
            tables.entry((is_v4, len)).or_default().insert(bits, number as u32);
        }
        Self(tables)
    }

    /// The number of the longest prefix over `addr`.
    fn longest(&self, addr: IpAddr) -> Option<u32> {
        let (is_v4, bits) = bits(addr);
        (0..=128).rev().find_map(|len| {
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            self.0.get(&(is_v4, len))?.get(&(bits & mask)).copied()
        })
    }
}

/// An address from the left of 128 bits, and whether it is of IPv4.
fn bits(addr: IpAddr) -> (bool, u128) {
    match addr {
        IpAddr::V4(addr) => (true, u128::from(u32::from(addr)) << 96),
        IpAddr::V6(addr) => (false, u128::from(addr)),
    }
}
