//! DNS over TLS and HTTPS, redirects over TLS, and all of it behind a proxy: `kdig`, `openssl`, `curl`,
//! `haproxy`.

use super::harness::{Steerd, write_config};
use super::run;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whom the certificate is for, beside `*.cdn.example`.
const NAME: &str = "dns.cdn.example";

/// Writes a certificate and its key into `dir`; where the certificate is.
fn write_certificate(dir: &Path) -> PathBuf {
    let names = vec![NAME.to_owned(), "*.cdn.example".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    std::fs::write(dir.join("a.key"), made.signing_key.serialize_pem()).expect("written");
    // At once, as it has to be where somebody watches.
    std::fs::write(dir.join("new.pem"), made.cert.pem()).expect("written");
    std::fs::rename(dir.join("new.pem"), dir.join("a.pem")).expect("renamed");
    dir.join("a.pem")
}

/// Serves the small demo fleet from a config of which some text is replaced.
fn start(dir: &Path, replaced: &[(&str, &str)], more: &str) -> Steerd {
    let config = write_config(dir, more);
    let mut text = std::fs::read_to_string(&config).expect("a config");
    for (from, to) in replaced {
        assert!(text.contains(from), "{from} in {text}");
        text = text.replacen(from, to, 1);
    }
    std::fs::write(&config, text).expect("written");
    let steerd = Steerd::start(&config);
    let table = include_bytes!("../../data/fleet-small.ndjson");
    assert_eq!(steerd.call("PUT", "/v1/table", table).status, 200);
    steerd
}

/// The same with TLS for DNS and HTTP, and DNS over HTTP.
fn start_tls(dir: &Path) -> (Steerd, String) {
    let certificate = write_certificate(dir);
    let replaced = [
        ("[dns]\n", "[dns]\ndoh = true\nlisten_tls = [\"127.0.0.1:0\"]\n"),
        ("[http]\n", "[http]\nlisten_tls = [\"127.0.0.1:0\"]\n"),
    ];
    let more = "[[tls]]\ncert = \"a.pem\"\nkey = \"a.key\"\n[dnstap]\nfile = \"tap\"\n";
    (start(dir, &replaced, more), certificate.to_str().expect("UTF-8").to_owned())
}

/// The lines of one metric, however it is labelled.
fn metric(steerd: &Steerd, name: &str) -> u64 {
    let text = steerd.call("GET", "/metrics", b"").body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name} in {text}")) as u64
}

/// IPv4 addresses of the service in what a DNS tool prints, sorted.
fn addresses(text: &str) -> Vec<String> {
    let is_answer = |line: &&str| line.starts_with("video.cdn.example.") && line.contains("\tA\t");
    let answers = text.lines().filter(is_answer);
    let mut found: Vec<String> =
        answers.filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect();
    found.sort();
    found
}

#[test]
fn kdig_asks_over_tls_and_https() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut steerd, certificate) = start_tls(dir.path());
    let question = ["video.cdn.example", "A", "+subnet=193.0.6.0/24"];
    let (ca, hostname) = (format!("+tls-ca={certificate}"), format!("+tls-hostname={NAME}"));
    let server = format!("@{}", steerd.dns.ip());
    let ask = |port: u16, more: &[&str]| {
        let port = port.to_string();
        run("kdig", &[&[server.as_str(), "-p", port.as_str()], &question[..], more].concat())
    };
    let Some(plain) = ask(steerd.dns.port(), &[]) else { return };
    let expected = addresses(&plain);
    assert_eq!(expected.len(), 2, "{plain}");
    let (tls, https) = (steerd.dns_tls.expect("a listener"), steerd.https.expect("a listener"));
    let url = format!("+https={NAME}/dns-query");
    for (port, how) in [
        (tls.port(), &["+tls", &ca, &hostname][..]),
        (tls.port(), &["+tls", &ca, &hostname, "+keepopen"]),
        (https.port(), &[url.as_str(), &ca, &hostname]),
        (https.port(), &[url.as_str(), "+https-get", &ca, &hostname]),
    ] {
        let text = ask(port, how).expect("kdig is here");
        assert_eq!(addresses(&text), expected, "{how:?}: {text}");
        assert!(text.contains("status: NOERROR"), "{how:?}: {text}");
    }
    let padded = ask(tls.port(), &["+tls", "+padding", &ca, &hostname]).expect("kdig is here");
    assert!(padded.contains("PADDING: ") && padded.contains("Received 468 B"), "{padded}");
    // Whom the client does not believe it does not ask.
    let wrong = ask(tls.port(), &["+tls", &ca, "+tls-hostname=other.example"]).expect("kdig is here");
    assert_eq!(addresses(&wrong).len(), 0, "{wrong}");
    assert_eq!(metric(&steerd, "steerd_dns_tls_messages_total{outcome=\"steered\"}"), 3);
    assert_eq!(metric(&steerd, "steerd_dns_https_messages_total{outcome=\"steered\"}"), 2);
    assert_eq!(metric(&steerd, "steerd_http_requests_total{outcome=\"dns\"}"), 2);
    assert!(metric(&steerd, "steerd_tls_certificate_expiry_seconds{which=\"first\"}") > 1_000_000_000);
    steerd.terminate();
    // Their reader knows neither of them yet: the fields after the family, as they are written.
    let tap = std::fs::read(dir.path().join("tap")).expect("a file");
    let count = |protocol| tap.windows(4).filter(|four| *four == [0x10, 1, 0x18, protocol]).count();
    assert_eq!((count(1), count(2), count(3), count(4)), (1, 0, 3, 2), "UDP, TCP, DOT, DOH");
}

