//! What the listeners count, and under which names it is shown.
//!
//! Every thread counts into rows of its own ([`crate::metrics`]). The packets of one transport, by
//! [`Packet`], sum to the packets received. Layer 8.

use crate::control::{self, Act, Audit};
use crate::dns::{self, Outcome};
use crate::dnssec::{Keyring, UnixS};
use crate::http::HttpOutcome;
use crate::http::steering::{Demotion, PathwayKind, SessionSeen};
use crate::metrics::{Counters, Exposition, Histogram, Label, Unlabelled};
use crate::publish::{Publisher, Status};
use crate::serve::answer::Mishap;
use crate::serve::http::Cut;
use crate::serve::run::now;
use crate::serve::tap::Tapped;
use crate::serve::tls::{Certificates, Greeted};
use crate::steer::Match;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// What became of a packet: an outcome, or what kept it from having one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet {
    /// It got to the answer.
    Answered(Outcome),
    /// It did not, or did not come back.
    Lost(Mishap),
}

impl Packet {
    /// The mishaps that are the end of a packet.
    const LOST: [Mishap; 5] =
        [Mishap::Oversized, Mishap::NoPeer, Mishap::NoDestination, Mishap::NoHeader, Mishap::Panicked];

    /// All, outcomes first.
    const EVERY: [Self; Outcome::ALL.len() + Self::LOST.len()] = {
        let mut every = [Self::Lost(Mishap::Panicked); Outcome::ALL.len() + Self::LOST.len()];
        let mut at = 0;
        while at < every.len() {
            every[at] = if at < Outcome::ALL.len() {
                Self::Answered(Outcome::ALL[at])
            } else {
                Self::Lost(Self::LOST[at - Outcome::ALL.len()])
            };
            at += 1;
        }
        every
    };
}

impl Label for Packet {
    const ALL: &'static [Self] = &Self::EVERY;

    fn index(self) -> usize {
        match self {
            Self::Answered(outcome) => outcome.index(),
            Self::Lost(mishap) => Outcome::ALL.len() + mishap.index(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Answered(outcome) => outcome.label(),
            Self::Lost(mishap) => mishap.name(),
        }
    }
}

impl Label for Mishap {
    const ALL: &'static [Self] = &[
        Self::Oversized,
        Self::NoPeer,
        Self::NoDestination,
        Self::NoHeader,
        Self::Panicked,
        Self::NotSent,
        Self::NotReceived,
        Self::NotAccepted,
        Self::NotIntroduced,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Oversized => "oversized",
            Self::NoPeer => "no_peer",
            Self::NoDestination => "no_destination",
            Self::NoHeader => "no_proxy_header",
            Self::Panicked => "panicked",
            Self::NotSent => "not_sent",
            Self::NotReceived => "not_received",
            Self::NotAccepted => "not_accepted",
            Self::NotIntroduced => "not_introduced",
        }
    }
}

/// What became of a signature that an answer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// It was at hand.
    Kept,
    /// It was made.
    Made,
    /// It was not made: as many as allowed had been in this second.
    Unpaid,
}

impl Label for Signed {
    const ALL: &'static [Self] = &[Self::Kept, Self::Made, Self::Unpaid];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Made => "made",
            Self::Unpaid => "unpaid",
        }
    }
}

