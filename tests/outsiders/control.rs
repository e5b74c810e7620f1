//! The push API over TLS: `curl` and `openssl` with and without certificates, and our own client.

use super::harness::{Steerd, binary, write_config};
use super::run;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Whom the server's certificate is for.
const NAME: &str = "steer1.example";

/// Writes an authority's certificate as `{file}.pem` into `dir`.
fn authority(dir: &Path, file: &str) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, format!("authority {file}"));
    let key = KeyPair::generate().expect("a key");
    let made = params.self_signed(&key).expect("a certificate");
    fs::write(dir.join(file).with_extension("pem"), made.pem()).expect("written");
    Issuer::new(params, key)
}

/// Writes a certificate that `by` made, and its key, as `{file}.pem` and `{file}.key` into `dir`.
fn certify(dir: &Path, file: &str, by: &Issuer<'static, KeyPair>, common: &str, others: &[SanType]) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    params.subject_alt_names = others.to_vec();
    let key = KeyPair::generate().expect("a key");
    let made = params.signed_by(&key, by).expect("a certificate");
    fs::write(dir.join(file).with_extension("pem"), made.pem()).expect("written");
    fs::write(dir.join(file).with_extension("key"), key.serialize_pem()).expect("written");
}

/// Serves with the push API over TLS for clients of the authority `ca`, which made certificates for an
/// inventory and for somebody without rights; `other` made one with the inventory's name.
fn start(dir: &Path) -> Steerd {
    let (ca, other) = (authority(dir, "ca"), authority(dir, "other"));
    let dns = |name: &str| SanType::DnsName(name.try_into().expect("ASCII"));
    certify(dir, "server", &ca, "a server", &[dns(NAME)]);
    certify(dir, "inventory", &ca, "not this", &[dns("inventory-eu.example")]);
    certify(dir, "watcher", &ca, "watcher", &[]);
    certify(dir, "nobody", &ca, "nobody", &[]);
    certify(dir, "forged", &other, "watcher", &[dns("inventory-eu.example")]);
    fs::write(dir.join("token"), "heartbeats-only").expect("written");
    let control = "[control]\nlisten_tls = [\"127.0.0.1:0\"]\nclient_ca = \"ca.pem\"\n\
                   clients = [{ name = \"inventory-eu.example\", may = [\"table\", \"read\"] }, { name = \"watcher\", may = [\"read\"] }]\n\
                   tokens = [{ file = \"token\", may = [\"heartbeat\"] }]\n";
    let config = write_config(dir, "[[tls]]\ncert = \"server.pem\"\nkey = \"server.key\"\n");
    let text = fs::read_to_string(&config).expect("a config").replace("[control]\n", control);
    fs::write(&config, text).expect("written");
    Steerd::start(&config)
}

/// What `curl` is told: the status, and the body after it. Without `who`, no certificate is shown.
fn curl(steerd: &Steerd, dir: &Path, who: Option<&str>, path: &str, more: &[&str]) -> Option<String> {
    let port = steerd.control_tls.expect("a listener").port();
    let file = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
    let (ca, resolve) = (file("ca.pem"), format!("{NAME}:{port}:127.0.0.1"));
    let url = format!("https://{NAME}:{port}{path}");
    let mut args =
        vec!["-s", "-w", "\n%{http_code} %{http_version}", "--cacert", &ca, "--resolve", &resolve, &url];
    let files = who.map(|who| (file(&format!("{who}.pem")), file(&format!("{who}.key"))));
    if let Some((cert, key)) = &files {
        args.extend(["--cert", cert, "--key", key]);
    }
    args.extend(more);
    run("curl", &args)
}

#[test]
fn curl_calls_over_tls_with_a_certificate_or_a_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let steerd = start(dir);
    let table = format!("@{}/data/fleet-small.ndjson", env!("CARGO_MANIFEST_DIR"));
    let put = ["-X", "PUT", "--data-binary", &table, "-H", "content-type: application/x-ndjson"];
    let bare = ["-X", "PUT", "--data-binary", &table, "-H", "content-type: text/plain"];
    let beat =
        ["-H", "authorization: bearer heartbeats-only", "--data-binary", r#"{"appliance":"a","state":"up"}"#];
    for (who, path, more, expected) in [
        (None, "/healthz", &[][..], "200 2"),
        (None, "/v1/status", &[], "401 2"),
        (Some("watcher"), "/v1/status", &[], "200 2"),
        (Some("watcher"), "/v1/status", &["--http1.1"], "200 1.1"),
        (Some("watcher"), "/v1/status", &["--tlsv1.2", "--tls-max", "1.2"], "200 2"),
        (Some("nobody"), "/v1/status", &[], "401 2"),
        // Its authority is not ours: there is no connection.
        (Some("forged"), "/v1/status", &[], "000 0"),
        (Some("watcher"), "/v1/table", &put, "403 2"),
        (None, "/v1/table", &put, "401 2"),
        (Some("inventory"), "/v1/table", &bare, "403 2"),
        (Some("inventory"), "/v1/table", &put, "200 2"),
        (Some("inventory"), "/v1/table", &[], "200 2"),
        // What the certificate lacks the token has; an appliance of that name there is not.
        (
            Some("inventory"),
            "/v1/heartbeat",
            &[&beat[..], &["-H", "content-type: application/json"]].concat(),
            "200 2",
        ),
    ] {
        let Some(said) = curl(&steerd, dir, who, path, more) else { return };
        assert_eq!(said.lines().last(), Some(expected), "{who:?} {path} {more:?}: {said}");
    }
    let refused = curl(&steerd, dir, None, "/v1/status", &[]).expect("curl is here");
    assert!(refused.contains("a bearer token or a client's certificate is needed"), "{refused}");
    let metrics = curl(&steerd, dir, Some("watcher"), "/metrics", &[]).expect("curl is here");
    assert!(metrics.contains("steerd_tls_connections_total{result=\"untrusted\"} 1"), "{metrics}");
}

