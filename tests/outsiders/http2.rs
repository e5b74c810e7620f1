//! HTTP/2 as others check it: what RFC 9113 and RFC 7541 forbid, frame by frame, and `h2load`, `curl`, `sslyze`.
//!
//! No conformance checker is packaged where tests install from, so the clauses that a server has to refuse by
//! are here, each with the error that it asks for.

use super::attacks::{block, connect, frame, preface, start};
use super::harness::Steerd;
use super::{missing, output_of, run};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

/// Errors (RFC 9113 section 7).
const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const CALM: u32 = 11;
const COMPRESSION: u32 = 9;

/// What a server says to a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// GOAWAY with this error: the connection is over.
    Goaway(u32),
    /// RST_STREAM with this error.
    Reset(u32),
    /// An answer with a status that begins with 4.
    Refused,
    /// An answer.
    Answered,
    /// Nothing more: the connection ended.
    Ended,
}

/// The first frame of consequence that comes back.
fn said(stream: &mut TcpStream) -> Said {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return Said::Ended;
        }
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; len];
        if stream.read_exact(&mut payload).is_err() {
            return Said::Ended;
        }
        let code = |at: usize| payload[at..at + 4].try_into().map_or(0, u32::from_be_bytes);
        match head[3] {
            3 => return Said::Reset(code(0)),
            7 => return Said::Goaway(code(4)),
            // Of the static table 400 is 12; other statuses below 500 begin with a literal 4, if need be in
            // Huffman's code.
            1 if matches!(
                payload[..],
                [0x8c | 0x8d, ..] | [0x48, 3, b'4', ..] | [0x48, 0x82, 0x68..=0x6b, ..]
            ) =>
            {
                return Said::Refused;
            }
            1 => return Said::Answered,
            _ => {}
        }
    }
}

/// The literal field `name: value`, not indexed.
fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

/// A whole request on `stream` with these further fields.
fn request(stream: u32, more: &[u8]) -> Vec<u8> {
    frame(1, 5, stream, &[&block("/a"), more].concat())
}

/// Sends `octets` after the preface; what comes of it is one of `expected`.
fn check(steerd: &Steerd, clause: &str, octets: &[u8], expected: &[Said]) {
    let mut stream = connect(steerd.http, 1);
    stream.write_all(&[&preface(&[]), octets].concat()).expect("sent");
    let found = said(&mut stream);
    assert!(expected.contains(&found), "{clause}: {found:?}, expected one of {expected:?}");
}

/// A server.
fn server(dir: &tempfile::TempDir) -> Steerd {
    start(dir.path(), "")
}

