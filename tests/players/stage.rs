//! The scene of one test: steerd with a small table, an appliance or two a cluster, and a browser that knows them all
//! by name.
//!
//! Three clusters hear the browser's network. The manifests of every appliance name its own pathway and one other,
//! never `transit`: who streams from there has heard of it in a steering manifest.

use crate::appliances::{Access, Content, Log, Manner, serve};
use crate::browser::{self, Browser};
use crate::harness::{Steerd, write_config};
use crate::{media, missing};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The cluster that the table ranks first for the browser.
pub const NEAR: &str = "isp";
/// The second, which manifests name too.
pub const IX: &str = "ix";
/// The third, which no manifest names.
pub const TRANSIT: &str = "transit";

/// Clusters and their classes, in the order that the table ranks them.
const CLUSTERS: [(&str, &str); 3] = [(NEAR, "embedded"), (IX, "public_peering"), (TRANSIT, "transit")];

/// Appliances, as cluster, name and host.
const APPLIANCES: [[&str; 3]; 4] = [
    [NEAR, "isp-c001", "isp-c001.cdn.example"],
    [NEAR, "isp-c002", "isp-c002.cdn.example"],
    [IX, "ix-c001", "ix-c001.cdn.example"],
    [TRANSIT, "transit-c001", "transit-c001.cdn.example"],
];

/// The service, whose name is also where players ask first.
const SERVICE: &str = "video.cdn.example";

/// The port that a URL does not name.
const HTTP_PORT: u16 = 80;

/// Seconds that a steering manifest holds, in the config.
const TTL_S: u64 = 2;
/// The same as a player may see it: spread by a tenth.
const TTL: Duration = Duration::from_millis(TTL_S * 1100);
/// What a switch may take beyond a TTL: the second until a full buffer asks for the next segment, and a busy machine.
const GRACE: Duration = Duration::from_secs(6);
/// What a slow appliance sends, kbit/s: more than the media needs.
const SLOW_KBPS: u32 = 300;
/// Polls until a player that is slow from now on has said so as often as it has to.
const LOW_REPORTS: u32 = 5;
/// How long a browser and a player may take to begin.
const BEGIN: Duration = Duration::from_secs(60);
/// Segments of each stream that make a player settled.
const SETTLED: usize = 4;

/// A running scene.
pub struct Stage {
    /// What its files are called.
    name: &'static str,
    /// Where pictures and logs are left.
    left: PathBuf,
    log: Arc<Log>,
    steerd: Steerd,
    browser: Browser,
    /// How the appliances of the first cluster serve.
    near: Arc<Manner>,
    /// When it began; the log counts from here.
    start: Instant,
    /// When health was last pushed.
    pushed: Instant,
    /// The appliance that steerd ranks first.
    first: String,
    /// Profile and state, for as long as it runs.
    _dir: tempfile::TempDir,
}

/// The folder of build products.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a folder in the target folder")
}

/// What differs from test to test.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// A pathway from which a player gets less than this, kbit/s, is slow; 0: none is.
    pub demote_below_kbps: u32,
    /// Port of the appliances.
    pub port: u16,
}

impl Default for Setting {
    fn default() -> Self {
        Self { demote_below_kbps: 0, port: HTTP_PORT }
    }
}

