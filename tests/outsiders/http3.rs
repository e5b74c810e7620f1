//! Redirects over HTTP/3 as others ask for them: aioquic, by `http3.py`, beside `curl` over HTTP/2.

use super::attacks::start_with;
use super::harness::Steerd;
use super::{missing, output_of, run};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

/// Where `tests/tools.sh` puts aioquic.
const PYTHON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../aioquic");

/// What asks.
const ASKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outsiders/http3.py");

/// Whom it asks for.
const HOST: &str = "video.cdn.example";

/// Serves the small demo fleet over HTTP/3 too.
fn start(dir: &Path) -> Steerd {
    start_with(dir, "http3 = true\n", "head_octets = 16384\n")
}

/// A command that asks for `requests` at once.
fn asker(steerd: &Steerd, dir: &Path, more: &[&str], requests: &[Value]) -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", PYTHON).arg(ASKER).arg(steerd.https.expect("a listener").port().to_string());
    command.arg(dir.join("a.pem")).arg(HOST).args(more).args(requests.iter().map(Value::to_string));
    command
}

/// Whether there is aioquic.
fn is_installed() -> bool {
    let mut command = Command::new("python3");
    command.args(["-c", "import aioquic; print('here')"]).env("PYTHONPATH", PYTHON);
    let is_here = output_of("python3", &mut command).is_some_and(|text| text.contains("here"));
    if !is_here {
        missing("aioquic");
    }
    is_here
}

