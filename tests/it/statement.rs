//! The statement of service of a real node: what the page says, that it can be checked and not be altered, that it prints.

use crate::kit::browser::Wish;
use crate::kit::node::{Node, Setup};
use crate::kit::{past, program};
use bulak::base::calendar::{self, Calendar};
use bulak::base::clock::Clock;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn node(days: u64) -> Node {
    let folder = tempfile::tempdir().expect("a folder");
    if days > 0 {
        past::give(folder.path(), days);
    }
    let setup = Setup::new().set("node.title", "\"№12 Абай <мектебі>\"").set("hub.school", "\"kz-0012\"");
    setup.set("meter.contract_down", "\"8 Mbit/s\"").set("meter.pupils", "620").set("meter.startup", "false").start_in(folder)
}

fn said(output: &Output) -> String {
    format!("{:?} {}{}", output.status.code(), String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn check(node: &Node, file: &Path) -> (Option<i32>, Value) {
    let output = node.command(&["link", "statement", "--json", "--check", &file.display().to_string()]);
    let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    (output.status.code(), document)
}

#[test]
fn a_statement_is_made_checked_and_cannot_be_altered() {
    let mut node = node(30);
    let folder = tempfile::tempdir().expect("a folder");
    let mut digests = Vec::new();
    for (language, wanted) in [
        ("kk", ["Интернет желісі туралы анықтама", "31,0 Мбит/с", "межесінен төмен"]),
        ("ru", ["Справка о линии Интернета", "Учеников: 620", "обрыв линии"]),
        ("en", ["Statement of the Internet line", "31.0 Mbit/s", "the line was down"]),
    ] {
        let file = folder.path().join(format!("{language}.html"));
        let output = node.command(&["link", "statement", "--lang", language, "--out", &file.display().to_string()]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let page = std::fs::read_to_string(&file).expect("written");
        for piece in wanted.into_iter().chain(["№12 Абай &#60;мектебі&#62;", "kz-0012"]) {
            assert!(page.contains(piece), "{piece} in\n{page}");
        }
        let (code, told) = check(&node, &file);
        assert_eq!((code, &told["signed"], &told["compared"]), (Some(0), &true.into(), &true.into()), "{told}");
        digests.push(told["digest"].as_str().expect("a digest").to_owned());
        // On its way through a printer's computer somebody makes the line faster, below and in the head.
        std::fs::write(&file, page.replacen("<td>7", "<td>9", 1)).expect("written");
        assert_eq!(check(&node, &file).1["id"], "statement.altered");
        std::fs::write(&file, page.replacen("&#34;median_bps&#34;:7", "&#34;median_bps&#34;:9", 1)).expect("written");
        assert_eq!(check(&node, &file).1["id"], "statement.forged");
    }
    // Printed on standard output, it is the same file.
    let output = node.command(&["link", "statement", "--lang", "en"]);
    let file = folder.path().join("out.html");
    std::fs::write(&file, &output.stdout).expect("written");
    assert_eq!(check(&node, &file).0, Some(0));
    // A period that is over has the same figures, and their digest, tomorrow and after a restart.
    let calendar = Calendar::of("Asia/Almaty").expect("known");
    let today = calendar.day(Clock::system().now());
    let (from, to) = (calendar::iso(today - 20), calendar::iso(today - 5));
    let wanted = ["link", "statement", "--json", "--from", &from, "--to", &to];
    let digest = |node: &Node| {
        let output = node.command(&wanted);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
        assert!(document["statement"]["figures"]["download"]["tests"].as_u64().is_some_and(|tests| tests > 40), "{document}");
        document["digest"].clone()
    };
    let first = digest(&node);
    node.terminate();
    // A check needs no node.
    assert_eq!(check(&node, &file).0, Some(0));
    node.restart();
    assert_eq!(digest(&node), first);
}

#[test]
fn little_data_is_no_judgement_and_a_wrong_period_is_told() {
    let node = node(0);
    let output = node.command(&["link", "statement", "--lang", "en"]);
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(page.contains("nothing can be said about the line"), "{page}");
    let wrong = |words: &[&str]| {
        let output = node.command(&[&["link", "statement", "--json"], words].concat());
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
        (output.status.code(), document["id"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(wrong(&["--month", "october"]), (Some(2), "statement.period".into()));
    assert_eq!(wrong(&["--from", "2026-10-31", "--to", "2026-10-01"]), (Some(2), "statement.period".into()));
    assert_eq!(wrong(&["--lang", "de"]), (Some(2), "cli.misuse".into()));
    let page = node.local("GET", "/api/v1/link/statement?form=paper");
    assert_eq!(page["status"], 400, "{page}");
    let foreign = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(foreign.path(), "<html>a page</html>").expect("written");
    assert_eq!(check(&node, foreign.path()).1["id"], "statement.stranger");
}

#[test]
fn a_statement_prints_on_two_pages_at_most_and_asks_for_nothing() {
    let node = node(31);
    let folder = tempfile::tempdir().expect("a folder");
    for language in ["kk", "ru", "en"] {
        let file = folder.path().join(format!("{language}.html"));
        let output = node.command(&["link", "statement", "--lang", language, "--out", &file.display().to_string()]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let paper = folder.path().join(format!("{language}.pdf"));
        let mut command = Command::new(program::need("chromium"));
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage", "--no-pdf-header-footer"])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .arg(format!("--print-to-pdf={}", paper.display()))
            .arg(format!("file://{}", file.display()));
        let output = program::run(&command, 120);
        let pdf = std::fs::read(&paper).unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
        // Every page is an object of its own: "/Type /Page" and then no "s".
        let text = String::from_utf8_lossy(&pdf);
        let pages = text.split("/Type /Page").skip(1).filter(|rest| !rest.starts_with('s')).count();
        assert!(pdf.starts_with(b"%PDF-") && (1..=2).contains(&pages), "{language}: {pages} pages, {} bytes", pdf.len());
        if let Some(keep) = std::env::var_os("BULAK_TEST_PAPERS") {
            std::fs::copy(&paper, Path::new(&keep).join(format!("statement-{language}.pdf"))).expect("kept");
        }
    }
    let mut browser = Wish::direct().start();
    let page = browser.visit(&format!("file://{}", folder.path().join("ru.html").display()));
    assert!(page.complaints().is_empty() && page.requests.len() == 1, "{page:?}");
    assert!(page.title.contains("Справка") && page.text.contains("Доступность"), "{page:?}");
    // Nothing hangs over the edge of the paper, and nothing is empty.
    let wide = browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth");
    let empty = browser.run("[...document.querySelectorAll('td,th,p,h1,h2')].filter((e) => !e.textContent.trim()).length");
    assert_eq!((wide, empty), (true.into(), 0.into()));
}

#[test]
fn tables_open_in_a_spreadsheet() {
    let node = node(30);
    let table = |words: &[&str]| {
        let output = node.command(&[&["link", "show", "--csv"], words].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let excel = table(&["tests"]);
    assert!(excel.starts_with("\u{feff}number;started;ended;clock_ok;") && excel.ends_with("\r\n"), "{excel}");
    assert!(excel.contains(";41,4;170,25;"), "a decimal comma: {excel}");
    // As a program of RFC 4180 reads it.
    let rows = |text: &str| {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let head = reader.headers().expect("a head").clone();
        let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row of as many cells")).collect();
        (head.iter().map(str::to_owned).collect::<Vec<String>>(), rows)
    };
    let (head, tests) = rows(&table(&["tests", "--plain"]));
    let cell = |name: &str| head.iter().position(|column| column == name).unwrap_or_else(|| panic!("no {name} in {head:?}"));
    // Three a day; the days at the ends are not whole.
    assert!((87..=90).contains(&tests.len()), "{}", tests.len());
    assert_eq!(tests[0].get(cell("download_bps")).map(str::len), Some("7300000".len()));
    assert!(tests[0].get(cell("started")).is_some_and(|text| text.ends_with('Z')));
    let (head, hours) = rows(&table(&["hours", "--plain"]));
    let down = head.iter().position(|column| column == "down_seconds").expect("a column");
    assert!((696..=721).contains(&hours.len()), "{}", hours.len());
    assert!(hours.iter().filter(|row| row.get(down) == Some("600")).count() >= 29);
    let (_, days) = rows(&table(&["days", "--plain"]));
    assert!(days.iter().all(|row| row.len() == head.len()));
    let answer = node.command(&["link", "show", "--csv", "tests", "--month", "2026-1", "--json"]);
    assert!(said(&answer).contains("statement.period"), "{}", said(&answer));
}
