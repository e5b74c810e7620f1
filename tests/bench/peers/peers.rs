//! The peers as Debian has them: how each is configured to carry the sampled table, started, and told
//! of a new table.
//!
//! A recipe writes everything into a folder of its own and listens on one port of loopback. All run
//! one worker. Answers name clusters by the same addresses and host names as steerd's.

use crate::harness::internet::cluster_of;
use crate::system::{self, Signal};
use crate::world::{self, NOBODY, World};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Datacenters that gdnsd is given beside the default: it takes 254 a map.
const GDNSD_DATACENTERS: u32 = 250;

/// Where a peer lives and listens.
pub struct Place {
    /// Its folder.
    pub dir: PathBuf,
    /// Its port, on 127.0.0.1.
    pub port: u16,
    /// A second port, where it speaks HTTP/2 without TLS.
    pub h2_port: u16,
}

impl Place {
    /// Writes a file, whole or not at all: a peer may be watching it.
    pub fn write(&self, name: &str, text: &str) {
        let (path, new) = (self.dir.join(name), self.dir.join("new"));
        fs::create_dir_all(path.parent().expect("inside the folder")).expect("a folder");
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).expect("a file");
    }

    /// The folder as text.
    fn dir(&self) -> std::path::Display<'_> {
        self.dir.display()
    }
}

/// How to run a peer.
pub struct Recipe {
    /// As the tables call it.
    pub name: &'static str,
    /// The program that has to be installed.
    pub program: &'static str,
    /// Whether the smoke run insists on it under CI.
    pub is_promised: bool,
    /// steerd's processor time an answer over this one's, at most.
    pub goal: f64,
    /// The cluster in its answers to clients of a cluster.
    pub fold: fn(u32) -> u32,
    /// Writes the configuration but for the table.
    pub configure: fn(&Place),
    /// The file that the table is in.
    pub table_file: &'static str,
    /// What is in it at an epoch.
    pub table: fn(&World, u64) -> String,
    /// How it is started, to stay in the foreground.
    pub start: fn(&Place) -> Command,
    /// How a running one is told that there is a new table.
    pub reload: fn(&Place, u32),
}

/// Name servers.
pub const DNS: [Recipe; 3] = [
    Recipe {
        name: "gdnsd geoip",
        program: "gdnsd",
        is_promised: true,
        goal: 0.85,
        fold: |cluster| if cluster == NOBODY { NOBODY } else { cluster % GDNSD_DATACENTERS },
        configure: configure_gdnsd,
        table_file: "geoip/nets",
        table: |world, epoch| {
            lines(world, epoch, |prefix, cluster| format!("{prefix} => d{}", cluster % GDNSD_DATACENTERS))
        },
        start: |place| command("gdnsd", &[&"-c", &place.dir(), &"start"]),
        // It watches the file, and waits until it has been quiet for a while.
        reload: |_, _| {},
    },
    Recipe {
        name: "knot geoip",
        program: "knotd",
        is_promised: false,
        goal: 0.6,
        fold: |cluster| cluster,
        configure: configure_knot,
        table_file: "geo.conf",
        table: |world, epoch| {
            let nets = lines(world, epoch, |prefix, cluster| {
                format!("  - net: {prefix}\n    A: {}", world::address(cluster, 0))
            });
            format!("video.cdn.example.:\n{nets}")
        },
        start: |place| command("knotd", &[&"-c", &place.dir.join("knot.conf").display()]),
        reload: |place, _| {
            run(command("knotc", &[&"-c", &place.dir.join("knot.conf").display(), &"reload"]));
        },
    },
    Recipe {
        name: "pdns geoip",
        program: "pdns_server",
        is_promised: false,
        goal: 0.25,
        fold: |cluster| cluster,
        configure: configure_pdns,
        table_file: "geo.yaml",
        table: pdns_table,
        start: |place| command("pdns_server", &[&format!("--config-dir={}", place.dir())]),
        reload: |place, _| {
            let dir = format!("--config-dir={}", place.dir());
            let socket = format!("--socket-dir={}", place.dir());
            run(command("pdns_control", &[&dir, &socket, &"rediscover"]));
        },
    },
];

