//! A stand-in for a Giga Meter server that holds its clients to the documented rules: a key, registration first, figures in kbit/s,
//! versions in three numbers (others are dropped with an empty 201), no duplicate checks (one fails the whole batch), 60 requests a
//! minute. It knows no duplicates of measurements, so that the tests see each. It may be told to misbehave.

use crate::kit::origin::{Ask, Origin, Reply, answer};
use bulak::base::clock::Clock;
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The key that it takes.
pub(crate) const KEY: &str = "a-key.of-the-tests";
/// The school that it knows.
pub(crate) const SCHOOL: &str = "3b5d0a9e-0f3c-4c5e-9d52-1c2f6a7b8d90";

/// What it does about the next record, for once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Keeps it and hangs up without an answer.
    CutAfter,
    /// Hangs up and keeps nothing.
    CutBefore,
    /// Keeps it and says nothing until the client has gone.
    Hang,
    /// Answers with this status and no document.
    Status(u16),
    /// Keeps nothing, and says why.
    Says(&'static str),
    /// A portal's page, status 200.
    Portal,
    /// Keeps it, and answers 200 instead of 201.
    Ok,
    /// Keeps it, and answers 201 with megabytes.
    Huge,
}

/// What it has.
#[derive(Default)]
pub(crate) struct Books {
    /// Registrations.
    pub(crate) users: Vec<Value>,
    /// Measurements, duplicates and all.
    pub(crate) tests: Vec<Value>,
    /// Connectivity checks.
    pub(crate) checks: Vec<Value>,
    /// Records of an app that is too old.
    pub(crate) dropped: usize,
    /// What clients did against the rules.
    pub(crate) complaints: Vec<String>,
    /// Whether clients may read measurements.
    pub(crate) closed: bool,
    /// The school and country that it knows; others are refused.
    pub(crate) country: String,
    /// The key that it takes.
    pub(crate) key: String,
    moods: VecDeque<Mood>,
    asked: VecDeque<Instant>,
}

/// A running server.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    origin: Origin,
    books: Arc<Mutex<Books>>,
}

impl Server {
    /// Starts on a free port.
    pub(crate) fn start() -> Server {
        let books = Arc::new(Mutex::new(Books { country: "KZ".into(), key: KEY.into(), ..Books::default() }));
        let (own, clock) = (Arc::clone(&books), Clock::system());
        let origin = Origin::start(move |ask| own.lock().expect("no thread panics holding it").reply(ask, clock.steady()));
        Server { addr: origin.addr, origin, books }
    }

    /// `http://…/api/v1`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/api/v1", self.addr)
    }

    /// Its books.
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("no thread panics holding it")
    }

    /// What it does about the next records.
    pub(crate) fn moods(&self, moods: &[Mood]) {
        self.books().moods.extend(moods);
    }

    /// How often a path was asked for with this method.
    pub(crate) fn asks(&self, method: &str, path: &str) -> usize {
        self.origin.asks().iter().filter(|ask| ask.method == method && ask.target.contains(path)).count()
    }
}

fn document(status: &str, body: &Value) -> Reply {
    Reply::Bytes(answer(status, &["Content-Type: application/json"], body.to_string().as_bytes()))
}

fn refuse(why: &str) -> Reply {
    document("400 Bad Request", &json!({ "success": false, "message": why }))
}

impl Books {
    fn reply(&mut self, ask: &Ask, now: Instant) -> Reply {
        while self.asked.front().is_some_and(|asked| now.saturating_duration_since(*asked) > Duration::from_secs(60)) {
            self.asked.pop_front();
        }
        self.asked.push_back(now);
        if self.asked.len() > 60 {
            return Reply::Bytes(answer("429 Too Many Requests", &["Retry-After: 60"], b""));
        }
        if ask.field("authorization") != Some(&format!("Bearer {}", self.key)) {
            return Reply::Bytes(answer("401 Unauthorized", &[], b""));
        }
        let body: Value = serde_json::from_slice(&ask.body).unwrap_or(Value::Null);
        let path = ask.target.strip_prefix("/api/v1").unwrap_or_default();
        if (ask.method.as_str(), path) == ("POST", "/dailycheckapp_schools") {
            return self.register(&body);
        }
        if ask.method == "GET" && path.starts_with("/measurements?") {
            return self.read(path);
        }
        if ask.method != "POST" {
            return Reply::Bytes(answer("404 Not Found", &[], b""));
        }
        let mood = self.moods.pop_front();
        match mood {
            Some(Mood::CutBefore) => return Reply::Close(Vec::new()),
            Some(Mood::Status(status)) => return Reply::Bytes(answer(&format!("{status} Told"), &[], b"")),
            Some(Mood::Says(why)) => return refuse(why),
            Some(Mood::Portal) => return Reply::Bytes(answer("200 OK", &["Content-Type: text/html"], b"<html>Please sign in</html>")),
            _ => {}
        }
        let reply = if path == "/measurements" {
            self.measure(&body)
        } else if path.strip_prefix("/connectivity/") == Some(SCHOOL) {
            self.check(&body)
        } else {
            refuse("school does not exist")
        };
        match mood {
            Some(Mood::CutAfter) => Reply::Close(Vec::new()),
            Some(Mood::Hang) => Reply::Act(Box::new(|stream| {
                // Until the client goes.
                let mut rest = [0; 64];
                while matches!(std::io::Read::read(stream, &mut rest), Ok(read) if read > 0) {}
            })),
            Some(Mood::Ok) => document("200 OK", &json!({ "success": true })),
            Some(Mood::Huge) => Reply::Act(Box::new(|stream| {
                let _sent = stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 8000000\r\n\r\n{\"success\":true,\"data\":\"");
                let _sent = stream.write_all(&vec![b'x'; 8_000_000 - 24]); // the client may have had enough
            })),
            _ => reply,
        }
    }

