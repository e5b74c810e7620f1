//! Who may make a call (ruling 22).
//!
//! Two worlds. With tokens, a call shows one that has the right; where clients with certificates are
//! configured, it may come over a connection on which one was shown that has the right, which is as good.
//! Without any, the call comes from this machine, and then a write also shows what a web page in a
//! browser on this machine cannot: a content type that needs the server's leave to be sent across
//! origins, and a `Host` that is not a name an attacker points at the loopback address. The former is asked
//! of writes by certificate too, because a browser that has one shows it by itself. Reads no files: contents
//! of token files come in, and only their digests stay. Layer 7.

use super::body::Form;
use super::refuse::Fault;
use super::routes::{Access, Route};
use crate::config::{ControlClient, Open, Right};
use crate::problem::Problem;
use axum::http::{HeaderMap, Uri, header};
use ring::digest::{SHA256, digest};
use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The address a connection came from, put into each request by who accepted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// That a connection is over TLS, and the names that its client's certificate says, none without one; put
/// into each request by who accepted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secured(pub Arc<[Box<str>]>);

/// How a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin<'a> {
    /// From where, if whoever accepted the connection said so.
    pub peer: Option<SocketAddr>,
    /// Over TLS, where that is so.
    pub secured: Option<&'a Secured>,
}

/// Tokens, clients with certificates, and what is open.
#[derive(Debug, Clone, Default)]
pub struct Auth {
    tokens: Vec<Token>,
    clients: Vec<ControlClient>,
    open: Open,
}

/// A token, as much of it as is needed to know it again.
#[derive(Debug, Clone)]
struct Token {
    /// Its file as config writes it: its name in the audit.
    name: String,
    /// SHA-256 of the token.
    digest: [u8; 32],
    /// What it allows.
    may: Vec<Right>,
}

/// Who makes a call, for the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name of the token or the certificate shown, `loopback` where none is needed, `nobody` where none
    /// was known.
    pub who: String,
    /// Where the connection came from, if whoever accepted it said so.
    pub peer: Option<SocketAddr>,
}

impl Auth {
    /// No tokens: whoever is on this machine may do everything.
    pub fn loopback_only(open: Open) -> Self {
        Self { open, ..Self::default() }
    }

    /// Adds clients that are known by their certificates.
    pub fn with_clients(mut self, clients: &[ControlClient]) -> Self {
        self.clients.extend_from_slice(clients);
        self
    }

    /// Adds the token in `contents`, white space around it taken off.
    ///
    /// # Errors
    /// The file holds no token, or something that a header could not carry as one.
    pub fn with_token(mut self, name: &str, contents: &str, may: &[Right]) -> Result<Self, Problem> {
        let token = contents.trim();
        if token.is_empty() || !token.bytes().all(|octet| octet.is_ascii_graphic()) {
            // What was found is a secret, or most of one.
            let found = format!("{} octets that are none", token.len());
            let expected = "one token of visible ASCII characters without spaces";
            return Err(Problem::at(0, "", found, expected).in_file(name));
        }
        self.tokens.push(Token { name: name.to_string(), digest: sha256(token), may: may.to_vec() });
        Ok(self)
    }

