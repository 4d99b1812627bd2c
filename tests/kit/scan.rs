//! testssl.sh on a TLS listener: its protocols, its ciphers, the weaknesses that have a name.
//!
//! Left out: the certificate (a private CA has no OCSP, no transparency log and no rating) and whose cipher order counts (with
//! good ciphers alone a phone may choose the one that its chip is fast at).

use crate::kit::program;
use std::net::SocketAddr;
use std::process::Command;

/// Longest scan, seconds: it takes about half a minute alone.
const LONGEST: u32 = 300;

/// Something that testssl.sh finds fault with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Which check: `SSLv3`, `ROBOT`, …
    pub(crate) check: String,
    /// `LOW` to `CRITICAL`, or `WARN` when a check could not be made.
    pub(crate) severity: String,
    /// In its own words.
    pub(crate) says: String,
}

/// All findings about the listener at `addr`, asked for by `name`; `None` when the program is missing, which `test` is told for.
///
/// # Panics
/// When the scan does not come to its end.
pub(crate) fn scan(test: &str, name: &str, addr: SocketAddr) -> Option<Vec<Finding>> {
    let Some(testssl) = program::find("testssl").or_else(|| program::find("testssl.sh")) else {
        program::skipped(test, "testssl.sh is missing; scripts/test installs it where it can");
        return None;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("findings.json");
    let mut command = Command::new(testssl);
    command.args(["--quiet", "--color", "0", "--warnings", "batch", "--connect-timeout", "20", "--openssl-timeout", "20"]);
    command.arg("--ip").arg(addr.ip().to_string()).arg("--jsonfile").arg(&file);
    // Protocols, categories of ciphers, forward secrecy, vulnerabilities.
    command.args(["-p", "-s", "-f", "-U"]).arg(format!("{name}:{}", addr.port()));
    let output = program::run(&command, LONGEST);
    let said = String::from_utf8_lossy(&output.stdout);
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("testssl.sh: {error}\n{said}"));
    let seen = |check: &str| all.iter().any(|finding| finding["id"] == check);
    // From the first section to the last: what was not looked at is not clean.
    for check in ["SSLv2", "TLS1_3", "cipherlist_NULL", "heartbleed", "ROBOT", "BREACH", "RC4"] {
        assert!(seen(check), "testssl.sh did not come to {check}: {}\n{said}", output.status);
    }
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let findings = all.iter().map(|f| Finding { check: word(&f["id"]), severity: word(&f["severity"]), says: word(&f["finding"]) });
    // What its own openssl lacks says nothing about us.
    Some(findings.filter(|f| !matches!(f.severity.as_str(), "OK" | "INFO") && f.check != "engine_problem").collect())
}
