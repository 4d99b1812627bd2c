//! What was found, judged: a cause hides its consequences, a parent is never ticked while its child failed, problems come first,
//! one verdict line ends it. Pure.

use crate::cli::Exit;
use serde::Serialize;

/// How one look ended; the order is how urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// Does not work.
    Failed,
    /// Works, but someone should look.
    Attention,
    /// Could not be seen.
    Unknown,
    /// Works.
    Fine,
}

/// One look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) check: &'static str,
    /// The check that this one is a part of.
    pub(super) parent: Option<&'static str>,
    /// How it ended.
    pub(super) state: State,
    /// What was seen: lower case, no full stop.
    pub(super) message: String,
    /// What to do about it; empty when fine.
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn new(
        check: &'static str,
        parent: Option<&'static str>,
        state: State,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding { check, parent, state, message: message.into(), remedy: remedy.into() }
    }

    pub(super) fn fine(check: &'static str, parent: Option<&'static str>, message: impl Into<String>) -> Finding {
        Finding::new(check, parent, State::Fine, message, "")
    }
}

/// Which check must work for another to be of any meaning: when the first failed, the second tells nothing new.
const CAUSES: &[(&str, &str)] = &[
    ("line", "hub"),
    ("names", "hub"),
    ("line", "names"),
    ("disk", "store"),
    ("ports", "pac"),
    ("ca", "consent"),
    ("ca", "intercept"),
    ("ca", "tls_listen"),
];

/// All findings, judged.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// One sentence.
    pub(super) verdict: String,
    /// Whether nothing failed and nothing needs attention.
    pub(super) well: bool,
    /// Problems first.
    pub(super) checks: Vec<Finding>,
}

/// Judges.
pub(super) fn settle(mut findings: Vec<Finding>) -> Report {
    // Consequences first, by what was really seen: a hidden cause still hides.
    let failed: Vec<&'static str> = findings.iter().filter(|finding| finding.state == State::Failed).map(|finding| finding.check).collect();
    // What the hub itself has said ("failed") is no consequence of anything: it was reached.
    let told = |finding: &Finding| finding.check == "hub" && finding.state == State::Failed;
    for finding in findings.iter_mut().filter(|finding| finding.state < State::Fine && !told(finding)) {
        if let Some((cause, _)) = CAUSES.iter().find(|(cause, effect)| *effect == finding.check && failed.contains(cause)) {
            finding.state = State::Unknown;
            finding.message = format!("cannot be told while \"{cause}\" fails");
            finding.remedy = String::new();
        }
    }
    // Twice: a grandchild's trouble climbs two floors, and no tree here is deeper.
    for _ in 0..2 {
        let troubled: Vec<(&'static str, &'static str)> = findings
            .iter()
            .filter(|finding| matches!(finding.state, State::Failed | State::Attention))
            .filter_map(|finding| Some((finding.parent?, finding.check)))
            .collect();
        for finding in findings.iter_mut().filter(|finding| matches!(finding.state, State::Fine | State::Unknown)) {
            if let Some((_, child)) = troubled.iter().find(|(parent, _)| *parent == finding.check) {
                finding.state = State::Attention;
                finding.message = format!("{}, but see \"{child}\"", finding.message);
            }
        }
    }
    findings.sort_by_key(|finding| finding.state);
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let well = count(State::Failed) + count(State::Attention) == 0;
    Report { verdict: sentence(count(State::Failed), count(State::Attention), count(State::Unknown)), well, checks: findings }
}

fn sentence(failed: usize, attention: usize, unknown: usize) -> String {
    let unknown = if unknown == 0 { String::new() } else { format!(" ({unknown} unknown)") };
    match (failed, attention) {
        (0, 0) => format!("nothing wrong was found{unknown}"),
        (0, some) => format!("it works, {some} to look at{unknown}"),
        (failed, 0) => format!("{failed} failed{unknown}"),
        (failed, some) => format!("{failed} failed, {some} to look at{unknown}"),
    }
}

impl Report {
    /// 0 all is well, 3 something to look at, 1 something failed.
    pub(super) fn exit(&self) -> Exit {
        match self.checks.iter().map(|finding| finding.state).min() {
            Some(State::Failed) => Exit::Failed,
            Some(State::Attention) => Exit::Attention,
            _ => Exit::Done,
        }
    }

    /// One line for each check, its remedy below, the verdict last.
    pub(super) fn people(&self) -> String {
        let width = self.checks.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
        let mut out = Vec::new();
        for Finding { check, state, message, remedy, .. } in &self.checks {
            // Told in words as well as by signs.
            let mark = match state {
                State::Failed => "✗ failed ",
                State::Attention => "! look   ",
                State::Unknown => "? unknown",
                State::Fine => "✓ fine   ",
            };
            out.push(format!("{mark}  {check:<width$}  {message}"));
            if !remedy.is_empty() {
                out.push(format!("{:>pad$}{remedy}", "→ ", pad = width + 15));
            }
        }
        out.push(format!("verdict: {}", self.verdict));
        out.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(check: &'static str, parent: Option<&'static str>, state: State) -> Finding {
        Finding::new(check, parent, state, "seen", if state == State::Fine { "" } else { "do this" })
    }

    fn state_of(report: &Report, check: &str) -> State {
        report.checks.iter().find(|finding| finding.check == check).expect("there").state
    }

    #[test]
    fn a_cause_hides_its_consequences() {
        let report = settle(vec![
            finding("hub", Some("node"), State::Attention),
            finding("names", Some("line"), State::Failed),
            finding("line", None, State::Failed),
        ]);
        assert_eq!(state_of(&report, "line"), State::Failed);
        assert_eq!(state_of(&report, "names"), State::Unknown);
        assert_eq!(state_of(&report, "hub"), State::Unknown);
        assert_eq!((report.verdict.as_str(), report.exit()), ("1 failed (2 unknown)", Exit::Failed));
        assert_eq!(report.checks[0].check, "line");
        let report = settle(vec![finding("hub", Some("node"), State::Failed), finding("names", Some("line"), State::Failed)]);
        assert_eq!(state_of(&report, "hub"), State::Failed, "the hub has said so itself");
    }

    #[test]
    fn a_parent_is_not_ticked_while_its_child_failed() {
        let report = settle(vec![
            finding("node", None, State::Fine),
            finding("store", Some("node"), State::Fine),
            finding("disk", Some("store"), State::Failed),
        ]);
        assert_eq!(state_of(&report, "store"), State::Attention);
        assert_eq!(state_of(&report, "node"), State::Attention);
        assert_eq!(report.checks[0].check, "disk");
    }

    #[test]
    fn the_verdict_is_one_line_and_the_last() {
        let report = settle(vec![finding("clock", None, State::Fine), finding("hub", None, State::Unknown)]);
        assert_eq!((report.verdict.as_str(), report.exit(), report.well), ("nothing wrong was found (1 unknown)", Exit::Done, true));
        assert!(report.people().ends_with("verdict: nothing wrong was found (1 unknown)"));
        let report = settle(vec![finding("clock", None, State::Attention)]);
        assert_eq!((report.verdict.as_str(), report.exit() as u8), ("it works, 1 to look at", 3));
        assert!(report.people().contains("→ do this"));
    }
}
