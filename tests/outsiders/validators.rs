//! A signed zone, validated by programs that we did not write: `delv`, `drill`, `unbound-host` and
//! `dnsviz`; and its key files, read and written by BIND's tools.

use super::harness::{Steerd, binary, write_config};
use super::run;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Static records: an alias, one to nowhere, a wildcard, an empty non-terminal, delegations.
const RECORDS: &str = "\
ns1 A 127.0.0.1
www CNAME video
gone CNAME nowhere
*.wild A 192.0.2.77
a.b.ent TXT x
plain NS ns.plain
ns.plain A 192.0.2.98
sub NS ns.sub
sub DS 1 8 2 e2d3c916f6deeac73294e8268fb5885044a833fc5459588f4a9184cfc41a5766
ns.sub A 192.0.2.99
";

/// Two appliances for everybody on this machine, a service and a wildcard.
const TABLE: &str = r#"{"table":{"format":1,"epoch":1,"source":"test"}}
{"site":{"code":"a","lat":52.3,"lon":4.8}}
{"cluster":{"name":"a","site":"a","class":"transit"}}
{"appliance":{"name":"a1","cluster":"a","ipv4":"192.0.2.10","hostname":"a1.cdn.example","capacity_mbps":1000}}
{"appliance":{"name":"a2","cluster":"a","ipv4":"192.0.2.11","hostname":"a2.cdn.example","capacity_mbps":1000}}
{"service":{"name":"video.cdn.example","ttl_s":30}}
{"service":{"name":"*.live.cdn.example","ttl_s":30}}
{"route":{"prefix":"127.0.0.0/8","via":[{"cluster":"a"}]}}
"#;

/// A signed zone that is served.
struct Signed {
    steerd: Steerd,
    dir: PathBuf,
}

/// What a `steerd keys` command prints; it must work.
fn keys(dir: &Path, words: &[&str]) -> String {
    let (verb, rest) = words.split_first().expect("a verb");
    let mut command = Command::new(binary::path());
    command.args(["keys", verb]).args(rest).arg("--dir").arg(dir.join("keys"));
    let output = command.output().expect("the binary under test");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Serves the zone with the keys that are in `dir/keys`.
fn serve(dir: &Path) -> Signed {
    let config = write_config(dir, "");
    let text = std::fs::read_to_string(&config).expect("written");
    let zone = "ns = [\"ns1.cdn.example\"]\nrecords = \"zone\"\nkeys = \"keys\"";
    let text = text.replace("ns = [\"ns.other.example\"]", zone);
    std::fs::write(&config, text).expect("written");
    std::fs::write(dir.join("zone"), RECORDS).expect("written");
    let steerd = Steerd::start(&config);
    assert_eq!(steerd.call("PUT", "/v1/table", TABLE.as_bytes()).status, 200);
    Signed { steerd, dir: dir.to_owned() }
}

/// The DNSKEY records that are secure entry points, by words.
fn anchors(dir: &Path) -> Vec<Vec<String>> {
    let files = std::fs::read_dir(dir.join("keys")).expect("keys").flatten().map(|entry| entry.path());
    let texts = files.filter(|path| path.extension().is_some_and(|kind| kind == "key"));
    let texts: Vec<String> = texts.map(|path| std::fs::read_to_string(path).expect("a key")).collect();
    let records = texts.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with(';'));
    let records = records.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    records.filter(|words| words.iter().any(|word| word == "257")).collect()
}

impl Signed {
    /// A trust anchor as zone files have it.
    fn anchor_file(&self) -> String {
        let path = self.dir.join("anchor.key");
        let lines: Vec<String> = anchors(&self.dir).iter().map(|words| words.join(" ")).collect();
        std::fs::write(&path, lines.join("\n") + "\n").expect("written");
        path.display().to_string()
    }

