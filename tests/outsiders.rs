//! The binary, asked by programs that we did not write: `dig`, `kdig` and `curl`; `validators` has those
//! that check signatures.
//!
//! A program that is missing fails the test under CI (`tests/tools.sh` installs them) and skips it
//! loudly elsewhere.
#![allow(missing_docs, clippy::print_stdout)]

#[allow(dead_code, reason = "each test binary uses its part")]
mod harness;
#[path = "outsiders/validators.rs"]
mod validators;

use harness::{Steerd, write_config};
use std::process::Command;

/// What a program prints; `None` when it is not installed.
fn run(program: &str, args: &[&str]) -> Option<String> {
    match Command::new(program).args(args).output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            assert!(std::env::var_os("CI").is_none(), "{program} is not installed");
            eprintln!("SKIPPED: {program} is not installed");
            None
        }
        Err(error) => panic!("{program}: {error}"),
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
