//! What must pass, kept beside the tests so that it cannot fall: `conformance/NAME.txt`.
//!
//! One test a line: `pass ID`, or `except ID reason` for one where we go another way, with the section that says so.

use crate::kit;
use crate::suite::{Case, Kind};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// A list.
pub(crate) struct List {
    file: PathBuf,
    comments: Vec<String>,
    pass: Vec<String>,
    except: BTreeMap<String, String>,
}

impl List {
    /// Reads `conformance/NAME.txt`.
    pub(crate) fn read(name: &str) -> List {
        let file = kit::root().join("tests/conformance").join(format!("{name}.txt"));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut list = List { file, comments: Vec::new(), pass: Vec::new(), except: BTreeMap::new() };
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match line.split_once(' ') {
                Some(("pass", id)) => list.pass.push(id.to_owned()),
                Some(("except", rest)) => {
                    let (id, why) = rest.split_once(' ').unwrap_or_else(|| panic!("an exception without a reason: {line}"));
                    list.except.insert(id.to_owned(), why.to_owned());
                }
                Some(("#", _)) => list.comments.push(line.to_owned()),
                _ => panic!("no line of a list: {line}"),
            }
        }
        list
    }

    /// Whether a test is an exception.
    pub(crate) fn excepts(&self, id: &str) -> bool {
        self.except.contains_key(id)
    }

    /// Every listed test passed; with `BULAK_CONFORMANCE_UPDATE=1` newly passing ones are added.
    pub(crate) fn hold(&self, cases: &[Case]) {
        let lost: Vec<String> = self
            .pass
            .iter()
            .filter_map(|id| match cases.iter().find(|case| case.id == *id) {
                Some(case) => (!case.passed).then(|| format!("{id}: {}", case.why)),
                None => Some(format!("{id}: not in the suite")),
            })
            .collect();
        if std::env::var_os("BULAK_CONFORMANCE_UPDATE").is_some() {
            self.write(cases);
        }
        assert!(lost.is_empty(), "tests that must pass failed:\n  {}", lost.join("\n  "));
    }

    fn write(&self, cases: &[Case]) {
        let mut lines = self.comments.clone();
        for case in cases.iter().filter(|case| case.kind != Kind::Check) {
            if let Some(why) = self.except.get(&case.id) {
                lines.push(format!("except {} {why}", case.id));
            } else if case.passed || self.pass.contains(&case.id) {
                lines.push(format!("pass {}", case.id));
            }
        }
        fs::write(&self.file, lines.join("\n") + "\n").expect("a file");
    }
}
