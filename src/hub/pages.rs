//! Pages for people: a region on one, a school on another. No script; everything that came from a node or a file is escaped.

use crate::base::clock::Time;
use crate::base::unit::{BitRate, Bytes};
use crate::hub::summary::{School, Share, Standing};
use crate::hub::words::Tongue;
use askama::Template;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:1.5rem auto;max-width:76rem;padding:0 1rem;color:#1a1a1a;background:#fff}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid #ccc;vertical-align:top}\
th{font-weight:600}nav a{margin-right:1rem}.box{overflow-x:auto}.mark{display:inline-block;padding:.1rem .5rem;border:1px solid #555;border-radius:.3rem}\
.silent,.line_down{background:#fbdcd6}.late,.never_reported{background:#fdf1c8}.live{background:#dcefdc}.unknown{background:#eee}\
.old{color:#595959}dl{display:grid;grid-template-columns:max-content auto;gap:.2rem 1rem}dt{font-weight:600}dd{margin:0}\
@media (prefers-color-scheme:dark){body{color:#eee;background:#161616}.mark{color:#1a1a1a}a{color:#9cf}.old{color:#aaa}}";

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="{{ tongue.code() }}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>Bulak: {{ tongue.say("region") }}</title><style>{{ style|safe }}</style></head>
<body>
<nav><a href="/?lang=kk">Қазақша</a><a href="/?lang=ru">Русский</a><a href="/?lang=en">English</a></nav>
<main>
<h1>{{ tongue.say("region") }}: {{ rows.len() }}</h1>
<p>{{ now }}{% for count in counts %} · {{ count }}{% endfor %}</p>
{% if rows.is_empty() %}<p>{{ tongue.say("none") }}</p>{% else %}
<div class="box"><table>
<thead><tr><th scope="col">{{ tongue.say("school") }}</th><th scope="col">{{ tongue.say("state") }}</th><th scope="col">{{ tongue.say("heard") }}</th><th scope="col">{{ tongue.say("line") }}</th><th scope="col">{{ tongue.say("speed") }}</th><th scope="col">{{ tongue.say("wait") }}</th><th scope="col">{{ tongue.say("cache") }}</th><th scope="col">{{ tongue.say("store") }}</th></tr></thead>
<tbody>{% for row in rows %}
<tr><th scope="row"><a href="{{ row.link }}">{{ row.name }}</a></th><td><span class="mark {{ row.class }}">{{ row.standing }}</span></td><td>{{ row.heard }}</td><td{% if row.stale %} class="old"{% endif %}>{{ row.line }}</td><td{% if row.stale %} class="old"{% endif %}>{{ row.speed }}</td><td{% if row.stale %} class="old"{% endif %}>{{ row.wait }}</td><td{% if row.stale %} class="old"{% endif %}>{% for way in row.ways %}{{ way }}<br>{% endfor %}</td><td{% if row.stale %} class="old"{% endif %}>{{ row.store }}</td></tr>{% endfor %}
</tbody></table></div>{% endif %}
<p><a href="/api/v1/schools">JSON</a></p>
</main></body></html>
"#
)]
struct RegionPage<'a> {
    tongue: Tongue,
    style: &'a str,
    now: String,
    counts: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="{{ tongue.code() }}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>Bulak: {{ row.name }}</title><style>{{ style|safe }}</style></head>
<body>
<nav><a href="/?lang={{ tongue.code() }}">← {{ tongue.say("region") }}</a><a href="{{ row.link }}?lang=kk">Қазақша</a><a href="{{ row.link }}?lang=ru">Русский</a><a href="{{ row.link }}?lang=en">English</a></nav>
<main>
<h1>{{ row.name }}</h1>
<p><span class="mark {{ row.class }}">{{ row.standing }}</span> {{ tongue.say("heard") }}: {{ row.heard }}</p>
<h2>{{ tongue.say("last") }}</h2>
<dl>{% for fact in facts %}<dt>{{ fact.0 }}</dt><dd>{{ fact.1 }}</dd>{% endfor %}</dl>
<h2>{{ tongue.say("cache") }}</h2>
<ul>{% for way in row.ways %}<li>{{ way }}</li>{% endfor %}</ul>
<h2>{{ tongue.say("hours") }}</h2>
<div class="box"><table>
<thead><tr><th scope="col">{{ tongue.say("time") }}</th><th scope="col">{{ tongue.say("line") }}</th><th scope="col">{{ tongue.say("down") }}</th><th scope="col">{{ tongue.say("off") }}</th><th scope="col">{{ tongue.say("speed") }}</th><th scope="col">{{ tongue.say("wait") }}</th></tr></thead>
<tbody>{% for hour in hours %}
<tr><th scope="row">{{ hour.time }}</th><td>{{ hour.line }}</td><td>{{ hour.down }}</td><td>{{ hour.off }}</td><td>{{ hour.speed }}</td><td>{{ hour.wait }}</td></tr>{% endfor %}
</tbody></table></div>
<p><a href="{{ json }}">JSON</a></p>
</main></body></html>
"#
)]
struct SchoolPage<'a> {
    tongue: Tongue,
    style: &'a str,
    row: Row,
    facts: Vec<(&'static str, String)>,
    hours: Vec<HourRow>,
    json: String,
}

struct Row {
    link: String,
    name: String,
    class: &'static str,
    standing: &'static str,
    heard: String,
    stale: bool,
    line: &'static str,
    speed: String,
    wait: String,
    ways: Vec<String>,
    store: String,
}

struct HourRow {
    time: String,
    line: &'static str,
    down: String,
    off: String,
    speed: String,
    wait: String,
}

/// The region: a row per school, who needs a call first.
pub(crate) fn region(tongue: Tongue, schools: &[School], now: Time) -> Result<String, askama::Error> {
    let mut counts: BTreeMap<Standing, usize> = BTreeMap::new();
    for school in schools {
        *counts.entry(school.standing).or_default() += 1;
    }
    let counts = counts.into_iter().map(|(standing, count)| format!("{}: {count}", tongue.say(class(standing)))).collect();
    let rows = schools.iter().map(|school| row(tongue, school)).collect();
    RegionPage { tongue, style: STYLE, now: clock(now.to_rfc3339().as_str()), counts, rows }.render()
}

/// One school: the last report, the line, the cache by way, hour by hour.
pub(crate) fn school(tongue: Tongue, school: &School, records: &[Value], _now: Time) -> Result<String, askama::Error> {
    let mut facts = vec![(tongue.say("received"), school.records.to_string())];
    if let Some(last) = &school.last {
        let payload = &last.payload;
        let note = if last.clock_ok { String::new() } else { format!(" ({})", tongue.say("clock")) };
        facts.extend([
            (tongue.say("time"), format!("{} – {}{note}", clock(&last.start), clock(&last.end))),
            (tongue.say("line"), state(tongue, &payload.line.state).to_owned()),
            (tongue.say("down"), span(tongue, payload.line.down_seconds)),
            (tongue.say("off"), span(tongue, payload.line.off_seconds)),
            (tongue.say("store"), fill(payload.store.disk_bytes, payload.store.quota_bytes)),
            (tongue.say("waiting"), payload.health.outbox_records.to_string()),
            (tongue.say("version"), payload.health.version.clone()),
        ]);
    }
    let json = format!("/api/v1/schools/{}", percent(&school.id));
    SchoolPage {
        tongue,
        style: STYLE,
        row: row(tongue, school),
        facts,
        hours: records.iter().map(|record| hour(tongue, record)).collect(),
        json,
    }
    .render()
}

fn row(tongue: Tongue, school: &School) -> Row {
    let line = school.last.as_ref().map(|record| &record.payload.line);
    let store = school.last.as_ref().map(|record| &record.payload.store);
    Row {
        link: format!("/schools/{}", percent(&school.id)),
        name: school.name.clone(),
        class: class(school.standing),
        standing: tongue.say(class(school.standing)),
        heard: school.heard_seconds_ago.map_or_else(|| "–".into(), |seconds| span(tongue, seconds)),
        stale: !matches!(school.standing, Standing::Live | Standing::LineDown),
        line: line.map_or("–", |line| state(tongue, &line.state)),
        speed: speed(line.and_then(|line| line.download_p95_bps)),
        wait: wait(line.and_then(|line| line.rtt_median_ms)),
        ways: school.by_way.iter().map(|(way, share)| way_text(tongue, way, *share)).collect(),
        store: store.map_or_else(|| "–".into(), |store| fill(store.disk_bytes, store.quota_bytes)),
    }
}

fn hour(tongue: Tongue, record: &Value) -> HourRow {
    let line = &record["payload"]["line"];
    let text = |name: &str| record[name].as_str().unwrap_or_default();
    let seconds = |name: &str| line[name].as_u64().unwrap_or_default();
    HourRow {
        time: format!("{} – {}", clock(text("start")), clock(text("end"))),
        line: state(tongue, line["state"].as_str().unwrap_or_default()),
        down: span(tongue, seconds("down_seconds")),
        off: span(tongue, seconds("off_seconds")),
        speed: speed(line["download_p95_bps"].as_u64()),
        wait: wait(line["rtt_median_ms"].as_f64()),
    }
}

fn class(standing: Standing) -> &'static str {
    match standing {
        Standing::Silent => "silent",
        Standing::LineDown => "line_down",
        Standing::Late => "late",
        Standing::NeverReported => "never_reported",
        Standing::Unknown => "unknown",
        Standing::Live => "live",
    }
}

