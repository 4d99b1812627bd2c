//! Routes of the local socket: what the commands ask. Whoever can open the socket may do all of it.

use crate::admin::Parts;
use crate::admin::host::Names;
use crate::admin::problem::Problem;
use crate::base::digest::Digest;
use crate::base::target::{Scheme, Target};
use crate::cache::Tally;
use crate::link::View;
use crate::store::{Error, Stat};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::routing::{get, post};
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
        .route("/api/v1/store", get(async |State(parts): State<Parts>| Json(parts.store.stat())))
        .route("/api/v1/store/purge", post(purge))
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
    document["lane"] = json!(lane(&parts.names, &target, document["lane"].as_str().unwrap_or("cache")));
    Ok(Json(document))
}

/// The lane of a device's request. The cache knows only its own two; a secure address reaches us as a tunnel, whatever the night
/// has stored of it.
fn lane<'l>(names: &Names, target: &Target, cached: &'l str) -> &'l str {
    match target.scheme() {
        _ if names.owns(target.authority(), None) => "local",
        Scheme::Https => "tunnel",
        Scheme::Http => cached,
    }
}

/// Exactly one of the three.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Purge {
    url: Option<String>,
    host: Option<String>,
    digest: Option<String>,
    dry_run: bool,
}

#[derive(Debug, PartialEq)]
enum What {
    Url(Target),
    Host(String),
    Object(Digest),
}

impl Purge {
    fn what(&self) -> Result<What, Problem> {
        match (&self.url, &self.host, &self.digest) {
            (Some(url), None, None) => target(url).map(What::Url),
            (None, Some(host), None) if !host.is_empty() => Ok(What::Host(host.to_ascii_lowercase())),
            (None, None, Some(digest)) => digest.parse().map(What::Object).map_err(|_| {
                Problem::new(StatusCode::BAD_REQUEST, "store.bad_digest", format!("{digest:?} is no blake3 digest"), "copy it whole")
            }),
            _ => Err(Problem::new(StatusCode::BAD_REQUEST, "api.misuse", "one of url, host and digest is wanted", "give exactly one")),
        }
    }
}

async fn purge(State(parts): State<Parts>, Json(order): Json<Purge>) -> Result<Json<Value>, Problem> {
    let what = order.what()?;
    let entries =
        if order.dry_run { count(&parts, &what).await } else { forget(&parts, &what).await }.map_err(|error| from_store(&error))?;
    Ok(Json(json!({ "purged_entries": entries, "dry_run": order.dry_run })))
}

async fn forget(parts: &Parts, what: &What) -> Result<u64, Error> {
    match what {
        What::Url(target) => parts.store.forget(&target.key(), true).await,
        What::Host(host) => parts.store.forget_host(host).await,
        What::Object(digest) => parts.store.forget_object(digest).await,
    }
}

async fn count(parts: &Parts, what: &What) -> Result<u64, Error> {
    if let What::Url(target) = what {
        return Ok(parts.store.find(&target.key()).await?.len() as u64);
    }
    let mut found = 0;
    let of_host = |url: &str, wanted: &str| Target::parse(url).is_ok_and(|target| target.host() == wanted);
    parts
        .store
        .each(|entry| {
            found += u64::from(match what {
                What::Host(host) => of_host(&entry.meta.url, host),
                What::Object(digest) => entry.object == Some(*digest),
                What::Url(_) => false,
            });
        })
        .await?;
    Ok(found)
}

fn target(url: &str) -> Result<Target, Problem> {
    Target::parse(url).map_err(|bad| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "api.bad_url",
            format!("{url:?} is no address of a page ({bad})"),
            "write it with http:// or https://",
        )
    })
}

fn from_store(error: &Error) -> Problem {
    let status = match error {
        Error::Full => StatusCode::INSUFFICIENT_STORAGE,
        Error::Bundle { .. } | Error::Purged => StatusCode::CONFLICT,
        Error::ReadOnly | Error::Damaged | Error::Disk(_) | Error::Unusable(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let (id, what, remedy) = error.told();
    Problem::new(status, id, what, remedy)
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
    fn lanes_of_devices() {
        let names = Names::new("abay-12", []);
        for (url, wanted) in [("http://abay-12.local/", "local"), ("https://a.kz/", "tunnel"), ("http://a.kz/", "pass")] {
            assert_eq!(lane(&names, &Target::parse(url).expect(url), "pass"), wanted, "{url}");
        }
    }

    #[test]
    fn a_purge_names_exactly_one_thing() {
        let order = |text: &str| serde_json::from_str::<Purge>(text).expect("an order").what();
        assert_eq!(order(r#"{"host":"Example.KZ"}"#), Ok(What::Host("example.kz".into())));
        assert!(matches!(order(r#"{"url":"http://a.kz/x","dry_run":true}"#), Ok(What::Url(_))));
        for (text, id) in [
            ("{}", "api.misuse"),
            (r#"{"host":""}"#, "api.misuse"),
            (r#"{"host":"a","url":"http://a/"}"#, "api.misuse"),
            (r#"{"url":"a.kz"}"#, "api.bad_url"),
            (r#"{"digest":"xyz"}"#, "store.bad_digest"),
        ] {
            assert_eq!(order(text).expect_err(text).id, id);
        }
    }

    #[test]
    fn errors_of_the_store_have_ids_and_remedies() {
        for (error, id) in
            [(Error::Full, "store.full"), (Error::ReadOnly, "store.read_only"), (Error::Unusable("in use".into()), "store.unusable")]
        {
            let problem = from_store(&error);
            assert_eq!(problem.id, id);
            assert!(!problem.remedy.is_empty());
        }
    }
}
