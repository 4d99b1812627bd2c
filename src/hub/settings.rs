//! The hub's file: what was written -> `Settings`, or every complaint at once with line, value and remedy. Pure but for `load`.
//!
//! Walked by hand over the parsed table rather than derived, because a derived reader stops at the first mistake.

use crate::base::unit::Wait;
use crate::hub::{Enrolled, Settings};
use crate::report::schema::is_label;
use crate::report::sign;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Line in the file, from 1.
    pub line: usize,
    /// The key, with its section.
    pub key: String,
    /// What is wrong with which value.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {} {}; {}", self.line, self.key, self.what, self.remedy)
    }
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{0} cannot be read ({1}); name the hub's file with --config")]
    Read(PathBuf, std::io::Error),
    /// Everything that is wrong with it.
    #[error("{}", list(.0, .1))]
    Wrong(PathBuf, Vec<Complaint>),
}

fn list(file: &Path, complaints: &[Complaint]) -> String {
    complaints.iter().map(|complaint| format!("{}: {complaint}", file.display())).collect::<Vec<_>>().join("\n")
}

/// Reads and checks a file. Blocking.
///
/// # Errors
/// See [`Error`].
pub fn load(file: &Path) -> Result<Settings, Error> {
    let text = std::fs::read_to_string(file).map_err(|error| Error::Read(file.to_owned(), error))?;
    parse(&text).map_err(|complaints| Error::Wrong(file.to_owned(), complaints))
}

/// Checks a text.
///
/// # Errors
/// Every complaint, in the order of the file.
pub fn parse(text: &str) -> Result<Settings, Vec<Complaint>> {
    let (table, broken) = DeTable::parse_recoverable(text);
    let mut reader = Reader { text, complaints: Vec::new() };
    for error in broken {
        let at = error.span().map_or(0, |span| span.start);
        reader.complain(at, "toml", format!("is malformed ({})", error.message().trim()), "see https://toml.io for the form");
    }
    let mut settings = Settings::default();
    for (key, value) in table.get_ref() {
        match key.get_ref().as_ref() {
            "hub" => reader.hub(value, &mut settings),
            "node" => reader.nodes(value, &mut settings),
            other => reader.unknown(key.span().start, other, "hub, node"),
        }
    }
    if settings.silent_after <= settings.late_after {
        let at = text.find("silent_after").unwrap_or(0);
        reader.complain(at, "hub.silent_after", "is not longer than hub.late_after".into(), "a school is late before it is silent");
    }
    reader.complaints.sort_by_key(|complaint| complaint.line);
    if reader.complaints.is_empty() { Ok(settings) } else { Err(reader.complaints) }
}

struct Reader<'a> {
    text: &'a str,
    complaints: Vec<Complaint>,
}

