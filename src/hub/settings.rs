//! The hub's file: what was written -> `Settings`, or every complaint at once with line, value and remedy. Pure but for `load`.
//!
//! Walked by hand over the parsed table rather than derived, because a derived reader stops at the first mistake.

use crate::base::calendar::Calendar;
use crate::base::unit::{BitRate, Wait};
use crate::hub::keep::Place;
use crate::hub::{Enrolled, Settings, Viewers};
use crate::report::schema::is_label;
use crate::report::sign;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Keys of `[hub]`.
const KEYS: &str = "listen, database, late_after, silent_after, timezone, viewers, names, keep_records, keep_hours, echo";

/// Keys of `[[node]]`.
const NODE_KEYS: &str = "key, school, name, provider, contract";

/// Shorter, and a day could not be made anew from its hours when the last record of it comes.
const SHORTEST_HOURS: Duration = Duration::from_hours(100 * 24);

/// Shorter, and a node that repeats an upload after a long night would not be known again.
const SHORTEST_RECORDS: Duration = Duration::from_hours(2 * 24);

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
                    if let Some(text) = self.text_of("hub.database", value, "write a path or postgres://… in quotes") {
                        let remote = text.starts_with("postgres://") || text.starts_with("postgresql://");
                        settings.database = if remote { Place::Postgres(text) } else { Place::File(PathBuf::from(text)) };
                    }
                }
                "late_after" => self.wait("hub.late_after", value, &mut settings.late_after),
                "silent_after" => self.wait("hub.silent_after", value, &mut settings.silent_after),
                "timezone" => self.zone(value, settings),
                "viewers" => self.viewers(value, settings),
                "names" => self.names(value, settings),
                "keep_records" => self.kept("hub.keep_records", value, SHORTEST_RECORDS, &mut settings.keep_records),
                "keep_hours" => self.kept("hub.keep_hours", value, SHORTEST_HOURS, &mut settings.keep_hours),
                "echo" => match value.get_ref().as_bool() {
                    Some(echo) => settings.echo = echo,
                    None => self.complain(value.span().start, "hub.echo", "is neither true nor false".into(), "write true or false"),
                },
                other => self.unknown(key.span().start, &format!("hub.{other}"), KEYS),
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

    fn names(&mut self, value: &Spanned<DeValue<'_>>, settings: &mut Settings) {
        const REMEDY: &str = "write a list of names without ports, such as [\"hub.example.kz\"], or [] for any";
        let Some(items) = value.get_ref().as_array() else {
            return self.complain(value.span().start, "hub.names", "is no list of names".into(), REMEDY);
        };
        settings.names.clear();
        for item in items {
            let told = item.get_ref().as_str().unwrap_or_default();
            let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-');
            if told.is_empty() || !told.chars().all(plain) {
                self.complain(item.span().start, "hub.names", format!("\"{told}\" is no name of a host"), REMEDY);
            } else {
                settings.names.push(told.trim_end_matches('.').to_owned());
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

    fn zone(&mut self, value: &Spanned<DeValue<'_>>, settings: &mut Settings) {
        const REMEDY: &str = "write a zone such as \"Asia/Almaty\"";
        let Some(text) = self.text_of("hub.timezone", value, REMEDY) else { return };
        match Calendar::of(&text) {
            Some(calendar) => settings.calendar = calendar,
            None => self.complain(value.span().start, "hub.timezone", format!("\"{text}\" is no time zone"), REMEDY),
        }
    }

    fn viewers(&mut self, value: &Spanned<DeValue<'_>>, settings: &mut Settings) {
        const REMEDY: &str = "write \"anyone\" or \"tokens\"";
        let Some(text) = self.text_of("hub.viewers", value, REMEDY) else { return };
        match text.as_str() {
            "anyone" => settings.viewers = Viewers::Anyone,
            "tokens" => settings.viewers = Viewers::Tokens,
            _ => self.complain(value.span().start, "hub.viewers", format!("\"{text}\" is nobody"), REMEDY),
        }
    }

    fn kept(&mut self, key: &str, value: &Spanned<DeValue<'_>>, shortest: Duration, into: &mut Duration) {
        let before = self.complaints.len();
        let mut told = *into;
        self.wait(key, value, &mut told);
        if self.complaints.len() == before && told < shortest {
            let remedy = format!("write at least \"{} days\"", shortest.as_secs() / 86_400);
            return self.complain(value.span().start, key, format!("\"{}\" is too short", Wait(told)), &remedy);
        }
        *into = told;
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
        let mut node = Enrolled::default();
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
                "provider" => {
                    node.provider = self.text_of("node.provider", value, "write the provider's name in quotes").unwrap_or_default();
                }
                "contract" => {
                    const REMEDY: &str = "write it like \"20 Mbit/s\"";
                    let Some(text) = self.text_of("node.contract", value, REMEDY) else { continue };
                    match text.parse::<BitRate>() {
                        Ok(rate) => node.contract = Some(rate),
                        Err(_) => self.complain(start, "node.contract", format!("\"{text}\" is no speed"), REMEDY),
                    }
                }
                other => self.unknown(key.span().start, &format!("node.{other}"), NODE_KEYS),
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
        for key in NODE_KEYS.split(", ") {
            assert!(text.contains(&format!("# {key} = ")), "{key} of a node is shown");
        }
        for key in KEYS.split(", ") {
            assert!(text.lines().any(|line| line.starts_with(&format!("{key} = ")) && line.contains('#')), "{key} is shown with a comment");
        }
        assert_eq!(parse(""), Ok(Settings::default()));
    }

    #[test]
    fn a_full_file_is_read() {
        let key = sign::Key::make().public();
        let text = format!(
            "[hub]\nlisten = [\"127.0.0.1:0\", \"[::1]:0\"]\ndatabase = \"x.sqlite\"\n[[node]]\nkey = \"{key}\"\nschool = \"aksu-7\"\nname = \"№ 7\"\nprovider = \"SAT\"\ncontract = \"8 Mbit/s\"\n"
        );
        let settings = parse(&text).expect("valid");
        assert_eq!(settings.listen.len(), 2);
        let node =
            Enrolled { key, school: "aksu-7".into(), name: "№ 7".into(), provider: "SAT".into(), contract: Some(BitRate::mbit(8)) };
        assert_eq!((settings.nodes.as_slice(), settings.database), ([node].as_slice(), Place::File("x.sqlite".into())));
        let text = "[hub]\ndatabase = \"postgres:///bulak\"\ntimezone = \"UTC\"\nviewers = \"tokens\"\nnames = [\"hub.example.kz\"]\nkeep_records = \"2 days\"\n";
        let settings = parse(text).expect("valid");
        assert_eq!((settings.database, settings.viewers), (Place::Postgres("postgres:///bulak".into()), Viewers::Tokens));
        assert_eq!(settings.names, ["hub.example.kz"]);
        assert_eq!((settings.calendar, settings.keep_records.as_secs()), (Calendar::of("UTC").expect("known"), 172_800));
        for wrong in [
            "timezone = \"Mars\"",
            "viewers = \"me\"",
            "names = [\"http://hub\"]",
            "names = \"hub\"",
            "keep_hours = \"9 days\"",
            "keep_records = 5",
        ] {
            let complaints = parse(&format!("[hub]\n{wrong}\n")).expect_err(wrong);
            assert!(complaints.len() == 1 && wrong.starts_with(complaints[0].key.trim_start_matches("hub.")), "{complaints:?}");
        }
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