    /// Whether tokens are needed.
    pub fn has_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Lets a call pass, or says why not.
    ///
    /// # Errors
    /// [`Fault::Unauthorized`] without a known token or certificate; [`Fault::Forbidden`] without the
    /// right, from another machine, or as a web page could have sent it.
    pub fn admit(
        &self,
        route: &Route,
        uri: &Uri,
        headers: &HeaderMap,
        from: Origin<'_>,
    ) -> Result<Caller, (Caller, Fault)> {
        let caller = |who: &str| Caller { who: who.to_string(), peer: from.peer };
        if self.is_open(route.access) {
            return Ok(caller("anyone"));
        }
        // Where clients have certificates, who comes over TLS shows one, or a token.
        if !self.has_tokens() && (from.secured.is_none() || self.clients.is_empty()) {
            let who = caller("loopback");
            return match from_this_machine(route, uri, headers, from.peer) {
                Ok(()) => Ok(who),
                Err(fault) => Err((who, fault)),
            };
        }
        let tokens = bearer(headers).map(|shown| self.known(shown)).unwrap_or_default();
        let names = from.secured.map(|secured| &*secured.0).unwrap_or_default();
        let clients: Vec<_> = self.clients.iter().filter(|client| names.contains(&client.name)).collect();
        let suffice = |may: &[Right]| may.iter().any(|right| suffices(*right, route.access));
        if let Some(token) = tokens.iter().find(|token| suffice(&token.may)) {
            return Ok(caller(&token.name));
        }
        if let Some(client) = clients.iter().find(|client| suffice(&client.may)) {
            let who = caller(&client.name);
            return if route.is_write() && may_be_a_pages(headers) {
                Err((who, Fault::Forbidden(format!("with a certificate, {NOT_A_PAGES}"))))
            } else {
                Ok(who)
            };
        }
        let (who, what) = match (tokens.first(), clients.first()) {
            (Some(token), _) => (&*token.name, "token"),
            (None, Some(client)) => (&*client.name, "certificate"),
            (None, None) => return Err((caller("nobody"), self.unknown(headers, names))),
        };
        let fault = Fault::Forbidden(format!("this {what} lacks the right: {}", rights_of(route.access)));
        Err((caller(who), fault))
    }

    /// Why a call is nobody's that is known.
    fn unknown(&self, headers: &HeaderMap, names: &[Box<str>]) -> Fault {
        Fault::Unauthorized(match (bearer(headers), names) {
            (Some(_), _) => "this token is not known",
            (None, [_, ..]) => "this certificate's names are not known",
            (None, []) if self.clients.is_empty() => "a bearer token is needed",
            (None, []) => "a bearer token or a client's certificate is needed",
        })
    }

    /// Whether nobody is asked.
    fn is_open(&self, access: Access) -> bool {
        match access {
            Access::Open => true,
            Access::Metrics => self.open.metrics,
            Access::Dashboard => self.open.dashboard,
            Access::Right(_) | Access::Either(..) => false,
        }
    }

    /// The tokens that `shown` is. All are compared, each in the same time, whatever was shown.
    fn known(&self, shown: &str) -> Vec<&Token> {
        let shown = sha256(shown);
        let is_same = |token: &&Token| {
            let differing = token.digest.iter().zip(&shown).fold(0, |bits, (a, b)| bits | (a ^ b));
            black_box(differing) == 0
        };
        self.tokens.iter().filter(is_same).collect()
    }
}

/// SHA-256 of `text`.
fn sha256(text: &str) -> [u8; 32] {
    let mut octets = [0; 32];
    octets.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    octets
}

/// Whether `right` is enough for `access`.
fn suffices(right: Right, access: Access) -> bool {
    match access {
        _ if right == Right::All => true,
        Access::Open => true,
        Access::Metrics | Access::Dashboard => right == Right::Read,
        Access::Right(needed) => right == needed,
        Access::Either(one, other) => right == one || right == other,
    }
}

/// What `access` needs, as config writes it.
fn rights_of(access: Access) -> String {
    match access {
        Access::Open => String::new(),
        Access::Metrics | Access::Dashboard => word(Right::Read).to_string(),
        Access::Right(right) => word(right).to_string(),
        Access::Either(one, other) => format!("{} or {}", word(one), word(other)),
    }
}

/// A right as config writes it.
pub(super) fn word(right: Right) -> &'static str {
    match right {
        Right::Table => "table",
        Right::Health => "health",
        Right::Heartbeat => "heartbeat",
        Right::Override => "override",
        Right::Read => "read",
        Right::All => "all",
    }
}

