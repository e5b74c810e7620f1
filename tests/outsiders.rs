//! The binary over sockets, asked by programs that we did not write. Here `dig`, `kdig`, `curl`,
//! and what reads dnstap; and:
//!
//! | module | what talks to it |
//! |---|---|
//! | `resolvers` | resolvers that pass on the client's subnet, and some that do not |
//! | `conformance` | queries that authoritative servers get wrong, by `dig`; checkers of zones and servers |
//! | `validators` | what checks signatures |
//! | `streams` | bytes over TCP as no resolver would send them |
//! | `transports` | TLS, HTTPS and the PROXY protocol: `kdig`, `openssl`, `curl`, `haproxy` |
//! | `access_log` | readers of the access log: rotation, syslog, an appliance's log |
//! | `countries` | country rules, by `curl` and `dig` |
//! | `advice` | lists for whoever asks on a player's behalf: `curl` |
//! | `attacks` | slow heads, slow readers, floods of frames: nobody's programs, octets of our own |
//! | `control` | the push API over TLS: `curl`, `openssl`, our own client |
//! | `http2` | frames that RFC 9113 forbids; `h2load`, `curl`, `sslyze` |
//! | `http3` | HTTP/3, with the feature of that name: `aioquic`, beside `curl` over HTTP/2 |
//! | `flood` | a flood with made-up sources, and what a victim would get of it |
//! | `namespaces`, `servers` | networks of our own, and other servers in them |
//!
//! A program that is missing fails the test under CI (`tests/tools.sh` installs them) and skips it
//! loudly elsewhere.
#![allow(missing_docs, clippy::print_stdout)]

#[path = "outsiders/access_log.rs"]
mod access_log;
#[path = "outsiders/advice.rs"]
mod advice;
#[path = "outsiders/attacks.rs"]
#[allow(clippy::disallowed_methods, reason = "it measures, and says so")]
mod attacks;
#[path = "outsiders/conformance.rs"]
mod conformance;
#[path = "outsiders/control.rs"]
mod control;
#[path = "outsiders/countries.rs"]
mod countries;
#[path = "outsiders/flood.rs"]
mod flood;
#[allow(dead_code, reason = "each test binary uses its part")]
mod harness;
#[path = "outsiders/http2.rs"]
mod http2;
#[cfg(feature = "http3")]
#[path = "outsiders/http3.rs"]
mod http3;
#[path = "outsiders/namespaces.rs"]
mod namespaces;
#[path = "outsiders/resolvers.rs"]
mod resolvers;
#[path = "outsiders/servers.rs"]
mod servers;
#[path = "outsiders/streams.rs"]
mod streams;
#[path = "outsiders/transports.rs"]
mod transports;
#[path = "outsiders/validators.rs"]
mod validators;

use harness::{Steerd, write_config};
use std::path::PathBuf;
use std::process::Command;

/// What a program prints; `None` when it is not installed.
fn run(program: &str, args: &[&str]) -> Option<String> {
    output_of(program, Command::new(program).args(args))
}

