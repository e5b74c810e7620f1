//! Why a call was not done, as a status and JSON.
//!
//! Every refusal of INTERFACE.md is one [`Fault`], and this file says what each looks like on the
//! wire: `error` is a word for programs, `message` a sentence for people, the rest is named in the
//! contract. Layer 7.

use super::audit::Outcome;
use crate::problem::Problem;
use crate::publish::Refusal;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// Seconds after which a push that met another one may come again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// Why a call was not done.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// No token, or an unknown one: 401.
    Unauthorized(&'static str),
    /// Not with this token, from this place or in this form: 403.
    Forbidden(String),
    /// There is no such thing: 404.
    NotFound(String),
    /// There is no room for one more: 409.
    TooMany(String),
    /// The path has other methods only: 405.
    MethodNotAllowed,
    /// The body stopped coming: 408.
    TooSlow,
    /// The body is above this many octets, as sent or decompressed: 413.
    TooLarge(u64),
    /// The body is in a form that is not taken here: 415.
    UnknownForm {
        /// The header at fault.
        header: &'static str,
        /// What it says.
        found: String,
        /// What it could say.
        expected: &'static str,
    },
    /// The query or the body does not validate: 400.
    Invalid(Vec<Problem>),
    /// The body broke off: 400.
    BrokenOff,
    /// The publisher refused.
    Push(Refusal),
    /// There is no table to answer from: 503.
    NotReady,
    /// A bug; the log has more: 500.
    Broken,
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Push(refusal)
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Invalid(vec![problem])
    }
}

