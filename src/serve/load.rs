//! The files that a config points at, read and checked.
//!
//! [`Loaded::read`] is what `serve` starts from and rereads on SIGHUP, and what `check` checks: zone
//! files, GeoIP, tokens, and the rules that come from the config itself. Opens no socket and no state
//! directory. Layer 8.

use crate::config::{self, Config};
use crate::control::Auth;
use crate::dns::{self, Audience, Cookies, Secret, Server};
use crate::dnssec::Keyrings;
use crate::geo::Geography;
use crate::health;
use crate::http::steering::{self, SessionSecret};
use crate::problem::Problem;
use crate::publish::Rules;
use crate::publish::cache::Cache;
use crate::serve::{Layout, keys, places};
use crate::snapshot::{self, wire_name};
use crate::table::Limits;
use crate::units::{BasisPoints, UnixMs};
use crate::zone::{SoaSettings, ZoneSettings, Zones};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

/// Secrets in a file, at most: each is tried on what is not ours.
const SECRETS_MAX: usize = 3;

/// Everything that a running server takes from files, the table apart.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Of publishing.
    pub rules: Rules,
    /// Where clients are.
    pub geography: Arc<Geography>,
    /// Static data.
    pub zones: Arc<Zones>,
    /// Who may call the push API.
    pub auth: Auth,
    /// What the server is and does of itself.
    pub server: Server,
    /// What content steering is done by.
    pub steering: steering::Settings,
    /// What is odd about the files, but can be served.
    pub warnings: Vec<Problem>,
}

impl Loaded {
    /// Reads what `config` points at; `cache` keeps what need not be made again.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(config: &Config, cache: &Cache, now: UnixMs) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let (geography, mut warnings) = keep(&mut problems, places::geography(config, cache));
        let zones = keep(&mut problems, zones(config));
        let auth = keep(&mut problems, auth(config));
        let mut server = keep(&mut problems, server(config));
        let steering = keep(&mut problems, steering(config));
        let (keyrings, odd) = keep(&mut problems, keys::keyrings(config, now.into()));
        warnings.extend(odd);
        server.keyrings = keyrings;
        if !problems.is_empty() {
            return Err(problems);
        }
        let geography = geography.unwrap_or_else(|| Arc::new(Geography::empty()));
        let (rules, zones) = (rules(config), Arc::new(zones));
        Ok(Self { rules, geography, zones, auth, server, steering, warnings })
    }
}

/// What `result` holds; its problems are added to `problems` and nothing is kept instead.
fn keep<T: Default>(problems: &mut Vec<Problem>, result: Result<T, Vec<Problem>>) -> T {
    result.unwrap_or_else(|found| {
        problems.extend(found);
        T::default()
    })
}

/// The rules in `config`.
pub fn rules(config: &Config) -> Rules {
    let fraction = |share: BasisPoints| f64::from(share.get()) / 10_000.0;
    let (dns, told, guard) = (&config.dns, &config.health, &config.table.guard);
    Rules {
        settings: snapshot::Settings {
            spread_v4: dns.spread_v4,
            spread_v6: dns.spread_v6,
            answers_no_ecs: dns.answers_no_ecs,
            geo_candidates: usize::from(config.geoip.candidates),
            fail_open_below: fraction(told.fail_open_below),
            udp_size_max: dns.edns_udp_max,
        },
        health: health::Settings {
            stale_after_s: told.stale_after_s,
            fail_open_below: fraction(told.fail_open_below),
            fleet_fail_open_below: fraction(told.fleet_fail_open_below),
            fleet_fail_open_min: told.fleet_fail_open_min,
            shed_above: fraction(told.shed_above),
            shed_full: fraction(told.shed_full),
            ramp_s: told.ramp_s,
        },
        limits: Limits {
            withdrawn_prefixes_max: guard.withdrawn_prefixes_max,
            withdrawn_appliances_max: guard.withdrawn_appliances_max,
            moved_addresses_max: guard.moved_addresses_max,
        },
        stale_after_s: config.table.stale_after_s,
        workers: Layout::of(config).threads(),
    }
}

/// Builds the zones, with their records' files.
///
/// # Errors
/// Of all zones and files.
pub fn zones(config: &Config) -> Result<Zones, Vec<Problem>> {
    let mut problems = Vec::new();
    let settings: Vec<ZoneSettings> =
        config.dns.zones.iter().map(|zone| zone_settings(config, zone, &mut problems)).collect();
    match Zones::build(&settings) {
        Ok(zones) if problems.is_empty() => Ok(zones),
        Ok(_) => Err(problems),
        Err(found) => {
            problems.extend(found);
            Err(problems)
        }
    }
}

