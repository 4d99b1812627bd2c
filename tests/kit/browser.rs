//! Chromium, page by page, with a home of its own: which proxy, which names, whom it trusts; what each page showed and asked for.
//!
//! `tests/browser/visit.mjs` drives it with playwright-core; each command and its answer are a line of JSON. The browser lives
//! as long as its [`Browser`], so a test can stop a node between two pages. Its CAs are in an NSS database, as on Linux.

use crate::kit;
use crate::kit::program::{self, Running};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;
use tempfile::TempDir;

/// Longest time for one step of a page: a slow machine with other tests beside.
const STEP: Duration = Duration::from_secs(75);
/// Longest time for an answer of the script: some steps.
const ANSWER: Duration = Duration::from_mins(4);

/// How a browser is to be started.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    words: Vec<String>,
    maps: Vec<String>,
    roots: Vec<PathBuf>,
    locale: String,
}

/// A running Chromium.
pub(crate) struct Browser {
    /// What it calls itself.
    pub(crate) version: String,
    commands: Option<ChildStdin>,
    answers: Receiver<String>,
    child: Running,
    folder: TempDir,
}

/// What a page showed and asked for.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// The status of its document; 0 when there was none.
    pub(crate) status: u16,
    /// Why it did not load (`net::ERR_…`); empty when it did.
    pub(crate) error: String,
    /// Where it ended.
    pub(crate) url: String,
    /// Its title.
    pub(crate) title: String,
    /// Its text as it is shown.
    pub(crate) text: String,
    /// Who signed the certificate of its document, by common name; empty without TLS.
    pub(crate) issuer: String,
    /// Whose certificate it is.
    pub(crate) subject: String,
    /// `TLS 1.3`.
    pub(crate) protocol: String,
    /// Whom the browser talked to: the proxy, or the origin when it went directly.
    pub(crate) address: String,
    /// URLs of all requests, in order.
    pub(crate) requests: Vec<String>,
    /// Requests that failed: URL and reason.
    pub(crate) failed: Vec<(String, String)>,
    /// What the page said on the console: kind (`error`, `warning`, `log`, `exception`, …) and text.
    pub(crate) console: Vec<(String, String)>,
    fields: Value,
}

impl Wish {
    fn new() -> Wish {
        Wish { words: Vec::new(), maps: Vec::new(), roots: Vec::new(), locale: "en-GB".to_owned() }
    }

    /// A browser without a proxy.
    pub(crate) fn direct() -> Wish {
        Wish::new().word("--no-proxy-server")
    }

    /// A browser that asks this proxy for everything, loopback addresses too.
    pub(crate) fn behind(proxy: SocketAddr) -> Wish {
        Wish::by(&format!("http://{proxy}"))
    }

    /// The same with the proxy's address as Chromium writes it: `https://proxy.school.internal:3129`.
    pub(crate) fn by(proxy: &str) -> Wish {
        Wish::new().word(&format!("--proxy-server={proxy}")).word("--proxy-bypass-list=<-loopback>")
    }

    /// A browser that asks a PAC file.
    pub(crate) fn pac(url: &str) -> Wish {
        Wish::new().word(&format!("--proxy-pac-url={url}"))
    }

    /// Has the browser find a name (or `name:port`) here when it looks it up itself. All other names are unknown to it.
    pub(crate) fn map(mut self, name: &str, addr: SocketAddr) -> Wish {
        self.maps.push(format!("MAP {name} {addr}"));
        self
    }

    /// Imports a CA from a PEM file into the browser's NSS database.
    pub(crate) fn trusting(mut self, file: &Path) -> Wish {
        self.roots.push(file.to_owned());
        self
    }

    /// The language that the browser asks for.
    pub(crate) fn locale(mut self, locale: &str) -> Wish {
        locale.clone_into(&mut self.locale);
        self
    }

    /// Another word of Chromium's command line.
    pub(crate) fn word(mut self, word: &str) -> Wish {
        self.words.push(word.to_owned());
        self
    }