    /// The same for BIND.
    fn anchor_conf(&self) -> String {
        let path = self.dir.join("anchor.conf");
        let key = |words: &Vec<String>| {
            let at = words.iter().position(|word| word == "257").expect("flags");
            let public = words[at + 3..].concat();
            format!(
                "trust-anchors {{ \"cdn.example.\" static-key 257 3 {} \"{public}\"; }};\n",
                words[at + 2]
            )
        };
        let text: String = anchors(&self.dir).iter().map(key).collect();
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    /// What `delv` says of a question; `None` when it is not installed.
    fn delv(&self, name: &str, qtype: &str) -> Option<String> {
        let (server, port) = (format!("@{}", self.steerd.dns.ip()), self.steerd.dns.port().to_string());
        let anchor = self.anchor_conf();
        run("delv", &[&server, "-p", &port, "-a", &anchor, "+root=cdn.example", name, qtype])
    }

    /// Checks what `delv` says; false when it is not installed.
    fn is_validated(&self, name: &str, qtype: &str, expected: &str) -> bool {
        let Some(said) = self.delv(name, qtype) else { return false };
        assert!(said.contains(expected), "{name} {qtype}: {said}");
        true
    }
}

/// Questions of every kind and what `delv` says of each.
const QUESTIONS: &[(&str, &str, &str)] = &[
    ("video.cdn.example", "A", "; fully validated"),
    ("x.live.cdn.example", "A", "; fully validated"),
    ("q.wild.cdn.example", "A", "; fully validated"),
    ("www.cdn.example", "A", "; fully validated"),
    ("sub.cdn.example", "DS", "; fully validated"),
    ("cdn.example", "DNSKEY", "; fully validated"),
    ("cdn.example", "SOA", "; fully validated"),
    ("video.cdn.example", "NSEC", "; fully validated"),
    ("video.cdn.example", "AAAA", "; negative response, fully validated"),
    ("nobody.cdn.example", "A", "; negative response, fully validated"),
    ("b.ent.cdn.example", "A", "; negative response, fully validated"),
    ("q.wild.cdn.example", "MX", "; negative response, fully validated"),
    ("gone.cdn.example", "A", "; negative response, fully validated"),
    ("plain.cdn.example", "DS", "; negative response, fully validated"),
];

#[test]
fn delv_validates_every_kind_of_answer_of_either_algorithm() {
    for roles in [&["--algorithm=ecdsap256sha256"][..], &["--algorithm=ed25519", "--role=zsk"]] {
        let dir = tempfile::tempdir().expect("a directory");
        keys(dir.path(), &[&["generate", "cdn.example"], roles].concat());
        if roles.len() > 1 {
            keys(dir.path(), &["generate", "cdn.example", "--algorithm=ed25519", "--role=ksk"]);
        }
        let signed = serve(dir.path());
        for (name, qtype, expected) in QUESTIONS {
            if !signed.is_validated(name, qtype, expected) {
                return;
            }
        }
    }
}

#[test]
fn drill_chases_signatures_up_to_the_anchor() {
    let dir = tempfile::tempdir().expect("a directory");
    keys(dir.path(), &["generate", "cdn.example"]);
    let signed = serve(dir.path());
    let (server, port) = (format!("@{}", signed.steerd.dns.ip()), signed.steerd.dns.port().to_string());
    let anchor = signed.anchor_file();
    for (name, expected) in [
        ("video.cdn.example", "video.cdn.example. (A)"),
        ("x.live.cdn.example", "x.live.cdn.example. (A)"),
        ("nobody.cdn.example", "Existence is denied by:"),
    ] {
        let Some(said) = run("drill", &["-p", &port, "-S", "-k", &anchor, &server, name, "A"]) else {
            return;
        };
        assert!(said.contains(expected) && said.contains("Chase successful"), "{name}: {said}");
    }
}

#[test]
fn unbound_finds_everything_secure_in_either_order() {
    let dir = tempfile::tempdir().expect("a directory");
    keys(dir.path(), &["generate", "cdn.example", "--role=ksk"]);
    keys(dir.path(), &["generate", "cdn.example", "--role=zsk"]);
    let signed = serve(dir.path());
    let (ip, port) = (signed.steerd.dns.ip(), signed.steerd.dns.port());
    // Denials that are kept must not deny more than they say.
    let conf = format!(
        "server:\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n \
         do-not-query-localhost: no\n aggressive-nsec: yes\n harden-algo-downgrade: yes\n \
         trust-anchor-file: \"{}\"\nstub-zone:\n name: \"cdn.example\"\n stub-addr: {ip}@{port}\n",
        signed.anchor_file()
    );
    let file = dir.path().join("unbound.conf");
    std::fs::write(&file, conf).expect("written");
    let file = file.display().to_string();
    for (name, qtype, expected) in [
        ("video.cdn.example", "A", "has address 192.0.2.10 (secure)"),
        ("video.cdn.example", "AAAA", "has no IPv6 address (secure)"),
        ("video.cdn.example", "MX", "has no mail handler record (secure)"),
        ("x.live.cdn.example", "A", "has address 192.0.2.11 (secure)"),
        ("q.wild.cdn.example", "A", "has address 192.0.2.77 (secure)"),
        ("www.cdn.example", "A", "is an alias for video.cdn.example. (secure)"),
        ("nobody.cdn.example", "A", "has no address (secure)"),
        ("ent.cdn.example", "A", "has no address (secure)"),
    ] {
        let Some(said) = run("unbound-host", &["-C", &file, "-v", "-t", qtype, name]) else { return };
        assert!(said.contains(expected) && !said.contains("BOGUS"), "{name} {qtype}: {said}");
        assert!(said.lines().all(|line| line.ends_with("(secure)")), "{name} {qtype}: {said}");
    }
}

#[test]
fn dnsviz_finds_no_fault() {
    let dir = tempfile::tempdir().expect("a directory");
    keys(dir.path(), &["generate", "cdn.example", "--sync-publish=now"]);
    let signed = serve(dir.path());
    let probe = dir.path().join("probe.json").display().to_string();
    let server = format!("cdn.example+:ns1.cdn.example={}", signed.steerd.dns);
    let names = ["cdn.example", "video.cdn.example", "x.live.cdn.example", "nobody.cdn.example"];
    let more = ["www.cdn.example", "ent.cdn.example", "q.wild.cdn.example", "a1.cdn.example"];
    let head = ["probe", "-d", "1", "-4", "-A", "-x", &server, "-o", &probe];
    if run("dnsviz", &[&head[..], &names, &more].concat()).is_none() {
        return;
    }
    let said = run("dnsviz", &["grok", "-l", "warning", "-r", &probe]).expect("dnsviz is here");
    assert!(said.trim().is_empty(), "{said}");
    let said = run("dnsviz", &["grok", "-l", "info", "-r", &probe]).expect("dnsviz is here");
    let valid = said.matches("\"status\": \"VALID\"").count();
    assert!(valid > 20 && !said.contains("INVALID") && !said.contains("BOGUS"), "{valid}: {said}");
}

#[test]
fn keys_of_bind_are_served_and_its_tools_read_ours() {
    let dir = tempfile::tempdir().expect("a directory");
    let folder = dir.path().join("keys");
    std::fs::create_dir(&folder).expect("a directory");
    let path = folder.display().to_string();
    for flags in [&["-f", "KSK"][..], &[]] {
        let args = [&["-q", "-K", &path, "-a", "ECDSAP256SHA256"], flags, &["cdn.example"]].concat();
        if run("dnssec-keygen", &args).is_none() {
            return;
        }
    }
    let signed = serve(dir.path());
    signed.is_validated("video.cdn.example", "A", "; fully validated");
    let listed = keys(dir.path(), &["list", "cdn.example"]);
    assert_eq!(listed.matches("  active").count(), 2, "{listed}");
    let made = keys(dir.path(), &["generate", "cdn.example", "--role=ksk", "--inactive=+7d"]);
    let file = folder.join(made.trim()).display().to_string();
    let times = run("dnssec-settime", &["-u", "-p", "all", &file]).expect("BIND's tools are here");
    assert!(times.contains("Inactive: 1") && times.contains("Revoke: UNSET"), "{times}");
    let theirs = run("dnssec-dsfromkey", &["-2", &file]).expect("BIND's tools are here");
    let ours = keys(dir.path(), &["ds", "cdn.example"]);
    assert!(ours.contains(theirs.trim()), "{ours} {theirs}");
    run("dnssec-settime", &["-K", &path, "-I", "20300101000000", made.trim()])
        .expect("BIND's tools are here");
    let listed = keys(dir.path(), &["list", "cdn.example"]);
    assert!(listed.contains("Inactive 20300101000000"), "{listed}");
}

#[test]
fn a_reload_takes_new_keys_and_one_with_broken_keys_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    keys(dir.path(), &["generate", "cdn.example"]);
    let signed = serve(dir.path());
    let known = || {
        let told = signed.steerd.call("GET", "/metrics", b"").body;
        let changes = told.lines().find(|line| line.starts_with("steerd_dnssec_key_change_seconds"));
        changes.map(str::to_owned)
    };
    assert_eq!(known(), None, "nothing is to come");
    let reload = || {
        let pid = signed.steerd.pid().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill").success());
    };
    keys(dir.path(), &["roll", "cdn.example"]);
    reload();
    // It is a signal: when it has been handled shows in what is told of the keys.
    while known().is_none() {
        std::thread::yield_now();
    }
    if !signed.is_validated("video.cdn.example", "A", "; fully validated") {
        return;
    }
    let both = signed.delv("cdn.example", "DNSKEY").expect("delv is here");
    assert_eq!(
        both.lines().filter(|line| line.contains("DNSKEY") && line.contains(" 257 ")).count(),
        2,
        "{both}"
    );
    std::fs::write(dir.path().join("keys/Kcdn.example.+013+00001.key"), "cdn.example. IN TXT x\n")
        .expect("written");
    reload();
    signed.is_validated("x.live.cdn.example", "A", "; fully validated");
    let output = Command::new(binary::path())
        .args(["check", "--config"])
        .arg(dir.path().join("steerd.toml"))
        .output()
        .expect("the binary under test");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("Kcdn.example.+013+00001."), "{said}");
}
