//! Figures for programs and spreadsheets: schools, days, tests, outages.

use crate::base::calendar;
use crate::base::clock::Time;
use crate::base::problem::Problem;
use crate::base::table::{Form, csv, head, lines};
use crate::hub::figures::{Day, OUTAGE, Outage, TEST, Test, day_columns};
use crate::hub::keep::{self, Asked};
use crate::hub::serve::{Parts, SchoolId, no_school, unwell};
use crate::hub::summary::{Event, STANDINGS, School, Standing, events};
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{BoxError, Json, Router};
use futures_util::StreamExt;
use futures_util::future::ready;
use futures_util::stream::{once, try_unfold};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, OpenApi, ToSchema};

/// Records on a school's page: two days of hours.
pub(super) const MOST_RECORDS: u32 = 48;

/// Schools of one answer.
const MOST_SCHOOLS: usize = 1_000;

/// Rows of one answer: tests of a region of 38 schools over a year and a half, some 20 MB.
const MOST_ROWS: u32 = 60_000;

/// Days of schools of one table: a month.
const MOST_DAYS: i32 = 31;

/// Days of all schools that are in memory at once, some 2 MB: a table of a nation is made while it is read.
const DAYS_AT_ONCE: u32 = 4_000;

/// Days of one school of one answer.
const MOST_DAYS_OF_ONE: i32 = 3_660;

/// What is small.
pub(super) fn routes() -> Router<Parts> {
    Router::new()
        .route("/api/v1/schools", get(schools))
        .route("/api/v1/events", get(together))
        .route("/api/v1/schools/{id}", get(school))
        .route("/api/v1/schools/{id}/days", get(days))
        .route("/api/v1/schools/{id}/days.csv", get(days_csv))
}

/// What may be large.
pub(super) fn tables() -> Router<Parts> {
    Router::new()
        .route("/api/v1/schools.csv", get(schools_csv))
        .route("/api/v1/schools/{id}/tests", get(tests))
        .route("/api/v1/schools/{id}/tests.csv", get(tests_csv))
        .route("/api/v1/schools/{id}/outages", get(outages))
        .route("/api/v1/schools/{id}/outages.csv", get(outages_csv))
        .route("/api/v1/days.csv", get(all_days_csv))
        .route("/api/v1/tests.csv", get(all_tests_csv))
        .route("/api/v1/outages.csv", get(all_outages_csv))
}

#[derive(OpenApi)]
#[openapi(
    paths(
        schools,
        schools_csv,
        together,
        school,
        days,
        days_csv,
        tests,
        tests_csv,
        outages,
        outages_csv,
        all_days_csv,
        all_tests_csv,
        all_outages_csv
    ),
    components(schemas(Standing))
)]
pub(super) struct Document;

/// Which schools.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only in this state (`live`, `line_down`, …).
    pub(super) state: Option<String>,
    /// Only with this in name, id or provider.
    pub(super) q: String,
    /// Leave out so many.
    pub(super) offset: usize,
    /// At most so many: 1000.
    pub(super) limit: Option<usize>,
    /// `plain`: tables as RFC 4180 says, not as Excel wants them.
    pub(super) csv: Option<String>,
}

/// Which time.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct When {
    /// First day, `2026-11-24`; left out: 30 days before the last.
    from: Option<String>,
    /// Last day; left out: today.
    to: Option<String>,
    /// `plain`: tables as RFC 4180 says, not as Excel wants them.
    csv: Option<String>,
}

/// Schools, who needs a call first.
#[derive(Serialize, ToSchema)]
struct Listing {
    /// The hub's time (RFC 3339).
    now: String,
    /// How many fit what was asked.
    found: usize,
    /// These of them.
    schools: Vec<School>,
}

/// Schools, who needs a call first.
#[utoipa::path(get, path = "/api/v1/schools", tag = "figures", params(Which), responses((status = 200, description = "schools", body = Listing)))]
async fn schools(State(parts): State<Parts>, Query(which): Query<Which>) -> Response {
    let read = async {
        let all = chosen(parts.region().await?, &which);
        let found = all.len();
        let limit = which.limit.unwrap_or(MOST_SCHOOLS).min(MOST_SCHOOLS);
        let mut schools: Vec<School> = all.into_iter().skip(which.offset).take(limit).collect();
        parts.tell(&mut schools).await?;
        Ok::<Listing, keep::Error>(Listing { now: parts.0.clock.now().to_rfc3339(), found, schools })
    };
    answer(read.await)
}

