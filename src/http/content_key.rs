//! What of a request spreads it over a cluster: the same content goes to the same appliance.

use crate::fleet::ContentKey;
use std::borrow::Cow;

/// The key of `path_and_query`, a valid request target whose `format=json` is already off.
///
/// Taken as sent, without percent-decoding. Captures of an expression are put one after the other,
/// those that took no part left out; without a match the key is the whole path (ruling 12). Values
/// of query parameters, the first of each name, are joined by `&`, one that is missing being empty;
/// when all are missing the key is the whole path.
pub fn content_key<'a>(rule: &ContentKey, path_and_query: &'a str) -> Cow<'a, [u8]> {
    // Octets are searched faster than text.
    let end = path_and_query.bytes().position(|octet| octet == b'?').unwrap_or(path_and_query.len());
    let (path, query) = path_and_query.split_at(end);
    let query = query.strip_prefix('?').unwrap_or_default();
    let special = match rule {
        ContentKey::Path => None,
        ContentKey::PathRegex(expression) => expression.captures(path).map(|captures| {
            captures.iter().skip(1).flatten().map(|capture| capture.as_str()).collect::<String>()
        }),
        ContentKey::Query(names) => {
            let values: Vec<_> = names.iter().map(|name| parameter(query, name)).collect();
            values.iter().any(Option::is_some).then(|| {
                let values: Vec<&str> = values.into_iter().map(Option::unwrap_or_default).collect();
                values.join("&")
            })
        }
    };
    special.map_or(Cow::Borrowed(path.as_bytes()), |key| Cow::Owned(key.into_bytes()))
}

/// The value of the first parameter `name`; empty when it is written without one.
fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.into_iter().find(|(found, _)| *found == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: &ContentKey, target: &str, expected: &str) {
        let found = content_key(rule, target);
        assert_eq!(String::from_utf8_lossy(&found), expected, "{target}");
    }

    #[test]
    fn keys_are_taken_as_configured() {
        let regex = |text| ContentKey::PathRegex(regex::Regex::new(text).expect("an expression"));
        let query = |names: &[&str]| ContentKey::Query(names.iter().map(|name| (*name).into()).collect());
        check(&ContentKey::Path, "/v/1/seg%204.ts?t=1", "/v/1/seg%204.ts");
        check(&ContentKey::Path, "/", "/");
        let title = regex("^/v/([^/]+)/(?:low|high)/([0-9]+)?");
        check(&title, "/v/42/low/7.ts?v=9", "427");
        check(&title, "/v/42/high/x.ts", "42");
        check(&title, "/other/42?x", "/other/42");
        let ids = query(&["id", "part"]);
        check(&ids, "/get?x=1&part=b&id=a&id=c", "a&b");
        check(&ids, "/get?id=a%20", "a%20&");
        check(&ids, "/get?part", "&");
        check(&ids, "/get?x=1", "/get");
        check(&ids, "/get", "/get");
    }
}
