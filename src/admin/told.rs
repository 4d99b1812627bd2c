//! What a visitor tells of himself and a page needs: language and browser; and the fields that every page of the portal gets.

use crate::base::language::COOKIE;
use crate::base::problem::Problem;
use crate::portal::Language;
use axum::extract::{FromRequestParts, Query};
use axum::response::{Html, IntoResponse, Response};
use http::request::Parts as Head;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use std::convert::Infallible;

/// The policy of pages that take pictures from `pictures` (`img-src`).
pub(super) fn policy(pictures: &str) -> String {
    format!("default-src 'none'; style-src 'self'; img-src {pictures}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
}

/// Who asks for a page.
pub(super) struct Told {
    /// Clicked, remembered, wished, or Kazakh.
    pub(super) language: Language,
    clicked: bool,
    agent: String,
}

#[derive(Deserialize)]
struct Choice {
    lang: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Told {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Head, state: &S) -> Result<Told, Infallible> {
        // A query that cannot be read chooses nothing.
        let clicked = Query::<Choice>::from_request_parts(head, state).await.ok().and_then(|Query(choice)| choice.lang);
        let field = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        let language = Language::choose(clicked.as_deref(), field(header::COOKIE), field(header::ACCEPT_LANGUAGE));
        let agent = field(header::USER_AGENT).unwrap_or_default().to_owned();
        Ok(Told { language, clicked: clicked.as_deref().and_then(Language::from_tag).is_some(), agent })
    }
}

impl Told {
    /// The `User-Agent`; empty when there is none.
    pub(super) fn agent(&self) -> &str {
        &self.agent
    }

    /// A page in this language; a choice by click is remembered.
    pub(super) fn page(&self, text: String) -> Response {
        let mut answer = Html(text).into_response();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(self.language.tag()));
        headers.insert(header::VARY, HeaderValue::from_static("Cookie, Accept-Language"));
        if self.clicked {
            // A year; says only which language.
            let cookie = format!("{COOKIE}={}; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly", self.language.tag());
            if let Ok(value) = HeaderValue::from_str(&cookie) {
                headers.insert(header::SET_COOKIE, value);
            }
        }
        answer
    }
}

/// A page that could not be made.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn failed(error: askama::Error) -> Problem {
    tracing::error!(%error, "portal page was not made");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "portal.failed", "the page could not be made", "try again")
}
