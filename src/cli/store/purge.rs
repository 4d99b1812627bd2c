//! `bulak store purge`: forgets for good, through the running node.

use crate::cli::local::Local;
use crate::cli::store::agreed;
use crate::cli::table::count;
use crate::cli::{Context, Exit, Failure};
use serde_json::json;
use std::time::Duration;

/// A host of a million answers takes minutes on a card.
const PATIENCE: Duration = Duration::from_mins(30);

/// `bulak store purge`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  bulak store purge --host example.kz --subdomains\n  bulak store purge --pack kk-wiki --dry-run")]
pub(super) struct Args {
    #[command(flatten)]
    what: What,
    /// And of its subdomains
    #[arg(long, requires = "host")]
    subdomains: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// One address, all its variants
    #[arg(long)]
    url: Option<String>,
    /// Everything of this host
    #[arg(long)]
    host: Option<String>,
    /// Let a pack go, and forget what only it kept
    #[arg(long)]
    pack: Option<String>,
    /// Everything with this body (blake3, hex)
    #[arg(long)]
    digest: Option<String>,
}

pub(super) async fn run(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let mut order = json!({ "dry_run": context.dry_run, "subdomains": args.subdomains });
    let what = &args.what;
    let mut named = String::new();
    for (name, value) in [("url", &what.url), ("host", &what.host), ("pack", &what.pack), ("digest", &what.digest)] {
        if let Some(value) = value {
            order[name] = json!(value);
            named = if name == "pack" { format!("pack {value}") } else { value.clone() };
        }
    }
    let local = Local::connect(context).await?.with_patience(PATIENCE);
    let mut trial = order.clone();
    trial["dry_run"] = json!(true);
    let found = local.post("/api/v1/store/purge", &trial).await?;
    agreed(context, &format!("forget {} answers of {named}? There is no undo.", count(&found["purged_entries"])))?;
    let done = if context.dry_run { found } else { local.post("/api/v1/store/purge", &order).await? };
    context.show(&done, || {
        let verb = if context.dry_run { "would forget" } else { "forgot" };
        let mut out = format!("{verb} {} answers", count(&done["purged_entries"]));
        if done["unpinned_urls"].is_u64() {
            let verb = if context.dry_run { "would keep" } else { "keeps" };
            out = format!("{out}; the pack {verb} none of its {} addresses any more", count(&done["unpinned_urls"]));
            out += "\nwhile the pack is installed the night fetches it again: remove its file to be rid of it";
        }
        out + "\nnext: bulak store stat"
    })?;
    Ok(Exit::Done)
}