#[test]
fn openssl_shakes_hands_and_sees_a_replaced_certificate() {
    let dir = tempfile::tempdir().expect("a directory");
    let (steerd, certificate) = start_tls(dir.path());
    let tls = steerd.dns_tls.expect("a listener").to_string();
    let shake = |more: &[&str]| {
        let args = ["s_client", "-connect", &tls, "-servername", NAME, "-CAfile", &certificate];
        run("openssl", &[&args[..], more].concat())
    };
    for (more, expected) in [
        (&["-alpn", "dot", "-tls1_3"][..], &["Verification: OK", "ALPN protocol: dot", "TLSv1.3"][..]),
        (&["-alpn", "dot", "-tls1_2"], &["Verification: OK", "ALPN protocol: dot", "TLSv1.2"]),
        (&["-tls1_2"], &["Verification: OK", "No ALPN negotiated"]),
    ] {
        let Some(text) = shake(more) else { return };
        for expected in expected {
            assert!(text.contains(expected), "{more:?}: {expected}: {text}");
        }
    }
    let refused = shake(&["-alpn", "h2"]).expect("openssl is here");
    assert!(!refused.contains("ALPN protocol"), "{refused}");
    assert_eq!(metric(&steerd, "steerd_tls_connections_total{result=\"incompatible\"}"), 1);
    // A session that was begun is gone on with.
    let session = dir.path().join("session");
    let session = session.to_str().expect("UTF-8");
    shake(&["-tls1_2", "-sess_out", session]).expect("openssl is here");
    let resumed = shake(&["-tls1_2", "-sess_in", session]).expect("openssl is here");
    assert!(resumed.contains("Reused, TLSv1.2"), "{resumed}");
    // Another certificate is shown without a signal; the old one's last clients are not told.
    write_certificate(dir.path());
    let is_replaced = || metric(&steerd, "steerd_tls_reloads_total{result=\"replaced\"}") > 0;
    assert!((0..100_000).any(|_| is_replaced()), "the files are watched");
    let text = shake(&["-tls1_3"]).expect("openssl is here");
    assert!(text.contains("Verification: OK"), "{text}");
}

