//! JSON bodies, read strictly, their problems told as those of tables and config are.
//!
//! Layer 7.

use super::body::{self, Form};
use super::refuse::Fault;
use crate::problem::read_json;
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
    read_json(&body::decode(octets, encoding, max)?).map_err(Fault::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::{Order, Push};

    /// The problem of `json` as a `T`.
    fn check<T: DeserializeOwned>(json: &str, expected: &str) {
        let found = read_json::<T>(json.as_bytes()).map(|_| ()).unwrap_err();
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