#[test]
fn rfc9113_frames_that_are_wrong_end_the_connection() {
    use Said::{Ended, Goaway};
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = server(&dir);
    let setting = |id: u8, value: u32| frame(4, 0, 0, &[&[0, id][..], &value.to_be_bytes()].concat());
    let window = |stream, by: u32| frame(8, 0, stream, &by.to_be_bytes());
    for (clause, octets, code) in [
        ("4.2 a frame above SETTINGS_MAX_FRAME_SIZE", frame(0, 0, 1, &[0; 16_385]), FRAME_SIZE),
        ("5.1 DATA on an idle stream", frame(0, 0, 1, b"a"), PROTOCOL),
        ("5.1 RST_STREAM on an idle stream", frame(3, 0, 1, &[0; 4]), PROTOCOL),
        ("5.1 WINDOW_UPDATE on an idle stream", window(1, 1), PROTOCOL),
        ("5.1.1 a client's stream of an even number", request(2, &[]), PROTOCOL),
        ("6.1 DATA on stream 0", frame(0, 0, 0, b"a"), PROTOCOL),
        ("6.2 HEADERS on stream 0", frame(1, 5, 0, &block("/a")), PROTOCOL),
        ("6.2 padding as long as the frame", frame(1, 0x0d, 1, &[9, 0x82]), PROTOCOL),
        ("6.3 PRIORITY on stream 0", frame(2, 0, 0, &[0; 5]), PROTOCOL),
        ("6.4 RST_STREAM on stream 0", frame(3, 0, 0, &[0; 4]), PROTOCOL),
        ("6.4 RST_STREAM of another length", [request(1, &[]), frame(3, 0, 1, &[0; 3])].concat(), FRAME_SIZE),
        ("6.5 SETTINGS on a stream", frame(4, 0, 1, &[]), PROTOCOL),
        ("6.5 an acknowledgement with settings", frame(4, 1, 0, &[0, 4, 0, 0, 255, 255]), FRAME_SIZE),
        ("6.5 half a setting", frame(4, 0, 0, &[0; 5]), FRAME_SIZE),
        ("6.5.2 ENABLE_PUSH beyond 1", setting(2, 2), PROTOCOL),
        ("6.5.2 a window beyond 2^31 - 1", setting(4, 1 << 31), FLOW_CONTROL),
        ("6.5.2 a frame size below 2^14", setting(5, 16_383), PROTOCOL),
        ("6.7 PING on a stream", frame(6, 0, 1, &[0; 8]), PROTOCOL),
        ("6.7 PING of another length", frame(6, 0, 0, &[0; 7]), FRAME_SIZE),
        ("6.8 GOAWAY on a stream", frame(7, 0, 1, &[0; 8]), PROTOCOL),
        ("6.9 WINDOW_UPDATE of another length", frame(8, 0, 0, &[0; 3]), FRAME_SIZE),
        ("6.9.1 a window above 2^31 - 1", window(0, (1 << 31) - 1), FLOW_CONTROL),
        ("6.9 WINDOW_UPDATE by nothing", window(0, 0), PROTOCOL),
        ("6.10 CONTINUATION of nothing", frame(9, 4, 1, &block("/a")), PROTOCOL),
        (
            "6.10 a frame between HEADERS and CONTINUATION",
            [frame(1, 1, 1, &block("/a")), frame(6, 0, 0, &[0; 8])].concat(),
            PROTOCOL,
        ),
        (
            "8.4 a client's PUSH_PROMISE",
            frame(5, 4, 1, &[&[0, 0, 0, 2][..], &block("/a")].concat()),
            PROTOCOL,
        ),
        ("RFC 7541 2.3.3 an index of nothing", frame(1, 5, 1, &[0xff, 0xff, 0x03]), COMPRESSION),
        (
            "RFC 7541 4.2 a table above the limit",
            frame(1, 5, 1, &[&[0x3f, 0xe1, 0xff, 0x03][..], &block("/a")].concat()),
            COMPRESSION,
        ),
    ] {
        // What a library calls a frame of the wrong size or of another kind differs; that it ends does not.
        check(&steerd, clause, &octets, &[Goaway(code), Goaway(PROTOCOL), Ended]);
    }
    let backwards = [request(5, &[]), request(3, &[])].concat();
    let mut stream = connect(steerd.http, 1);
    stream.write_all(&[&preface(&[]), &backwards[..]].concat()).expect("sent");
    let all: Vec<Said> = (0..2).map(|_| said(&mut stream)).collect();
    let is_over = |said: &Said| matches!(said, Goaway(PROTOCOL | STREAM_CLOSED) | Ended);
    assert!(all.iter().any(is_over), "5.1.1 a number below one that was used: {all:?}");
    // 3.4: what begins as no preface is over too.
    let mut stream = connect(steerd.http, 1);
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("sent");
    let mut received = Vec::new();
    assert!(stream.read_to_end(&mut received).is_ok() || !received.is_empty());
}