#[test]
fn openssl_is_asked_for_a_certificate_of_the_authority() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let steerd = start(dir);
    let at = steerd.control_tls.expect("a listener").to_string();
    let ca = dir.join("ca.pem");
    let ca = ca.to_str().expect("UTF-8");
    for version in ["-tls1_2", "-tls1_3"] {
        let args = ["s_client", "-connect", &at, "-servername", NAME, "-CAfile", ca, version, "-alpn", "h2"];
        let Some(text) = run("openssl", &args) else { return };
        for expected in ["Verification: OK", "ALPN protocol: h2", "Acceptable client certificate CA names"] {
            assert!(text.contains(expected), "{version}: {expected}: {text}");
        }
        assert!(text.contains("authority ca") && !text.contains("authority other"), "{version}: {text}");
    }
}

#[test]
fn authorities_and_clients_are_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let steerd = start(dir);
    let status = |who: &str| {
        let said = curl(&steerd, dir, Some(who), "/v1/status", &[])?;
        said.lines().last().and_then(|line| line.split(' ').next()).map(str::to_owned)
    };
    let reload = || {
        let pid = steerd.pid().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill runs").success());
    };
    let becomes = |who: &str, expected: &str| {
        assert!((0..10_000).any(|_| status(who).as_deref() == Some(expected)), "{who} becomes {expected}");
    };
    if status("watcher").is_none() {
        return;
    }
    // Damaged, the last good authority stays; that the file was read shows in what else changed.
    let ca = fs::read_to_string(dir.join("ca.pem")).expect("a file");
    fs::write(dir.join("ca.pem"), "-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n")
        .expect("written");
    let config = fs::read_to_string(dir.join("steerd.toml")).expect("a config");
    fs::write(dir.join("steerd.toml"), config.replace("name = \"watcher\"", "name = \"nobody\""))
        .expect("written");
    let trusting = |text: &str| fs::write(dir.join("ca.pem"), text).expect("written");
    reload();
    let good = dir.join("good.pem");
    fs::write(&good, &ca).expect("written");
    let status_by = |who: &str| {
        let (cert, key) = (dir.join(format!("{who}.pem")), dir.join(format!("{who}.key")));
        let port = steerd.control_tls.expect("a listener").port();
        let resolve = format!("{NAME}:{port}:127.0.0.1");
        let url = format!("https://{NAME}:{port}/v1/status");
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let (good, cert, key) = (text(&good), text(&cert), text(&key));
        let args = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", &good, "--resolve", &resolve];
        run("curl", &[&args[..], &["--cert", &cert, "--key", &key, &url]].concat()).expect("curl is here")
    };
    assert!((0..10_000).any(|_| status_by("nobody") == "200"), "the clients were read again");
    assert_eq!(status_by("watcher"), "401", "its name is not known any more");
    // Another authority: certificates of the former are no good.
    trusting(&fs::read_to_string(dir.join("other.pem")).expect("a file"));
    reload();
    assert!((0..10_000).any(|_| status_by("forged") == "200"), "the authority was read again");
    assert_eq!(status_by("nobody"), "000");
    trusting(&ca);
    reload();
    becomes("nobody", "200");
}

/// What our own client says.
fn steerd(dir: &Path, args: &[&str]) -> Output {
    Command::new(binary::path()).args(args).current_dir(dir).output().expect("the binary under test")
}

#[test]
fn our_own_client_pushes_over_tls() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let server = start(dir);
    let port = server.control_tls.expect("a listener").port();
    let table = format!("{}/data/fleet-small.ndjson", env!("CARGO_MANIFEST_DIR"));
    // The certificate is not for the address.
    let by_address = format!("https://127.0.0.1:{port}");
    let shown = ["--ca", "ca.pem", "--cert", "inventory.pem", "--key", "inventory.key"];
    let failed = steerd(dir, &[&["push", &table, "--server", &by_address], &shown[..]].concat());
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(said.contains("invalid peer certificate") && said.contains("--ca"), "{said}");
    // For that address there is one.
    let ca = authority(dir, "ca");
    let others =
        [SanType::IpAddress([127, 0, 0, 1].into()), SanType::DnsName(NAME.try_into().expect("ASCII"))];
    certify(dir, "server", &ca, "a server", &others);
    certify(
        dir,
        "inventory",
        &ca,
        "inventory",
        &[SanType::DnsName("inventory-eu.example".try_into().expect("ASCII"))],
    );
    certify(dir, "nobody", &ca, "nobody", &[]);
    let pid = server.pid().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill runs").success());
    let push = |more: &[&str]| {
        let output = steerd(dir, &[&["push", &table, "--server", &by_address][..], more].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let is_pushed = || push(&shown).0 == Some(0);
    assert!((0..1000).any(|_| is_pushed()), "{}", push(&shown).1);
    let (code, said) = push(&["--ca", "ca.pem"]);
    assert!(code == Some(1) && said.contains("--cert and --key"), "{said}");
    let (code, said) = push(&["--ca", "ca.pem", "--cert", "nobody.pem", "--key", "nobody.key"]);
    assert!(code == Some(1) && said.contains("control.clients"), "{said}");
    let (code, said) = push(&["--ca", "ca.pem", "--cert", "forged.pem", "--key", "forged.key"]);
    assert!(code == Some(1) && said.contains("control.client_ca"), "{said}");
    let (code, said) = push(&["--ca", "nowhere.pem"]);
    assert!(code == Some(2) && said.contains("nowhere.pem"), "{said}");
}
