//! Which key means what: every section read out of its table, and checked as far as one section goes.
//!
//! Layer 1, part of `config`.

use super::raw::{At, Table as RawTable, TextOrTable};
use super::{
    AccessLog, ClientCa, Config, Control, ControlClient, Dns, Dnstap, GeoIp, Guard, Health, Http, HttpLimits,
    Limits, Listen, Log, LogFormat, LogLevel, LogTo, Open, Right, Soa, Steering, Table, Tls, Token, Workers,
    Zone, loopback,
};
use crate::prefix::{Family, Prefix, PrefixError};
use crate::units::BasisPoints;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// What the checks across sections have to point at.
#[derive(Debug, Default)]
pub struct Spots {
    /// All listeners, by section.
    pub listeners: Vec<Listener>,
    /// Whether `[control]` names tokens that were reported and left out.
    pub tokens_are_wrong: bool,
    /// Whether `[control]` names clients that were reported and left out.
    pub clients_are_wrong: bool,
    /// Line of the first of `[control] clients`.
    pub clients_line: Option<u64>,
    /// Whether there is a `[[tls]]`, right or wrong.
    pub has_tls: bool,
    /// Line of `[dns]`.
    pub dns_line: u64,
    /// Line of `[http] http3`.
    pub http3_line: u64,
    /// Line of `[health]`.
    pub health_line: u64,
    /// Line of `[steering]`.
    pub steering_line: u64,
}

/// A listener and where it is written.
#[derive(Debug, Clone, Copy)]
pub struct Listener {
    /// The address.
    pub addr: SocketAddr,
    /// Its key, dotted.
    pub key: &'static str,
    /// 1-based line.
    pub line: u64,
    /// Whether what comes there begins with a PROXY header.
    pub is_proxied: bool,
}

/// Seconds in a day.
const DAY_S: u64 = 86_400;
/// Seconds in a year.
const YEAR_S: u64 = 365 * DAY_S;
/// Shortest validity of a signature, seconds: a quarter of it outlives the TTLs that are usual.
const SIGNATURE_VALIDITY_MIN_S: u64 = 4 * 3600;
/// Rights as they are spelt.
const RIGHTS: &[(&str, Right)] = &[
    ("table", Right::Table),
    ("health", Right::Health),
    ("heartbeat", Right::Heartbeat),
    ("override", Right::Override),
    ("read", Right::Read),
    ("all", Right::All),
];
/// Largest TTL and SOA timer, in seconds (RFC 2181 section 8).
const TTL_MAX_S: u64 = (1 << 31) - 1;

/// Reads the whole file; `base` is left empty.
pub fn config(mut root: RawTable<'_, '_>) -> (Config, Spots) {
    let mut spots = Spots::default();
    let drain_s = root.number("drain_s", Config::DRAIN_S, 0..=600, "seconds");
    spots.has_tls = root.has("tls");
    let tls = root.tables("tls").into_iter().filter_map(tls).collect();
    let dns = dns(root.table("dns"), &mut spots);
    let http = http(root.table("http"), &mut spots);
    let control = control(root.table("control"), &mut spots);
    let table = table(root.table("table"));
    let geoip = geoip(root.table("geoip"));
    let health = health(root.table("health"), &mut spots);
    let steering = steering(root.table("steering"), &mut spots);
    let log = log(root.table("log"));
    let dnstap = dnstap(root.table("dnstap"));
    let access_log = access_log(root.table("access_log"));
    root.finish();
    (
        Config {
            base: PathBuf::new(),
            tls,
            dns,
            http,
            control,
            table,
            geoip,
            health,
            steering,
            log,
            dnstap,
            access_log,
            drain_s,
        },
        spots,
    )
}

