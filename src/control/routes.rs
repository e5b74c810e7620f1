//! Every call of the control API, in one table.
//!
//! The router is built from [`ROUTES`] and so is the OpenAPI document: a call that is not here does
//! not exist, and what is here is served, documented and guarded by the right it names. Owns no
//! behaviour. Layer 7.

use crate::config::Right;
use axum::http::{Method, StatusCode};
use axum::routing::MethodFilter;

/// One method of one path.
#[derive(Debug)]
pub struct Route {
    /// What it does.
    pub call: Call,
    /// Its method.
    pub verb: Verb,
    /// Its path, without parameters in it.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
    /// One line for people.
    pub summary: &'static str,
    /// What may stand in the query; any other key of a `/v1` call is refused.
    pub query: &'static [Parameter],
    /// What the body is.
    pub body: BodyKind,
    /// What a 200 carries.
    pub reply: ReplyKind,
    /// Every status it can answer, ascending.
    pub statuses: &'static [u16],
}

impl Route {
    /// Whether it changes anything, and so is audited and guarded against web pages.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb, Verb::Get) && self.call != Call::Steer
    }

    /// Whether `status` is one of [`Route::statuses`].
    pub fn may_answer(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status.as_u16())
    }
}

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// A page for people.
    Page,
    /// The process is alive.
    Alive,
    /// It can answer.
    Ready,
    /// Counters.
    Metrics,
    /// What is served, and how it is.
    Status,
    /// This table as OpenAPI.
    OpenApi,
    /// Why a client is steered as it is.
    Explain,
    /// Where a client is to be sent.
    Steer,
    /// The served table.
    TableGet,
    /// A full table.
    TablePut,
    /// A delta.
    TablePatch,
    /// Kept epochs.
    History,
    /// An older epoch again.
    Rollback,
    /// Files again.
    Reload,
    /// What is believed of appliances.
    HealthGet,
    /// What a monitor says of appliances.
    HealthPut,
    /// What an appliance says of itself.
    Heartbeat,
    /// Overrides that hold.
    OverrideGet,
    /// A new override.
    OverridePut,
    /// The end of an override.
    OverrideDelete,
}

/// Methods that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// GET, and HEAD with it.
    Get,
    /// PUT.
    Put,
    /// PATCH (RFC 5789).
    Patch,
    /// POST.
    Post,
    /// DELETE.
    Delete,
}

impl Verb {
    /// As HTTP writes it.
    pub fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Put => Method::PUT,
            Self::Patch => Method::PATCH,
            Self::Post => Method::POST,
            Self::Delete => Method::DELETE,
        }
    }

    /// As the router takes it.
    pub fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Post => MethodFilter::POST,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// Who may make a call (ruling 22).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone.
    Open,
    /// Anyone where `[control] open` names `metrics`, else who may read.
    Metrics,
    /// Anyone where `[control] open` names `dashboard`, else who may read.
    Dashboard,
    /// Who has this right.
    Right(Right),
    /// Who has either right.
    Either(Right, Right),
}

/// A key of the query.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Whether a call without it is refused.
    pub is_required: bool,
    /// Its JSON Schema type.
    pub kind: &'static str,
    /// One line for people.
    pub description: &'static str,
}

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// Nothing; what comes all the same is not read.
    Nothing,
    /// Whom to steer where.
    Steer,
    /// A full table: NDJSON or the artefact.
    Table,
    /// A delta: NDJSON.
    Delta,
    /// `{"epoch":41}`.
    Rollback,
    /// States of appliances.
    Health,
    /// The state of one appliance.
    Heartbeat,
    /// An override.
    Override,
    /// What an override is to be found by.
    OverrideMatch,
}

/// What a 200 carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind {
    /// A page for people.
    Html,
    /// A word.
    Text,
    /// The Prometheus text format.
    Metrics,
    /// What is served and how it is.
    Status,
    /// An OpenAPI document.
    OpenApi,
    /// A decision in words.
    Explanation,
    /// A ranked list, and what put it together.
    Advice,
    /// A table: NDJSON or the artefact.
    Table,
    /// What a push did.
    PushReport,
    /// Kept epochs.
    History,
    /// What is believed of each appliance.
    Beliefs,
    /// How many reports were taken.
    Applied,
    /// Overrides that hold.
    Overrides,
    /// What an override matches.
    OverrideSet,
    /// That an override is gone.
    OverrideDeleted,
}

/// `dry_run`.
const DRY_RUN: Parameter = Parameter {
    name: "dry_run",
    is_required: false,
    kind: "boolean",
    description: "Say what would change, change nothing (1 or 0)",
};

/// `force`.
const FORCE: Parameter = Parameter {
    name: "force",
    is_required: false,
    kind: "boolean",
    description: "Override guard rails, nothing else (1 or 0)",
};