#[test]
fn curl_asks_for_dns_and_is_redirected_over_tls() {
    let dir = tempfile::tempdir().expect("a directory");
    let (steerd, certificate) = start_tls(dir.path());
    let https = steerd.https.expect("a listener");
    // For video.cdn.example, A.
    let query = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x05video\x03cdn\x07example\0\0\x01\0\x01";
    let file = dir.path().join("query");
    std::fs::write(&file, query).expect("written");
    let body = format!("@{}", file.display());
    let get = "/dns-query?dns=AAABAAABAAAAAAAABXZpZGVvA2NkbgdleGFtcGxlAAABAAE";
    let dns = "content-type: application/dns-message";
    let ask = |scheme: &str, host: &str, path: &str, more: &[&str]| {
        let port = if scheme == "https" { https.port() } else { steerd.http.port() };
        let (url, resolve) = (format!("{scheme}://{host}:{port}{path}"), format!("{host}:{port}:127.0.0.1"));
        let args = ["-s", "-D", "-", "-o", "/dev/null", "--cacert", &certificate, "--resolve", &resolve];
        let text = run("curl", &[&args[..], more, &[&url]].concat())?;
        Some(text.to_ascii_lowercase())
    };
    let Some(first) = ask("https", NAME, get, &[]) else { return };
    assert!(first.starts_with("http/2 200") && first.contains(dns), "{first}");
    assert!(first.contains("cache-control: private, max-age="), "{first}");
    let post = ["--data-binary", &body, "-H", dns];
    for (scheme, more) in [
        ("https", &["--http1.1"][..]),
        ("https", &["-I"]),
        ("http", &[]),
        ("http", &["--http2-prior-knowledge"]),
    ] {
        let text = ask(scheme, NAME, get, more).expect("curl is here");
        let is_answered = text.split_whitespace().nth(1) == Some("200") && text.contains(dns);
        assert!(is_answered && text.contains("max-age="), "{scheme} {more:?}: {text}");
    }
    let check = |path: &str, more: &[&str], expected: &str| {
        let text = ask("https", NAME, path, more).expect("curl is here");
        assert_eq!(text.split_whitespace().nth(1), Some(expected), "{path} {more:?}: {text}");
        text
    };
    check("/dns-query", &post, "200");
    check("/dns-query", &["--data-binary", &body, "-H", "content-type: text/plain"], "415");
    check("/dns-query?dns=AAAB%3D", &[], "400");
    check("/dns-query", &[], "400");
    check("/dns-query?dns=AAAB", &[], "400");
    assert!(check("/dns-query", &["-X", "PUT"], "405").contains("allow: get, head, post"));
    std::fs::write(&file, vec![0; 70_000]).expect("written");
    check("/dns-query", &post, "413");
    check("/other", &[], "421");
    // A service's own path is the service's.
    for scheme in ["http", "https"] {
        let text = ask(scheme, "video.cdn.example", get, &[]).expect("curl is here");
        let location = text.lines().find_map(|line| line.strip_prefix("location: ")).expect("a location");
        assert!(
            location.starts_with(&format!("{scheme}://")) && location.contains("/dns-query?dns="),
            "{text}"
        );
    }
    let told = metric(&steerd, "steerd_http_requests_total{outcome=\"dns_refused\"}");
    assert_eq!(told, 6);
}

/// A running haproxy; killed when dropped.
struct Haproxy(Child);

impl Drop for Haproxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ports that are free for now.
fn free_ports<const N: usize>() -> [SocketAddr; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    held.map(|listener| listener.local_addr().expect("bound"))
}

/// haproxy before `steerd`, for clients that it says are 193.0.6.1; `header` is how it says so.
fn start_haproxy(dir: &Path, header: &str, pairs: &[(SocketAddr, SocketAddr)]) -> Option<Haproxy> {
    let mut text = "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n"
        .to_owned();
    for (number, (front, back)) in pairs.iter().enumerate() {
        text += &format!(
            "listen l{number}\n  bind {front}\n  tcp-request connection set-src ipv4(193.0.6.1)\n  server s {back} {header}\n"
        );
    }
    let file = dir.join("haproxy.cfg");
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new("haproxy");
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin");
    command.args(["-db", "-f"]).arg(&file).env("PATH", path);
    let Ok(child) = command.spawn() else {
        assert!(std::env::var_os("CI").is_none(), "haproxy is not installed");
        eprintln!("SKIPPED: haproxy is not installed");
        return None;
    };
    let mut haproxy = Haproxy(child);
    for (front, _) in pairs {
        while TcpStream::connect(front).is_err() {
            assert!(haproxy.0.try_wait().expect("a child").is_none(), "haproxy has ended");
            std::thread::yield_now();
        }
    }
    Some(haproxy)
}

