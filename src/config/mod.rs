//! The configuration in its checked form: real types, and no option that has a default.
//!
//! [`Config::parse`] turns text into a [`Config`] or into *all* its problems, each with the line to
//! put the cursor on. It opens no file and resolves no name: paths stay as written, and
//! [`Config::resolve`] makes them relative to the config file's directory. What the files hold is
//! checked by who reads them. `raw` owns TOML; `read` owns which key means what, and the checks that
//! need one key only; the checks across sections are here.
//! Layer 1. Tests: below, and one bad file a kind of mistake in `tests/config`.

mod raw;
mod read;

use crate::prefix::Prefix;
use crate::problem::Problem;
use crate::units::BasisPoints;
use raw::Findings;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Everything that an operator may set.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Directory that relative paths start from: the config file's. Empty: the working directory.
    pub base: PathBuf,
    /// `[[tls]]`, as ordered in the file: the first is shown where the client names no server.
    pub tls: Vec<Tls>,
    /// `[dns]`.
    pub dns: Dns,
    /// `[http]`.
    pub http: Http,
    /// `[control]`.
    pub control: Control,
    /// `[table]`.
    pub table: Table,
    /// `[geoip]`.
    pub geoip: GeoIp,
    /// `[health]`.
    pub health: Health,
    /// `[steering]`.
    pub steering: Steering,
    /// `[log]`.
    pub log: Log,
    /// `[dnstap]`.
    pub dnstap: Dnstap,
    /// `[access_log]`.
    pub access_log: AccessLog,
    /// Seconds that answers go on after SIGTERM (ruling 27), 0 to 600.
    pub drain_s: u32,
}

/// How many threads a listener's work is spread over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Workers(u16);

impl Workers {
    /// Most threads that can be asked for.
    pub const MAX: u16 = 1024;

    /// The number of threads on a machine of `cores` cores: one a core when configured as 0.
    pub fn count(self, cores: usize) -> usize {
        if self.0 == 0 { cores.max(1) } else { usize::from(self.0) }
    }
}

/// A certificate and its key (`[[tls]]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// PEM file of the chain, the server's own certificate first, as written.
    pub cert: PathBuf,
    /// PEM file of its private key, as written.
    pub key: PathBuf,
    /// Names it is shown for, lower case without the final dot, `*.` for one label; empty: its own.
    pub names: Vec<Box<str>>,
    /// Line of its `[[tls]]`, for problems found later.
    pub line: u64,
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub addr: SocketAddr,
    /// Whether every connection and datagram has to begin with a PROXY header.
    pub proxy_protocol: bool,
}

/// Answers over UDP and TCP, TLS and HTTPS.
#[derive(Debug, Clone, PartialEq)]
pub struct Dns {
    /// Addresses to answer on, UDP and TCP; empty: neither.
    pub listen: Vec<Listen>,
    /// Addresses to answer on over TLS (RFC 7858).
    pub listen_tls: Vec<Listen>,
    /// Peers that may send PROXY headers.
    pub trusted_proxies: Vec<Prefix>,
    /// Whether HTTP listeners answer DNS (RFC 8484).
    pub doh: bool,
    /// UDP threads.
    pub workers: Workers,
    /// Largest UDP reply in octets, whatever the query offers; 512 to 4096.
    pub edns_udp_max: u16,
    /// Leading bits of an IPv4 client that spread a large cluster (ruling 9), 0 to 32.
    pub spread_v4: u8,
    /// Leading bits of an IPv6 client that spread a large cluster (ruling 9), 0 to 128.
    pub spread_v6: u8,
    /// Most addresses in an answer to a query without ECS (ruling 9), 1 to 16.
    pub answers_no_ecs: u8,
    /// Whether `TXT _explain.<service>` is answered.
    pub explain_txt: bool,
    /// Most TCP and TLS connections at a time, 1 to 1,000,000.
    pub tcp_connections_max: u32,
    /// Seconds after which a silent connection is closed (RFC 7766 section 6.2.3), 1 to 3600.
    pub tcp_idle_s: u32,
    /// What the server calls itself (NSID, `id.server`), at most 128 octets; empty: it does not say.
    pub identity: Box<str>,
    /// What `version.bind` says, at most 255 octets; empty: it does not say.
    pub version: Box<str>,
    /// Whether cookies are answered (RFC 7873).
    pub cookies: bool,
    /// File with the secrets of cookies, as written; absent: one that nobody else knows.
    pub cookie_secret_file: Option<PathBuf>,
    /// `[dns.limits]`.
    pub limits: Limits,
    /// Most signatures that a worker makes a second, for UDP and for connections each, 1 to 1,000,000.
    pub signatures_s_max: u32,
    /// Signatures that a worker keeps, 1 to 10,000,000.
    pub signatures_kept: u32,
    /// `[[dns.zone]]`, as ordered in the file; none lies inside another.
    pub zones: Vec<Zone>,
}