/// Those that fit what is asked.
pub(super) fn chosen(mut schools: Vec<School>, which: &Which) -> Vec<School> {
    let text = which.q.trim().to_lowercase();
    let state = which.state.as_deref().and_then(|word| STANDINGS.into_iter().find(|standing| standing.word() == word));
    schools.retain(|school| {
        let fits = |part: &str| part.to_lowercase().contains(&text);
        state.is_none_or(|state| state == school.standing)
            && (text.is_empty() || fits(&school.name) || fits(&school.id) || fits(&school.provider))
    });
    schools
}

/// Schools as a table.
#[utoipa::path(get, path = "/api/v1/schools.csv", tag = "tables", params(Which), responses((status = 200, description = "a table", content_type = "text/csv")))]
async fn schools_csv(State(parts): State<Parts>, Query(which): Query<Which>) -> Response {
    let columns = [
        "school",
        "name",
        "provider",
        "state",
        "heard",
        "heard_seconds_ago",
        "records",
        "line",
        "contract_bps",
        "download_bps",
        "rtt_ms",
        "disk_bytes",
        "quota_bytes",
        "version",
        "copied_key",
    ];
    let row = |school: School| {
        let glance = school.glance.unwrap_or_default();
        json!({
            "school": school.id, "name": school.name, "provider": school.provider, "state": school.standing, "heard": school.heard,
            "heard_seconds_ago": school.heard_seconds_ago, "records": school.records, "line": glance.state,
            "contract_bps": school.contract_bps, "download_bps": glance.download_bps, "rtt_ms": glance.rtt_ms,
            "disk_bytes": glance.disk_bytes, "quota_bytes": glance.quota_bytes, "version": glance.version, "copied_key": school.twin,
        })
    };
    match parts.region().await {
        Ok(schools) => {
            let rows: Vec<Value> = chosen(schools, &which).into_iter().map(row).collect();
            table(&parts, "schools", which.csv.as_deref(), &columns, &rows)
        }
        Err(error) => unwell(&error),
    }
}

/// Providers most of whose schools are away at once.
#[utoipa::path(get, path = "/api/v1/events", tag = "figures", responses((status = 200, description = "events", body = Vec<Event>)))]
async fn together(State(parts): State<Parts>) -> Response {
    answer(parts.region().await.map(|schools| events(&schools)))
}

/// One school by its id; `None`: no such.
pub(super) async fn one(parts: &Parts, id: &str) -> Result<Option<School>, keep::Error> {
    let Some(mut school) = parts.region().await?.into_iter().find(|school| school.id == id) else {
        return Ok(None);
    };
    parts.tell(std::slice::from_mut(&mut school)).await?;
    Ok(Some(school))
}

/// Its newest hours.
pub(super) async fn recent(parts: &Parts, school: &School) -> Result<Vec<Value>, keep::Error> {
    let mut records = Vec::new();
    for node in school.nodes.iter().chain(&school.former) {
        records.extend(parts.0.keep.recent(node, MOST_RECORDS).await?);
    }
    let mut records: Vec<Value> = records.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
    records.sort_by(|a, b| b["end"].as_str().cmp(&a["end"].as_str()));
    records.truncate(MOST_RECORDS as usize);
    Ok(records)
}

/// A school with its newest hours as they were signed.
#[derive(Serialize, ToSchema)]
struct One {
    /// The school.
    school: School,
    /// Its newest hours, newest first.
    #[schema(value_type = Vec<Object>)]
    records: Vec<Value>,
}

/// One school, with its newest hours as they were signed.
#[utoipa::path(
    get,
    path = "/api/v1/schools/{id}",
    tag = "figures",
    params(("id" = String, Path, description = "the school's id")),
    responses((status = 200, description = "the school", body = One), (status = 404, description = "no such school", body = Problem))
)]
async fn school(State(parts): State<Parts>, SchoolId(id): SchoolId) -> Response {
    let read = async {
        let Some(school) = one(&parts, &id).await? else { return Ok::<Option<One>, keep::Error>(None) };
        let records = recent(&parts, &school).await?;
        Ok(Some(One { school, records }))
    };
    match read.await {
        Ok(Some(one)) => Json(one).into_response(),
        Ok(None) => no_school(),
        Err(error) => unwell(&error),
    }
}