/// Reads `[dns]`.
fn dns(mut at: RawTable<'_, '_>, spots: &mut Spots) -> Dns {
    spots.dns_line = at.line();
    let dns = Dns {
        listen: listeners(&mut at, "listen", "dns.listen", spots),
        listen_tls: listeners(&mut at, "listen_tls", "dns.listen_tls", spots),
        trusted_proxies: prefixes(&mut at, "trusted_proxies"),
        doh: at.flag("doh", false),
        workers: workers(&mut at),
        edns_udp_max: at.number("edns_udp_max", Dns::EDNS_UDP_MAX, 512..=4096, "octets"),
        spread_v4: at.number("spread_v4", Dns::SPREAD_V4, 0..=32, "bits"),
        spread_v6: at.number("spread_v6", Dns::SPREAD_V6, 0..=128, "bits"),
        answers_no_ecs: at.number("answers_no_ecs", Dns::ANSWERS_NO_ECS, 1..=16, "addresses"),
        explain_txt: at.flag("explain_txt", false),
        tcp_connections_max: at.number(
            "tcp_connections_max",
            Dns::TCP_CONNECTIONS_MAX,
            1..=1_000_000,
            "connections",
        ),
        tcp_idle_s: at.number("tcp_idle_s", Dns::TCP_IDLE_S, 1..=3600, "seconds"),
        identity: told(&mut at, "identity", Dns::IDENTITY_LEN_MAX),
        version: told(&mut at, "version", Dns::VERSION_LEN_MAX),
        cookies: at.flag("cookies", true),
        cookie_secret_file: path(&mut at, "cookie_secret_file"),
        limits: limits(at.table("limits")),
        signatures_s_max: at.number(
            "signatures_s_max",
            Dns::SIGNATURES_S_MAX,
            1..=1_000_000,
            "signatures a second",
        ),
        signatures_kept: at.number("signatures_kept", Dns::SIGNATURES_KEPT, 1..=10_000_000, "signatures"),
        zones: at.tables("zone").into_iter().filter_map(zone).collect(),
    };
    at.finish();
    dns
}

/// Reads `[dns.limits]`.
fn limits(mut at: RawTable<'_, '_>) -> Limits {
    let all = 0..=u64::from(u32::MAX);
    let has_exempt = at.has("exempt");
    let exempt = prefixes(&mut at, "exempt");
    let limits = Limits {
        same_per_s: at.number("same_per_s", Limits::SAME_PER_S, all.clone(), "replies"),
        gain_per_s: at.number("gain_per_s", Limits::GAIN_PER_S, all.clone(), "octets"),
        slip: at.number("slip", Limits::SLIP, all, "replies"),
        network_v4: at.number("network_v4", Limits::NETWORK_V4, 1..=32, "bits"),
        network_v6: at.number("network_v6", Limits::NETWORK_V6, 1..=128, "bits"),
        exempt: if has_exempt { exempt } else { loopback() },
    };
    at.finish();
    limits
}

/// Reads what the server says of itself: printable ASCII, at most `len_max` octets.
fn told(at: &mut RawTable<'_, '_>, key: &'static str, len_max: usize) -> Box<str> {
    let Some(text) = at.text(key) else { return Box::default() };
    let is_plain = text.value.bytes().all(|octet| (b' '..=b'~').contains(&octet));
    if is_plain && text.value.len() <= len_max {
        return text.value.into();
    }
    at.refuse(text.line, key, &text.value, format!("printable ASCII, at most {len_max} characters"));
    Box::default()
}

/// Reads one `[[dns.zone]]`; `None` when its name or its name servers are missing or wrong.
fn zone(mut at: RawTable<'_, '_>) -> Option<Zone> {
    let line = at.line();
    let name = required_name(&mut at, "name");
    let names: Vec<_> = at.texts("ns").iter().map(|text| domain_name(&at, "ns", text)).collect();
    if names.is_empty() {
        at.refuse(line, "ns", "none", "the names of the zone's name servers");
    }
    let ns: Option<Vec<_>> = names.into_iter().collect();
    let soa = soa(at.table("soa"), ns.as_ref().and_then(|ns| ns.first()).map(|ns| &**ns), name.as_deref());
    let records = path(&mut at, "records");
    let keys = path(&mut at, "keys");
    let validity = Zone::SIGNATURE_VALIDITY_S;
    let signature_validity_s =
        at.number("signature_validity_s", validity, SIGNATURE_VALIDITY_MIN_S..=YEAR_S, "seconds");
    let jitter = Zone::SIGNATURE_JITTER_S.min(signature_validity_s / 2);
    let signature_jitter_s =
        at.number("signature_jitter_s", jitter, 0..=u64::from(signature_validity_s / 2), "seconds");
    let has_explain_to = at.has("explain_to");
    let explain_to = prefixes(&mut at, "explain_to");
    let explain_to = if has_explain_to { explain_to } else { loopback() }.into();
    at.finish();
    let ns = ns.filter(|ns| !ns.is_empty())?;
    let name = name?;
    Some(Zone { name, ns, soa, records, keys, signature_validity_s, signature_jitter_s, explain_to, line })
}

