//! What is played: a test picture and a tone, cut into segments of a second by `ffmpeg`, and the manifests
//! that name them.
//!
//! The segments are made once and kept in the target folder; every appliance holds the same ones. What differs
//! from appliance to appliance are the manifests: each names itself first, and one other. So a player that
//! steerd sent to an appliance starts there, and of further appliances it hears by content steering only.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Seconds of media, one segment each; longer than any test plays.
const SEGMENTS: u32 = 180;

/// What else a change of this recipe has to change: the folder's name.
const RECIPE: &str = "media-1";

/// The two streams as a manifest tells of them.
const CODECS: [&str; 2] = ["avc1.42c00c", "opus"];

/// The folder with `video/` and `audio/`, each with `init.mp4`, `1.m4s` and so on, and a media playlist
/// `index.m3u8`; made where it is not there.
pub fn folder(target: &Path) -> PathBuf {
    let done = target.join(RECIPE);
    if done.is_dir() {
        return done;
    }
    let made = tempfile::tempdir_in(target).expect("a folder beside it");
    for kind in ["video", "audio"] {
        std::fs::create_dir(made.path().join(kind)).expect("an empty folder");
    }
    let mut command = Command::new("ffmpeg");
    command.current_dir(made.path()).args(["-v", "error"]);
    command.args(["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]);
    command.args(["-f", "lavfi", "-i", "sine=frequency=220:beep_factor=4:sample_rate=48000"]);
    let video =
        "-c:v libx264 -profile:v baseline -preset veryfast -pix_fmt yuv420p -b:v 150k -g 25 -sc_threshold 0";
    let audio = "-c:a libopus -b:a 24k -strict -2";
    for (input, (kind, codec)) in ["0:v", "1:a"].iter().zip([("video", video), ("audio", audio)]) {
        command.args(["-map", input, "-t", &SEGMENTS.to_string()]).args(codec.split(' '));
        command.args(
            "-f hls -hls_time 1 -hls_playlist_type vod -hls_segment_type fmp4 -start_number 1".split(' '),
        );
        command.args([
            "-hls_fmp4_init_filename",
            "init.mp4",
            "-hls_segment_filename",
            &format!("{kind}/%d.m4s"),
        ]);
        command.arg(format!("{kind}/index.m3u8"));
    }
    assert!(command.status().expect("ffmpeg is installed").success(), "{command:?}");
    // Another test may have been faster; what it made is the same.
    if std::fs::rename(made.path(), &done).is_err() {
        assert!(done.is_dir(), "a folder that can be renamed");
    }
    done
}

/// A pathway that a manifest names: its id, and the host and port of its appliance.
pub type Pathway<'a> = (&'a str, String);

/// An HLS multivariant playlist with one variant and one audio rendition a pathway; the player starts on the first
/// (RFC 8216bis sections 4.4.6 and 7).
pub fn multivariant(steering: &str, pathways: &[Pathway<'_>]) -> String {
    let mut text = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n".to_owned();
    let (first, _) = &pathways[0];
    let _ = writeln!(text, "#EXT-X-CONTENT-STEERING:SERVER-URI=\"{steering}\",PATHWAY-ID=\"{first}\"");
    for (id, host) in pathways {
        let _ = writeln!(
            text,
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio-{id}\",NAME=\"tone\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"1\",\
             URI=\"http://{host}/audio/index.m3u8\""
        );
        let _ = writeln!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH=300000,CODECS=\"{}\",RESOLUTION=320x180,FRAME-RATE=25,AUDIO=\"audio-{id}\",\
             PATHWAY-ID=\"{id}\"\nhttp://{host}/video/index.m3u8",
            CODECS.join(",")
        );
    }
    text
}

/// A DASH presentation with one base URL a pathway; the player asks the steering server, if it names one, before it
/// starts (ETSI TS 103 998 section 5).
pub fn presentation(steering: Option<&str>, pathways: &[Pathway<'_>]) -> String {
    let (first, _) = &pathways[0];
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" type=\"static\" \
         minBufferTime=\"PT2S\" mediaPresentationDuration=\"PT{SEGMENTS}S\">\n"
    );
    for (id, host) in pathways {
        let _ = writeln!(text, "  <BaseURL serviceLocation=\"{id}\">http://{host}/</BaseURL>");
    }
    if let Some(steering) = steering.map(|url| url.replace('&', "&amp;")) {
        let how = format!("defaultServiceLocation=\"{first}\" queryBeforeStart=\"true\"");
        let _ = writeln!(text, "  <ContentSteering {how}>{steering}</ContentSteering>");
    }
    text.push_str("  <Period id=\"1\" start=\"PT0S\">\n");
    let size = ["width=\"320\" height=\"180\" frameRate=\"25\"", "audioSamplingRate=\"48000\""];
    for ((kind, codec), size) in ["video", "audio"].iter().zip(CODECS).zip(size) {
        let _ = writeln!(
            text,
            "    <AdaptationSet contentType=\"{kind}\" mimeType=\"{kind}/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\">\n\
             \x20     <SegmentTemplate timescale=\"1\" duration=\"1\" startNumber=\"1\" initialization=\"{kind}/init.mp4\" \
             media=\"{kind}/$Number$.m4s\"/>\n\
             \x20     <Representation id=\"{kind}\" codecs=\"{codec}\" bandwidth=\"150000\" {size}/>\n    </AdaptationSet>"
        );
    }
    text + "  </Period>\n</MPD>\n"
}
