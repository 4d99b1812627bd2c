//! A statement as one page to print: HTML with a style of its own, no script, nothing from outside. Pure: the same statement in the same
//! language gives the same bytes, which is how a page is checked.

use crate::base::calendar::{self, Calendar};
use crate::base::chart::{BOTTOM, HEIGHT, LEFT, Plane, TOP, WIDTH, float};
use crate::base::clock::Time;
use crate::base::language::Language;
use crate::report::statement::figures::{Figures, Speed, State};
use crate::report::statement::paper::{Document, Statement};
use crate::report::statement::words::{self, Words, fill};
use askama::Template;
use std::fmt::Write;

/// A4, and a screen; readable without colours.
pub(super) const STYLE: &str = "@page{size:A4;margin:12mm 14mm}\
body{font:10.5pt/1.38 system-ui,'Noto Sans','DejaVu Sans',sans-serif;max-width:182mm;margin:1.5rem auto;padding:0 1rem;color:#111;background:#fff}\
h1{font-size:17pt;margin:0 0 2mm}h2{font-size:12pt;margin:4mm 0 1mm;break-after:avoid}p{margin:1mm 0}\
table{border-collapse:collapse;width:100%;break-inside:avoid}th,td{text-align:left;padding:.6mm 2mm .6mm 0;border-bottom:.2mm solid #bbb;vertical-align:top}\
td{font-variant-numeric:tabular-nums;white-space:nowrap}td:nth-child(7){white-space:normal}th{font-weight:600}tbody th{font-weight:400}.verdict{border-left:1.2mm solid #111;padding:.5mm 0 .5mm 3mm;margin:2mm 0}\
.verdict p{font-size:11.5pt}.few{font-weight:600}.two{display:grid;grid-template-columns:1fr 1fr;gap:0 8mm}.small,footer{font-size:8.5pt;color:#333}\
.code{font-family:ui-monospace,'DejaVu Sans Mono',monospace;overflow-wrap:anywhere}footer{border-top:.3mm solid #111;margin-top:4mm;padding-top:1mm;break-inside:avoid}\
.chart{width:100%;height:auto;font:9.5px system-ui,sans-serif;break-inside:avoid;overflow:visible}.chart text{fill:#111}.grid{stroke:#ccc;stroke-width:.5;fill:none}\
.span{stroke:#1558b0;stroke-width:2;fill:none}.point{fill:#1558b0}.contract{stroke:#b3261e;stroke-dasharray:7 4;fill:none}\
.mark{stroke:#333;stroke-dasharray:1.5 3;fill:none}.gap{fill:#999;opacity:.22}.gap.offline{fill:#b3261e}\
@media print{body{margin:0;max-width:none;padding:0}}";

