//! The access log as those who read it meet it: files that are rotated, syslog, readers that stop, and
//! the log of an appliance that joins it.

use crate::harness::{Steerd, write_config};
use crate::{are_installed, ask, run};
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::thread::{self, yield_now};
use std::time::Duration;

/// Serves one appliance at `appliance`; what is logged and how is in `http` and `log`.
fn start(dir: &Path, http: &str, log: &str, appliance: SocketAddr) -> Steerd {
    let config = write_config(dir, &format!("[access_log]\n{log}\n"));
    let text = fs::read_to_string(&config).expect("a config");
    fs::write(&config, text.replace("[http]\n", &format!("[http]\n{http}\n"))).expect("written");
    let steerd = Steerd::start(&config);
    let (addr, port) = (appliance.ip(), appliance.port());
    let table = format!(
        r#"{{"table":{{"format":1,"epoch":9,"source":"test"}}}}
{{"site":{{"code":"ams1","lat":52.31,"lon":4.76}}}}
{{"cluster":{{"name":"ams1-any","site":"ams1","class":"transit"}}}}
{{"appliance":{{"name":"any-1","cluster":"ams1-any","ipv4":"{addr}","capacity_mbps":1000}}}}
{{"service":{{"name":"video.cdn.example","scheme":"http","port":{port},"default_clusters":["ams1-any"]}}}}
"#
    );
    let reply = steerd.call("PUT", "/v1/table", table.as_bytes());
    assert_eq!(reply.status, 200, "{reply:?}");
    steerd
}

/// Nobody's address.
fn nowhere() -> SocketAddr {
    ([192, 0, 2, 1], 80).into()
}

/// Asks for `count` redirects on one connection, a hundred at a time, and waits for all.
fn ask_for_redirects(addr: SocketAddr, count: usize) {
    let mut stream = TcpStream::connect(addr).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut replies = BufReader::new(stream.try_clone().expect("a second handle"));
    let (mut asked, mut line) = (0, String::new());
    while asked < count {
        let now = (count - asked).min(100);
        let request = "GET /x HTTP/1.1\r\nHost: video.cdn.example\r\n\r\n";
        stream.write_all(request.repeat(now).as_bytes()).expect("sent");
        let mut answered = 0;
        while answered < now {
            line.clear();
            assert!(replies.read_line(&mut line).expect("a reply in time") > 0);
            answered += usize::from(line.starts_with("HTTP/1.1 302 "));
        }
        asked += now;
    }
}

/// The lines of `text`, each of which is JSON.
fn lines(text: &str) -> Vec<Value> {
    let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(read).collect()
}

/// Lines of the log that became `what`, as the metrics say.
fn counted(steerd: &Steerd, what: &str) -> usize {
    let metrics = steerd.call("GET", "/metrics", b"").body;
    let name = format!("steerd_access_log_lines_total{{result=\"{what}\"}} ");
    let found = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
    found.unwrap_or_else(|| panic!("{name}: {metrics}"))
}

/// Sends a signal.
fn signal(steerd: &Steerd, name: &str) {
    let told = Command::new("kill").args([name, &steerd.pid().to_string()]).status();
    assert!(told.expect("kill runs").success());
}

/// Answers one request as an appliance would, and gives the target it logs.
fn serve_once(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().expect("a player");
    let mut line = String::new();
    let mut head = BufReader::new(stream.try_clone().expect("a second handle"));
    head.read_line(&mut line).expect("a request line");
    let mut rest = String::new();
    while head.read_line(&mut rest).expect("a head") > 2 {
        rest.clear();
    }
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nmovie")
        .expect("sent");
    line.split(' ').nth(1).expect("a target").to_owned()
}