impl Fault {
    /// The status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) | Self::Push(Refusal::NotKept { .. }) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnknownForm { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(_) | Self::BrokenOff | Self::Push(Refusal::Invalid(_)) => StatusCode::BAD_REQUEST,
            Self::TooMany(_)
            | Self::Push(
                Refusal::NotNewer { .. }
                | Refusal::WrongBase { .. }
                | Refusal::WrongReset { .. }
                | Refusal::OldSeq { .. },
            ) => StatusCode::CONFLICT,
            Self::Push(Refusal::Guarded(_)) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Push(Refusal::Busy) | Self::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            Self::Push(Refusal::Storage(_)) | Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// How the audit counts it.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unauthorized(_) => Outcome::Unauthorized,
            Self::Forbidden(_) => Outcome::Forbidden,
            Self::NotFound(_) | Self::MethodNotAllowed | Self::Push(Refusal::NotKept { .. }) => {
                Outcome::NotFound
            }
            Self::TooSlow | Self::BrokenOff => Outcome::BrokenOff,
            Self::TooLarge(_) => Outcome::TooLarge,
            Self::UnknownForm { .. } => Outcome::UnknownForm,
            Self::Invalid(_) | Self::Push(Refusal::Invalid(_)) => Outcome::Invalid,
            Self::Push(Refusal::NotNewer { .. } | Refusal::WrongReset { .. } | Refusal::OldSeq { .. }) => {
                Outcome::NotNewer
            }
            Self::Push(Refusal::WrongBase { .. }) => Outcome::WrongBase,
            Self::Push(Refusal::Guarded(_)) => Outcome::Guarded,
            Self::Push(Refusal::Busy) | Self::NotReady | Self::TooMany(_) => Outcome::Busy,
            Self::Push(Refusal::Storage(_)) | Self::Broken => Outcome::Failed,
        }
    }

    /// A word for programs.
    fn word(&self) -> &'static str {
        match self {
            Self::Unauthorized(_) => "unauthorized",
            Self::Forbidden(_) => "forbidden",
            Self::NotFound(_) => "not_found",
            Self::TooMany(_) => "too_many",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::TooSlow => "timeout",
            Self::TooLarge(_) => "too_large",
            Self::UnknownForm { .. } => "unsupported_media_type",
            Self::Invalid(_) | Self::Push(Refusal::Invalid(_)) => "invalid",
            Self::BrokenOff => "broken_off",
            Self::Push(Refusal::NotNewer { .. }) => "not_newer",
            Self::Push(Refusal::WrongBase { .. }) => "wrong_base",
            Self::Push(Refusal::WrongReset { .. }) => "wrong_reset",
            Self::Push(Refusal::Guarded(_)) => "guarded",
            Self::Push(Refusal::NotKept { .. }) => "not_kept",
            Self::Push(Refusal::OldSeq { .. }) => "old_seq",
            Self::Push(Refusal::Busy) => "busy",
            Self::Push(Refusal::Storage(_)) => "storage",
            Self::NotReady => "not_ready",
            Self::Broken => "internal",
        }
    }

    /// A sentence for people.
    pub fn message(&self) -> String {
        match self {
            Self::Unauthorized(why) => (*why).to_string(),
            Self::Forbidden(why) | Self::NotFound(why) | Self::TooMany(why) => why.clone(),
            Self::MethodNotAllowed => "this path has other methods, see Allow".to_string(),
            Self::TooSlow => "the body stopped coming".to_string(),
            Self::TooLarge(max) => format!("the body is above {max} octets, as sent or decompressed"),
            Self::UnknownForm { header, found, expected } => {
                format!("{header}: found {found}, expected {expected}")
            }
            Self::Invalid(problems) => Refusal::Invalid(problems.clone()).to_string(),
            Self::BrokenOff => "the body broke off".to_string(),
            Self::Push(refusal) => refusal.to_string(),
            Self::NotReady => "there is no table yet".to_string(),
            Self::Broken => "this is a bug; the log says more".to_string(),
        }
    }

    /// What the contract names beside `error` and `message`.
    fn facts(&self) -> Value {
        match self {
            Self::Invalid(problems) | Self::Push(Refusal::Invalid(problems)) => {
                json!({ "problems": problems })
            }
            Self::TooLarge(max) => json!({ "limit": max }),
            Self::UnknownForm { header, found, expected } => {
                json!({ "header": header, "found": found, "expected": expected })
            }
            Self::Push(Refusal::NotNewer { served_epoch, highest_epoch, digest }) => {
                json!({ "served_epoch": served_epoch, "highest_epoch": highest_epoch, "digest": digest })
            }
            Self::Push(Refusal::WrongBase { base, served_epoch, highest_epoch, digest }) => json!({
                "base": base, "served_epoch": served_epoch, "highest_epoch": highest_epoch, "digest": digest
            }),
            Self::Push(Refusal::WrongReset { highest_epoch }) => json!({ "highest_epoch": highest_epoch }),
            Self::Push(Refusal::OldSeq { from, last }) => json!({ "from": from, "last": last }),
            Self::Push(Refusal::NotKept { epoch }) => json!({ "epoch": epoch }),
            Self::Push(Refusal::Guarded(guards)) => match guards.first() {
                Some(first) => json!({
                    "guard": first.guard, "found": first.found, "limit": first.limit, "guards": guards
                }),
                None => json!({ "guards": [] }),
            },
            _ => Value::Null,
        }
    }

    /// The whole body.
    pub fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("error".to_string(), self.word().into());
        body.insert("message".to_string(), self.message().into());
        if let Value::Object(facts) = self.facts() {
            body.extend(facts);
        }
        Value::Object(body)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = super::reply::json(self.status(), &self.body());
        let headers = response.headers_mut();
        match self {
            Self::Unauthorized(_) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"steerd\""));
            }
            Self::Push(Refusal::Busy) | Self::NotReady => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER_S);
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::GuardHit;
    use crate::units::Epoch;

    /// Epoch `number`.
    fn epoch(number: u64) -> Epoch {
        Epoch::new(number).expect("an epoch")
    }

    /// What `fault` says, without the sentence.
    fn told(fault: Fault) -> (u16, Value) {
        let mut body = fault.body();
        body.as_object_mut().expect("an object").remove("message").expect("a message");
        (fault.status().as_u16(), body)
    }

    #[test]
    fn each_refusal_has_its_status_and_keys() {
        let guard = |guard| GuardHit { guard, found: 0.5, limit: 0.1 };
        let problem = || Problem::at(7, "route.prefix", "10.0.0.1/8", "10.0.0.0/8");
        for (fault, status, body) in [
            (
                Fault::Push(Refusal::Invalid(vec![problem()])),
                400,
                json!({"error":"invalid","problems":[{"line":7,"key":"route.prefix","found":"10.0.0.1/8","expected":"10.0.0.0/8"}]}),
            ),
            (
                Fault::Push(Refusal::NotNewer {
                    served_epoch: Some(epoch(41)),
                    highest_epoch: epoch(42),
                    digest: "ab".to_string(),
                }),
                409,
                json!({"error":"not_newer","served_epoch":41,"highest_epoch":42,"digest":"ab"}),
            ),
            (
                Fault::Push(Refusal::WrongBase {
                    base: epoch(3),
                    served_epoch: None,
                    highest_epoch: None,
                    digest: String::new(),
                }),
                409,
                json!({"error":"wrong_base","base":3,"served_epoch":null,"highest_epoch":null,"digest":""}),
            ),
            (
                Fault::Push(Refusal::WrongReset { highest_epoch: Some(epoch(9)) }),
                409,
                json!({"error":"wrong_reset","highest_epoch":9}),
            ),
            (
                Fault::Push(Refusal::OldSeq { from: "m".to_string(), last: 5 }),
                409,
                json!({"error":"old_seq","from":"m","last":5}),
            ),
            (Fault::Push(Refusal::NotKept { epoch: epoch(8) }), 404, json!({"error":"not_kept","epoch":8})),
            (
                Fault::Push(Refusal::Guarded(vec![guard("a"), guard("b")])),
                422,
                json!({"error":"guarded","guard":"a","found":0.5,"limit":0.1,"guards":[
                    {"guard":"a","found":0.5,"limit":0.1},{"guard":"b","found":0.5,"limit":0.1}]}),
            ),
            (Fault::Push(Refusal::Busy), 503, json!({"error":"busy"})),
            (Fault::Push(Refusal::Storage("full".to_string())), 500, json!({"error":"storage"})),
            (Fault::TooLarge(10), 413, json!({"error":"too_large","limit":10})),
        ] {
            assert_eq!(told(fault), (status, body));
        }
    }

    #[test]
    fn who_has_to_wait_or_to_show_a_token_is_told() {
        let header = |fault: Fault, name| {
            fault.into_response().headers().get(name).map(|value| value.to_str().unwrap_or("").to_string())
        };
        assert_eq!(header(Fault::Push(Refusal::Busy), "retry-after").as_deref(), Some("1"));
        assert_eq!(header(Fault::NotReady, "retry-after").as_deref(), Some("1"));
        assert_eq!(
            header(Fault::Unauthorized(""), "www-authenticate").as_deref(),
            Some("Bearer realm=\"steerd\"")
        );
    }
}
