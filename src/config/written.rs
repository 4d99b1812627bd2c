//! Reads what was written, file and environment, key by key, so that one mistake does not hide the next.
//!
//! serde stops at the first error. Here each key of the parsed tree is tried alone against `File`; what passes is put
//! together, what does not becomes a complaint with its line. What the texts mean is judged in `check`. Pure.

use crate::config::complaint::{Complaint, Place, did_you_mean, place_of};
use crate::config::file::File;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;
use toml::de::{DeTable, DeValue, Deserializer};
use toml::{Spanned, Table, Value};

/// Environment variables that begin so and hold `__` are ours.
const PREFIX: &str = "BULAK_";

/// Longest quotation of a wrong value in a complaint, in characters.
const QUOTE: usize = 60;

/// What was written, as far as it could be understood, and where each key stands.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Keys that passed; the rest at their defaults.
    pub(crate) file: File,
    /// `section.key` (and `section.key[0]`, `section.key."name"`) to its place; keys at their default are not here.
    pub(crate) places: BTreeMap<String, Place>,
    /// What did not pass.
    pub(crate) complaints: Vec<Complaint>,
}

/// Of an environment what is ours; what is no text is marked as in [`String::from_utf8_lossy`], and complained about.
pub(crate) fn ours(environment: impl Iterator<Item = (OsString, OsString)>) -> impl Iterator<Item = (String, String)> {
    environment.filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
        Some((name, value.to_string_lossy().into_owned()))
    })
}

/// Reads the file's text and the environment (later wins).
pub(crate) fn read(source: &str, environment: impl Iterator<Item = (String, String)>) -> Written {
    let known = Table::try_from(File::default()).expect("the defaults can be written");
    let mut reader = Reader { known, source, merged: Table::new(), written: Written::default() };
    reader.file();
    let mut variables: Vec<(String, String)> = environment.filter(|(name, _)| name.starts_with(PREFIX) && name.contains("__")).collect();
    variables.sort();
    for (name, value) in variables {
        reader.variable(&name, &value);
    }
    let Reader { merged, mut written, .. } = reader;
    match merged.try_into() {
        Ok(file) => written.file = file,
        // Each key has passed alone; together they can only fail for a reason that no key has.
        Err(error) => {
            written.complaints.push(complain("", Place::Default, String::new(), error.message(), "start from \"bulak config default\""));
        }
    }
    written
}

struct Reader<'s> {
    known: Table,
    source: &'s str,
    merged: Table,
    written: Written,
}