/// Counters of all listeners.
#[derive(Debug, Default)]
pub struct Meters {
    /// DNS packets over UDP.
    pub udp: Arc<Counters<Packet>>,
    /// DNS messages over TCP.
    pub stream: Arc<Counters<Packet>>,
    /// Signatures that answers need.
    pub signed: Arc<Counters<Signed>>,
    /// DNS messages over TLS.
    pub tls: Arc<Counters<Packet>>,
    /// DNS messages over HTTPS.
    pub https: Arc<Counters<Packet>>,
    /// What went wrong around them.
    pub mishaps: Arc<Counters<Mishap>>,
    /// Events of dnstap.
    pub taps: Arc<Counters<Tapped>>,
    /// Lines of the access log.
    pub log_lines: Arc<Counters<Tapped>>,
    /// Time of a DNS answer, sending included: the mean of each batch.
    pub answer: Arc<Histogram>,
    /// HTTP requests.
    pub requests: Arc<Counters<HttpOutcome>>,
    /// Polls that got a manifest, by the session they named.
    pub sessions: Arc<Counters<SessionSeen>>,
    /// Reports of throughput, by the pathway they are about.
    pub reports: Arc<Counters<PathwayKind>>,
    /// Pathways demoted and promoted for a session.
    pub demotions: Arc<Counters<Demotion>>,
    /// HTTP connections turned away.
    pub refused: Arc<Counters<Unlabelled>>,
    /// HTTP connections that were ended, or not begun.
    pub cuts: Arc<Counters<Cut>>,
    /// HTTP connections without a valid PROXY header where one has to be.
    pub not_introduced: Arc<Counters<Unlabelled>>,
    /// Connections over TLS.
    pub greeted: Arc<Counters<Greeted>>,
    /// Time of an HTTP answer, receiving and sending included: the mean of each batch. Without them where
    /// hyper answers.
    pub respond: Arc<Histogram>,
    /// Decisions, by what put whoever serves on the list.
    pub decisions: Arc<Counters<Match>>,
    /// Decisions that a country rule made.
    pub denied: Arc<Counters<Unlabelled>>,
}

impl Meters {
    /// Shows all of them, and the state of `publisher`. The text is made by what is returned.
    pub fn expose(
        &self,
        publisher: Arc<Publisher>,
        audit: Arc<Audit>,
        server: Arc<ArcSwap<dns::Server>>,
        certificates: Arc<Certificates>,
    ) -> impl Fn() -> String + Send + Sync + use<> {
        let mut out = Exposition::new();
        self.expose_dns(&mut out);
        let signed = Arc::clone(&self.signed);
        out.counters("steerd_dnssec_signatures", "Signatures that answers need.", "result", signed);
        expose_keys(&mut out, server);
        self.expose_http(&mut out);
        out.counted(
            "steerd_writes",
            "Writes to the push API and the watched file, by result.",
            "result",
            move || {
                let named = |(act, outcome, count): (Act, control::Outcome, u64)| {
                    (format!("{}_{}", act.as_str(), outcome.as_str()), count)
                };
                let forced =
                    [("forced".to_owned(), audit.forced()), ("epoch_reset".to_owned(), audit.resets())];
                audit.counts().map(named).chain(forced).collect()
            },
        );
        self.expose_tls(&mut out, certificates);
        let taps = Arc::clone(&self.taps);
        out.counters("steerd_dnstap_events", "Events of dnstap, by what became of them.", "result", taps);
        let lines = Arc::clone(&self.log_lines);
        let help = "Lines of the access log, by what became of them.";
        out.counters("steerd_access_log_lines", help, "result", lines);
        let decisions = Arc::clone(&self.decisions);
        out.counters(
            "steerd_decisions",
            "Decisions, by what put whoever serves on the list.",
            "match",
            decisions,
        );
        let denied = Arc::clone(&self.denied);
        let help = "Decisions for clients whose country the service denies, over DNS and HTTP.";
        out.unlabelled("steerd_decisions_denied", help, denied);
        let services = Arc::clone(&publisher.answers().services);
        out.tallies("steerd_service_answers", "Answers, by service.", "service", services);
        let clusters = Arc::clone(&publisher.answers().clusters);
        out.tallies("steerd_cluster_answers", "Answers, by the cluster that serves.", "cluster", clusters);
        let status = Arc::new(ArcSwap::from_pointee(publisher.status(now())));
        expose_state(&mut out, &status);
        move || {
            status.store(Arc::new(publisher.status(now())));
            out.text()
        }
    }
}

