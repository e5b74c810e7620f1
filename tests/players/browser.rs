//! Headless Chromium, told what to do over its debugging pipe.
//!
//! Messages are JSON with a NUL behind each, to its file descriptor 3 and from its 4. It ends when the pipe
//! does, so nothing stays behind when a test is killed.

use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long it may take over one command; it is slow to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running browser with one page; killed when dropped.
pub struct Browser {
    child: Child,
    /// Where commands go.
    commands: ChildStdin,
    /// Everything that it says.
    messages: Receiver<Value>,
    /// Commands given so far.
    count: u64,
    /// The page's debugging session.
    session: Option<String>,
    /// What it told without being asked: its console, mostly.
    told: Vec<Value>,
}

impl Browser {
    /// Starts it with an empty page. `hosts` are all that it can reach, each at the address beside it and whatever
    /// the port that a URL names; `dir` holds its profile, and what it prints.
    pub fn start(program: &Path, dir: &Path, hosts: &[(String, SocketAddr)]) -> Self {
        let rules = hosts.iter().map(|(host, addr)| format!("MAP {host} {addr}, ")).collect::<String>();
        let log = File::create(dir.join("chromium.log")).expect("a folder that can be written");
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh"])
            .arg(program)
            .args([
                "--headless=new",
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
                "--mute-audio",
            ])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
            .args([
                "--disable-dev-shm-usage",
                "--disable-breakpad",
                "--autoplay-policy=no-user-gesture-required",
            ])
            .args(["--window-size=1280,720", "--hide-scrollbars"])
            .arg(format!("--host-resolver-rules={rules}MAP * ~NOTFOUND"))
            .arg(format!("--user-data-dir={}", dir.join("profile").display()))
            .arg("about:blank")
            .env("HOME", dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("a shell");
        let commands = child.stdin.take().expect("piped");
        let said = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in said.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("JSON from the browser");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self { child, commands, messages, count: 0, session: None, told: Vec::new() };
        let page = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let options = json!({"targetId": page["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", options);
        browser.session = session["sessionId"].as_str().map(str::to_owned);
        browser.call("Runtime.enable", json!({}));
        browser.call("Page.enable", json!({}));
        browser
    }

    /// Gives a command and waits for its result.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.count += 1;
        let mut command = json!({"id": self.count, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = session.as_str().into();
        }
        let mut text = command.to_string();
        text.push('\0');
        self.commands.write_all(text.as_bytes()).expect("a browser that runs");
        loop {
            let message = self.messages.recv_timeout(PATIENCE);
            let mut message = message.unwrap_or_else(|error| panic!("{method}: the browser: {error}"));
            if message["id"] != self.count {
                self.told.push(message);
                continue;
            }
            assert!(message["error"].is_null(), "{method}: {message}");
            return message["result"].take();
        }
    }

    /// Opens a URL.
    pub fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({"url": url}));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
    }

    /// The value of a JavaScript expression on the page, waited for if it is a promise.
    pub fn value(&mut self, expression: &str) -> Value {
        let options = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut value = self.call("Runtime.evaluate", options);
        assert!(value["exceptionDetails"].is_null(), "{expression}: {value}");
        value["result"]["value"].take()
    }

    /// Keeps a picture of the page.
    pub fn picture(&mut self, path: &Path) {
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let text = picture["data"].as_str().expect("a picture");
        let picture = data_encoding::BASE64.decode(text.as_bytes()).expect("RFC 4648");
        std::fs::write(path, picture).expect("a folder that can be written");
    }

    /// What the page's console and uncaught exceptions said so far, a line each.
    pub fn console(&mut self) -> String {
        self.told.extend(self.messages.try_iter());
        let spoken = |message: &Value| match message["method"].as_str()? {
            "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" => {
                Some(format!("{}\n", message["params"]))
            }
            _ => None,
        };
        self.told.iter().filter_map(spoken).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a Chromium is, by the names that systems give it.
pub fn program() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|name| crate::path_of(name))
}