impl Dns {
    /// Fits any path without fragments (RFC 9715 section 3.1, and its Appendix A).
    pub const EDNS_UDP_MAX: u16 = 1232;
    /// About 4,096 IPv4 addresses share an order.
    pub const SPREAD_V4: u8 = 20;
    /// Sixteen /48 sites share an order.
    pub const SPREAD_V6: u8 = 44;
    /// A resolver's many clients spread over eight appliances.
    pub const ANSWERS_NO_ECS: u8 = 8;
    /// A few megabytes of buffers.
    pub const TCP_CONNECTIONS_MAX: u32 = 1000;
    /// RFC 7766 section 6.2.3 advises a few seconds.
    pub const TCP_IDLE_S: u32 = 10;
    /// A tenth of a core's time at 50 microseconds a signature, which is the slower algorithm's.
    pub const SIGNATURES_S_MAX: u32 = 2000;
    /// The answers of some hundred clusters, and about 20 MB a worker when full.
    pub const SIGNATURES_KEPT: u32 = 65_536;
    /// What an identity may have, octets: it rides in every reply that asks for it.
    pub const IDENTITY_LEN_MAX: usize = 128;
    /// What a version may have, octets: one character-string.
    pub const VERSION_LEN_MAX: usize = 255;
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            listen_tls: Vec::new(),
            trusted_proxies: Vec::new(),
            doh: false,
            workers: Workers::default(),
            edns_udp_max: Self::EDNS_UDP_MAX,
            spread_v4: Self::SPREAD_V4,
            spread_v6: Self::SPREAD_V6,
            answers_no_ecs: Self::ANSWERS_NO_ECS,
            explain_txt: false,
            tcp_connections_max: Self::TCP_CONNECTIONS_MAX,
            tcp_idle_s: Self::TCP_IDLE_S,
            identity: Box::default(),
            version: Box::default(),
            cookies: true,
            cookie_secret_file: None,
            limits: Limits::default(),
            signatures_s_max: Self::SIGNATURES_S_MAX,
            signatures_kept: Self::SIGNATURES_KEPT,
            zones: Vec::new(),
        }
    }
}

/// Where dnstap events go, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dnstap {
    /// A file, begun anew at each start, as written.
    pub file: Option<PathBuf>,
    /// A Unix socket that a reader listens on, as written. At most one of the two is set.
    pub socket: Option<PathBuf>,
    /// One packet in so many is told of, 1 to 2^32 - 1.
    pub one_in: u32,
}

impl Dnstap {
    /// Every packet.
    pub const ONE_IN: u32 = 1;
}

impl Default for Dnstap {
    fn default() -> Self {
        Self { file: None, socket: None, one_in: Self::ONE_IN }
    }
}

/// Where lines of the access log go, how many, and what they say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where; `None`: nothing is logged.
    pub to: Option<LogTo>,
    /// One request or query in so many is logged, 1 to 2^32 - 1.
    pub one_in: u32,
    /// Whether DNS queries are logged too.
    pub dns: bool,
    /// Whether lines say path and query.
    pub paths: bool,
    /// Whether addresses are cut to /24 and /48.
    pub anonymise: bool,
    /// Socket of the syslog daemon, as written.
    pub syslog_socket: PathBuf,
    /// What syslog is told of the kind of program (RFC 5424 section 6.2.1), 0 to 23.
    pub syslog_facility: u8,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTo {
    /// Standard output.
    Stdout,
    /// The syslog daemon.
    Syslog,
    /// A file or FIFO, as written.
    File(PathBuf),
}

impl AccessLog {
    /// Every one.
    pub const ONE_IN: u32 = 1;
    /// Where syslog daemons of Linux listen.
    pub const SYSLOG_SOCKET: &str = "/dev/log";
    /// `local0`: for whatever a site likes.
    pub const SYSLOG_FACILITY: u8 = 16;
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            to: None,
            one_in: Self::ONE_IN,
            dns: false,
            paths: false,
            anonymise: false,
            syslog_socket: PathBuf::from(Self::SYSLOG_SOCKET),
            syslog_facility: Self::SYSLOG_FACILITY,
        }
    }
}

/// How much one network of peers is sent over UDP (`[dns.limits]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Times a second that it is told the same thing; 0: no limit.
    pub same_per_s: u32,
    /// Octets a second that it is sent beyond what it sends; 0: no limit.
    pub gain_per_s: u32,
    /// Every so many'th reply over a limit is a truncated one, the others are dropped; 0: all are.
    pub slip: u32,
    /// Leading bits that make a network, IPv4, 1 to 32.
    pub network_v4: u8,
    /// The same, IPv6, 1 to 128.
    pub network_v6: u8,
    /// Peers without limits.
    pub exempt: Vec<Prefix>,
}

impl Limits {
    /// A resolver keeps an answer for its TTL: it has no reason to ask for the same a hundred times in a
    /// second, and a network of many resolvers hardly has.
    pub const SAME_PER_S: u32 = 100;
    /// A public resolver's /24 that asks for 20,000 client subnets in a second gains 1.1 MB of IPv6
    /// addresses, 3.3 MB where they are signed. More than this is a victim.
    pub const GAIN_PER_S: u32 = 4_000_000;
    /// Half of a victim's queries, as octets; and a real resolver comes through in two tries.
    pub const SLIP: u32 = 2;
    /// What spoofed floods vary inside of.
    pub const NETWORK_V4: u8 = 24;
    /// A site's delegation is a /48 to a /56.
    pub const NETWORK_V6: u8 = 56;
}

/// This machine (ruling 26).
pub fn loopback() -> Vec<Prefix> {
    let loopback = [(IpAddr::from([127, 0, 0, 0]), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];
    loopback.into_iter().filter_map(|(addr, len)| Prefix::new(addr, len)).collect()
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            same_per_s: Self::SAME_PER_S,
            gain_per_s: Self::GAIN_PER_S,
            slip: Self::SLIP,
            network_v4: Self::NETWORK_V4,
            network_v6: Self::NETWORK_V6,
            exempt: loopback(),
        }
    }
}

/// A zone this server is authoritative for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Apex, lower case without the final dot.
    pub name: Box<str>,
    /// Name servers, at least one, as `name`.
    pub ns: Vec<Box<str>>,
    /// Start of authority.
    pub soa: Soa,
    /// Master file of further static records (RFC 1035 section 5), as written.
    pub records: Option<PathBuf>,
    /// Directory of its keys, as written; `None`: it is not signed.
    pub keys: Option<PathBuf>,
    /// Seconds that a new signature is valid, four hours to a year.
    pub signature_validity_s: u32,
    /// Seconds over which renewals are spread, at most half of the validity.
    pub signature_jitter_s: u32,
    /// Who is told how a decision is made, where `[dns] explain_txt` says that anybody is.
    pub explain_to: Box<[Prefix]>,
    /// Line of its `[[dns.zone]]`, for problems found later.
    pub line: u64,
}