    /// Starts the browser with a home and a profile of its own.
    pub(crate) fn start(self) -> Browser {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().join("home");
        database(&home.join(".pki/nssdb"), &self.roots);
        let wish = json!({
            "playwright": kit::packages().join("playwright-core/index.mjs"),
            "chromium": program::need("chromium"),
            "profile": folder.path().join("profile"),
            "home": home,
            "args": self.args(),
            "locale": self.locale,
            "timeout": u64::try_from(STEP.as_millis()).expect("a short time"),
        });
        let log = fs::File::create(folder.path().join("browser.log")).expect("a log file");
        let mut command = Command::new(program::need("node"));
        command.arg(kit::root().join("tests/browser/visit.mjs")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = Running(command.spawn().expect("node starts"));
        let (commands, out) = (child.0.stdin.take(), child.0.stdout.take().expect("piped"));
        let (tell, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let mut browser = Browser { version: String::new(), commands, answers, child, folder };
        let ready = browser.ask(&wish);
        browser.version = text(&ready["ready"]);
        browser
    }

    fn args(&self) -> Vec<String> {
        let mut args: Vec<String> =
            ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
                .into_iter()
                .chain(["--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage"])
                .map(str::to_owned)
                .collect();
        // Nothing is asked of the system's DNS servers.
        let rules = self.maps.iter().map(String::as_str).chain(["MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1"]);
        args.push(format!("--host-resolver-rules={}", rules.collect::<Vec<_>>().join(", ")));
        args.extend(self.words.iter().cloned());
        args
    }
}

impl Browser {
    /// Loads a page to its `load` event.
    pub(crate) fn visit(&mut self, url: &str) -> Visit {
        Visit::read(&self.ask(&json!({ "url": url })))
    }

    /// Loads a page and waits until it shows this text.
    pub(crate) fn visit_until(&mut self, url: &str, shown: &str) -> Visit {
        Visit::read(&self.ask(&json!({ "url": url, "until": shown })))
    }

    /// Loads a page and waits until nothing has been asked for over half a second.
    pub(crate) fn visit_quiet(&mut self, url: &str) -> Visit {
        Visit::read(&self.ask(&json!({ "url": url, "quiet": true })))
    }

    /// What is shown now, and what was asked for since the last visit began.
    pub(crate) fn look(&mut self) -> Visit {
        Visit::read(&self.ask(&json!({ "look": true })))
    }

    /// The value of a JavaScript expression in the page; a promise is awaited.
    ///
    /// # Panics
    /// When it throws.
    pub(crate) fn run(&mut self, expression: &str) -> Value {
        let answer = self.ask(&json!({ "run": expression }));
        assert!(answer["error"].is_null(), "{expression}: {}", answer["error"]);
        answer["value"].clone()
    }

    fn ask(&mut self, command: &Value) -> Value {
        let sent = self.commands.as_mut().map(|pipe| writeln!(pipe, "{command}").and_then(|()| pipe.flush()));
        let answer = self.answers.recv_timeout(ANSWER);
        let log = || kit::tail(&self.folder.path().join("browser.log"), 20);
        let line = answer.unwrap_or_else(|error| panic!("the browser does not answer ({error}, {sent:?}): {command}\n{}", log()));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}\n{}", log()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The script ends its browser when nothing more is to come; should it hang, the browser still ends with its pipe.
        drop(self.commands.take());
        for _ in 0..500 {
            if !matches!(self.child.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Visit {
    fn read(answer: &Value) -> Visit {
        let list = |key: &str| answer[key].as_array().cloned().unwrap_or_default();
        let pair = |value: &Value, one: &str, two: &str| (text(&value[one]), text(&value[two]));
        Visit {
            status: answer["status"].as_u64().and_then(|status| status.try_into().ok()).unwrap_or(0),
            error: text(&answer["error"]),
            url: text(&answer["url"]),
            title: text(&answer["title"]),
            text: text(&answer["text"]),
            issuer: text(&answer["security"]["issuer"]),
            subject: text(&answer["security"]["subjectName"]),
            protocol: text(&answer["security"]["protocol"]),
            address: text(&answer["address"]),
            requests: list("requests").iter().map(|request| text(&request["url"])).collect(),
            failed: list("failed").iter().map(|failed| pair(failed, "url", "error")).collect(),
            console: list("console").iter().map(|message| pair(message, "kind", "text")).collect(),
            fields: answer["fields"].clone(),
        }
    }

    /// A field of the document's head; empty when it has none.
    pub(crate) fn field(&self, name: &str) -> String {
        text(&self.fields[name.to_ascii_lowercase()])
    }

    /// Errors and exceptions on the console.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.console.iter().filter(|(kind, _)| kind == "error" || kind == "exception").map(|(_, text)| text.clone()).collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An NSS database with these CAs, as an administrator makes it on Linux.
fn database(folder: &Path, roots: &[PathBuf]) {
    fs::create_dir_all(folder).expect("a folder");
    let certutil = |words: &[&str]| {
        let mut command = Command::new(program::need("certutil"));
        let output = program::run(command.args(words).arg("-d").arg(format!("sql:{}", folder.display())), 60);
        assert!(output.status.success(), "certutil {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    certutil(&["-N", "--empty-password"]);
    for (number, file) in roots.iter().enumerate() {
        let file = file.display().to_string();
        certutil(&["-A", "-n", &format!("school {number}"), "-t", "C,,", "-i", &file]);
    }
}
