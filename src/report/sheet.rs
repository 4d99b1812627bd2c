//! Tables of the line for a spreadsheet, on the node itself: tests, hours, days, outages, as a Kazakh or Russian Excel opens them, or as
//! RFC 4180 says. `GET /api/v1/link/{table}.csv`.

use crate::base::calendar::Calendar;
use crate::base::clock::Time;
use crate::base::problem::Problem;
use crate::base::table::{Form, csv};
use crate::link::rollup::{Level, Rollup};
use crate::meter::Kept;
use crate::meter::outages;
use crate::report::line;
use crate::report::statement::Desk;
use crate::report::statement::period::Period;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, OpenApi};

/// Columns of the tests.
const TESTS: &[&str] = &[
    "number",
    "started",
    "ended",
    "clock_ok",
    "trigger",
    "end",
    "trouble",
    "reach",
    "busy",
    "download_bps",
    "download_low_bps",
    "download_high_bps",
    "download_ndt7_bps",
    "download_method",
    "upload_bps",
    "upload_low_bps",
    "upload_high_bps",
    "upload_ndt7_bps",
    "upload_method",
    "rtt_min_ms",
    "rtt_loaded_ms",
    "early",
    "cross_bytes",
    "cost_bytes",
];

/// Columns of hours and days.
const WINDOWS: &[&str] = &[
    "started",
    "ended",
    "up_seconds",
    "slow_seconds",
    "down_seconds",
    "no_data_seconds",
    "off_seconds",
    "clock_seconds",
    "rx_bytes",
    "tx_bytes",
    "background_rx_bytes",
    "rtt_min_ms",
    "rtt_median_ms",
    "rtt_p95_ms",
    "first_byte_median_ms",
    "download_p95_bps",
    "attempts",
    "failures",
    "retransmitted_ratio",
    "disordered_ratio",
    "round_trip_median_ms",
    "domestic_bps",
    "foreign_bps",
];

/// Columns of the outages.
const OUTAGES: &[&str] = &["what", "started", "ended", "seconds", "open", "joined"];

/// The routes. Who may call them is the business of whoever mounts them.
pub fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/api/v1/link/tests.csv", get(tests))
        .route("/api/v1/link/hours.csv", get(hours))
        .route("/api/v1/link/days.csv", get(days))
        .route("/api/v1/link/outages.csv", get(outages))
        .with_state(desk)
}

#[derive(OpenApi)]
#[openapi(paths(tests, hours, days, outages))]
struct Document;

/// What these routes take and give, in words of OpenAPI.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Which rows, and for whom.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// `2026-10`; without a month and days: the last thirty days.
    #[param(required = false)]
    month: Option<String>,
    /// The first day, `2026-10-01`.
    #[param(required = false)]
    from: Option<String>,
    /// The last day, included.
    #[param(required = false)]
    to: Option<String>,
    /// `plain`: as RFC 4180 says; else as an Excel with a decimal comma wants it.
    #[param(required = false)]
    csv: Option<String>,
}

/// The speed tests as a table.
#[utoipa::path(
    get,
    path = "/api/v1/link/tests.csv",
    tag = "status",
    params(Wanted),
    responses(
        (status = 200, description = "a row a test, oldest first", body = String, content_type = "text/csv"),
        (status = 400, description = "no such period", body = Problem)
    )
)]
async fn tests(State(desk): State<Desk>, Query(wanted): Query<Wanted>) -> Result<Response, Problem> {
    let (start, end) = span(&desk, &wanted)?;
    let tests = desk.tests(start, end).await.map_err(|error| failed(&error))?;
    let rows: Vec<Value> = tests.iter().map(test).collect();
    table(&desk, "tests", &wanted, TESTS, &rows)
}

/// The line hour by hour as a table.
#[utoipa::path(
    get,
    path = "/api/v1/link/hours.csv",
    tag = "status",
    params(Wanted),
    responses(
        (status = 200, description = "a row an hour, oldest first, the running one included", body = String, content_type = "text/csv"),
        (status = 400, description = "no such period", body = Problem)
    )
)]
async fn hours(State(desk): State<Desk>, Query(wanted): Query<Wanted>) -> Result<Response, Problem> {
    let (start, end) = span(&desk, &wanted)?;
    let hours = desk.hours(start, end).await.map_err(|error| failed(&error))?;
    let rows: Vec<Value> = hours.iter().map(window).collect();
    table(&desk, "hours", &wanted, WINDOWS, &rows)
}

/// The line day by day (UTC) as a table.
#[utoipa::path(
    get,
    path = "/api/v1/link/days.csv",
    tag = "status",
    params(Wanted),
    responses(
        (status = 200, description = "a row a day that is over, oldest first", body = String, content_type = "text/csv"),
        (status = 400, description = "no such period", body = Problem)
    )
)]
async fn days(State(desk): State<Desk>, Query(wanted): Query<Wanted>) -> Result<Response, Problem> {
    let (start, end) = span(&desk, &wanted)?;
    let history = desk.reporter.0.state.history();
    let days = line::kept(&history, Level::Day, start, end).await.map_err(|error| failed(&error))?;
    let rows: Vec<Value> = days.iter().map(window).collect();
    table(&desk, "days", &wanted, WINDOWS, &rows)
}

