//! Signing in and out: two forms, which must come from our own page.

use crate::base::problem::Problem;
use crate::hub::listen::Client;
use crate::hub::pages::percent;
use crate::hub::pages::sign_in::{Told, render};
use crate::hub::serve::reports::patient;
use crate::hub::serve::show::{page, tongue};
use crate::hub::serve::{BODY_LIMIT, Parts, named, problem, unwell};
use crate::hub::session::{self, Way};
use crate::hub::sign_in::Denied;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Form, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use std::time::Duration;

/// Where one signs in.
pub(super) const PLACE: &str = "/sign-in";

/// Whoever comes while too many sign in, comes again after so long.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) fn routes(parts: &Parts) -> Router<Parts> {
    Router::new()
        .route(PLACE, get(show).post(sign_in))
        .route("/sign-out", post(sign_out))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn(patient))
        .layer(from_fn_with_state(parts.clone(), named))
}

/// Where a person who asks for a page signs in first, if anybody can; `None`: a program asks, or shows something.
pub(super) fn place_for(request: &Request) -> Option<String> {
    let is_page = request.uri().path() == "/" || request.uri().path().starts_with("/schools/");
    if !is_page || request.headers().contains_key(header::AUTHORIZATION) {
        return None;
    }
    let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
    Some(format!("{PLACE}?next={}", percent(session::destination(asked))))
}

/// What the page is asked with.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wish {
    lang: Option<String>,
    next: String,
}

/// The form. Its password is shown to nobody: no `Debug`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Typed {
    lang: Option<String>,
    next: String,
    name: String,
    password: String,
}

async fn show(Query(wish): Query<Wish>, headers: HeaderMap) -> Response {
    page(render(tongue(wish.lang.as_deref(), &headers), Told::Nothing, "", session::destination(&wish.next)))
}

async fn sign_in(State(parts): State<Parts>, client: Option<Extension<Client>>, headers: HeaderMap, Form(typed): Form<Typed>) -> Response {
    if !session::is_ours(&headers) {
        return foreign().into_response();
    }
    let way = Way::of(&headers, client.map(|Extension(client)| client.0));
    let next = session::destination(&typed.next);
    let again = |status: StatusCode, told: Told, wait: Option<Duration>| {
        let mut answer = page(render(tongue(typed.lang.as_deref(), &headers), told, &typed.name, next));
        *answer.status_mut() = status;
        if let Some(wait) = wait {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        }
        answer
    };
    if !way.is_private() {
        return again(StatusCode::FORBIDDEN, Told::Open, None);
    }
    match parts.0.sign_in.sign_in(&typed.name, &typed.password, way.client).await {
        Ok(shown) => with_cookie(Redirect::to(next), &shown, way),
        Err(Denied::Wrong) => again(StatusCode::FORBIDDEN, Told::Wrong, None),
        Err(Denied::Held(wait)) => again(StatusCode::TOO_MANY_REQUESTS, Told::Later, Some(wait)),
        Err(Denied::Busy) => again(StatusCode::SERVICE_UNAVAILABLE, Told::Later, Some(AGAIN)),
        Err(Denied::Trouble(error)) => unwell(&error),
    }
}

async fn sign_out(State(parts): State<Parts>, client: Option<Extension<Client>>, headers: HeaderMap) -> Response {
    if !session::is_ours(&headers) {
        return foreign().into_response();
    }
    let way = Way::of(&headers, client.map(|Extension(client)| client.0));
    if let Some(shown) = session::shown(&headers, way)
        && let Err(error) = parts.0.sign_in.sign_out(shown).await
    {
        return unwell(&error);
    }
    with_cookie(Redirect::to(PLACE), "", way)
}

fn with_cookie(answer: Redirect, value: &str, way: Way) -> Response {
    let mut answer = answer.into_response();
    if let Ok(cookie) = HeaderValue::from_str(&session::cookie(value, way)) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn foreign() -> Problem {
    let title = "this form was not sent from this hub's own page";
    Problem::new(StatusCode::FORBIDDEN, "hub.foreign_form", title, "open /sign-in here and type it there")
}

/// This host's name is none of ours.
pub(super) fn misdirected() -> Response {
    problem(
        StatusCode::MISDIRECTED_REQUEST,
        "hub.foreign_host",
        "this name is not one of this hub's: use one of hub.names, or add it there",
    )
}