/// The token of `Authorization: Bearer …` (RFC 6750 section 2.1); `None` unless there is exactly one
/// such header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a call without a token may pass.
fn from_this_machine(
    route: &Route,
    uri: &Uri,
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
) -> Result<(), Fault> {
    if !peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()) {
        let why = "no token is configured, so only this machine is answered";
        return Err(Fault::Forbidden(why.to_string()));
    }
    if !route.is_write() {
        return Ok(());
    }
    if !is_for_loopback(uri, headers) {
        let why = "without a token, a write needs a loopback Host: localhost, 127.0.0.1 or [::1]";
        return Err(Fault::Forbidden(why.to_string()));
    }
    if may_be_a_pages(headers) {
        return Err(Fault::Forbidden(format!("without a token, {NOT_A_PAGES}")));
    }
    Ok(())
}

/// What a write has that no web page can have sent.
const NOT_A_PAGES: &str = "a write needs Content-Type application/json or application/x-ndjson";

/// Whether a web page could have sent a write without the server's leave. The artefact's type is as good as
/// JSON's.
fn may_be_a_pages(headers: &HeaderMap) -> bool {
    Form::of(headers).is_none_or(|form| form == Form::Unnamed)
}

/// Whether a request names this machine, wherever it names one.
fn is_for_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    let of_headers = headers.get_all(header::HOST).iter().map(|value| value.to_str().ok());
    let of_uri = uri.authority().map(|authority| Some(authority.as_str()));
    let mut hosts = of_headers.chain(of_uri).peekable();
    hosts.peek().is_some() && hosts.all(|host| host.is_some_and(is_loopback))
}

/// Whether `host` (with or without a port) is a loopback address or `localhost`.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if port.is_empty() || is_port(port) => name,
            _ => return false,
        },
        None => match host.find(':') {
            Some(at) if is_port(&host[at..]) => &host[..at],
            Some(_) => return false,
            None => host,
        },
    };
    let name_is_local = name.eq_ignore_ascii_case("localhost");
    name_is_local || name.parse::<IpAddr>().is_ok_and(|addr| addr.to_canonical().is_loopback())
}