    fn register(&mut self, body: &Value) -> Reply {
        for field in ["windows_username", "installed_path", "wifi_connections"] {
            if !body[field].is_null() {
                self.complaints.push(format!("{field} is personal"));
            }
        }
        let fields = ["user_id", "giga_id_school", "mac_address", "os", "app_version", "created", "country_code"];
        for field in fields.into_iter().chain(["network_information", "ip_address"]) {
            if !body[field].is_string() {
                return refuse(&format!("{field} must be a string"));
            }
        }
        if body["is_blocked"] != false {
            return refuse("is_blocked must be false");
        }
        if let Err(reply) = self.school(body) {
            return reply;
        }
        self.users.push(body.clone());
        document("201 Created", &json!({ "success": true, "data": { "user_id": body["user_id"] } }))
    }

    fn school(&self, body: &Value) -> Result<(), Reply> {
        if body["giga_id_school"] != SCHOOL {
            return Err(refuse("school does not exist"));
        }
        if body["country_code"] != self.country.as_str() {
            return Err(refuse("wrong country code"));
        }
        Ok(())
    }

    fn measure(&mut self, body: &Value) -> Reply {
        if !is_taken(body["app_version"].as_str().unwrap_or_default()) {
            self.dropped += 1;
            return Reply::Bytes(answer("201 Created", &[], b""));
        }
        if !self.users.iter().any(|user| user["user_id"] == body["BrowserID"]) {
            return refuse("device is not registered");
        }
        if let Err(reply) = self.school(body) {
            return reply;
        }
        let wrong = wrong(body);
        if !wrong.is_empty() {
            let all = wrong.join("; ");
            self.complaints.extend(wrong);
            return refuse(&all);
        }
        self.tests.push(body.clone());
        document("201 Created", &json!({ "success": true, "data": {} }))
    }

    fn check(&mut self, body: &Value) -> Reply {
        let Some(records) = body["records"].as_array().filter(|records| !records.is_empty()) else {
            return refuse("records must hold something");
        };
        let mut known: BTreeSet<String> = self.checks.iter().map(|check| check["app_local_uuid"].to_string()).collect();
        for record in records {
            let whole = record["isConnected"].is_boolean() && record["timestamp"].is_string() && record["browserId"].is_string();
            if !whole || record["giga_id_school"] != SCHOOL {
                return refuse("a record is not whole");
            }
            if !known.insert(record["app_local_uuid"].to_string()) {
                return refuse("duplicate key value violates unique constraint");
            }
        }
        self.checks.extend(records.iter().cloned());
        document("201 Created", &json!({ "success": true, "data": {} }))
    }

    fn read(&self, path: &str) -> Reply {
        if self.closed {
            return Reply::Bytes(answer("403 Forbidden", &[], b""));
        }
        let query: Vec<(String, String)> =
            url::form_urlencoded::parse(path.split_once('?').map_or("", |(_, query)| query).as_bytes()).into_owned().collect();
        let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default();
        let asked = (value("filterBy"), value("filterCondition"), value("giga_id_school"));
        if asked != ("timestamp".into(), "eq".into(), SCHOOL.into()) {
            return refuse("no such filter");
        }
        let found: Vec<&Value> = self.tests.iter().filter(|test| test["Timestamp"] == value("filterValue")).collect();
        document("200 OK", &json!({ "success": true, "data": found }))
    }
}

/// Three numbers, 1.0.9 or later.
fn is_taken(version: &str) -> bool {
    let numbers: Option<Vec<u64>> = version.split('.').map(|part| part.parse().ok()).collect();
    numbers.is_some_and(|numbers| numbers.len() == 3 && numbers >= vec![1, 0, 9])
}

/// What is wrong with a measurement's figures and units.
fn wrong(body: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut must = |is: bool, what: &str| {
        if !is {
            wrong.push(format!("{what}: {body}"));
        }
    };
    must(body["Latency"].is_u64(), "Latency is whole milliseconds");
    must(body["Timestamp"].as_str().is_some_and(|text| text.ends_with('Z') && text.len() == 24), "Timestamp has milliseconds");
    for (way, field, kernel) in [("NDTResult.S2C", "Download", "BytesAcked"), ("NDTResult.C2S", "Upload", "BytesReceived")] {
        let result = &body["Results"][way];
        let (client, server) = (&result["LastClientMeasurement"], &result["LastServerMeasurement"]);
        must(server["TCPInfo"][kernel].is_u64(), "the server counts bytes by the kernel's figure");
        let seconds = client["ElapsedTime"].as_f64().unwrap_or(0.0);
        must((0.1..60.0).contains(&seconds), "ElapsedTime of the client is in seconds");
        let mbps = client["NumBytes"].as_f64().unwrap_or(0.0) * 8.0 / 1e6 / seconds;
        let kbit = body[field].as_f64().unwrap_or(0.0);
        must((0.5..2.0).contains(&(kbit / 1e3 / mbps)), "rates are in kbit/s");
        must((client["MeanClientMbps"].as_f64().unwrap_or(0.0) * 1e3 - kbit).abs() < 1.0, "MeanClientMbps says the same");
        let there = server["TCPInfo"]["ElapsedTime"].as_f64().unwrap_or(1e6);
        must(there > 1e5, "ElapsedTime of the server is in microseconds");
        let ends = [&server["ConnectionInfo"]["Client"], &server["ConnectionInfo"]["Server"]];
        must(ends.iter().all(|end| end.is_null() || **end == ""), "no addresses");
    }
    must(body["Results"]["NDTResult.S2C"]["LastServerMeasurement"]["TCPInfo"]["MinRTT"].is_u64(), "latency comes from MinRTT");
    wrong
}