/// What a command prints; `None` when `program`, which it runs, is not installed.
fn output_of(program: &str, command: &mut Command) -> Option<String> {
    match command.output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            missing(program);
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

/// Says that a program is not there; fails where it has to be.
fn missing(program: &str) {
    assert!(std::env::var_os("CI").is_none(), "{program} is not installed");
    eprintln!("SKIPPED: {program} is not installed");
}

/// Where a program is; servers may be outside a user's `PATH`.
fn path_of(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    folders.find_map(|folder| Some(folder.join(program)).filter(|path| path.is_file()))
}

/// Whether all of `programs` are installed.
fn are_installed(programs: &[&str]) -> bool {
    match programs.iter().find(|program| path_of(program).is_none()) {
        Some(program) => {
            missing(program);
            false
        }
        None => true,
    }
}

/// Serves the small demo fleet.
fn start(dir: &std::path::Path) -> Steerd {
    let steerd = Steerd::start(&write_config(dir, ""));
    let table = include_bytes!("../data/fleet-small.ndjson");
    assert_eq!(steerd.call("PUT", "/v1/table", table).status, 200);
    steerd
}

/// Asks a DNS tool; `args` after server and port.
fn ask(program: &str, steerd: &Steerd, args: &[&str]) -> Option<String> {
    let (server, port) = (format!("@{}", steerd.dns.ip()), steerd.dns.port().to_string());
    run(program, &[&[server.as_str(), "-p", port.as_str()], args].concat())
}

#[test]
fn dig_and_kdig_read_the_same_answer_over_udp_and_tcp() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path());
    let question = ["video.cdn.example", "A", "+subnet=193.0.6.0/24"];
    let Some(udp) = ask("dig", &steerd, &question) else { return };
    assert!(udp.contains("status: NOERROR") && udp.contains("flags: qr aa rd;"), "{udp}");
    let scope = udp.lines().find_map(|line| line.strip_prefix("; CLIENT-SUBNET: 193.0.6.0/24/"));
    assert_eq!(scope, Some("21"), "{udp}");
    let addresses = |text: &str| {
        let is_answer = |line: &&str| line.starts_with("video.cdn.example.") && line.contains("\tA\t");
        let mut found: Vec<String> = text
            .lines()
            .filter(is_answer)
            .filter_map(|l| l.split_whitespace().last())
            .map(str::to_owned)
            .collect();
        found.sort();
        found
    };
    assert_eq!(addresses(&udp).len(), 2, "{udp}");
    let tcp = ask("dig", &steerd, &[&question[..], &["+tcp"]].concat()).expect("dig is here");
    assert_eq!(addresses(&tcp), addresses(&udp));
    let Some(other) = ask("kdig", &steerd, &question) else { return };
    assert_eq!(addresses(&other), addresses(&udp), "{other}");
}

#[test]
fn dig_sees_the_rcode_of_each_kind_of_question() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path());
    let check = |args: &[&str], status: &str| {
        let Some(text) = ask("dig", &steerd, args) else { return };
        assert!(text.contains(&format!("status: {status},")), "{args:?}: {text}");
    };
    check(&["cdn.example", "SOA"], "NOERROR");
    check(&["video.cdn.example", "MX"], "NOERROR");
    check(&["nobody.cdn.example", "A"], "NXDOMAIN");
    check(&["other.example", "A"], "REFUSED");
    check(&["version.bind", "TXT", "CH"], "REFUSED");
    check(&["video.cdn.example", "A", "+edns=1", "+noednsnegotiation"], "BADVERS");
    check(&["video.cdn.example", "A", "+opcode=notify"], "NOTIMP");
    check(&["video.cdn.example", "A", "+ednsopt=8:00031800c00006"], "FORMERR");
}

#[test]
fn curl_follows_a_redirect_and_reads_a_list() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path());
    let url = format!("http://{}/title/1/seg%201.m4s?a=b&c", steerd.http);
    let head = ["-s", "-H", "Host: video.cdn.example", "-H", "X-Forwarded-For: 193.0.6.1"];
    let Some(text) = run("curl", &[&head[..], &["-i", &url]].concat()) else { return };
    assert!(text.starts_with("HTTP/1.1 302 "), "{text}");
    let location = text.lines().find_map(|line| line.strip_prefix("Location: ")).expect("a location");
    assert!(location.ends_with(".cdn.example/title/1/seg%201.m4s?a=b&c"), "{location}");
    let list =
        run("curl", &[&head[..], &["-H", "Accept: application/json", &url]].concat()).expect("curl is here");
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    assert_eq!(list["locations"][0], location, "{list}");
    let unknown = run("curl", &["-s", "-o", "/dev/null", "-w", "%{http_code}", &url]).expect("curl is here");
    assert_eq!(unknown, "421");
}