/// Reads a zone's `soa`, whose names default to the first name server and `hostmaster` in the zone.
fn soa(mut at: RawTable<'_, '_>, ns: Option<&str>, zone: Option<&str>) -> Soa {
    let mname = at.text("mname").and_then(|text| domain_name(&at, "mname", &text));
    let rname = at.text("rname").and_then(|text| mailbox(&at, "rname", &text));
    let soa = Soa {
        mname: mname.or_else(|| ns.map(Box::from)).unwrap_or_default(),
        rname: rname.unwrap_or_else(|| format!("hostmaster.{}", zone.unwrap_or_default()).into()),
        serial: at.number("serial", Soa::SERIAL, 0..=u64::from(u32::MAX), ""),
        refresh_s: at.number("refresh_s", Soa::REFRESH_S, 1..=TTL_MAX_S, "seconds"),
        retry_s: at.number("retry_s", Soa::RETRY_S, 1..=TTL_MAX_S, "seconds"),
        expire_s: at.number("expire_s", Soa::EXPIRE_S, 1..=TTL_MAX_S, "seconds"),
        negative_ttl_s: at.number("negative_ttl_s", Soa::NEGATIVE_TTL_S, 0..=DAY_S, "seconds"),
    };
    at.finish();
    soa
}

/// Reads `[http]`.
fn http(mut at: RawTable<'_, '_>, spots: &mut Spots) -> Http {
    spots.http3_line = at.line_of("http3");
    let http = Http {
        listen: listeners(&mut at, "listen", "http.listen", spots),
        listen_tls: listeners(&mut at, "listen_tls", "http.listen_tls", spots),
        http3: at.flag("http3", false),
        trusted_proxies: prefixes(&mut at, "trusted_proxies"),
        forwarded: at.flag("forwarded", false),
        cors: at.flag("cors", false),
        decision_header: at.flag("decision_header", false),
        decision_query: decision_query(&mut at),
        blocked_by: url(&mut at, "blocked_by"),
        https_port: at.number("https_port", 0, 0..=u64::from(u16::MAX), "(0: that of listen_tls)"),
        locations_max: at.number("locations_max", Http::LOCATIONS_MAX, 1..=16, "locations"),
        workers: workers(&mut at),
        limits: http_limits(at.table("limits")),
    };
    at.finish();
    http
}

/// Reads `decision_query`: a name that stands in a URL as it is.
fn decision_query(at: &mut RawTable<'_, '_>) -> Option<Box<str>> {
    let text = at.text("decision_query")?;
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet);
    let is_name = text.value.len() <= Http::DECISION_QUERY_LEN_MAX && text.value.bytes().all(is_plain);
    if is_name && !text.value.eq_ignore_ascii_case("format") {
        return Some(text.value.into());
    }
    let expected = "up to 32 letters, digits, \"-\", \".\", \"_\" and \"~\", but not \"format\"";
    at.refuse(text.line, "decision_query", format!("{:?}", text.value), expected);
    None
}

/// Reads `[http.limits]`.
fn http_limits(mut at: RawTable<'_, '_>) -> HttpLimits {
    let default = HttpLimits::default();
    let has_exempt = at.has("exempt");
    let exempt = prefixes(&mut at, "exempt");
    let limits = HttpLimits {
        head_octets: at.number("head_octets", default.head_octets, 8192..=65_536, "octets"),
        head_s: at.number("head_s", default.head_s, 1..=3600, "seconds"),
        idle_s: at.number("idle_s", default.idle_s, 1..=3600, "seconds"),
        send_s: at.number("send_s", default.send_s, 1..=3600, "seconds"),
        handshake_s: at.number("handshake_s", default.handshake_s, 1..=60, "seconds"),
        unanswered_octets: at.number(
            "unanswered_octets",
            default.unanswered_octets,
            65_536..=1 << 31,
            "octets",
        ),
        streams: at.number("streams", default.streams, 1..=10_000, "requests"),
        connections: at.number("connections", default.connections, 1..=10_000_000, "connections"),
        network_connections: at.number(
            "network_connections",
            default.network_connections,
            0..=10_000_000,
            "connections (0: no limit)",
        ),
        requests_per_s: at.number(
            "requests_per_s",
            default.requests_per_s,
            0..=1_000_000,
            "requests (0: no limit)",
        ),
        exempt: if has_exempt { exempt } else { default.exempt },
    };
    at.finish();
    limits
}