impl Meters {
    /// Shows HTTP, over whatever it came.
    fn expose_http(&self, out: &mut Exposition) {
        let requests = Arc::clone(&self.requests);
        out.counters("steerd_http_requests", "HTTP requests.", "outcome", requests);
        self.expose_steering(out);
        let refused = Arc::clone(&self.refused);
        out.unlabelled("steerd_http_connections_refused", "HTTP connections above the limit.", refused);
        let cuts = Arc::clone(&self.cuts);
        out.counters(
            "steerd_http_connections_cut",
            "HTTP connections that were ended, or not begun, by why.",
            "why",
            cuts,
        );
        let not_introduced = Arc::clone(&self.not_introduced);
        out.unlabelled(
            "steerd_http_connections_not_introduced",
            "HTTP connections without a valid PROXY header where one has to be.",
            not_introduced,
        );
        out.histogram(
            "steerd_http_answer",
            "Time of an HTTP answer, the mean of its batch.",
            self.respond.clone(),
        );
    }
}

/// Shows what is to come of the keys of signed zones.
fn expose_keys(out: &mut Exposition, server: Arc<ArcSwap<dns::Server>>) {
    let each = |read: fn(&Keyring, UnixS) -> Option<f64>| {
        let server = Arc::clone(&server);
        move || {
            let (server, now) = (server.load(), UnixS::from(now()));
            let of = |keyring: &Keyring| Some((keyring.apex().to_string(), read(keyring, now)?));
            let mut found: Vec<(String, f64)> = server.keyrings.iter().filter_map(of).collect();
            found.sort_by(|a, b| a.0.cmp(&b.0));
            found
        }
    };
    out.gauges(
        "steerd_dnssec_key_change_seconds",
        "Time until a key of the zone is published, signs, or goes.",
        "zone",
        each(|keyring, now| Some(keyring.next_change(now)?.0.saturating_sub(now.0) as f64)),
    );
    out.gauges(
        "steerd_dnssec_key_overdue",
        "1 while the zone is signed by keys whose time is over, because there is no successor.",
        "zone",
        each(|keyring, now| Some(f64::from(u8::from(keyring.phase(now).is_continued())))),
    );
    out.gauges(
        "steerd_dnssec_signature_valid_seconds",
        "Time that a signature is at least valid when it is handed out.",
        "zone",
        each(|keyring, _| Some(f64::from(keyring.rules().valid_min_s()))),
    );
}

impl Meters {
    /// Shows DNS, over whatever it came.
    fn expose_dns(&self, out: &mut Exposition) {
        let udp = Arc::clone(&self.udp);
        out.counters("steerd_dns_udp_packets", "DNS packets received over UDP.", "outcome", udp);
        let stream = Arc::clone(&self.stream);
        out.counters("steerd_dns_stream_messages", "DNS messages received over TCP.", "outcome", stream);
        let tls = Arc::clone(&self.tls);
        out.counters("steerd_dns_tls_messages", "DNS messages received over TLS.", "outcome", tls);
        let https = Arc::clone(&self.https);
        out.counters("steerd_dns_https_messages", "DNS messages received over HTTPS.", "outcome", https);
        let mishaps = Arc::clone(&self.mishaps);
        out.counters("steerd_dns_mishaps", "What went wrong around DNS packets.", "kind", mishaps);
        out.histogram(
            "steerd_dns_answer",
            "Time of a DNS answer, the mean of its batch.",
            self.answer.clone(),
        );
    }

    /// Shows what players say when they poll for content steering.
    fn expose_steering(&self, out: &mut Exposition) {
        let sessions = Arc::clone(&self.sessions);
        let help = "Polls that got a steering manifest, by the session they named.";
        out.counters("steerd_steering_polls", help, "session", sessions);
        let reports = Arc::clone(&self.reports);
        let help = "Throughput reports of players, by the kind of pathway.";
        out.counters("steerd_steering_reports", help, "pathway", reports);
        let demotions = Arc::clone(&self.demotions);
        let help = "Changes of pathways' order that throughput made for a session.";
        out.counters("steerd_steering_demotions", help, "change", demotions);
    }