impl Zone {
    /// A week: longer than a long weekend without anybody, short enough that a stolen key's signatures end.
    pub const SIGNATURE_VALIDITY_S: u32 = 604_800;
    /// A day.
    pub const SIGNATURE_JITTER_S: u32 = 86_400;
}

/// A zone's start of authority (RFC 1035 section 3.3.13).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Soa {
    /// Primary name server; default: the first of `ns`.
    pub mname: Box<str>,
    /// Who is responsible, as a name or with an `@`; default: `hostmaster` in the zone.
    pub rname: Box<str>,
    /// Version of the static records.
    pub serial: u32,
    /// Seconds between a secondary's checks.
    pub refresh_s: u32,
    /// Seconds between a secondary's checks after a failed one.
    pub retry_s: u32,
    /// Seconds after which a secondary gives up.
    pub expire_s: u32,
    /// Seconds a negative answer may be kept (RFC 2308 section 4).
    pub negative_ttl_s: u32,
}

impl Soa {
    /// Nobody transfers the zone yet.
    pub const SERIAL: u32 = 1;
    /// An hour.
    pub const REFRESH_S: u32 = 3600;
    /// Ten minutes.
    pub const RETRY_S: u32 = 600;
    /// A week.
    pub const EXPIRE_S: u32 = 604_800;
    /// As short as a service's TTL.
    pub const NEGATIVE_TTL_S: u32 = 30;
}

/// Redirects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Addresses to answer on; empty: no redirects.
    pub listen: Vec<Listen>,
    /// Addresses to answer on over TLS.
    pub listen_tls: Vec<Listen>,
    /// Whether HTTP/3 is spoken there too, on UDP.
    pub http3: bool,
    /// Peers whose word about the client is believed (ruling 23), in headers and before them.
    pub trusted_proxies: Vec<Prefix>,
    /// Whether that word is `Forwarded` (RFC 7239) instead of `X-Forwarded-For`.
    pub forwarded: bool,
    /// Whether any web page may read the answers.
    pub cors: bool,
    /// Whether answers carry `X-Steer-Decision`.
    pub decision_header: bool,
    /// Parameter of URLs to appliances that carries the decision's id, 1 to 32 letters, digits, `-`, `.`, `_`
    /// and `~`.
    pub decision_query: Option<Box<str>>,
    /// Who keeps content from countries, as a URL (RFC 7725); empty: it is not said.
    pub blocked_by: Box<str>,
    /// Port of the URLs that services' `plain_http` sends to; 0: that of the first of `listen_tls`.
    pub https_port: u16,
    /// Most entries of the ranked list, 1 to 16.
    pub locations_max: u8,
    /// Threads.
    pub workers: Workers,
    /// `[http.limits]`.
    pub limits: HttpLimits,
}

/// What connections and requests may cost (`[http.limits]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpLimits {
    /// Octets of a request's head, 8,192 to 65,536.
    pub head_octets: u32,
    /// Seconds for a head to come in whole once it has begun, 1 to 3600.
    pub head_s: u32,
    /// Seconds that a connection may stay without a request, 1 to 3600.
    pub idle_s: u32,
    /// Seconds for a client to take what it was sent, 1 to 3600.
    pub send_s: u32,
    /// Seconds for a TLS handshake, 1 to 60.
    pub handshake_s: u32,
    /// Octets that a connection may send without a request that is answered, 65,536 to 2^31.
    pub unanswered_octets: u32,
    /// Requests at a time on one HTTP/2 connection, 1 to 10,000.
    pub streams: u32,
    /// Connections at a time, 1 to 10,000,000.
    pub connections: u32,
    /// Of them from one network; 0: no limit.
    pub network_connections: u32,
    /// Requests of one network a second; 0: no limit.
    pub requests_per_s: u32,
    /// Peers that the limits on networks do not concern.
    pub exempt: Vec<Prefix>,
}

impl HttpLimits {
    /// What other servers take (8 to 32 KiB), and twice what a browser's cookies come to.
    pub const HEAD_OCTETS: u32 = 16 << 10;
    /// A head is a packet or two; over a bad mobile link a few retransmissions.
    pub const HEAD_S: u32 = 10;
    /// Above the 60 s for which load balancers keep idle connections, so that they close first.
    pub const IDLE_S: u32 = 75;
    /// At most about 64 KiB wait to be taken: 6.5 KB a second is slower than any player's link.
    pub const SEND_S: u32 = 10;
    /// Two round trips and a signature.
    pub const HANDSHAKE_S: u32 = 5;
    /// 60,000 PING frames, or the bodies of sixteen large DNS queries.
    pub const UNANSWERED_OCTETS: u32 = 1 << 20;
    /// What browsers open at once is below a hundred, and an answer takes no time.
    pub const STREAMS: u32 = 64;
    /// File descriptors that services usually may have, less some.
    pub const CONNECTIONS: u32 = 65_536;
    /// A carrier's address stands for thousands of subscribers; sixteen such do not fill the server.
    pub const NETWORK_CONNECTIONS: u32 = 4096;
    /// A carrier's address with 10,000 viewers who are redirected every two seconds; a fiftieth of a core.
    pub const REQUESTS_PER_S: u32 = 5000;
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            head_octets: Self::HEAD_OCTETS,
            head_s: Self::HEAD_S,
            idle_s: Self::IDLE_S,
            send_s: Self::SEND_S,
            handshake_s: Self::HANDSHAKE_S,
            unanswered_octets: Self::UNANSWERED_OCTETS,
            streams: Self::STREAMS,
            connections: Self::CONNECTIONS,
            network_connections: Self::NETWORK_CONNECTIONS,
            requests_per_s: Self::REQUESTS_PER_S,
            exempt: loopback(),
        }
    }
}

