//! JSON bodies, read strictly, their problems told as those of tables and config are.
//!
//! Layer 7.

use super::body::{self, Form};
use super::refuse::Fault;
use crate::problem::Problem;
use axum::extract::Request;
use serde::de::DeserializeOwned;

/// Reads the JSON body of `request`, at most `max` octets of it, decompressed.
///
/// # Errors
/// Those of [`body::read`] and [`body::decode`]; [`Fault::Invalid`] with the line and the key.
pub async fn read<T: DeserializeOwned>(request: Request, max: u64) -> Result<T, Fault> {
    let (head, content) = request.into_parts();
    Form::taken(&head.headers, false)?;
    let encoding = body::encoding_of(&head.headers)?;
    let octets = body::read(content, &head.headers, max).await?;
    parse(&body::decode(octets, encoding, max)?).map_err(Fault::from)
}

/// Reads one JSON value.
///
/// # Errors
/// The first problem.
fn parse<T: DeserializeOwned>(octets: &[u8]) -> Result<T, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(octets);
    let value = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| problem(&error.path().to_string(), error.inner()))?;
    reader.end().map_err(|error| problem("", &error))?;
    Ok(value)
}

/// What serde says, as a problem: `invalid type: string "x", expected u64 at line 1 column 9`.
fn problem(path: &str, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let said = text.rsplit_once(" at line ").map_or(text.as_str(), |(said, _)| said);
    let line = error.line() as u64;
    if !error.is_data() {
        return Problem::at(line, "", said, "JSON");
    }
    let path = if path == "." { "" } else { path };
    if let Some(field) = said.strip_prefix("missing field ") {
        let field = field.trim_matches('`');
        let key = if path.is_empty() { field.to_string() } else { format!("{path}.{field}") };
        return Problem::at(line, key, "nothing", "a value");
    }
    match said.split_once(", expected ") {
        Some((found, expected)) => {
            let kinds = ["invalid type: ", "invalid value: ", "invalid length "];
            let found = kinds.iter().find_map(|kind| found.strip_prefix(kind)).unwrap_or(found);
            Problem::at(line, path, found, expected)
        }
        None => {
            // Our own: `a load must be a number of at least 0`.
            let rule = said.split_once(" must be ").or_else(|| said.split_once(" must have "));
            Problem::at(line, path, "another value", rule.map_or(said, |(_, rule)| rule))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Order, Push};

    /// The problem of `json` as a `T`.
    fn check<T: DeserializeOwned>(json: &str, expected: &str) {
        let found = parse::<T>(json.as_bytes()).map(|_| ()).unwrap_err();
        assert_eq!(found.to_string(), expected, "{json}");
    }

    #[test]
    fn problems_name_line_and_key() {
        check::<Order>("", "1: found EOF while parsing a value, expected JSON");
        check::<Order>("{\n\"match\":{\"site\":\"a\"},", "2: found EOF while parsing a value, expected JSON");
        check::<Order>(r#"{"match":{"site":"a"}}"#, "1: state: found nothing, expected a value");
        check::<Order>(
            r#"{"match":{"site":"a"},"state":"gone"}"#,
            "1: state: found unknown variant `gone`, expected one of `up`, `draining`, `down`",
        );
        check::<Order>(
            r#"{"match":{"site":7},"state":"up"}"#,
            "1: match.site: found integer `7`, expected a string",
        );
        check::<Order>(
            r#"{"match":{"site":"a"},"state":"up"} x"#,
            "1: found trailing characters, expected JSON",
        );
        check::<Push>(
            "[{\"appliance\":\"a\",\"state\":\"up\"},\n{\"appliance\":\"b\",\"state\":\"ill\"}]",
            "2: [1].state: found unknown variant `ill`, expected one of `up`, `draining`, `down`",
        );
        check::<Push>(
            r#"{"from":"m","seq":1,"states":[{"appliance":"a","state":"up","load":-1}]}"#,
            "1: states[0].load: found another value, expected a number of at least 0",
        );
    }
}