/// What `dnstap-ldns` reads in a file that was written for one query of `video.cdn.example`.
fn check_dnstap(file: &std::path::Path) {
    let file = file.to_str().expect("UTF-8");
    let Some(text) = run("dnstap-ldns", &["-y", "-r", file]) else { return };
    assert_eq!(text.matches("type: MESSAGE").count(), 1, "{text}");
    for expected in
        ["type: AUTH_RESPONSE", "identity: \"ams-1\"", "socket_protocol: UDP", "query_address: \"127.0.0.1\""]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    // Family 1, source 24, scope 0 in the query and 21 in the reply.
    for subnet in ["000118 00 c10006", "000118 15 c10006"] {
        assert!(text.contains(&subnet.replace(' ', "")), "{subnet}: {text}");
    }
    // It shows no extra field; its octets are there as they are.
    let octets = std::fs::read(file).expect("a file");
    let start = octets.windows(2).position(|two| two == b"{\"").expect("JSON");
    let mut told = serde_json::Deserializer::from_slice(&octets[start..]).into_iter::<serde_json::Value>();
    let told = told.next().expect("a value").expect("JSON");
    assert_eq!((&told["service"], &told["scope_len"]), (&"video.cdn.example".into(), &21.into()), "{told}");
    assert!(
        told["cluster"].is_string() && told["match"].is_string() && told["generation"].is_u64(),
        "{told}"
    );
}

#[test]
fn dnstap_is_read_from_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let more = "[dnstap]\nfile = \"tap\"\n";
    let config = write_config(dir.path(), more);
    let text =
        std::fs::read_to_string(&config).expect("a config").replace("[dns]", "[dns]\nidentity = \"ams-1\"");
    std::fs::write(&config, text).expect("written");
    let mut steerd = Steerd::start(&config);
    let table = include_bytes!("../data/fleet-small.ndjson");
    assert_eq!(steerd.call("PUT", "/v1/table", table).status, 200);
    let question = ["video.cdn.example", "A", "+subnet=193.0.6.0/24", "+tries=1"];
    if ask("dig", &steerd, &question).is_none() {
        return;
    }
    steerd.terminate();
    check_dnstap(&dir.path().join("tap"));
}

#[test]
fn dnstap_is_captured_from_a_socket() {
    let dir = tempfile::tempdir().expect("a directory");
    let (socket, file) = (dir.path().join("socket"), dir.path().join("captured"));
    let mut capture = Command::new("fstrm_capture");
    capture.args(["-t", "protobuf:dnstap.Dnstap", "-u"]).arg(&socket).arg("-w").arg(&file);
    let Ok(mut capture) = capture.spawn() else {
        assert!(std::env::var_os("CI").is_none(), "fstrm_capture is not installed");
        return eprintln!("SKIPPED: fstrm_capture is not installed");
    };
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(capture.try_wait().expect("a child").is_none(), "fstrm_capture has ended");
        std::thread::yield_now();
    }
    let config = write_config(dir.path(), "[dnstap]\nsocket = \"socket\"\n");
    let text =
        std::fs::read_to_string(&config).expect("a config").replace("[dns]", "[dns]\nidentity = \"ams-1\"");
    std::fs::write(&config, text).expect("written");
    let mut steerd = Steerd::start(&config);
    let table = include_bytes!("../data/fleet-small.ndjson");
    assert_eq!(steerd.call("PUT", "/v1/table", table).status, 200);
    let asked = ask("dig", &steerd, &["video.cdn.example", "A", "+subnet=193.0.6.0/24", "+tries=1"]);
    // It waits for the reader to have everything.
    steerd.terminate();
    let told = Command::new("kill").args(["-TERM", &capture.id().to_string()]).status().expect("kill runs");
    assert!(told.success() && capture.wait().is_ok());
    if asked.is_some() {
        check_dnstap(&file);
    }
}