/// Days of a school.
#[utoipa::path(
    get,
    path = "/api/v1/schools/{id}/days",
    tag = "figures",
    params(("id" = String, Path, description = "the school's id"), When),
    responses((status = 200, description = "its days, oldest first", body = Vec<Day>), (status = 400, description = "no such date", body = Problem))
)]
async fn days(State(parts): State<Parts>, SchoolId(id): SchoolId, Query(when): Query<When>) -> Response {
    match span(&parts, &when, MOST_DAYS_OF_ONE) {
        Ok((from, to)) => answer(parts.0.keep.days(Some(&[id]), from, to).await),
        Err(problem) => problem.into_response(),
    }
}

/// Days of a school as a table.
#[utoipa::path(
    get,
    path = "/api/v1/schools/{id}/days.csv",
    tag = "tables",
    params(("id" = String, Path, description = "the school's id"), When),
    responses((status = 200, description = "a table", content_type = "text/csv"), (status = 400, description = "no such date", body = Problem))
)]
async fn days_csv(State(parts): State<Parts>, SchoolId(id): SchoolId, Query(when): Query<When>) -> Response {
    let (from, to) = match span(&parts, &when, MOST_DAYS_OF_ONE) {
        Ok(span) => span,
        Err(problem) => return problem.into_response(),
    };
    match parts.0.keep.days(Some(&[id]), from, to).await {
        Ok(days) => table(&parts, "days", when.csv.as_deref(), &day_columns(), &days),
        Err(error) => unwell(&error),
    }
}

/// Days of all schools as a table; 31 days at most.
#[utoipa::path(
    get,
    path = "/api/v1/days.csv",
    tag = "tables",
    params(When),
    responses((status = 200, description = "a table", content_type = "text/csv"), (status = 400, description = "no such date", body = Problem))
)]
async fn all_days_csv(State(parts): State<Parts>, Query(when): Query<When>) -> Response {
    let span = match span(&parts, &when, MOST_DAYS) {
        Ok(span) => span,
        Err(problem) => return problem.into_response(),
    };
    let form = Form::of(when.csv.as_deref());
    let head = match head(form, &day_columns()) {
        Ok(head) => head,
        Err(error) => return unwell(&error),
    };
    // Where it has come to; `None`: at its end.
    let start = (parts, Some((String::new(), i32::MIN)));
    let pieces = try_unfold(start, move |(parts, after)| async move {
        let Some((school, day)) = after else { return Ok(None) };
        let days = parts.0.keep.days_after((&school, day), span, DAYS_AT_ONCE).await.inspect_err(broke_off)?;
        let lines = lines(form, &parts.0.settings.calendar, &day_columns(), &days)?;
        let whole = days.len() < DAYS_AT_ONCE as usize;
        let next = days.into_iter().next_back().filter(|_| !whole).map(|last| (last.school, last.day));
        Ok::<_, BoxError>(Some((Bytes::from(lines), (parts, next))))
    });
    sheet("days", Body::from_stream(once(ready(Ok(Bytes::from(head)))).chain(pieces)))
}

fn broke_off(error: &keep::Error) {
    tracing::warn!(%error, "a table broke off");
}

/// Tests of a school, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/schools/{id}/tests",
    tag = "figures",
    params(("id" = String, Path, description = "the school's id"), When),
    responses((status = 200, description = "its tests; times in µs since 1970", body = Vec<Test>), (status = 400, description = "no such date", body = Problem))
)]
async fn tests(State(parts): State<Parts>, SchoolId(id): SchoolId, Query(when): Query<When>) -> Response {
    match asked(&parts, Some(&id), &when) {
        Ok(asked) => answer(parts.0.keep.tests(asked).await),
        Err(problem) => problem.into_response(),
    }
}

/// Tests of a school as a table.
#[utoipa::path(
    get,
    path = "/api/v1/schools/{id}/tests.csv",
    tag = "tables",
    params(("id" = String, Path, description = "the school's id"), When),
    responses((status = 200, description = "a table", content_type = "text/csv"), (status = 400, description = "no such date", body = Problem))
)]
async fn tests_csv(State(parts): State<Parts>, SchoolId(id): SchoolId, Query(when): Query<When>) -> Response {
    tests_table(&parts, Some(&id), &when).await
}

/// Tests of all schools as a table; 60,000 rows at most, the newest.
#[utoipa::path(
    get,
    path = "/api/v1/tests.csv",
    tag = "tables",
    params(When),
    responses((status = 200, description = "a table", content_type = "text/csv"), (status = 400, description = "no such date", body = Problem))
)]
async fn all_tests_csv(State(parts): State<Parts>, Query(when): Query<When>) -> Response {
    tests_table(&parts, None, &when).await
}

