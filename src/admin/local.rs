//! Routes of the local socket: what the commands ask. Whoever can open the socket may do all of it.

use crate::admin::Parts;
use crate::admin::host::Names;
use crate::admin::problem::Problem;
use crate::base::target::{Scheme, Target};
use crate::cache::Tally;
use crate::link::View;
use crate::store::Stat;
use crate::tls::hello::Splice;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

/// Bytes of a request's body: commands send a few words, packs are named by path.
const BODY_LIMIT: usize = 1 << 20;

/// The routes of the local socket, with those of other parts (`extra`).
pub fn local_router(parts: Parts, extra: Router) -> Router {
    Router::new()
        .route("/api/v1/status", get(status))
        .merge(super::store::routes())
        .route("/api/v1/why", get(why))
        .route("/api/v1/config", get(async |State(parts): State<Parts>| Json(Value::clone(&parts.effective.load()))))
        .with_state(parts)
        .merge(extra)
        .fallback(async || {
            Problem::new(StatusCode::NOT_FOUND, "api.unknown", "there is no such address", "compare the versions of command and node")
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
}

async fn status(State(parts): State<Parts>) -> Json<Value> {
    let mut document = shape(&parts.store.stat(), &parts.link.view(), &parts.cache.tally());
    let others = (parts.others)();
    let now = parts.clock.now();
    let reasons = parts.ready.reasons();
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
        document.insert("ready".into(), json!(reasons.is_empty()));
        document.insert("reasons".into(), json!(reasons));
        document.extend(others);
    }
    Json(document)
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

#[derive(Deserialize)]
struct Asked {
    url: String,
}

async fn why(State(parts): State<Parts>, Query(asked): Query<Asked>) -> Result<Json<Value>, Problem> {
    let target = target(&asked.url)?;
    let explain = parts.cache.explain(&target).await;
    let mut document = serde_json::to_value(explain).unwrap_or_default();
    document["url"] = json!(target.url());
    let opened = parts.interception.may_open(target.host(), target.port());
    document["lane"] = json!(lane(&parts.names, &target, document["lane"].as_str().unwrap_or("cache"), opened));
    if let (Scheme::Https, Err(why)) = (target.scheme(), opened) {
        // Nothing of the cache's rules is asked then.
        (document["decision"], document["rule"]) = (json!("tunnel"), json!(not_opened(why)));
        document["why"] = json!(why.word());
    }
    document["mirror"] = json!((parts.mirrored)(&target, None));
    Ok(Json(document))
}

/// The lane of a device's request. The cache knows only its own two; a secure address is opened for enrolled devices where it is
/// listed, else it reaches us as a tunnel, whatever the night has stored of it.
fn lane<'l>(names: &Names, target: &Target, cached: &'l str, opened: Result<(), Splice>) -> &'l str {
    match (target.scheme(), opened) {
        _ if names.owns(target.authority(), None) => "local",
        (Scheme::Https, Ok(())) => "intercept",
        (Scheme::Https, Err(_)) => "tunnel",
        (Scheme::Http, _) => cached,
    }
}

/// Why https to a place is passed on, for whoever asks by `bulak why`.
fn not_opened(why: Splice) -> &'static str {
    match why {
        Splice::Off => "not opened: interception is off, or there is no CA or consent",
        Splice::Port => "not opened: only port 443 is",
        Splice::Literal => "not opened: an address instead of a name",
        Splice::Refused => "not opened: on the list of hosts that are never opened",
        Splice::Unlisted => "not opened: not in intercept.hosts",
        Splice::Outside => "not opened: the CA cannot vouch for it",
        _ => "not opened for this device",
    }
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
    fn a_listed_host_is_opened() {
        let (names, target) = (Names::default(), Target::parse("https://a.kz/").expect("valid"));
        assert_eq!(lane(&names, &target, "pass", Ok(())), "intercept");
        let plain = Target::parse("http://a.kz/").expect("valid");
        assert_eq!(lane(&names, &plain, "cache", Ok(())), "cache");
    }

    #[test]
    fn lanes_of_devices() {
        let names = Names::new("abay-12", []);
        for (url, wanted) in [("http://abay-12.local/", "local"), ("https://a.kz/", "tunnel"), ("http://a.kz/", "pass")] {
            assert_eq!(lane(&names, &Target::parse(url).expect(url), "pass", Err(Splice::Off)), wanted, "{url}");
        }
    }
}
