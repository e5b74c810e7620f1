//! The whole API without sockets: requests go into the router, replies come out.

use super::*;
use crate::config::{Open, Right};
use crate::geo::Geography;
use crate::publish::Rules;
use crate::publish::store::Store;
use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// A small table at `epoch`: two sites, three clusters, five appliances, three routes.
fn table(epoch: u64) -> String {
    let appliance = |name: &str, cluster: &str, host: u8| {
        format!(
            "{{\"appliance\":{{\"name\":\"{name}\",\"cluster\":\"{cluster}\",\"ipv4\":\"192.0.2.{host}\",\
             \"hostname\":\"{name}.cdn.example\",\"capacity_mbps\":10000}}}}\n"
        )
    };
    let mut text = format!("{{\"table\":{{\"format\":1,\"epoch\":{epoch},\"source\":\"test\"}}}}\n");
    text.push_str("{\"site\":{\"code\":\"ams1\",\"lat\":52.31,\"lon\":4.76}}\n");
    text.push_str("{\"site\":{\"code\":\"fra1\",\"lat\":50.03,\"lon\":8.56}}\n");
    text.push_str("{\"cluster\":{\"name\":\"ams1-isp7\",\"site\":\"ams1\",\"class\":\"embedded\"}}\n");
    text.push_str("{\"cluster\":{\"name\":\"fra1-any\",\"site\":\"fra1\",\"class\":\"transit\"}}\n");
    text.push_str(&appliance("ams1-c001", "ams1-isp7", 10));
    text.push_str(&appliance("ams1-c002", "ams1-isp7", 11));
    text.push_str(&appliance("fra1-c001", "fra1-any", 20));
    text.push_str(&appliance("fra1-c002", "fra1-any", 21));
    text.push_str(&appliance("fra1-c003", "fra1-any", 22));
    text.push_str("{\"service\":{\"name\":\"video.cdn.example\",\"default_clusters\":[\"fra1-any\"]}}\n");
    for (prefix, cluster) in
        [("198.51.100.0/24", "ams1-isp7"), ("203.0.113.0/24", "ams1-isp7"), ("2001:db8::/32", "fra1-any")]
    {
        text.push_str(&format!(
            "{{\"route\":{{\"prefix\":\"{prefix}\",\"via\":[{{\"cluster\":\"{cluster}\"}}]}}}}\n"
        ));
    }
    text
}

/// The table of [`table`] without its first route.
fn table_without_a_route(epoch: u64) -> String {
    table(epoch).lines().filter(|line| !line.contains("198.51.100.0/24")).fold(
        String::new(),
        |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        },
    )
}

/// The time in tests: a second later at every look.
fn clock() -> UnixMs {
    static NOW: AtomicU64 = AtomicU64::new(1_800_000_000_000);
    UnixMs(NOW.fetch_add(1000, Ordering::Relaxed))
}

/// A publisher that keeps its state in `dir`.
fn publisher_in(dir: &std::path::Path) -> Publisher {
    let (store, recovered) = Store::open(dir, 5).expect("a store");
    let (geography, zones) = (Arc::new(Geography::empty()), Arc::default());
    Publisher::open(Rules::default(), store, recovered, geography, zones, clock()).0
}

/// The API of a node, and where its state is kept.
struct Node {
    state: Arc<ControlState>,
    router: Router,
    _dir: tempfile::TempDir,
}

