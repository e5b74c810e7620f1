//! Resolvers in front: each client gets its own network's appliances although one resolver asks for all,
//! the resolver asks us once for each scope and no more, and where it says nothing of its clients its own
//! address decides.
//!
//! How often it asked is counted by steerd's metrics. Routes lead parts of loopback to clusters, so that
//! clients and resolvers have networks there.

use crate::harness::{Steerd, write_config};
use crate::servers::{Server, free_address};
use crate::{are_installed, path_of, run};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// The address that resolvers ask from, of a network of its own.
const SOURCE: &str = "127.9.9.9";

/// Routes of clients and resolvers on loopback, beside those of the demo fleet.
const ROUTES: &str = r#"{"route":{"prefix":"127.1.0.0/16","via":[{"cluster":"ams1-isp1"}]}}
{"route":{"prefix":"127.2.0.0/16","via":[{"cluster":"nrt1-ix"}]}}
{"route":{"prefix":"127.9.0.0/16","via":[{"cluster":"gru1-ix"}]}}
"#;

/// Last octets of the appliances' addresses in `198.18.0.0/24`, by cluster.
const AMS1_ISP1: &[u8] = &[10, 11];
const AMS1_IX: &[u8] = &[12, 13];
const FRA1_PNI: &[u8] = &[14, 15];
const GRU1_IX: &[u8] = &[18];
const NRT1_IX: &[u8] = &[21];

/// A resolver that asks `upstream` for `cdn.example`, with its clients' subnets or without.
type Make = fn(dir: &Path, listen: SocketAddr, upstream: SocketAddr, with_subnets: bool) -> Command;

fn unbound(dir: &Path, listen: SocketAddr, upstream: SocketAddr, with_subnets: bool) -> Command {
    let subnets = match with_subnets {
        true => "send-client-subnet: 127.0.0.1\nmax-client-subnet-ipv4: 24\nmax-client-subnet-ipv6: 48",
        false => "",
    };
    let modules = if with_subnets { "subnetcache iterator" } else { "iterator" };
    let config = format!(
        "server:
directory: \"{dir}\"
chroot: \"\"
username: \"\"
pidfile: \"\"
use-syslog: no
do-daemonize: no
interface: {ip}
port: {port}
outgoing-interface: {SOURCE}
do-ip6: no
num-threads: 1
access-control: 127.0.0.0/8 allow
do-not-query-localhost: no
module-config: \"{modules}\"
{subnets}
local-zone: \"example.\" transparent
remote-control:
control-enable: no
stub-zone:
name: \"cdn.example\"
stub-addr: {upstream_ip}@{upstream_port}
",
        dir = dir.display(),
        ip = listen.ip(),
        port = listen.port(),
        upstream_ip = upstream.ip(),
        upstream_port = upstream.port(),
    );
    std::fs::write(dir.join("unbound.conf"), config).expect("written");
    let mut command = Command::new(path_of("unbound").expect("installed"));
    command.arg("-c").arg(dir.join("unbound.conf"));
    command
}

fn powerdns(dir: &Path, listen: SocketAddr, upstream: SocketAddr, with_subnets: bool) -> Command {
    let subnets = match with_subnets {
        true => "edns-subnet-allow-list=127.0.0.1/32,cdn.example\necs-add-for=0.0.0.0/0,::/0",
        false => "",
    };
    let config = format!(
        "local-address={ip}
local-port={port}
query-local-address={SOURCE}
socket-dir={dir}
daemon=no
write-pid=no
threads=1
disable-syslog=yes
allow-from=127.0.0.0/8
dont-query=
dnssec=off
hint-file=no
security-poll-suffix=
forward-zones=cdn.example={upstream}
use-incoming-edns-subnet={subnets_in}
ecs-ipv4-bits=24
ecs-ipv6-bits=48
ecs-ipv4-cache-bits=24
ecs-ipv6-cache-bits=48
{subnets}
",
        dir = dir.display(),
        ip = listen.ip(),
        port = listen.port(),
        subnets_in = if with_subnets { "yes" } else { "no" },
    );
    std::fs::write(dir.join("recursor.conf"), config).expect("written");
    let mut command = Command::new(path_of("pdns_recursor").expect("installed"));
    command.arg(format!("--config-dir={}", dir.display()));
    command
}

