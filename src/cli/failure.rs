//! How a command ends: the exit codes, and the one form in which every command says what went wrong.
//!
//! A person reads `error: message; remedy` on stderr, a program one problem document on stdout; both carry the same id
//! (`store.disk_full`) as the log, the page and the API.

use crate::base::problem::Problem;
use crate::cli::Context;
use crate::config::Complaints;
use serde_json::{Value, json};
use std::process::ExitCode;

/// What the process says to its caller at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Misuse: the command line makes no sense.
    Misuse = 2,
    /// Done, but something needs attention.
    Attention = 3,
    /// Node or hub did not answer.
    NoAnswer = 4,
    /// Not allowed.
    NotAllowed = 5,
    /// Interrupted by the person.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed: what, and what to do about it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}; {remedy}")]
pub struct Failure {
    /// `part.cause`, equal in page, log, API and command line.
    pub id: String,
    /// What went wrong, root cause first: lower case, no full stop.
    pub message: String,
    /// What to do about it; may be empty where the message says it.
    pub remedy: String,
    /// The code that the process ends with.
    pub exit: Exit,
    /// Longer text for people, printed above the error line (complaints with their source lines).
    pub detail: Option<Box<str>>,
    /// Further members of the problem document (an object), such as `complaints`.
    pub more: Option<Box<Value>>,
}

impl Failure {
    /// A failure with exit code 1.
    pub fn new(id: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) -> Failure {
        Failure { id: id.into(), message: message.into(), remedy: remedy.into(), exit: Exit::Failed, detail: None, more: None }
    }

    /// The same with another exit code.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Failure {
        self.exit = exit;
        self
    }

    /// From an error of a lower floor: its root cause first, the chain after.
    pub fn of(id: impl Into<String>, error: &anyhow::Error, remedy: impl Into<String>) -> Failure {
        let mut chain: Vec<String> = error.chain().map(ToString::to_string).collect();
        // A transparent error repeats its source word by word.
        chain.dedup();
        let root = chain.pop().unwrap_or_default();
        let told: Vec<&str> =
            std::iter::once(root.as_str()).chain(chain.iter().rev().map(String::as_str).filter(|step| !step.contains(&root))).collect();
        let message = told.join(", while: ");
        // An outer step that quotes the root says more than the root alone.
        let message = chain.iter().find(|step| step.contains(&root)).cloned().unwrap_or(message);
        Failure::new(id, message, remedy)
    }

    /// The problem document (RFC 9457 members, with our id).
    pub fn document(&self) -> Value {
        let mut document = json!({
            "type": format!("urn:bulak:error:{}", self.id),
            "id": self.id,
            "title": self.message,
            "remedy": self.remedy,
            "exit": self.exit as u8,
        });
        if let (Some(document), Some(more)) = (document.as_object_mut(), self.more.as_deref().and_then(Value::as_object)) {
            document.extend(more.clone());
        }
        document
    }

    /// Reads a problem document that the node or hub answered with; `status` decides the exit code.
    pub fn from_document(status: u16, document: &Value) -> Failure {
        let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let id = text("id");
        let exit = match status {
            400 => Exit::Misuse,
            401 | 403 => Exit::NotAllowed,
            502..=504 => Exit::NoAnswer,
            _ => Exit::Failed,
        };
        let title = text("title");
        Failure::new(
            if id.is_empty() { "node.refused".to_owned() } else { id },
            if title.is_empty() { format!("the node answered with status {status}") } else { title },
            text("remedy"),
        )
        .exit(exit)
    }

    /// Prints it the way the context asks for.
    pub fn print(&self, context: &Context) {
        if context.json {
            context.print(&self.document().to_string());
            return;
        }
        if let Some(detail) = &self.detail {
            eprintln!("{}", detail.trim_end());
        }
        eprintln!("{}", self.line());
    }

    fn line(&self) -> String {
        if self.remedy.is_empty() { format!("error: {}", self.message) } else { format!("error: {}; {}", self.message, self.remedy) }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::of("node.failed", &error, "see the log for what led to it")
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        Failure::from_document(problem.status, &json!(problem))
    }
}

impl From<Complaints> for Failure {
    fn from(complaints: Complaints) -> Failure {
        if let Some(unread) = complaints.unread() {
            let exit = if complaints.is_closed() { Exit::NotAllowed } else { Exit::Failed };
            return Failure::new("config.unreadable", format!("{} {}", complaints.file, unread.message), &unread.remedy).exit(exit);
        }
        let mut failure = Failure::new("config.invalid", complaints.summary(), "mend what is listed; \"bulak config check\" looks again");
        failure.detail = Some(complaints.render().into());
        failure.more = Some(Box::new(json!({ "complaints": complaints.list })));
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_for_people_and_one_for_programs() {
        let failure = Failure::new("store.disk_full", "the disk is full", "free space or choose less").exit(Exit::Attention);
        assert_eq!(failure.line(), "error: the disk is full; free space or choose less");
        let document = failure.document();
        assert_eq!(document["id"], "store.disk_full");
        assert_eq!(document["remedy"], "free space or choose less");
        assert_eq!(document["exit"], 3);
        assert_eq!(Failure::new("a.b", "gone", "").line(), "error: gone");
    }

    #[test]
    fn the_root_cause_comes_first_and_nothing_twice() {
        let table = [
            (
                anyhow::anyhow!("no such file").context("reading the key").context("starting"),
                "no such file, while: reading the key, while: starting",
            ),
            (anyhow::anyhow!("busy").context("port 80: busy"), "port 80: busy"),
            (anyhow::anyhow!("alone"), "alone"),
        ];
        for (error, wanted) in table {
            assert_eq!(Failure::of("x.y", &error, "").message, wanted);
        }
    }

    #[test]
    fn an_answer_of_the_node_keeps_its_id() {
        let failure = Failure::from_document(403, &json!({"id": "admin.not_allowed", "title": "no", "remedy": "ask"}));
        assert_eq!((failure.id.as_str(), failure.exit), ("admin.not_allowed", Exit::NotAllowed));
        for (status, exit) in [(400, Exit::Misuse), (404, Exit::Failed), (409, Exit::Failed), (422, Exit::Failed), (503, Exit::NoAnswer)] {
            assert_eq!(Failure::from_document(status, &Value::Null).exit, exit, "{status}");
        }
        assert_eq!(Failure::from_document(500, &Value::Null).message, "the node answered with status 500");
    }
}
