//! What may be written on the command line.
//!
//! Owns names, help and the shape of arguments; what they do is their modules' business. Names are
//! promises to scripts: see the contract before changing one. Layer 9.

use crate::dnssec::{Algorithm, Flags, UnixS};
use crate::wire::Name;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::IpAddr;
use std::path::PathBuf;

/// Steers clients to the nearest healthy cache appliance, over DNS and HTTP.
#[derive(Debug, Parser)]
#[command(
    name = "steerd",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 fine, 1 failed while running, 2 bad config or data, 64 bad usage."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What steerd can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve DNS, HTTP and the push API until SIGTERM or SIGINT
    Serve(Serve),
    /// Check a config and everything it points at, or a table; print every problem at once
    Check(Check),
    /// Say who serves a client, why, and for whom the same answer holds
    Explain(Explain),
    /// Push a table or a delta to a running steerd
    Push(Push),
    /// Show what is believed of appliances, or say what one is
    Health(Health),
    /// Show, set or delete an operator's word over health
    Override(Override),
    /// Compare, compile and print tables
    #[command(subcommand)]
    Table(Table),
    /// Make, list and roll the keys of signed zones
    #[command(subcommand)]
    Keys(Keys),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Print the manual page
    Man,
}

/// `steerd serve`.
#[derive(Debug, Args)]
#[command(after_help = "SIGHUP rereads the config, zones, tokens, GeoIP files and the table file.\n\
                  SIGTERM drains, then ends; a second one ends at once.")]
pub struct Serve {
    /// Config file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// `steerd check`.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Check {
    /// Config file; its table, GeoIP files, zones and tokens are checked with it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Table file (NDJSON or artefact, also .gz and .zst); with --config in place of the table there
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,
}

/// `steerd explain`.
#[derive(Debug, Args)]
#[command(
    after_help = "Whom to ask; without any of these, the steerd on this machine (http://127.0.0.1:9053):\n  \
  --config FILE          what a steerd with this config would serve, read from disk\n  \
  --config FILE --table  a candidate table, with the GeoIP and settings of the config\n  \
  --table FILE           a candidate table by itself, without GeoIP\n  \
  --server URL           a running steerd, with what it knows of health"
)]
pub struct Explain {
    /// Address of the client, or a prefix, whose lowest address is taken
    #[arg(value_parser = client)]
    pub client: IpAddr,
    /// Service, or a host name that a wildcard service covers
    pub service: String,
    /// Path and query of an HTTP request; the appliance is then chosen as HTTP does
    #[arg(long, value_name = "P")]
    pub path: Option<String>,
    /// The DNS answer of this type instead of the ranked list
    #[arg(long = "type", value_name = "TYPE", ignore_case = true)]
    pub qtype: Option<Qtype>,
    /// Config file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Table to ask instead of the served one
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,
    /// The push API of a running steerd
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "table"])]
    pub server: Option<String>,
    /// What is shown to it, and believed of it.
    #[command(flatten)]
    pub credentials: Credentials,
    /// Print JSON, as /v1/explain does
    #[arg(long)]
    pub json: bool,
}

/// Types of DNS answers that are steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Qtype {
    /// IPv4 addresses
    #[value(name = "A")]
    A,
    /// IPv6 addresses
    #[value(name = "AAAA")]
    Aaaa,
}

/// The push API of the steerd on this machine, as it listens unless configured otherwise.
pub const SERVER: &str = "http://127.0.0.1:9053";

/// A running steerd.
#[derive(Debug, Args)]
pub struct Server {
    /// Where its push API listens
    #[arg(long, value_name = "URL", default_value = SERVER)]
    pub server: String,
    /// What is shown to it, and believed of it.
    #[command(flatten)]
    pub credentials: Credentials,
}

/// What is shown to a running steerd, and believed of it.
#[derive(Debug, Default, Args)]
pub struct Credentials {
    /// File with a token, where the server wants one
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// PEM file of who makes the server's certificate; without it, whom this system trusts
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// PEM file of a certificate to show to the server, which wants --key
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

/// `steerd push`.
#[derive(Debug, Args)]
#[command(
    after_help = "Files may be NDJSON or artefacts, also as .gz and .zst. A file whose first line is\n\
                  {\"delta\":…} is applied to the served table, all others replace it."
)]
pub struct Push {
    /// Table or delta
    pub file: PathBuf,
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// Say what would change, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Override guard rails, nothing else
    #[arg(long)]
    pub force: bool,
    /// Let any epoch follow; N is the highest epoch the server has accepted
    #[arg(long, value_name = "N")]
    pub reset_epoch: Option<u64>,
}