/// The table.
fn table(setting: Setting) -> String {
    let mut lines = vec![
        json!({"table": {"format": 1, "epoch": 1}}),
        json!({"site": {"code": "ams1", "lat": 52.31, "lon": 4.76}}),
    ];
    for (cluster, class) in CLUSTERS {
        lines.push(json!({"cluster": {"name": cluster, "site": "ams1", "class": class}}));
    }
    for (index, [cluster, name, host]) in APPLIANCES.iter().enumerate() {
        let addr = format!("198.18.0.{}", 10 + index);
        lines.push(json!({"appliance": {"name": name, "cluster": cluster, "hostname": host, "ipv4": addr,
                                        "capacity_mbps": 1000, "status": "active"}}));
    }
    let named = |cluster: &str| json!({"id": cluster, "cluster": cluster});
    let cloned = json!({"id": TRANSIT, "cluster": TRANSIT, "clone_of": NEAR});
    let pathways = json!([named(NEAR), named(IX), cloned]);
    let service = json!({"name": SERVICE, "port": setting.port, "pathways": pathways});
    lines.push(json!({"service": service}));
    let via = CLUSTERS.map(|(cluster, _)| json!({"cluster": cluster}));
    lines.push(json!({"route": {"prefix": "127.0.0.0/8", "via": via}}));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Starts the appliances; each with its own manifests. Those of the first cluster serve as `near` says.
fn serve_all(port: u16, media: &Path, log: &Arc<Log>, near: &Arc<Manner>) -> Vec<(String, SocketAddr)> {
    let port = if port == HTTP_PORT { String::new() } else { format!(":{port}") };
    let start = |[cluster, _, host]: &[&str; 3]| {
        let other = if *cluster == IX { (NEAR, APPLIANCES[0][2]) } else { (IX, APPLIANCES[2][2]) };
        let pathways = [(*cluster, *host), other].map(|(id, host)| (id, format!("{host}{port}")));
        // Steering is asked for at a host of its own, or at the service's.
        let hls = media::multivariant(&format!("http://steering.example/steering/{SERVICE}"), &pathways);
        let steering = format!("http://{SERVICE}/steering/{SERVICE}?format=dash");
        let dash = media::presentation(Some(&steering), &pathways);
        let redirected = media::presentation(None, &[("any", SERVICE.to_owned())]);
        let texts = [("/main.m3u8", hls), ("/main.mpd", dash), ("/redirected.mpd", redirected)];
        let texts = texts.map(|(path, text)| (path.to_owned(), text)).into();
        let manner = if *cluster == NEAR { Arc::clone(near) } else { Arc::default() };
        let content = Content { texts, folders: vec![media.to_owned()], manner };
        ((*host).to_owned(), serve(host, content, Arc::clone(log)))
    };
    APPLIANCES.iter().map(start).collect()
}

/// Segments of `kind` in the log, from `since` on.
fn segments<'a>(lines: &'a [Access], since: Instant, kind: &str) -> impl Iterator<Item = &'a Access> {
    lines.iter().filter(move |line| line.at >= since && line.segment_of() == Some(kind))
}

/// The browser, where all else is there too; what is not is told.
fn everything(players: &Path) -> Option<PathBuf> {
    let browser = browser::program();
    let programs = [("chromium", browser.is_some()), ("ffmpeg", crate::path_of("ffmpeg").is_some())];
    let players = ["hls.js", "dashjs", "shaka-player"].map(|name| (name, players.join(name).is_dir()));
    match programs.iter().chain(&players).find(|(_, is_there)| !is_there) {
        Some((what, _)) => {
            missing(what);
            None
        }
        None => browser,
    }
}

impl Stage {
    /// Sets it up; `None` where a program or the players are missing.
    pub fn start(name: &'static str, setting: Setting) -> Option<Self> {
        let left = target().join("players");
        let players = left.join("node_modules");
        let program = everything(&players)?;
        let dir = tempfile::tempdir().expect("a directory");
        let more = format!(
            "[health]\nramp_s = 0\n[steering]\nttl_s = {TTL_S}\nttl_unhealthy_s = {TTL_S}\nurl = \"http://steering.example\"\ndemote_below_kbps = {}\n",
            setting.demote_below_kbps
        );
        let config = write_config(dir.path(), &more);
        // A page of another origin reads where it is redirected to.
        let text = std::fs::read_to_string(&config).expect("just written");
        std::fs::write(&config, text.replace("[http]\n", "[http]\ncors = true\n")).expect("just written");
        let steerd = Steerd::start(&config);
        let pushed = steerd.call("PUT", "/v1/table", table(setting).as_bytes());
        assert_eq!(pushed.status, 200, "{}", pushed.body);
        let log = Arc::new(Log::default());
        let near = Arc::default();
        let mut hosts = serve_all(setting.port, &media::folder(&left), &log, &near);
        let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/players");
        let page = Content { folders: vec![pages, players], ..Content::default() };
        hosts.push(("page.example".to_owned(), serve("page.example", page, Arc::clone(&log))));
        hosts.extend([SERVICE, "steering.example"].map(|host| (host.to_owned(), steerd.http)));
        let browser = Browser::start(&program, dir.path(), &hosts);
        let start = Instant::now();
        let first = String::new();
        Some(Self { name, left, log, steerd, browser, near, start, pushed: start, first, _dir: dir })
    }

