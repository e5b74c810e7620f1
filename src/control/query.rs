//! What stands in the query of a call, checked.
//!
//! A key that a call does not know is refused: a mistyped `dry_run` must not push. Layer 7.

use super::refuse::Fault;
use super::routes::Route;
use crate::problem::Problem;
use crate::publish::PushOptions;
use crate::units::Epoch;
use axum::extract::Query as Pairs;
use axum::http::Uri;

/// Keys and values of a query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads the query of `uri` as far as `route` knows it. Calls outside `/v1` take anything.
    ///
    /// # Errors
    /// All keys that are unknown, repeated or missing.
    pub fn read(route: &Route, uri: &Uri) -> Result<Self, Fault> {
        if !route.path.starts_with("/v1/") {
            return Ok(Self::default());
        }
        let Ok(Pairs(pairs)) = Pairs::<Vec<(String, String)>>::try_from_uri(uri) else {
            return Err(Problem::at(0, "query", uri.query().unwrap_or_default(), "key=value&…").into());
        };
        let mut problems = Vec::new();
        for (at, (key, value)) in pairs.iter().enumerate() {
            let known = route.query.iter().any(|parameter| parameter.name == key);
            if !known {
                problems.push(Problem::at(0, key, value, expected_keys(route)));
            } else if pairs[..at].iter().any(|(earlier, _)| earlier == key) {
                problems.push(Problem::at(0, key, value, "it once"));
            }
        }
        for parameter in route.query.iter().filter(|parameter| parameter.is_required) {
            if !pairs.iter().any(|(key, _)| key == parameter.name) {
                problems.push(Problem::at(0, parameter.name, "nothing", parameter.description));
            }
        }
        if problems.is_empty() { Ok(Self { pairs }) } else { Err(Fault::Invalid(problems)) }
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// How a push wants to be taken.
    ///
    /// # Errors
    /// All values that are none.
    pub fn push_options(&self) -> Result<PushOptions, Fault> {
        let mut problems = Vec::new();
        let mut flag = |key| {
            self.flag(key).unwrap_or_else(|problem| {
                problems.push(problem);
                false
            })
        };
        let (dry_run, force) = (flag("dry_run"), flag("force"));
        let reset_epoch = self.get("reset_epoch").and_then(|text| {
            let epoch = text.parse().ok().and_then(Epoch::new);
            if epoch.is_none() {
                problems.push(Problem::at(0, "reset_epoch", text, "an epoch, 1 to 9007199254740991"));
            }
            epoch
        });
        if problems.is_empty() {
            Ok(PushOptions { dry_run, force, reset_epoch })
        } else {
            Err(Fault::Invalid(problems))
        }
    }

    /// Whether `key` is set; absent is no, present without a value is yes.
    fn flag(&self, key: &'static str) -> Result<bool, Problem> {
        match self.get(key) {
            None | Some("0" | "false" | "no") => Ok(false),
            Some("" | "1" | "true" | "yes") => Ok(true),
            Some(other) => Err(Problem::at(0, key, other, "1 or 0")),
        }
    }
}

/// The keys that `route` knows, for people.
fn expected_keys(route: &Route) -> String {
    let names: Vec<_> = route.query.iter().map(|parameter| parameter.name).collect();
    if names.is_empty() { "no query".to_string() } else { format!("only the keys {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::super::routes::{Call, ROUTES};
    use super::*;

    /// The options of a push with `query`, or the problems.
    fn options(query: &str) -> Result<PushOptions, String> {
        let route = ROUTES.iter().find(|route| route.call == Call::TablePut).expect("a route");
        let uri = format!("/v1/table?{query}").parse().expect("a URI");
        let found = Query::read(route, &uri).and_then(|query| query.push_options());
        found.map_err(|fault| match fault {
            Fault::Invalid(problems) => {
                problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            }
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn options_of_a_push() {
        let none = PushOptions::default();
        let check = |query: &str, expected: PushOptions| assert_eq!(options(query), Ok(expected), "{query}");
        check("", none);
        check("dry_run=1", PushOptions { dry_run: true, ..none });
        check("dry_run", PushOptions { dry_run: true, ..none });
        check("dry_run=false&force=true", PushOptions { force: true, ..none });
        check("reset_epoch=42", PushOptions { reset_epoch: Epoch::new(42), ..none });
    }

    #[test]
    fn a_typing_mistake_does_not_push() {
        let keys = "expected only the keys dry_run, force, reset_epoch";
        for (query, expected) in [
            ("dryrun=1", format!("dryrun: found 1, {keys}")),
            ("dry_run=maybe", "dry_run: found maybe, expected 1 or 0".to_string()),
            ("dry_run=0&dry_run=1", "dry_run: found 1, expected it once".to_string()),
            ("reset_epoch=0", "reset_epoch: found 0, expected an epoch, 1 to 9007199254740991".to_string()),
            ("x=1&y=2", format!("x: found 1, {keys}; y: found 2, {keys}")),
        ] {
            assert_eq!(options(query), Err(expected), "{query}");
        }
    }

    #[test]
    fn what_is_required_is_missed() {
        let route = ROUTES.iter().find(|route| route.call == Call::Explain).expect("a route");
        let found = Query::read(route, &"/v1/explain?service=a".parse().expect("a URI"));
        assert!(matches!(found, Err(Fault::Invalid(problems)) if problems[0].key == "client"));
    }
}