impl Http {
    /// Octets of a parameter's name, at most.
    pub const DECISION_QUERY_LEN_MAX: usize = 32;
    /// As many as a player will try.
    pub const LOCATIONS_MAX: u8 = 8;
    /// What a URL of ours may have, octets.
    pub const URL_LEN_MAX: usize = 500;

    /// The port of URLs over TLS to this server: as configured, else where it listens, else the usual one.
    pub fn secure_port(&self) -> u16 {
        let listening = self.listen_tls.first().map(|listen| listen.addr.port()).filter(|port| *port != 0);
        Some(self.https_port).filter(|port| *port != 0).or(listening).unwrap_or(443)
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            listen_tls: Vec::new(),
            http3: false,
            trusted_proxies: Vec::new(),
            forwarded: false,
            cors: false,
            decision_header: false,
            decision_query: None,
            blocked_by: Box::default(),
            https_port: 0,
            locations_max: Self::LOCATIONS_MAX,
            workers: Workers::default(),
            limits: HttpLimits::default(),
        }
    }
}

/// The push API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Addresses to answer on; empty: none in the clear.
    pub listen: Vec<SocketAddr>,
    /// Addresses to answer on over TLS.
    pub listen_tls: Vec<SocketAddr>,
    /// Whether `listen` may be reached by other machines: somebody else keeps the way private.
    pub cleartext: bool,
    /// Who may do what; empty: whoever reaches a loopback listener may do everything.
    pub tokens: Vec<Token>,
    /// Who makes the certificates that clients may show over TLS.
    pub client_ca: Option<ClientCa>,
    /// Who may do what with a certificate of `client_ca`.
    pub clients: Vec<ControlClient>,
    /// What needs no token.
    pub open: Open,
    /// Most MiB of a pushed body after decompression, 1 to 65,536.
    pub body_max_mb: u32,
}

impl Control {
    /// A full table of the whole Internet, several times.
    pub const BODY_MAX_MB: u32 = 1024;

    /// Most octets of a pushed body after decompression.
    pub fn body_octets_max(&self) -> u64 {
        u64::from(self.body_max_mb) << 20
    }
}

impl Default for Control {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            listen_tls: Vec::new(),
            cleartext: false,
            tokens: Vec::new(),
            client_ca: None,
            clients: Vec::new(),
            open: Open::default(),
            body_max_mb: Self::BODY_MAX_MB,
        }
    }
}

/// A bearer token and its rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// File that holds the token, as written.
    pub file: PathBuf,
    /// What it allows, at least one.
    pub may: Vec<Right>,
    /// Line it is written on, for problems found later.
    pub line: u64,
}

/// Who makes certificates of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCa {
    /// PEM file of its certificates, as written.
    pub file: PathBuf,
    /// Line it is written on, for problems found later.
    pub line: u64,
}

/// A client that shows a certificate, and its rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlClient {
    /// A name that its certificate says.
    pub name: Box<str>,
    /// What it may do, at least one.
    pub may: Vec<Right>,
}

/// A right that a token or a certificate gives (ruling 22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// Push, roll back, reload tables.
    Table,
    /// Push health.
    Health,
    /// Send an appliance's own heartbeat.
    Heartbeat,
    /// Set and lift overrides.
    Override,
    /// Read state, metrics, explanations.
    Read,
    /// All of these.
    All,
}

/// What of the push API needs no token although there are tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Open {
    /// `/metrics`.
    pub metrics: bool,
    /// `/`.
    pub dashboard: bool,
}

/// Where tables come from and what stops one.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// NDJSON file that is served at start and watched, as written.
    pub file: Option<PathBuf>,
    /// Directory of last-known-good artefacts, as written.
    pub state_dir: PathBuf,
    /// Artefacts kept, 1 to 1000.
    pub keep: u32,
    /// Seconds after which a table that nobody pushed or confirmed is called stale, up to 31 days; 0: never.
    pub stale_after_s: u32,
    /// Limits on what one push may change.
    pub guard: Guard,
}

impl Table {
    /// Beside the config file.
    pub const STATE_DIR: &str = "state";
    /// Enough to step back over a bad day.
    pub const KEEP: u32 = 5;
    /// Never: how often an inventory pushes is known to its operator only.
    pub const STALE_AFTER_S: u32 = 0;
}

impl Default for Table {
    fn default() -> Self {
        Self {
            file: None,
            state_dir: PathBuf::from(Self::STATE_DIR),
            keep: Self::KEEP,
            stale_after_s: Self::STALE_AFTER_S,
            guard: Guard::default(),
        }
    }
}

/// Limits on what one push may change, each a share of what is served (ruling 19), 0.0 to 1.0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    /// Of the prefixes.
    pub withdrawn_prefixes_max: f64,
    /// Of the appliances.
    pub withdrawn_appliances_max: f64,
    /// Of the routed address space, each family by itself.
    pub moved_addresses_max: f64,
}

impl Guard {
    /// More is an outage of whoever collects routes.
    pub const WITHDRAWN_PREFIXES_MAX: f64 = 0.10;
    /// More is a broken inventory.
    pub const WITHDRAWN_APPLIANCES_MAX: f64 = 0.20;
    /// More would empty too many caches at once.
    pub const MOVED_ADDRESSES_MAX: f64 = 0.30;
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            withdrawn_prefixes_max: Self::WITHDRAWN_PREFIXES_MAX,
            withdrawn_appliances_max: Self::WITHDRAWN_APPLIANCES_MAX,
            moved_addresses_max: Self::MOVED_ADDRESSES_MAX,
        }
    }
}