/// One zone's settings, with the text of its file; a file that cannot be read is added to `problems`.
fn zone_settings(config: &Config, zone: &config::Zone, problems: &mut Vec<Problem>) -> ZoneSettings {
    let records = zone.records.as_deref().and_then(|file| {
        let path = config.resolve(file);
        match fs::read_to_string(&path) {
            Ok(text) => Some((path.display().to_string(), text)),
            Err(error) => {
                problems.push(unreadable("dns.zone.records", &path, &error));
                None
            }
        }
    });
    let soa = &zone.soa;
    ZoneSettings {
        name: zone.name.to_string(),
        ns: zone.ns.iter().map(ToString::to_string).collect(),
        soa: SoaSettings {
            mname: soa.mname.to_string(),
            rname: soa.rname.to_string(),
            serial: soa.serial,
            refresh_s: soa.refresh_s,
            retry_s: soa.retry_s,
            expire_s: soa.expire_s,
            negative_ttl_s: soa.negative_ttl_s,
        },
        records,
    }
}

/// What the server is and does of itself; without secrets where config names no file of them.
///
/// # Errors
/// Of the secrets' file.
pub fn server(config: &Config) -> Result<Server, Vec<Problem>> {
    let dns = &config.dns;
    let cores = available_parallelism().map_or(1, usize::from);
    let secrets = match &dns.cookie_secret_file {
        Some(file) if dns.cookies => cookie_secrets(&config.resolve(file))?,
        _ => Vec::new(),
    };
    Ok(Server {
        identity: dns.identity.clone(),
        version: dns.version.clone(),
        cookies: Cookies { secrets },
        limits: dns::Limits::of(dns, dns.workers.count(cores)),
        keyrings: Keyrings::default(),
        explains: explains(dns),
    })
}

/// By zone who may ask how a decision is made.
fn explains(dns: &config::Dns) -> Vec<Audience> {
    let zones = dns.zones.iter().filter(|_| dns.explain_txt);
    zones.map(|zone| Audience { apex: wire_name(&zone.name), peers: zone.explain_to.clone() }).collect()
}

/// Reads secrets of cookies.
fn cookie_secrets(path: &Path) -> Result<Vec<Secret>, Vec<Problem>> {
    secrets("dns.cookie_secret_file", path, 32, Secret::of_hex)
}

/// What content steering is done by; without secrets where config names no file of them.
///
/// # Errors
/// Of the secrets' file.
pub fn steering(config: &Config) -> Result<steering::Settings, Vec<Problem>> {
    let rules = config.steering.clone();
    let secrets = match &rules.secret_file {
        Some(file) => secrets("steering.secret_file", &config.resolve(file), 64, SessionSecret::of_hex)?,
        None => Vec::new(),
    };
    Ok(steering::Settings { rules, secrets })
}

/// Reads secrets of so many hexadecimal `digits`, one a line; the first is the one that signs. `key` is
/// config's for the file at `path`.
fn secrets<T>(
    key: &str,
    path: &Path,
    digits: usize,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, Vec<Problem>> {
    let expected = format!("{digits} hexadecimal digits a line, at most {SECRETS_MAX} lines");
    let file = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| vec![unreadable(key, path, &error)])?;
    let (mut secrets, mut problems) = (Vec::new(), Vec::new());
    let lines = (1..).zip(text.lines()).map(|(number, line)| (number, line.trim()));
    for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        match read(line) {
            Some(secret) if secrets.len() < SECRETS_MAX => secrets.push(secret),
            Some(_) => problems.push(Problem::at(number, key, "one more", &*expected).in_file(&file)),
            // It might be a secret but for a slip: it is not shown.
            None => {
                let found = format!("{} characters", line.chars().count());
                problems.push(Problem::at(number, key, found, &*expected).in_file(&file));
            }
        }
    }
    if secrets.is_empty() && problems.is_empty() {
        problems.push(Problem::at(0, key, "no secret", &*expected).in_file(&file));
    }
    if problems.is_empty() { Ok(secrets) } else { Err(problems) }
}

/// Reads the tokens.
///
/// # Errors
/// Of all token files.
pub fn auth(config: &Config) -> Result<Auth, Vec<Problem>> {
    let mut auth = Auth::loopback_only(config.control.open).with_clients(&config.control.clients);
    let mut problems = Vec::new();
    for token in &config.control.tokens {
        let path = config.resolve(&token.file);
        match fs::read_to_string(&path) {
            Err(error) => problems.push(unreadable("control.tokens", &path, &error)),
            Ok(contents) => {
                let name = token.file.display().to_string();
                match auth.clone().with_token(&name, &contents, &token.may) {
                    Ok(more) => auth = more,
                    Err(problem) => problems.push(problem),
                }
            }
        }
    }
    if problems.is_empty() { Ok(auth) } else { Err(problems) }
}

/// A file that cannot be read.
pub(super) fn unreadable(key: &str, path: &Path, error: &std::io::Error) -> Problem {
    Problem::at(0, key, error, "a file that can be read").in_file(path.display().to_string())
}
