//! One school: the last report, the line by day with its tests and outages, the cache by way, hour by hour.

use super::{Row, STYLE, clock, percent, rate, row, state, wait};
use crate::base::calendar::{self, Calendar};
use crate::base::clock::Time;
use crate::hub::chart;
use crate::hub::figures::{Day, Outage, Test};
use crate::hub::summary::School;
use crate::hub::words::{Tongue, event_key};
use askama::Template;
use serde_json::Value;

/// What the page shows beside the school itself.
pub(crate) struct Told<'a> {
    /// Its days, oldest first.
    pub(crate) days: &'a [Day],
    /// Its tests, newest first.
    pub(crate) tests: &'a [Test],
    /// Its outages, newest first.
    pub(crate) outages: &'a [Outage],
    /// Its newest hours.
    pub(crate) records: &'a [Value],
    /// First and last day.
    pub(crate) span: (i32, i32),
    /// Who is signed in.
    pub(crate) signed: Option<&'a str>,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="{{ tongue.code() }}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>Bulak: {{ row.name }}</title><style>{{ style|safe }}</style></head>
<body>
{% if let Some(name) = signed %}<form class="out" method="post" action="/sign-out">{{ name }} <button>{{ tongue.say("sign_out") }}</button></form>
{% endif %}<nav><a href="/?lang={{ tongue.code() }}">← {{ tongue.say("region") }}</a><a href="{{ row.link }}?lang=kk&amp;days={{ count }}">Қазақша</a><a href="{{ row.link }}?lang=ru&amp;days={{ count }}">Русский</a><a href="{{ row.link }}?lang=en&amp;days={{ count }}">English</a></nav>
<main>
<h1>{{ row.name }}</h1>
<p><span class="mark {{ row.class }}">{{ row.standing }}</span> {{ tongue.say("heard") }}: {{ row.heard }}{% if !row.provider.is_empty() %} · {{ tongue.say("provider") }}: {{ row.provider }}{% endif %}{% if !row.contract.is_empty() %} · {{ tongue.say("contract") }}: {{ row.contract }}{% endif %}</p>
{% if row.twin %}<p class="event">{{ tongue.say("twin") }}</p>{% endif %}
<h2>{{ tongue.say("days") }}</h2>
<nav><a href="{{ row.link }}?lang={{ tongue.code() }}&amp;days=30">30</a><a href="{{ row.link }}?lang={{ tongue.code() }}&amp;days=90">90</a><a href="{{ row.link }}?lang={{ tongue.code() }}&amp;days=365">365</a></nav>
<p>{{ tongue.say("speed_chart") }}</p>
{{ speed|safe }}
<p>{{ tongue.say("hours_chart") }}</p>
{{ hours_chart|safe }}
<details><summary>{{ tongue.say("days") }}</summary><div class="box"><table>
<thead><tr><th scope="col">{{ tongue.say("day") }}</th><th scope="col">{{ tongue.say("up") }}</th><th scope="col">{{ tongue.say("down") }}</th><th scope="col">{{ tongue.say("off") }}</th><th scope="col">{{ tongue.say("speed") }}</th><th scope="col">{{ tongue.say("tests") }}</th><th scope="col">{{ tongue.say("wait") }}</th><th scope="col">{{ tongue.say("loss") }}</th></tr></thead>
<tbody>{% for day in days %}
<tr><th scope="row">{{ day.date }}</th><td>{{ day.up }}</td><td>{{ day.down }}</td><td>{{ day.off }}</td><td>{{ day.speed }}</td><td>{{ day.test }}</td><td>{{ day.wait }}</td><td>{{ day.loss }}</td></tr>{% endfor %}
</tbody></table></div></details>
<h2>{{ tongue.say("tests") }}</h2>
{% if tests.is_empty() %}<p>{{ tongue.say("none_yet") }}</p>{% else %}<div class="box"><table>
<thead><tr><th scope="col">{{ tongue.say("time") }}</th><th scope="col">{{ tongue.say("download") }}</th><th scope="col">{{ tongue.say("upload") }}</th><th scope="col">{{ tongue.say("wait") }}</th><th scope="col"></th></tr></thead>
<tbody>{% for test in tests %}
<tr><th scope="row">{{ test.time }}</th><td>{{ test.download }}</td><td>{{ test.upload }}</td><td>{{ test.wait }}</td><td>{{ test.note }}</td></tr>{% endfor %}
</tbody></table></div>{% endif %}
<h2>{{ tongue.say("outages") }}</h2>
{% if outages.is_empty() %}<p>{{ tongue.say("none_yet") }}</p>{% else %}<div class="box"><table>
<tbody>{% for outage in outages %}
<tr><th scope="row">{{ outage.0 }}</th><td>{{ outage.1 }}</td><td>{{ outage.2 }}</td></tr>{% endfor %}
</tbody></table></div>{% endif %}
<h2>{{ tongue.say("cache") }}</h2>
{% if row.ways.is_empty() %}<p>{{ tongue.say("none_yet") }}</p>{% else %}<ul>{% for way in row.ways %}<li>{{ way }}</li>{% endfor %}</ul>{% endif %}
<h2>{{ tongue.say("last") }}</h2>
<dl>{% for fact in facts %}<dt>{{ fact.0 }}</dt><dd>{{ fact.1 }}</dd>{% endfor %}</dl>
<h2>{{ tongue.say("hours") }}</h2>
<div class="box"><table>
<thead><tr><th scope="col">{{ tongue.say("time") }}</th><th scope="col">{{ tongue.say("line") }}</th><th scope="col">{{ tongue.say("down") }}</th><th scope="col">{{ tongue.say("off") }}</th><th scope="col">{{ tongue.say("speed") }}</th><th scope="col">{{ tongue.say("wait") }}</th></tr></thead>
<tbody>{% for hour in hours %}
<tr><th scope="row">{{ hour.time }}</th><td>{{ hour.line }}</td><td>{{ hour.down }}</td><td>{{ hour.off }}</td><td>{{ hour.speed }}</td><td>{{ hour.wait }}</td></tr>{% endfor %}
</tbody></table></div>
<p><a href="{{ json }}">JSON</a> · CSV: <a href="{{ json }}/days.csv">{{ tongue.say("days") }}</a> · <a href="{{ json }}/tests.csv">{{ tongue.say("tests") }}</a> · <a href="{{ json }}/outages.csv">{{ tongue.say("outages") }}</a></p>
</main></body></html>
"#
)]
struct Page<'a> {
    tongue: Tongue,
    style: &'a str,
    signed: Option<&'a str>,
    row: Row,
    /// Days that are shown.
    count: i32,
    speed: String,
    hours_chart: String,
    days: Vec<DayRow>,
    tests: Vec<TestRow>,
    outages: Vec<(String, &'static str, String)>,
    facts: Vec<(&'static str, String)>,
    hours: Vec<HourRow>,
    json: String,
}

struct DayRow {
    date: String,
    up: String,
    down: String,
    off: String,
    speed: String,
    test: String,
    wait: String,
    loss: String,
}

struct TestRow {
    time: String,
    download: String,
    upload: String,
    wait: String,
    note: String,
}

struct HourRow {
    time: String,
    line: &'static str,
    down: String,
    off: String,
    speed: String,
    wait: String,
}

/// The page.
pub(crate) fn render(tongue: Tongue, calendar: &Calendar, school: &School, told: &Told<'_>) -> Result<String, askama::Error> {
    let dots: Vec<(f64, &Test)> =
        told.tests.iter().filter(|test| test.clock_ok).map(|test| (place(calendar, Time::from_micros(test.started)), test)).collect();
    Page {
        tongue,
        style: STYLE,
        signed: told.signed,
        row: row(tongue, school),
        count: told.span.1 - told.span.0 + 1,
        speed: chart::speed(tongue, told.span, told.days, &dots, school.contract_bps),
        hours_chart: chart::hours(tongue, told.span, told.days),
        days: told.days.iter().rev().map(|day| day_row(tongue, day)).collect(),
        tests: told.tests.iter().map(|test| test_row(tongue, calendar, test)).collect(),
        outages: told.outages.iter().map(|outage| outage_row(tongue, calendar, outage)).collect(),
        facts: facts(tongue, calendar, school),
        hours: told.records.iter().map(|record| hour(tongue, calendar, record)).collect(),
        json: format!("/api/v1/schools/{}", percent(&school.id)),
    }
    .render()
}

/// A day with its fraction.
#[expect(clippy::cast_precision_loss, reason = "microseconds of a day")]
fn place(calendar: &Calendar, moment: Time) -> f64 {
    let day = calendar.day(moment);
    let (start, end) = calendar.span(day);
    f64::from(day) + moment.since(start).as_micros() as f64 / (end.since(start).as_micros() as f64).max(1.0)
}

fn spent(tongue: Tongue, seconds: i64) -> String {
    tongue.lasted(u64::try_from(seconds).unwrap_or(0))
}

fn day_row(tongue: Tongue, day: &Day) -> DayRow {
    let lost = day.pings_sent - day.pings_received;
    let percent = (day.pings_sent > 0).then(|| i32::try_from(lost * 1_000 / day.pings_sent).map_or(100.0, |part| f64::from(part) / 10.0));
    DayRow {
        date: calendar::plain(day.day),
        up: spent(tongue, day.figures.up_seconds + day.figures.slow_seconds),
        down: spent(tongue, day.figures.down_seconds),
        off: spent(tongue, day.figures.off_seconds),
        speed: rate(tongue, day.figures.download_p95_bps),
        test: rate(tongue, day.download_bps),
        wait: wait(tongue, day.latency_ms.or(day.ping_median_ms).or(day.figures.rtt_median_ms)),
        loss: percent.map_or_else(|| "–".into(), |percent| format!("{} %", tongue.number(percent, 1))),
    }
}

fn test_row(tongue: Tongue, calendar: &Calendar, test: &Test) -> TestRow {
    let mut note = Vec::new();
    if test.busy {
        note.push(tongue.say("busy"));
    }
    if !test.clock_ok {
        note.push(tongue.say("clock"));
    }
    if test.download_bps.or(test.upload_bps).is_none() {
        note.push(tongue.say("untold"));
    }
    TestRow {
        time: calendar.clock(Time::from_micros(test.started)),
        download: rate(tongue, test.download_bps),
        upload: rate(tongue, test.upload_bps),
        wait: wait(tongue, test.download_rtt_min_ms),
        note: note.join(", "),
    }
}

fn outage_row(tongue: Tongue, calendar: &Calendar, outage: &Outage) -> (String, &'static str, String) {
    let note = if outage.open { format!(" ({})", tongue.say("open")) } else { String::new() };
    let what = tongue.say(event_key(&outage.what));
    (calendar.clock(Time::from_micros(outage.started)), what, format!("{}{note}", spent(tongue, outage.seconds)))
}

fn facts(tongue: Tongue, calendar: &Calendar, school: &School) -> Vec<(&'static str, String)> {
    let mut facts = vec![(tongue.say("received"), school.records.to_string())];
    let (Some(last), Some(glance)) = (&school.last, &school.glance) else { return facts };
    let line = &last["payload"]["line"];
    let seconds = |name: &str| tongue.lasted(line[name].as_u64().unwrap_or_default());
    let moment = |name: &str| clock(calendar, last[name].as_str().unwrap_or_default());
    let note = if glance.clock_ok { String::new() } else { format!(" ({})", tongue.say("clock")) };
    facts.extend([
        (tongue.say("time"), format!("{} – {}{note}", moment("start"), moment("end"))),
        (tongue.say("line"), state(tongue, &glance.state).to_owned()),
        (tongue.say("down"), seconds("down_seconds")),
        (tongue.say("off"), seconds("off_seconds")),
        (tongue.say("store"), format!("{} / {}", tongue.bytes(glance.disk_bytes), tongue.bytes(glance.quota_bytes))),
        (tongue.say("waiting"), glance.waiting.to_string()),
        (tongue.say("version"), glance.version.clone()),
    ]);
    facts
}

fn hour(tongue: Tongue, calendar: &Calendar, record: &Value) -> HourRow {
    let line = &record["payload"]["line"];
    let text = |name: &str| record[name].as_str().unwrap_or_default();
    let seconds = |name: &str| tongue.lasted(line[name].as_u64().unwrap_or_default());
    HourRow {
        time: format!("{} – {}", clock(calendar, text("start")), clock(calendar, text("end"))),
        line: state(tongue, line["state"].as_str().unwrap_or_default()),
        down: seconds("down_seconds"),
        off: seconds("off_seconds"),
        speed: rate(tongue, line["download_p95_bps"].as_u64().and_then(|rate| i64::try_from(rate).ok())),
        wait: wait(tongue, line["rtt_median_ms"].as_f64()),
    }
}
