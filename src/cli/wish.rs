//! `bulak wish`: tonight's list, and what many devices missed.

use crate::base::unit::Bytes;
use crate::cli::local::{Local, read};
use crate::cli::table::{count, table, text};
use crate::cli::{Context, Exit, Failure};
use crate::prefetch::Wished;
use clap::Subcommand;
use serde_json::{Value, json};

/// What to do with wishes.
#[derive(Debug, Subcommand)]
pub(super) enum WishCommand {
    /// Pages that somebody wished for, and how they fared
    List,
    /// Have a page fetched tonight, with what it needs
    Add {
        /// The page
        url: String,
    },
    /// Take a page off the list; it is let go in the next window
    Remove {
        /// Its number in the list
        id: i64,
    },
    /// What at least five devices missed on one day
    Proposals,
    /// Make a proposal a pack of this node
    Approve {
        /// Its id in the list
        id: String,
    },
    /// Never propose it again
    Dismiss {
        /// Its id in the list
        id: String,
    },
}

/// Carries the command out.
///
/// # Errors
/// Exit 1 when it was refused, 4 when the node does not answer.
pub(super) async fn run(context: &Context, command: WishCommand) -> Result<Exit, Failure> {
    let local = Local::connect(context).await?;
    match command {
        WishCommand::List => list(context, &local).await,
        WishCommand::Add { url } => {
            if would(context, &format!("have {url} fetched tonight"))? {
                return Ok(Exit::Done);
            }
            let came = local.post("/api/v1/wishes", &json!({ "url": url })).await?;
            context.show(&came, || format!("{}\nnext: bulak wish list", text(&came["told"])))?;
            Ok(Exit::Done)
        }
        WishCommand::Remove { id } => {
            if would(context, &format!("take wish {id} off the list"))? {
                return Ok(Exit::Done);
            }
            local.delete(&format!("/api/v1/wishes/{id}")).await?;
            context.show(&json!({ "removed": id }), || format!("wish {id} is off the list; its page is let go in the next window"))?;
            Ok(Exit::Done)
        }
        WishCommand::Proposals => proposals(context, &local).await,
        WishCommand::Approve { id } => {
            if would(context, &format!("make proposal {id} a pack"))? {
                return Ok(Exit::Done);
            }
            let made = local.post(&format!("/api/v1/proposals/{}/approve", segment(&id)), &json!({})).await?;
            context.show(&made, || {
                let pack = text(&made["pack"]);
                format!("wrote {}; it is fetched in the next window\nnext: bulak pack plan {pack}", text(&made["file"]))
            })?;
            Ok(Exit::Done)
        }
        WishCommand::Dismiss { id } => {
            if would(context, &format!("never propose {id} again"))? {
                return Ok(Exit::Done);
            }
            local.delete(&format!("/api/v1/proposals/{}", segment(&id))).await?;
            context.show(&json!({ "dismissed": id }), || format!("{id} will not be proposed again"))?;
            Ok(Exit::Done)
        }
    }
}

/// Whether this is a trial; then what would be done has been said.
fn would(context: &Context, what: &str) -> Result<bool, Failure> {
    if context.dry_run {
        context.show(&json!({ "would": what }), || format!("would {what}"))?;
    }
    Ok(context.dry_run)
}

async fn list(context: &Context, local: &Local) -> Result<Exit, Failure> {
    let document = local.get("/api/v1/wishes").await?;
    let wishes: Vec<Wished> = read(&document["wishes"])?;
    context.show(&document, || {
        if wishes.is_empty() {
            return String::from("nobody has wished for a page; \"bulak wish add URL\" does");
        }
        let mut table = table(&["no", "page", "state", "size", "wished", "kept until"]);
        for one in &wishes {
            let state = one.why.as_ref().map_or_else(|| one.state.clone(), |why| format!("{} ({why})", one.state));
            let size = one.bytes.map_or_else(String::new, |bytes| Bytes(bytes).human());
            table.add_row([one.id.to_string(), one.url.clone(), state, size, day(&one.made), day(&one.until)]);
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
        let mut table = table(&["id", "what", "where", "days", "last"]);
        for one in all {
            table.add_row([text(&one["id"]), text(&one["kind"]), text(&one["url"]), count(&one["days"]), text(&one["last"])]);
        }
        format!("{table}\nnext: bulak wish approve ID, or bulak wish dismiss ID")
    })?;
    Ok(Exit::Done)
}

fn day(stamp: &str) -> String {
    stamp.get(..10).unwrap_or_default().to_owned()
}

/// An id as a path segment: ids are hex digits, anything else cannot be one.
fn segment(id: &str) -> String {
    id.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}