/// What was out of order as a table.
#[utoipa::path(
    get,
    path = "/api/v1/link/outages.csv",
    tag = "status",
    params(Wanted),
    responses(
        (status = 200, description = "a row an outage, oldest first", body = String, content_type = "text/csv"),
        (status = 400, description = "no such period", body = Problem)
    )
)]
async fn outages(State(desk): State<Desk>, Query(wanted): Query<Wanted>) -> Result<Response, Problem> {
    let (start, end) = span(&desk, &wanted)?;
    let found = desk.log(start, end).await.map_err(|error| failed(&error))?;
    let rows: Vec<Value> = found.iter().map(outage).collect();
    table(&desk, "outages", &wanted, OUTAGES, &rows)
}

fn span(desk: &Desk, wanted: &Wanted) -> Result<(Time, Time), Problem> {
    let Wanted { month, from, to, .. } = wanted;
    let period = Period::of(month.as_deref(), from.as_deref(), to.as_deref(), desk.today()).map_err(|error| error.problem())?;
    let calendar = desk.calendar();
    Ok((calendar.span(period.from).0, calendar.span(period.to).1))
}

/// A test as a row.
fn test(kept: &Kept) -> Value {
    let test = &kept.test;
    let mut row = json!({
        "number": kept.number,
        "started": kept.start.micros(),
        "ended": kept.finish.micros(),
        "clock_ok": kept.clock_ok,
        "trigger": test.trigger,
        "end": test.end,
        "trouble": test.trouble,
        "reach": test.reach,
        "busy": test.busy,
        "cross_bytes": test.cross_rx_bytes.saturating_add(test.cross_tx_bytes),
        "cost_bytes": test.cost_bytes,
    });
    for (way, figures) in [("download", &test.download), ("upload", &test.upload)] {
        let Some(figures) = figures else { continue };
        row[format!("{way}_bps")] = json!(figures.estimate_bps);
        row[format!("{way}_low_bps")] = json!(figures.low_bps);
        row[format!("{way}_high_bps")] = json!(figures.high_bps);
        row[format!("{way}_ndt7_bps")] = json!(figures.ndt7_bps);
        row[format!("{way}_method")] = json!(figures.method);
        if way == "download" {
            row["rtt_min_ms"] = json!(figures.rtt_min_ms);
            row["rtt_loaded_ms"] = json!(figures.rtt_loaded_ms);
            row["early"] = json!(figures.early);
        }
    }
    row
}

/// An outage as a row.
fn outage(kept: &outages::Kept) -> Value {
    json!({
        "what": kept.event.what, "started": kept.start.micros(), "ended": kept.end.micros(), "seconds": kept.event.seconds,
        "open": kept.event.open, "joined": kept.joined,
    })
}

/// A window as a row.
fn window(rollup: &Rollup) -> Value {
    let mut row = serde_json::to_value(rollup).unwrap_or(Value::Null);
    row["started"] = json!(rollup.start.micros());
    row["ended"] = json!(rollup.end.micros());
    let reach = &rollup.passive.reach;
    row["domestic_bps"] = json!(reach.domestic.download_p95_bps);
    row["foreign_bps"] = json!(reach.foreign.download_p95_bps);
    row
}

fn table(desk: &Desk, name: &str, wanted: &Wanted, columns: &[&str], rows: &[Value]) -> Result<Response, Problem> {
    let bytes = write(&desk.calendar(), wanted.csv.as_deref(), columns, rows).map_err(|error| failed(&error.into()))?;
    let file = format!("attachment; filename=\"{name}.csv\"");
    let kind = (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned());
    Ok(([kind, (header::CONTENT_DISPOSITION, file)], bytes).into_response())
}

fn write(calendar: &Calendar, form: Option<&str>, columns: &[&str], rows: &[Value]) -> Result<Vec<u8>, ::csv::Error> {
    csv(Form::of(form), calendar, columns, rows)
}

fn failed(error: &anyhow::Error) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "link.table", format!("{error:#}"), "see the node's log")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::statement::figures::tests::test as kept;

    #[test]
    fn every_column_of_a_table_is_filled_by_its_rows() {
        let mut kept = kept(Time::BUILT, Some(8_000_000), Some(2_000_000));
        for figures in [&mut kept.test.download, &mut kept.test.upload].into_iter().flatten() {
            (figures.low_bps, figures.high_bps) = (Some(1), Some(2));
        }
        let whole = Rollup {
            rtt_min_ms: Some(1.0),
            rtt_median_ms: Some(1.5),
            rtt_p95_ms: Some(1.0),
            first_byte_median_ms: Some(1.0),
            download_p95_bps: Some(1),
            passive: crate::link::passive::tests::full(),
            ..Rollup::default()
        };
        for (columns, row) in [(TESTS, test(&kept)), (WINDOWS, window(&whole))] {
            for column in columns {
                assert!(!row[*column].is_null(), "{column} in {row}");
            }
            let almaty = Calendar::of("Asia/Almaty").expect("known");
            let text = |form| String::from_utf8(write(&almaty, form, columns, std::slice::from_ref(&row)).expect("writes")).expect("UTF-8");
            let excel = text(None);
            assert!(excel.starts_with('\u{feff}') && excel.lines().count() == 2, "{excel}");
            assert_eq!(excel.lines().next().map(|line| line.split(';').count()), Some(columns.len()));
            assert_eq!(text(Some("plain")).lines().nth(1).map(|line| line.split(',').count()), Some(columns.len()));
        }
    }
}
