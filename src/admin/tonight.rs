//! Routes of the web port that take a form from the class: "fetch tonight", and the start page of a recording.
//!
//! A page on the Internet must not be able to send them in a pupil's name. So each holds a proof that only our own page has, bound to
//! its address and day; the browser says from where it was sent, which must be ourselves or the missing page itself; and a browser that
//! says how it was sent must have been sent by a person who opened a page.

use crate::admin::Parts;
use crate::admin::told::{Told, failed};
use crate::base::problem::Problem;
use crate::base::target::Target;
use crate::portal::tonight::{Outcome, Record, Tonight};
use crate::portal::{Arrival, Frame};
use crate::prefetch::Night;
use axum::extract::{Form, Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::{HeaderMap, HeaderName, StatusCode, header};
use serde::Deserialize;

/// What a form about the recording is about.
const RECORD: &str = "record";

/// The word for a form that was not ours.
const NOT_OURS: &str = "not_ours";

/// The routes, for the web port.
pub fn tonight_routes(parts: Parts, night: Night) -> Router {
    Router::new()
        .route("/tonight", post(wish).get(async || Redirect::to("/")))
        .route("/tonight/{outcome}", get(again))
        .route("/record", get(start).post(claim))
        .with_state((parts, night))
}

/// "Fetch tonight".
#[derive(Deserialize)]
struct Wish {
    url: String,
    token: String,
}

#[derive(Deserialize)]
struct Claim {
    token: String,
}

type Shared = State<(Parts, Night)>;

async fn wish(
    State((parts, night)): Shared,
    arrival: Option<Extension<Arrival>>,
    told: Told,
    headers: HeaderMap,
    Form(form): Form<Wish>,
) -> Result<Response, Problem> {
    let arrival = arrival.map(|Extension(arrival)| arrival);
    let about = Target::parse(&form.url).ok();
    let ours = night.is_ours(&form.url, &form.token)
        && is_sent_by_a_person(&headers, |origin| {
            let about = about.as_ref();
            is_own(&parts, origin, arrival) || about.is_some_and(|target| target.origin() == origin || is_copy(&parts, target, origin))
        });
    let (status, outcome) = if ours {
        let answer = night.wish(&form.url, arrival.map(|arrival| arrival.client.ip())).await.map_err(|error| unable(&error))?;
        (if answer.is_good() { StatusCode::OK } else { StatusCode::FORBIDDEN }, Outcome::Judged(answer))
    } else {
        (StatusCode::FORBIDDEN, Outcome::NotOurs)
    };
    let mut page = shown(&parts, &told, outcome)?;
    *page.status_mut() = status;
    Ok(page)
}

/// The same sentence in another language: a form's answer has no address that a link could lead back to.
async fn again(State((parts, _)): Shared, told: Told, Path(word): Path<String>) -> Result<Response, Problem> {
    match named(&word) {
        Some(outcome) => shown(&parts, &told, outcome),
        None => Ok(Redirect::to("/").into_response()),
    }
}

fn shown(parts: &Parts, told: &Told, outcome: Outcome) -> Result<Response, Problem> {
    let path = format!("/tonight/{}", word(outcome));
    let frame = Frame::new(told.language, &path, &parts.reach.title);
    Ok(told.page(Tonight { frame, outcome }.render().map_err(failed)?))
}

/// What came of a form, in a word for its address.
fn word(outcome: Outcome) -> String {
    match outcome {
        Outcome::Judged(answer) => serde_json::to_value(answer).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default(),
        Outcome::NotOurs => NOT_OURS.to_owned(),
    }
}

fn named(word: &str) -> Option<Outcome> {
    if word == NOT_OURS {
        return Some(Outcome::NotOurs);
    }
    serde_json::from_value(word.into()).ok().map(Outcome::Judged)
}

async fn start(State((parts, night)): Shared, arrival: Option<Extension<Arrival>>, told: Told) -> Result<Response, Problem> {
    let (waits, on) = arrival.map_or((false, false), |Extension(arrival)| night.recording_of(arrival.client.ip()));
    let token = waits.then(|| night.token(RECORD));
    let frame = Frame::new(told.language, "/record", &parts.reach.title);
    Ok(told.page(Record { frame, token: token.as_deref(), on }.render().map_err(failed)?))
}

async fn claim(
    State((parts, night)): Shared,
    arrival: Option<Extension<Arrival>>,
    headers: HeaderMap,
    Form(form): Form<Claim>,
) -> Result<Response, Problem> {
    let refused = || Problem::new(StatusCode::FORBIDDEN, "record.foreign", "this form is not ours, or too old", "open /record again");
    let Some(Extension(arrival)) = arrival else { return Err(refused()) };
    if !night.is_ours(RECORD, &form.token) || !is_sent_by_a_person(&headers, |origin| is_own(&parts, origin, Some(arrival))) {
        return Err(refused());
    }
    night.claim_recording(arrival.client.ip());
    Ok(Redirect::to("/record").into_response())
}

/// Whether an origin is one of this node's, on whatever port.
fn is_own(parts: &Parts, origin: &str, arrival: Option<Arrival>) -> bool {
    origin.split_once("://").is_some_and(|(_, host)| parts.names.owns(host, arrival))
}

/// Whether an origin is the one under which this very target is mirrored by name, or one of the mirror's two for all by path.
fn is_copy(parts: &Parts, target: &Target, origin: &str) -> bool {
    let Some(copy) = (parts.mirrored)(target, None).and_then(|address| Target::parse(&address).ok()) else { return false };
    let Some((label, zone)) = copy.host().split_once('.') else { return false };
    let Some((begin, port)) = copy.origin().split_once(copy.host()) else { return false };
    [format!("{label}.{zone}"), format!("path.{zone}"), zone.to_owned()].iter().any(|host| origin == format!("{begin}{host}{port}"))
}

/// Whether a form comes from an allowed origin, and where the browser says so, by a person who pressed a button.
fn is_sent_by_a_person(headers: &HeaderMap, allowed: impl Fn(&str) -> bool) -> bool {
    let field = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let said = |name: &'static str, wanted: &str| field(HeaderName::from_static(name)).is_none_or(|value| value == wanted);
    if !said("sec-fetch-mode", "navigate") || !said("sec-fetch-dest", "document") {
        return false;
    }
    // Without either nothing is known, and then nothing is done.
    match field(header::ORIGIN) {
        Some(origin) => allowed(origin),
        None => field(header::REFERER).and_then(|referer| Target::parse(referer).ok()).is_some_and(|page| allowed(page.origin())),
    }
}

fn unable(error: &crate::prefetch::Error) -> Problem {
    tracing::error!(%error, "a wish could not be written down");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "wish.failed", "the wish could not be written down", "try again in a minute")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_came_of_a_form_has_an_address() {
        use crate::prefetch::wish::Answer;
        for (outcome, wanted) in [
            (Outcome::Judged(Answer::Added), "added"),
            (Outcome::Judged(Answer::ClientFull), "client_full"),
            (Outcome::NotOurs, "not_ours"),
        ] {
            assert_eq!((word(outcome).as_str(), named(wanted)), (wanted, Some(outcome)));
        }
        assert_eq!(named("<b>"), None);
    }

    #[test]
    fn forms_come_from_people_on_allowed_pages() {
        let allowed = |origin: &str| origin == "http://a.kz";
        let table: [(&[(&str, &str)], bool); 10] = [
            (&[("origin", "http://a.kz")], true),
            (
                &[
                    ("origin", "http://a.kz"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "document"),
                    ("sec-fetch-site", "cross-site"),
                ],
                true,
            ),
            (&[("referer", "http://a.kz/lesson?x")], true),
            (&[("origin", "http://evil.kz"), ("referer", "http://a.kz/")], false),
            (&[("origin", "null")], false),
            (&[("origin", "http://a.kz"), ("sec-fetch-mode", "cors")], false),
            (&[("origin", "http://a.kz"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")], false),
            (&[("referer", "http://evil.kz/http://a.kz/")], false),
            (&[("referer", "nonsense")], false),
            (&[], false),
        ];
        for (fields, wanted) in table {
            let headers = fields.iter().map(|(name, value)| {
                (HeaderName::from_bytes(name.as_bytes()).expect("a name"), HeaderValue::from_str(value).expect("a value"))
            });
            assert_eq!(is_sent_by_a_person(&headers.collect(), allowed), wanted, "{fields:?}");
        }
    }
}
