//! Talking to a running steerd over its push API.
//!
//! Owns requests and the words for refusals; what is asked and shown is the commands' business.
//! Layer 9.

use super::args::Credentials;
use super::failure::Failure;
use super::load;
use crate::problem::Problem;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{Method, Request, Uri};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, SendBody};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may be silent before it is given up: it may compile a large table meanwhile.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// Most octets of a reply: a health list of a large fleet.
const REPLY_LEN_MAX: u64 = 256 << 20;

/// Where systems keep the certificates that they trust; the first that is there counts.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A server to talk to.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    /// Scheme, host and port.
    base: String,
    token: Option<String>,
    /// Whether it shows a certificate.
    has_certificate: bool,
}

/// What a request carries.
pub struct Content<'a> {
    /// `Content-Type`.
    pub media_type: &'a str,
    /// `Content-Encoding`, if any.
    pub encoding: Option<&'a str>,
    /// Its length in octets.
    pub len: u64,
    /// The octets.
    pub body: SendBody<'static>,
}

impl Content<'_> {
    /// JSON.
    pub fn json(text: &str) -> Self {
        let octets = text.as_bytes().to_vec();
        let len = octets.len() as u64;
        let body = SendBody::from_owned_reader(std::io::Cursor::new(octets));
        Self { media_type: "application/json", encoding: None, len, body }
    }
}

/// What a refusal says; see the contract's refusals.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refused {
    message: String,
    problems: Vec<Where>,
    guards: Vec<Guard>,
    served_epoch: Option<u64>,
    highest_epoch: Option<u64>,
    base: Option<u64>,
    error: String,
}

/// A problem of a body.
#[derive(Debug, Deserialize)]
struct Where {
    #[serde(default)]
    line: u64,
    #[serde(default)]
    key: String,
    found: String,
    expected: String,
}

/// A guard rail that was hit.
#[derive(Debug, Clone, Deserialize)]
pub struct Guard {
    /// The config key of its limit.
    pub guard: String,
    /// The share, or the number of services.
    pub found: f64,
    /// The largest that passes.
    pub limit: f64,
}

impl Guard {
    /// It in words.
    pub fn in_words(&self) -> String {
        match self.guard.strip_suffix("_max") {
            Some(_) => {
                let percent = |share: f64| format!("{:.1} %", share * 100.0);
                format!("{}: found {}, limit {}", self.guard, percent(self.found), percent(self.limit))
            }
            None => format!("{}: found {}, limit {}", self.guard, self.found, self.limit),
        }
    }
}

impl Client {
    /// A client of the server at `url`, with these `credentials`.
    ///
    /// # Errors
    /// An URL that is none, a file that does not hold what it should.
    pub fn new(url: &str, credentials: &Credentials) -> Result<Self, Failure> {
        let text = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let base = text.trim_end_matches('/');
        let uri: Option<Uri> = base.parse().ok();
        let is_tls = match uri.as_ref().map(|uri| (uri.scheme_str(), uri.authority(), uri.path())) {
            Some((Some("http"), Some(_), "" | "/")) => false,
            Some((Some("https"), Some(_), "" | "/")) => true,
            _ => {
                let expected =
                    "expected an address as in http://127.0.0.1:9053 or https://steer1.example:9054";
                return Err(Failure::Usage(format!("--server {url}: {expected}")));
            }
        };
        if !is_tls && (credentials.ca.is_some() || credentials.cert.is_some()) {
            let hint = "--ca, --cert and --key need https://";
            return Err(Failure::Usage(format!("--server {url}: {hint}")));
        }
        let token_file = credentials.token_file.as_deref();
        let token = token_file.map(load::read_token).transpose().map_err(|problem| vec![problem])?;
        let tls = if is_tls { tls_of(credentials)? } else { TlsConfig::default() };
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("steerd/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(SILENCE_MAX))
            .build()
            .new_agent();
        Ok(Self { agent, base: base.to_owned(), token, has_certificate: credentials.cert.is_some() })
    }

    /// Asks for `path`, query included; the body of the reply.
    ///
    /// # Errors
    /// That the server is not there, or refuses.
    pub fn get(&self, path: &str) -> Result<String, Failure> {
        self.call(Method::GET, path, None, "")
    }

    /// Sends `content` to `path`; the body of the reply. `file` is named in problems.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn send(
        &self,
        method: Method,
        path: &str,
        content: Content<'_>,
        file: &str,
    ) -> Result<String, Failure> {
        self.call(method, path, Some(content), file)
    }