/// What came back.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null when it is none.
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A header.
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Node {
    /// A node without a table that admits as `auth` says.
    fn with(auth: Auth) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let publisher = Arc::new(publisher_in(dir.path()));
        let reloaded = Arc::clone(&publisher);
        let state = Arc::new(ControlState {
            publisher,
            auth: ArcSwap::from_pointee(auth),
            audit: Arc::new(Audit::new()),
            clock,
            render_metrics: Arc::new(|| "# EOF\n".to_string()),
            reload: Arc::new(move |force| {
                let options = PushOptions { force, ..PushOptions::default() };
                let lines = table_without_a_route(77);
                reloaded.put(crate::publish::Pushed::text(lines.as_bytes()), options, clock())
            }),
            take_key: |_, path| Cow::Borrowed(path.as_bytes()),
            advise: Arc::new(|_, asked| (StatusCode::OK, asked.to_vec())),
            is_draining: Arc::default(),
            body_octets_max: 100_000,
            node: "node-1".to_string(),
        });
        let router = router(Arc::clone(&state));
        Self { state, router, _dir: dir }
    }

    /// A node without tokens and without a table.
    fn new() -> Self {
        Self::with(Auth::loopback_only(Open::default()))
    }

    /// A node without tokens that serves [`table`] at epoch 42.
    async fn serving() -> Self {
        let node = Self::new();
        let answer = node.put("/v1/table", &table(42)).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        node
    }

    /// Sends any request.
    async fn send(
        &self,
        peer: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body.into()).expect("a request");
        request.extensions_mut().insert(Peer(peer.parse::<SocketAddr>().expect("a peer")));
        let response = TowerToHyperService::new(self.router.clone()).call(request).await.expect("a response");
        let (head, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes().to_vec();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// Sends a request from this machine, as a good client does.
    async fn call(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let form = if path.starts_with("/v1/table") && !path.contains("roll") { body::LINES } else { JSON };
        self.send("127.0.0.1:5", method, path, &[("host", "localhost:9053"), ("content-type", form)], body)
            .await
    }

    /// GET.
    async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, Body::empty()).await
    }

    /// PUT of text.
    async fn put(&self, path: &str, body: &str) -> Answer {
        self.call(Method::PUT, path, body.to_string()).await
    }

    /// PUT of JSON, for its status and reply.
    async fn put_json(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = self.put(path, &body.to_string()).await;
        (answer.status, answer.json())
    }

    /// The epoch it serves.
    fn epoch(&self) -> Option<u64> {
        self.state.publisher.load().epoch().map(crate::units::Epoch::get)
    }
}

/// The media type of JSON.
const JSON: &str = "application/json";

#[tokio::test]
async fn every_route_is_served_and_answers_as_it_says() {
    let node = Node::serving().await;
    for route in ROUTES {
        // That the status is one the document names is asserted where it is answered.
        let answer = node.call(route.verb.method(), route.path, Body::empty()).await;
        assert_ne!(answer.status, 405, "{}", route.path);
        assert!(!answer.json()["message"].to_string().contains("nothing at"), "{}", route.path);
        assert!(route.statuses.contains(&answer.status), "{} {}", route.path, answer.status);
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_in_json() {
    let node = Node::new();
    let answer = node.get("/v1/tables").await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (404, Some("not_found")));
    let answer = node.call(Method::POST, "/v1/table", Body::empty()).await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (405, Some("method_not_allowed")));
    let mut allowed: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "PATCH", "PUT"]);
    assert_eq!(node.call(Method::OPTIONS, "/v1/table", Body::empty()).await.status, 405);
}

#[tokio::test]
async fn a_push_says_what_it_did_and_the_same_again_nothing() {
    let node = Node::new();
    assert_eq!(node.get("/v1/table").await.status, 404);
    let first = node.put("/v1/table", &table(42)).await;
    let told = first.json();
    assert_eq!(first.status, 200, "{told}");
    assert_eq!((told["epoch"].as_u64(), told["dry_run"].as_bool()), (Some(42), Some(false)));
    assert_eq!(told["counts"]["appliances"], 5);
    assert_eq!(told["diff"]["prefixes_added"], 3);
    assert!(told["generation"].is_u64() && told["compile_ms"].is_u64());
    let again = node.put("/v1/table", &table(42)).await;
    assert_eq!(again.status, 200);
    assert!(again.json()["diff"].as_object().expect("a diff").values().all(|count| *count == json!(0)));
    assert_eq!(node.epoch(), Some(42));
}

#[tokio::test]
async fn the_served_table_comes_back_in_both_forms() {
    let node = Node::serving().await;
    let lines = node.get("/v1/table").await;
    assert_eq!((lines.status, lines.header("content-type")), (200, body::LINES));
    let text = String::from_utf8(lines.body.clone()).expect("text");
    assert_eq!(text.lines().count(), table(42).lines().count());
    let digest = node.state.publisher.load().table().digest().to_string();
    assert_eq!(lines.header("etag"), format!("\"{digest}\""));
    let tag = format!("W/\"x\", \"{digest}\"");
    let same = node.send("127.0.0.1:5", Method::GET, "/v1/table", &[("if-none-match", &tag)], "").await;
    assert_eq!((same.status, same.body.len()), (304, 0));

    let accept = [("accept", "text/html;q=0.1, application/vnd.steerd.table")];
    let artefact = node.send("127.0.0.1:5", Method::GET, "/v1/table", &accept, "").await;
    assert_eq!((artefact.status, artefact.header("content-type")), (200, body::ARTEFACT));
    for form in [body::ARTEFACT, "application/x-ndjson"] {
        let other = Node::new();
        let headers = [("host", "[::1]:9053"), ("content-type", form)];
        let body = if form == body::ARTEFACT { artefact.body.clone() } else { lines.body.clone() };
        assert_eq!(other.send("[::1]:5", Method::PUT, "/v1/table", &headers, body).await.status, 200);
        assert_eq!(other.state.publisher.load().table().digest(), digest);
    }
}