/// `reset_epoch`.
const RESET_EPOCH: Parameter = Parameter {
    name: "reset_epoch",
    is_required: false,
    kind: "integer",
    description: "The highest epoch ever accepted: lets any epoch follow",
};

/// What a push may ask for.
const PUSH_QUERY: &[Parameter] = &[DRY_RUN, FORCE, RESET_EPOCH];

/// What `explain` is asked.
const EXPLAIN_QUERY: &[Parameter] = &[
    Parameter {
        name: "client",
        is_required: true,
        kind: "string",
        description: "The end user's address, or a prefix, whose lowest address is taken",
    },
    Parameter {
        name: "service",
        is_required: true,
        kind: "string",
        description: "A service, or a host name that a wildcard service covers",
    },
    Parameter {
        name: "path",
        is_required: false,
        kind: "string",
        description: "Path and query of an HTTP request; without it the answer is that of DNS",
    },
    Parameter {
        name: "type",
        is_required: false,
        kind: "string",
        description: "A or AAAA: the DNS answer of that type; without it the ranked list",
    },
];

/// Statuses of a call that only reads.
const READS: &[u16] = &[200, 400, 401, 403];

/// Statuses of a push of a table.
const PUSHES: &[u16] = &[200, 400, 401, 403, 408, 409, 413, 415, 422, 500, 503];

/// Statuses of a change of table without one in the body.
const CHANGES: &[u16] = &[200, 400, 401, 403, 404, 408, 409, 413, 415, 422, 500, 503];

/// Statuses of a change of health.
const REPORTS: &[u16] = &[200, 400, 401, 403, 404, 408, 409, 413, 415, 500, 503];