/// Takes a URL that can stand in a header between angle brackets; empty when it is not there or wrong.
fn url(at: &mut RawTable<'_, '_>, key: &'static str) -> Box<str> {
    let Some(text) = at.text(key) else { return Box::default() };
    let is_plain = |octet: u8| octet.is_ascii_graphic() && !matches!(octet, b'<' | b'>' | b'"');
    let has_scheme = ["http://", "https://"].iter().any(|scheme| text.value.starts_with(scheme));
    if has_scheme && text.value.bytes().all(is_plain) && text.value.len() <= Http::URL_LEN_MAX {
        return text.value.into();
    }
    at.refuse(text.line, key, format!("{:?}", text.value), "a URL, as in https://cdn.example/legal");
    Box::default()
}

/// Reads one `[[tls]]`; `None` when a file of it is missing.
fn tls(mut at: RawTable<'_, '_>) -> Option<Tls> {
    let line = at.line();
    let mut file = |key, what: &str| {
        let found = path(&mut at, key);
        if found.is_none() {
            at.refuse(line, key, "none", format!("the PEM file of {what}"));
        }
        found
    };
    let (cert, key) = (file("cert", "the certificate's chain"), file("key", "its private key"));
    let names = at.texts("names").iter().filter_map(|text| server_name(&at, "names", text)).collect();
    at.finish();
    Some(Tls { cert: cert?, key: key?, names, line })
}

/// Reads a name that a certificate is shown for; its first label may be `*`.
fn server_name(at: &RawTable<'_, '_>, key: &str, text: &At<String>) -> Option<Box<str>> {
    match text.value.strip_prefix("*.") {
        Some(rest) => {
            let rest = domain_name(at, key, &At { value: rest.to_owned(), line: text.line })?;
            Some(format!("*.{rest}").into())
        }
        None => domain_name(at, key, text),
    }
}

/// Takes listeners, which are addresses or `{ addr, proxy_protocol }`; `path` is the dotted path of `key`.
fn listeners(
    at: &mut RawTable<'_, '_>,
    key: &'static str,
    path: &'static str,
    spots: &mut Spots,
) -> Vec<Listen> {
    let mut listeners = Vec::new();
    for element in at.texts_or_tables(key) {
        let mut proxy_protocol = false;
        let text = match element {
            TextOrTable::Text(text) => Some(text),
            TextOrTable::Table(mut inner) => {
                let line = inner.line();
                let text = inner.text("addr");
                if text.is_none() {
                    inner.refuse(line, "addr", "none", "an address and a port, as in 127.0.0.1:8080");
                }
                proxy_protocol = inner.flag("proxy_protocol", false);
                inner.finish();
                text
            }
        };
        let found = text.and_then(|text| address(at, key, path, &text, proxy_protocol, spots));
        listeners.extend(found.map(|addr| Listen { addr, proxy_protocol }));
    }
    listeners
}

/// Reads `[control]`.
fn control(mut at: RawTable<'_, '_>, spots: &mut Spots) -> Control {
    let listen = addresses(&mut at, "listen", "control.listen", spots);
    let listen_tls = addresses(&mut at, "listen_tls", "control.listen_tls", spots);
    let cleartext = at.flag("cleartext", false);
    let token_file = at.text("token_file");
    let mut tokens: Vec<Token> = token_file
        .map(|text| Token { file: text.value.into(), may: vec![Right::All], line: text.line })
        .into_iter()
        .collect();
    let written = at.tables("tokens");
    let count = tokens.len() + written.len();
    tokens.extend(written.into_iter().filter_map(token));
    spots.tokens_are_wrong = tokens.len() < count;
    let client_ca = at.text("client_ca");
    let client_ca = client_ca.map(|text| ClientCa { file: text.value.into(), line: text.line });
    let clients = control_clients(&mut at, spots);
    let open = at.words(
        "open",
        &[
            ("metrics", Open { metrics: true, dashboard: false }),
            ("dashboard", Open { metrics: false, dashboard: true }),
        ],
    );
    let control = Control {
        listen,
        listen_tls,
        cleartext,
        tokens,
        client_ca,
        clients,
        open: Open {
            metrics: open.iter().any(|open| open.metrics),
            dashboard: open.iter().any(|open| open.dashboard),
        },
        body_max_mb: at.number("body_max_mb", Control::BODY_MAX_MB, 1..=65_536, "MiB"),
    };
    at.finish();
    control
}