impl Reader<'_> {
    fn complain(&mut self, at: usize, key: &str, what: String, remedy: &str) {
        let line = self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        self.complaints.push(Complaint { line, key: key.to_owned(), what, remedy: remedy.to_owned() });
    }

    fn unknown(&mut self, at: usize, key: &str, known: &str) {
        self.complain(at, key, "is no key of this file".into(), &format!("known here: {known}"));
    }

    fn hub(&mut self, value: &Spanned<DeValue<'_>>, settings: &mut Settings) {
        let Some(table) = value.get_ref().as_table() else {
            return self.complain(value.span().start, "hub", "is no section".into(), "write [hub] on a line of its own");
        };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "listen" => self.listen(value, settings),
                "database" => {
                    if let Some(text) = self.text_of("hub.database", value, "write a path in quotes") {
                        settings.database = Some(PathBuf::from(text));
                    }
                }
                "late_after" => self.wait("hub.late_after", value, &mut settings.late_after),
                "silent_after" => self.wait("hub.silent_after", value, &mut settings.silent_after),
                other => self.unknown(key.span().start, &format!("hub.{other}"), "listen, database, late_after, silent_after"),
            }
        }
    }

    fn listen(&mut self, value: &Spanned<DeValue<'_>>, settings: &mut Settings) {
        const REMEDY: &str = "write a list of \"ip:port\", such as [\"0.0.0.0:8090\"]";
        let Some(items) = value.get_ref().as_array().filter(|items| !items.is_empty()) else {
            return self.complain(value.span().start, "hub.listen", "is no list of addresses".into(), REMEDY);
        };
        settings.listen.clear();
        for item in items {
            let told = item.get_ref().as_str();
            match told.and_then(|text| text.parse().ok()) {
                Some(address) => settings.listen.push(address),
                None => self.complain(item.span().start, "hub.listen", format!("\"{}\" is no address", told.unwrap_or_default()), REMEDY),
            }
        }
    }

    fn wait(&mut self, key: &str, value: &Spanned<DeValue<'_>>, into: &mut std::time::Duration) {
        const REMEDY: &str = "write it like \"150 min\" or \"24 h\"";
        let Some(text) = self.text_of(key, value, REMEDY) else { return };
        match text.parse::<Wait>() {
            Ok(wait) if !wait.0.is_zero() => *into = wait.0,
            _ => self.complain(value.span().start, key, format!("\"{text}\" is no time span"), REMEDY),
        }
    }

    fn nodes(&mut self, value: &Spanned<DeValue<'_>>, settings: &mut Settings) {
        let Some(items) = value.get_ref().as_array() else {
            return self.complain(value.span().start, "node", "is no list".into(), "write [[node]] before each node");
        };
        for item in items {
            match item.get_ref().as_table() {
                Some(table) => self.node(item.span().start, table, settings),
                None => self.complain(item.span().start, "node", "is no section".into(), "write [[node]] before each node"),
            }
        }
    }

    fn node(&mut self, at: usize, table: &DeTable<'_>, settings: &mut Settings) {
        let mut node = Enrolled { key: String::new(), school: String::new(), name: String::new() };
        let before = self.complaints.len();
        for (key, value) in table {
            let start = value.span().start;
            match key.get_ref().as_ref() {
                "key" => {
                    let Some(text) = self.text_of("node.key", value, "copy it from `bulak status` on the node") else { continue };
                    if sign::public(&text).is_none() {
                        self.complain(
                            start,
                            "node.key",
                            format!("\"{text}\" is no public key"),
                            "copy the 64 hex digits from `bulak status` on the node",
                        );
                    } else if settings.nodes.iter().any(|other| other.key == text) {
                        self.complain(start, "node.key", format!("\"{text}\" is listed twice"), "remove one of the two");
                    }
                    node.key = text;
                }
                "school" => {
                    let Some(text) = self.text_of("node.school", value, "write the school's id in quotes") else { continue };
                    if !is_label(&text) {
                        self.complain(
                            start,
                            "node.school",
                            format!("\"{text}\" is no id"),
                            "use at most 64 letters, digits, '-', '_' and spaces",
                        );
                    }
                    node.school = text;
                }
                "name" => node.name = self.text_of("node.name", value, "write the school's name in quotes").unwrap_or_default(),
                other => self.unknown(key.span().start, &format!("node.{other}"), "key, school, name"),
            }
        }
        for (key, text) in [("node.key", &node.key), ("node.school", &node.school)] {
            if text.is_empty() && self.complaints.len() == before {
                self.complain(at, key, "is missing".into(), "each [[node]] has a key and a school");
            }
        }
        settings.nodes.push(node);
    }

    fn text_of(&mut self, key: &str, value: &Spanned<DeValue<'_>>, remedy: &str) -> Option<String> {
        let text = value.get_ref().as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        if text.is_none() {
            self.complain(value.span().start, key, "is no text".into(), remedy);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_shows_every_default() {
        let text = include_str!("../../config/hub.toml");
        assert_eq!(parse(text), Ok(Settings::default()));
        for key in ["listen", "database", "late_after", "silent_after"] {
            assert!(text.lines().any(|line| line.starts_with(&format!("{key} = ")) && line.contains('#')), "{key} is shown with a comment");
        }
        assert_eq!(parse(""), Ok(Settings::default()));
    }

    #[test]
    fn a_full_file_is_read() {
        let key = sign::Key::make().public();
        let text = format!(
            "[hub]\nlisten = [\"127.0.0.1:0\", \"[::1]:0\"]\ndatabase = \"x.sqlite\"\n[[node]]\nkey = \"{key}\"\nschool = \"aksu-7\"\nname = \"№ 7\"\n"
        );
        let settings = parse(&text).expect("valid");
        assert_eq!(settings.listen.len(), 2);
        assert_eq!(settings.nodes, [Enrolled { key, school: "aksu-7".into(), name: "№ 7".into() }]);
    }

    #[test]
    fn five_mistakes_give_five_complaints_with_their_lines() {
        let text = "[hub]\nlisten = [\"0.0.0.0\"]\nlate_after = \"soon\"\ncolour = 1\n\n[[node]]\nkey = \"abc\"\nschool = \"www.example.kz\"\n\n[[node]]\nname = \"x\"\n[web]\n";
        let complaints = parse(text).expect_err("wrong");
        let told: Vec<(usize, &str)> = complaints.iter().map(|complaint| (complaint.line, complaint.key.as_str())).collect();
        let wanted = [
            (2, "hub.listen"),
            (3, "hub.late_after"),
            (4, "hub.colour"),
            (7, "node.key"),
            (8, "node.school"),
            (10, "node.key"),
            (12, "web"),
        ];
        assert_eq!(told, wanted);
        assert!(complaints.iter().all(|complaint| !complaint.remedy.is_empty()));
        assert_eq!(complaints[1].to_string(), "line 3: hub.late_after \"soon\" is no time span; write it like \"150 min\" or \"24 h\"");
        assert!(parse("[hub\nlisten = 3").is_err());
        assert!(parse("[hub]\nsilent_after = \"1 h\"\n").is_err());
    }
}