    /// Cluster and host of the appliance that steerd ranks first for the browser.
    fn ranked_first(&self, path: &str) -> (&'static str, &'static str) {
        let path = format!("/v1/explain?client=127.0.0.1&service={SERVICE}&path={path}");
        let explained = self.steerd.call("GET", &path, b"").json();
        let is_chosen = |[_, name, _]: &&[&str; 3]| explained["chosen"][0] == **name;
        let [cluster, _, host] = APPLIANCES.iter().find(is_chosen).expect("an appliance of the table");
        (cluster, host)
    }

    /// Opens a player's page, which asks steerd for the manifest as for any other file of the service.
    pub fn play(&mut self, page: &str, manifest: &str) {
        let (cluster, host) = self.ranked_first(&format!("/{manifest}"));
        assert_eq!(cluster, NEAR, "{host}");
        host.clone_into(&mut self.first);
        self.browser.open(&format!("http://page.example/{page}#http://{SERVICE}/{manifest}"));
    }

    /// Each segment comes from the appliance that steerd ranks first for its path.
    pub fn expect_redirects(&mut self) {
        let is_enough =
            |lines: &[Access]| (segments(lines, self.start, "video").count() >= 2 * SETTLED).then_some(());
        if self.log.wait(Instant::now() + BEGIN, is_enough).is_none() {
            self.fail("no segments");
        }
        let lines = self.log.lines();
        for line in ["video", "audio"].iter().flat_map(|kind| segments(&lines, self.start, kind)) {
            assert_eq!(self.ranked_first(&line.path), (NEAR, &*line.host), "{}", line.path);
        }
        println!("{}: each segment from the appliance ranked first for it", self.name);
    }

    /// The player starts on the appliance that steerd ranked first, and no other serves a segment.
    pub fn expect_first(&mut self) {
        let first = self.first.clone();
        self.settle_on(&first, Instant::now() + BEGIN, self.start, SETTLED);
        self.say("starts on", &first, self.start);
    }

    /// Pushes health that makes `cluster` the first that can serve: all appliances of those before it are down.
    pub fn push_for(&mut self, cluster: &str) {
        let wanted = CLUSTERS.iter().position(|(name, _)| *name == cluster).expect("a cluster of the table");
        let of = |(at, (cluster, _)): (usize, &(&str, &str))| -> Vec<Value> {
            let state = if at < wanted { "down" } else { "up" };
            let members = APPLIANCES.iter().filter(|[of, ..]| of == cluster);
            members.map(|[_, name, _]| json!({"appliance": name, "state": state})).collect()
        };
        let states = Value::from_iter(CLUSTERS.iter().enumerate().flat_map(of));
        self.pushed = Instant::now();
        let reply = self.steerd.call("PUT", "/v1/health", states.to_string().as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.body);
    }

    /// Makes the appliances of the first cluster slow, but fast enough to play from.
    pub fn slow_down(&mut self) {
        self.pushed = Instant::now();
        self.near.pace_kbps.store(SLOW_KBPS, Ordering::Relaxed);
    }

    /// The appliances of the first cluster fail, and a player has met that.
    pub fn fail_near(&mut self) {
        self.near.is_out.store(true, Ordering::Relaxed);
        let is_met = |lines: &[Access]| lines.iter().any(|line| line.status == 0).then_some(());
        if self.log.wait(Instant::now() + BEGIN, is_met).is_none() {
            self.fail("nobody asks an appliance that is out");
        }
    }

    /// A few low reports after it became slow, the player goes to `cluster`.
    pub fn expect_demotion(&mut self, cluster: &str) {
        let host = self.host_of(cluster);
        // It may go back soon: hls.js and shaka-player report one mean of all pathways, and now of this one.
        self.settle_on(&host, self.pushed + TTL * LOW_REPORTS + GRACE, self.pushed, 2);
        self.say("is told to go to", &host, self.pushed);
        let metrics = self.steerd.call("GET", "/metrics", b"").body;
        let demoted = "steerd_steering_demotions_total{change=\"demoted\"} 1";
        assert!(metrics.lines().any(|line| line == demoted), "{metrics}");
    }