/// `steerd health`.
#[derive(Debug, Args)]
pub struct Health {
    /// What of it; the list by default.
    #[command(subcommand)]
    pub action: Option<HealthAction>,
    /// List appliances that are up, too
    #[arg(long)]
    pub all: bool,
    /// Print JSON, as /v1/health does
    #[arg(long)]
    pub json: bool,
    /// The server.
    #[command(flatten)]
    pub server: Server,
}

/// What can be done about health.
#[derive(Debug, Subcommand)]
pub enum HealthAction {
    /// Say what an appliance is, as a monitor does; holds until something else is said
    Set(HealthSet),
}

/// `steerd health set`.
#[derive(Debug, Args)]
pub struct HealthSet {
    /// Its name
    pub appliance: String,
    /// What it is
    pub state: State,
    /// Share of its capacity in use, as in 0.73
    #[arg(long, value_name = "SHARE")]
    pub load: Option<f64>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The server.
    #[command(flatten)]
    pub server: Server,
}

/// What an appliance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// Serves
    Up,
    /// Takes new clients only when nobody is up
    Draining,
    /// Does not serve
    Down,
}

impl State {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}

/// `steerd override`.
#[derive(Debug, Args)]
pub struct Override {
    /// What of it; the list by default.
    #[command(subcommand)]
    pub action: Option<OverrideAction>,
    /// Print JSON, as /v1/override does
    #[arg(long)]
    pub json: bool,
    /// The server.
    #[command(flatten)]
    pub server: Server,
}

/// What can be done about overrides.
#[derive(Debug, Subcommand)]
pub enum OverrideAction {
    /// List the overrides that hold
    List(OverrideList),
    /// Say what appliances are, whatever health says
    Set(OverrideSet),
    /// Let health decide again
    Delete(OverrideDelete),
}

/// `steerd override list`.
#[derive(Debug, Args)]
pub struct OverrideList {
    /// Print JSON, as /v1/override does
    #[arg(long)]
    pub json: bool,
    /// The server.
    #[command(flatten)]
    pub server: Server,
}

/// `steerd override set`.
#[derive(Debug, Args)]
pub struct OverrideSet {
    /// On what.
    #[command(flatten)]
    pub target: Target,
    /// What they are to be
    pub state: State,
    /// For how long, as in 90s, 30m, 12h or 7d; without it until deleted
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    pub for_s: Option<u64>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    pub why: Option<String>,
    /// The server.
    #[command(flatten)]
    pub server: Server,
}

/// `steerd override delete`.
#[derive(Debug, Args)]
pub struct OverrideDelete {
    /// On what it was set.
    #[command(flatten)]
    pub target: Target,
    /// The server.
    #[command(flatten)]
    pub server: Server,
}

/// Which appliances an override is on.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Target {
    /// Appliances of the site of this code; * stands for anything
    #[arg(long, value_name = "GLOB")]
    pub site: Option<String>,
    /// Appliances of the cluster of this name
    #[arg(long, value_name = "GLOB")]
    pub cluster: Option<String>,
    /// Appliances of this name
    #[arg(long, value_name = "GLOB")]
    pub appliance: Option<String>,
}

/// `steerd table`.
#[derive(Debug, Subcommand)]
pub enum Table {
    /// Say what changes from one table to another, and which clients move
    Diff(TableDiff),
    /// Compile a table into an artefact, which is smaller and loads faster
    Build(TableBuild),
    /// Print a table or artefact as canonical NDJSON
    Show(TableShow),
}

/// `steerd table diff`.
#[derive(Debug, Args)]
pub struct TableDiff {
    /// The table before
    pub old: PathBuf,
    /// The table after, or a delta on the table before
    pub new: PathBuf,
    /// Config file, for its GeoIP files, settings and guard rails
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `steerd table build`.
#[derive(Debug, Args)]
pub struct TableBuild {
    /// Table to read
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// Artefact to write
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
}

/// `steerd table show`.
#[derive(Debug, Args)]
pub struct TableShow {
    /// Table or artefact
    pub file: PathBuf,
}

/// `steerd keys`.
#[derive(Debug, Subcommand)]
pub enum Keys {
    /// Make a key and print how its files are called
    Generate(KeysGenerate),
    /// Say what each key does now and what comes next
    List(KeysList),
    /// Print the DS records that a zone's parent is to have
    Ds(KeysOf),
    /// Make a successor, with the times of both keys, and say what is to be done when
    Roll(KeysRoll),
    /// End a key whose DS is gone from the parent
    Retire(KeysRetire),
}

/// Algorithms of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeyAlgorithm {
    /// ECDSA with P-256 and SHA-256, which every validator knows
    Ecdsap256sha256,
    /// Ed25519
    Ed25519,
}

