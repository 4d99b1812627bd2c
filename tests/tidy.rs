//! The house's small rules, kept by a machine: the floors, pure files, openings, lengths, leftovers, the glossary.
//!
//! It reads the sources as text, so it needs no compiler and fails with file, line and edge. Its own checker is tried on
//! bad snippets first. The table below is the architecture.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file, lines: past that a file holds two ideas.
const LONGEST: usize = 600;

/// A module and the modules that it may name. What is not listed is wiring (`config`, `app`, `cli`, `main`): anything.
const FLOORS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("life", &["base"]),
    ("site", &["base"]),
    ("policy", &["base", "site"]),
    ("state", &["base", "life"]),
    ("store", &["base", "life"]),
    ("link", &["base", "life"]),
    ("tls", &["base", "life", "site"]),
    ("upstream", &["base", "life", "link", "tls"]),
    ("cache", &["base", "life", "policy", "site", "store", "link", "upstream"]),
    ("meter", &["base", "life", "state", "link", "upstream"]),
    ("prefetch", &["base", "life", "site", "state", "store", "link", "cache"]),
    ("portal", &["base", "life", "site", "store", "link", "tls", "cache", "prefetch"]),
    ("proxy", &["base", "life", "policy", "site", "link", "tls", "upstream", "cache", "portal"]),
    ("report", &["base", "life", "state", "store", "link", "upstream", "cache", "meter", "prefetch"]),
    ("bundle", &["base", "life", "site", "store", "report"]),
    (
        "admin",
        &[
            "base", "life", "site", "policy", "state", "store", "link", "tls", "upstream", "cache", "meter", "prefetch", "portal", "proxy",
            "report", "bundle",
        ],
    ),
    ("hub", &["base", "life", "site", "store", "link", "tls", "upstream", "cache", "meter", "report", "bundle"]),
];

/// Wiring: may name everything.
const WIRING: &[&str] = &["config", "app", "cli", "main", "lib"];

/// Files that decide and never act. Folders end in `/`.
const PURE: &[&str] = &[
    "src/base/unit.rs",
    "src/base/backoff.rs",
    "src/base/count.rs",
    "src/base/limit.rs",
    "src/base/crowd.rs",
    "src/base/bearer.rs",
    "src/base/near.rs",
    "src/base/redact.rs",
    "src/base/calendar.rs",
    "src/base/table.rs",
    "src/base/chart.rs",
    "src/base/language.rs",
    "src/base/wire.rs",
    "src/base/wire/chunk.rs",
    "src/base/wire/fault.rs",
    "src/base/wire/head.rs",
    "src/base/wire/request.rs",
    "src/base/wire/response.rs",
    "src/base/target.rs",
    "src/policy.rs",
    "src/policy/",
    "src/site.rs",
    "src/site/",
    "src/config/check.rs",
    "src/config/check/",
    "src/store/note.rs",
    "src/store/record.rs",
    "src/store/record/",
    "src/store/table.rs",
    "src/link/estimate.rs",
    "src/link/state.rs",
    "src/link/cause.rs",
    "src/link/outage.rs",
    "src/link/way.rs",
    "src/link/reach.rs",
    "src/link/sample.rs",
    "src/link/passive.rs",
    "src/link/slice.rs",
    "src/link/rollup.rs",
    "src/link/delay.rs",
    "src/link/budget.rs",
    "src/tls/hello.rs",
    "src/tls/device.rs",
    "src/upstream/health.rs",
    "src/upstream/retry.rs",
    "src/portal/pac.rs",
    "src/portal/system.rs",
    "src/portal/school.rs",
    "src/portal/frame.rs",
    "src/portal/fleet.rs",
    "src/portal/profile.rs",
    "src/portal/check.rs",
    "src/portal/slow.rs",
    "src/portal/connect.rs",
    "src/portal/privacy.rs",
    "src/portal/words.rs",
    "src/portal/words/",
    "src/proxy/classify.rs",
    "src/proxy/mirror/place.rs",
    "src/prefetch/wish.rs",
    "src/prefetch/proposal.rs",
    "src/prefetch/record.rs",
    "src/prefetch/plan.rs",
    "src/prefetch/plan/",
    "src/prefetch/window.rs",
    "src/prefetch/aim.rs",
    "src/prefetch/packs/resolve.rs",
    "src/prefetch/calendar.rs",
    "src/prefetch/caps/ledger.rs",
    "src/prefetch/permit.rs",
    "src/prefetch/schedule.rs",
    "src/prefetch/missed.rs",
    "src/prefetch/gate.rs",
    "src/prefetch/summary/",
    "src/prefetch/rhythm.rs",
    "src/report/schema.rs",
    "src/report/remote/wire.rs",
    "src/report/giga/message.rs",
    "src/report/giga/verdict.rs",
    "src/report/statement/figures.rs",
    "src/report/statement/figures/",
    "src/report/statement/page.rs",
    "src/report/statement/paper.rs",
    "src/report/statement/period.rs",
    "src/report/statement/words.rs",
    "src/meter/test.rs",
    "src/meter/settle.rs",
    "src/meter/segments.rs",
    "src/meter/estimate.rs",
    "src/meter/budget.rs",
    "src/meter/schedule.rs",
    "src/meter/echo/packet.rs",
    "src/meter/echo/burst.rs",
    "src/meter/ndt7/message.rs",
    "src/meter/ndt7/frame.rs",
    "src/meter/ndt7/locate.rs",
    "src/meter/ndt7/seats.rs",
    "src/admin/api/role.rs",
    "src/hub/accept.rs",
    "src/hub/allow.rs",
    "src/hub/session.rs",
    "src/hub/day.rs",
    "src/hub/facts.rs",
    "src/hub/echo/limit.rs",
    "src/hub/roll.rs",
    "src/hub/summary.rs",
    "src/hub/chart.rs",
    "src/hub/words.rs",
];