    /// Within one TTL and the grace after the push, every stream comes from `cluster`; and from then on only.
    pub fn expect_switch(&mut self, cluster: &str) {
        let host = self.host_of(cluster);
        self.settle_on(&host, self.pushed + TTL + GRACE, self.pushed, SETTLED);
        self.say("goes to", &host, self.pushed);
    }

    /// The appliance of a cluster that this player knows.
    fn host_of(&self, cluster: &str) -> String {
        match APPLIANCES.iter().find(|[of, ..]| *of == cluster) {
            Some(_) if cluster == NEAR => self.first.clone(),
            Some([.., host]) => (*host).to_owned(),
            None => panic!("{cluster} is of no appliance"),
        }
    }

    /// Waits until `host` serves each stream, at the latest at `until`, and has served `settled` segments of each;
    /// since `since`, nobody else may have served a stream that it serves already.
    fn settle_on(&mut self, host: &str, until: Instant, since: Instant, settled: usize) {
        let has = |wanted: usize| {
            let count = |lines: &[Access], kind| {
                segments(lines, since, kind).filter(|line| *line.host == *host).count()
            };
            move |lines: &[Access]| {
                ["video", "audio"].iter().all(|kind| count(lines, kind) >= wanted).then_some(())
            }
        };
        if self.log.wait(until, has(1)).is_none() {
            self.fail(&format!("{host} does not serve in time"));
        }
        // The media plays on in real time.
        let until = Instant::now() + BEGIN;
        if self.log.wait(until, has(settled)).is_none() {
            self.fail(&format!("{host} does not go on serving"));
        }
        for kind in ["video", "audio"] {
            let lines = self.log.lines();
            let from_first = segments(&lines, since, kind).skip_while(|line| *line.host != *host);
            if let Some(other) = from_first.map(|line| &line.host).find(|other| ***other != *host) {
                self.fail(&format!("{other} serves {kind} after {host} did"));
            }
        }
    }

    /// Tells how long a player took, by the first segment that `host` served.
    fn say(&self, what: &str, host: &str, since: Instant) {
        let lines = self.log.lines();
        let is_first =
            |line: &&Access| line.at >= since && *line.host == *host && line.segment_of().is_some();
        let took = lines.iter().find(is_first).map_or(0.0, |line| (line.at - since).as_secs_f64());
        println!("{}: {what} {host} after {took:.1} s", self.name);
    }

    /// Nothing has gone wrong on the page; leaves picture and logs.
    pub fn finish(mut self) {
        let report = self.leave();
        let number = |value: &Value| value.as_f64().unwrap_or_default();
        let time = number(&report["currentTime"]);
        println!("{}: played {time:.1} s, stalled {} times", self.name, report["stalls"]);
        let is_fine = report["error"].is_null() && report["errors"] == json!([]) && report["paused"] == false;
        assert!(is_fine && time > 1.0, "{}: {report}", self.name);
        // It asked again after each TTL.
        let polls: Vec<f64> =
            report["polls"].as_array().into_iter().flatten().map(|poll| number(&poll["at"])).collect();
        for pair in polls.windows(2) {
            assert!(pair[1] - pair[0] < (TTL + GRACE).as_secs_f64(), "{}: {report}", self.name);
        }
    }

    /// Fails with what was seen.
    fn fail(&mut self, what: &str) -> ! {
        let report = self.leave();
        let log = self.log.text(self.start);
        panic!("{}: {what}\n{log}{report}\n{}", self.name, self.browser.console());
    }

    /// Leaves picture and logs, and gives what the page says.
    fn leave(&mut self) -> Value {
        let file = |end: &str| self.left.join(format!("{}.{end}", self.name));
        let (picture, log, report) = (file("png"), file("log"), file("json"));
        self.browser.picture(&picture);
        let told = self.browser.value("page.report()");
        let log_text = self.log.text(self.start);
        for (path, text) in [(log, log_text), (report, format!("{told:#}\n"))] {
            std::fs::write(path, text).expect("a folder that can be written");
        }
        told
    }
}