/// HTTP servers.
pub const HTTP: [Recipe; 2] = [
    Recipe {
        name: "nginx geo",
        program: "nginx",
        is_promised: true,
        goal: 0.85,
        fold: |cluster| cluster,
        configure: configure_nginx,
        table_file: "geo.conf",
        table: |world, epoch| lines(world, epoch, |prefix, cluster| format!("{prefix} {};", name(cluster))),
        start: |place| {
            let log = place.dir.join("error.log");
            let config = place.dir.join("nginx.conf");
            command("nginx", &[&"-p", &place.dir(), &"-c", &config.display(), &"-e", &log.display()])
        },
        reload: |_, pid| system::signal(pid, Signal::Hangup),
    },
    Recipe {
        name: "haproxy map",
        program: "haproxy",
        is_promised: true,
        goal: 0.7,
        fold: |cluster| cluster,
        configure: configure_haproxy,
        table_file: "clusters.map",
        table: |world, epoch| lines(world, epoch, |prefix, cluster| format!("{prefix} {}", name(cluster))),
        start: |place| command("haproxy", &[&"-W", &"-db", &"-f", &place.dir.join("haproxy.cfg").display()]),
        reload: |_, pid| system::signal(pid, Signal::User2),
    },
];

/// The first appliance of a cluster.
fn name(cluster: u32) -> String {
    format!("c{cluster:03}-a00")
}

/// A program with its arguments, in the folder where Debian puts servers, or wherever it is.
fn command(program: &str, arguments: &[&dyn std::fmt::Display]) -> Command {
    let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
    command.args(arguments.iter().map(ToString::to_string));
    command
}

/// Where a program is: on the path, or among those of the system.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = Path::new("/usr/sbin").to_owned();
    std::env::split_paths(&path).chain([system]).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// Runs a control program to its end.
fn run(mut command: Command) {
    let output = command.output().expect("a program that was found");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// A line for each prefix and its cluster.
fn lines(world: &World, epoch: u64, line: impl Fn(&str, u32) -> String) -> String {
    let mut text = String::new();
    for (prefix, origin) in &world.internet.prefixes {
        text.push_str(&line(prefix, cluster_of(*origin, epoch)));
        text.push('\n');
    }
    text
}

/// One worker, one map of networks.
fn configure_gdnsd(place: &Place) {
    let (mut names, mut addresses) = (String::from("none"), format!("none => {}", world::address(NOBODY, 0)));
    for cluster in 0..GDNSD_DATACENTERS {
        write!(names, ", d{cluster}").expect("writing to a string");
        write!(addresses, ", d{cluster} => {}", world::address(cluster, 0)).expect("writing to a string");
    }
    let (dir, port) = (place.dir(), place.port);
    place.write(
        "config",
        &format!(
            "options => {{
               listen => {{ 127.0.0.1:{port} => {{ udp_threads = 1, tcp_threads = 1 }} }}
               run_dir => {dir}/run
               state_dir => {dir}/state
             }}
             plugins => {{ geoip => {{
               maps => {{ networks => {{ datacenters => [ {names} ], nets => nets }} }}
               resources => {{ video => {{
                 map => networks, service_types => [ up ], dcmap => {{ {addresses} }}
               }} }}
             }} }}
             "
        ),
    );
    place.write("zones/cdn.example", &zone("video 30 DYNA geoip!video"));
}

/// A zone with one more line.
fn zone(line: &str) -> String {
    format!("@ 30 SOA ns1 hostmaster 1 7200 3600 86400 60\n@ 30 NS ns1\nns1 30 A 127.0.0.1\n{line}\n")
}

