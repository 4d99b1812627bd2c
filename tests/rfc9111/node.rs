//! A node: the real program, started for the cases of one policy and stopped at the end.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A running node.
pub(crate) struct Node {
    child: Child,
    /// Held open: a node that prints more must not fail.
    _output: BufReader<ChildStdout>,
    pub(crate) proxy: SocketAddr,
}

impl Node {
    /// Starts one and waits until it says that it is ready. Set BULAK_TEST_LOG to see its log.
    pub(crate) fn start(policy: &str) -> Node {
        let rules = if policy == "school" || policy == "offline" { "school" } else { "rfc9111" };
        let mut command = Command::new(env!("CARGO_BIN_EXE_bulak"));
        command.args(["serve", "--ephemeral", "--json", "--policy", rules]);
        command.env("BULAK_PROXY__ALLOW_PRIVATE_TARGETS", r#"["127.0.0.0/8"]"#);
        if policy == "targeted" {
            command.env("BULAK_CACHE__TARGETED", r#"["CDN-Cache-Control"]"#);
        }
        let log = if std::env::var_os("BULAK_TEST_LOG").is_some() { Stdio::inherit() } else { Stdio::null() };
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().expect("the program starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("a piped output"));
        output.read_line(&mut line).expect("its first line");
        if let Some(proxy) = ready(&line) {
            return Node { child, _output: output, proxy };
        }
        child.kill().ok();
        child.wait().ok();
        panic!("the node for policy {policy} is not ready; it said `{}`", line.trim());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The proxy's address in the line that a ready node prints.
fn ready(line: &str) -> Option<SocketAddr> {
    let told: serde_json::Value = serde_json::from_str(line).ok()?;
    if told.get("ready")?.as_bool()? { told.get("proxy")?.as_str()?.parse().ok() } else { None }
}

#[test]
fn the_ready_line_is_understood() {
    let line = r#"{"ready":true,"proxy":"127.0.0.1:3128","web":"127.0.0.1:8080"}"#;
    assert_eq!(ready(line), "127.0.0.1:3128".parse().ok());
    assert_eq!(ready(r#"{"ready":false,"proxy":"127.0.0.1:3128"}"#), None);
    assert_eq!(ready(""), None);
}
