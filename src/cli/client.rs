//! Talking to a running steerd over its push API.
//!
//! Owns requests and the words for refusals; what is asked and shown is the commands' business.
//! Layer 9.

use super::failure::Failure;
use super::load;
use crate::problem::Problem;
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;
use ureq::http::{Method, Request, Uri};
use ureq::{Agent, SendBody};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may be silent before it is given up: it may compile a large table meanwhile.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// Most octets of a reply: a health list of a large fleet.
const REPLY_LEN_MAX: u64 = 256 << 20;

/// A server to talk to.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    /// Scheme, host and port.
    base: String,
    token: Option<String>,
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
    /// A client of the server at `url`, showing the token in `token_file`.
    ///
    /// # Errors
    /// An URL that is none, a file that holds no token.
    pub fn new(url: &str, token_file: Option<&Path>) -> Result<Self, Failure> {
        let text = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let base = text.trim_end_matches('/');
        let uri: Option<Uri> = base.parse().ok();
        match uri.as_ref().map(|uri| (uri.scheme_str(), uri.authority(), uri.path())) {
            Some((Some("http"), Some(_), "" | "/")) => {}
            Some((Some("https"), ..)) => {
                let hint = "this version has no TLS; use http:// over a tunnel or on the node itself";
                return Err(Failure::Usage(format!("--server {url}: {hint}")));
            }
            _ => {
                let expected = "expected an address as in http://127.0.0.1:9053";
                return Err(Failure::Usage(format!("--server {url}: {expected}")));
            }
        }
        let token = token_file.map(load::read_token).transpose().map_err(|problem| vec![problem])?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("steerd/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(SILENCE_MAX))
            .build()
            .new_agent();
        Ok(Self { agent, base: base.to_owned(), token })
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
        let hint = "is steerd running, and is this its control.listen?";
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
            ("https://steer1.example", None),
            ("http://steer1.example/path", None),
            ("http://", None),
            ("not a url", None),
        ] {
            let client = Client::new(url, None);
            assert_eq!(client.as_ref().ok().map(|client| &*client.base), expected, "{url}");
            assert!(client.is_ok() || client.is_err_and(|failure| failure.code() == 64), "{url}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let client = Client::new("http://h:1", None).expect("a client");
        for (status, body, code, expected) in [
            (401, r#"{"error":"unauthorized","message":"m"}"#, 1, "--token-file"),
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
