//! STAND-IN for the subcommands' common ground, to be replaced by the real one when that is merged.
#![expect(missing_docs, reason = "a stand-in of the shape agreed on")]

pub mod hub;
pub mod link;

use serde_json::Value;
use std::path::PathBuf;

#[derive(Clone, Debug, Default)]
pub struct Context {
    pub json: bool,
    pub config: Option<PathBuf>,
}

impl Context {
    pub fn show<T: serde::Serialize>(&self, value: &T, people: impl FnOnce() -> String) -> Result<(), Failure> {
        println!("{}", if self.json { serde_json::to_value(value).unwrap_or(Value::Null).to_string() } else { people() });
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Exit {
    Done,
    Misuse,
    Attention,
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    pub fn new(_id: impl Into<String>, message: impl Into<String>, _remedy: impl Into<String>) -> Failure {
        Failure(message.into())
    }

    #[must_use]
    pub fn exit(self, _exit: Exit) -> Failure {
        self
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure(error.to_string())
    }
}

pub mod local {
    use crate::cli::{Context, Failure};
    use serde_json::Value;

    #[derive(Debug)]
    pub struct Local;

    impl Local {
        pub async fn connect(_context: &Context) -> Result<Local, Failure> {
            Err(Failure("stand-in".into()))
        }

        pub async fn get(&self, _path: &str) -> Result<Value, Failure> {
            Err(Failure("stand-in".into()))
        }
    }
}