/// Two cells.
type Pair = (String, String);

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="{{ tag }}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>{{ words.title }}: {{ school }}, {{ period }}</title>
<meta name="bulak-statement" content="{{ document.signed }}">
<meta name="bulak-signature" content="{{ document.signature }}">
<style>{{ style|safe }}</style></head>
<body><main>
<h1>{{ words.title }}</h1>
<p><b>{{ words.school }}:</b> {{ school }}{% if !id.is_empty() %} ({{ id }}){% endif %}<br><b>{{ words.period }}:</b> {{ period }}{% if !over %} – {{ words.running }}{% endif %} · {{ words.zone }}: {{ zone }}</p>
<div class="verdict">{% for line in verdict %}<p>{{ line }}</p>{% endfor %}{% if !few.is_empty() %}<p class="few">{{ few }}</p>{% endif %}</div>
<h2>{{ words.speed }}</h2>
<table><thead><tr><th scope="col">{{ words.direction }}</th><th scope="col">{{ words.contract }}</th><th scope="col">{{ words.median }}</th><th scope="col">{{ words.lowest }}</th><th scope="col">{{ words.highest }}</th><th scope="col">{{ words.tests }}</th><th scope="col">{{ words.short_days }}</th></tr></thead>
<tbody>{% for row in speeds %}<tr><th scope="row">{{ row.0 }}</th>{% for cell in row.1 %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>
<p><b>{{ words.benchmark }}: {{ benchmark }}.</b> {{ words.benchmark_how }} {{ pupils }}</p>
<p><b>{{ words.days }}:</b> {{ states }}</p>
{{ chart|safe }}
<p class="small">{{ words.chart }}</p>
<div class="two"><section>
<h2>{{ words.time }}</h2>
<table><tbody>{% for row in time %}<tr><th scope="row">{{ row.0 }}</th><td>{{ row.1 }}</td></tr>
{% endfor %}</tbody></table>
<p class="small">{{ words.available_how }}</p>
</section><section>
<h2>{{ words.latency }}</h2>
<table><tbody>{% for row in latency %}<tr><th scope="row">{{ row.0 }}</th><td>{{ row.1 }}</td></tr>
{% endfor %}</tbody></table>
<h2>{{ words.outages }}</h2>
{% if causes.is_empty() %}<p>{{ words.outages_none }}</p>{% else %}<table><thead><tr><th scope="col">{{ words.cause }}</th><th scope="col">{{ words.times }}</th><th scope="col">{{ words.total }}</th><th scope="col">{{ words.longest }}</th></tr></thead>
<tbody>{% for row in causes %}<tr><th scope="row">{{ row.0 }}</th>{% for cell in row.1 %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>{% if !exact %}<p class="small">{{ words.outages_coarse }}</p>{% endif %}{% endif %}
</section></div>
{% if !longest.is_empty() %}<p class="small"><b>{{ words.one_by_one }}:</b> {% for row in longest %}{{ row.0 }} – {{ row.1 }}{% if !loop.last %}; {% endif %}{% endfor %}.</p>{% endif %}
<h2>{{ words.method }}</h2>
<p class="small">{% for text in method %}{{ text }} {% endfor %}</p>
<footer><p>{{ words.made }}: {{ made }} · {{ words.program }}: Bulak {{ program }} · {{ words.node }}: <span class="code">{{ node }}</span></p>
<p>{{ words.digest }}: <span class="code">{{ digest }}</span></p>
<p>{{ words.signature }}: <span class="code">{{ document.signature }}</span></p>
<p>{{ words.check }}</p></footer>
</main></body></html>
"#
)]
struct Page<'a> {
    tag: &'static str,
    style: &'static str,
    words: &'static Words,
    document: &'a Document,
    school: &'a str,
    id: &'a str,
    period: String,
    over: bool,
    zone: &'a str,
    verdict: Vec<String>,
    few: String,
    speeds: Vec<(&'static str, Vec<String>)>,
    benchmark: String,
    pupils: String,
    states: String,
    chart: String,
    time: Vec<Pair>,
    latency: Vec<Pair>,
    causes: Vec<(&'static str, Vec<String>)>,
    exact: bool,
    longest: Vec<Pair>,
    method: Vec<String>,
    made: String,
    program: &'a str,
    node: &'a str,
    digest: String,
}

/// The page.
///
/// # Errors
/// When the template fails, which it does not.
pub fn render(document: &Document, language: Language) -> Result<String, askama::Error> {
    let words = words::of(language);
    let Document { statement: Statement { figures, .. }, .. } = document;
    // A statement whose zone nobody knows here is still readable: its moments are those of UTC.
    let calendar = Calendar::of(&figures.zone).unwrap_or_default();
    let clock = |text: &str| {
        let stamp = text.parse::<jiff::Timestamp>();
        stamp.map_or_else(|_| "–".into(), |stamp| calendar.clock(Time::from_micros(stamp.as_microsecond())))
    };
    let page = Page {
        tag: language.tag(),
        style: STYLE,
        words,
        document,
        school: &figures.school,
        id: &figures.school_id,
        period: format!("{} – {}", date(&figures.from), date(&figures.to)),
        over: figures.over,
        zone: &figures.zone,
        verdict: verdict(words, figures),
        few: few(words, figures),
        speeds: vec![(words.download, speed(words, &figures.download)), (words.upload, speed(words, &figures.upload))],
        benchmark: words.rate(figures.benchmark_bps),
        pupils: figures.pupils.map_or_else(|| words.pupils_unknown.to_owned(), |pupils| fill(words.pupils, &[("pupils", &pupils)])),
        states: states(words, figures),
        chart: chart(words, figures),
        time: time(words, figures),
        latency: latency(words, figures),
        causes: causes(words, figures),
        exact: figures.outages_exact,
        longest: figures
            .longest
            .iter()
            .map(|one| (format!("{}, {}", clock(&one.start), words.event(&one.what)), words.span(one.seconds)))
            .collect(),
        method: method(words, figures),
        made: clock(&document.statement.made),
        program: &document.statement.program,
        node: &document.statement.node,
        digest: document.digest_in_groups(),
    };
    page.render()
}

/// `31.10.2026` of `2026-10-31`.
fn date(iso: &str) -> String {
    calendar::parse(iso).map_or_else(|| iso.to_owned(), calendar::plain)
}

fn verdict(words: &Words, figures: &Figures) -> Vec<String> {
    let (median, benchmark) = (words.rate_or(figures.download.median_bps), words.rate(figures.benchmark_bps));
    let values: [(&str, &dyn std::fmt::Display); 2] = [("median", &median), ("benchmark", &benchmark)];
    let mut lines = vec![match figures.state {
        State::NoData => words.no_data.to_owned(),
        State::Offline => words.offline.to_owned(),
        State::Below => fill(words.below, &values),
        State::Meets => fill(words.meets, &values),
    }];
    match (figures.download.contract_bps, figures.download.days_below_contract) {
        (Some(contract), Some(short)) => {
            let (contract, days) = (words.rate(contract), figures.download.days);
            lines.push(fill(words.promised, &[("contract", &contract), ("days", &days), ("short", &short)]));
        }
        (None, _) => lines.push(words.unpromised.to_owned()),
        (Some(_), None) => {}
    }
    lines
}

fn few(words: &Words, figures: &Figures) -> String {
    if !figures.few || figures.state == State::NoData {
        return String::new();
    }
    let values: [(&str, &dyn std::fmt::Display); 3] =
        [("tests", &figures.download.tests), ("days", &figures.download.days), ("length", &figures.length_days)];
    fill(words.few, &values)
}

fn speed(words: &Words, speed: &Speed) -> Vec<String> {
    let short = speed.days_below_contract.map(|short| {
        let share = words.share(short.saturating_mul(1_000_000).checked_div(speed.days).unwrap_or(0));
        format!("{} ({share})", fill(words.of, &[("part", &short), ("whole", &speed.days)]))
    });
    vec![
        speed.contract_bps.map_or_else(|| words.unknown.to_owned(), |contract| words.rate(contract)),
        words.rate_or(speed.median_bps),
        words.rate_or(speed.low_bps),
        words.rate_or(speed.high_bps),
        speed.tests.to_string(),
        short.unwrap_or_else(|| "–".into()),
    ]
}

fn states(words: &Words, figures: &Figures) -> String {
    let states = figures.states;
    [
        (words.days_meets, states.meets),
        (words.days_below, states.below),
        (words.days_offline, states.offline),
        (words.days_no_data, states.no_data),
    ]
    .map(|(word, days)| format!("{word} – {days}"))
    .join(", ")
}

fn time(words: &Words, figures: &Figures) -> Vec<Pair> {
    let time = &figures.time;
    let rows = [
        (words.up, time.up_seconds),
        (words.slow, time.slow_seconds),
        (words.down, time.down_seconds),
        (words.untried, time.untried_seconds),
        (words.off, time.off_seconds),
        (words.clock, time.clock_seconds),
        (words.before, time.before_seconds),
    ];
    // Whoever made the page may have written any number.
    let all = rows.iter().fold(0_u64, |all, (_, seconds)| all.saturating_add(*seconds));
    let told = |seconds: u64| {
        let share = words.share(u64::try_from(u128::from(seconds) * 1_000_000 / u128::from(all.max(1))).unwrap_or(0));
        format!("{} ({share})", words.span(seconds))
    };
    // That the line worked or not is always said; the rest where it was so.
    let shown = rows.iter().enumerate().filter(|(at, (_, seconds))| matches!(at, 0 | 2) || *seconds > 0);
    let mut rows: Vec<Pair> = shown.map(|(_, (word, seconds))| ((*word).to_owned(), told(*seconds))).collect();
    rows.push((words.available.to_owned(), time.available_ppm.map_or_else(|| words.unknown.to_owned(), |ppm| words.share(ppm))));
    rows
}

fn latency(words: &Words, figures: &Figures) -> Vec<Pair> {
    let latency = &figures.latency;
    vec![
        (words.latency_idle.to_owned(), words.wait(latency.idle_us)),
        (words.latency_span.to_owned(), format!("{} … {}", words.wait(latency.low_us), words.wait(latency.high_us))),
        (words.latency_loaded.to_owned(), words.wait(latency.loaded_us)),
    ]
}

fn causes(words: &Words, figures: &Figures) -> Vec<(&'static str, Vec<String>)> {
    let told = |cause: &super::figures::Cause| {
        (words.event(&cause.what), vec![cause.times.to_string(), words.span(cause.seconds), words.span(cause.longest_seconds)])
    };
    figures.outages.iter().map(told).collect()
}

fn method(words: &Words, figures: &Figures) -> Vec<String> {
    let tests = &figures.tests;
    let (cost, cross) = (words.bytes(tests.cost_bytes), words.bytes(tests.cross_bytes));
    vec![
        fill(words.method_where, &[("domestic", &tests.domestic), ("foreign", &tests.foreign), ("unplaced", &tests.unplaced)]),
        fill(words.method_test, &[("streams", &tests.streams)]),
        fill(words.method_early, &[("early", &tests.early), ("cost", &cost)]),
        fill(words.method_cross, &[("cross", &cross), ("busy", &tests.busy)]),
        fill(
            words.method_guess,
            &[("manual", &tests.manual), ("failed", &tests.failed), ("passive", &tests.passive), ("undated", &tests.undated)],
        ),
    ]
}

/// Download by day against contract and target.
fn chart(words: &Words, figures: &Figures) -> String {
    let (Some(from), Some(to)) = (calendar::parse(&figures.from), calendar::parse(&figures.to)) else { return String::new() };
    let number = |rate: u64| i64::try_from(rate).unwrap_or(i64::MAX);
    let highest = [figures.download.high_bps, figures.download.contract_bps, Some(figures.benchmark_bps)].into_iter().flatten().max();
    let plane = Plane { from, to: to.max(from), most: float(number(highest.unwrap_or(0)).max(1_000_000)) * 1.05 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "marks of an axis, not negative; `as` saturates")]
    let mut svg = plane.open(words.chart, |value| words.rate(value.round() as u64));
    let place = |rate: u64| plane.y(float(number(rate)));
    // Writing to a String cannot fail.
    for (class, rate) in [("mark", Some(figures.benchmark_bps)), ("contract", figures.download.contract_bps)] {
        if let Some(rate) = rate {
            let _ = write!(svg, "<path class=\"{class}\" d=\"M{LEFT} {:.1}H{WIDTH}\"/>", place(rate));
        }
    }
    let (mut spans, mut points) = (String::new(), String::new());
    for day in &figures.days {
        let Some(at) = calendar::parse(&day.date).map(f64::from) else { continue };
        let middle = plane.x(at + 0.5);
        if let (Some(low), Some(median), Some(high)) = (day.low_bps, day.median_bps, day.high_bps) {
            let _ = write!(spans, "M{middle:.1} {:.1}V{:.1}", place(low) + 0.5, place(high) - 0.5);
            let _ = write!(points, "<circle class=\"point\" cx=\"{middle:.1}\" cy=\"{:.1}\" r=\"3\"/>", place(median));
            continue;
        }
        let (class, word) = match day.state {
            State::Offline => ("gap offline", words.days_offline),
            _ => ("gap", words.days_no_data),
        };
        let (left, right) = (plane.x(at), plane.x(at + 1.0));
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\"><title>{}: {word}</title></rect>",
            right - left,
            HEIGHT - TOP - BOTTOM,
            date(&day.date)
        );
    }
    let _ = write!(svg, "<path class=\"span\" d=\"{spans}\"/>{points}</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::statement::figures::tests::sample;
    use crate::report::statement::paper::tests::document;

    #[test]
    fn a_page_says_what_the_figures_say_in_three_languages() {
        let document = document(sample());
        for (language, wanted) in [
            (Language::En, ["Statement of the Internet line", "7.8 Mbit/s", "8.0 Mbit/s", "01.10.2026 – 31.10.2026", "the box was off"]),
            (Language::Ru, ["Справка о линии Интернета", "7,8 Мбит/с", "8,0 Мбит/с", "часовой пояс: Asia/Almaty", "прибор выключен"]),
            (Language::Kk, ["Интернет желісі туралы анықтама", "7,8 Мбит/с", "8,0 Мбит/с", "уақыт белдеуі", "құрылғы өшірулі"]),
        ] {
            let page = render(&document, language).expect("renders");
            for piece in wanted {
                assert!(page.contains(piece), "{piece} in\n{page}");
            }
            assert!(page.contains(&format!("lang=\"{}\"", language.tag())) && page.contains(&document.digest_in_groups()));
            // Nothing from outside, nothing that runs, no place left unfilled.
            for bad in ["<script", "http:", "https:", "url(", "@import", "NaN"] {
                assert!(!page.contains(bad), "{bad} in\n{page}");
            }
            let shown = page.split("<body>").nth(1).expect("a body");
            assert!(!shown.contains('{') && !shown.contains('}'), "{shown}");
            assert!(page.len() < 40_000, "{} bytes", page.len());
        }
    }

    #[test]
    fn names_are_text_and_nothing_more() {
        let mut figures = sample();
        figures.school = "<img src=x onerror=alert(1)>\" & co".into();
        figures.zone = "</style><b>".into();
        let page = render(&document(figures), Language::En).expect("renders");
        assert!(!page.contains("<img") && !page.contains("</style><b>"), "{page}");
    }

    #[test]
    fn a_period_without_data_says_so() {
        let figures = Figures { from: "2026-10-01".into(), to: "2026-10-31".into(), few: true, ..Figures::default() };
        let page = render(&document(figures), Language::En).expect("renders");
        for piece in ["nothing can be said about the line", "unknown", "Nothing was noticed", "nothing is compared"] {
            assert!(page.contains(piece), "{piece} in\n{page}");
        }
    }
}