/// Reads one of `[control] tokens`; `None` when its file or its rights are missing or wrong.
fn token(mut at: RawTable<'_, '_>) -> Option<Token> {
    let line = at.line();
    let file = path(&mut at, "file");
    if file.is_none() {
        at.refuse(line, "file", "none", "the file that holds the token");
    }
    let may = rights(&mut at, "what the token allows");
    at.finish();
    Some(Token { file: file?, may: may?, line })
}

/// Takes `may`; `None` when there is no right that is one. `what` they are.
fn rights(at: &mut RawTable<'_, '_>, what: &str) -> Option<Vec<Right>> {
    let texts = at.texts("may");
    if texts.is_empty() {
        at.refuse(at.line(), "may", "no right", format!("{what}, as in [\"table\"]"));
    }
    let may = at.meanings("may", &texts, RIGHTS);
    (!may.is_empty()).then_some(may)
}

/// Takes `[control] clients`; those whose name or rights are missing or wrong are left out.
fn control_clients(at: &mut RawTable<'_, '_>, spots: &mut Spots) -> Vec<ControlClient> {
    let written = at.tables("clients");
    spots.clients_line = written.first().map(RawTable::line);
    let count = written.len();
    let mut clients: Vec<ControlClient> = Vec::with_capacity(count);
    for mut at in written {
        let line = at.line();
        let name = at.text("name");
        let is_taken = |name: &At<String>| clients.iter().any(|client| *client.name == *name.value);
        match &name {
            None => at.refuse(line, "name", "none", "a name that the client's certificate says"),
            Some(name) if is_taken(name) => {
                at.refuse(name.line, "name", format!("{:?} again", name.value), "each client once");
            }
            Some(_) => {}
        }
        let may = rights(&mut at, "what the client may do");
        at.finish();
        if let (Some(name), Some(may)) = (name, may) {
            clients.push(ControlClient { name: name.value.into(), may });
        }
    }
    spots.clients_are_wrong = clients.len() < count;
    clients
}

/// Reads `[table]`.
fn table(mut at: RawTable<'_, '_>) -> Table {
    let table = Table {
        file: path(&mut at, "file"),
        state_dir: path(&mut at, "state_dir").unwrap_or_else(|| Table::STATE_DIR.into()),
        keep: at.number("keep", Table::KEEP, 1..=1000, "tables"),
        stale_after_s: at.number("stale_after_s", Table::STALE_AFTER_S, 0..=31 * DAY_S, "seconds"),
        guard: guard(at.table("guard")),
    };
    at.finish();
    table
}

/// Reads `[table] guard`.
fn guard(mut at: RawTable<'_, '_>) -> Guard {
    let guard = Guard {
        withdrawn_prefixes_max: at.share("withdrawn_prefixes_max", Guard::WITHDRAWN_PREFIXES_MAX),
        withdrawn_appliances_max: at.share("withdrawn_appliances_max", Guard::WITHDRAWN_APPLIANCES_MAX),
        moved_addresses_max: at.share("moved_addresses_max", Guard::MOVED_ADDRESSES_MAX),
    };
    at.finish();
    guard
}

/// Reads `[geoip]`.
fn geoip(mut at: RawTable<'_, '_>) -> GeoIp {
    let geoip = GeoIp {
        files: at.texts("files").into_iter().map(|text| text.value.into()).collect(),
        candidates: at.number("candidates", GeoIp::CANDIDATES, 1..=64, "clusters"),
        country_points: path(&mut at, "country_points"),
    };
    at.finish();
    geoip
}

