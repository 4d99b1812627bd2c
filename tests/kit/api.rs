//! A node's API as a script sees it: a token with every request, answers in JSON, events line by line; and its routes as the sources
//! name them, so that none is forgotten.

use crate::kit;
use crate::kit::http::{Answer, Connection, PATIENCE};
use crate::kit::node::Node;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;

/// One route as it stands in the sources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    /// With its `{id}`.
    pub(crate) path: String,
    /// In capitals.
    pub(crate) method: String,
}

/// All routes below `/api/v1/` of the node (not the hub's), read from the sources.
pub(crate) fn routes() -> Vec<Route> {
    let mut found = Vec::new();
    walk(&kit::root().join("src"), &mut |file, text| {
        let name = file.strip_prefix(kit::root()).expect("below the root").to_string_lossy().into_owned();
        if name.starts_with("src/hub") || name.ends_with("/tests.rs") {
            return;
        }
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for part in text.split(".route(").skip(1) {
            let Some(path) = part.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) else { continue };
            if !path.starts_with("/api/v1/") || path.contains("{*") {
                continue;
            }
            let call = call(part);
            for method in ["get", "post", "put", "patch", "delete"] {
                let word = format!("{method}(");
                let begins = |at: usize| !call[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
                if call.match_indices(&word).any(|(at, _)| begins(at)) {
                    found.push(Route { path: path.to_owned(), method: method.to_ascii_uppercase() });
                }
            }
        }
    });
    found.sort();
    found.dedup();
    found
}

/// What stands within the brackets of a call whose opening bracket has been read.
fn call(text: &str) -> &str {
    let mut depth = 1;
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..at];
        }
    }
    text
}

fn walk(folder: &Path, look: &mut impl FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).expect("a folder").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, look);
        } else if path.extension().is_some_and(|end| end == "rs") {
            look(&path, &fs::read_to_string(&path).expect("a source file"));
        }
    }
}

/// Makes a token by the command, as a person would.
pub(crate) fn token(node: &Node, name: &str, role: &str) -> String {
    let made = command(node, &["user", "token", "add", name, "--role", role]);
    made["token"].as_str().unwrap_or_else(|| panic!("no token in {made}")).to_owned()
}

/// A command with `--json` that must end well, and its document.
pub(crate) fn command(node: &Node, words: &[&str]) -> Value {
    let output = node.command(&[words, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{words:?}: {error}: {said}"))
}

/// One request to the web port; an empty token is none at all.
pub(crate) fn ask(node: &Node, method: &str, path: &str, token: &str, body: Option<&Value>) -> Answer {
    let mut connection = Connection::open(node.web);
    connection.send(&request(node, method, path, &[&bearer(token)], body)).expect("sends");
    connection.read(method == "HEAD")
}

/// A `GET` that must be answered, and its document.
pub(crate) fn get(node: &Node, path: &str, token: &str) -> Value {
    let answer = ask(node, "GET", path, token, None);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.text()))
}

/// The field of a token; empty without one.
pub(crate) fn bearer(token: &str) -> String {
    if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}") }
}

/// A request's bytes; empty fields are left out.
pub(crate) fn request(node: &Node, method: &str, path: &str, fields: &[&str], body: Option<&Value>) -> Vec<u8> {
    let body = body.map(ToString::to_string).unwrap_or_default();
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n", node.web, body.len());
    if !body.is_empty() {
        text += "Content-Type: application/json\r\n";
    }
    for field in fields.iter().filter(|field| !field.is_empty()) {
        text = text + field + "\r\n";
    }
    (text + "\r\n" + &body).into_bytes()
}

/// The status alone, of answers that may never end.
pub(crate) fn status(node: &Node, route: &Route, token: &str) -> u16 {
    let path = route.path.replace("{id}", "nothing");
    let mut connection = Connection::open(node.web);
    connection.send(&request(node, &route.method, &path, &[&bearer(token)], None)).expect("sends");
    let mut line = String::new();
    connection.raw().read_line(&mut line).expect("an answer");
    line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{route:?}: {line:?}"))
}

/// One event as it came.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Event {
    /// For `Last-Event-ID`.
    pub(crate) id: String,
    /// Its kind.
    pub(crate) name: String,
    /// Its document.
    pub(crate) data: Value,
}

/// A stream of events.
pub(crate) struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Opens one and waits until it is heard; after an event, if any.
    pub(crate) fn open(node: &Node, token: &str, last: Option<&str>) -> Stream {
        let mut stream = TcpStream::connect_timeout(&node.web, PATIENCE).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        let after = last.map(|id| format!("Last-Event-ID: {id}")).unwrap_or_default();
        stream.write_all(&request(node, "GET", "/api/v1/events", &[&bearer(token), &after], None)).expect("sends");
        let mut stream = Stream(BufReader::new(stream));
        let head = stream.until(str::is_empty);
        assert!(
            head[0].contains(" 200 ") && head.iter().any(|line| line.eq_ignore_ascii_case("content-type: text/event-stream")),
            "{head:?}"
        );
        stream.until(|line| line.starts_with(": hello"));
        stream
    }

    /// The next event; `None` when the stream has ended. Chunk sizes and comments are passed over: no field looks like one.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let line = self.line()?;
            if let Some(id) = line.strip_prefix("id: ") {
                id.clone_into(&mut event.id);
            } else if let Some(name) = line.strip_prefix("event: ") {
                name.clone_into(&mut event.name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                event.data = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error}: {data}"));
                return Some(event);
            }
        }
    }

    /// The next event of this kind.
    pub(crate) fn next_of(&mut self, name: &str) -> Event {
        loop {
            let event = self.next().unwrap_or_else(|| panic!("the stream ended before {name}"));
            if event.name == name {
                return event;
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) => panic!("no event came: {error}"),
        }
    }

    fn until(&mut self, mut last: impl FnMut(&str) -> bool) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().unwrap_or_else(|| panic!("the stream ended: {lines:?}"));
            let done = last(&line);
            lines.push(line);
            if done {
                return lines;
            }
        }
    }
}