/// Names that reach for clock, disk, network or tasks. Types that hold a moment or an address are fine.
const ACTS: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::net::ToSocketAddrs",
    "std::process",
    "std::thread",
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "clock::Clock",
    "tokio::",
    "rustix::",
    "socket2::",
    "libc::",
    "sqlx::",
    "rand::rng",
    "rand::random",
    "crate::life",
];

/// Names that say nothing, or a second word for something that has one.
const NEVER: &[(&str, &str)] =
    &[("Manager", "say what it is"), ("Helper", "say what it is"), ("collector", "hub"), ("utils", "say what is in it")];

#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut complaints = Vec::new();
    let mut seen = 0;
    for folder in ["src", "tests", "benches"] {
        for file in sources(&root.join(folder)) {
            let text = fs::read_to_string(&file).expect("a source file");
            let name = file.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            complaints.extend(check(&name, &text));
            seen += 1;
        }
    }
    let all: Vec<String> = complaints.iter().map(ToString::to_string).collect();
    assert!(all.is_empty(), "{} complaints:\n{}", all.len(), all.join("\n"));
    assert!(seen > 30, "only {seen} files were found: the test looks in the wrong place");
}

/// Every Rust file below a folder, in order.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// All that is wrong with one file.
fn check(file: &str, text: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut say = |line: usize, what: String| complaints.push(Complaint { file: file.to_owned(), line, what });
    if !text.starts_with("//!") {
        say(1, "does not open with `//!`: what it is for, what it leaves to others".to_owned());
    }
    let length = text.lines().count();
    if length > LONGEST {
        say(length, format!("{length} lines; look for two ideas past {LONGEST}"));
    }
    if file == "tests/tidy.rs" {
        return complaints; // it spells out what others may not write
    }
    let module = if file.starts_with("src/") { module(file) } else { "" };
    let pure = PURE.iter().any(|path| *path == file || (path.ends_with('/') && file.starts_with(path)));
    // Tests may stand on real parts: floors and purity bind what is shipped.
    let tests = file.ends_with("/tests.rs") || !file.starts_with("src/");
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.windows(2).position(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'));
    let test_from = if tests { 0 } else { from.unwrap_or(usize::MAX) };
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let comment = line.trim_start().starts_with("//");
        for word in ["todo!", "unimplemented!", "FIXME", "XXX", "SKELETON"] {
            if line.contains(word) {
                say(number, format!("{word} left behind"));
            }
        }
        let code = if comment { "" } else { line.split(" // ").next().unwrap_or(line) };
        for (word, instead) in NEVER {
            if !comment && names(code, word) {
                say(number, format!("`{word}` is no word of ours: {instead}"));
            }
        }
        if code.contains("super::super") || code.contains("crate::{") {
            say(number, "one `use crate::module::Thing;` per module, no `crate::{…}` and no `super::super`".to_owned());
        }
        for target in edges(code) {
            if index < test_from && !may_name(module, &target) {
                say(number, format!("floor: `{module}` may not name `{target}`"));
            }
        }
        if pure && index < test_from {
            for act in ACTS.iter().filter(|act| names(code, act)) {
                say(number, format!("a pure file reaches for `{act}`"));
            }
        }
    }
    complaints
}

/// The top module of a file: `src/store/read.rs` and `src/store.rs` -> `store`.
fn module(file: &str) -> &str {
    let rest = file.trim_start_matches("src/");
    rest.split(['/', '.']).next().unwrap_or(rest)
}