fn state(tongue: Tongue, word: &str) -> &'static str {
    match word {
        "up" => tongue.say("up"),
        "slow" => tongue.say("slow"),
        "down" => tongue.say("line_down"),
        _ => tongue.say("unknown"),
    }
}

fn way_text(tongue: Tongue, way: &str, share: Share) -> String {
    let name = match way {
        "mirror" => tongue.say("mirror"),
        "intercept" => tongue.say("intercept"),
        _ => tongue.say("http"),
    };
    format!("{name}: {} / {}", Bytes(share.cached_bytes).human(), Bytes(share.client_bytes).human())
}

fn fill(used: u64, quota: u64) -> String {
    format!("{} / {}", Bytes(used).human(), Bytes(quota).human())
}

fn speed(rate: Option<u64>) -> String {
    rate.map_or_else(|| "–".into(), |rate| BitRate(rate).human())
}

fn wait(rtt: Option<f64>) -> String {
    rtt.map_or_else(|| "–".into(), |rtt| format!("{rtt:.0} ms"))
}

/// `3 min`, `5 h`, `12 d`.
fn span(tongue: Tongue, seconds: u64) -> String {
    match seconds {
        0..3_600 => format!("{} {}", seconds / 60, tongue.say("min")),
        3_600..172_800 => format!("{} {}", seconds / 3_600, tongue.say("h")),
        _ => format!("{} {}", seconds / 86_400, tongue.say("d")),
    }
}

