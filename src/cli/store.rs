//! `bulak store`: figures, check, purge. While the node runs everything goes through it; only `check` works on a store at rest.

use crate::cli::local::Local;
use crate::cli::table::{bytes, count, pairs, text};
use crate::cli::{Context, Exit, Failure};
use crate::config;
use crate::store::{self, Check};
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};

/// `bulak store`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  bulak store stat\n  bulak store purge --host example.kz")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// How much is stored, and what that spared
    Stat,
    /// Read the store of a stopped node and tell what is wrong
    Check {
        /// Verify every stored body, too
        #[arg(long)]
        deep: bool,
        /// Mend what can be mended
        #[arg(long)]
        repair: bool,
    },
    /// Forget an address, a host or an object
    Purge(Purge),
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false, args = ["url", "host", "digest"])]
struct Purge {
    /// One address, all its variants
    #[arg(long)]
    url: Option<String>,
    /// Everything of this host
    #[arg(long)]
    host: Option<String>,
    /// Everything with this body (blake3, hex)
    #[arg(long)]
    digest: Option<String>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    match args.action {
        Action::Stat => {
            let stat = Local::connect(context).await?.get("/api/v1/store").await?;
            context.show(&stat, || people(&stat))?;
            let well = stat["admitting"] != false && stat["writable"] != false && stat["damaged"].as_u64().unwrap_or_default() == 0;
            Ok(if well { Exit::Done } else { Exit::Attention })
        }
        Action::Purge(what) => purge(context, &what).await,
        Action::Check { deep, repair } => check(context, deep, repair).await,
    }
}

async fn purge(context: &Context, what: &Purge) -> Result<Exit, Failure> {
    let mut order = json!({ "dry_run": context.dry_run });
    for (name, value) in [("url", &what.url), ("host", &what.host), ("digest", &what.digest)] {
        if let Some(value) = value {
            order[name] = json!(value);
        }
    }
    let local = Local::connect(context).await?;
    if let (Some(host), false, true) = (&what.host, context.yes || context.dry_run, std::io::stdin().is_terminal()) {
        let mut trial = order.clone();
        trial["dry_run"] = json!(true);
        let found = local.post("/api/v1/store/purge", &trial).await?;
        if !asked(&format!("forget {} answers of {host}? There is no undo. [y/N] ", count(&found["purged_entries"]))) {
            return Err(Failure::new("cli.declined", "nothing was forgotten", "answer y, or use --yes").exit(Exit::Interrupted));
        }
    }
    let done = local.post("/api/v1/store/purge", &order).await?;
    context.show(&done, || {
        let verb = if context.dry_run { "would forget" } else { "forgot" };
        format!("{verb} {} answers\nnext: bulak store stat", count(&done["purged_entries"]))
    })?;
    Ok(Exit::Done)
}

fn asked(question: &str) -> bool {
    let mut answer = String::new();
    let shown = write!(std::io::stderr(), "{question}").and_then(|()| std::io::stderr().flush());
    shown.is_ok() && std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "yes" | "Y")
}

async fn check(context: &Context, deep: bool, repair: bool) -> Result<Exit, Failure> {
    match Local::connect(context).await {
        Ok(_) => {
            return Err(Failure::new(
                "store.in_use",
                "the node is running and has the store open",
                "stop it first (\"systemctl stop bulak\"), or use \"bulak store stat\"",
            ));
        }
        Err(failure) if failure.exit == Exit::NoAnswer => {}
        Err(failure) => return Err(failure),
    }
    let config = config::load(context.config.as_deref(), std::env::vars())?;
    let path = config.store.path;
    if !path.is_dir() {
        let message = format!("there is no store at {}", path.display());
        return Err(Failure::new("store.missing", message, "see store.path in the configuration; the node makes it when it starts"));
    }
    let bar = context.progress_bar().then(|| indicatif::ProgressBar::new(0));
    let shown = bar.clone();
    let found = tokio::task::spawn_blocking(move || {
        store::check(&path, deep, repair, |done, total| {
            if let Some(bar) = &shown {
                bar.set_length(total);
                bar.set_position(done);
            }
        })
    })
    .await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let found =
        found.map_err(|error| Failure::new("store.check_failed", format!("the check broke off ({error})"), "report this"))?.map_err(
            |error| Failure::of("store.unusable", &error.into(), "see that no other process uses the store and that this user may read it"),
        )?;
    let exit = verdict(&found);
    context.show(&document(&found, repair), || findings(&found, repair))?;
    Ok(exit)
}