#[test]
fn rfc9113_s8_malformed_requests_are_refused_one_by_one() {
    use Said::{Answered, Goaway, Refused, Reset};
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = server(&dir);
    let whole = |block: &[u8]| frame(1, 5, 1, block);
    for (clause, octets) in [
        ("8.2.1 a name in upper case", request(1, &field("X-Upper", "a"))),
        ("8.2.1 a name with a space", request(1, &field("x y", "a"))),
        ("8.2.1 a value with a line's end", request(1, &field("x", "a\r\nb"))),
        ("8.2.2 connection", request(1, &field("connection", "close"))),
        ("8.2.2 transfer-encoding", request(1, &field("transfer-encoding", "chunked"))),
        ("8.2.2 te of something else", request(1, &field("te", "gzip"))),
        (
            "8.3 a pseudo-field behind a field",
            whole(&[&[0x82, 0x86][..], &field("x", "a"), &[4, 2, b'/', b'a']].concat()),
        ),
        ("8.3 an unknown pseudo-field", request(1, &field(":unknown", "a"))),
        ("8.3 a pseudo-field of responses", request(1, &field(":status", "200"))),
        ("8.3.1 :path twice", request(1, &[4, 2, b'/', b'b'])),
        ("8.3.1 no :path", whole(&[0x82, 0x86])),
        ("8.3.1 no :method", whole(&[0x86, 0x84])),
        ("8.3.1 no :scheme", whole(&[0x82, 0x84])),
        (
            "8.1.1 more content than said",
            [
                frame(1, 4, 1, &[&block("/a")[..], &field("content-length", "1")].concat()),
                frame(0, 1, 1, b"ab"),
            ]
            .concat(),
        ),
    ] {
        let expected = [Reset(PROTOCOL), Reset(CALM), Goaway(PROTOCOL), Refused];
        // The answer to a head needs no body: it may have been sent by the time that the body is wrong.
        let early = if clause.starts_with("8.1.1") { &[Answered][..] } else { &[] };
        check(&steerd, clause, &octets, &[&expected[..], early].concat());
    }
    check(&steerd, "a good one", &request(1, &field("te", "trailers")), &[Answered]);
}

#[test]
fn h2load_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = server(&dir);
    let https = steerd.https.expect("a listener");
    for (url, more) in [
        (format!("https://{https}/a"), &["-c", "8", "-m", "50"][..]),
        (format!("https://{https}/a"), &["-c", "8", "--h1"]),
        (format!("http://{}/a", steerd.http), &["-c", "8", "-m", "50"]),
        (format!("http://{}/a", steerd.http), &["-c", "8", "--h1"]),
    ] {
        let args = [&["-n", "4000", "-H", ":authority: video.cdn.example"], more, &[&url]].concat();
        let Some(text) = run("h2load", &args) else { return };
        assert!(text.contains("4000 succeeded, 0 failed, 0 errored, 0 timeout"), "{url} {more:?}: {text}");
        assert!(text.contains("4000 3xx, 0 4xx, 0 5xx"), "{url} {more:?}: {text}");
    }
}

