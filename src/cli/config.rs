//! `bulak config`: check a file, show what is in force and who set it, print the default.

use crate::cli::local::Local;
use crate::cli::table::table;
use crate::cli::{Context, Exit, Failure};
use crate::config::{self, DEFAULT_TEXT};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// How long a running node may take to tell what is in force: the file can be shown without it.
const PATIENCE: Duration = Duration::from_secs(3);

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
    /// Every key, its value and who set it: default, file or environment; and where a running node goes by another value
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

pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    match args.action {
        Action::Check { file } => {
            let path = file.as_deref().or(context.config.as_deref());
            let config = config::load(path, config::environment())?;
            let set = config.places.keys().filter(|key| key.matches('.').count() == 1 && !key.contains('[')).count();
            context.show(&json!({ "errors": 0, "keys_set": set }), || format!("no errors found; {set} keys are set"))?;
        }
        Action::Show { changed } => {
            let mut effective = config::load(context.config.as_deref(), config::environment())?.effective();
            if let Some(in_force) = in_force(context).await {
                mark(&mut effective, &in_force);
            }
            let kept: serde_json::Map<String, Value> = effective
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(_, key)| !changed || key["value"] != key["default"] || key.get(IN_FORCE).is_some())
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

/// Member of a key by whose value the running node does not go: the one by which it does.
const IN_FORCE: &str = "in_force";

/// Every key as the running node goes by it; `None` where none answers.
async fn in_force(context: &Context) -> Option<Value> {
    let asked = async { Local::connect(context).await?.get("/api/v1/config").await };
    tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()
}

/// Notes at each key what is in force instead.
fn mark(read: &mut Value, in_force: &Value) {
    for (name, key) in read.as_object_mut().into_iter().flatten() {
        // A node of another version may not know the key.
        let Some(running) = in_force.get(name) else { continue };
        if running["value"] != key["value"] {
            key[IN_FORCE] = running["value"].clone();
        }
    }
}

fn people(keys: &serde_json::Map<String, Value>) -> String {
    if keys.is_empty() {
        return "every key is at its default".to_owned();
    }
    let mut table = table(&["key", "value", "set by"]);
    for (name, key) in keys {
        let running = key.get(IN_FORCE).map(|value| format!(" (in force: {value})")).unwrap_or_default();
        table.add_row(vec![name.clone(), format!("{}{running}", key["value"]), source(&key["source"])]);
    }
    let waiting = keys.values().filter(|key| key.get(IN_FORCE).is_some()).count();
    if waiting == 0 {
        return table.to_string();
    }
    format!("{table}\nnot in force: {waiting}; all of it counts after: systemctl restart bulak")
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
        assert!(!text.contains("in force"), "{text}");

        let mut read = effective.clone();
        mark(&mut read, &json!({ "store.quota": { "value": "2 GiB" }, "node.name": { "value": "abay-12" } }));
        let text = people(read.as_object().expect("an object"));
        assert!(text.contains("\"1 GiB\" (in force: \"2 GiB\")") && text.contains("not in force: 1; "), "{text}");
    }
}
