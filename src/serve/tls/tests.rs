//! What is shown to whom, reloads, and connections that end in every way.

use super::*;
use crate::config::Config;
use crate::config::Tls as Named;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsConnector;

/// Writes a certificate for `names` and its key as `file` with `.pem` and `.key`; gives it as a client
/// trusts it.
fn write(dir: &Path, file: &str, names: &[&str]) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    fs::write(dir.join(file).with_extension("pem"), made.cert.pem()).expect("written");
    fs::write(dir.join(file).with_extension("key"), made.signing_key.serialize_pem()).expect("written");
    made.cert.der().clone()
}

/// A config that names certificates by file and names.
fn config(dir: &TempDir, named: &[(&str, &[&str])]) -> Config {
    let tls = named.iter().zip(1..).map(|((file, names), line)| Named {
        cert: Path::new(file).with_extension("pem"),
        key: Path::new(file).with_extension("key"),
        names: names.iter().map(|name| (*name).into()).collect(),
        line,
    });
    Config { base: dir.path().to_owned(), tls: tls.collect(), ..Config::default() }
}

/// A server on loopback that echoes, and what it counts.
struct Rig {
    addr: SocketAddr,
    counters: Arc<Counters<Greeted>>,
}

impl Rig {
    /// Starts one that shows what `certificates` say.
    async fn start(certificates: &Arc<Certificates>) -> Self {
        let counters = Arc::new(Counters::new());
        let acceptors = Acceptors::new(certificates, &counters).expect("acceptors");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let greeter = acceptors.dns.greeter();
        spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let greeter = greeter.clone();
                spawn_local(async move {
                    let Some(mut stream) = greeter.greet(stream).await else { return };
                    let mut buffer = [0; 64];
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        if stream.write_all(&buffer[..count]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { addr, counters }
    }

    /// Connects as a client that trusts `roots` and asks for `name`.
    async fn connect(
        &self,
        roots: &[&CertificateDer<'static>],
        name: &str,
        protocol: &str,
    ) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut store = RootCertStore::empty();
        roots.iter().for_each(|root| store.add((*root).clone()).expect("a root"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().expect("versions");
        let mut config = builder.with_root_certificates(store).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.addr).await?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Waits until `greeted` was counted `count` times.
    async fn wait(&self, greeted: Greeted, count: u64) {
        let counted = timeout(Duration::from_secs(10), async {
            while self.counters.get(greeted) < count {
                tokio::task::yield_now().await;
            }
        });
        assert!(counted.await.is_ok(), "{greeted:?}: {} of {count}", self.counters.get(greeted));
    }
}

/// Runs `test` on a runtime of its own.
fn run<T: Future<Output = ()>>(test: T) {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn the_certificate_is_that_of_the_name_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let a = write(dir.path(), "a", &["a.example"]);
    let wild = write(dir.path(), "wild", &["*.cdn.example", "cdn.example"]);
    let one = write(dir.path(), "one", &["one.cdn.example", "two.cdn.example"]);
    let named: [(&str, &[&str]); 3] = [("a", &[]), ("wild", &[]), ("one", &["one.cdn.example"])];
    let certificates = Certificates::read(&config(&dir, &named));
    assert_eq!(certificates.problems(), []);
    run(async {
        let rig = Rig::start(&certificates).await;
        for (root, name, is_shown) in [
            (&a, "a.example", true),
            (&wild, "cdn.example", true),
            (&wild, "x.cdn.example", true),
            (&one, "one.cdn.example", true),
            (&one, "One.CDN.example", true),
            // Not asked to be shown for that.
            (&wild, "two.cdn.example", true),
            (&one, "two.cdn.example", false),
            // The first is shown to whoever asks for none of them, who does not like it.
            (&a, "b.example", false),
        ] {
            assert_eq!(rig.connect(&[root], name, "dot").await.is_ok(), is_shown, "{name}");
        }
        // By its address, a client names nobody.
        assert!(rig.connect(&[&a], "127.0.0.1", "dot").await.is_err(), "not a name of the first");
    });
}

#[test]
fn every_end_of_a_connection_is_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let (a, other) = (write(dir.path(), "a", &["a.example"]), write(dir.path(), "b", &["a.example"]));
    let certificates = Certificates::read(&config(&dir, &[("a", &[])]));
    run(async {
        let rig = Rig::start(&certificates).await;
        let mut client = rig.connect(&[&a], "a.example", "dot").await.expect("a connection");
        client.write_all(b"ping").await.expect("sent");
        let mut buffer = [0; 4];
        client.read_exact(&mut buffer).await.expect("an echo");
        client.shutdown().await.expect("closed");
        assert_eq!(client.read(&mut buffer).await.expect("a farewell"), 0);
        let client = rig.connect(&[&a], "a.example", "dot").await.expect("a connection");
        // Without a farewell.
        drop(client);
        rig.wait(Greeted::Unclosed, 1).await;
        assert!(rig.connect(&[&a], "a.example", "h2").await.is_err());
        rig.wait(Greeted::Incompatible, 1).await;
        assert!(rig.connect(&[&other], "a.example", "dot").await.is_err());
        rig.wait(Greeted::Alerted, 1).await;
        let mut plain = TcpStream::connect(rig.addr).await.expect("a connection");
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("sent");
        rig.wait(Greeted::NotTls, 1).await;
        drop(TcpStream::connect(rig.addr).await.expect("a connection"));
        rig.wait(Greeted::Gone, 1).await;
        rig.wait(Greeted::Established, 2).await;
        assert_eq!(rig.counters.get(Greeted::Broken) + rig.counters.get(Greeted::Failed), 0);
    });
}

#[test]
fn nothing_to_show_is_said_and_mended_by_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let certificates = Certificates::read(&config(&dir, &[("late", &[])]));
    assert_eq!((certificates.problems().len(), certificates.expires_in_s(0)), (1, None));
    run(async {
        let rig = Rig::start(&certificates).await;
        let root = write(dir.path(), "late", &["a.example"]);
        assert!(rig.connect(&[&root], "a.example", "dot").await.is_err());
        rig.wait(Greeted::NoCertificate, 1).await;
        certificates.watch();
        assert!(rig.connect(&[&root], "a.example", "dot").await.is_ok());
        assert_eq!(certificates.problems(), []);
    });
}

#[test]
fn a_bad_certificate_stops_no_other_and_the_last_good_one_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let old = write(dir.path(), "a", &["a.example"]);
    let b = write(dir.path(), "b", &["b.example"]);
    let config = config(&dir, &[("a", &[]), ("b", &[])]);
    let certificates = Certificates::read(&config);
    assert_eq!((certificates.problems(), certificates.counts()), (vec![], [2, 0, 0]));
    run(async {
        let rig = Rig::start(&certificates).await;
        let mut kept = rig.connect(&[&old], "a.example", "dot").await.expect("a connection");
        // The certificate is replaced, its key is not yet.
        let new = write(dir.path(), "new", &["a.example"]);
        fs::rename(dir.path().join("new.pem"), dir.path().join("a.pem")).expect("renamed");
        certificates.watch();
        assert_eq!(certificates.counts(), [1, 1, 0]);
        let problem = certificates.problems().remove(0);
        assert_eq!((problem.line, &*problem.key), (1, "tls.key"), "{problem}");
        assert!(rig.connect(&[&old], "a.example", "dot").await.is_ok(), "the last good one");
        assert!(rig.connect(&[&b], "b.example", "dot").await.is_ok());
        // Asked for by a signal, it is as wrong.
        certificates.replace(&config);
        assert!(rig.connect(&[&old], "a.example", "dot").await.is_ok());
        fs::rename(dir.path().join("new.key"), dir.path().join("a.key")).expect("renamed");
        certificates.watch();
        assert_eq!((certificates.problems(), certificates.counts()), (vec![], [2, 0, 0]));
        assert!(rig.connect(&[&new], "a.example", "dot").await.is_ok(), "the new one");
        assert!(rig.connect(&[&old], "a.example", "dot").await.is_err());
        // Who was there before goes on.
        kept.write_all(b"still").await.expect("sent");
        let mut buffer = [0; 5];
        kept.read_exact(&mut buffer).await.expect("an echo");
    });
    let reloads = |which| certificates.reloads.get(which);
    assert_eq!((reloads(Reloaded::Refused), reloads(Reloaded::Replaced)), (2, 2));
}

#[test]
fn replacing_under_load_fails_no_handshake() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut roots = vec![write(dir.path(), "a", &["a.example"])];
    let certificates = Certificates::read(&config(&dir, &[("a", &[])]));
    // Each is trusted before it is shown.
    roots.extend((0..20).map(|number| write(dir.path(), &format!("new{number}"), &["a.example"])));
    run(async {
        let rig = Rig::start(&certificates).await;
        let all: Vec<&CertificateDer<'static>> = roots.iter().collect();
        for number in 0..20 {
            for extension in ["pem", "key"] {
                let from = dir.path().join(format!("new{number}")).with_extension(extension);
                let replacing = async {
                    fs::rename(from, dir.path().join("a").with_extension(extension)).expect("renamed");
                    certificates.watch();
                };
                let shake = || rig.connect(&all, "a.example", "dot");
                let (one, two, (), three) = tokio::join!(shake(), shake(), replacing, shake());
                for connected in [one, two, three] {
                    connected.expect("a handshake");
                }
            }
        }
        rig.wait(Greeted::Established, 120).await;
        let of_handshakes = &Greeted::ALL[..Greeted::Broken.index()];
        assert_eq!(of_handshakes.iter().map(|greeted| rig.counters.get(*greeted)).sum::<u64>(), 120);
    });
    assert_eq!(certificates.reloads.get(Reloaded::Replaced), 20);
}

#[test]
fn every_mistake_has_its_words() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), "a", &["a.example"]);
    write(dir.path(), "b", &["b.example"]);
    fs::copy(dir.path().join("a.pem"), dir.path().join("mixed.pem")).expect("copied");
    fs::copy(dir.path().join("b.key"), dir.path().join("mixed.key")).expect("copied");
    fs::write(dir.path().join("empty.pem"), "nothing").expect("written");
    fs::copy(dir.path().join("a.pem"), dir.path().join("keyless.pem")).expect("copied");
    fs::copy(dir.path().join("a.pem"), dir.path().join("keyless.key")).expect("copied");
    let named: [(&str, &[&str]); 5] =
        [("a", &["a.example", "b.example"]), ("mixed", &[]), ("empty", &[]), ("keyless", &[]), ("none", &[])];
    let certificates = Certificates::read(&config(&dir, &named));
    let said: Vec<String> = certificates.problems().iter().map(ToString::to_string).collect();
    let beginning = format!("{}/", dir.path().display());
    let said: Vec<String> = said.iter().map(|said| said.replace(&beginning, "")).collect();
    let expected = [
        "1: tls.names: found \"b.example\", expected names that a.pem is for: a.example",
        "2: tls.key: found mixed.key (of another certificate), expected the certificate's private key",
        "3: tls.cert: found empty.pem (no certificate in it), expected a certificate's chain in PEM",
        "4: tls.key: found keyless.key (no items found), expected the certificate's private key in PEM",
        "5: tls.cert: found none.pem (No such file or directory (os error 2)), expected a certificate's chain in PEM",
    ];
    assert_eq!(said, expected);
    assert_eq!(certificates.warnings(i64::MAX).len(), 0, "none is shown");
    let good = Certificates::read(&config(&dir, &[("b", &[])]));
    assert_eq!((good.warnings(0).len(), good.warnings(i64::MAX).len()), (0, 1));
}
