//! `bulak wish`: tonight's list; what many devices missed, to be approved or dismissed.

use crate::base::unit::Bytes;
use crate::cli::local::{Local, read};
use crate::cli::table::{count, moment, table, text};
use crate::cli::{Context, Exit, Failure};
use crate::prefetch::Wished;
use clap::Subcommand;
use serde_json::{Value, json};

/// What to do with wishes.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  bulak wish add https://kk.wikipedia.org/wiki/Абай\n  bulak wish list")]
pub(super) enum WishCommand {
    /// Pages that somebody wished for, and how they fared
    #[command(after_help = "Examples:\n  bulak wish list\n  bulak wish list --json")]
    List,
    /// Have a page fetched tonight, with what it needs
    #[command(
        after_help = "Examples:\n  bulak wish add https://kk.wikipedia.org/wiki/Абай\n  bulak wish add http://example.kz/lesson.html --dry-run"
    )]
    Add {
        /// The page
        url: String,
    },
    /// Take a page off the list; it is let go as soon as a window is open
    #[command(after_help = "Examples:\n  bulak wish remove 3\n  bulak wish remove 3 --dry-run")]
    Remove {
        /// Its number in the list
        id: i64,
    },
    /// What at least five devices missed on one day
    #[command(after_help = "Examples:\n  bulak wish proposals\n  bulak wish proposals --json")]
    Proposals,
    /// Make a proposal a pack of this node
    #[command(after_help = "Examples:\n  bulak wish approve 5f3a90c1\n  bulak wish approve 5f3a90c1 --dry-run")]
    Approve {
        /// Its id in the list
        id: String,
    },
    /// Never propose it again
    #[command(after_help = "Examples:\n  bulak wish dismiss 5f3a90c1\n  bulak wish dismiss 5f3a90c1 --dry-run")]
    Dismiss {
        /// Its id in the list
        id: String,
    },
}

/// Carries the command out.
///
/// # Errors
/// Exit 1 when it was refused, 2 for no address, 4 when the node does not answer.
pub(super) async fn run(context: &Context, command: WishCommand) -> Result<Exit, Failure> {
    let local = Local::connect(context).await?;
    match command {
        WishCommand::List => list(context, &local).await,
        WishCommand::Add { url } => {
            if context.would(&format!("have {url} fetched tonight"))? {
                return Ok(Exit::Done);
            }
            let came = local.post("/api/v1/wishes", &json!({ "url": url })).await?;
            context.show(&came, || format!("{}\nnext: bulak wish list", text(&came["told"])))?;
            Ok(Exit::Done)
        }
        WishCommand::Remove { id } => {
            if context.would(&format!("take wish {id} off the list"))? {
                return Ok(Exit::Done);
            }
            local.delete(&format!("/api/v1/wishes/{id}")).await?;
            context
                .show(&json!({ "removed": id }), || format!("wish {id} is off the list; its page is let go as soon as a window is open"))?;
            Ok(Exit::Done)
        }
        WishCommand::Proposals => proposals(context, &local).await,
        WishCommand::Approve { id } => {
            if context.would(&format!("make proposal {id} a pack"))? {
                return Ok(Exit::Done);
            }
            let made = local.post(&format!("/api/v1/proposals/{}/approve", segment(&id)), &json!({})).await?;
            context.show(&made, || {
                let pack = text(&made["pack"]);
                format!("wrote {}; it is fetched as soon as a window is open\nnext: bulak pack plan {pack}", text(&made["file"]))
            })?;
            Ok(Exit::Done)
        }
        WishCommand::Dismiss { id } => {
            if context.would(&format!("never propose {id} again"))? {
                return Ok(Exit::Done);
            }
            local.delete(&format!("/api/v1/proposals/{}", segment(&id))).await?;
            context.show(&json!({ "dismissed": id }), || format!("{id} will not be proposed again"))?;
            Ok(Exit::Done)
        }
    }
}

async fn list(context: &Context, local: &Local) -> Result<Exit, Failure> {
    let document = local.get("/api/v1/wishes").await?;
    let wishes: Vec<Wished> = read(&document["wishes"])?;
    context.show(&document, || {
        if wishes.is_empty() {
            return String::from("nobody has wished for a page; \"bulak wish add URL\" does");
        }
        let zone = context.zone();
        let mut table = table(&["no", "page", "state", "size", "wished", "kept until"]);
        for one in &wishes {
            let state = one.why.as_ref().map_or_else(|| one.state.clone(), |why| format!("{} ({why})", one.state));
            let size = one.bytes.map_or_else(String::new, |bytes| Bytes(bytes).human());
            table.add_row([one.id.to_string(), one.url.clone(), state, size, moment(&zone, &one.made), moment(&zone, &one.until)]);
        }
        table.to_string()
    })?;
    let failed = wishes.iter().any(|one| one.state == "failed");
    Ok(if failed { Exit::Attention } else { Exit::Done })
}

async fn proposals(context: &Context, local: &Local) -> Result<Exit, Failure> {
    let document = local.get("/api/v1/proposals").await?;
    context.show(&document, || {
        let all: &[Value] = document["proposals"].as_array().map(Vec::as_slice).unwrap_or_default();
        if all.is_empty() {
            return String::from("nothing was missed by five devices on one day");
        }
        let zone = context.zone();
        let mut table = table(&["id", "what", "where", "days", "last"]);
        for one in all {
            table.add_row([
                text(&one["id"]),
                text(&one["kind"]),
                text(&one["url"]),
                count(&one["days"]),
                moment(&zone, &text(&one["last"])),
            ]);
        }
        format!("{table}\nnext: bulak wish approve ID, or bulak wish dismiss ID")
    })?;
    Ok(Exit::Done)
}

/// An id as a path segment: ids are hex digits, anything else cannot be one.
fn segment(id: &str) -> String {
    id.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}
