//! Plans over a site in memory: what a survey asks, what it makes of the answers, and how right that was.

use super::*;
use crate::cache::{Glance, Told};
use crate::life::job::State as JobState;
use crate::prefetch::plan::sort::Sort;
use crate::prefetch::plan::{Basis, Plan, Which};
use http::StatusCode;
use std::fmt::Write as _;

/// What the site says to a HEAD.
pub(super) async fn glance(web: &Memory, target: &Target, bare: bool) -> Result<Glance, What> {
    tokio::task::yield_now().await;
    web.clock.advance(Duration::from_millis(100));
    let mut world = web.world.lock();
    world.heads.push(target.url().to_owned());
    let told = world.head.as_ref().or_else(|| world.pages.get(target.url()));
    let (status, length, wait) = match told {
        Some(Page::Text(..)) if !bare && world.pins.contains(target.url()) => return Ok(Glance::Same),
        Some(Page::Text(_, text)) => (200, Some(u64::try_from(text.len()).expect("small")), None),
        Some(Page::Status(status)) => (*status, None, None),
        Some(Page::Busy(secs)) => (429, None, Some(Duration::from_secs(*secs))),
        _ => (404, None, None),
    };
    let status = StatusCode::from_u16(status).expect("a status");
    Ok(Glance::Told(Told { status, length, retry_after: wait, location: None }))
}

const LISTED: &str = r#"
id = "demo"
version = "1"
licence = "CC0"
[title]
en = "Demo"
[[seed]]
list = "http://a.kz/list.txt"
[scope]
hosts = ["a.kz"]
max_bytes = "1 GiB"
"#;

/// So many pages with a style in common and a picture each; `size` gives the length of each.
fn shelf(pages: usize, size: impl Fn(usize) -> usize) -> Vec<(String, Page)> {
    let text = |length: usize| "x".repeat(length);
    let mut all = vec![
        (String::from("http://a.kz/s.css"), Page::Text("text/css", format!("@font-face{{src:url(f.woff2)}}{}", text(3000)))),
        (String::from("http://a.kz/f.woff2"), Page::Text("font/woff2", text(20_000))),
    ];
    let mut list = String::new();
    for n in 0..pages {
        writeln!(list, "http://a.kz/{n}.html").expect("a string grows");
        let body = format!("<link rel=stylesheet href=/s.css><img src={n}.png>{}", text(size(n)));
        all.push((format!("http://a.kz/{n}.html"), Page::Text("text/html", body)));
        all.push((format!("http://a.kz/{n}.png"), Page::Text("image/png", text(500 + n % 10 * 100))));
    }
    all.push((String::from("http://a.kz/list.txt"), Page::Text("text/plain", list)));
    all
}

async fn stage(pages: &[(String, Page)]) -> Stage {
    let pages: Vec<(&str, Page)> = pages.iter().map(|(url, page)| (url.as_str(), page.clone())).collect();
    Stage::new(LISTED, &pages).await
}

