//! Players that we did not write, as their authors publish them, in a browser: hls.js, dash.js and shaka-player play
//! generated media from local appliances, and go where steerd steers them.
//!
//! | module | holds |
//! |---|---|
//! | `media` | what is played, and the manifests that name it |
//! | `appliances` | who serves it, and the access log |
//! | `browser` | headless Chromium |
//! | `stage` | a test's whole scene: steerd, appliances, browser; the page and the push |
//!
//! Which appliance served what is decided by the appliances' own access logs. Each test leaves a picture of its page,
//! the access log and what the page said in `players/` of the target folder. A program or player that is missing fails
//! the test under CI (`tests/tools.sh` installs them) and skips it loudly elsewhere; `docs/players.md` tells of the
//! players' habits.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it plays in real time, and says so"
)]

#[path = "players/appliances.rs"]
mod appliances;
#[path = "players/browser.rs"]
mod browser;
#[allow(dead_code, reason = "each test binary uses its part")]
mod harness;
#[path = "players/media.rs"]
mod media;
#[path = "players/stage.rs"]
mod stage;

use stage::{IX, NEAR, Setting, Stage, TRANSIT};
use std::path::PathBuf;

/// Says that something is not there; fails where it has to be.
fn missing(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what} is not installed");
    eprintln!("SKIPPED: {what} is not installed");
}

/// Where a program is.
fn path_of(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Plays `manifest` on `page`: it starts on the appliance ranked first, and follows one push of health after the other
/// to each of `clusters`.
fn follow(name: &'static str, page: &str, manifest: &str, clusters: &[&str]) {
    follow_in(Setting::default(), name, page, manifest, clusters);
}

/// The same in a setting of its own.
fn follow_in(setting: Setting, name: &'static str, page: &str, manifest: &str, clusters: &[&str]) {
    let Some(mut stage) = Stage::start(name, setting) else { return };
    stage.play(page, manifest);
    stage.expect_first();
    for cluster in clusters {
        stage.push_for(cluster);
        stage.expect_switch(cluster);
    }
    stage.finish();
}

#[test]
fn hls_js_follows_steering() {
    follow("hls.js", "hls.html", "main.m3u8", &[IX, TRANSIT, NEAR]);
}

#[test]
fn dash_js_follows_steering() {
    follow("dash.js", "dash.html", "main.mpd", &[IX, TRANSIT, NEAR]);
}

#[test]
fn shaka_follows_steering_of_hls() {
    follow("shaka-hls", "shaka.html?build=compiled.debug", "main.m3u8", &[IX, TRANSIT, NEAR]);
}

#[test]
fn shaka_follows_steering_of_dash() {
    follow("shaka-dash", "shaka.html?build=compiled.debug", "main.mpd", &[IX, TRANSIT, NEAR]);
}

/// A clone has the port of the pathway that it is made of.
#[test]
fn hls_js_follows_steering_at_another_port() {
    let setting = Setting { port: 8080, ..Setting::default() };
    follow_in(setting, "hls.js-port", "hls.html", "main.m3u8", &[TRANSIT, NEAR]);
}

#[test]
fn dash_js_follows_steering_at_another_port() {
    let setting = Setting { port: 8080, ..Setting::default() };
    follow_in(setting, "dash.js-port", "dash.html", "main.mpd", &[TRANSIT, NEAR]);
}

/// The build that the package names as its main knows no clones, since it renames what it reads of them
/// (docs/players.md); it passes them over.
#[test]
fn shaka_minified_follows_what_its_manifest_names() {
    follow("shaka-minified", "shaka.html?build=compiled", "main.mpd", &[IX, NEAR]);
}

#[test]
fn dash_js_follows_redirects_alone() {
    let Some(mut stage) = Stage::start("redirects", Setting::default()) else { return };
    stage.play("dash.html", "redirected.mpd");
    stage.expect_redirects();
    stage.push_for(IX);
    stage.expect_switch(IX);
    stage.finish();
}

/// Plays `manifest` on `page` from an appliance that becomes slow, though its health is fine.
fn leave_slow(name: &'static str, page: &str, manifest: &str) {
    let Some(mut stage) = Stage::start(name, Setting { demote_below_kbps: 1000, ..Setting::default() })
    else {
        return;
    };
    stage.play(page, manifest);
    stage.expect_first();
    stage.slow_down();
    stage.expect_demotion(IX);
    stage.finish();
}

#[test]
fn hls_js_leaves_a_slow_appliance() {
    leave_slow("hls.js-slow", "hls.html", "main.m3u8");
}

#[test]
fn dash_js_leaves_a_slow_appliance() {
    leave_slow("dash.js-slow", "dash.html", "main.mpd");
}

#[test]
fn shaka_leaves_a_slow_appliance() {
    leave_slow("shaka-slow", "shaka.html?build=compiled", "main.mpd");
}

/// Plays `manifest` on `page` from an appliance that fails; health says so a moment later.
fn survive(name: &'static str, page: &str, manifest: &str) {
    let Some(mut stage) = Stage::start(name, Setting::default()) else { return };
    stage.play(page, manifest);
    stage.expect_first();
    stage.fail_near();
    stage.push_for(IX);
    stage.expect_switch(IX);
    stage.finish();
}

#[test]
fn hls_js_survives_an_outage() {
    survive("hls.js-outage", "hls.html", "main.m3u8");
}

#[test]
fn dash_js_survives_an_outage() {
    survive("dash.js-outage", "dash.html", "main.mpd");
}

#[test]
fn shaka_survives_an_outage() {
    survive("shaka-outage", "shaka.html?build=compiled", "main.mpd");
}
