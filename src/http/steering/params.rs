//! What a player says in the query of a steering request.
//!
//! Nothing that stands there is an error: players differ in what they send, in whether they quote it and in
//! how they escape it, and one that is refused plays on without steering. What cannot be read counts as not
//! said; what is said twice counts as it was said last, because players append.

use std::net::IpAddr;

/// Pathways that one request reports on, at most: more is nobody's player.
const REPORTS_MAX: usize = 16;

/// What was said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Params {
    /// `session`: the token that the last manifest gave.
    pub session: Option<String>,
    /// `client`: for whom somebody else asks. Who may say so is for others to know.
    pub client: Option<IpAddr>,
    /// `path`: of the content, which spreads clients over a cluster as a redirect of it would.
    pub path: Option<String>,
    /// The form of DASH is wanted: `format=dash`, or a parameter of DASH players.
    pub is_dash: bool,
    /// Throughput of pathways, in the order said.
    pub reports: Vec<Report>,
}

/// The throughput of one pathway, as its player saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// The pathway's id.
    pub pathway: String,
    /// Bits a second, at least 1.
    pub bps: u64,
}

impl Params {
    /// Reads `query`, which comes without its `?`.
    pub(super) fn of(query: &str) -> Self {
        let mut params = Self::default();
        let (mut hls, mut dash) = ([None, None], [None, None]);
        for (name, value) in query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))) {
            let value = decoded(value);
            match &*decoded(name) {
                "session" => params.session = Some(value),
                "client" => params.client = value.parse().ok(),
                "path" => params.path = Some(value).filter(|path| path.starts_with('/')),
                "format" => params.is_dash |= value == "dash",
                "_HLS_pathway" => hls[0] = Some(value),
                "_HLS_throughput" => hls[1] = Some(value),
                "_DASH_pathway" => dash[0] = Some(value),
                "_DASH_throughput" => dash[1] = Some(value),
                _ => {}
            }
        }
        params.is_dash |= dash.iter().any(Option::is_some);
        for [pathways, throughputs] in [hls, dash] {
            let (pathways, throughputs) = (pathways.unwrap_or_default(), throughputs.unwrap_or_default());
            let pairs = unquoted(&pathways).split(',').zip(unquoted(&throughputs).split(','));
            params.reports.extend(pairs.filter_map(|(pathway, bps)| Report::of(pathway, bps)));
        }
        params.reports.truncate(REPORTS_MAX);
        params
    }
}

impl Report {
    /// One of a pathway and its throughput; `None` where either is not told.
    fn of(pathway: &str, bps: &str) -> Option<Self> {
        let (pathway, bps) = (unquoted(pathway), unquoted(bps));
        // Players that average write fractions.
        let whole = bps.split('.').next().unwrap_or_default();
        let bps = whole.parse().ok().filter(|&bps| bps > 0)?;
        (!pathway.is_empty()).then(|| Self { pathway: pathway.to_owned(), bps })
    }
}

/// `text` without blanks and the quotes around it, if there are any.
fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix('"').unwrap_or(text);
    inner.strip_suffix('"').unwrap_or(inner)
}

/// `text` of a query with its escapes taken out (percent signs, and plus signs for blanks); an escape that is
/// none stays, and what is not UTF-8 then is replaced.
pub(super) fn decoded(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let digit = |octet: &u8| char::from(*octet).to_digit(16);
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => digit(high).zip(digit(low)),
            _ => None,
        };
        match (first, escaped) {
            (_, Some((high, low))) => {
                octets.push((high << 4 | low) as u8);
                rest = &after[2..];
            }
            (b'+', None) => octets.push(b' '),
            (octet, None) => octets.push(*octet),
        }
    }
    String::from_utf8(octets).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `query` and writes what of it was understood.
    fn read(query: &str) -> String {
        let params = Params::of(query);
        let mut text = params.reports.iter().map(|r| format!("{}={} ", r.pathway, r.bps)).collect::<String>();
        if params.is_dash {
            text.push_str("dash ");
        }
        text.extend(params.session.map(|session| format!("session {session} ")));
        text.extend(params.client.map(|client| format!("client {client} ")));
        text.extend(params.path.map(|path| format!("path {path} ")));
        text.trim_end().to_owned()
    }

    #[test]
    fn what_players_send_is_understood() {
        for (query, expected) in [
            ("", ""),
            // RFC 8216bis section 7.1: quoted; hls.js: not.
            ("_HLS_pathway=%22cdn-a%22&_HLS_throughput=500000", "cdn-a=500000"),
            ("_HLS_pathway=\"cdn-a\"&_HLS_throughput=500000", "cdn-a=500000"),
            ("_HLS_pathway=cdn-a&_HLS_throughput=500000", "cdn-a=500000"),
            ("_HLS_pathway=.&_HLS_throughput=1", ".=1"),
            // ETSI TS 103 998: lists by position; dash.js leaves unknown ones empty.
            ("_DASH_pathway=%22a,b%22&_DASH_throughput=1,2", "a=1 b=2 dash"),
            ("_DASH_pathway=%22a%2Cb,c%22&_DASH_throughput=1%2C,3", "a=1 c=3 dash"),
            ("_DASH_pathway=a&_DASH_throughput=2500000.75", "a=2500000 dash"),
            ("_DASH_pathway=\"a\",\"b\"&_DASH_throughput=1,2", "a=1 b=2 dash"),
            ("_DASH_pathway=a,b&_DASH_throughput=1", "a=1 dash"),
            ("_DASH_throughput=7", "dash"),
            ("format=dash", "dash"),
            // Said again by a player that appends.
            ("_HLS_pathway=a&_HLS_throughput=1&_HLS_pathway=b&_HLS_throughput=2", "b=2"),
            ("session=x&session=y", "session y"),
            (
                "session=abc&client=192.0.2.7&path=%2Fa+b%2Fc%3Fd",
                "session abc client 192.0.2.7 path /a b/c?d",
            ),
        ] {
            assert_eq!(read(query), expected, "{query}");
        }
    }

    #[test]
    fn what_nobody_understands_is_not_said() {
        for query in [
            "&&=&==&a",
            "_HLS_pathway",
            "_HLS_pathway=a",
            "_HLS_throughput=5",
            "_HLS_pathway=a&_HLS_throughput=fast",
            "_HLS_pathway=a&_HLS_throughput=-5",
            "_HLS_pathway=a&_HLS_throughput=0",
            "_HLS_pathway=a&_HLS_throughput=99999999999999999999999",
            "_HLS_pathway=&_HLS_throughput=5",
            "_HLS_pathway=%22%22&_HLS_throughput=5",
            "client=nobody",
            "client=192.0.2.0%2F24",
            "path=relative",
            "%",
            "%zz=%",
            "_hls_pathway=a&_hls_throughput=5",
        ] {
            assert_eq!(read(query), "", "{query}");
        }
        let many = format!("_DASH_pathway={}&_DASH_throughput={}", "a,".repeat(99), "1,".repeat(99));
        assert_eq!(Params::of(&many).reports.len(), REPORTS_MAX);
    }

    #[test]
    fn escapes_are_taken_out() {
        for (text, expected) in [
            ("a%20b+c", "a b c"),
            ("%", "%"),
            ("%4", "%4"),
            ("%4g", "%4g"),
            ("%e9", "\u{fffd}"),
            ("%C3%A9", "é"),
        ] {
            assert_eq!(decoded(text), expected, "{text}");
        }
    }
}