#[test]
fn curl_finds_methods_as_rfc9110_has_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = server(&dir);
    let table = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/data/fleet-small.ndjson"))
        .expect("a table");
    let service = "{\"service\":{\"name\":\"video.cdn.example\",";
    let policy = "\"methods\":[\"GET\",\"HEAD\"],\"plain_http\":\"redirect\",\"hsts_s\":600,";
    let table = table.replace(service, &format!("{service}{policy}"));
    let epoch = "\"epoch\":";
    let at = table.find(epoch).expect("an epoch") + epoch.len();
    let table = format!("{}9{}", &table[..at], &table[at..]);
    assert_eq!(steerd.call("PUT", "/v1/table?force=1", table.as_bytes()).status, 200);
    let (https, ca) = (steerd.https.expect("a listener"), dir.path().join("a.pem"));
    let ca = ca.to_str().expect("UTF-8");
    let ask = |scheme: &str, more: &[&str]| {
        let port = if scheme == "https" { https.port() } else { steerd.http.port() };
        let resolve = format!("video.cdn.example:{port}:127.0.0.1");
        let url = format!("{scheme}://video.cdn.example:{port}/a");
        let args = ["-s", "-i", "--cacert", ca, "--resolve", &resolve, &url];
        run("curl", &[&args[..], more].concat()).map(|text| text.to_ascii_lowercase())
    };
    // The port was chosen when it listened, so the usual one is said.
    let secure = "location: https://video.cdn.example/a\r\n";
    for (scheme, more, expected) in [
        (
            "https",
            &["--http2"][..],
            &["http/2 302", "vary: accept", "strict-transport-security: max-age=600"][..],
        ),
        (
            "https",
            &["--http1.1"],
            &["http/1.1 302", "content-length: 0", "strict-transport-security: max-age=600"],
        ),
        ("https", &["-I"], &["302", "content-length: 0"]),
        ("https", &["-X", "POST"], &["405", "allow: get, head, options"]),
        ("https", &["-X", "OPTIONS"], &["204", "allow: get, head, options"]),
        (
            "https",
            &["-X", "OPTIONS", "--http1.1", "--request-target", "*"],
            &["204", "allow: get, head, options"],
        ),
        ("http", &[], &["302", secure]),
        ("http", &["--http2"], &["302", secure]),
        ("http", &["--http2-prior-knowledge"], &["302", secure]),
        ("http", &["-X", "POST"], &["307", secure]),
    ] {
        let Some(text) = ask(scheme, more) else { return };
        for expected in expected {
            assert!(text.contains(expected), "{scheme} {more:?}: {expected}: {text}");
        }
        assert!(scheme == "https" || !text.contains("strict-transport"), "{text}");
    }
    // HEAD has the length of GET's body.
    let json = ["-H", "accept: application/json"];
    let (get, head) =
        (ask("https", &json).expect("curl"), ask("https", &[&json[..], &["-I"]].concat()).expect("curl"));
    let length =
        |text: &str| text.lines().find(|line| line.starts_with("content-length: ")).map(str::to_owned);
    assert!(length(&get).is_some() && length(&get) == length(&head), "{get} {head}");
}

/// Where `tests/tools.sh` puts packages of Python.
const PYTHON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../python");

#[test]
fn sslyze_finds_nothing_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = server(&dir);
    let https = steerd.https.expect("a listener").to_string();
    let python = |args: &[&str]| {
        let mut command = Command::new("python3");
        output_of("python3", command.args(args).env("PYTHONPATH", PYTHON))
    };
    if python(&["-c", "import sslyze; print('here')"]).is_none_or(|text| !text.contains("here")) {
        return missing("sslyze");
    }
    let Some(text) = python(&[
        "-m",
        "sslyze",
        "--sslv2",
        "--sslv3",
        "--tlsv1",
        "--tlsv1_1",
        "--tlsv1_2",
        "--tlsv1_3",
        "--elliptic_curves",
        "--heartbleed",
        "--openssl_ccs",
        "--robot",
        "--reneg",
        "--compression",
        "--fallback",
        "--resum",
        "--early_data",
        "--mozilla_config",
        "disable",
        "--sni",
        "video.cdn.example",
        &https,
    ]) else {
        return;
    };
    for wrong in ["VULNERABLE", "ERROR", "Traceback", "Unhandled"] {
        let is_wrong =
            |line: &&str| line.contains(wrong) && !line.contains("Not vulnerable") && !line.contains("OK - ");
        let found: Vec<&str> = text.lines().filter(is_wrong).collect();
        assert!(found.is_empty(), "{found:?}: {text}");
    }
    for expected in ["SSL 2.0 Cipher Suites", "TLS 1.3 Cipher Suites", "OK - Not vulnerable to Heartbleed"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    for version in ["SSL 2.0", "SSL 3.0", "TLS 1.0", "TLS 1.1"] {
        let refused = text.split(&format!("* {version} Cipher Suites")).nth(1).expect("a section");
        assert!(
            refused.lines().take(4).any(|line| line.contains("the server rejected all cipher suites")),
            "{version}: {text}"
        );
    }
}