    /// Shows connections over TLS and the state of certificates.
    fn expose_tls(&self, out: &mut Exposition, certificates: Arc<Certificates>) {
        let greeted = Arc::clone(&self.greeted);
        out.counters(
            "steerd_tls_connections",
            "Connections over TLS, by what became of the handshake; broken and unclosed ones count twice.",
            "result",
            greeted,
        );
        let reloads = Arc::clone(&certificates.reloads);
        out.counters("steerd_tls_reloads", "Certificates whose files were read again.", "result", reloads);
        let expiring = Arc::clone(&certificates);
        out.gauges(
            "steerd_tls_certificate_expiry_seconds",
            "Time until the first certificate expires.",
            "which",
            move || {
                let left_s = expiring.expires_in_s(now_s());
                left_s.map(|left_s| ("first".to_owned(), left_s as f64)).into_iter().collect()
            },
        );
        out.gauges("steerd_tls_certificates", "Certificates, by their state.", "state", move || {
            let states = ["current", "stale", "missing"].into_iter().zip(certificates.counts());
            states.map(|(state, count)| (state.to_owned(), count as f64)).collect()
        });
    }
}

/// The clock, in seconds since 1970.
fn now_s() -> i64 {
    (now().0 / 1000).cast_signed()
}

/// Shows the publisher's state as it was last put into `status`.
fn expose_state(out: &mut Exposition, status: &Arc<ArcSwap<Status>>) {
    let mut gauge = |name, help, read: fn(&Status) -> f64| {
        let status = Arc::clone(status);
        out.gauge(name, help, move || read(&status.load()));
    };
    gauge("steerd_ready", "1 when there is a table.", |s| f64::from(u8::from(s.ready)));
    gauge("steerd_table_epoch", "Epoch of the served table, 0 without one.", |s| {
        s.epoch.unwrap_or_default() as f64
    });
    gauge("steerd_generation", "Number of the served generation.", |s| s.generation as f64);
    gauge("steerd_table_age_seconds", "Time since the served table was accepted.", |s| {
        s.table_age_s.unwrap_or_default() as f64
    });
    gauge("steerd_table_stale", "1 while nobody has pushed or confirmed the table for too long.", |s| {
        f64::from(u8::from(s.table_stale))
    });
    gauge("steerd_lookup_bytes", "Memory of the lookup tables.", |s| s.lookup_bytes as f64);
    gauge("steerd_generations_retired", "Former generations that are still read.", |s| {
        s.retired_generations as f64
    });
    gauge("steerd_judged_broken", "Signals that are judged broken and ignored.", |s| {
        s.judged_broken.len() as f64
    });
    let counted = Arc::clone(status);
    out.gauges("steerd_table_objects", "What is in the served table.", "kind", move || {
        let counts = counted.load().counts;
        [
            ("sites", counts.sites),
            ("clusters", counts.clusters),
            ("appliances", counts.appliances),
            ("services", counts.services),
            ("routes_v4", counts.routes_v4),
            ("routes_v6", counts.routes_v6),
        ]
        .map(|(kind, count)| (kind.to_owned(), count as f64))
        .to_vec()
    });
    let told = Arc::clone(status);
    out.gauges(
        "steerd_appliances",
        "Appliances in service, by what is believed of them.",
        "state",
        move || {
            let told = told.load().health;
            [
                ("in_service", told.in_service),
                ("up", told.up),
                ("draining", told.draining),
                ("down", told.down),
                ("overridden", told.overridden),
                ("heartbeat_fed", told.heartbeat_fed),
                ("heartbeat_silent", told.heartbeat_silent),
            ]
            .map(|(state, count)| (state.to_owned(), f64::from(count)))
            .to_vec()
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_a_packet_has_its_own_counter_and_name() {
        for (index, packet) in Packet::ALL.iter().enumerate() {
            assert_eq!(packet.index(), index, "{packet:?}");
            assert_eq!(Packet::ALL.iter().filter(|other| other.name() == packet.name()).count(), 1);
        }
        for (index, mishap) in Mishap::ALL.iter().enumerate() {
            assert_eq!(mishap.index(), index, "{mishap:?}");
        }
        for (index, signed) in Signed::ALL.iter().enumerate() {
            assert_eq!(signed.index(), index, "{signed:?}");
        }
    }
}