/// Where clients are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeoIp {
    /// MaxMind-format databases, as written; empty: the geography step finds nobody.
    pub files: Vec<PathBuf>,
    /// Nearest clusters on a list (ruling 1), 1 to 64.
    pub candidates: u8,
    /// CSV of one point a country instead of the built-in one, as written.
    pub country_points: Option<PathBuf>,
}

impl GeoIp {
    /// A list long enough for any outage short of a continent's.
    pub const CANDIDATES: u8 = 8;
}

impl Default for GeoIp {
    fn default() -> Self {
        Self { files: Vec::new(), candidates: Self::CANDIDATES, country_points: None }
    }
}

/// How far health is believed and how it moves traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Seconds of silence after which a heartbeat-fed appliance is down (ruling 3), 1 to 86,400.
    pub stale_after_s: u32,
    /// Share of a cluster below which its health is judged broken (ruling 2), in 1/10,000.
    pub fail_open_below: BasisPoints,
    /// Share of the fleet below which all health is judged broken (ruling 2), in 1/10,000; 0: never.
    pub fleet_fail_open_below: BasisPoints,
    /// Smallest fleet, in active appliances, that `fleet_fail_open_below` acts on.
    pub fleet_fail_open_min: u32,
    /// Load above which an appliance sheds (ruling 5), below `shed_full`.
    pub shed_above: BasisPoints,
    /// Load at which it sheds most (ruling 5).
    pub shed_full: BasisPoints,
    /// Seconds in which a recovering appliance takes its share back (ruling 5), 0 to 3600; 0: at once.
    pub ramp_s: u32,
}

impl Health {
    /// Three missed heartbeats of ten seconds.
    pub const STALE_AFTER_S: u32 = 30;
    /// Half of a cluster.
    pub const FAIL_OPEN_BELOW: BasisPoints = BasisPoints::saturating(5000);
    /// Off.
    pub const FLEET_FAIL_OPEN_BELOW: BasisPoints = BasisPoints::ZERO;
    /// Smaller fleets lose a third to ordinary faults.
    pub const FLEET_FAIL_OPEN_MIN: u32 = 50;
    /// Room for the slice to work before the machine is full.
    pub const SHED_ABOVE: BasisPoints = BasisPoints::saturating(8500);
    /// Nearly full.
    pub const SHED_FULL: BasisPoints = BasisPoints::saturating(9800);
    /// A minute of cold cache.
    pub const RAMP_S: u32 = 60;
}

impl Default for Health {
    fn default() -> Self {
        Self {
            stale_after_s: Self::STALE_AFTER_S,
            fail_open_below: Self::FAIL_OPEN_BELOW,
            fleet_fail_open_below: Self::FLEET_FAIL_OPEN_BELOW,
            fleet_fail_open_min: Self::FLEET_FAIL_OPEN_MIN,
            shed_above: Self::SHED_ABOVE,
            shed_full: Self::SHED_FULL,
            ramp_s: Self::RAMP_S,
        }
    }
}

/// Content-steering manifests (ruling 25).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Steering {
    /// Seconds until a player asks again, 1 to 86,400.
    pub ttl_s: u32,
    /// The same while health affects the client's own list; not above `ttl_s`.
    pub ttl_unhealthy_s: u32,
    /// Where players reach this server, as `https://steer.cdn.example`, in the URL to poll next; absent: that
    /// URL is a path.
    pub url: Option<Box<str>>,
    /// File with the secrets that sign sessions, as written; absent: one that nobody else knows.
    pub secret_file: Option<PathBuf>,
    /// A pathway that a player has less than this from, kbit/s, is slow, 0 to 1,000,000; 0: none is.
    pub demote_below_kbps: u32,
}

impl Steering {
    /// What HLS content steering uses when a manifest does not say.
    pub const TTL_S: u32 = 300;
    /// One answer's lifetime in DNS.
    pub const TTL_UNHEALTHY_S: u32 = 30;
    /// Off.
    pub const DEMOTE_BELOW_KBPS: u32 = 0;
}

impl Default for Steering {
    fn default() -> Self {
        Self {
            ttl_s: Self::TTL_S,
            ttl_unhealthy_s: Self::TTL_UNHEALTHY_S,
            url: None,
            secret_file: None,
            demote_below_kbps: Self::DEMOTE_BELOW_KBPS,
        }
    }
}

/// What is logged, and how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Log {
    /// Shape of a line.
    pub format: LogFormat,
    /// Least important events shown.
    pub level: LogLevel,
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Importance of a log event, most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Something does not work.
    Error,
    /// Something will not work for long.
    Warn,
    /// Something changed.
    #[default]
    Info,
    /// For whoever looks for a fault.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// As in the config, and as log filters spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base: PathBuf::new(),
            tls: Vec::new(),
            dns: Dns::default(),
            http: Http::default(),
            control: Control::default(),
            table: Table::default(),
            geoip: GeoIp::default(),
            health: Health::default(),
            steering: Steering::default(),
            log: Log::default(),
            dnstap: Dnstap::default(),
            access_log: AccessLog::default(),
            drain_s: Self::DRAIN_S,
        }
    }
}

impl Config {
    /// Longer than a resolver's longest patience with one server.
    pub const DRAIN_S: u32 = 5;

