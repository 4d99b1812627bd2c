//! `bulak config`: check a file, show what is in force and who set it, print the default.

use crate::cli::table::table;
use crate::cli::{Context, Exit, Failure};
use crate::config::{self, DEFAULT_TEXT};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;

/// `bulak config`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  bulak config check school.toml\n  bulak config default > school.toml")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Tell every mistake at once, with line and remedy
    #[command(after_help = "Examples:\n  bulak config check\n  bulak config check school.toml --json")]
    Check {
        /// The file [default: --config, else the usual place]
        file: Option<PathBuf>,
    },
    /// Every key, its value and who set it: default, file or environment
    #[command(after_help = "Examples:\n  bulak config show --changed\n  bulak config show --json")]
    Show {
        /// Only keys that differ from their default
        #[arg(long)]
        changed: bool,
    },
    /// Print the default configuration with a comment for each key
    #[command(after_help = "Examples:\n  bulak config default\n  bulak config default > school.toml")]
    Default,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    match args.action {
        Action::Check { file } => {
            let path = file.as_deref().or(context.config.as_deref());
            let config = config::load(path, std::env::vars())?;
            let set = config.places.keys().filter(|key| key.matches('.').count() == 1 && !key.contains('[')).count();
            context.show(&json!({ "errors": 0, "keys_set": set }), || format!("no errors found; {set} keys are set"))?;
        }
        Action::Show { changed } => {
            let effective = config::load(context.config.as_deref(), std::env::vars())?.effective();
            let kept: serde_json::Map<String, Value> = effective
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(_, key)| !changed || key["value"] != key["default"])
                .map(|(name, key)| (name.clone(), key.clone()))
                .collect();
            context.show(&kept, || people(&kept))?;
        }
        Action::Default => {
            if context.json {
                let config = config::Config::default();
                context.show(&config.effective(), String::new)?;
            } else {
                context.print(DEFAULT_TEXT);
            }
        }
    }
    Ok(Exit::Done)
}

fn people(keys: &serde_json::Map<String, Value>) -> String {
    if keys.is_empty() {
        return "every key is at its default".to_owned();
    }
    let mut table = table(&["key", "value", "set by"]);
    for (name, key) in keys {
        table.add_row(vec![name.clone(), key["value"].to_string(), source(&key["source"])]);
    }
    table.to_string()
}

fn source(source: &Value) -> String {
    if let Some(line) = source["file"]["line"].as_u64() {
        return format!("file, line {line}");
    }
    source["environment"].as_str().unwrap_or("default").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_changed_is_told() {
        assert_eq!(people(&serde_json::Map::new()), "every key is at its default");
    }

    #[test]
    fn show_tells_who_set_what() {
        let set = [("BULAK_NODE__NAME".to_owned(), "abay-12".to_owned())];
        let config = config::parse("[store]\nquota = \"1 GiB\"\n", set.into_iter(), "x").expect("right");
        let effective = config.effective();
        let keys = effective.as_object().expect("an object");
        let text = people(keys);
        let line = |key: &str| text.lines().find(|line| line.trim_start().starts_with(key)).unwrap_or_default().to_owned();
        assert!(line("store.quota").contains("\"1 GiB\"") && line("store.quota").contains("file, line 2"));
        assert!(line("node.name").contains("BULAK_NODE__NAME"));
        assert!(line("store.path").contains("default"));
    }
}