impl From<KeyAlgorithm> for Algorithm {
    fn from(algorithm: KeyAlgorithm) -> Self {
        match algorithm {
            KeyAlgorithm::Ecdsap256sha256 => Self::EcdsaP256Sha256,
            KeyAlgorithm::Ed25519 => Self::Ed25519,
        }
    }
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// One key for everything
    Csk,
    /// Signs the keys
    Ksk,
    /// Signs all else
    Zsk,
}

impl Role {
    /// Flags of such a key.
    pub fn flags(self) -> Flags {
        match self {
            Self::Csk | Self::Ksk => Flags::Entry,
            Self::Zsk => Flags::Zone,
        }
    }
}

/// A moment as people write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Seconds from now.
    After(u64),
    /// Seconds ago.
    Before(u64),
    /// That moment.
    At(UnixS),
    /// Not at all.
    Never,
}

impl When {
    /// The moment; `None`: never.
    pub fn at(self, now: UnixS) -> Option<UnixS> {
        match self {
            Self::After(seconds) => Some(now.plus(seconds)),
            Self::Before(seconds) => Some(UnixS(now.0.saturating_sub(seconds))),
            Self::At(moment) => Some(moment),
            Self::Never => None,
        }
    }
}

/// `steerd keys generate`.
#[derive(Debug, Args)]
#[command(after_help = "Times: now, none, +7d, -1h (s, m, h, d), 20260131 or 20260131120000, in UTC.")]
pub struct KeysGenerate {
    /// The zone, as in cdn.example
    pub zone: Name,
    /// Directory of its key files
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// How it signs
    #[arg(long, value_enum, default_value = "ecdsap256sha256", ignore_case = true)]
    pub algorithm: KeyAlgorithm,
    /// What it is for
    #[arg(long, value_enum, default_value = "csk")]
    pub role: Role,
    /// TTL of its DNSKEY record, seconds
    #[arg(long = "ttl", value_name = "SECONDS", default_value_t = 3600)]
    pub ttl_s: u32,
    /// When it comes into the DNSKEY set; now by default
    #[arg(long, value_name = "TIME", value_parser = when, allow_hyphen_values = true)]
    pub publish: Option<When>,
    /// When it begins to sign; now by default
    #[arg(long, value_name = "TIME", value_parser = when, allow_hyphen_values = true)]
    pub activate: Option<When>,
    /// When it signs no more
    #[arg(long, value_name = "TIME", value_parser = when, allow_hyphen_values = true)]
    pub inactive: Option<When>,
    /// When it leaves the DNSKEY set
    #[arg(long, value_name = "TIME", value_parser = when, allow_hyphen_values = true)]
    pub delete: Option<When>,
    /// When CDS and CDNSKEY ask the parent for it
    #[arg(long, value_name = "TIME", value_parser = when, allow_hyphen_values = true)]
    pub sync_publish: Option<When>,
    /// When they do so no more
    #[arg(long, value_name = "TIME", value_parser = when, allow_hyphen_values = true)]
    pub sync_delete: Option<When>,
}

/// `steerd keys list`.
#[derive(Debug, Args)]
pub struct KeysList {
    /// The zone; all by default
    pub zone: Option<Name>,
    /// Directory of key files
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
}

/// `steerd keys ds`.
#[derive(Debug, Args)]
pub struct KeysOf {
    /// The zone
    pub zone: Name,
    /// Directory of its key files
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
}

/// `steerd keys roll`.
#[derive(Debug, Args)]
#[command(
    after_help = "A zone-signing key is published before it signs, and that is all. A key that a DS points\n\
                        to signs beside its successor until the DS is changed and `keys retire` ends it.\n\
                        Another --algorithm signs first, is published then, and takes the DS last."
)]
pub struct KeysRoll {
    /// The zone
    pub zone: Name,
    /// Directory of its key files
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Which key is to be followed; by default the one that signs data
    #[arg(long, value_enum)]
    pub role: Option<Role>,
    /// How the successor signs; as before by default
    #[arg(long, value_enum, ignore_case = true)]
    pub algorithm: Option<KeyAlgorithm>,
    /// The longest TTL of the zone's records
    #[arg(long = "ttl-max", value_name = "TIME", value_parser = seconds, default_value = "1d")]
    pub ttl_max_s: u64,
}

