//! The region on one page: a row a school, who needs a call first; two hundred at once, by state and by name.

use super::{Row, STYLE, percent, row};
use crate::base::calendar::Calendar;
use crate::base::clock::Time;
use crate::hub::summary::{Event, School, Standing};
use crate::hub::words::Tongue;
use askama::Template;
use std::collections::{BTreeMap, HashMap};

/// Schools on one page: more would be a megabyte of rows that nobody reads to the end.
pub(crate) const MOST: usize = 200;

/// What of the region is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Only these.
    pub(crate) state: Option<Standing>,
    /// In name, id or provider.
    pub(crate) text: String,
    /// From 0.
    pub(crate) page: usize,
}

/// What the page shows.
pub(crate) struct Region<'a> {
    /// The schools of this page.
    pub(crate) schools: &'a [School],
    /// How many there are of each state.
    pub(crate) counts: &'a BTreeMap<Standing, usize>,
    /// Providers in trouble.
    pub(crate) events: &'a [Event],
    /// Thirty days of each school.
    pub(crate) strips: &'a HashMap<String, String>,
    /// Schools that fit what is asked.
    pub(crate) found: usize,
    /// What is.
    pub(crate) asked: &'a Asked,
    /// When.
    pub(crate) now: Time,
    /// The hub's clock is wrong.
    pub(crate) astray: bool,
    /// Who is signed in.
    pub(crate) signed: Option<&'a str>,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="{{ tongue.code() }}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>Bulak: {{ tongue.say("region") }}</title><style>{{ style|safe }}</style></head>
<body>
{% if let Some(name) = signed %}<form class="out" method="post" action="/sign-out">{{ name }} <button>{{ tongue.say("sign_out") }}</button></form>
{% endif %}<nav>{% for other in tongues %}<a href="{{ other.0 }}">{{ other.1 }}</a>{% endfor %}</nav>
<main>
<h1>{{ tongue.say("region") }}: {{ all }}</h1>
<p>{{ now }}</p>
{% if astray %}<p class="event"><strong>{{ tongue.say("astray") }}</strong></p>
{% endif %}{% for event in events %}<p class="event"><strong>{{ tongue.say("event") }}</strong>: {{ event.provider }}, {{ event.away }} {{ tongue.say("of") }} {{ event.of }}</p>
{% endfor %}{% if all == 0 %}<p>{{ tongue.say("none") }}</p>{% else %}
<nav><a href="/?lang={{ tongue.code() }}">{{ tongue.say("all") }}: {{ all }}</a>{% for count in counts %}<a href="{{ count.0 }}"{% if count.3 %} aria-current="true"{% endif %}><span class="mark {{ count.1 }}">{{ count.2 }}</span></a>{% endfor %}</nav>
<form><input type="hidden" name="lang" value="{{ tongue.code() }}">{% if !state.is_empty() %}<input type="hidden" name="state" value="{{ state }}">{% endif %}<label>{{ tongue.say("search") }} <input name="q" value="{{ text }}"></label> <button>{{ tongue.say("show") }}</button></form>
<div class="box"><table>
<thead><tr><th scope="col">{{ tongue.say("school") }}</th><th scope="col">{{ tongue.say("state") }}</th><th scope="col">{{ tongue.say("heard") }}</th><th scope="col">{{ tongue.say("month") }}</th><th scope="col">{{ tongue.say("line") }}</th><th scope="col">{{ tongue.say("speed") }}</th><th scope="col">{{ tongue.say("wait") }}</th><th scope="col">{{ tongue.say("cache") }}</th><th scope="col">{{ tongue.say("store") }}</th></tr></thead>
<tbody>{% for (row, strip) in rows %}
<tr><th scope="row"><a href="{{ row.link }}?lang={{ tongue.code() }}">{{ row.name }}</a>{% if !row.provider.is_empty() %}<br><small>{{ row.provider }}</small>{% endif %}</th><td><span class="mark {{ row.class }}">{{ row.standing }}</span>{% if row.twin %} <span class="mark late">{{ tongue.say("twin_short") }}</span>{% endif %}</td><td>{{ row.heard }}</td><td>{{ strip|safe }}</td><td{% if row.stale %} class="old"{% endif %}>{{ row.line }}</td><td{% if row.stale %} class="old"{% endif %}>{{ row.speed }}{% if !row.contract.is_empty() %}<br><small>{{ tongue.say("contract") }} {{ row.contract }}</small>{% endif %}</td><td{% if row.stale %} class="old"{% endif %}>{{ row.wait }}</td><td{% if row.stale %} class="old"{% endif %}>{% for way in row.ways %}{{ way }}<br>{% endfor %}</td><td{% if row.stale %} class="old"{% endif %}>{{ row.store }}</td></tr>{% endfor %}
</tbody></table></div>
{% if !next.is_empty() %}<p><a href="{{ next }}">{{ tongue.say("next") }} →</a></p>{% endif %}{% endif %}
<p><a href="/api/v1/schools">JSON</a> · <a href="/api/v1/schools.csv">CSV</a> · <a href="/api/v1/days.csv">{{ tongue.say("days") }}: CSV</a> · <a href="/api/v1/openapi.json">OpenAPI</a></p>
</main></body></html>
"#
)]
struct Page<'a> {
    tongue: Tongue,
    style: &'a str,
    signed: Option<&'a str>,
    /// Link and name: the same schools in each language.
    tongues: [(String, &'static str); 3],
    now: String,
    astray: bool,
    all: usize,
    events: &'a [Event],
    /// Link, class, text, whether it is the one that is shown.
    counts: Vec<(String, &'static str, String, bool)>,
    state: &'static str,
    text: &'a str,
    rows: Vec<(Row, &'a str)>,
    next: String,
}

/// The page.
pub(crate) fn render(tongue: Tongue, calendar: &Calendar, region: &Region<'_>) -> Result<String, askama::Error> {
    let count = |(standing, count): (&Standing, &usize)| {
        let word = standing.word();
        let shown = region.asked.state == Some(*standing);
        (format!("/?lang={}&state={word}", tongue.code()), word, format!("{}: {count}", tongue.say(word)), shown)
    };
    let state = region.asked.state.map_or("", Standing::word);
    let following = region.asked.page.saturating_add(1);
    let more = following.saturating_mul(MOST) < region.found;
    let at = |tongue: Tongue, page| format!("/?lang={}&state={state}&q={}&page={page}", tongue.code(), percent(&region.asked.text));
    let in_tongue = |(tongue, name)| (at(tongue, region.asked.page), name);
    Page {
        tongue,
        style: STYLE,
        signed: region.signed,
        tongues: [(Tongue::Kk, "Қазақша"), (Tongue::Ru, "Русский"), (Tongue::En, "English")].map(in_tongue),
        now: calendar.clock(region.now),
        astray: region.astray,
        all: region.counts.values().sum(),
        events: region.events,
        counts: region.counts.iter().map(count).collect(),
        state,
        text: &region.asked.text,
        rows: region.schools.iter().map(|school| (row(tongue, school), region.strips.get(&school.id).map_or("", String::as_str))).collect(),
        next: if more { at(tongue, following) } else { String::new() },
    }
    .render()
}