    /// Reads `text`, the content of `file`, which is only named in problems and used as the place
    /// that relative paths start from.
    ///
    /// # Errors
    /// Everything that is wrong, by line. Bad TOML is reported alone: the rest would be guesswork.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let findings = Findings::new(file, text);
        let root = findings.parse();
        if !findings.is_empty() {
            drop(root);
            return Err(findings.into_problems());
        }
        let (mut config, spots) = read::config(root);
        config.base = Path::new(file).parent().map(Path::to_path_buf).unwrap_or_default();
        config.check_across(&spots, &findings);
        if findings.is_empty() { Ok(config) } else { Err(findings.into_problems()) }
    }

    /// `path` as the process opens it: relative ones start at the config file's directory.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// Checks what no single key can show.
    fn check_across(&self, spots: &read::Spots, findings: &Findings<'_>) {
        check_listeners(&spots.listeners, findings);
        check_zones(&self.dns.zones, findings);
        self.check_transports(spots, findings);
        self.check_control(spots, findings);
        if self.health.shed_above >= self.health.shed_full {
            let found = format!(
                "{} with shed_full = {}",
                fraction(self.health.shed_above),
                fraction(self.health.shed_full)
            );
            findings.add(spots.health_line, "health.shed_above", found, "less than shed_full");
        }
        if self.steering.ttl_unhealthy_s > self.steering.ttl_s {
            let found = format!("{} with ttl_s = {}", self.steering.ttl_unhealthy_s, self.steering.ttl_s);
            findings.add(spots.steering_line, "steering.ttl_unhealthy_s", found, "at most ttl_s");
        }
    }

    /// Checks that the push API knows who calls from other machines, and that nobody on the way does (ruling
    /// 22).
    fn check_control(&self, spots: &read::Spots, findings: &Findings<'_>) {
        let control = &self.control;
        let is_remote = |listener: &&read::Listener| {
            listener.key.starts_with("control.") && !listener.addr.ip().to_canonical().is_loopback()
        };
        for listener in spots.listeners.iter().filter(is_remote) {
            let is_tls = listener.key == "control.listen_tls";
            let has_clients = is_tls && (!control.clients.is_empty() || spots.clients_are_wrong);
            if control.tokens.is_empty() && !spots.tokens_are_wrong && !has_clients {
                let (found, expected) = if is_tls {
                    (
                        "without a token or a client",
                        "a loopback address, or control.tokens, or control.clients with control.client_ca",
                    )
                } else {
                    ("without a token", "a loopback address, or control.token_file or control.tokens")
                };
                findings.add(listener.line, listener.key, format!("{} {found}", listener.addr), expected);
            }
            if !is_tls && !control.cleartext {
                let found = format!("{} without TLS", listener.addr);
                let expected = "a loopback address, or control.listen_tls; or control.cleartext = true where \
                                the way there is private";
                findings.add(listener.line, listener.key, found, expected);
            }
        }
        if let Some(ca) = &control.client_ca {
            if control.listen_tls.is_empty() && findings.is_empty() {
                findings.add(ca.line, "control.client_ca", "no listener over TLS", "control.listen_tls");
            }
            if control.clients.is_empty() && !spots.clients_are_wrong {
                let expected = "whom its certificates are for, in control.clients";
                findings.add(ca.line, "control.client_ca", "no clients", expected);
            }
        } else if let Some(line) = spots.clients_line {
            let expected = "who makes their certificates, as control.client_ca";
            findings.add(line, "control.clients", "no authority", expected);
        }
    }

    /// Checks that listeners have what their connections begin with: certificates, and peers that may speak
    /// for others; and that DNS over HTTPS has a listener.
    fn check_transports(&self, spots: &read::Spots, findings: &Findings<'_>) {
        let is_tls = |listener: &&read::Listener| listener.key.ends_with("listen_tls");
        if let Some(listener) = spots.listeners.iter().find(is_tls).filter(|_| !spots.has_tls) {
            findings.add(listener.line, listener.key, "no certificate", "one, as cert and key of a [[tls]]");
        }
        for listener in spots.listeners.iter().filter(|listener| listener.is_proxied) {
            let (section, speakers) = if listener.key.starts_with("dns.") {
                ("dns", &self.dns.trusted_proxies)
            } else {
                ("http", &self.http.trusted_proxies)
            };
            if speakers.is_empty() {
                let expected = format!("those who may send PROXY headers, in {section}.trusted_proxies");
                findings.add(listener.line, listener.key, "no trusted proxies", expected);
            }
        }
        if self.dns.doh
            && self.http.listen.is_empty()
            && self.http.listen_tls.is_empty()
            && findings.is_empty()
        {
            findings.add(spots.dns_line, "dns.doh", "no HTTP listener", "listen or listen_tls in [http]");
        }
        if self.http.http3 && findings.is_empty() {
            self.check_http3(spots, findings);
        }
    }

    /// Checks that HTTP/3 can be spoken, and where.
    fn check_http3(&self, spots: &read::Spots, findings: &Findings<'_>) {
        let refuse = |found: &str, expected: &str| {
            findings.add(spots.http3_line, "http.http3", found, expected);
        };
        if !cfg!(feature = "http3") {
            refuse("true in a build without HTTP/3", "false, or a build with --features http3");
        }
        if self.http.listen_tls.is_empty() {
            refuse("no listener over TLS", "listen_tls in [http]");
        }
        if self.http.listen_tls.iter().any(|listen| listen.proxy_protocol) {
            refuse("a listener with proxy_protocol", "listeners that clients reach themselves");
        }
    }
}

/// `share` as a decimal fraction.
fn fraction(share: BasisPoints) -> f64 {
    f64::from(share.get()) / 10_000.0
}

/// Reports configs without any listener, and listeners that take each other's connections.
fn check_listeners(listeners: &[read::Listener], findings: &Findings<'_>) {
    if listeners.is_empty() && findings.is_empty() {
        findings.add(0, "", "no listener", "listen in [dns], [http] or [control]");
    }
    for (index, later) in listeners.iter().enumerate() {
        if let Some(first) = listeners[..index].iter().find(|first| collide(first.addr, later.addr)) {
            findings.add(
                later.line,
                later.key,
                later.addr,
                format!("an address that {} on line {} leaves free ({})", first.key, first.line, first.addr),
            );
        }
    }
}

