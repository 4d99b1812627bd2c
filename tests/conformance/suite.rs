//! Runs the suite's own server and client under Node.js and reads what they say.
//!
//! Every run leaves its table in `target/conformance/NAME.txt`, where `scripts/test` prints it from.

use crate::gateway;
use crate::kit;
use crate::kit::program;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// How much a test weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// RFC 9111 demands it.
    Required,
    /// A better cache does it.
    Optimal,
    /// Either is right.
    Check,
}

/// One test of the suite and how it went.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The suite's id.
    pub(crate) id: String,
    /// The group it belongs to.
    pub(crate) group: String,
    /// Weight.
    pub(crate) kind: Kind,
    /// Whether it passed.
    pub(crate) passed: bool,
    /// What the suite's client said of a failure.
    pub(crate) why: String,
}

/// Prints the suite's tests, one a line: group, kind, id.
const LIST: &str = "const { default: suites } = await import(process.argv[1] + '/tests/index.mjs'); for (const suite of suites) \
    for (const test of suite.tests) if (!test.browser_only) console.log([suite.id, test.kind || 'required', test.id].join('\\t'))";

/// The whole suite through `proxy`; the table goes to `target/conformance/NAME.txt`.
pub(crate) fn run(proxy: SocketAddr, name: &str) -> Vec<Case> {
    let suite = kit::packages().join("http-cache-tests");
    assert!(suite.join("cli.mjs").exists(), "http-cache-tests is missing; run scripts/test, which installs it");
    let folder = tempfile::tempdir().expect("a folder");
    let port = kit::free_port();
    let mut server = Command::new(program::need("node"));
    server.current_dir(&suite).arg("--no-warnings").arg("server/server.mjs");
    server.env("npm_config_protocol", "http").env("npm_config_port", port.to_string());
    server.env("npm_config_pidfile", folder.path().join("pid"));
    let _server = program::start(&mut server, &folder.path().join("server.log"));
    let origin = kit::loopback(port);
    kit::until("the suite's server listens", 30, || std::net::TcpStream::connect(origin).is_ok());

    let gate = gateway::start(proxy, origin);
    let mut client = Command::new(program::need("node"));
    client.current_dir(&suite).arg("--no-warnings").arg("cli.mjs");
    client.env("npm_config_base", format!("http://{gate}")).env("npm_config_id", "").env("npm_package_config_id", "");
    let output = program::run(&client, 240);
    let text = String::from_utf8_lossy(&output.stdout);
    // Warnings may come before the document.
    let json = text.find("\n{").map_or(&*text, |at| &text[at..]);
    let results: BTreeMap<String, serde_json::Value> = serde_json::from_str(json)
        .unwrap_or_else(|error| panic!("the suite's client: {error}: {text}{}", String::from_utf8_lossy(&output.stderr)));

    let cases = list().into_iter().map(|case| judge(case, &results)).collect::<Vec<_>>();
    let table = table(name, &cases);
    print!("{table}");
    let file = report(name);
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    fs::write(file, table).expect("a file");
    cases
}

fn report(name: &str) -> PathBuf {
    kit::root().join("target/conformance").join(format!("{name}.txt"))
}

fn list() -> Vec<Case> {
    let mut node = Command::new(program::need("node"));
    node.args(["--input-type=module", "-e", LIST, "--"]).arg(kit::packages().join("http-cache-tests"));
    let output = program::run(&node, 60);
    let text = String::from_utf8_lossy(&output.stdout);
    let cases: Vec<Case> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split('\t');
            let (group, kind, id) = (words.next()?, words.next()?, words.next()?);
            let kind = match kind {
                "required" => Kind::Required,
                "optimal" => Kind::Optimal,
                _ => Kind::Check,
            };
            Some(Case { id: id.into(), group: group.into(), kind, passed: false, why: String::new() })
        })
        .collect();
    assert!(!cases.is_empty(), "the suite lists no tests: {}", String::from_utf8_lossy(&output.stderr));
    cases
}

fn judge(mut case: Case, results: &BTreeMap<String, serde_json::Value>) -> Case {
    match results.get(&case.id) {
        Some(serde_json::Value::Bool(true)) => case.passed = true,
        Some(other) => case.why = format!("{} {}", other[0].as_str().unwrap_or("?"), other[1].as_str().unwrap_or("?")),
        None => "was not run".clone_into(&mut case.why),
    }
    case
}

/// The figures by group, then each required or optimal test that failed, with the client's words.
fn table(name: &str, cases: &[Case]) -> String {
    let mut groups: Vec<&str> = Vec::new();
    for case in cases {
        if !groups.contains(&case.group.as_str()) {
            groups.push(&case.group);
        }
    }
    let mut text = format!("conformance {name:<20} required    optimal\n");
    let figure = |group: Option<&str>, kind: Kind| {
        let of = cases.iter().filter(|case| case.kind == kind && group.is_none_or(|group| case.group == group));
        let (passed, all) = of.fold((0, 0), |(passed, all), case| (passed + usize::from(case.passed), all + 1));
        if all == 0 { "-".to_owned() } else { format!("{passed}/{all}") }
    };
    for group in groups.iter().copied().map(Some).chain([None]) {
        let label = group.unwrap_or("all");
        writeln!(text, "  {label:<30} {:>8} {:>10}", figure(group, Kind::Required), figure(group, Kind::Optimal)).expect("a string grows");
    }
    for case in cases.iter().filter(|case| !case.passed && case.kind != Kind::Check) {
        writeln!(text, "  {:?} failed: {}: {}", case.kind, case.id, case.why).expect("a string grows");
    }
    text
}
