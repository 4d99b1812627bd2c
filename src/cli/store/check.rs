//! `bulak store check`: reads the store of a stopped node, or a copy of one.

use crate::cli::local::Local;
use crate::cli::progress::Teller;
use crate::cli::store::failed;
use crate::cli::{Context, Exit, Failure};
use crate::config;
use crate::store::bundle::Step;
use crate::store::{self, Check};
use serde_json::{Value, json};
use std::path::PathBuf;

/// `bulak store check`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bulak store check --deep\n  bulak store check /mnt/copy-of-the-store\n\nEnds with 0: no errors, 3: mended or to be mended, 1: something is lost."
)]
pub(super) struct Args {
    /// A copy to look at instead of the node's own store; may be read-only
    folder: Option<PathBuf>,
    /// Verify every stored body, too
    #[arg(long)]
    deep: bool,
    /// Mend what can be mended
    #[arg(long)]
    repair: bool,
}

pub(super) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let Args { folder, deep, repair } = args;
    let path = match folder {
        Some(folder) => folder,
        None => own(context).await?,
    };
    if !path.is_dir() {
        let message = format!("there is no store at {}", path.display());
        return Err(Failure::new("store.missing", message, "see store.path in the configuration; the node makes it when it starts"));
    }
    let repair = repair && !context.dry_run;
    let mut teller = Teller::new(context);
    let found = tokio::task::spawn_blocking(move || {
        let found = store::check(&path, deep, repair, |done, total| {
            teller.tell(&Step { phase: "checking".into(), done, total, current: String::new() });
        });
        teller.clear();
        found
    })
    .await;
    let found = found
        .map_err(|error| Failure::new("store.check_failed", format!("the check broke off ({error})"), "report this"))?
        .map_err(|error| failed(&error))?;
    context.show(&document(&found, repair), || findings(&found, repair))?;
    Ok(verdict(&found))
}

/// The folder of the node's store, if the node is stopped.
async fn own(context: &Context) -> Result<PathBuf, Failure> {
    match Local::connect(context).await {
        Ok(_) => Err(Failure::new(
            "store.in_use",
            "the node is running and has the store open",
            "stop it first (\"systemctl stop bulak\"), or use \"bulak store stat\"",
        )),
        Err(failure) if failure.exit == Exit::NoAnswer => Ok(config::load(context.config.as_deref(), config::environment())?.store.path),
        Err(failure) => Err(failure),
    }
}

/// 0 clean, 3 repaired (or to be repaired) or strangers in the folder, 1 loss.
fn verdict(found: &Check) -> Exit {
    let lost = !found.lost.is_empty() || !found.incomplete.is_empty();
    match (lost, found.repaired.is_empty() && found.foreign.is_empty()) {
        (true, _) => Exit::Failed,
        (false, false) => Exit::Attention,
        (false, true) => Exit::Done,
    }
}

fn document(found: &Check, repair: bool) -> Value {
    let mut document = json!(found);
    document["repair"] = json!(repair);
    document
}

fn findings(found: &Check, repair: bool) -> String {
    let word = if repair { "repaired" } else { "wrong, can be mended" };
    let mut out: Vec<String> = found.lost.iter().map(|line| format!("lost: {line}")).collect();
    for (pack, urls) in &found.incomplete {
        out.push(format!("pack {pack}: {} of its addresses are not whole", urls.len()));
        out.extend(urls.iter().map(|url| format!("  missing: {url}")));
    }
    out.extend(found.repaired.iter().map(|line| format!("{word}: {line}")));
    out.extend(found.foreign.iter().map(|line| format!("left alone: {line}")));
    let mut read = format!("{} segments, {} records read", found.segments, found.records);
    if found.bodies > 0 {
        read = format!("{read}, {} bodies verified", found.bodies);
    }
    if found.gone > 0 {
        read = format!("{read}; {} answers whose body was evicted", found.gone);
    }
    out.push(read);
    let last = match (verdict(found), repair) {
        (Exit::Done, _) => "no errors found",
        (Exit::Attention, _) if found.repaired.is_empty() => "nothing of this store is wrong",
        (Exit::Attention, false) => "next: bulak store check --repair",
        (Exit::Attention, true) => "everything was mended without loss",
        _ if !found.incomplete.is_empty() => "what is missing is fetched again by the night, or by: bulak pack fetch",
        _ => "what is lost will be fetched again when it is asked for",
    };
    out.push(last.to_owned());
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_ends_with_the_agreed_codes() {
        let clean = Check::default();
        let mended = Check { repaired: vec!["torn tail of segment 3".into()], ..Check::default() };
        let foreign = Check { foreign: vec!["9.seg belongs to another store".into()], ..Check::default() };
        let holes = Check { incomplete: [("wiki".to_owned(), vec!["http://a.kz/".to_owned()])].into(), ..Check::default() };
        let lost = Check { lost: vec!["http://a.kz/: digest differs".into()], ..mended.clone() };
        assert_eq!([&clean, &mended, &foreign, &holes, &lost].map(|found| verdict(found) as u8), [0, 3, 3, 1, 1]);
        assert!(findings(&clean, false).ends_with("no errors found"));
        assert!(findings(&mended, false).ends_with("next: bulak store check --repair"));
        assert!(findings(&lost, true).starts_with("lost: http://a.kz/"));
        assert!(findings(&holes, false).contains("pack wiki: 1 of its addresses are not whole\n  missing: http://a.kz/"));
    }
}