/// Reads `[health]`.
fn health(mut at: RawTable<'_, '_>, spots: &mut Spots) -> Health {
    spots.health_line = at.line();
    let health = Health {
        stale_after_s: at.number("stale_after_s", Health::STALE_AFTER_S, 1..=DAY_S, "seconds"),
        fail_open_below: basis_points(&mut at, "fail_open_below", Health::FAIL_OPEN_BELOW),
        fleet_fail_open_below: basis_points(&mut at, "fleet_fail_open_below", Health::FLEET_FAIL_OPEN_BELOW),
        fleet_fail_open_min: at.number(
            "fleet_fail_open_min",
            Health::FLEET_FAIL_OPEN_MIN,
            1..=1_000_000,
            "appliances",
        ),
        shed_above: basis_points(&mut at, "shed_above", Health::SHED_ABOVE),
        shed_full: basis_points(&mut at, "shed_full", Health::SHED_FULL),
        ramp_s: at.number("ramp_s", Health::RAMP_S, 0..=3600, "seconds"),
    };
    at.finish();
    health
}

/// Reads `[steering]`.
fn steering(mut at: RawTable<'_, '_>, spots: &mut Spots) -> Steering {
    spots.steering_line = at.line();
    let steering = Steering {
        ttl_s: at.number("ttl_s", Steering::TTL_S, 1..=DAY_S, "seconds"),
        ttl_unhealthy_s: at.number("ttl_unhealthy_s", Steering::TTL_UNHEALTHY_S, 1..=DAY_S, "seconds"),
        url: web_url(&mut at, "url"),
        secret_file: path(&mut at, "secret_file"),
        demote_below_kbps: at.number(
            "demote_below_kbps",
            Steering::DEMOTE_BELOW_KBPS,
            0..=1_000_000,
            "kbit/s (0: no pathway is demoted)",
        ),
    };
    at.finish();
    steering
}

/// Takes a URL that paths can be put behind.
fn web_url(at: &mut RawTable<'_, '_>, key: &'static str) -> Option<Box<str>> {
    let text = at.text(key)?;
    let rest = text.value.strip_prefix("https://").or_else(|| text.value.strip_prefix("http://"));
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~:/[]".contains(&octet);
    let is_url = rest.is_some_and(|rest| {
        rest.bytes().all(is_plain)
            && !rest.starts_with(['/', ':'])
            && !rest.is_empty()
            && !rest.ends_with('/')
    });
    if is_url {
        return Some(text.value.into());
    }
    at.refuse(text.line, key, format!("{:?}", text.value), "a URL, as https://steer.cdn.example");
    None
}

/// Reads `[log]`.
fn log(mut at: RawTable<'_, '_>) -> Log {
    let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
    let log = Log {
        format: at.word(
            "format",
            LogFormat::default(),
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        ),
        level: at.word("level", LogLevel::default(), &levels.map(|level| (level.as_str(), level))),
    };
    at.finish();
    log
}

/// Reads `[dnstap]`.
fn dnstap(mut at: RawTable<'_, '_>) -> Dnstap {
    let dnstap = Dnstap {
        file: path(&mut at, "file"),
        socket: path(&mut at, "socket"),
        one_in: at.number("one_in", Dnstap::ONE_IN, 1..=u64::from(u32::MAX), "packets"),
    };
    if dnstap.file.is_some() && dnstap.socket.is_some() {
        at.refuse(at.line(), "socket", "a file and a socket", "one of them");
    }
    at.finish();
    dnstap
}

/// Reads `[access_log]`.
fn access_log(mut at: RawTable<'_, '_>) -> AccessLog {
    let locals: Vec<String> = (0..8).map(|number| format!("local{number}")).collect();
    let mut facilities: Vec<(&str, u8)> = locals.iter().map(String::as_str).zip(16..).collect();
    facilities.extend([("daemon", 3), ("user", 1)]);
    let log = AccessLog {
        to: at.text("to").map(|text| match &*text.value {
            "stdout" => LogTo::Stdout,
            "syslog" => LogTo::Syslog,
            path => LogTo::File(path.into()),
        }),
        one_in: at.number("one_in", AccessLog::ONE_IN, 1..=u64::from(u32::MAX), "requests"),
        dns: at.flag("dns", false),
        paths: at.flag("paths", false),
        anonymise: at.flag("anonymise", false),
        syslog_socket: path(&mut at, "syslog_socket").unwrap_or_else(|| AccessLog::default().syslog_socket),
        syslog_facility: at.word("syslog_facility", AccessLog::SYSLOG_FACILITY, &facilities),
    };
    at.finish();
    log
}

/// Takes `workers`.
fn workers(at: &mut RawTable<'_, '_>) -> Workers {
    Workers(at.number("workers", 0, 0..=u64::from(Workers::MAX), "threads (0: one a core)"))
}