/// What comes back for `requests`.
fn ask(steerd: &Steerd, dir: &Path, requests: &[Value]) -> Vec<Value> {
    let told = output_of("python3", &mut asker(steerd, dir, &[], requests)).expect("python3 is here");
    told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The same of `curl` over HTTP/2.
fn ask_http2(steerd: &Steerd, dir: &Path, request: &Value) -> Option<Value> {
    let port = steerd.https.expect("a listener").port();
    let (ca, resolve) = (dir.join("a.pem"), format!("{HOST}:{port}:127.0.0.1"));
    let path = request["path"].as_str().expect("a path");
    let url = format!("https://{HOST}:{port}{path}");
    let mut args =
        vec!["-s", "-i", "--http2", "--cacert", ca.to_str().expect("UTF-8"), "--resolve", &resolve, &url];
    let fields = request["fields"].as_object().into_iter().flatten();
    let host = request.get("host").map(|host| ("host", host));
    let fields = fields.map(|(name, value)| (name.as_str(), value)).chain(host);
    let fields: Vec<String> =
        fields.map(|(name, value)| format!("{name}: {}", value.as_str().expect("text"))).collect();
    fields.iter().for_each(|field| args.extend(["-H", field]));
    match request["method"].as_str() {
        Some("HEAD") => args.push("-I"),
        Some(method) => args.extend(["-X", method]),
        None => {}
    }
    let body = request["body"].as_str();
    body.into_iter().for_each(|body| args.extend(["-H", "content-type:", "-d", body]));
    let text = run("curl", &args)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{args:?}: {text}"));
    let (status, lines) = head.split_once("\r\n").expect("a status");
    let status: u64 = status.split_whitespace().nth(1).and_then(|code| code.parse().ok()).expect("a number");
    let fields = lines.lines().map(|line| line.split_once(": ").expect("a field"));
    let fields: serde_json::Map<String, Value> =
        fields.map(|(name, value)| (name.to_owned(), value.into())).collect();
    Some(json!({ "status": status, "fields": fields, "body": body }))
}

/// `answer` without what differs from one answer to the next: when it was, which decision, which session.
fn lasting(mut answer: Value) -> Value {
    if let Some(fields) = answer["fields"].as_object_mut() {
        assert!(fields.remove("date").is_some(), "a date");
    }
    if let Ok(mut body) = serde_json::from_str::<Value>(answer["body"].as_str().unwrap_or_default()) {
        for key in ["decision", "RELOAD-URI"] {
            if let Some(value) = body.get_mut(key) {
                *value = "once".into();
            }
        }
        answer["body"] = body;
    }
    answer
}

#[test]
fn rfc9114_answers_are_those_of_http2() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path());
    if !is_installed() {
        return;
    }
    let client = json!({ "x-forwarded-for": "193.0.6.1" });
    let list = json!({ "x-forwarded-for": "193.0.6.1", "accept": "application/json" });
    let steer = json!({ "client": "193.0.6.1", "service": HOST, "path": "/a" }).to_string();
    let requests = [
        json!({ "path": "/title/1/seg%201.m4s?a=b&c", "fields": client }),
        json!({ "path": "/a", "fields": list }),
        json!({ "path": "/steering/video.cdn.example", "fields": client }),
        json!({ "path": "/steering/video.cdn.example?_DASH_pathway=%22a%22", "fields": client }),
        // No list: aioquic holds a length without a body against HEAD too (RFC 9110 section 8.6 does not).
        json!({ "path": "/a", "method": "HEAD", "fields": client }),
        json!({ "path": "/a", "method": "OPTIONS" }),
        // curl is not sent with it: it fails now and then where HTTP/2 resets what it uploads without an error.
        json!({ "path": "/a", "method": "POST", "unread": "a body that nobody reads" }),
        // Here it is read.
        json!({ "path": "/v1/steer", "method": "POST", "host": "steer.example", "body": steer }),
        json!({ "path": "/a", "fields": { "x-forwarded-for": "2001:67c:2e8::1" } }),
        json!({ "path": "/steering/nobody.example" }),
    ];
    let answers = ask(&steerd, dir.path(), &requests);
    assert_eq!(answers.len(), requests.len(), "{answers:?}");
    for (request, answer) in requests.iter().zip(answers) {
        let Some(expected) = ask_http2(&steerd, dir.path(), request) else { return };
        if expected["status"] == 302 {
            // The port was chosen when it listened, so the usual one is said.
            assert_eq!(expected["fields"]["alt-svc"], "h3=\":443\"; ma=86400", "{expected}");
        }
        assert_eq!(lasting(answer), lasting(expected), "{request}");
    }
    let text = steerd.call("GET", "/metrics", b"").body;
    for (outcome, count) in [("redirected", 10), ("listed", 2), ("steered", 4), ("advised", 2)] {
        let line = format!("steerd_http_requests_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(text.contains(&line), "{line}: {text}");
    }
    // One over QUIC, the others by curl.
    assert!(text.contains("steerd_tls_connections_total{result=\"established\"} 11"), "{text}");
}

#[test]
fn many_requests_share_a_connection_and_a_large_head_ends_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = start(dir.path());
    if !is_installed() {
        return;
    }
    let mut requests: Vec<Value> = (0..300).map(|at| json!({ "path": format!("/{at}") })).collect();
    requests[7] = json!({ "path": "/", "fields": { "x": "x".repeat(17 << 10) } });
    let answers = ask(&steerd, dir.path(), &requests);
    let count = |status: u64| answers.iter().filter(|answer| answer["status"] == status).count();
    assert_eq!((count(302), count(431)), (299, 1), "{answers:?}");
}

#[test]
fn a_closing_server_ends_connections_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut steerd = start(dir.path());
    if !is_installed() {
        return;
    }
    let mut asker = asker(&steerd, dir.path(), &["--wait"], &[json!({ "path": "/a" })]);
    let mut asking = asker.stdout(Stdio::piped()).spawn().expect("python3 is here");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(asking.stdout.take().expect("piped")));
    let mut next = || -> Value {
        let line = lines.next().expect("a line").expect("UTF-8");
        serde_json::from_str(&line).expect("JSON")
    };
    assert_eq!(next()["status"], 302);
    steerd.terminate();
    // H3_NO_ERROR (RFC 9114 section 8.1).
    assert_eq!(next(), json!({ "ended": 0x100 }));
    assert!(asking.wait().expect("a child").success());
}