/// Every call.
pub const ROUTES: &[Route] = &[
    Route {
        call: Call::Page,
        verb: Verb::Get,
        path: "/",
        access: Access::Dashboard,
        summary: "State, as a page for people",
        query: &[],
        body: BodyKind::Nothing,
        reply: ReplyKind::Html,
        statuses: &[200, 401, 403],
    },
    Route {
        call: Call::Alive,
        verb: Verb::Get,
        path: "/healthz",
        access: Access::Open,
        summary: "Whether the process is alive",
        query: &[],
        body: BodyKind::Nothing,
        reply: ReplyKind::Text,
        statuses: &[200],
    },
    Route {
        call: Call::Ready,
        verb: Verb::Get,
        path: "/readyz",
        access: Access::Open,
        summary: "Whether there is a table, and no shutdown under way",
        query: &[],
        body: BodyKind::Nothing,
        reply: ReplyKind::Text,
        statuses: &[200, 503],
    },
    Route {
        call: Call::Metrics,
        verb: Verb::Get,
        path: "/metrics",
        access: Access::Metrics,
        summary: "Counters, for Prometheus",
        query: &[],
        body: BodyKind::Nothing,
        reply: ReplyKind::Metrics,
        statuses: &[200, 401, 403],
    },
    Route {
        call: Call::Status,
        verb: Verb::Get,
        path: "/v1/status",
        access: Access::Right(Right::Read),
        summary: "Node, version, epoch, digest, ages, and what is judged broken",
        query: &[],
        body: BodyKind::Nothing,
        reply: ReplyKind::Status,
        statuses: READS,
    },
    Route {
        call: Call::OpenApi,
        verb: Verb::Get,
        path: "/v1/openapi.json",
        access: Access::Right(Right::Read),
        summary: "This document",
        query: &[],
        body: BodyKind::Nothing,
        reply: ReplyKind::OpenApi,
        statuses: READS,
    },
    Route {
        call: Call::Explain,
        verb: Verb::Get,
        path: "/v1/explain",
        access: Access::Right(Right::Read),
        summary: "The decision for a client, and why",
        query: EXPLAIN_QUERY,
        body: BodyKind::Nothing,
        reply: ReplyKind::Explanation,
        statuses: &[200, 400, 401, 403, 404, 503],
    },
    Route {
        call: Call::Steer,
        verb: Verb::Post,
        path: "/v1/steer",
        access: Access::Right(Right::Read),
        summary: "URLs for a client, best first, for whoever asks on its behalf",
        query: &[],
        body: BodyKind::Steer,
        reply: ReplyKind::Advice,
        statuses: &[200, 400, 401, 403, 404, 408, 413, 415, 503],
    },
    Route {
        call: Call::TableGet,
        verb: Verb::Get,
        path: "/v1/table",
        access: Access::Right(Right::Read),
        summary: "The served table: canonical NDJSON, or the artefact where Accept asks for it",
        query: &[],
        body: BodyKind::Nothing,
        reply: ReplyKind::Table,
        statuses: &[200, 304, 400, 401, 403, 404, 503],
    },
    Route {
        call: Call::TablePut,
        verb: Verb::Put,
        path: "/v1/table",
        access: Access::Right(Right::Table),
        summary: "Pushes a full table; all of it or nothing",
        query: PUSH_QUERY,
        body: BodyKind::Table,
        reply: ReplyKind::PushReport,
        statuses: PUSHES,
    },
    Route {
        call: Call::TablePatch,
        verb: Verb::Patch,
        path: "/v1/table",
        access: Access::Right(Right::Table),
        summary: "Pushes a delta against the served epoch; all of it or nothing",
        query: PUSH_QUERY,
        body: BodyKind::Delta,
        reply: ReplyKind::PushReport,
        statuses: PUSHES,
    },
    Route {
        call: Call::History,
        verb: Verb::Get,
        path: "/v1/table/history",
        access: Access::Right(Right::Read),
        summary: "Epochs that are kept and can be rolled back to",
        query: &[],
        body: BodyKind::Nothing,
        reply: ReplyKind::History,
        statuses: &[200, 400, 401, 403, 503],
    },
    Route {
        call: Call::Rollback,
        verb: Verb::Post,
        path: "/v1/table/rollback",
        access: Access::Right(Right::Table),
        summary: "Serves a kept epoch again",
        query: &[],
        body: BodyKind::Rollback,
        reply: ReplyKind::PushReport,
        statuses: CHANGES,
    },
    Route {
        call: Call::Reload,
        verb: Verb::Post,
        path: "/v1/table/reload",
        access: Access::Right(Right::Table),
        summary: "Rereads the table file and the GeoIP files",
        query: &[FORCE],
        body: BodyKind::Nothing,
        reply: ReplyKind::PushReport,
        statuses: CHANGES,
    },
    Route {
        call: Call::HealthGet,
        verb: Verb::Get,
        path: "/v1/health",
        access: Access::Right(Right::Read),
        summary: "What is believed of each appliance, since when, why, and on whose word",
        query: &[],
        body: BodyKind::Nothing,
        reply: ReplyKind::Beliefs,
        statuses: READS,
    },
    Route {
        call: Call::HealthPut,
        verb: Verb::Put,
        path: "/v1/health",
        access: Access::Right(Right::Health),
        summary: "Reports states of appliances; they merge with what is known",
        query: &[],
        body: BodyKind::Health,
        reply: ReplyKind::Applied,
        statuses: REPORTS,
    },
    Route {
        call: Call::Heartbeat,
        verb: Verb::Post,
        path: "/v1/heartbeat",
        access: Access::Right(Right::Heartbeat),
        summary: "An appliance reports its own state; silence makes it stale",
        query: &[],
        body: BodyKind::Heartbeat,
        reply: ReplyKind::Applied,
        statuses: REPORTS,
    },
    Route {
        call: Call::OverrideGet,
        verb: Verb::Get,
        path: "/v1/override",
        access: Access::Either(Right::Override, Right::Read),
        summary: "Overrides that hold now",
        query: &[],
        body: BodyKind::Nothing,
        reply: ReplyKind::Overrides,
        statuses: READS,
    },
    Route {
        call: Call::OverridePut,
        verb: Verb::Put,
        path: "/v1/override",
        access: Access::Right(Right::Override),
        summary: "Sets a state that outranks health until it ends or is deleted",
        query: &[],
        body: BodyKind::Override,
        reply: ReplyKind::OverrideSet,
        statuses: REPORTS,
    },
    Route {
        call: Call::OverrideDelete,
        verb: Verb::Delete,
        path: "/v1/override",
        access: Access::Right(Right::Override),
        summary: "Ends the override of the same match",
        query: &[],
        body: BodyKind::OverrideMatch,
        reply: ReplyKind::OverrideDeleted,
        statuses: REPORTS,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_stands_twice() {
        for (at, route) in ROUTES.iter().enumerate() {
            let same = |other: &&Route| {
                other.call == route.call || (other.verb == route.verb && other.path == route.path)
            };
            assert_eq!(ROUTES[at + 1..].iter().find(same).map(|r| r.path), None, "{}", route.path);
        }
    }

    #[test]
    fn statuses_ascend_and_what_is_guarded_can_say_so() {
        for route in ROUTES {
            assert!(route.statuses.is_sorted(), "{}", route.path);
            let is_open = route.access == Access::Open;
            assert_eq!(route.statuses.contains(&401), !is_open, "{}", route.path);
            assert_eq!(route.statuses.contains(&403), !is_open, "{}", route.path);
        }
    }

    #[test]
    fn writes_are_the_calls_that_may_not_be_made_by_readers() {
        for route in ROUTES.iter().filter(|route| route.is_write()) {
            let Access::Right(right) = route.access else { panic!("{} is not guarded", route.path) };
            assert!(!matches!(right, Right::Read | Right::All), "{}", route.path);
        }
    }
}