/// Takes a path, as written.
fn path(at: &mut RawTable<'_, '_>, key: &'static str) -> Option<PathBuf> {
    at.text(key).map(|text| text.value.into())
}

/// Takes a share in basis points.
fn basis_points(at: &mut RawTable<'_, '_>, key: &'static str, default: BasisPoints) -> BasisPoints {
    BasisPoints::of_fraction(at.share(key, f64::from(default.get()) / 10_000.0))
}

/// Takes listeners that are addresses; `path` is the dotted path of `key`.
fn addresses(
    at: &mut RawTable<'_, '_>,
    key: &'static str,
    path: &'static str,
    spots: &mut Spots,
) -> Vec<SocketAddr> {
    at.texts(key).iter().filter_map(|text| address(at, key, path, text, false, spots)).collect()
}

/// Reads one listener of `key`, whose dotted path is `path`, and notes it for the checks across sections.
fn address(
    at: &RawTable<'_, '_>,
    key: &str,
    path: &'static str,
    text: &At<String>,
    is_proxied: bool,
    spots: &mut Spots,
) -> Option<SocketAddr> {
    match text.value.parse() {
        Ok(addr) => {
            spots.listeners.push(Listener { addr, key: path, line: text.line, is_proxied });
            Some(addr)
        }
        Err(_) => {
            let expected = "an address and a port, as in 127.0.0.1:53 or [::1]:53";
            at.refuse(text.line, key, format!("{:?}", text.value), expected);
            None
        }
    }
}

/// Takes prefixes; a bare address is the prefix of that address alone.
fn prefixes(at: &mut RawTable<'_, '_>, key: &'static str) -> Vec<Prefix> {
    let mut prefixes = Vec::new();
    for text in at.texts(key) {
        let bare = text.value.parse::<IpAddr>().ok();
        let prefix = match bare.and_then(|addr| Prefix::new(addr, Family::of(addr).bits())) {
            Some(prefix) => Ok(prefix),
            None => text.value.parse(),
        };
        match prefix {
            Ok(prefix) => prefixes.push(prefix),
            Err(error) => {
                let expected = match error {
                    PrefixError::Syntax => "a prefix, as in 192.0.2.0/24 or 2001:db8::/32".to_owned(),
                    PrefixError::HostBits(meant) => format!("no host bits, perhaps {meant}"),
                };
                at.refuse(text.line, key, format!("{:?}", text.value), expected);
            }
        }
    }
    prefixes
}

/// Takes a domain name that must be there.
fn required_name(at: &mut RawTable<'_, '_>, key: &'static str) -> Option<Box<str>> {
    let text = at.text(key);
    if text.is_none() {
        at.refuse(at.line(), key, "none", "a domain name, as in cdn.example");
    }
    domain_name(at, key, &text?)
}

/// Reads a domain name into lower case without its final dot: labels of 1 to 63 letters, digits,
/// hyphens and underscores, 253 characters in all (RFC 1035 section 2.3.4).
fn domain_name(at: &RawTable<'_, '_>, key: &str, text: &At<String>) -> Option<Box<str>> {
    let name = text.value.strip_suffix('.').unwrap_or(&text.value).to_ascii_lowercase();
    let letter = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(letter);
    if name.len() <= 253 && name.split('.').all(label) {
        Some(name.into())
    } else {
        at.refuse(text.line, key, format!("{:?}", text.value), "a domain name, as in cdn.example");
        None
    }
}

/// Reads a mailbox: a domain name (RFC 1035 section 8), or an address with an `@`, which stays.
fn mailbox(at: &RawTable<'_, '_>, key: &str, text: &At<String>) -> Option<Box<str>> {
    let Some((local, domain)) = text.value.rsplit_once('@') else { return domain_name(at, key, text) };
    let is_local = |octet: u8| octet.is_ascii_graphic() && octet != b'@' && octet != b'"' && octet != b'\\';
    if !(1..=63).contains(&local.len()) || !local.bytes().all(is_local) {
        at.refuse(
            text.line,
            key,
            format!("{:?}", text.value),
            "a mail address, as in hostmaster@cdn.example",
        );
        return None;
    }
    let domain = domain_name(at, key, &At { value: domain.to_owned(), line: text.line })?;
    Some(format!("{local}@{domain}").into())
}