async fn tests_table(parts: &Parts, school: Option<&str>, when: &When) -> Response {
    match asked(parts, school, when) {
        Ok(asked) => match parts.0.keep.tests(asked).await {
            Ok(tests) => table(parts, "tests", when.csv.as_deref(), TEST, &tests),
            Err(error) => unwell(&error),
        },
        Err(problem) => problem.into_response(),
    }
}

/// Outages of a school, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/schools/{id}/outages",
    tag = "figures",
    params(("id" = String, Path, description = "the school's id"), When),
    responses((status = 200, description = "its outages; times in µs since 1970", body = Vec<Outage>), (status = 400, description = "no such date", body = Problem))
)]
async fn outages(State(parts): State<Parts>, SchoolId(id): SchoolId, Query(when): Query<When>) -> Response {
    match asked(&parts, Some(&id), &when) {
        Ok(asked) => answer(parts.0.keep.outages(asked).await),
        Err(problem) => problem.into_response(),
    }
}

/// Outages of a school as a table.
#[utoipa::path(
    get,
    path = "/api/v1/schools/{id}/outages.csv",
    tag = "tables",
    params(("id" = String, Path, description = "the school's id"), When),
    responses((status = 200, description = "a table", content_type = "text/csv"), (status = 400, description = "no such date", body = Problem))
)]
async fn outages_csv(State(parts): State<Parts>, SchoolId(id): SchoolId, Query(when): Query<When>) -> Response {
    outages_table(&parts, Some(&id), &when).await
}

/// Outages of all schools as a table; 60,000 rows at most, the newest.
#[utoipa::path(
    get,
    path = "/api/v1/outages.csv",
    tag = "tables",
    params(When),
    responses((status = 200, description = "a table", content_type = "text/csv"), (status = 400, description = "no such date", body = Problem))
)]
async fn all_outages_csv(State(parts): State<Parts>, Query(when): Query<When>) -> Response {
    outages_table(&parts, None, &when).await
}

async fn outages_table(parts: &Parts, school: Option<&str>, when: &When) -> Response {
    match asked(parts, school, when) {
        Ok(asked) => match parts.0.keep.outages(asked).await {
            Ok(outages) => table(parts, "outages", when.csv.as_deref(), OUTAGE, &outages),
            Err(error) => unwell(&error),
        },
        Err(problem) => problem.into_response(),
    }
}

/// First and last day.
fn span(parts: &Parts, when: &When, most: i32) -> Result<(i32, i32), Problem> {
    let bad = || Problem::new(StatusCode::BAD_REQUEST, "hub.bad_date", "that is no date", "write it as 2026-11-24");
    let read = |text: &Option<String>, usual: i32| match text.as_deref() {
        None | Some("") => Ok(usual),
        Some(text) => calendar::parse(text).ok_or_else(bad),
    };
    let to = read(&when.to, parts.0.settings.calendar.day(parts.0.clock.now()))?;
    let from = read(&when.from, to - 30)?;
    Ok((from.max(to.saturating_sub(most - 1)), to))
}

fn asked<'a>(parts: &Parts, school: Option<&'a str>, when: &When) -> Result<Asked<'a>, Problem> {
    let (from, to) = span(parts, when, MOST_DAYS_OF_ONE)?;
    let calendar = &parts.0.settings.calendar;
    let (from, until): (Time, Time) = (calendar.span(from).0, calendar.span(to).1);
    Ok(Asked { school, from, until, most: MOST_ROWS })
}

fn answer<T: Serialize>(read: Result<T, keep::Error>) -> Response {
    match read {
        Ok(value) => Json(value).into_response(),
        Err(error) => unwell(&error),
    }
}

fn table<T: Serialize>(parts: &Parts, name: &str, asked: Option<&str>, columns: &[&str], rows: &[T]) -> Response {
    match csv(Form::of(asked), &parts.0.settings.calendar, columns, rows) {
        Ok(bytes) => sheet(name, Body::from(bytes)),
        Err(error) => unwell(&error),
    }
}

fn sheet(name: &str, body: Body) -> Response {
    let file = format!("attachment; filename=\"{name}.csv\"");
    let kind = (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned());
    ([kind, (header::CONTENT_DISPOSITION, file), (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned())], body).into_response()
}
