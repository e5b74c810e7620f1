//! Country rules on every surface, with the demo's GeoIP data: redirect, list, HEAD, DNS and explain say
//! the same.

use crate::harness::{Steerd, write_config};
use crate::{are_installed, ask, run};
use serde_json::Value;

/// `allow` is for the Netherlands only, `deny` for all but Germany, `alias` as `deny` with a place to send
/// its DNS clients to.
const TABLE: &str = r#"{"table":{"format":1,"epoch":1,"source":"test"}}
{"site":{"code":"ams1","lat":52.31,"lon":4.76}}
{"cluster":{"name":"ams1-any","site":"ams1","class":"transit"}}
{"appliance":{"name":"any-1","cluster":"ams1-any","ipv4":"192.0.2.10","hostname":"any-1.cdn.example","capacity_mbps":1000}}
{"service":{"name":"allow.cdn.example","geo":{"allow":["NL"]},"default_clusters":["ams1-any"]}}
{"service":{"name":"deny.cdn.example","geo":{"deny":["DE"]},"default_clusters":["ams1-any"]}}
{"service":{"name":"alias.cdn.example","geo":{"deny":["DE"]},"denied_alias":"sorry.other.example","default_clusters":["ams1-any"]}}
"#;

/// Clients in the Netherlands, in Germany, and nowhere that the data knows.
const CLIENTS: [(&str, Option<&str>); 3] =
    [("193.0.6.1", Some("NL")), ("217.0.0.1", Some("DE")), ("203.0.113.9", None)];

/// What curl prints of a request for `service` on behalf of `client`.
fn curl(steerd: &Steerd, service: &str, client: &str, more: &[&str]) -> String {
    let host = format!("Host: {service}.cdn.example");
    let from = format!("X-Forwarded-For: {client}");
    let url = format!("http://{}/title", steerd.http);
    let args = ["-s", "-H", &host, "-H", &from];
    run("curl", &[&args[..], more, &[&url]].concat()).expect("curl is here")
}

/// Checks all surfaces for a client of `country`, which `service` denies or does not.
fn check(steerd: &Steerd, service: &str, client: &str, country: Option<&str>, is_denied: bool) {
    let name = format!("{service}.cdn.example");
    let place = country.unwrap_or("a country that is not known");
    let status = if is_denied { "HTTP/1.1 451 Unavailable For Legal Reasons\r\n" } else { "HTTP/1.1 302 " };
    let refusal = format!("{name} is not available in {place}");
    let type_line = "Content-Type: text/plain; charset=utf-8\r\n";
    for head_only in [false, true] {
        let text = curl(steerd, service, client, if head_only { &["-I"] } else { &["-i"] });
        assert!(text.starts_with(status), "{client}: {text}");
        assert_eq!(text.contains(type_line) && text.contains("Vary: Accept\r\n"), is_denied, "{text}");
        assert_eq!(text.ends_with(&refusal), is_denied && !head_only, "{client}: {text}");
        let len = format!("Content-Length: {}\r\n", refusal.len());
        assert!(!is_denied || text.contains(&len), "{text}");
        assert!(text.contains("Cache-Control: no-store\r\n"), "{text}");
    }
    let list = curl(steerd, service, client, &["-H", "Accept: application/json"]);
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let denial = serde_json::json!(
        {"error": "not available in this country", "service": name, "country": country}
    );
    assert_eq!(list == denial, is_denied, "{client}: {list}");
    let explained = format!("/v1/explain?client={client}&service={name}");
    let explained = steerd.call("GET", &explained, b"").json();
    assert_eq!(explained["outcome"] == "denied", is_denied, "{client}: {explained}");
    let network = format!("+subnet={client}/32");
    let answer = ask("dig", steerd, &[&name, "A", &network, "+tries=1"]).expect("dig is here");
    let answered = answer.contains("192.0.2.10");
    let aliased = answer.contains("sorry.other.example.");
    assert!(answer.contains("status: NOERROR"), "{answer}");
    // A subnet that is nobody's leaves it to the peer, which is on loopback and so nowhere too.
    assert_eq!((answered, aliased), (!is_denied, is_denied && service == "alias"), "{client}: {answer}");
}

#[test]
fn every_surface_denies_the_same_clients() {
    if !are_installed(&["curl", "dig"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let steerd = Steerd::start(&write_config(dir.path(), ""));
    assert_eq!(steerd.call("PUT", "/v1/table", TABLE.as_bytes()).status, 200);
    let mut denied = 0;
    for (client, country) in CLIENTS {
        for service in ["allow", "deny", "alias"] {
            let is_denied = if service == "allow" { country != Some("NL") } else { country == Some("DE") };
            check(&steerd, service, client, country, is_denied);
            denied += u32::from(is_denied);
        }
    }
    // Two redirects, a list and a query for each.
    let metrics = steerd.call("GET", "/metrics", b"").body;
    for (name, count) in [
        ("steerd_decisions_denied_total", denied * 4),
        ("steerd_http_requests_total{outcome=\"denied\"}", denied * 3),
    ] {
        assert!(metrics.contains(&format!("{name} {count}\n")), "{name}: {metrics}");
    }
}
