//! Routes of the local socket: what the commands ask, the API and a little more. Whoever can open the socket may do all of it.

use crate::admin::Parts;
use crate::admin::ready::Pending;
use crate::base::problem::Problem;
use crate::base::refusal::as_problems;
use crate::base::target::Target;
use crate::cache::Tally;
use crate::link::View;
use crate::store::Stat;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::from_fn;
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

/// Bytes of a request's body: commands send a few words, packs are named by path.
const BODY_LIMIT: usize = 1 << 20;

/// Refused packs that are told one by one; `night.refused` holds all.
const PACKS: usize = 20;

/// The routes of the local socket, with those of other parts (`extra`).
pub fn local_router(parts: &Parts, extra: Router) -> Router {
    Router::new()
        .merge(super::store::local())
        .route("/api/v1/why", get(super::why::why))
        .route("/api/v1/config", get(async |State(parts): State<Parts>| Json(Value::clone(&parts.effective.load()))))
        .with_state(parts.clone())
        .merge(super::api::open(parts, extra))
        .fallback(async || super::api::unknown())
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn(as_problems))
}

/// How the node is doing: `ready`, `reasons`, `notices`, its parts' figures and the night. What is not known is null, never 0.
#[utoipa::path(
    get,
    path = "/api/v1/status",
    tag = "status",
    responses((status = 200, description = "the node's status", body = Object))
)]
pub(super) async fn status(State(parts): State<Parts>) -> Json<Value> {
    let mut document = shape(&parts.store.stat(), &parts.link.view(), &parts.cache.tally());
    let others = (parts.others)();
    let now = parts.clock.now();
    let (reasons, pending) = (parts.ready.reasons(), parts.ready.pending());
    if let Some(document) = document.as_object_mut() {
        document.insert("name".into(), json!(&*parts.name));
        document.insert("version".into(), json!(env!("CARGO_PKG_VERSION")));
        document.insert("now".into(), json!(now.to_rfc3339()));
        document.insert("clock_ok".into(), json!(parts.clock.trusted()));
        document.insert("started".into(), json!(parts.started.to_rfc3339()));
        document.insert("uptime_seconds".into(), json!(now.since(parts.started).as_secs()));
        document.insert("proxy".into(), json!(parts.doors.proxy));
        document.insert("web".into(), json!(parts.doors.web));
        document.insert("mirror".into(), json!(parts.doors.mirror));
        document.insert("tls".into(), json!(*parts.tls));
        document.insert("sni".into(), json!(*parts.sni));
        document.insert("ready".into(), json!(reasons.is_empty()));
        document.insert("reasons".into(), json!(reasons));
        document.insert("notices".into(), json!(notices(&pending, &parts.interception.notices(), &others)));
        document.insert("config".into(), json!(pending));
        document.extend(others);
    }
    Json(document)
}

/// What works otherwise than it was configured, while the node is ready all the same.
fn notices(pending: &Pending, https: &[String], others: &Map<String, Value>) -> Vec<String> {
    let refused = pending.refused.iter();
    let settings =
        refused.map(|why| format!("the changed configuration is refused, the old one stays in force: {why}; bulak config check"));
    let waiting = Some(pending.waiting.join(", ")).filter(|keys| !keys.is_empty());
    let settings = settings.chain(waiting.map(|keys| format!("{keys}: changed, counts only after a restart; systemctl restart bulak")));
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let refused = others.get("night").and_then(|night| night["refused"].as_array()).map(Vec::as_slice).unwrap_or_default();
    let packs = refused.iter().take(PACKS).map(|pack| {
        let why: Vec<String> = pack["why"].as_array().into_iter().flatten().map(word).collect();
        format!("pack {} is refused: {}", word(&pack["file"]), why.join("; "))
    });
    settings.chain(https.iter().cloned()).chain(packs).collect()
}

/// The parts' figures as one document; what is not known is `null`, never 0.
fn shape(store: &Stat, link: &View, tally: &Tally) -> Value {
    let client_bytes: u64 = tally.by_way.values().flat_map(|words| words.values()).map(|(_, bytes)| bytes).sum();
    json!({
        "store": store,
        "link": link,
        "cache": { "by_way": tally.by_way, "collapsed": tally.collapsed, "upstream_bytes": tally.upstream_bytes, "client_bytes": client_bytes },
    })
}

pub(super) fn target(url: &str) -> Result<Target, Problem> {
    Target::parse(url).map_err(|bad| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "api.bad_url",
            format!("{url:?} is no address of a page ({bad})"),
            "write it with http:// or https://",
        )
    })
}

#[derive(OpenApi)]
#[openapi(paths(status))]
pub(super) struct Document;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link;

    #[test]
    fn unknown_figures_are_null_and_sums_are_sums() {
        let view = View {
            state: link::State::Unknown,
            since: "2026-11-01T00:00:00Z".into(),
            download: None,
            rtt_seconds: None,
            first_byte_seconds: None,
            failed_ratio: None,
            passive: link::passive::Passive::default(),
            bytes: std::collections::BTreeMap::new(),
        };
        let mut tally = Tally::default();
        tally.by_way.entry("http".into()).or_default().insert("hit".into(), (3, 100));
        tally.by_way.entry("http".into()).or_default().insert("miss".into(), (1, 20));
        let document = shape(&Stat::default(), &view, &tally);
        assert_eq!(document["link"]["state"], "unknown");
        assert!(document["link"]["rtt_seconds"].is_null());
        assert_eq!(document["cache"]["client_bytes"], 120);
        assert_eq!(document["cache"]["by_way"]["http"]["hit"], json!([3, 100]));
    }

    #[test]
    fn refused_packs_and_obstacles_are_notices() {
        let others = json!({ "night": { "refused": [{ "file": "a.toml", "why": ["no signature", "sign it"] }] } });
        let told = notices(&Pending::default(), &["no CA".to_owned()], others.as_object().expect("an object"));
        assert_eq!(told, ["no CA", "pack a.toml is refused: no signature; sign it"]);
        assert!(notices(&Pending::default(), &[], &Map::new()).is_empty());
        let pending = Pending { waiting: vec!["hub.url".into(), "store.quota".into()], refused: Some("x.toml has 1 mistake".into()) };
        let told = notices(&pending, &[], &Map::new());
        assert!(told.len() == 2 && told[0].contains("x.toml has 1 mistake"), "{told:?}");
        assert!(told[1].starts_with("hub.url, store.quota: ") && told[1].contains("restart"), "{told:?}");
    }
}