fn bind(dir: &Path, listen: SocketAddr, upstream: SocketAddr, _: bool) -> Command {
    let config = format!(
        "options {{
directory \"{dir}\"; managed-keys-directory \"{dir}\"; session-keyfile \"{dir}/session.key\"; pid-file none;
listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; query-source address {SOURCE};
recursion yes; allow-recursion {{ 127.0.0.0/8; }}; dnssec-validation no; empty-zones-enable no;
}};
controls {{ }};
zone \"cdn.example\" {{ type forward; forward only; forwarders {{ {upstream_ip} port {upstream_port}; }}; }};
",
        dir = dir.display(),
        ip = listen.ip(),
        port = listen.port(),
        upstream_ip = upstream.ip(),
        upstream_port = upstream.port(),
    );
    std::fs::write(dir.join("named.conf"), config).expect("written");
    let mut command = Command::new(path_of("named").expect("installed"));
    command.args(["-4", "-g", "-n", "1", "-c"]).arg(dir.join("named.conf"));
    command
}

fn knot(dir: &Path, listen: SocketAddr, upstream: SocketAddr, _: bool) -> Command {
    let config = format!(
        "net.listen('{ip}', {port}, {{ kind = 'dns' }})
net.ipv6 = false
net.outgoing_v4('{SOURCE}')
trust_anchors.remove('.')
modules = {{ 'policy' }}
policy.add(policy.suffix(policy.STUB('{upstream_ip}@{upstream_port}'), {{ todname('cdn.example') }}))
cache.size = 10*MB
",
        ip = listen.ip(),
        port = listen.port(),
        upstream_ip = upstream.ip(),
        upstream_port = upstream.port(),
    );
    std::fs::write(dir.join("kresd.conf"), config).expect("written");
    let mut command = Command::new(path_of("kresd").expect("installed"));
    command.arg("-n").arg("-c").arg(dir.join("kresd.conf")).arg(dir);
    command
}

/// steerd, and a resolver in front of it.
struct Front {
    name: &'static str,
    steerd: Steerd,
    resolver: SocketAddr,
    _server: Server,
    _dir: tempfile::TempDir,
}

