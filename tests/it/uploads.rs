//! Reports on their way to the hub: through bad answers, through ninety days without a line, and past a class.

use crate::kit::http;
use crate::kit::node::Node;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// What a hub, or whoever stands in its place, may answer.
mod answers;

/// Ninety days at once.
mod backlog;

/// Asks a node to send what it has, and does not care what becomes of that: the node, or its hub, may end in the middle.
fn kick(node: &Node) -> std::thread::JoinHandle<()> {
    let socket = node.folder.path().join("state/bulak.sock");
    std::thread::spawn(move || {
        let Ok(mut stream) = UnixStream::connect(socket) else { return };
        let head = "POST /api/v1/reports/send HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _told = stream.write_all(head.as_bytes()).and_then(|()| stream.read_to_end(&mut Vec::new()).map(drop)); // it may end before
    })
}

/// The outbox as the node sees it.
fn outbox(node: &Node) -> Value {
    let answer = http::local(&node.folder.path().join("state/bulak.sock"), "GET", "/api/v1/reports");
    serde_json::from_slice::<Value>(&answer.body).expect("JSON")["outbox"].clone()
}