/// One worker, the geoip module by subnet.
fn configure_knot(place: &Place) {
    let (dir, port) = (place.dir(), place.port);
    place.write(
        "knot.conf",
        &format!(
            r#"
server:
    rundir: "{dir}"
    listen: 127.0.0.1@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    edns-client-subnet: on
database:
    storage: "{dir}/db"
control:
    listen: knot.sock
    timeout: 120
log:
  - target: stderr
    any: warning
mod-geoip:
  - id: geo
    config-file: "{dir}/geo.conf"
    ttl: 30
    mode: subnet
zone:
  - domain: cdn.example
    file: "{dir}/zone"
    zonefile-sync: -1
    journal-content: none
    module: mod-geoip/geo
"#
        ),
    );
    place.write(
        "zone",
        &format!("$ORIGIN cdn.example.\n{}", zone(&format!("video 30 A {}", world::address(NOBODY, 0)))),
    );
}

/// One receiver, one distributor, the packet cache as it is by default.
fn configure_pdns(place: &Place) {
    let (dir, port) = (place.dir(), place.port);
    place.write(
        "pdns.conf",
        &format!(
            "launch=geoip
geoip-database-files=
geoip-zones-file={dir}/geo.yaml
edns-subnet-processing=yes
local-address=127.0.0.1
local-port={port}
receiver-threads=1
distributor-threads=1
reuseport=no
socket-dir={dir}
daemon=no
guardian=no
disable-syslog=yes
write-pid=no
loglevel=2
setuid=
setgid=
"
        ),
    );
}

/// A service that maps networks to names, and the address of each name.
fn pdns_table(world: &World, epoch: u64) -> String {
    let mut text = String::from(
        "domains:
- domain: cdn.example
  ttl: 30
  records:
    cdn.example:
    - soa: ns1.cdn.example hostmaster.cdn.example 1 7200 3600 86400 60
    - ns: ns1.cdn.example
    ns1.cdn.example:
    - a: 127.0.0.1
",
    );
    for cluster in 0..=NOBODY {
        let (host, addr) = (world::host(cluster, 0), world::address(cluster, 0));
        write!(text, "    {host}:\n    - a: {addr}\n").expect("writing to a string");
    }
    let nobody = world::host(NOBODY, 0);
    write!(text, "  services:\n    video.cdn.example:\n      default: '{nobody}'\n")
        .expect("writing to a string");
    text.push_str(&lines(world, epoch, |prefix, cluster| {
        format!("      '{prefix}': '{}'", world::host(cluster, 0))
    }));
    text
}

/// One worker, a `geo` block over the forwarded client.
fn configure_nginx(place: &Place) {
    let (dir, port, h2_port, nobody) = (place.dir(), place.port, place.h2_port, name(NOBODY));
    place.write(
        "nginx.conf",
        &format!(
            "worker_processes 1;
pid {dir}/nginx.pid;
daemon off;
events {{ worker_connections 2048; multi_accept on; }}
http {{
  access_log off;
  client_body_temp_path {dir}/body;
  proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi;
  scgi_temp_path {dir}/scgi;
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  tcp_nodelay on;
  server_tokens off;
  geo $http_x_forwarded_for $appliance {{
    default {nobody};
    include {dir}/geo.conf;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    listen 127.0.0.1:{h2_port} http2;
    location / {{
      add_header Cache-Control no-store always;
      return 302 http://$appliance.cdn.example$request_uri;
    }}
  }}
}}
"
        ),
    );
}

/// One thread, a map from networks to names.
fn configure_haproxy(place: &Place) {
    let (dir, port, h2_port, nobody) = (place.dir(), place.port, place.h2_port, name(NOBODY));
    place.write(
        "haproxy.cfg",
        &format!(
            "global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout client 300s
  timeout server 30s
  timeout connect 5s
  timeout http-keep-alive 300s
frontend clients
  bind 127.0.0.1:{port}
  bind 127.0.0.1:{h2_port} proto h2
  http-request redirect location http://%[req.hdr(x-forwarded-for),map_ip({dir}/clusters.map,{nobody})].cdn.example%[pathq] code 302
"
        ),
    );
}