/// The modules that a line of code names by `crate::…`.
fn edges(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::`, `crate::` within a longer word, and `pub(crate)` do not count.
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '$') {
            continue;
        }
        let name: String = code[at + "crate::".len()..].chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
        if !name.is_empty() {
            found.push(name);
        }
    }
    found
}

fn may_name(module: &str, target: &str) -> bool {
    if module == target || WIRING.contains(&module) {
        return true;
    }
    FLOORS.iter().any(|(name, may)| *name == module && may.contains(&target))
}

/// Whether `code` holds `word` as a word of its own, or as a path when it has colons.
fn names(code: &str, word: &str) -> bool {
    let inside = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].ends_with(inside);
        let open = word.ends_with("::") || word.contains("::");
        let after = code[at + word.len()..].starts_with(inside);
        !before && (open || !after)
    })
}

#[test]
fn the_checker_finds_what_it_should() {
    let bad = [
        ("src/base/clock.rs", "//! x\nuse crate::life::Life;\n", 2, "floor: `base` may not name `life`"),
        ("src/store/read.rs", "//! x\nfn f() { crate::cache::go(); }\n", 2, "floor: `store` may not name `cache`"),
        ("src/store.rs", "//! x\nuse crate::link::Link;\n", 2, "floor: `store` may not name `link`"),
        ("src/store.rs", "//! x\n#[cfg(test)]\nmod tests;\nuse crate::link::Link;\n", 4, "floor: `store` may not name `link`"),
        ("src/hub/keep.rs", "//! x\nuse crate::admin::Page;\n", 2, "floor: `hub` may not name `admin`"),
        ("src/admin/api.rs", "//! x\nuse crate::hub::Hub;\n", 2, "floor: `admin` may not name `hub`"),
        ("src/site.rs", "//! x\nuse crate::config::Config;\n", 2, "floor: `site` may not name `config`"),
        ("src/policy/age.rs", "//! x\n\nlet now = SystemTime::now();\n", 3, "a pure file reaches for `SystemTime::now`"),
        ("src/policy/age.rs", "//! x\nuse crate::base::clock::Clock;\n", 2, "a pure file reaches for `clock::Clock`"),
        ("src/site/pack.rs", "//! x\nuse std::fs;\n", 2, "a pure file reaches for `std::fs`"),
        ("src/link/state.rs", "//! x\nuse tokio::time::sleep;\n", 2, "a pure file reaches for `tokio::`"),
        ("src/life.rs", "use std::fmt;\n", 1, "does not open with `//!`: what it is for, what it leaves to others"),
        ("src/life.rs", "//! x\nfn f() { todo!() }\n", 2, "todo! left behind"),
        ("src/life.rs", "//! x\n// FIXME later\n", 2, "FIXME left behind"),
        (
            "src/proxy.rs",
            "//! x\nuse crate::{store, link};\n",
            2,
            "one `use crate::module::Thing;` per module, no `crate::{…}` and no `super::super`",
        ),
        ("src/store.rs", "//! x\nstruct Manager;\n", 2, "`Manager` is no word of ours: say what it is"),
    ];
    for (file, text, line, what) in bad {
        assert_eq!(check(file, text), [Complaint { file: file.to_owned(), line, what: what.to_owned() }], "{text}");
    }
    let long = format!("//! x\n{}", "\n".repeat(LONGEST));
    assert_eq!(check("src/life.rs", &long).len(), 1, "a file that is too long");
}

#[test]
fn the_checker_leaves_good_code_alone() {
    let good = [
        ("src/app.rs", "//! x\nuse crate::store::Store;\nuse crate::hub::Hub;\n"),
        ("src/cache/fill.rs", "//! x\nuse crate::store::Store;\nuse crate::cache::Cache;\npub(crate) fn f() {}\n"),
        ("src/policy/age.rs", "//! x\n// a Clock would be wrong here\nuse crate::base::clock::Time;\nuse std::time::Duration;\n"),
        ("src/policy/age.rs", "//! x\n#[cfg(test)]\nmod tests {\n    use crate::base::clock::Clock;\n}\n"),
        ("src/site.rs", "//! x\nfn clock_ok() {}\n"),
        ("src/store.rs", "//! x\n#[cfg(test)]\nmod tests {\n    use crate::cache::Cache;\n}\n"),
        ("tests/it/main.rs", "//! x\nuse crate::kit::node::Node;\n"),
    ];
    for (file, text) in good {
        assert_eq!(check(file, text), [], "{text}");
    }
}

#[test]
fn the_table_has_no_cycle_and_no_stranger() {
    for (index, (name, may)) in FLOORS.iter().enumerate() {
        for target in *may {
            let at = FLOORS.iter().position(|(other, _)| other == target).unwrap_or_else(|| panic!("{name} names {target}: no row"));
            assert!(at < index, "{name} may name {target}, which stands above it");
        }
    }
}
