//! Programs that people use: curl, wget, Chromium; and how a test starts and ends a child of any kind.
//!
//! A child never outlives its test: it is killed when its guard is dropped.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A child that ends with its guard.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _killed = self.0.kill(); // it may have ended by itself
        let _reaped = self.0.wait();
    }
}

/// Where a program is, if it is installed.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// All that a program wrote.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The document that it printed.
pub(crate) fn document(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

/// State and words (message and remedy) of one check in the doctor's report.
pub(crate) fn check(report: &serde_json::Value, name: &str) -> (String, String) {
    let found = report["checks"].as_array().and_then(|checks| checks.iter().find(|found| found["check"] == name));
    let found = found.unwrap_or_else(|| panic!("no {name} in {report}"));
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    (text("state"), format!("{}; {}", text("message"), text("remedy")))
}

/// A program that `scripts/test` installs.
pub(crate) fn need(name: &str) -> PathBuf {
    find(name).unwrap_or_else(|| panic!("{name} is missing; run scripts/test, which installs it"))
}

/// The library that makes a date up, which `scripts/test` installs. Preloaded rather than run through its wrapper, which would outlive a
/// kill.
pub(crate) fn faketime() -> PathBuf {
    let libraries = std::fs::read_dir("/usr/lib").expect("a folder").filter_map(Result::ok);
    let found = libraries.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.exists());
    found.unwrap_or_else(|| panic!("libfaketime is missing; run scripts/test, which installs it"))
}

/// A test that this machine does not allow: told here, and at the end of `scripts/test`.
pub(crate) fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED: {test}: {why}");
    let folder = crate::kit::root().join("target/skipped");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(test), format!("{why}\n")).expect("a file");
}

/// Starts a program with both outputs in a file.
pub(crate) fn start(command: &mut Command, log: &Path) -> Running {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log file");
    let again = file.try_clone().expect("a log file");
    Running(command.stdin(Stdio::null()).stdout(file).stderr(again).spawn().expect("starts"))
}

/// Runs a program to its end, at most `seconds`: then it is killed and the status says so.
pub(crate) fn run(command: &Command, seconds: u32) -> Output {
    let mut limited = Command::new("timeout");
    limited.arg("--kill-after=5").arg(seconds.to_string()).arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(key, value),
            None => limited.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    limited.stdin(Stdio::null()).output().expect("coreutils' timeout")
}

/// One curl that reads all these URLs through the proxy, one after the other over kept-alive connections, each into the
/// file of its number. It tries again as a patient reader would, so a node that is restarted meanwhile loses nothing.
pub(crate) fn curl(proxy: SocketAddr, urls: &[String], into: &Path) -> Output {
    use std::fmt::Write as _;
    let mut config = format!("proxy = \"http://{proxy}\"\nsilent\nshow-error\nretry = 20\nretry-delay = 1\nretry-all-errors\nfail\n");
    for (number, url) in urls.iter().enumerate() {
        writeln!(config, "url = \"{url}\"\noutput = \"{}/{number}\"", into.display()).expect("a string grows");
    }
    let file = into.join("curl.conf");
    std::fs::write(&file, config).expect("a file");
    run(Command::new(need("curl")).arg("--config").arg(file), 240)
}

/// One wget that reads all these URLs through the proxy, each into `HOST:PORT/PATH`. Should it
/// give up while the proxy is away, its reader starts anew, as people do, once.
pub(crate) fn wget(proxy: SocketAddr, urls: &[String], into: &Path) -> Output {
    let list = into.join("wget.list");
    std::fs::write(&list, urls.join("\n")).expect("a file");
    let mut command = Command::new(need("wget"));
    command.env("http_proxy", format!("http://{proxy}")).args(["-nv", "--tries=20", "--timeout=30", "--retry-connrefused"]);
    command.args(["--retry-on-http-error=502,503,504", "--waitretry=1", "-x", "-P"]).arg(into).arg("-i").arg(&list);
    let mut output = run(&command, 120);
    if !output.status.success() {
        for entry in std::fs::read_dir(into).expect("a folder").filter_map(Result::ok).filter(|entry| entry.path().is_dir()) {
            std::fs::remove_dir_all(entry.path()).expect("removed");
        }
        eprintln!("a wget begins anew: {}", String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default());
        output = run(&command, 120);
    }
    output
}

/// The document of a page after its scripts ran in headless Chromium behind the proxy.
pub(crate) fn chromium(proxy: SocketAddr, url: &str, profile: &Path) -> String {
    let mut command = Command::new(need("chromium"));
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage"])
        .arg(format!("--proxy-server=http://{proxy}"))
        .arg("--proxy-bypass-list=<-loopback>")
        // Names are the proxy's business: nothing is asked of the system's DNS servers.
        .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(["--virtual-time-budget=20000", "--dump-dom", url]);
    let output = run(&command, 90);
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!page.is_empty(), "Chromium shows nothing of {url}: {}", String::from_utf8_lossy(&output.stderr));
    page
}

/// Everything that a child says on its standard output until it closes it.
pub(crate) fn drain(mut from: impl Read + Send + 'static) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while matches!(from.read(&mut buffer), Ok(taken) if taken > 0) {}
    });
}