#[test]
fn haproxy_says_whose_connections_it_brings() {
    let dir = tempfile::tempdir().expect("a directory");
    let certificate = write_certificate(dir.path());
    let certificate = certificate.to_str().expect("UTF-8");
    let (listen, proxied) =
        ("listen = [\"127.0.0.1:0\"]", "listen = [{ addr = \"127.0.0.1:0\", proxy_protocol = true }]");
    let tls = "listen_tls = [{ addr = \"127.0.0.1:0\", proxy_protocol = true }]\n";
    let dns = format!("[dns]\ntrusted_proxies = [\"127.0.0.1\"]\n{tls}");
    let http = format!("[http]\n{tls}");
    let replaced = [(listen, proxied), (listen, proxied), ("[dns]\n", &dns), ("[http]\n", &http)];
    let steerd = start(dir.path(), &replaced, "[[tls]]\ncert = \"a.pem\"\nkey = \"a.key\"\n");
    let (dns_tls, https) = (steerd.dns_tls.expect("a listener"), steerd.https.expect("a listener"));
    let explained = steerd.call("GET", "/v1/explain?client=193.0.6.1&service=video.cdn.example", b"").json();
    let cluster = explained["candidates"][0]["cluster"].as_str().expect("a cluster").to_owned();
    for header in ["send-proxy-v2", "send-proxy"] {
        let [tcp, dot, redirects, tls] = free_ports();
        let pairs = [(tcp, steerd.dns), (dot, dns_tls), (redirects, steerd.http), (tls, https)];
        let Some(_haproxy) = start_haproxy(dir.path(), header, &pairs) else { return };
        let before = metric(&steerd, &format!("steerd_cluster_answers_total{{cluster=\"{cluster}\"}}"));
        let (ca, hostname) = (format!("+tls-ca={certificate}"), format!("+tls-hostname={NAME}"));
        for (at, how) in [(tcp, &["+tcp"][..]), (dot, &["+tls", &ca, &hostname])] {
            let port = at.port().to_string();
            let args = ["@127.0.0.1", "-p", &port, "video.cdn.example", "A"];
            let Some(text) = run("kdig", &[&args[..], how].concat()) else { return };
            assert!(!addresses(&text).is_empty(), "{header} {how:?}: {text}");
        }
        for (scheme, at) in [("http", redirects), ("https", tls)] {
            let port = at.port();
            let resolve = format!("video.cdn.example:{port}:127.0.0.1");
            let url = format!("{scheme}://video.cdn.example:{port}/a");
            let args = ["-s", "-i", "--cacert", certificate, "--resolve", &resolve, &url];
            let Some(text) = run("curl", &args) else { return };
            assert!(text.contains(" 302"), "{header} {scheme}: {text}");
        }
        let after = metric(&steerd, &format!("steerd_cluster_answers_total{{cluster=\"{cluster}\"}}"));
        assert_eq!(after - before, 4, "each was decided for the client");
    }
    // Nobody is answered who is not introduced.
    for at in [steerd.dns, dns_tls, steerd.http, https] {
        let mut bare = TcpStream::connect(at).expect("a connection");
        bare.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        bare.write_all(b"GET /a HTTP/1.1\r\nHost: video.cdn.example\r\n\r\n").expect("sent");
        assert!(matches!(bare.read(&mut [0; 64]), Ok(0) | Err(_)), "{at}");
    }
    assert_eq!(metric(&steerd, "steerd_http_connections_not_introduced_total"), 2);
    assert_eq!(metric(&steerd, "steerd_dns_mishaps_total{kind=\"not_introduced\"}"), 2);
}

#[test]
fn datagrams_come_behind_a_header_as_dnsdist_sends_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let listen = "listen = [\"127.0.0.1:0\"]";
    let proxied =
        "listen = [{ addr = \"127.0.0.1:0\", proxy_protocol = true }]\ntrusted_proxies = [\"127.0.0.1\"]";
    let steerd = start(dir.path(), &[(listen, proxied)], "");
    let explained = steerd.call("GET", "/v1/explain?client=193.0.6.1&service=video.cdn.example", b"").json();
    let cluster = explained["candidates"][0]["cluster"].as_str().expect("a cluster");
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x05video\x03cdn\x07example\0\0\x01\0\x01";
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\xc1\0\x06\x01\x7f\0\0\x01\x10\0\0\x35";
    let client = UdpSocket::bind("127.0.0.1:0").expect("a client");
    client.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    client.send_to(query, steerd.dns).expect("sent");
    client.send_to(&[&header[..], query].concat(), steerd.dns).expect("sent");
    let mut reply = [0; 1232];
    let len = client.recv(&mut reply).expect("a reply");
    assert_eq!((&reply[..2], reply[3] & 15), (&query[..2], 0), "{:?}", &reply[..len]);
    assert_eq!(metric(&steerd, "steerd_dns_udp_packets_total{outcome=\"no_proxy_header\"}"), 1);
    assert_eq!(metric(&steerd, &format!("steerd_cluster_answers_total{{cluster=\"{cluster}\"}}")), 1);
}

/// Whom each of three certificates is for.
const SERVICES: [&str; 3] = ["video.cdn.example", "one.live.cdn.example", "dns.cdn.example"];

/// A certificate of its own for `name`, and its key.
fn make_for(name: &str) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate")
}