#[test]
fn the_log_of_an_appliance_joins_by_the_id_in_the_query() {
    if !are_installed(&["curl", "dig"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let appliance = TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = appliance.local_addr().expect("bound");
    let log = "to = \"access.log\"\ndns = true\npaths = true";
    let mut steerd = start(dir.path(), "decision_query = \"steer\"", log, at);
    let serving = thread::spawn(move || serve_once(&appliance));
    let url = format!("http://{}/title?steer=0123456789abcdef&t=%0a", steerd.http);
    let fields = ["-H", "Host: video.cdn.example", "-H", "X-Forwarded-For: 193.0.6.1"];
    let body = run("curl", &[&["-s", "-L", "--max-time", "20"], &fields[..], &[&url]].concat());
    assert_eq!(body.as_deref(), Some("movie"));
    let target = serving.join().expect("an appliance");
    let listed = run("curl", &[&["-s"], &fields[..], &[&format!("{url}&format=json")]].concat());
    let listed: Value = serde_json::from_str(&listed.expect("curl is here")).expect("JSON");
    assert!(ask("dig", &steerd, &["video.cdn.example", "A", "+subnet=193.0.6.0/24", "+tries=1"]).is_some());
    steerd.terminate();
    let logged = lines(&fs::read_to_string(dir.path().join("access.log")).expect("a log"));
    let [redirect, list, query] = &logged[..] else { panic!("{logged:?}") };
    // What the appliance logged is what was decided, and not what the player brought.
    let id = redirect["decision"].as_str().expect("an id");
    assert_eq!(target, format!("/title?t=%0a&steer={id}"));
    assert_eq!((&list["decision"], &list["outcome"]), (&listed["decision"], &"listed".into()));
    let said = |line: &Value, names: &[&str]| {
        let texts = names.iter().map(|name| line[name].as_str().unwrap_or("-").to_owned());
        texts.collect::<Vec<_>>().join(" ")
    };
    let all = ["kind", "peer", "client", "host", "method", "outcome", "service", "match", "appliance"];
    let expected = "http 127.0.0.1 193.0.6.1 video.cdn.example GET redirected video.cdn.example geo any-1";
    assert_eq!(said(redirect, &all), expected);
    assert_eq!(redirect["path"], "/title?steer=0123456789abcdef&t=%0a");
    let names = ["kind", "over", "client", "qname", "qtype", "rcode", "outcome", "appliance", "reason"];
    let expected = "dns udp 193.0.6.0/24 video.cdn.example A NOERROR steered any-1 healthy";
    assert_eq!(said(query, &names), expected);
}

#[test]
fn no_line_is_lost_or_doubled_when_the_file_is_rotated() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let mut steerd = start(dir.path(), "", "to = \"access.log\"", nowhere());
    let http = steerd.http;
    let mut asked = 0;
    let mut some = || {
        ask_for_redirects(http, 100);
        asked += 100;
    };
    some();
    // All that was asked for is in the first file before it is moved.
    while fs::read(&path).is_ok_and(|text| text.iter().filter(|octet| **octet == b'\n').count() < 100) {
        yield_now();
    }
    fs::rename(&path, &moved).expect("moved");
    some();
    signal(&steerd, "-HUP");
    // The new file is there while requests go on.
    while !path.exists() {
        some();
    }
    some();
    steerd.terminate();
    let read = |path: &Path| lines(&fs::read_to_string(path).expect("a log"));
    let (before, after) = (read(&moved), read(&path));
    assert!(before.len() >= 100 && !after.is_empty(), "{} and {}", before.len(), after.len());
    let ids: HashSet<&str> =
        before.iter().chain(&after).map(|line| line["decision"].as_str().expect("an id")).collect();
    assert_eq!((before.len() + after.len(), ids.len()), (asked, asked));
}

#[test]
fn a_reader_that_stops_delays_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let fifo = dir.path().join("fifo");
    if !Command::new("mkfifo").arg(&fifo).status().is_ok_and(|status| status.success()) {
        return;
    }
    // For reading and writing, so that opening it does not wait.
    let mut reader = fs::OpenOptions::new().read(true).write(true).open(&fifo).expect("a FIFO");
    let mut steerd = start(dir.path(), "", "to = \"fifo\"", nowhere());
    let count = 30_000;
    ask_for_redirects(steerd.http, count);
    let (queued, dropped) = (counted(&steerd, "queued"), counted(&steerd, "dropped"));
    assert_eq!(queued + dropped, count);
    assert!(dropped > 10_000, "{dropped} of {count} are dropped");
    // Nor does the end wait for it.
    steerd.terminate();
    // What got through is whole.
    let mut text = vec![0; 1 << 20];
    let len = reader.read(&mut text).expect("something");
    let text = String::from_utf8_lossy(&text[..len]);
    assert!(text.ends_with('\n') && lines(&text).len() > 100, "{text}");
}

#[test]
fn syslog_gets_a_message_a_line_and_delays_nobody() {
    let dir = tempfile::tempdir().expect("a directory");
    let daemon = UnixDatagram::bind(dir.path().join("log.sock")).expect("a socket");
    daemon.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let log = "to = \"syslog\"\nsyslog_socket = \"log.sock\"\nsyslog_facility = \"daemon\"";
    let steerd = start(dir.path(), "", log, nowhere());
    // The daemon's queue takes a few; nobody waits for it to read.
    ask_for_redirects(steerd.http, 1_000);
    assert_eq!(counted(&steerd, "queued"), 1_000);
    let mut message = vec![0; 8192];
    let mut ids = HashSet::new();
    for _ in 0..1_000 {
        let len = daemon.recv(&mut message).expect("a message in time");
        let text = std::str::from_utf8(&message[..len]).expect("UTF-8");
        let (header, line) = text.split_once(" - {").expect("a header and a line");
        let words: Vec<&str> = header.split(' ').collect();
        let [priority, time, _host, app, pid, kind] = words[..] else { panic!("{header}") };
        assert_eq!((priority, app, kind), ("<30>1", "steerd", "access"));
        assert_eq!(pid, steerd.pid().to_string());
        let line: Value = serde_json::from_str(&format!("{{{line}")).expect("JSON");
        assert_eq!(line["time"], time);
        assert!(ids.insert(line["decision"].to_string()), "{line} twice");
    }
}