    /// Makes a request.
    fn call(
        &self,
        method: Method,
        path: &str,
        content: Option<Content<'_>>,
        file: &str,
    ) -> Result<String, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut body = SendBody::none();
        if let Some(content) = content {
            request =
                request.header("content-type", content.media_type).header("content-length", content.len);
            if let Some(encoding) = content.encoding {
                request = request.header("content-encoding", encoding);
            }
            // So that who is refused for want of a token does not send a table first.
            if content.len > 1 << 20 {
                request = request.header("expect", "100-continue");
            }
            body = content.body;
        }
        let request = request.body(body).map_err(|error| Failure::Usage(error.to_string()))?;
        let mut response = self.agent.run(request).map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(REPLY_LEN_MAX).read_to_string();
        let text = text.map_err(|error| self.unreachable(&error))?;
        match status {
            200..=299 => Ok(text),
            _ => Err(self.refusal(status, &text, file)),
        }
    }

    /// That the server is not there.
    fn unreachable(&self, error: &ureq::Error) -> Failure {
        let said = match error {
            ureq::Error::Io(error) => error.to_string(),
            error => error.to_string(),
        };
        let said = said.split(" (os error").next().unwrap_or_default();
        let is_tls = self.base.starts_with("https:");
        let hint = if said.contains("invalid peer certificate") {
            "give who makes its certificates with --ca, and a name that it is for in --server"
        } else if self.has_certificate && ["alert", "pipe", "reset"].iter().any(|word| said.contains(word)) {
            // A server tells, but while a body is sent the end of the connection is noticed first.
            "it may not take this certificate: see control.client_ca of its config"
        } else if is_tls {
            "is steerd running, and is this its control.listen_tls?"
        } else {
            "is steerd running, and is this its control.listen?"
        };
        Failure::Failed(anyhow::anyhow!("no answer from {}: {said}; {hint}", self.base))
    }

    /// A refusal in words, with what to do next.
    fn refusal(&self, status: u16, text: &str, file: &str) -> Failure {
        let told: Refused = serde_json::from_str(text).unwrap_or_default();
        let failed = |text: String| Failure::Failed(anyhow::Error::msg(text));
        let said = match &*told.message {
            "" => text.trim().chars().take(200).collect(),
            message => message.to_owned(),
        };
        match (status, &*told.error) {
            (400, _) if !told.problems.is_empty() => {
                let placed = |at: Where| Problem::at(at.line, at.key, at.found, at.expected).in_file(file);
                Failure::Problems(told.problems.into_iter().map(placed).collect())
            }
            (401, _) => failed(match self.token {
                None if said.contains("certificate's names") => format!(
                    "{} does not know whom this certificate is for: see control.clients of its config",
                    self.base
                ),
                None if said.contains("certificate") => format!(
                    "{} wants a token or a certificate: give one with --token-file, or --cert and --key",
                    self.base
                ),
                None => format!("{} wants a token: give one with --token-file", self.base),
                Some(_) => {
                    format!("{} does not know this token: see control.tokens of its config", self.base)
                }
            }),
            (409, "wrong_reset") => Failure::Data(format!(
                "--reset-epoch has to name the highest epoch accepted, which is {}",
                named(told.highest_epoch)
            )),
            (409, _) if told.base.is_some() => Failure::Data(format!(
                "the delta is made on epoch {}, but epoch {} is served: make it anew, or push a full table",
                named(told.base),
                named(told.served_epoch)
            )),
            (409, _) if told.highest_epoch.is_some() => {
                let highest = named(told.highest_epoch);
                Failure::Data(format!(
                    "the epoch is not newer: epoch {} is served, {highest} is the highest accepted; write a \
                     higher one, or use --reset-epoch {highest} if the inventory was restored from a backup",
                    named(told.served_epoch)
                ))
            }
            (422, _) => {
                let guards: Vec<String> =
                    told.guards.iter().map(|guard| format!("  {}", guard.in_words())).collect();
                Failure::Data(format!(
                    "guard rails stop this table; nothing was changed\n{}\nlook at it with --dry-run, and \
                     use --force if it is meant",
                    guards.join("\n")
                ))
            }
            (413, _) => Failure::Data(format!("{said}; control.body_max_mb of the server sets this limit")),
            (400 | 404 | 409 | 415, _) => Failure::Data(said),
            (503, _) => failed(format!("{said}: try again in a moment")),
            _ => failed(format!("{} answers {status}: {said}", self.base)),
        }
    }
}