#[tokio::test]
async fn a_table_that_does_not_validate_changes_nothing() {
    let node = Node::serving().await;
    let bad =
        table(43).replace("192.0.2.10", "192.0.2.300").replace("\"203.0.113.0/24\"", "\"203.0.113.9/24\"");
    let answer = node.put("/v1/table", &bad).await;
    let told = answer.json();
    assert_eq!((answer.status, told["error"].as_str()), (400, Some("invalid")));
    let problems = told["problems"].as_array().expect("problems");
    assert_eq!(problems.len(), 2, "{told}");
    for key in ["line", "key", "found", "expected"] {
        assert!(problems.iter().all(|problem| problem.get(key).is_some()), "{key}");
    }
    assert_eq!(problems[0]["line"], 6);
    assert_eq!(node.epoch(), Some(42));
    assert_eq!(node.put("/v1/table?dryrun=1", &table(43)).await.status, 400);
    assert_eq!(node.epoch(), Some(42));
}

#[tokio::test]
async fn epochs_only_grow() {
    let node = Node::serving().await;
    for (epoch, without_a_route) in [(41, false), (42, true)] {
        let text = if without_a_route { table_without_a_route(epoch) } else { table(epoch) };
        let answer = node.put("/v1/table?force=1", &text).await;
        let told = answer.json();
        assert_eq!((answer.status, told["error"].as_str()), (409, Some("not_newer")), "{told}");
        assert_eq!((told["served_epoch"].as_u64(), told["highest_epoch"].as_u64()), (Some(42), Some(42)));
        assert_eq!(told["digest"].as_str().map(str::len), Some(64));
    }
    let answer = node.put("/v1/table?reset_epoch=41", &table(7)).await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (409, Some("wrong_reset")));
    assert_eq!(node.put("/v1/table?reset_epoch=42", &table(7)).await.status, 200);
    assert_eq!((node.epoch(), node.state.audit.resets()), (Some(7), 1));
}

#[tokio::test]
async fn deltas_are_against_the_served_epoch() {
    let node = Node::serving().await;
    let delta = |base, epoch| {
        let head = json!({"delta": {"format": 1, "base": base, "epoch": epoch}});
        let route = json!({"route": {"prefix": "198.51.101.0/24", "via": [{"cluster": "ams1-isp7"}]}});
        format!("{head}\n{route}\n")
    };
    let answer = node.call(Method::PATCH, "/v1/table", delta(41, 43)).await;
    let told = answer.json();
    assert_eq!((answer.status, told["error"].as_str()), (409, Some("wrong_base")), "{told}");
    assert_eq!((told["base"].as_u64(), told["served_epoch"].as_u64()), (Some(41), Some(42)));
    let answer = node.call(Method::PATCH, "/v1/table", delta(42, 43)).await;
    assert_eq!((answer.status, answer.json()["diff"]["prefixes_added"].as_u64()), (200, Some(1)));
    assert_eq!(node.epoch(), Some(43));
    let headers = [("host", "localhost"), ("content-type", body::ARTEFACT)];
    let answer = node.send("127.0.0.1:5", Method::PATCH, "/v1/table", &headers, "").await;
    assert_eq!(answer.status, 415);
}

#[tokio::test]
async fn guard_rails_stop_and_force_overrides_and_a_dry_run_only_tells() {
    let node = Node::serving().await;
    let answer = node.put("/v1/table", &table_without_a_route(43)).await;
    let told = answer.json();
    assert_eq!((answer.status, told["error"].as_str()), (422, Some("guarded")), "{told}");
    assert!(told["guard"].is_string() && told["found"].is_number() && told["limit"].is_number());
    assert_eq!(told["guards"][0]["guard"], told["guard"]);
    let dry = node.put("/v1/table?dry_run=1", &table_without_a_route(43)).await;
    assert_eq!(dry.status, 200, "{}", dry.json());
    assert_eq!(
        (dry.json()["dry_run"].as_bool(), dry.json()["guards"].clone()),
        (Some(true), told["guards"].clone())
    );
    assert_eq!(node.epoch(), Some(42));
    assert_eq!(node.put("/v1/table?force=1", &table_without_a_route(43)).await.status, 200);
    assert_eq!((node.epoch(), node.state.audit.forced()), (Some(43), 1));
    let dry = node.put("/v1/table?dry_run=1", &table(44)).await;
    assert_eq!(dry.json()["guards"], json!([]));
}

