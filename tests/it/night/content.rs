//! A night's work on real content, over a line that is cut and with power that fails; then nights in which little has changed.

use crate::kit;
use crate::kit::lesson::{Lesson, Served};
use crate::kit::line::Line;
use crate::kit::node::{Node, Setup};
use bulak::base::digest::Digest;
use bulak::base::target::Target;
use std::collections::BTreeSet;
use std::fs;

/// What the line passes in a second: enough for the test, little enough that a cut meets something on its way.
const RATE: u64 = 24 << 20;

const PACK: &str = r#"
id = "lesson"
version = "1"
status = "verified"
licence = "PSF-2.0, MIT"
permission = "the test's own site"
refresh = "7 days"
priority = 5
[title]
kk = "Сабақ"
ru = "Урок"
en = "A lesson"
[[seed]]
sitemap = "http://docs.school.test/sitemap.xml"
[[seed]]
url = "http://app.school.test/index.html"
[scope]
hosts = ["docs.school.test", "app.school.test"]
depth = 0
max_bytes = "1 GiB"
"#;

fn state(node: &Node) -> String {
    node.local("GET", "/api/v1/packs")["packs"][0]["progress"]["state"].as_str().unwrap_or_default().to_owned()
}

fn node(line: &Line) -> Node {
    let setup = Setup::new()
        .host("docs.school.test", line.addr)
        .host("app.school.test", line.addr)
        .set("night.windows", "[\"mon-sun 00:00-24:00\"]")
        // Longer than a second, after which a connection is tried once more: a short cut is no failure.
        .set("upstream.connect_timeout", "\"3 s\"")
        .set("link.check", &format!("[\"{}\"]", line.addr));
    let folder = tempfile::tempdir().expect("a folder");
    kit::pack::publish(setup, folder.path(), "lesson", PACK).start_in(folder)
}

/// What pages name in their `src` attributes and style sheets' links, found in the plainest way.
fn named(page: &str, text: &str) -> BTreeSet<String> {
    let base = Target::parse(page).expect("a URL");
    let mut found = BTreeSet::new();
    for tag in text.split('<') {
        let tag = tag.split('>').next().unwrap_or_default();
        let attribute = match tag.split_whitespace().next().unwrap_or_default() {
            "script" | "img" | "video" => "src=\"",
            "link" if tag.contains("rel=\"stylesheet\"") && !tag.contains("print") => "href=\"",
            _ => continue,
        };
        let address = tag.split_once(attribute).and_then(|(_, rest)| rest.split('"').next());
        found.extend(address.and_then(|address| base.join(address)).map(|target| target.url().to_owned()));
    }
    found
}

/// Everything that the class must find in the morning.
fn wanted(lesson: &Lesson) -> BTreeSet<String> {
    let mut urls: BTreeSet<String> = lesson.pages.iter().map(|page| format!("http://docs.school.test{page}")).collect();
    urls.insert("http://app.school.test/index.html".to_owned());
    for page in urls.clone() {
        let text = fs::read_to_string(lesson.behind(&page).expect("a page")).expect("a page");
        urls.extend(named(&page, &text).into_iter().filter(|url| lesson.behind(url).is_some()));
    }
    urls.insert("http://app.school.test/mermaid.esm.min.mjs".to_owned());
    urls.extend(lesson.modules());
    urls
}

/// With the line cut, everything is here as its origin has it.
fn is_complete(node: &Node, line: &Line, lesson: &Lesson, wanted: &BTreeSet<String>) {
    line.cut();
    is_down(node);
    let mut wrong = Vec::new();
    for url in wanted {
        let answer = node.get(url);
        if answer.status != 200 || !answer.complete || Digest::of(&answer.body) != lesson.digest(url) {
            wrong.push(format!("{url}: {} {} bytes", answer.status, answer.body.len()));
        }
    }
    line.mend();
    kit::until("the line is back", 30, || node.metric("bulak_link_up", "") == Some(1.0));
    assert!(wrong.is_empty(), "{} of {} are not here: {:#?}", wrong.len(), wanted.len(), &wrong[..wrong.len().min(20)]);
}

