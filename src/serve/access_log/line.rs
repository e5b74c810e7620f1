//! A line of JSON, as the log's thread makes it of a record.
//!
//! What it says is promised in `docs/access-log.md`. A field that has no value is left out. Layer 8. Tests: in
//! [`super`].

use super::record::{Asked, Decided, Network, Record, SHOWN_LEN_MAX, Text};
use crate::dns::Outcome;
use crate::health::rfc3339;
use crate::http::DecisionId;
use crate::metrics::Label;
use crate::steer::Verdict;
use crate::units::Epoch;
use crate::wire::Name;
use hickory_proto::rr::RecordType;
use serde::{Serialize, Serializer};
use std::borrow::Cow;

/// A line, in the order of its fields.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    time: String,
    kind: &'static str,
    over: &'static str,
    peer: Network,
    client: Network,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qtype: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rcode: Option<&'static str>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Cow<'a, str>>,
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    matched: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    appliance: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope_len: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<DecisionId>,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    took_ns: u64,
}

impl<'a> Line<'a> {
    /// The line of `record`.
    pub(super) fn of(record: &'a Record) -> Self {
        let text = |text: Text| shown(record.texts.get(text));
        let Decided { choice, service, cluster, appliance } = record.decided;
        let rank = choice.and_then(|choice| match choice.verdict {
            Verdict::Serve { position, .. } => Some(position + 1),
            _ => None,
        });
        let line = Self {
            time: rfc3339::format(record.time),
            kind: "",
            over: "",
            peer: record.peer,
            client: record.client,
            host: None,
            method: None,
            path: None,
            status: None,
            qname: None,
            qtype: None,
            rcode: None,
            outcome: "",
            service: service.map(text),
            matched: choice.map(|choice| choice.matched().name()),
            reason: choice.map(|choice| choice.verdict.name()),
            cluster: cluster.map(text),
            appliance: appliance.map(text),
            rank,
            scope_len: choice.map(|choice| choice.scope_len),
            decision: None,
            generation: record.generation,
            epoch: record.epoch.map(Epoch::get),
            took_ns: u64::try_from(record.took.as_nanos()).unwrap_or(u64::MAX),
        };
        match record.asked {
            Asked::Http { scheme, host, method, path, status, outcome, id } => Self {
                kind: "http",
                over: scheme.as_str(),
                host: host.map(text),
                method: Some(text(method)),
                path: path.map(text),
                status: Some(status),
                outcome: outcome.name(),
                decision: choice.and(id),
                ..line
            },
            Asked::Dns { transport, question, rcode, outcome } => Self {
                kind: "dns",
                over: transport.as_str(),
                qname: question.and_then(|(qname, _)| name(record.texts.get(qname))),
                qtype: question.map(|(_, qtype)| type_name(qtype)),
                rcode: rcode_name(outcome, rcode),
                outcome: outcome.label(),
                ..line
            },
        }
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `octets` as text, up to a length that every reader takes, with `…` for the rest.
fn shown(octets: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(octets);
    if text.len() <= SHOWN_LEN_MAX {
        return text;
    }
    let mut end = SHOWN_LEN_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}…", &text[..end]))
}

/// The name that is `qname` in wire form.
fn name(qname: &[u8]) -> Option<String> {
    Name::of_wire(qname).ok().map(|name| name.to_string())
}

/// A record type's mnemonic, or `TYPE` and its number (RFC 3597 section 5).
pub(super) fn type_name(number: u16) -> Cow<'static, str> {
    match RecordType::from(number) {
        RecordType::Unknown(_) => Cow::Owned(format!("TYPE{number}")),
        known => Cow::Borrowed(<&str>::from(known)),
    }
}

/// A response code, of which `low` are the lower bits, by its mnemonic (RFC 6895 section 2.3); none without a
/// reply.
fn rcode_name(outcome: Outcome, low: Option<u8>) -> Option<&'static str> {
    // These two have bits in the OPT.
    match outcome {
        Outcome::BadVers => return Some("BADVERS"),
        Outcome::BadCookie => return Some("BADCOOKIE"),
        _ => {}
    }
    Some(match low? {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        9 => "NOTAUTH",
        _ => "RESERVED",
    })
}