/// `steerd keys retire`.
#[derive(Debug, Args)]
pub struct KeysRetire {
    /// The zone
    pub zone: Name,
    /// The key's tag
    pub tag: u16,
    /// Directory of the key files
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// TTL of the DS record at the parent
    #[arg(long = "ds-ttl", value_name = "TIME", value_parser = seconds, default_value = "1d")]
    pub ds_ttl_s: u64,
    /// The longest TTL of the zone's records
    #[arg(long = "ttl-max", value_name = "TIME", value_parser = seconds, default_value = "1d")]
    pub ttl_max_s: u64,
}

/// Reads a moment: `now`, `none`, a length of time with its sign, or as key files write it.
fn when(text: &str) -> Result<When, String> {
    let expected = "expected now, none, +7d, -1h, 20260131 or 20260131120000";
    match text.as_bytes() {
        b"now" => Ok(When::After(0)),
        b"none" => Ok(When::Never),
        [b'+', ..] => seconds(&text[1..]).map(When::After),
        [b'-', ..] => seconds(&text[1..]).map(When::Before),
        _ => UnixS::parse(text).map(When::At).ok_or_else(|| expected.to_owned()),
    }
}

/// `steerd completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Reads a client's address, or the lowest one of a prefix.
fn client(text: &str) -> Result<IpAddr, String> {
    let network = text.parse::<ipnetwork::IpNetwork>().map(|network| network.network());
    network.map_err(|_| "expected an address or a prefix, as in 192.0.2.7 or 2001:db8::/48".to_owned())
}

/// Reads a length of time into seconds: a whole number and `s`, `m`, `h` or `d`; bare numbers are
/// seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let expected = || "expected a length of time of at least a second, as in 90s, 30m, 12h or 7d".to_owned();
    let (number, unit_s) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => (text, 1),
    };
    let count: u64 = number.parse().map_err(|_| expected())?;
    count.checked_mul(unit_s).filter(|&count_s| count_s > 0).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lengths_of_time_are_read() {
        for (text, expected) in [
            ("90", Some(90)),
            ("90s", Some(90)),
            ("30m", Some(1800)),
            ("12h", Some(43_200)),
            ("7d", Some(604_800)),
            ("0m", None),
            ("", None),
            ("m", None),
            ("1.5h", None),
            ("-1s", None),
            ("30 m", None),
            ("5é", None),
            ("99999999999999999d", None),
        ] {
            assert_eq!(seconds(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn moments_are_read() {
        let now = UnixS(1_000_000);
        for (text, expected) in [
            ("now", Ok(Some(now))),
            ("none", Ok(None)),
            ("+1d", Ok(Some(UnixS(1_086_400)))),
            ("-1m", Ok(Some(UnixS(999_940)))),
            ("19700102", Ok(Some(UnixS(86_400)))),
            ("19700101000001", Ok(Some(UnixS(1)))),
            ("tomorrow", Err(())),
            ("+", Err(())),
            ("", Err(())),
        ] {
            assert_eq!(when(text).map(|when| when.at(now)).map_err(drop), expected, "{text}");
        }
    }

    #[test]
    fn clients_are_addresses_or_prefixes() {
        for (text, expected) in [
            ("192.0.2.7", Some("192.0.2.7")),
            ("192.0.2.7/24", Some("192.0.2.0")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("example", None),
            ("192.0.2.7/33", None),
        ] {
            assert_eq!(client(text).ok().map(|addr| addr.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn combinations_that_mean_nothing_are_refused() {
        for (line, is_fine) in [
            ("check", false),
            ("check --config a --table b", true),
            ("explain 192.0.2.1 s", true),
            ("explain 192.0.2.1 s --table t", true),
            ("explain 192.0.2.1 s --config c --table t --type aaaa", true),
            ("explain 192.0.2.1 s --config c --server u", false),
            ("explain 192.0.2.1 s --table t --server u", false),
            ("explain 192.0.2.1 s --server u --token-file t --ca c", true),
            ("push f --cert c", false),
            ("push f --cert c --key k --ca a", true),
            ("override set --site a --cluster b down", false),
            ("override set --site a down --for 30m", true),
            ("override set down", false),
            ("override delete --appliance a-*", true),
            ("override", true),
            ("health --server u", true),
            ("health set a down --load 0.5", true),
            ("push f", true),
        ] {
            let parsed = Cli::try_parse_from(["steerd"].into_iter().chain(line.split(' ')));
            assert_eq!(parsed.is_ok(), is_fine, "{line}: {parsed:?}");
        }
    }
}
