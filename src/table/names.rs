//! What a name may be: names of the inventory, host names, service names.
//!
//! Layer 3.

/// Longest name of a site, cluster, appliance or tag, in octets.
const NAME_MAX: usize = 255;

/// What [`plain`] accepts, for problems.
pub(super) const PLAIN: &str =
    "a name of 1 to 255 octets without white space, control characters, `*` or `?`";

/// What [`host`] accepts, for problems.
pub(super) const HOST: &str = "a host name of letters, digits, hyphens and dots, as c1.cdn.example";

/// What [`service`] accepts, for problems.
pub(super) const SERVICE: &str = "a host name, or `*.` and one, as *.live.cdn.example";

/// What [`note`] accepts, for problems.
pub(super) const NOTE: &str = "a text of at most 255 octets without control characters";

/// A name of the inventory. `*` and `?` are left to globs over names.
pub(super) fn plain(text: &str) -> Option<Box<str>> {
    let is_fine = |c: char| !c.is_whitespace() && !c.is_control() && c != '*' && c != '?';
    ((1..=NAME_MAX).contains(&text.len()) && text.chars().all(is_fine)).then(|| text.into())
}

/// A name of the inventory or a glob over such names, in which `*` stands for anything.
pub(super) fn glob(text: &str) -> Option<Box<str>> {
    let is_fine = text.split('*').all(|part| part.is_empty() || plain(part).is_some());
    (is_fine && (1..=NAME_MAX).contains(&text.len())).then(|| text.into())
}

/// A text for people; may be empty.
pub(super) fn note(text: &str) -> Option<Box<str>> {
    (text.len() <= NAME_MAX && !text.chars().any(char::is_control)).then(|| text.into())
}

/// A host name as letters, digits and hyphens (RFC 1123 section 2.1), in lower case; one final dot is
/// taken off. At most 253 octets, labels of 1 to 63. The last label is not all digits, so that a host
/// name is never taken for an address.
pub fn host(text: &str) -> Option<Box<str>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_host =
        text.len() <= 253 && text.split('.').all(is_label) && !last.bytes().all(|b| b.is_ascii_digit());
    is_host.then(|| text.to_ascii_lowercase().into_boxed_str())
}

/// The name of a service: a host name, or `*.` and one.
pub fn service(text: &str) -> Option<Box<str>> {
    match text.strip_prefix("*.") {
        None => host(text),
        Some(rest) => host(rest).filter(|rest| rest.len() <= 251).map(|rest| format!("*.{rest}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_ldh() {
        let check =
            |text: &str, expected: Option<&str>| assert_eq!(host(text).as_deref(), expected, "{text}");
        check("C1.cdn.example", Some("c1.cdn.example"));
        check("c1.cdn.example.", Some("c1.cdn.example"));
        check("localhost", Some("localhost"));
        check("3com.example", Some("3com.example"));
        check("", None);
        check(".", None);
        check("a..b", None);
        check("-a.b", None);
        check("a-.b", None);
        check("a_b.c", None);
        check("192.0.2.1", None);
        check("*.a.b", None);
        check("münchen.example", None);
        check(&format!("{}.example", "a".repeat(63)), Some(&format!("{}.example", "a".repeat(63))));
        check(&format!("{}.example", "a".repeat(64)), None);
        check(&format!("{}b.c", "a.".repeat(126)), None);
        check(&format!("{}a", "a.".repeat(126)), Some(&format!("{}a", "a.".repeat(126))));
    }

    #[test]
    fn wildcards_stand_at_the_start_only() {
        let check =
            |text: &str, expected: Option<&str>| assert_eq!(service(text).as_deref(), expected, "{text}");
        check("*.Live.cdn.example", Some("*.live.cdn.example"));
        check("video.cdn.example", Some("video.cdn.example"));
        check("*", None);
        check("*.", None);
        check("a.*.b", None);
        check("*a.b", None);
        check("*.*.b", None);
    }

    #[test]
    fn inventory_names_are_anything_without_blanks() {
        assert!(plain("ams1-c001").is_some() && plain("münchen/1").is_some());
        assert!(["", "a b", "a\n", "ams*", "a?"].iter().all(|text| plain(text).is_none()));
        assert!(plain(&"a".repeat(255)).is_some() && plain(&"a".repeat(256)).is_none());
        assert!(note("").is_some() && note("Sankt Gallen").is_some() && note("a\tb").is_none());
    }
}