/// Writes `made` as `{number}.pem` and `{number}.key`, each at once.
fn write_as(dir: &Path, number: usize, made: &rcgen::CertifiedKey<rcgen::KeyPair>) {
    for (file, text) in [("key", made.signing_key.serialize_pem()), ("pem", made.cert.pem())] {
        let new = dir.join("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, dir.join(format!("{number}.{file}"))).expect("renamed");
    }
}

/// Shakes hands with `at` as a client that asks for `name` and trusts `roots`, and is answered over it; the
/// certificate that it is shown.
fn shake(
    at: SocketAddr,
    name: &'static str,
    roots: &[CertificateDer<'static>],
) -> Result<CertificateDer<'static>, String> {
    let mut store = RootCertStore::empty();
    roots.iter().for_each(|root| store.add(root.clone()).expect("a root"));
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(store).with_no_client_auth();
    let server = name.try_into().expect("a name");
    let session = ClientConnection::new(config.into(), server).expect("a session");
    let stream = TcpStream::connect(at).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
    let mut stream = StreamOwned::new(session, stream);
    let request = format!("GET /a HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).map_err(|error| error.to_string())?;
    if !reply.starts_with(b"HTTP/1.1 ") {
        return Err(format!("{:?}", String::from_utf8_lossy(&reply)));
    }
    stream
        .conn
        .peer_certificates()
        .map(|shown| shown[0].clone().into_owned())
        .ok_or_else(|| "no certificate".to_owned())
}

#[test]
fn one_certificate_is_replaced_and_another_damaged_and_nobody_elses_handshake_fails() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let made = SERVICES.map(make_for);
    (0..).zip(&made).for_each(|(number, made)| write_as(dir, number, made));
    let old = made.each_ref().map(|made| made.cert.der().clone());
    let replacement = make_for(SERVICES[0]);
    let new = replacement.cert.der().clone();
    let roots = [&old[..], std::slice::from_ref(&new)].concat();
    let more: String =
        (0..3).map(|number| format!("[[tls]]\ncert = \"{number}.pem\"\nkey = \"{number}.key\"\n")).collect();
    let steerd = start(dir, &[("[http]\n", "[http]\nlisten_tls = [\"127.0.0.1:0\"]\n")], &more);
    let https = steerd.https.expect("a listener");
    let hang_up = || {
        let told = Command::new("kill").args(["-HUP", &steerd.pid().to_string()]).status();
        assert!(told.expect("kill runs").success());
    };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = |name: &'static str| {
            let (is_over, roots) = (&is_over, &roots);
            move || {
                let (mut shown, mut count) = (Vec::new(), 0);
                while !is_over.load(Ordering::Acquire) {
                    let found = shake(https, name, roots);
                    let found = found.unwrap_or_else(|error| panic!("{name}, handshake {count}: {error}"));
                    if !shown.contains(&found) {
                        shown.push(found);
                    }
                    count += 1;
                }
                (shown, count)
            }
        };
        let clients = SERVICES.map(|name| scope.spawn(load(name)));
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            write_as(dir, 0, &replacement);
            std::fs::write(
                dir.join("1.pem"),
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            )
            .expect("written");
            hang_up();
            let is_new = || shake(https, SERVICES[0], &roots).as_ref() == Ok(&new);
            assert!((0..10_000).any(|_| is_new()), "it is replaced");
            let is_stale = || metric(&steerd, "steerd_tls_certificates{state=\"stale\"}") == 1;
            assert!((0..10_000).any(|_| is_stale()), "the damaged one is known to be so");
            for _ in 0..20 {
                assert_eq!(
                    shake(https, SERVICES[1], &roots).as_ref(),
                    Ok(&old[1]),
                    "the last good one is shown"
                );
                assert_eq!(shake(https, SERVICES[2], &roots).as_ref(), Ok(&old[2]));
            }
        }));
        is_over.store(true, Ordering::Release);
        let found = clients.map(|client| client.join().expect("no handshake fails"));
        changed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        println!("handshakes meanwhile: {:?}", found.each_ref().map(|(_, count)| *count));
        assert!(found[0].0.iter().all(|shown| *shown == old[0] || *shown == new));
        assert_eq!((&found[1].0[..], &found[2].0[..]), (&old[1..2], &old[2..]), "nothing else is shown");
    });
    // The file, the line that names it, and why: to who asks, and in the log.
    let checked = Command::new(super::harness::binary::path())
        .args(["check", "--config"])
        .arg(dir.join("steerd.toml"))
        .output()
        .expect("the binary under test");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    let line = said.lines().find(|line| line.contains("tls.cert")).unwrap_or_else(|| panic!("{said}"));
    assert!(
        line.contains("steerd.toml:") && line.contains("1.pem (") && checked.status.code() == Some(2),
        "{line}"
    );
}
