//! Every limit, deadline and size of the program in one place, `config/limits.md`: made from the sources, and held to them.
//!
//! `BULAK_GOLDEN=1 cargo test --test limits` writes the list anew; without it the test says where list and sources differ.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Types whose constants count something.
const TYPES: &[&str] = &["usize", "u64", "u32", "u16", "u8", "i64", "i32", "Duration", "Bytes", "Wait"];

const HEAD: &str = "# Limits\n\n\
    Every limit, deadline and size that the program knows, with its default and its reason: first what a school or a region may set,\n\
    then what is fixed, by the module of `src` that holds to it. Made from the sources by `BULAK_GOLDEN=1 cargo test --test limits`; the tests fail\n\
    when it differs from them.\n";

/// One line of the list.
#[derive(Debug, PartialEq, Eq)]
struct Limit {
    name: String,
    value: String,
    reason: String,
}

#[test]
fn the_list_is_what_the_sources_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = root.join("config/limits.md");
    let made = render(root);
    if std::env::var_os("BULAK_GOLDEN").is_some() {
        fs::write(&list, &made).expect("the list can be written");
    }
    let kept = fs::read_to_string(&list).unwrap_or_default();
    let differs = made.lines().zip(kept.lines()).find(|(made, kept)| made != kept);
    assert!(made == kept, "config/limits.md is old, first here: {differs:?}; mend: BULAK_GOLDEN=1 cargo test --test limits");
}

#[test]
fn constants_are_found_with_their_reasons() {
    let text = "/// Longest head: what browsers send\n/// is shorter.\nconst HEAD: usize = 64 << 10;\nconst NAME: &str = \"x\";\n\
                /// Two bounds.\npub(super) const FIRST: Duration = Duration::from_secs(5);\nconst SECOND: u64 = 7;\n\
                #[cfg(test)]\nmod tests {}\nconst LATER: u64 = 1;\n";
    let found = constants(text);
    let words: Vec<(&str, &str, &str)> = found.iter().map(|limit| (&*limit.name, &*limit.value, &*limit.reason)).collect();
    let first = ("HEAD", "64 KiB", "Longest head: what browsers send is shorter.");
    assert_eq!(words, [first, ("FIRST", "5 s", "Two bounds."), ("SECOND", "7", "Two bounds.")]);
    let key = keys("[link]\n# a remark\ncheck = []   # whom to ask\nidle = \"5 s\"  # longest silence\n[a]\nb = true # no\n");
    assert_eq!(key, [Limit { name: "link.idle".into(), value: "5 s".into(), reason: "longest silence".into() }]);
}

fn render(root: &Path) -> String {
    let mut text = HEAD.to_owned();
    for file in ["config/school.toml", "config/hub.toml"] {
        let keys = keys(&fs::read_to_string(root.join(file)).expect("a file of the repository"));
        assert!(!keys.is_empty(), "{file} holds no limit");
        table(&mut text, file, &keys);
    }
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    // By the file without its ending: `store.rs` stands before `store/read.rs`, and both before `tls.rs`.
    files.sort_by_key(|file| file.with_extension(""));
    let mut modules: Vec<(String, Vec<Limit>)> = Vec::new();
    for file in files {
        let path = file.strip_prefix(root.join("src")).expect("below it").with_extension("").display().to_string();
        let (module, room) = path.split_once('/').unwrap_or((&path, ""));
        let prefix = if room.is_empty() { String::new() } else { format!("{}::", room.replace('/', "::")) };
        let found = constants(&fs::read_to_string(&file).expect("a source"));
        let found = found.into_iter().map(|limit| Limit { name: format!("{prefix}{}", limit.name), ..limit });
        match modules.last_mut().filter(|(last, _)| last == module) {
            Some((_, limits)) => limits.extend(found),
            None => modules.push((module.to_owned(), found.collect())),
        }
    }
    for (module, limits) in modules.iter().filter(|(_, limits)| !limits.is_empty()) {
        table(&mut text, module, limits);
    }
    text
}

fn table(text: &mut String, title: &str, limits: &[Limit]) {
    write!(text, "\n## {title}\n\n| limit | default | why |\n|---|---|---|\n").expect("a string grows");
    for Limit { name, value, reason } in limits {
        let reason = reason.replace('|', "\\|");
        writeln!(text, "| `{name}` | {value} | {reason} |").expect("a string grows");
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() && entry.file_name().is_some_and(|name| name != "tests") {
            collect(&entry, files);
        } else if entry.extension().is_some_and(|kind| kind == "rs") && entry.file_stem().is_some_and(|name| name != "tests") {
            files.push(entry);
        }
    }
}

/// The constants of a file that count something, outside its tests. One without words of its own shares those of the one above.
fn constants(text: &str) -> Vec<Limit> {
    let mut found: Vec<Limit> = Vec::new();
    let mut reason: Vec<&str> = Vec::new();
    for line in text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")) {
        if let Some(words) = line.strip_prefix("///") {
            reason.push(words.trim());
            continue;
        }
        if let Some((name, value)) = constant(line) {
            let shared = found.last().map(|above| above.reason.clone()).filter(|_| reason.is_empty());
            let reason = shared.unwrap_or_else(|| reason.join(" "));
            found.push(Limit { name: name.into(), value: plain(value), reason });
        }
        reason.clear();
    }
    found
}

/// `pub(crate) const NAME: u64 = 5;` -> `NAME`, `5`.
fn constant(line: &str) -> Option<(&str, &str)> {
    let (opening, rest) = line.split_once("const ")?;
    let is_item = opening.is_empty() || opening == "pub " || (opening.starts_with("pub(") && opening.ends_with(") "));
    let (name, rest) = rest.split_once(": ")?;
    let (kind, value) = rest.split_once(" = ")?;
    let counts =
        TYPES.contains(&kind) && name.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_');
    (is_item && counts).then_some((name, value.strip_suffix(';')?))
}

/// A value as people write it: `64 << 10` is 64 KiB, `Duration::from_secs(5)` is 5 s.
fn plain(value: &str) -> String {
    for (shift, unit) in [(" << 10", "KiB"), (" << 20", "MiB"), (" << 30", "GiB")] {
        if let Some(number) = value.strip_suffix(shift) {
            return format!("{number} {unit}");
        }
    }
    for (call, unit) in [("from_millis(", "ms"), ("from_secs(", "s"), ("from_mins(", "min"), ("from_hours(", "h")] {
        let number = value.strip_prefix("Duration::").and_then(|rest| rest.strip_prefix(call)).and_then(|rest| rest.strip_suffix(')'));
        if let Some(number) = number {
            return format!("{number} {unit}");
        }
    }
    let is_plain = value.chars().all(|letter| letter.is_ascii_digit() || letter == '_' || letter == '.');
    if is_plain { value.replace('_', "") } else { format!("`{value}`") }
}

/// The keys of a configuration file whose value is a number or a quantity, with the words behind them.
fn keys(text: &str) -> Vec<Limit> {
    let mut section = "";
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        }
        let Some((key, rest)) = line.split_once(" = ") else { continue };
        let Some((value, reason)) = rest.split_once('#') else { continue };
        let value = value.trim().trim_matches('"');
        if !key.starts_with('#') && value.starts_with(|letter: char| letter.is_ascii_digit()) && !value.contains(':') {
            found.push(Limit { name: format!("{section}.{key}"), value: value.into(), reason: reason.trim().into() });
        }
    }
    found
}
