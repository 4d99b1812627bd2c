//! Remote-write into Debian's Prometheus, and into a receiver that refuses.

use crate::kit;
use crate::kit::http;
use crate::kit::node::Setup;
use crate::kit::origin::{Origin, Reply, answer};
use crate::kit::program::{self, Running};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

/// A Prometheus that takes what is written to it.
fn prometheus(folder: &Path, addr: SocketAddr) -> Option<Running> {
    let program = program::find("prometheus")?;
    let config = folder.join("prometheus.yml");
    std::fs::write(&config, "global: {}\n").expect("written");
    let mut command = Command::new(program);
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={addr}"))
        .arg("--web.enable-remote-write-receiver")
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("prometheus.log")).expect("a file"));
    Some(Running(command.spawn().expect("starts")))
}

fn ask(addr: SocketAddr, query: &str) -> Vec<Value> {
    let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let Ok(answer) = std::panic::catch_unwind(|| http::get_direct(addr, &addr.to_string(), &format!("/api/v1/query?query={query}"))) else {
        return Vec::new();
    };
    let document: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    document["data"]["result"].as_array().cloned().unwrap_or_default()
}

fn node(url: &str) -> kit::node::Node {
    Setup::new().set("remote_write.url", &format!("\"{url}\"")).set("remote_write.every", "\"1 s\"").start()
}

#[test]
fn a_real_prometheus_takes_what_a_node_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let addr = kit::loopback(kit::free_port());
    let node = node(&format!("http://{addr}/api/v1/write"));
    // It waits for a receiver that is not there yet.
    let Some(_running) = prometheus(folder.path(), addr) else {
        return program::skipped("a_real_prometheus_takes_what_a_node_writes", "prometheus is not installed");
    };
    let log = || kit::tail(&folder.path().join("prometheus.log"), 20);
    kit::until("Prometheus listens", 60, || std::net::TcpStream::connect(addr).is_ok());
    kit::until("values arrive", 120, || !ask(addr, "bulak_ready{instance=\"school-test\",job=\"bulak\"} == 1").is_empty());
    // Everything that /metrics has, histograms too.
    for metric in ["bulak_build_info", "bulak_link_rtt_seconds_bucket{le=\"+Inf\"}", "bulak_cache_objects"] {
        kit::until(metric, 60, || !ask(addr, metric).is_empty());
    }
    let sent = node.metric("bulak_remote_write_values_total", "fate=\"sent\"").expect("a counter");
    assert!(sent > 50.0, "{sent}\n{}", log());
    assert_eq!(node.metric("bulak_remote_write_values_total", "fate=\"refused\""), Some(0.0), "{}", log());
}

#[test]
fn what_a_receiver_refuses_is_dropped_and_counted() {
    let origin = Origin::start(|ask| {
        let fields: Vec<String> = ["content-type", "content-encoding", "x-prometheus-remote-write-version"]
            .map(|name| ask.field(name).unwrap_or_default().to_owned())
            .into();
        let right = fields == ["application/x-protobuf", "snappy", "0.1.0"] && ask.method == "POST";
        let status = match (right, ask.number) {
            (false, _) => "418 Wrong",
            (_, 1) => "503 Busy",
            (_, 2) => "400 Bad Request",
            _ => "204 No Content",
        };
        Reply::Bytes(answer(status, &[], b""))
    });
    let node = node(&format!("http://{}/write", origin.addr));
    let of = |fate: &str| node.metric("bulak_remote_write_values_total", &format!("fate=\"{fate}\"")).unwrap_or(0.0);
    kit::until("values are taken", 120, || of("sent") > 0.0);
    let asks = origin.asks();
    assert_eq!(asks[0].body, asks[1].body, "busy: the same once more");
    assert_ne!(asks[1].body, asks[2].body, "refused: never again");
    assert!(of("refused") > 0.0);
}