/// Whether `text` is `:` and a port number.
fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::routes::{Call, ROUTES};
    use super::*;
    use axum::http::StatusCode;

    /// Each right with a token of its own.
    const TOKENS: [(&str, Right); 6] = [
        ("table-token-1", Right::Table),
        ("health-token-1", Right::Health),
        ("heartbeat-token", Right::Heartbeat),
        ("override-token", Right::Override),
        ("read-token-123", Right::Read),
        ("all-token-1234", Right::All),
    ];

    /// All of [`TOKENS`].
    fn guarded(open: Open) -> Auth {
        let add = |auth: Auth, (token, right): (&str, Right)| {
            auth.with_token(word(right), &format!("  {token}\n"), &[right]).expect("a token")
        };
        TOKENS.into_iter().fold(Auth::loopback_only(open), add)
    }

    /// What `auth` says to a call with these headers, 200 for yes.
    fn status(auth: &Auth, call: Call, peer: &str, headers: &[(&'static str, &str)]) -> u16 {
        let route = ROUTES.iter().find(|route| route.call == call).expect("a route");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a header"));
        }
        let from = Origin { peer: peer.parse().ok(), secured: None };
        match auth.admit(route, &Uri::from_static("/"), &map, from) {
            Ok(_) => StatusCode::OK.as_u16(),
            Err((_, fault)) => fault.status().as_u16(),
        }
    }

    #[test]
    fn a_certificate_is_as_good_as_a_token_where_its_name_is_known() {
        let client = |name: &str, may| ControlClient { name: name.into(), may: vec![may] };
        let clients = [client("inventory.example", Right::Table), client("watcher", Right::Read)];
        let plain = Auth::loopback_only(Open::default()).with_clients(&clients);
        let both = guarded(Open::default()).with_clients(&clients);
        let ask = |auth: &Auth, call, names: Option<&[&str]>, headers: &[(&'static str, &str)]| {
            let route = ROUTES.iter().find(|route| route.call == call).expect("a route");
            let headers = headers.iter().map(|(name, value)| {
                (name.parse::<header::HeaderName>().expect("a name"), value.parse().expect("a value"))
            });
            let secured = names.map(|names| Secured(names.iter().map(|name| (*name).into()).collect()));
            let from = Origin { peer: "127.0.0.1:9".parse().ok(), secured: secured.as_ref() };
            match auth.admit(route, &Uri::from_static("/"), &headers.collect(), from) {
                Ok(caller) => (200, caller.who),
                Err((caller, fault)) => (fault.status().as_u16(), caller.who),
            }
        };
        let json = ("content-type", "application/json");
        let inventory = Some(&["x.example", "inventory.example"][..]);
        for (auth, call, names, headers, status, who) in [
            (&plain, Call::Reload, inventory, &[json][..], 200, "inventory.example"),
            // A browser on this machine shows a certificate to whatever asks.
            (&plain, Call::Reload, inventory, &[], 403, "inventory.example"),
            (&plain, Call::Status, inventory, &[], 403, "inventory.example"),
            (&plain, Call::Status, Some(&["watcher"]), &[], 200, "watcher"),
            (&plain, Call::Reload, Some(&["watcher"]), &[json], 403, "watcher"),
            (&plain, Call::Status, Some(&["inventory"]), &[], 401, "nobody"),
            (&plain, Call::Status, Some(&[]), &[], 401, "nobody"),
            (&plain, Call::Alive, Some(&[]), &[], 200, "anyone"),
            // In the clear this machine is believed, as without clients.
            (&plain, Call::Status, None, &[], 200, "loopback"),
            (&both, Call::Status, None, &[], 401, "nobody"),
            (&both, Call::Status, Some(&[]), &[("authorization", "Bearer read-token-123")], 200, "read"),
            (
                &both,
                Call::Reload,
                inventory,
                &[json, ("authorization", "Bearer x")],
                200,
                "inventory.example",
            ),
            // What one lacks the other may have.
            (&both, Call::Status, inventory, &[("authorization", "Bearer read-token-123")], 200, "read"),
            (&both, Call::HealthPut, inventory, &[("authorization", "Bearer read-token-123")], 403, "read"),
        ] {
            let found = ask(auth, call, names, headers);
            assert_eq!(found, (status, who.to_owned()), "{call:?} {names:?} {headers:?}");
        }
    }

    #[test]
    fn a_token_allows_what_it_may_and_nothing_else() {
        let auth = guarded(Open::default());
        for route in ROUTES {
            for (token, right) in TOKENS {
                let expected = if suffices(right, route.access) { 200 } else { 403 };
                let shown = format!("Bearer {token}");
                let found = status(&auth, route.call, "192.0.2.1:99", &[("authorization", &shown)]);
                assert_eq!(found, expected, "{} {right:?}", route.path);
            }
        }
        let may = |right| ROUTES.iter().filter(|r| suffices(right, r.access)).count();
        let open = ROUTES.iter().filter(|r| r.access == Access::Open).count();
        assert_eq!(TOKENS.map(|(_, right)| may(right) - open), [4, 1, 1, 3, 10, ROUTES.len() - open]);
    }

    #[test]
    fn unknown_and_missing_tokens_are_401() {
        let auth = guarded(Open::default());
        let check = |value: &str| status(&auth, Call::Status, "127.0.0.1:9", &[("authorization", value)]);
        assert_eq!(check("Bearer read-token-123"), 200);
        assert_eq!(check("bearer  read-token-123"), 200);
        for value in
            ["Bearer read-token-12", "Bearer", "Bearer ", "Basic read-token-123", "read-token-123", ""]
        {
            assert_eq!(check(value), 401, "{value:?}");
        }
        assert_eq!(status(&auth, Call::Status, "127.0.0.1:9", &[]), 401);
        let twice = [("authorization", "Bearer read-token-123"), ("authorization", "Bearer x")];
        assert_eq!(status(&auth, Call::Status, "127.0.0.1:9", &twice), 401);
    }

    #[test]
    fn healthz_and_readyz_are_open_and_the_rest_where_config_opens_it() {
        let opened = Open { metrics: true, dashboard: true };
        for (call, shut, open) in [
            (Call::Alive, 200, 200),
            (Call::Ready, 200, 200),
            (Call::Metrics, 401, 200),
            (Call::Page, 401, 200),
        ] {
            assert_eq!(status(&guarded(Open::default()), call, "192.0.2.1:9", &[]), shut, "{call:?}");
            assert_eq!(status(&guarded(opened), call, "192.0.2.1:9", &[]), open, "{call:?}");
        }
        assert_eq!(status(&guarded(opened), Call::Status, "192.0.2.1:9", &[]), 401);
    }

    #[test]
    fn without_tokens_only_loopback_is_answered() {
        let auth = Auth::loopback_only(Open::default());
        for (peer, expected) in [
            ("127.0.0.1:9", 200),
            ("127.9.9.9:9", 200),
            ("[::1]:9", 200),
            ("[::ffff:127.0.0.1]:9", 200),
            ("192.0.2.1:9", 403),
            ("[2001:db8::1]:9", 403),
            ("unknown", 403),
        ] {
            assert_eq!(status(&auth, Call::Status, peer, &[("host", "steer.example")]), expected, "{peer}");
            assert_eq!(status(&auth, Call::Alive, peer, &[]), 200, "{peer}");
        }
    }

    #[test]
    fn without_tokens_no_web_page_can_write() {
        let auth = Auth::loopback_only(Open::default());
        let local = "127.0.0.1:40000";
        for (host, form, expected) in [
            ("127.0.0.1:9053", "application/x-ndjson", 200),
            ("localhost", "application/json; charset=utf-8", 200),
            ("LOCALHOST:1", "Application/JSON", 200),
            ("[::1]:9053", "application/vnd.steerd.table", 200),
            ("rebound.example:9053", "application/x-ndjson", 403),
            ("localhost.evil.example", "application/json", 403),
            ("127.0.0.1.evil.example", "application/json", 403),
            ("127.0.0.1:80:evil.example", "application/json", 403),
            ("[::1].evil.example", "application/json", 403),
            ("[::1", "application/json", 403),
            ("user@localhost", "application/json", 403),
            ("192.0.2.1", "application/json", 403),
            ("", "application/json", 403),
            ("localhost", "text/plain", 403),
            ("localhost", "application/x-www-form-urlencoded", 403),
            ("localhost", "multipart/form-data; boundary=application/json", 403),
            ("localhost", "text/plain; application/json", 403),
        ] {
            for route in ROUTES.iter().filter(|route| route.is_write()) {
                let found = status(&auth, route.call, local, &[("host", host), ("content-type", form)]);
                assert_eq!(found, expected, "{} {host} {form}", route.path);
            }
        }
        assert_eq!(status(&auth, Call::Reload, local, &[("host", "localhost")]), 403);
        assert_eq!(status(&auth, Call::Reload, local, &[("content-type", "application/json")]), 403);
        let two = [("host", "localhost"), ("host", "evil.example"), ("content-type", "application/json")];
        assert_eq!(status(&auth, Call::Reload, local, &two), 403);
    }

    #[test]
    fn tokens_that_are_none_are_refused_and_not_shown() {
        for (contents, found) in [
            ("", "0 octets that are none"),
            (" \n", "0 octets that are none"),
            ("two words of it", "15 octets that are none"),
            ("geheimnisträger", "16 octets that are none"),
        ] {
            let problem = Auth::default().with_token("t", contents, &[Right::All]).map(|_| ()).unwrap_err();
            assert_eq!(problem.found, found, "{contents:?}");
        }
    }
}