/// Has the pack surveyed as a person would; what the job says.
async fn survey(stage: &Stage) -> serde_json::Value {
    let job = stage.night.survey("demo").expect("a pack");
    tokio::select! {
        () = stage.night.survey_all() => unreachable!("it goes on until dropped"),
        () = async {
            while stage.night.jobs().look(&job.id).is_some_and(|job| !job.state.is_over()) {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    let job = stage.night.jobs().look(&job.id).expect("told");
    assert_eq!(job.state, JobState::Done, "{job:?}");
    job.result.expect("a result")
}

async fn plan(stage: &Stage) -> Plan {
    stage.night.plan("demo", false).await.expect("a plan")
}

fn within(planned: u64, took: u64, percent: u64) -> bool {
    planned.abs_diff(took) * 100 <= took * percent
}

#[tokio::test]
async fn a_first_night_is_as_it_was_planned() {
    // Pages from 2 kB to 20 kB, a few of 60 kB.
    let stage = stage(&shelf(400, |n| if n % 20 == 0 { 60_000 } else { 2000 + n * 7919 % 18_000 })).await;
    let told = survey(&stage).await;
    assert_eq!(told["surveyed"], true);
    let plan = plan(&stage).await;
    let before = stage.asked().len() + stage.world.lock().heads.len();
    assert!(before < 200, "{before} questions for 802 things");
    assert_eq!((plan.night, plan.bytes.guess, plan.basis), (Which::First, true, Basis::Sampled), "{plan:?}");
    assert!(plan.survey.as_ref().is_some_and(|survey| survey.pages_read == 12), "{plan:?}");
    assert!(within(plan.wishes.value, 803, 10), "{plan:?}");
    assert_eq!(stage.end().await, End::Done(0));
    let record = stage.night.records(None).await.expect("reads").remove(0);
    assert_eq!((record.first, record.surveyed, record.planned_bytes), (true, true, plan.bytes));
    // The samples come again here, as this web keeps nothing.
    assert!(within(record.planned_bytes.value, record.took_bytes, 30), "{record:?}");
    assert!(record.ended.is_some() && record.took_wishes == 803, "{record:?}");
    assert!(record.bytes_off_percent.is_some_and(|off| off.abs() <= 30), "{record:?}");
}

#[tokio::test]
async fn nobody_is_asked_while_the_line_is_down_costs_money_or_is_to_be_left_alone() {
    let mut stage = stage(&shelf(3, |_| 1000)).await;
    stage.world.lock().down = true;
    let told = survey(&stage).await;
    assert_eq!((&told["surveyed"], &told["why"]), (&false.into(), &"the line is down".into()));
    let unsure = plan(&stage).await;
    assert!(unsure.unknown.iter().any(|why| why.contains("the line is down")) && unsure.basis == Basis::Cap, "{unsure:?}");
    stage.world.lock().down = false;
    stage.night.pause(None).await.expect("writes");
    assert!(survey(&stage).await["why"].as_str().is_some_and(|why| why.contains("paused")));
    stage.night.resume().await.expect("writes");
    stage.settings.metered = true;
    stage.night.take_over(stage.settings.clone()).await.expect("reads");
    assert!(survey(&stage).await["why"].as_str().is_some_and(|why| why.contains("metered")));
    assert!(stage.world.lock().asked.is_empty() && stage.world.lock().heads.is_empty());
}

#[tokio::test]
async fn a_pause_ends_a_survey_that_is_under_way() {
    let mut pages = shelf(3, |_| 1000);
    for (_, page) in &mut pages {
        *page = Page::Hangs;
    }
    let stage = stage(&pages).await;
    let (told, ()) = tokio::join!(survey(&stage), async {
        while stage.world.lock().asked.is_empty() {
            tokio::task::yield_now().await;
        }
        stage.night.pause(None).await.expect("writes");
    });
    assert!(told["surveyed"] == false && told["why"].as_str().is_some_and(|why| why.contains("paused")), "{told}");
}

#[tokio::test]
async fn a_survey_has_manners_and_ends_in_time() {
    // A sitemap of ten thousand pages, one a second, for a minute.
    let mut pages = shelf(10_000, |_| 1000);
    pages.push((String::from("http://a.kz/robots.txt"), Page::Text("text/plain", "User-agent: *\nDisallow: /1\n".into())));
    let stage = stage(&pages).await;
    let begun = stage.clock.now();
    survey(&stage).await;
    assert!(stage.clock.now().since(begun) <= Duration::from_secs(63), "{:?}", stage.clock.now().since(begun));
    let held = stage.asked().iter().chain(&stage.world.lock().heads).filter(|url| kit_ends(url, "html")).count();
    assert!((10..=62).contains(&held), "{held} pages in a minute");
    let plan = plan(&stage).await;
    assert!(!plan.survey.as_ref().expect("made").whole && plan.unknown.iter().any(|why| why.contains("could not ask")), "{plan:?}");
    let forbidden = plan.left_out.iter().find(|one| one.why.contains("robots.txt")).expect("told");
    let many = forbidden.wishes.expect("a number");
    assert!(many.guess && many.value > 300 && many.value < 3500, "1111 of 10,000: {forbidden:?}");
    // It asks a page a second, whatever the line could.
    assert!(plan.seconds.is_none_or(|seconds| seconds.value > 8000), "{plan:?}");
}

fn kit_ends(url: &str, ending: &str) -> bool {
    url.rsplit('.').next() == Some(ending)
}

#[tokio::test]
async fn hosts_that_know_no_head_or_are_busy_leave_a_plan_that_says_so() {
    // They say 405, 404 or 429 to every HEAD.
    for (answer, word) in [(Page::Status(405), "HEAD"), (Page::Status(404), "HEAD"), (Page::Busy(3600), "busy")] {
        let stage = stage(&shelf(300, |_| 4000)).await;
        stage.world.lock().head = Some(answer);
        survey(&stage).await;
        let plan = plan(&stage).await;
        assert!(plan.unknown.iter().any(|why| why.contains(word)), "{word}: {plan:?}");
        assert!(stage.world.lock().heads.len() <= 8, "{} heads", stage.world.lock().heads.len());
        // 300 pages of 4 kB, a picture each: the pages were read; of the pictures some were fetched, or nothing is known.
        let of = |sort| plan.parts.iter().find(|part| part.sort == sort).expect("a part");
        assert!(within(of(Sort::Page).bytes.value, 300 * 4050, 10) && of(Sort::Page).bytes.guess, "{plan:?}");
        let pictures = of(Sort::Image);
        match word {
            "HEAD" => assert!(within(pictures.bytes.value, 300 * 950, 50) && pictures.basis == Basis::Sampled, "{plan:?}"),
            _ => assert!(pictures.bytes.guess && pictures.basis == Basis::Guess, "{plan:?}"),
        }
    }
}

#[tokio::test]
async fn a_later_night_is_planned_by_what_has_changed() {
    let stage = stage(&shelf(40, |_| 4000)).await;
    assert_eq!(stage.end().await, End::Done(0));
    let guessed = plan(&stage).await;
    assert_eq!((guessed.night, guessed.survey.is_none()), (Which::Later, true));
    survey(&stage).await;
    let sure = plan(&stage).await;
    assert_eq!((sure.night, sure.bytes.value), (Which::Later, 0), "{sure:?}");
    assert!(sure.bytes.high <= guessed.bytes.high / 10, "{sure:?} {guessed:?}");
    // A run for another text of the pack makes the findings void.
    std::fs::write(stage.folder.path().join("demo.toml"), LISTED.replace("version = \"1\"", "version = \"2\"")).expect("writes");
    stage.night.reload().await.expect("reads");
    assert!(plan(&stage).await.survey.is_none());
}