/// Asks for something until the node has understood: an idle one looks every 15 s.
fn is_down(node: &Node) {
    kit::until("the node says that the line is down", 60, || {
        node.get("http://docs.school.test/unknown");
        node.metric("bulak_link_up", "") == Some(0.0)
    });
}

fn sent(served: &[Served]) -> u64 {
    served.iter().map(|one| one.bytes).sum()
}

#[test]
fn a_lesson_is_complete_in_the_morning_and_costs_little_the_night_after() {
    let lesson = Lesson::start();
    let line = Line::slow(kit::loopback(0), lesson.addr, RATE).expect("a line");
    let wanted = wanted(&lesson);
    let size: u64 = wanted.iter().map(|url| fs::metadata(lesson.behind(url).expect("a file")).expect("a file").len()).sum();
    let mut node = node(&line);
    // Three cuts and two power failures, each at its place. The first cut lasts until the node has understood; the others are over
    // before it has.
    for (percent, power) in [(10, false), (25, true), (45, false), (60, true), (75, false)] {
        kit::until("the night goes on", 60, || line.down_bytes() >= size * percent / 100 || state(&node) == "done");
        assert_ne!(state(&node), "done", "at {percent} % it must not be over");
        if power {
            node.kill();
            node.restart();
        } else {
            line.cut();
            if percent == 10 {
                is_down(&node);
            }
            line.mend();
        }
    }
    kit::until("the lesson is there", 120, || state(&node) == "done");
    let first = lesson.served(0);
    let content = lesson.content(&first);
    let passed = line.down_bytes();
    println!("{} requests, {content} bytes of content, {passed} bytes over the line with heads", first.len());
    assert!(content >= size, "{content} of {size} bytes were asked for");
    assert!(passed * 100 <= content * 105, "{passed} bytes for {content} of content");
    let odd: Vec<_> = first.iter().filter(|one| !matches!(one.status, 200 | 206 | 304) && !one.url.ends_with("/robots.txt")).collect();
    assert!(odd.len() * 50 < first.len(), "asked in vain: {odd:#?}");
    is_complete(&node, &line, &lesson, &wanted);

    // The second night: nothing has changed.
    let before = (lesson.served(0).len(), line.down_bytes());
    fetch(&node);
    let second = lesson.served(before.0);
    assert!(second.iter().any(|one| one.status == 304), "it was looked at anew: {second:?}");
    assert!(sent(&second) * 100 <= content * 2, "{} bytes of bodies: {second:#?}", sent(&second));
    let passed = line.down_bytes() - before.1;
    println!("second night: {} requests, {passed} bytes with heads", second.len());
    assert!(passed * 100 <= content * 2, "{passed} bytes with heads");

    // The third: three pages have.
    let touched = [("docs", lesson.pages[3].clone()), ("docs", lesson.pages[40].clone()), ("app", "/index.html".to_owned())];
    for (host, page) in &touched {
        lesson.touch(host, page);
    }
    lesson.map();
    let before = lesson.served(0).len();
    fetch(&node);
    let third = lesson.served(before);
    let came: BTreeSet<String> = third.iter().filter(|one| one.bytes > 0 && one.status == 200).map(|one| one.url.clone()).collect();
    let mut expected: BTreeSet<String> = touched.iter().map(|(host, page)| format!("http://{host}.school.test{page}")).collect();
    expected.insert("http://docs.school.test/sitemap.xml".to_owned());
    assert_eq!(came, expected, "{third:#?}");
    is_complete(&node, &line, &lesson, &wanted);
}

/// Has the pack fetched now, as an administrator would.
fn fetch(node: &Node) {
    let done = node.command(&["pack", "fetch", "lesson"]);
    assert!(done.status.success(), "{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
}
