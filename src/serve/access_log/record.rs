//! What is logged, as a worker hands it over: facts, and copies of texts.
//!
//! A [`Record`] costs the worker one allocation. It names things as of its generation and keeps none
//! alive: names are copied, and what is of a closed list is kept as what it is. Texts longer than a line shows
//! are cut, so that the queue is bounded in octets too. Layer 8. Tests: in [`super`].

use super::line::Line;
use crate::dns::{Outcome, Transport};
use crate::fleet::{ApplianceId, Fleet, Scheme, ServiceId};
use crate::http::{DecisionId, HttpOutcome};
use crate::prefix::Prefix;
use crate::serve::tap::Event;
use crate::steer::Choice;
use crate::units::{Epoch, UnixMs};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// Octets of a text that a line shows, at most: a line of usual octets fits a piece of a pipe.
pub(super) const SHOWN_LEN_MAX: usize = 2048;

/// Octets of a text that are kept, at most: the last that is shown may be the first of a character of four.
const KEPT_LEN_MAX: usize = SHOWN_LEN_MAX + 4;

/// Octets that the texts of most records have, at most.
const TEXTS_LEN_USUAL: usize = 256;

/// What is logged of a request or a query.
#[derive(Debug, Clone)]
pub(super) struct Record {
    /// When it was answered.
    pub(super) time: UnixMs,
    /// How long that took.
    pub(super) took: Duration,
    /// Who sent it.
    pub(super) peer: Network,
    /// Whom the decision is for.
    pub(super) client: Network,
    /// What was asked, and what came of it.
    pub(super) asked: Asked,
    /// What was decided.
    pub(super) decided: Decided,
    /// The generation that it was answered from.
    pub(super) generation: u64,
    /// Its table's epoch.
    pub(super) epoch: Option<Epoch>,
    /// What each [`Text`] is a part of.
    pub(super) texts: Texts,
}

/// What was asked, and what came of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    /// A request.
    Http {
        /// The scheme it was spoken in.
        scheme: Scheme,
        /// The host that it names.
        host: Option<Text>,
        /// Its method.
        method: Text,
        /// Its path and query, where they are logged.
        path: Option<Text>,
        /// The status it was answered with.
        status: u16,
        /// What came of it.
        outcome: HttpOutcome,
        /// The decision's id, where it came to one.
        id: Option<DecisionId>,
    },
    /// A query.
    Dns {
        /// How it came.
        transport: Transport,
        /// The name, in wire form, and the type that are asked for, where it can be read.
        question: Option<(Text, u16)>,
        /// The lower bits of the reply's response code, where there is one.
        rcode: Option<u8>,
        /// What came of it.
        outcome: Outcome,
    },
}

/// What was decided, as far as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decided {
    /// What serves, and how it was found.
    pub(super) choice: Option<Choice>,
    /// The name of the service asked for.
    pub(super) service: Option<Text>,
    /// That of the cluster that serves.
    pub(super) cluster: Option<Text>,
    /// That of its appliance that is sent to.
    pub(super) appliance: Option<Text>,
}

impl Decided {
    /// Of `choice` for `service`, which sends to `appliance` where a cluster serves; their names go to `texts`.
    pub(super) fn of(
        fleet: &Fleet,
        service: Option<ServiceId>,
        choice: Option<Choice>,
        appliance: Option<ApplianceId>,
        texts: &mut Texts,
    ) -> Self {
        let cluster = choice.and_then(|choice| choice.cluster());
        let appliance = appliance.filter(|_| cluster.is_some());
        Self {
            choice,
            service: service.map(|id| texts.keep(fleet.service(id).name.as_bytes())),
            cluster: cluster.map(|id| texts.keep(fleet.cluster(id).name.as_bytes())),
            appliance: appliance.map(|id| texts.keep(fleet.appliance(id).name.as_bytes())),
        }
    }
}

impl Event for Record {
    /// Its line.
    fn octets<'a>(&'a self, room: &'a mut Vec<u8>) -> &'a [u8] {
        room.clear();
        // Texts and numbers always serialise, and a `Vec` takes all.
        let _ = serde_json::to_writer(&mut *room, &Line::of(self));
        room.push(b'\n');
        room
    }
}

/// Texts, one behind another.
#[derive(Debug, Clone)]
pub(super) struct Texts(Vec<u8>);

/// Where a text is among [`Texts`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    from: u32,
    len: u32,
}

impl Texts {
    /// None, and room for the usual ones.
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(TEXTS_LEN_USUAL))
    }

    /// Copies `text`, or as much of it as is shown.
    pub(super) fn keep(&mut self, text: &[u8]) -> Text {
        let kept = &text[..text.len().min(KEPT_LEN_MAX)];
        let (from, len) = (self.0.len() as u32, kept.len() as u32);
        // Growing twofold would take more than the documentation says.
        self.0.reserve_exact(kept.len());
        self.0.extend_from_slice(kept);
        Text { from, len }
    }

    /// Octets of memory that they have.
    #[cfg(test)]
    pub(super) fn octets(&self) -> usize {
        self.0.capacity()
    }

    /// The octets at `text`, which was kept here.
    pub(super) fn get(&self, text: Text) -> &[u8] {
        let from = text.from as usize;
        &self.0[from..from + text.len as usize]
    }
}

/// An address, or all of a network.
#[derive(Debug, Clone, Copy)]
pub(super) struct Network {
    /// The first address.
    first: IpAddr,
    /// Leading bits that all of it share; `None`: an address.
    len: Option<u8>,
}

impl Network {
    /// `addr` alone.
    pub(super) fn address(addr: IpAddr) -> Self {
        Self { first: addr, len: None }
    }

    /// All of `subnet`.
    pub(super) fn subnet(subnet: Prefix) -> Self {
        Self { first: subnet.first(), len: Some(subnet.len()) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(out)?;
        self.len.map_or(Ok(()), |len| write!(out, "/{len}"))
    }
}