impl Reader<'_> {
    fn file(&mut self) {
        let source = self.source;
        let (root, errors) = DeTable::parse_recoverable(source);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let line = source.get(span.start.min(source.len())..).and_then(|rest| rest.lines().next()).unwrap_or_default();
            let place = place_of(source, span);
            self.complain(
                "",
                place,
                quote(line),
                &format!("is not TOML here: {}", error.message()),
                "mend this line; see \"bulak config default\" for the form",
            );
        }
        let wrong = self.written.complaints.len();
        for (section, body) in root.get_ref() {
            let name: &str = section.get_ref();
            let place = place_of(source, section.span());
            if !self.known.contains_key(name) {
                // After a syntax error keys may end up in the wrong table: say only what is certain.
                if wrong == 0 {
                    let section = did_you_mean(name, self.known.keys().map(String::as_str));
                    let remedy = match (section, self.section_of(name)) {
                        (Some(other), _) => format!("did you mean [{other}]?"),
                        (None, Some(owner)) => format!("it belongs below [{owner}]"),
                        (None, None) => format!("sections are {}", self.known.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
                    };
                    self.complain(name, place, String::new(), "is not known", &remedy);
                }
                continue;
            }
            let Some(keys) = body.get_ref().as_table() else {
                self.complain(name, place, String::new(), "is a section, not a key", &format!("write [{name}] on a line of its own"));
                continue;
            };
            for (key, value) in keys {
                self.key(name, key, value);
            }
        }
    }

    fn key(&mut self, section: &str, key: &Spanned<std::borrow::Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let name: &str = key.get_ref();
        let path = format!("{section}.{name}");
        let span = value.span();
        if self.is_unknown(section, name, &path, place_of(self.source, key.span())) {
            return;
        }
        let mut table = DeTable::new();
        table.insert(key.clone(), value.clone());
        let alone = Table::deserialize(Deserializer::from(Spanned::new(span.clone(), table)));
        let place = place_of(self.source, span.clone());
        match alone.ok().and_then(|mut table| table.remove(name)) {
            Some(read) => {
                if self.take(section, name, read, &place) {
                    self.written.places.insert(path.clone(), place);
                    self.items(&path, value.get_ref());
                }
            }
            None => {
                self.complain(
                    &path,
                    place,
                    quote(self.source.get(span).unwrap_or_default()),
                    "is no value",
                    "see \"bulak config default\"",
                );
            }
        }
    }

    /// Remembers where the items of a list or an inline table stand.
    fn items(&mut self, path: &str, value: &DeValue<'_>) {
        let mut note = |name: String, span: Range<usize>| {
            self.written.places.insert(name, place_of(self.source, span));
        };
        match value {
            DeValue::Array(items) => items.iter().enumerate().for_each(|(index, item)| note(format!("{path}[{index}]"), item.span())),
            DeValue::Table(items) => items.iter().for_each(|(key, item)| note(format!("{path}.{:?}", key.get_ref()), item.span())),
            _ => {}
        }
    }

    fn variable(&mut self, variable: &str, text: &str) {
        let place = Place::Environment(variable.to_owned());
        let name = variable.strip_prefix(PREFIX).unwrap_or_default().to_ascii_lowercase();
        let Some((section, key)) = name.split_once("__") else { return };
        let path = format!("{section}.{key}");
        if !self.known.contains_key(section) {
            let remedy = did_you_mean(section, self.known.keys().map(String::as_str)).map_or_else(
                || "unset it".to_owned(),
                |other| format!("did you mean {PREFIX}{}__{}?", other.to_ascii_uppercase(), key.to_ascii_uppercase()),
            );
            self.complain(&path, place, String::new(), "is not known", &remedy);
            return;
        }
        if self.is_unknown(section, key, &path, place.clone()) {
            return;
        }
        if text.contains(char::REPLACEMENT_CHARACTER) {
            self.complain(&path, place, quote(text), "is no text in UTF-8", "write it in UTF-8");
            return;
        }
        let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok().and_then(|mut table| table.remove("value"));
        let wants_text = self.default_of(section, key).is_some_and(Value::is_str);
        let value = parsed.filter(|value| !wants_text || value.is_str()).unwrap_or_else(|| Value::String(text.to_owned()));
        if self.take(section, key, value, &place) {
            // The file's items are no longer what counts.
            let stale = |known: &String| known.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with(['[', '.']));
            self.written.places.retain(|known, _| !stale(known));
            self.written.places.insert(path, place);
        }
    }

    /// Tries one key alone; when it passes it becomes part of the whole.
    fn take(&mut self, section: &str, key: &str, value: Value, place: &Place) -> bool {
        let alone = Table::from_iter([(section.to_owned(), Value::Table(Table::from_iter([(key.to_owned(), value.clone())])))]);
        match alone.try_into::<File>() {
            Ok(_) => {
                let entry = self.merged.entry(section).or_insert_with(|| Value::Table(Table::new()));
                if let Some(table) = entry.as_table_mut() {
                    table.insert(key.to_owned(), value);
                }
                true
            }
            Err(error) => {
                let path = format!("{section}.{key}");
                let default = self.default_of(section, key).cloned();
                let written = quote(&value.to_string());
                match default {
                    Some(default) if !value.same_type(&default) => {
                        let wanted = kind(&default);
                        self.complain(
                            &path,
                            place.clone(),
                            written,
                            &format!("is {}, not {wanted}", kind(&value)),
                            &format!("write it like {key} = {default}"),
                        );
                    }
                    // Units say themselves how to be written; for the items of lists the default shows it.
                    Some(default) if default.is_str() => self.complain(&path, place.clone(), written, "is not understood", error.message()),
                    Some(default) => {
                        let message = format!("holds something of the wrong kind ({})", error.message().trim());
                        self.complain(&path, place.clone(), written, &message, &format!("write it like {key} = {default}"));
                    }
                    None => self.complain(&path, place.clone(), written, "is not understood", error.message()),
                }
                false
            }
        }
    }

    fn is_unknown(&mut self, section: &str, key: &str, path: &str, place: Place) -> bool {
        let Some(keys) = self.known.get(section).and_then(Value::as_table) else { return false };
        if keys.contains_key(key) {
            return false;
        }
        let remedy = match (did_you_mean(key, keys.keys().map(String::as_str)), self.section_of(key)) {
            (Some(other), _) => format!("did you mean {section}.{other}?"),
            (None, Some(owner)) => format!("it belongs below [{owner}]"),
            (None, None) => format!("keys of [{section}] are {}", keys.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
        };
        self.complain(path, place, String::new(), "is not known", &remedy);
        true
    }

    fn section_of(&self, key: &str) -> Option<String> {
        let holds = |(_, keys): &(&String, &Value)| keys.as_table().is_some_and(|keys| keys.contains_key(key));
        self.known.iter().find(holds).map(|(section, _)| section.clone())
    }

    fn default_of(&self, section: &str, key: &str) -> Option<&Value> {
        self.known.get(section)?.get(key)
    }

    fn complain(&mut self, key: &str, place: Place, value: String, message: &str, remedy: &str) {
        self.written.complaints.push(complain(key, place, value, message, remedy));
    }
}

/// Puts a complaint together.
pub(crate) fn complain(key: &str, place: Place, value: String, message: &str, remedy: &str) -> Complaint {
    Complaint { key: key.to_owned(), place, value, message: message.trim().to_owned(), remedy: remedy.trim().to_owned() }
}

/// A value as a complaint quotes it: one line, not long.
pub(crate) fn quote(value: &str) -> String {
    let line = value.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= QUOTE { line } else { line.chars().take(QUOTE).chain("...".chars()).collect() }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text in quotes",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list in [ ]",
        Value::Table(_) => "a table in { }",
    }
}