/// What is believed and shown over TLS.
///
/// # Errors
/// Files that do not hold what they should.
fn tls_of(credentials: &Credentials) -> Result<TlsConfig, Failure> {
    let system = || SYSTEM_AUTHORITIES.iter().map(PathBuf::from).find(|path| path.is_file());
    let Some(ca) = credentials.ca.clone().or_else(system) else {
        return Err(Failure::Usage("this system names nobody to trust: give --ca".to_owned()));
    };
    let roots = read_pem(&ca, "certificates in PEM", certificates_of)?;
    let shown = match (&credentials.cert, &credentials.key) {
        (Some(cert), Some(key)) => {
            let chain = read_pem(cert, "a certificate's chain in PEM", certificates_of)?;
            let key = read_pem(key, "the certificate's private key in PEM", |pem| {
                PrivateKey::from_pem(pem).map_err(|error| error.to_string())
            })?;
            Some(ClientCert::new_with_certs(&chain, key))
        }
        _ => None,
    };
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .client_cert(shown)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// What `read` finds in the file at `path`, in which `expected` should be.
fn read_pem<T>(
    path: &Path,
    expected: &str,
    read: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<T, Failure> {
    let pem = std::fs::read(path).map_err(|error| load::said(&error));
    pem.and_then(|pem| read(&pem)).map_err(|why| {
        Failure::Problems(vec![Problem::at(0, "", why, expected).in_file(path.display().to_string())])
    })
}

/// The certificates in `pem`, at least one.
fn certificates_of(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let items: Result<Vec<_>, _> = parse_pem(pem).collect();
    let items = items.map_err(|error| error.to_string())?.into_iter();
    let certificates = items.filter_map(|item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    if certificates.is_empty() { Err("no certificate in it".to_owned()) } else { Ok(certificates) }
}

/// An epoch in words.
fn named(epoch: Option<u64>) -> String {
    epoch.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_url_or_address() {
        for (url, expected) in [
            ("http://127.0.0.1:9053", Some("http://127.0.0.1:9053")),
            ("http://[::1]:9053/", Some("http://[::1]:9053")),
            ("steer1.example:9053", Some("http://steer1.example:9053")),
            ("https://steer1.example", Some("https://steer1.example")),
            ("https://steer1.example:9054/", Some("https://steer1.example:9054")),
            ("ftp://steer1.example", None),
            ("http://steer1.example/path", None),
            ("http://", None),
            ("not a url", None),
        ] {
            let client = Client::new(url, &Credentials::default());
            assert_eq!(client.as_ref().ok().map(|client| &*client.base), expected, "{url}");
            assert!(client.is_ok() || client.is_err_and(|failure| failure.code() == 64), "{url}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let client = Client::new("http://h:1", &Credentials::default()).expect("a client");
        for (status, body, code, expected) in [
            (401, r#"{"error":"unauthorized","message":"m"}"#, 1, "--token-file"),
            (
                401,
                r#"{"message":"a bearer token or a client's certificate is needed"}"#,
                1,
                "--cert and --key",
            ),
            (401, r#"{"message":"this certificate's names are not known"}"#, 1, "control.clients"),
            (409, r#"{"error":"not_newer","served_epoch":41,"highest_epoch":42}"#, 2, "--reset-epoch 42"),
            (409, r#"{"error":"wrong_base","base":3,"served_epoch":null}"#, 2, "epoch none is served"),
            (409, r#"{"error":"wrong_reset","highest_epoch":9}"#, 2, "which is 9"),
            (
                422,
                r#"{"error":"guarded","guards":[{"guard":"withdrawn_prefixes_max","found":0.5,"limit":0.1}]}"#,
                2,
                "withdrawn_prefixes_max: found 50.0 %, limit 10.0 %",
            ),
            (
                400,
                r#"{"error":"invalid","problems":[{"line":7,"key":"k","found":"f","expected":"e"}]}"#,
                2,
                "t.ndjson:7: k: found f, expected e",
            ),
            (413, r#"{"message":"too large"}"#, 2, "body_max_mb"),
            (503, r#"{"message":"busy"}"#, 1, "try again"),
            (502, "<html>", 1, "answers 502: <html>"),
        ] {
            let failure = client.refusal(status, body, "t.ndjson");
            let mut told = Vec::new();
            failure.tell(&mut told);
            let told = String::from_utf8(told).expect("text");
            assert!(told.contains(expected), "{told}");
            assert_eq!(failure.code(), code, "{told}");
        }
    }
}
