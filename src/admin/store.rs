//! The store's routes: figures, purges, and long work as jobs (`job.rs`).

use crate::admin::Parts;
use crate::admin::job::start;
use crate::base::digest::Digest;
use crate::base::problem::Problem;
use crate::base::target::Target;
use crate::life::job::View;
use crate::store::bundle::{Orders, Selection, Step};
use crate::store::{By, Error, Stat};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::PathBuf;
use utoipa::{OpenApi, ToSchema};

/// The routes that socket and web port share.
pub(super) fn shared() -> Router<Parts> {
    Router::new().route("/api/v1/store", get(figures)).route("/api/v1/store/purge", post(purge)).route("/api/v1/store/repack", post(repack))
}

/// Those of the socket alone: they name folders of the machine, or hosts that devices asked for.
pub(super) fn local() -> Router<Parts> {
    Router::new()
        .route("/api/v1/store/survey", post(survey))
        .route("/api/v1/store/export", post(export))
        .route("/api/v1/store/import", post(import))
}

#[derive(OpenApi)]
#[openapi(paths(figures, purge, repack))]
pub(super) struct Document;

type Answer = Result<(StatusCode, Json<View>), Problem>;

/// The store's figures.
#[utoipa::path(get, path = "/api/v1/store", tag = "store", responses((status = 200, description = "the figures", body = Object)))]
async fn figures(State(parts): State<Parts>) -> Json<Stat> {
    Json(parts.store.stat())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Survey {
    by: Option<By>,
}

async fn survey(State(parts): State<Parts>, Json(order): Json<Survey>) -> Answer {
    let store = parts.store.clone();
    let work = start(&parts, "store.survey", |telling| async move {
        let told = |done, total| telling.tell(Step { phase: "counting".into(), done, total, current: String::new() });
        Ok(json!(store.survey(order.by, told).await?))
    });
    work.map(|job| (StatusCode::ACCEPTED, Json(job)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Export {
    folder: PathBuf,
    #[serde(default)]
    what: Selection,
    #[serde(default)]
    dry_run: bool,
}

async fn export(State(parts): State<Parts>, Json(order): Json<Export>) -> Answer {
    let store = parts.store.clone();
    let work = start(&parts, "store.export", |telling| async move {
        Ok(json!(store.export(&order.folder, order.what, order.dry_run, |step| telling.tell(step)).await?))
    });
    work.map(|job| (StatusCode::ACCEPTED, Json(job)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    folder: PathBuf,
    #[serde(default)]
    orders: Orders,
}

async fn import(State(parts): State<Parts>, Json(order): Json<Import>) -> Answer {
    let store = parts.store.clone();
    let work = start(&parts, "store.import", |telling| async move {
        Ok(json!(store.import(&order.folder, order.orders, |step| telling.tell(step)).await?))
    });
    work.map(|job| (StatusCode::ACCEPTED, Json(job)))
}

/// How to repack.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({ "dry_run": true }))]
struct Repack {
    /// Only say what is there.
    dry_run: bool,
}

/// Makes what is stored smaller, now: what the nights do by and by.
#[utoipa::path(
    post,
    path = "/api/v1/store/repack",
    tag = "store",
    request_body = Repack,
    responses((status = 202, description = "a job", body = View), (status = 409, description = "the store is busy", body = Problem))
)]
async fn repack(State(parts): State<Parts>, Json(order): Json<Repack>) -> Answer {
    let store = parts.store.clone();
    let work =
        start(&parts, "store.repack", |telling| async move { Ok(json!(store.repack(order.dry_run, |step| telling.tell(step)).await?)) });
    work.map(|job| (StatusCode::ACCEPTED, Json(job)))
}

/// What to forget: exactly one of url, host, pack and digest.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({ "host": "example.kz", "subdomains": true, "dry_run": true }))]
struct Purge {
    /// All that is stored of an address.
    url: Option<String>,
    /// All that is stored of a host.
    host: Option<String>,
    /// And of its subdomains.
    subdomains: bool,
    /// All that a pack keeps.
    pack: Option<String>,
    /// A body, by its blake3.
    digest: Option<String>,
    /// Only say how much it would be.
    dry_run: bool,
}

/// What was forgotten.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
struct Purged {
    /// Whether nothing was done.
    dry_run: bool,
    /// Stored answers.
    #[serde(rename = "purged_entries")]
    entries: u64,
    /// Addresses that a pack no longer keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unpinned_urls: Option<u64>,
}

#[derive(Debug, PartialEq)]
enum What {
    Url(Target),
    /// And its subdomains?
    Host(String, bool),
    Pack(String),
    Object(Digest),
}

impl Purge {
    fn what(&self) -> Result<What, Problem> {
        match (&self.url, &self.host, &self.pack, &self.digest) {
            (Some(url), None, None, None) => super::local::target(url).map(What::Url),
            (None, Some(host), None, None) if !host.is_empty() => Ok(What::Host(host.to_ascii_lowercase(), self.subdomains)),
            (None, None, Some(pack), None) if !pack.is_empty() => Ok(What::Pack(pack.clone())),
            (None, None, None, Some(digest)) => digest.parse().map(What::Object).map_err(|_| {
                Problem::new(StatusCode::BAD_REQUEST, "store.bad_digest", format!("{digest:?} is no blake3 digest"), "copy it whole")
            }),
            _ => {
                let message = "one of url, host, pack and digest is wanted";
                Err(Problem::new(StatusCode::BAD_REQUEST, "api.misuse", message, "give exactly one"))
            }
        }
    }
}

/// Forgets what is stored, for good.
#[utoipa::path(
    post,
    path = "/api/v1/store/purge",
    tag = "store",
    request_body = Purge,
    responses((status = 200, description = "what was forgotten", body = Purged), (status = 400, description = "not exactly one thing", body = Problem))
)]
async fn purge(State(parts): State<Parts>, Json(order): Json<Purge>) -> Result<Json<Purged>, Problem> {
    let what = order.what()?;
    let mut purged = Purged { dry_run: order.dry_run, ..Purged::default() };
    let done = match &what {
        What::Pack(pack) => parts.store.forget_set(pack, order.dry_run).await.map(|(urls, entries)| {
            purged.unpinned_urls = Some(urls);
            entries
        }),
        what if order.dry_run => count(&parts, what).await,
        what => forget(&parts, what).await,
    };
    purged.entries = done.map_err(|error| problem(&error))?;
    Ok(Json(purged))
}

async fn forget(parts: &Parts, what: &What) -> Result<u64, Error> {
    match what {
        What::Url(target) => parts.store.forget(&target.key(), true).await,
        What::Host(host, false) => parts.store.forget_host(host).await,
        What::Host(host, true) => parts.store.forget_site(host).await,
        What::Pack(pack) => parts.store.forget_set(pack, false).await.map(|done| done.1),
        What::Object(digest) => parts.store.forget_object(digest).await,
    }
}

async fn count(parts: &Parts, what: &What) -> Result<u64, Error> {
    match what {
        What::Url(target) => return Ok(parts.store.find(&target.key()).await?.len() as u64),
        What::Pack(pack) => return parts.store.forget_set(pack, true).await.map(|would| would.1),
        What::Host(..) | What::Object(_) => {}
    }
    let mut found = 0;
    let of_host = |url: &str, wanted: &str, below: bool| {
        Target::parse(url).is_ok_and(|target| {
            let host = target.host();
            host == wanted || below && host.strip_suffix(wanted).is_some_and(|rest| rest.ends_with('.'))
        })
    };
    parts
        .store
        .each(|entry| {
            found += u64::from(match what {
                What::Host(host, below) => of_host(&entry.meta.url, host, *below),
                What::Object(digest) => entry.object == Some(*digest),
                What::Url(_) | What::Pack(_) => false,
            });
        })
        .await?;
    Ok(found)
}

/// An error of the store as a document.
pub(super) fn problem(error: &Error) -> Problem {
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

    #[test]
    fn a_purge_names_exactly_one_thing() {
        let order = |text: &str| serde_json::from_str::<Purge>(text).expect("an order").what();
        assert_eq!(order(r#"{"host":"Example.KZ"}"#), Ok(What::Host("example.kz".into(), false)));
        assert_eq!(order(r#"{"host":"a.kz","subdomains":true}"#), Ok(What::Host("a.kz".into(), true)));
        assert_eq!(order(r#"{"pack":"kk-wiki"}"#), Ok(What::Pack("kk-wiki".into())));
        assert!(matches!(order(r#"{"url":"http://a.kz/x","dry_run":true}"#), Ok(What::Url(_))));
        for (text, id) in [
            ("{}", "api.misuse"),
            (r#"{"host":""}"#, "api.misuse"),
            (r#"{"pack":""}"#, "api.misuse"),
            (r#"{"host":"a","url":"http://a/"}"#, "api.misuse"),
            (r#"{"url":"a.kz"}"#, "api.bad_url"),
            (r#"{"digest":"xyz"}"#, "store.bad_digest"),
        ] {
            assert_eq!(order(text).expect_err(text).id, id);
        }
    }

    #[test]
    fn errors_of_the_store_have_ids_and_remedies() {
        for (error, id, remedy) in [
            (Error::Full, "store.full", "raise store.quota or purge what is not needed"),
            (Error::ReadOnly, "store.read_only", "make the folder of the store writable"),
            (Error::Unusable("in use; stop it".into()), "store.unusable", "stop it"),
        ] {
            let problem = problem(&error);
            assert_eq!((problem.id.as_str(), problem.remedy.as_str()), (id, remedy));
        }
    }
}