#[tokio::test]
async fn older_epochs_are_kept_and_served_again() {
    let node = Node::serving().await;
    assert_eq!(node.put("/v1/table", &table(43)).await.status, 200);
    let kept = node.get("/v1/table/history").await.json();
    let epochs: Vec<_> =
        kept["epochs"].as_array().expect("a list").iter().map(|kept| kept["epoch"].as_u64()).collect();
    assert!(epochs.contains(&Some(42)) && epochs.contains(&Some(43)), "{kept}");
    let rollback = async |body: &'static str| node.call(Method::POST, "/v1/table/rollback", body).await;
    let answer = rollback(r#"{"epoch":9}"#).await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (404, Some("not_kept")));
    assert_eq!(rollback(r#"{"epoch":0}"#).await.status, 404);
    let answer = rollback(r#"{"epoch":"42"}"#).await;
    assert_eq!((answer.status, answer.json()["problems"][0]["key"].as_str()), (400, Some("epoch")));
    let answer = rollback(r#"{"epoch":42}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert_eq!(node.epoch(), Some(42));
    assert_eq!(node.put("/v1/table", &table(43)).await.status, 409);
}

#[tokio::test]
async fn a_reload_meets_the_guards_too() {
    let node = Node::serving().await;
    assert_eq!(node.call(Method::POST, "/v1/table/reload", "").await.status, 422);
    assert_eq!(node.call(Method::POST, "/v1/table/reload?force=1", "").await.status, 200);
    assert_eq!(node.epoch(), Some(77));
}

#[tokio::test]
async fn bodies_are_capped_as_sent_and_decompressed() {
    let node = Node::new();
    let zeros = vec![b' '; 200_000];
    let answer = node.call(Method::PUT, "/v1/table", zeros.clone()).await;
    assert_eq!((answer.status, answer.json()["limit"].as_u64()), (413, Some(100_000)));
    let gzip = |octets: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(octets).expect("memory");
        encoder.finish().expect("memory")
    };
    let zstd = |octets: &[u8]| zstd::encode_all(octets, 3).expect("memory");
    let send = async |encoding: &str, body: Vec<u8>| {
        let headers = [("host", "localhost"), ("content-type", body::LINES), ("content-encoding", encoding)];
        node.send("127.0.0.1:5", Method::PUT, "/v1/table", &headers, body).await.status
    };
    assert_eq!(send("gzip", gzip(&zeros)).await, 413);
    assert_eq!(send("zstd", zstd(&zeros)).await, 413);
    assert_eq!(send("gzip", table(1).into_bytes()).await, 400);
    assert_eq!(send("br", gzip(table(1).as_bytes())).await, 415);
    assert_eq!(node.epoch(), None);
    assert_eq!(send("gzip", gzip(table(1).as_bytes())).await, 200);
    assert_eq!(send("zstd", zstd(table(2).as_bytes())).await, 200);
    assert_eq!(send("identity", table(3).into_bytes()).await, 200);
}

#[tokio::test]
async fn web_pages_and_other_machines_push_nothing() {
    let node = Node::new();
    for (peer, host, form) in [
        ("127.0.0.1:5", "rebound.example:9053", body::LINES),
        ("127.0.0.1:5", "localhost:9053", "text/plain"),
        ("127.0.0.1:5", "localhost:9053", "application/x-www-form-urlencoded"),
        ("192.0.2.1:5", "localhost:9053", body::LINES),
    ] {
        let headers = [("host", host), ("content-type", form), ("origin", "https://evil.example")];
        let answer = node.send(peer, Method::PUT, "/v1/table", &headers, table(1)).await;
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (403, Some("forbidden")),
            "{host} {form}"
        );
    }
    assert_eq!(node.epoch(), None);
    assert_eq!(node.state.audit.count(Act::Table, Outcome::Forbidden), 4);
}

#[tokio::test]
async fn tokens_are_asked_for_and_may_be_sent_from_anywhere() {
    let auth =
        Auth::loopback_only(Open::default()).with_token("push.token", "push-secret\n", &[Right::Table]);
    let node = Node::with(auth.expect("a token"));
    let push = async |headers: &[(&str, &str)]| {
        node.send("192.0.2.1:5", Method::PUT, "/v1/table", headers, table(1)).await
    };
    let answer = push(&[]).await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (401, Some("unauthorized")));
    assert!(answer.header("www-authenticate").starts_with("Bearer"));
    assert_eq!(push(&[("authorization", "Bearer wrong")]).await.status, 401);
    assert_eq!(node.epoch(), None);
    let token = ("authorization", "Bearer push-secret");
    assert_eq!(push(&[token, ("content-type", "multipart/form-data")]).await.status, 415);
    assert_eq!(push(&[token]).await.status, 200);
    let answer = node.send("192.0.2.1:5", Method::GET, "/v1/status", &[token], "").await;
    assert_eq!((answer.status, answer.json()["error"].as_str()), (403, Some("forbidden")));
    assert_eq!(node.send("192.0.2.1:5", Method::GET, "/healthz", &[], "").await.status, 200);
    assert_eq!(node.send("192.0.2.1:5", Method::GET, "/metrics", &[], "").await.status, 401);
    let counts = [Outcome::Unauthorized, Outcome::UnknownForm, Outcome::Accepted];
    assert_eq!(counts.map(|outcome| node.state.audit.count(Act::Table, outcome)), [2, 1, 1]);
    node.state.auth.store(Arc::new(Auth::loopback_only(Open::default())));
    assert_eq!(push(&[token]).await.status, 403);
}

#[tokio::test]
async fn health_merges_in_order_and_says_what_it_ignored() {
    let node = Node::serving().await;
    let down = json!({"appliance": "fra1-c001", "state": "down", "reason": "disk"});
    let stranger = json!({"appliance": "gone", "state": "up"});
    let (status, told) = node.put_json("/v1/health", json!([down, stranger])).await;
    assert_eq!((status, told), (200, json!({"applied": 1, "ignored": ["gone"]})));
    let ordered = |seq| json!({"from": "monitor-1", "seq": seq, "states": [{"appliance": "fra1-c002", "state": "draining"}]});
    assert_eq!(node.put_json("/v1/health", ordered(7)).await.0, 200);
    let (status, told) = node.put_json("/v1/health", ordered(7)).await;
    assert_eq!((status, told["error"].as_str(), told["last"].as_u64()), (409, Some("old_seq"), Some(7)));
    let (status, told) = node.put_json("/v1/health", json!([{"appliance": "x", "state": "sick"}])).await;
    assert_eq!((status, told["problems"][0]["key"].as_str()), (400, Some("[0].state")));

    let beliefs = node.get("/v1/health").await.json();
    let of = |name: &str| {
        let states = beliefs["states"].as_array().expect("a list");
        states.iter().find(|state| state["appliance"] == name).cloned().expect("an appliance")
    };
    assert_eq!(
        (of("fra1-c001")["state"].clone(), of("fra1-c001")["reason"].clone()),
        (json!("down"), json!("disk"))
    );
    assert_eq!(
        (of("fra1-c002")["state"].clone(), of("fra1-c002")["source"].clone()),
        (json!("draining"), json!("push"))
    );
    assert_eq!(
        (of("ams1-c001")["state"].clone(), of("ams1-c001")["source"].clone()),
        (json!("up"), json!("unknown"))
    );
}

#[tokio::test]
async fn heartbeats_come_one_by_one() {
    let node = Node::serving().await;
    let beat = async |body: Value| node.call(Method::POST, "/v1/heartbeat", body.to_string()).await;
    let answer = beat(json!({"appliance": "ams1-c001", "state": "up", "load": 0.5})).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"applied": 1, "ignored": []})));
    let answer = beat(json!({"appliance": "gone", "state": "up"})).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"applied": 0, "ignored": ["gone"]})));
    assert_eq!(beat(json!([])).await.status, 400);
    assert_eq!(beat(json!({"appliance": "ams1-c001", "state": "up", "load": -1})).await.status, 400);
    let counts = [Outcome::Accepted, Outcome::Invalid];
    assert_eq!(counts.map(|outcome| node.state.audit.count(Act::Heartbeat, outcome)), [2, 2]);
}