/// `24.11.2026 05:00` of an RFC 3339 text; other texts as they are.
fn clock(text: &str) -> String {
    let Ok(stamp) = text.parse::<jiff::Timestamp>() else {
        return text.to_owned();
    };
    stamp.to_zoned(jiff::tz::TimeZone::UTC).strftime("%d.%m.%Y %H:%M").to_string()
}

/// A text as one path segment (RFC 3986 section 3.3).
fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_in_text_and_in_links() {
        let school = School {
            id: "мектеп 7/\"><script>".into(),
            name: "<script>alert(1)</script>".into(),
            standing: Standing::NeverReported,
            heard: None,
            heard_seconds_ago: None,
            records: 0,
            nodes: vec![],
            by_way: BTreeMap::new(),
            last: None,
        };
        for tongue in [Tongue::Kk, Tongue::Ru, Tongue::En] {
            let pages = [
                region(tongue, std::slice::from_ref(&school), Time::from_secs(0)),
                super::school(tongue, &school, &[], Time::from_secs(0)),
            ];
            for text in pages.map(|page| page.expect("renders")) {
                assert!(!text.contains("<script"), "{text}");
                assert!(text.contains("%D0%BC") && text.contains("%22%3E%3Cscript%3E"), "{text}");
                assert!(text.contains(tongue.say("never_reported")));
            }
        }
    }

    #[test]
    fn figures_as_people_read_them() {
        assert_eq!(span(Tongue::En, 59), "0 min");
        assert_eq!(span(Tongue::Ru, 7_300), "2 ч");
        assert_eq!(span(Tongue::Kk, 700_000), "8 күн");
        assert_eq!(clock("2026-11-24T05:00:00.000000Z"), "24.11.2026 05:00");
        assert_eq!(clock("unknown"), "unknown");
    }
}