/// Whether two listeners cannot both have their port: one address, or the unspecified one of that
/// family beside any. Port 0 is never the same twice.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = |ip: IpAddr| ip.is_unspecified();
    a.port() != 0
        && a.port() == b.port()
        && (a.ip() == b.ip() || (a.is_ipv4() == b.is_ipv4() && (any(a.ip()) || any(b.ip()))))
}

/// Reports a zone that is, or lies inside, another one: its parent would have to delegate it.
fn check_zones(zones: &[Zone], findings: &Findings<'_>) {
    for (index, zone) in zones.iter().enumerate() {
        let around = zones.iter().enumerate().find(|(other_index, other)| {
            let inside = zone.name.strip_suffix(&*other.name).is_some_and(|rest| rest.ends_with('.'));
            inside || (*other_index < index && zone.name == other.name)
        });
        if let Some((_, other)) = around {
            findings.add(
                zone.line,
                "dns.zone.name",
                format!("{:?}", zone.name),
                format!("a name that is not in zone {:?} of line {}", other.name, other.line),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The repository's top directory.
    const TOP: &str = env!("CARGO_MANIFEST_DIR");

    fn read(path: &str) -> String {
        std::fs::read_to_string(Path::new(TOP).join(path)).expect("a file of the repository")
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("a socket address")
    }

    /// Problems of `text`, or nothing.
    fn problems(text: &str) -> Vec<String> {
        let found = Config::parse("f.toml", text).err().unwrap_or_default();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_shipped_file_is_the_defaults_and_what_it_names() {
        let found = Config::parse("config/steerd.toml", &read("config/steerd.toml"));
        let name = |text: &str| Box::<str>::from(text);
        let expected = Config {
            base: PathBuf::from("config"),
            dns: Dns {
                listen: vec![Listen { addr: addr("127.0.0.1:5300"), proxy_protocol: false }],
                zones: vec![Zone {
                    name: name("cdn.example"),
                    ns: vec![name("ns1.cdn.example"), name("ns2.cdn.example")],
                    soa: Soa {
                        mname: name("ns1.cdn.example"),
                        rname: name("hostmaster.cdn.example"),
                        serial: Soa::SERIAL,
                        refresh_s: Soa::REFRESH_S,
                        retry_s: Soa::RETRY_S,
                        expire_s: Soa::EXPIRE_S,
                        negative_ttl_s: Soa::NEGATIVE_TTL_S,
                    },
                    records: Some("cdn.example.zone".into()),
                    keys: None,
                    signature_validity_s: Zone::SIGNATURE_VALIDITY_S,
                    signature_jitter_s: Zone::SIGNATURE_JITTER_S,
                    explain_to: loopback().into(),
                    line: found.as_ref().map_or(0, |config| config.dns.zones[0].line),
                }],
                ..Dns::default()
            },
            http: Http {
                listen: vec![Listen { addr: addr("127.0.0.1:8080"), proxy_protocol: false }],
                trusted_proxies: vec!["127.0.0.0/8".parse().expect("a prefix")],
                ..Http::default()
            },
            control: Control { listen: vec![addr("127.0.0.1:9053")], ..Control::default() },
            table: Table {
                file: Some("../data/fleet.ndjson".into()),
                state_dir: "../state".into(),
                ..Table::default()
            },
            geoip: GeoIp { files: vec!["../data/iptoasn-country.mmdb".into()], ..GeoIp::default() },
            ..Config::default()
        };
        assert_eq!(found, Ok(expected));
    }

    #[test]
    fn every_commented_key_of_the_shipped_file_states_its_default() {
        let text = read("config/steerd.toml");
        let uncommented: String = text
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => rest,
                _ => line,
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        assert_ne!(uncommented, text, "the file shows its defaults as #key = value");
        assert_eq!(Config::parse("f.toml", &uncommented), Config::parse("f.toml", &text));
    }

    #[test]
    fn every_bad_file_has_its_messages() {
        let folder = Path::new(TOP).join("tests/config");
        let (mut count, mut differing) = (0, String::new());
        for entry in std::fs::read_dir(folder).expect("the folder of bad files") {
            let path = entry.expect("a folder entry").path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let text = std::fs::read_to_string(&path).expect("a bad file");
                let expected = std::fs::read_to_string(path.with_extension("txt")).unwrap_or_default();
                let problems = Config::parse("steerd.toml", &text).err().unwrap_or_default();
                let found: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
                if found.is_empty() || found != expected {
                    differing += &format!("==> {} says\n{found}", path.display());
                }
                count += 1;
            }
        }
        assert!(differing.is_empty(), "\n{differing}");
        assert!(count >= 10, "only {count} bad files");
    }

    #[test]
    fn one_listener_is_a_config() {
        let config = Config::parse("/etc/steerd/steerd.toml", "[dns]\nlisten = \"[::]:53\"").expect("valid");
        assert_eq!(config.dns.listen, [Listen { addr: addr("[::]:53"), proxy_protocol: false }]);
        assert_eq!(config.resolve(Path::new("a/b")), Path::new("/etc/steerd/a/b"));
        assert_eq!(config.resolve(Path::new("/a/b")), Path::new("/a/b"));
        assert_eq!(config.dns.workers.count(6), 6);
        assert_eq!(Workers(3).count(6), 3);
        assert_eq!(config.control.body_octets_max(), 1 << 30);
        assert_eq!(
            problems(""),
            ["f.toml: found no listener, expected listen in [dns], [http] or [control]"]
        );
    }

    #[test]
    fn listeners_collide_on_one_port_only() {
        for (a, b, expected) in [
            ("127.0.0.1:53", "127.0.0.1:53", true),
            ("127.0.0.1:53", "127.0.0.2:53", false),
            ("127.0.0.1:53", "0.0.0.0:53", true),
            ("0.0.0.0:53", "[::]:53", false),
            ("[::1]:53", "[::]:53", true),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("127.0.0.1:53", "127.0.0.1:54", false),
        ] {
            assert_eq!(collide(addr(a), addr(b)), expected, "{a} {b}");
        }
    }

    #[test]
    fn certificates_and_proxied_listeners_are_read() {
        let text = r#"
[[tls]]
cert = "a.pem"
key = "a.key"
[[tls]]
cert = "b.pem"
key = "b.key"
names = ["DNS.cdn.example.", "*.cdn.example"]
[dns]
listen = ["127.0.0.1:53", { addr = "127.0.0.1:54", proxy_protocol = true }]
listen_tls = [{ addr = "127.0.0.1:853", proxy_protocol = true }]
trusted_proxies = ["10.0.0.0/8"]
doh = true
[http]
listen_tls = ["127.0.0.1:443"]
"#;
        let config = Config::parse("f.toml", text).expect("valid");
        let names: Vec<_> =
            config.tls.iter().map(|tls| (tls.key.to_str(), tls.names.len(), tls.line)).collect();
        assert_eq!(names, [(Some("a.key"), 0, 2), (Some("b.key"), 2, 5)]);
        assert_eq!(&*config.tls[1].names[0], "dns.cdn.example");
        let listen = |port, proxy_protocol| Listen { addr: ([127, 0, 0, 1], port).into(), proxy_protocol };
        assert_eq!(config.dns.listen, [listen(53, false), listen(54, true)]);
        assert_eq!(config.dns.listen_tls, [listen(853, true)]);
        assert_eq!(config.http.listen_tls, [listen(443, false)]);
        assert!(config.dns.doh);
    }

    #[test]
    fn http3_needs_a_build_and_listeners_that_speak_it() {
        let tls = "[[tls]]\ncert = \"c\"\nkey = \"k\"\n";
        let proxied = "{ addr = \"127.0.0.1:2\", proxy_protocol = true }";
        let build = (!cfg!(feature = "http3")).then_some(
            "found true in a build without HTTP/3, expected false, or a build with --features http3",
        );
        for (listen, expected) in [
            ("listen_tls = [\"127.0.0.1:1\"]".to_owned(), None),
            (
                "listen = [\"127.0.0.1:1\"]".to_owned(),
                Some("found no listener over TLS, expected listen_tls in [http]"),
            ),
            (
                format!("trusted_proxies = [\"10.0.0.0/8\"]\nlisten_tls = [\"127.0.0.1:1\", {proxied}]"),
                Some(
                    "found a listener with proxy_protocol, expected listeners that clients reach themselves",
                ),
            ),
        ] {
            let text = format!("{tls}[http]\nhttp3 = true\n{listen}\n");
            let found = Config::parse("f.toml", &text).err().unwrap_or_default();
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            let expected = build.into_iter().chain(expected);
            let expected: Vec<_> = expected.map(|what| format!("f.toml:5: http.http3: {what}")).collect();
            assert_eq!(found, expected, "{listen}");
        }
    }

    #[test]
    fn tokens_and_rights_are_read() {
        let text = "[control]\nlisten = \"127.0.0.1:9053\"\ntoken_file = \"t\"\nopen = [\"metrics\"]\n\
                    tokens = [{ file = \"p\", may = [\"table\", \"read\"] }, { file = \"h\", may = \"heartbeat\" }]";
        let control = Config::parse("f.toml", text).expect("valid").control;
        let tokens: Vec<_> =
            control.tokens.iter().map(|t| (t.file.to_str().unwrap_or("?"), &t.may[..])).collect();
        assert_eq!(
            tokens,
            [("t", &[Right::All][..]), ("p", &[Right::Table, Right::Read]), ("h", &[Right::Heartbeat]),]
        );
        assert_eq!(control.open, Open { metrics: true, dashboard: false });
    }

    #[test]
    fn ruling_22_who_calls_from_elsewhere_is_known_and_nobody_listens() {
        let tls = "[[tls]]\ncert = \"c\"\nkey = \"k\"\n";
        let ca = "client_ca = \"ca.pem\"\nclients = [{ name = \"inventory-eu\", may = \"table\" }]";
        for (listen, more, expected) in [
            ("listen = \"127.0.0.1:1\"", "", 0),
            ("listen = \"[::1]:1\"", "token_file = \"t\"", 0),
            ("listen = \"192.0.2.1:1\"", "", 2),
            ("listen = \"192.0.2.1:1\"", "token_file = \"t\"", 1),
            ("listen = \"192.0.2.1:1\"", "token_file = \"t\"\ncleartext = true", 0),
            ("listen = \"192.0.2.1:1\"", "cleartext = true", 1),
            ("listen_tls = \"192.0.2.1:1\"", "", 1),
            ("listen_tls = \"192.0.2.1:1\"", "token_file = \"t\"", 0),
            ("listen_tls = \"192.0.2.1:1\"", ca, 0),
            ("listen_tls = \"127.0.0.1:1\"", "", 0),
            // A certificate cannot be shown in the clear.
            ("listen_tls = \"127.0.0.1:1\"\nlisten = \"192.0.2.1:1\"", ca, 2),
            ("listen = \"127.0.0.1:1\"", ca, 1),
            ("listen_tls = \"127.0.0.1:1\"", "client_ca = \"ca.pem\"", 1),
            ("listen_tls = \"127.0.0.1:1\"", "clients = [{ name = \"a\", may = \"all\" }]", 1),
        ] {
            let text = format!("{tls}[control]\n{listen}\n{more}\n");
            assert_eq!(problems(&text).len(), expected, "{text}{:#?}", problems(&text));
        }
    }
}
