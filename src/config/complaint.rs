//! What is wrong with a configuration: key, place, value, remedy. Shown with the source line to people (miette), as plain
//! members to programs.

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};
use serde::Serialize;
use std::fmt;
use std::ops::Range;

/// What is wrong with a file that this user may not read.
pub(super) const CLOSED: &str = "may not be read by this user";

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In the file.
    File {
        /// Line, from 1.
        line: usize,
        /// Column, from 1, in characters.
        column: usize,
        /// Bytes of the file.
        #[serde(skip)]
        span: Range<usize>,
    },
    /// In this environment variable.
    Environment(String),
    /// Nowhere: the default, or the file as a whole.
    Default,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Complaint {
    /// `section.key`, with an index or a name for one item of it.
    pub key: String,
    /// Where it stands.
    pub place: Place,
    /// What was written, shortened; empty when there is nothing to quote.
    pub value: String,
    /// What is wrong with it: lower case, no full stop.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File { line, .. } => write!(f, "line {line}: ")?,
            Place::Environment(name) => write!(f, "{name}: ")?,
            Place::Default => {}
        }
        write!(f, "{}; {}", self.sentence(), self.remedy)
    }
}

impl Complaint {
    fn sentence(&self) -> String {
        let value = if self.value.is_empty() { String::new() } else { format!(" {}", self.value) };
        let key = if self.key.is_empty() { "the file" } else { &self.key };
        format!("{key}{value} {}", self.message)
    }
}

/// Every mistake of one configuration, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Complaints {
    /// The mistakes.
    pub list: Vec<Complaint>,
    /// The file's name, for people.
    pub file: String,
    /// The file's text.
    pub source: String,
}

impl std::error::Error for Complaints {}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.summary())?;
        self.list.iter().try_for_each(|complaint| write!(f, "\n{complaint}"))
    }
}

impl Complaints {
    /// One line: `/etc/bulak/school.toml has 5 mistakes`.
    pub fn summary(&self) -> String {
        let count = self.list.len();
        // A file is not blamed for what the environment says.
        let outside = self.list.iter().all(|complaint| matches!(complaint.place, Place::Environment(_)));
        let name = if outside { "the environment" } else { &self.file };
        format!("{name} has {count} mistake{}", if count == 1 { "" } else { "s" })
    }

    /// The one complaint about a file that could not be read at all: there is nothing in it to mend.
    pub fn unread(&self) -> Option<&Complaint> {
        self.list.first().filter(|first| self.list.len() == 1 && first.key.is_empty() && first.place == Place::Default)
    }

    /// Whether this user may not read the file, which says nothing of what is in it.
    pub fn is_closed(&self) -> bool {
        self.unread().is_some_and(|complaint| complaint.message == CLOSED)
    }

    /// Each mistake with the line it stands on, marked, and its remedy.
    pub fn render(&self) -> String {
        // Without colours: the text also goes into logs, pages and files.
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100).with_context_lines(1);
        let mut text = String::new();
        for complaint in &self.list {
            let diagnostic = MietteDiagnostic::new(complaint.sentence()).with_help(complaint.remedy.clone());
            let rendered = match &complaint.place {
                Place::File { span, .. } => {
                    let diagnostic = diagnostic.with_label(LabeledSpan::new_with_span(None, span.clone()));
                    let report = Report::new(diagnostic).with_source_code(NamedSource::new(&self.file, self.source.clone()));
                    handler.render_report(&mut text, report.as_ref())
                }
                Place::Environment(name) => {
                    let diagnostic = diagnostic.and_label(LabeledSpan::new_with_span(None, 0..name.len()));
                    let report = Report::new(diagnostic).with_source_code(NamedSource::new("environment", name.clone()));
                    handler.render_report(&mut text, report.as_ref())
                }
                Place::Default => handler.render_report(&mut text, Report::new(diagnostic).as_ref()),
            };
            if rendered.is_err() {
                text.push_str(&complaint.to_string());
            }
            text.push('\n');
        }
        text
    }
}

/// Line and column of a byte of a text, both from 1.
pub(crate) fn place_of(source: &str, span: Range<usize>) -> Place {
    let start = span.start.min(source.len());
    let before = source.get(..start).unwrap_or(source);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place::File { line, column, span }
}

/// The word of `known` that was probably meant: at most two slips, and fewer than half of the letters.
pub(crate) fn did_you_mean<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // Longer words are no slip of a finger, and the table below grows with the square.
    if word.len() > 64 {
        return None;
    }
    known
        .map(|other| (slips(word, other), other))
        .filter(|(count, _)| *count <= 2 && *count * 2 < word.len().max(2))
        .min()
        .map(|(_, other)| other)
}

/// Levenshtein's distance (1965) with neighbours swapped counting as one slip (Damerau, 1964), in bytes: keys are ASCII.
fn slips(one: &str, other: &str) -> usize {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut table = vec![vec![0; other.len() + 1]; one.len() + 1];
    for (row, line) in table.iter_mut().enumerate() {
        line[0] = row;
    }
    for (column, cell) in table[0].iter_mut().enumerate() {
        *cell = column;
    }
    for row in 1..=one.len() {
        for column in 1..=other.len() {
            let differs = usize::from(one[row - 1] != other[column - 1]);
            let mut best = (table[row - 1][column] + 1).min(table[row][column - 1] + 1).min(table[row - 1][column - 1] + differs);
            if row > 1 && column > 1 && one[row - 1] == other[column - 2] && one[row - 2] == other[column - 1] {
                best = best.min(table[row - 2][column - 2] + 1);
            }
            table[row][column] = best;
        }
    }
    table[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted_and_the_nearest_word_is_offered() {
        let known = ["listen", "clients", "quota", "name"];
        let table = [
            ("lisen", Some("listen")),
            ("litsen", Some("listen")),
            ("qouta", Some("quota")),
            ("zebra", None),
            ("nme", Some("name")),
            ("x", None),
        ];
        for (word, wanted) in table {
            assert_eq!(did_you_mean(word, known.into_iter()), wanted, "{word}");
        }
    }

    #[test]
    fn the_summary_blames_whom_it_should() {
        let complaint =
            |place| Complaint { key: "a.b".into(), place, value: String::new(), message: "is wrong".into(), remedy: "mend it".into() };
        let (line, variable) = (place_of("x", 0..1), Place::Environment("BULAK_A__B".into()));
        let summary = |places: &[&Place]| {
            let list = places.iter().map(|place| complaint((*place).clone())).collect();
            Complaints { list, file: "school.toml".into(), source: "x".into() }.summary()
        };
        assert_eq!(summary(&[&line]), "school.toml has 1 mistake");
        assert_eq!(summary(&[&variable, &variable]), "the environment has 2 mistakes");
        assert_eq!(summary(&[&line, &variable]), "school.toml has 2 mistakes");
    }

    #[test]
    fn lines_and_columns_start_at_one() {
        let source = "a = 1\nбұл = 2\n";
        let at = source.find('2').expect("there");
        assert_eq!(place_of(source, at..at + 1), Place::File { line: 2, column: 7, span: at..at + 1 });
    }
}