impl Front {
    /// Starts both; `None` when the resolver is not installed.
    fn start(program: &'static str, make: Make, with_subnets: bool) -> Option<Self> {
        if !are_installed(&["dig", program]) {
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let steerd = Steerd::start(&write_config(dir.path(), ""));
        let table = [include_str!("../../data/fleet-small.ndjson"), ROUTES].concat();
        let pushed = steerd.call("PUT", "/v1/table", table.as_bytes());
        assert_eq!(pushed.status, 200, "{pushed:?}");
        let resolver = free_address();
        let mut command = make(dir.path(), resolver, steerd.dns, with_subnets);
        let _server = Server::start_dns(&mut command, dir.path(), resolver);
        Some(Self { name: program, steerd, resolver, _server, _dir: dir })
    }

    /// Queries for service names that reached steerd so far.
    fn asked(&self) -> u64 {
        let metrics = self.steerd.call("GET", "/metrics", b"").body;
        metrics
            .lines()
            .filter(|line| line.starts_with("steerd_dns_udp_packets_total") && line.contains("\"steered\""))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }

    /// Asks the resolver with further arguments for `dig`, and compares which appliances it names and how
    /// often it asked steerd for that.
    fn check(&self, args: &[&str], appliances: &[u8], asked: u64) {
        let before = self.asked();
        let (at, port) = (format!("@{}", self.resolver.ip()), self.resolver.port().to_string());
        let question = [&at, "-p", &port, "video.cdn.example", "A", "+short"];
        let text = run("dig", &[&question[..], args].concat()).expect("dig is here");
        let mut found: Vec<&str> = text.lines().collect();
        found.sort_unstable();
        let expected: Vec<String> = appliances.iter().map(|octet| format!("198.18.0.{octet}")).collect();
        assert_eq!(found, expected, "{} {args:?}", self.name);
        assert_eq!(self.asked() - before, asked, "{} {args:?}", self.name);
    }
}

/// What holds of a resolver that passes on up to 24 bits of an IPv4 client and 48 of an IPv6 one.
fn by_client_subnet(program: &'static str, make: Make) {
    let Some(front) = Front::start(program, make, true) else { return };
    let check = |subnet: &str, appliances: &[u8], asked| {
        front.check(&[&format!("+subnet={subnet}")], appliances, asked);
    };
    // Two networks behind one resolver; 193.0.0.0/21 and 133.242.0.0/15 are the scopes.
    check("193.0.6.0/24", FRA1_PNI, 1);
    check("133.242.1.0/24", NRT1_IX, 1);
    // Inside a scope nobody asks again, whatever the client's length.
    check("193.0.7.0/24", FRA1_PNI, 0);
    check("193.0.0.1/32", FRA1_PNI, 0);
    check("133.243.200.0/24", NRT1_IX, 0);
    // Outside one does.
    check("193.0.8.0/24", AMS1_IX, 1);
    check("80.61.1.0/24", AMS1_ISP1, 1);
    check("80.60.0.0/24", AMS1_ISP1, 0);
    // 203.0.113.0/24 is two networks, which 24 bits do not tell apart (scope 25): they share an answer.
    check("203.0.113.0/25", FRA1_PNI, 1);
    check("203.0.113.128/25", FRA1_PNI, 0);
    check("2001:200::/48", NRT1_IX, 1);
    check("2001:200:7::/48", NRT1_IX, 0);
    check("2001:db8::/48", FRA1_PNI, 1);
    check("2001:db8:80::/48", AMS1_ISP1, 1);
    check("2001:db8:ff::/48", AMS1_ISP1, 0);
    check("2001:db8:1::/48", FRA1_PNI, 0);
    check("193.0.6.0/24", FRA1_PNI, 0);
    // Clients that say nothing are told apart by the subnet that the resolver adds.
    front.check(&["-b", "127.1.0.5"], AMS1_ISP1, 1);
    front.check(&["-b", "127.2.0.5"], NRT1_IX, 1);
    front.check(&["-b", "127.1.9.9"], AMS1_ISP1, 0);
    front.check(&["-b", "127.2.200.1"], NRT1_IX, 0);
    // One that has no network of its own is where its resolver is.
    front.check(&["-b", "127.200.0.1"], GRU1_IX, 1);
}

/// What holds of a resolver that says nothing of its clients.
fn by_resolver(program: &'static str, make: Make) {
    let Some(front) = Front::start(program, make, false) else { return };
    front.check(&["-b", "127.1.0.5"], GRU1_IX, 1);
    front.check(&["-b", "127.2.0.5"], GRU1_IX, 0);
    front.check(&["+subnet=193.0.6.0/24"], GRU1_IX, 0);
}

#[test]
fn unbound_gives_each_client_its_own_and_keeps_to_scopes() {
    by_client_subnet("unbound", unbound);
}

#[test]
fn powerdns_gives_each_client_its_own_and_keeps_to_scopes() {
    by_client_subnet("pdns_recursor", powerdns);
}

#[test]
fn without_client_subnets_the_address_of_unbound_decides() {
    by_resolver("unbound", unbound);
}

#[test]
fn without_client_subnets_the_address_of_powerdns_decides() {
    by_resolver("pdns_recursor", powerdns);
}

#[test]
fn without_client_subnets_the_address_of_bind_decides() {
    by_resolver("named", bind);
}

#[test]
fn without_client_subnets_the_address_of_knot_decides() {
    by_resolver("kresd", knot);
}