#[tokio::test]
async fn overrides_are_set_listed_and_ended() {
    let node = Node::serving().await;
    let (status, told) = node
        .put_json(
            "/v1/override",
            json!({"match": {"site": "fra1"}, "state": "down", "for_s": 1800, "why": "works"}),
        )
        .await;
    assert_eq!((status, told["matched"].as_u64()), (200, Some(3)), "{told}");
    assert!(told["until"].as_str().is_some_and(|until| until.ends_with('Z')));
    let listed = node.get("/v1/override").await.json();
    assert_eq!(listed["overrides"][0]["match"], json!({"site": "fra1"}));
    assert_eq!(
        (listed["overrides"][0]["state"].clone(), listed["overrides"][0]["why"].clone()),
        (json!("down"), json!("works"))
    );
    for bad in [
        json!({"match": {"site": "fra1"}, "state": "down", "for_s": 0}),
        json!({"match": {"site": ""}, "state": "down"}),
        json!({"match": {"region": "eu"}, "state": "down"}),
        json!({"match": {"site": "fra1"}, "state": "down", "until": 3}),
    ] {
        assert_eq!(node.put_json("/v1/override", bad.clone()).await.0, 400, "{bad}");
    }
    let end = async |body: &'static str| node.call(Method::DELETE, "/v1/override", body).await.status;
    assert_eq!(end(r#"{"match":{"site":"ams1"}}"#).await, 404);
    assert_eq!(end(r#"{"match":{"site":"fra1"}}"#).await, 200);
    assert_eq!(end(r#"{"match":{"site":"fra1"}}"#).await, 404);
    assert_eq!(node.get("/v1/override").await.json()["overrides"], json!([]));
}

#[tokio::test]
async fn decisions_are_explained() {
    let node = Node::new();
    let ask = "/v1/explain?client=198.51.100.7&service=video.cdn.example";
    let early = node.get(ask).await;
    assert_eq!((early.status, early.header("retry-after")), (503, "1"));
    assert_eq!(node.put("/v1/table", &table(42)).await.status, 200);
    let told = node.get(ask).await.json();
    assert_eq!(
        (told["match"].as_str(), told["prefix"].as_str()),
        (Some("route"), Some("198.51.100.0/24")),
        "{told}"
    );
    assert_eq!(told["epoch"], 42);
    let by_name = "/v1/explain?client=198.51.100.0/25&service=VIDEO.cdn.example.&type=A";
    for (path, status) in [("/a?b=1", 200), ("%2Fa%3Fb=1%26c=2", 200), ("/a?b=1&c=2", 400)] {
        assert_eq!(node.get(&format!("{by_name}&path={path}")).await.status, status, "{path}");
    }
    assert_eq!(node.get("/v1/explain?client=198.51.100.7&service=other.example").await.status, 404);
    let answer = node.get("/v1/explain?client=nobody&service=video.cdn.example&type=MX").await;
    let keys: Vec<_> =
        answer.json()["problems"].as_array().expect("problems").iter().map(|p| p["key"].clone()).collect();
    assert_eq!((answer.status, keys), (400, vec![json!("client"), json!("type")]));
}

#[tokio::test]
async fn readiness_follows_table_and_shutdown() {
    let node = Node::new();
    let ready = async || node.get("/readyz").await.status;
    assert_eq!((node.get("/healthz").await.status, ready().await), (200, 503));
    assert_eq!(node.put("/v1/table", &table(1)).await.status, 200);
    assert_eq!(ready().await, 200);
    node.state.is_draining.store(true, Ordering::Relaxed);
    assert_eq!((node.get("/healthz").await.status, ready().await), (200, 503));
}

#[tokio::test]
async fn state_is_told_to_programs_and_people() {
    let node = Node::serving().await;
    let told = node.get("/v1/status").await.json();
    assert_eq!((told["node"].as_str(), told["epoch"].as_u64()), (Some("node-1"), Some(42)), "{told}");
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((told["digest"].as_str().map(str::len), told["judged_broken"].clone()), (Some(64), json!([])));
    assert_eq!((told["ready"].as_bool(), told["draining"].as_bool()), (Some(true), Some(false)));
    let metrics = node.get("/metrics").await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    assert_eq!(metrics.body, b"# EOF\n");
    let page = node.get("/").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert!(String::from_utf8_lossy(&page.body).contains("<td>42"));
    assert_eq!(node.get("/v1/openapi.json").await.json()["openapi"], "3.1.0");
    let head = node.call(Method::HEAD, "/v1/status", Body::empty()).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK.as_u16(), 0));
}