/// 0 clean, 3 repaired (or to be repaired), 1 loss.
fn verdict(found: &Check) -> Exit {
    match (found.lost.is_empty(), found.repaired.is_empty()) {
        (false, _) => Exit::Failed,
        (true, false) => Exit::Attention,
        (true, true) => Exit::Done,
    }
}

fn document(found: &Check, repair: bool) -> Value {
    json!({ "segments": found.segments, "records": found.records, "repaired": found.repaired, "lost": found.lost, "repair": repair })
}

fn findings(found: &Check, repair: bool) -> String {
    let word = if repair { "repaired" } else { "wrong, can be mended" };
    let lost = found.lost.iter().map(|line| format!("lost: {line}"));
    let mut out: Vec<String> = lost.chain(found.repaired.iter().map(|line| format!("{word}: {line}"))).collect();
    out.push(format!("{} segments, {} records read", found.segments, found.records));
    let last = match (found.lost.is_empty(), found.repaired.is_empty()) {
        (true, true) => "no errors found",
        (true, false) if !repair => "next: bulak store check --repair",
        (true, false) => "everything was mended without loss",
        (false, _) => "what is lost will be fetched again when it is asked for",
    };
    out.push(last.to_owned());
    out.join("\n")
}

fn people(stat: &Value) -> String {
    let mut out = pairs([
        ("on disk", format!("{} of {}", bytes(&stat["disk_bytes"]), bytes(&stat["quota_bytes"]))),
        (
            "answers",
            format!("{} ({}), {} kept by packs", count(&stat["entries"]), bytes(&stat["entry_bytes"]), count(&stat["pinned_entries"])),
        ),
        ("objects", format!("{} ({})", count(&stat["objects"]), bytes(&stat["object_bytes"]))),
        (
            "spared",
            format!(
                "{} by keeping equal bodies once, {} by compression",
                bytes(&stat["spared_dedup_bytes"]),
                bytes(&stat["spared_zstd_bytes"])
            ),
        ),
        ("in memory", bytes(&stat["hot_bytes"])),
        ("index", text(&stat["index"])),
        ("damaged", format!("{} records since start", count(&stat["damaged"]))),
    ]);
    for (codec, pair) in stat["codecs"].as_object().into_iter().flatten() {
        out.push(format!("  {codec}: {} objects, {}", count(&pair[0]), bytes(&pair[1])));
    }
    let health = match (&stat["writable"], &stat["admitting"]) {
        (Value::Bool(false), _) => "cannot be written: nothing new is kept",
        (_, Value::Bool(false)) => "full: nothing new is kept",
        (Value::Bool(true), Value::Bool(true)) => "takes new content",
        _ => "unknown",
    };
    out.push(format!("health: {health}"));
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Stat;

    #[test]
    fn a_check_ends_with_the_agreed_codes() {
        let clean = Check::default();
        let mended = Check { repaired: vec!["torn tail of segment 3".into()], ..Check::default() };
        let lost = Check { lost: vec!["http://a.kz/: digest differs".into()], ..mended.clone() };
        assert_eq!([&clean, &mended, &lost].map(|found| verdict(found) as u8), [0, 3, 1]);
        assert!(findings(&clean, false).ends_with("no errors found"));
        assert!(findings(&mended, false).ends_with("next: bulak store check --repair"));
        assert!(findings(&lost, true).starts_with("lost: http://a.kz/"));
    }

    #[test]
    fn figures_are_shown_as_the_store_gives_them() {
        let stat = Stat {
            disk_bytes: 2_000_000,
            quota_bytes: 4_000_000,
            writable: true,
            admitting: false,
            index: "ready".into(),
            ..Stat::default()
        };
        let text = people(&serde_json::to_value(stat).expect("JSON"));
        assert!(text.contains("2.0 MB of 4.0 MB") && text.ends_with("health: full: nothing new is kept"), "{text}");
    }
}
