//! What `config/grafana` holds is about metrics that a node has.

use crate::giga::key_file;
use crate::kit;
use crate::kit::giga::{KEY, SCHOOL, Server};
use crate::kit::node::Setup;
use crate::kit::origin::{Origin, Reply, ok};
use crate::kit::program;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// Every metric of ours in a text.
fn names(text: &str) -> BTreeSet<String> {
    let letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let rest = text.split("bulak_").skip(1);
    rest.map(|rest| format!("bulak_{}", rest.chars().take_while(|each| letter(*each)).collect::<String>())).collect()
}

#[test]
fn every_metric_of_dashboards_and_rules_is_one_of_a_nodes() {
    let folder = kit::root().join("config/grafana");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a file");
    let (board, rules) = (read("node.json"), read("node-alerts.yml"));
    let document: Value = serde_json::from_str(&board).expect("JSON");
    assert!(document["panels"].as_array().is_some_and(|panels| panels.len() > 10));
    let wanted: BTreeSet<String> = names(&board).union(&names(&rules)).cloned().collect();
    assert!(wanted.len() > 15, "{wanted:?}");

    // Counters by label appear with their first count: a page, a test of the line.
    let origin = Origin::start(|_| Reply::Bytes(ok(&["Cache-Control: public, max-age=3600"], b"a lesson")));
    let server = Setup::new().start();
    let place = format!("[\"ws://{} domestic\"]", server.web);
    let (giga, secret) = (Server::start(), tempfile::tempdir().expect("a folder"));
    let node = Setup::new()
        .host("a.school.test", origin.addr)
        .set("meter.servers", &place)
        .set("meter.day", "\"3 MB\"")
        .set("giga.url", &format!("\"{}\"", giga.url()))
        .set("giga.key", &format!("\"{}\"", key_file(secret.path(), KEY).display()))
        .set("giga.id", &format!("\"{SCHOOL}\""))
        .start();
    node.twice("http://a.school.test/lesson");
    node.command(&["link", "test", "--json"]);
    let text = node.web("/metrics").text();
    let there = names(&text);
    let bare = |name: &str| ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned();
    let missing: Vec<&String> = wanted.iter().filter(|name| !there.contains(*name) && !there.contains(&bare(name))).collect();
    assert!(missing.is_empty(), "{missing:?} in\n{text}");
    // Labels that the questions choose by.
    for label in
        ["dir=\"rx\"", "class=\"foreground\"", "cache=\"hit\"", "end=\"", "reach=\"unknown\"", "what=\"check\"", "fate=\"refused\""]
    {
        assert!(text.contains(label), "{label} in\n{text}");
    }
    let Some(promtool) = program::find("promtool") else {
        return program::skipped("every_metric_of_dashboards_and_rules_is_one_of_a_nodes", "promtool is not installed");
    };
    let output = program::run(Command::new(promtool).args(["check", "rules"]).arg(folder.join("node-alerts.yml")), 30);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
