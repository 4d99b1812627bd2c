//! Pages: the region and each school.

use crate::hub::chart::{mood, strip};
use crate::hub::figures::Day;
use crate::hub::keep::{self, Asked};
use crate::hub::pages::{region, school};
use crate::hub::serve::figures::{Which, chosen, one, recent};
use crate::hub::serve::{Parts, Signed, no_school, unwell};
use crate::hub::summary::{STANDINGS, School, Standing, events};
use crate::hub::words::Tongue;
use axum::Router;
use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

/// Days of a strip.
const STRIP: i32 = 30;

/// Days of a school's page, and the most.
const DAYS: (i32, i32) = (30, 400);

/// Tests and outages in a school's tables.
const MOST_ROWS: u32 = 400;

pub(super) fn routes() -> Router<Parts> {
    Router::new().route("/", get(region_page)).route("/schools/{id}", get(school_page))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wish {
    lang: Option<String>,
    state: Option<String>,
    q: String,
    page: usize,
    days: Option<i32>,
}

async fn region_page(
    State(parts): State<Parts>,
    signed: Option<Extension<Signed>>,
    Query(wish): Query<Wish>,
    headers: HeaderMap,
) -> Response {
    let tongue = tongue(wish.lang.as_deref(), &headers);
    let read = async {
        let all = parts.region().await?;
        let mut counts: BTreeMap<Standing, usize> = BTreeMap::new();
        for school in &all {
            *counts.entry(school.standing).or_default() += 1;
        }
        let events = events(&all);
        let which = Which { state: wish.state.clone(), q: wish.q.clone(), ..Which::default() };
        let chosen = chosen(all, &which);
        let found = chosen.len();
        let shown: Vec<School> = chosen.into_iter().skip(wish.page.saturating_mul(region::MOST)).take(region::MOST).collect();
        let strips = strips(&parts, tongue, &shown).await?;
        let state = STANDINGS.into_iter().find(|standing| Some(standing.word()) == wish.state.as_deref());
        let asked = region::Asked { state, text: wish.q, page: wish.page };
        let told = region::Region {
            schools: &shown,
            counts: &counts,
            events: &events,
            strips: &strips,
            found,
            asked: &asked,
            now: parts.0.clock.now(),
            astray: !parts.0.witness.is_right(),
            signed: signed.as_ref().map(|Extension(signed)| signed.0.as_str()),
        };
        Ok::<_, keep::Error>(region::render(tongue, &parts.0.settings.calendar, &told))
    };
    match read.await {
        Ok(rendered) => page(rendered),
        Err(error) => unwell(&error),
    }
}

/// Thirty days of each of these schools, up to today.
async fn strips(parts: &Parts, tongue: Tongue, schools: &[School]) -> Result<HashMap<String, String>, keep::Error> {
    let ids: Vec<String> = schools.iter().map(|school| school.id.clone()).collect();
    let today = parts.0.settings.calendar.day(parts.0.clock.now());
    let first = today - STRIP + 1;
    let days = parts.0.keep.days(Some(&ids), first, today).await?;
    let mut by_school: HashMap<&str, HashMap<i32, &Day>> = HashMap::new();
    for day in &days {
        by_school.entry(&day.school).or_default().insert(day.day, day);
    }
    let strip = |id: &String| {
        let days = by_school.get(id.as_str());
        let moods: Vec<_> = (first..=today).map(|day| mood(days.and_then(|days| days.get(&day).copied()))).collect();
        (id.clone(), strip(tongue, &moods))
    };
    Ok(ids.iter().map(strip).collect())
}

async fn school_page(
    State(parts): State<Parts>,
    signed: Option<Extension<Signed>>,
    Path(id): Path<String>,
    Query(wish): Query<Wish>,
    headers: HeaderMap,
) -> Response {
    let tongue = tongue(wish.lang.as_deref(), &headers);
    let read = async {
        let Some(school) = one(&parts, &id).await? else { return Ok::<_, keep::Error>(None) };
        let records = recent(&parts, &school).await?;
        let calendar = &parts.0.settings.calendar;
        let to = calendar.day(parts.0.clock.now());
        let from = to - wish.days.unwrap_or(DAYS.0).clamp(7, DAYS.1) + 1;
        let days = parts.0.keep.days(Some(std::slice::from_ref(&school.id)), from, to).await?;
        let asked = Asked { school: Some(&school.id), from: calendar.span(from).0, until: calendar.span(to).1, most: MOST_ROWS };
        let (tests, outages) = (parts.0.keep.tests(asked).await?, parts.0.keep.outages(asked).await?);
        let signed = signed.as_ref().map(|Extension(signed)| signed.0.as_str());
        let told = school::Told { days: &days, tests: &tests, outages: &outages, records: &records, span: (from, to), signed };
        Ok(Some(school::render(tongue, calendar, &school, &told)))
    };
    match read.await {
        Ok(Some(rendered)) => page(rendered),
        Ok(None) => no_school(),
        Err(error) => unwell(&error),
    }
}

pub(super) fn tongue(wanted: Option<&str>, headers: &HeaderMap) -> Tongue {
    let asked = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    Tongue::choose(wanted, asked)
}

pub(super) fn page(rendered: Result<String, askama::Error>) -> Response {
    match rendered {
        Ok(text) => {
            // No script, no foreign content: what a school's name may smuggle in has nowhere to run.
            let guard = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
            let fields = [
                (header::CONTENT_SECURITY_POLICY, guard),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                // Not "no-referrer": browsers would then not say either that a form of ours is ours.
                (header::REFERRER_POLICY, "same-origin"),
                (header::CACHE_CONTROL, "no-store"),
                (header::VARY, "Accept-Language"),
            ];
            (fields, Html(text)).into_response()
        }
        Err(error) => unwell(&error),
    }
}
