//! `bulak pack record`: browse a lesson once through the proxy; everything public that it needed becomes a pack. The node records
//! (`prefetch/record.rs`); this shows how far it is, and asks before anything is kept.

use crate::base::unit::Wait;
use crate::cli::local::{Local, read};
use crate::cli::store::{agreed, can_ask};
use crate::cli::{Context, Exit, Failure};
use crate::prefetch::record::View;
use serde_json::{Value, json};
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

/// How often the node is asked how far it is.
const LOOK: Duration = Duration::from_secs(1);
/// One plain line each so many looks.
const LINE: u32 = 10;

/// `bulak pack record`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bulak pack record fractions-5 --title \"Бөлшектер\"\n  bulak pack record fractions-5 --device 192.168.8.20 --for 20min\n  bulak pack record --keep"
)]
pub(in crate::cli) struct Args {
    /// The pack's id: small letters, digits and dashes
    #[arg(required_unless_present_any = ["keep", "forget"], conflicts_with_all = ["keep", "forget"])]
    name: Option<String>,
    /// How long
    #[arg(long = "for", value_name = "TIME", default_value = "10 min")]
    time: Wait,
    /// The recording device; none: the next one that opens bulak.internal/record and says so
    #[arg(long, value_name = "ADDRESS")]
    device: Option<IpAddr>,
    /// What people read
    #[arg(long)]
    title: Option<String>,
    /// Under which licence the content may be copied
    #[arg(long)]
    licence: Option<String>,
    /// Make a pack of the recording that was left waiting
    #[arg(long, conflicts_with = "forget")]
    keep: bool,
    /// Let go of it
    #[arg(long)]
    forget: bool,
}

/// Records, shows, asks, keeps.
///
/// # Errors
/// What the node says.
pub(in crate::cli) async fn run(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let local = Local::connect(context).await?;
    let Some(name) = &args.name else { return finish(context, &local, args.keep).await };
    let seconds = args.time.0.as_secs();
    if context.would(&format!("record a lesson for {seconds} s and ask whether to make it the pack \"{name}\""))? {
        return Ok(Exit::Done);
    }
    // Before anybody browses: a lesson that nobody can be asked about would be lost at its end.
    can_ask(context)?;
    let order = json!({ "name": name, "seconds": seconds, "device": args.device, "title": args.title, "licence": args.licence });
    local.post("/api/v1/record", &order).await?;
    if context.progress() {
        match args.device {
            Some(device) => eprintln!("recording {device}: browse the lesson now, through the proxy; Ctrl-C ends it"),
            None => eprintln!("open http://bulak.internal/record on the recording device; Ctrl-C ends it"),
        }
    }
    tokio::select! {
        over = until_over(context, &local) => over?,
        _ = tokio::signal::ctrl_c() => drop(local.post("/api/v1/record/end", &json!({})).await?),
    }
    let document = local.post("/api/v1/record/end", &json!({})).await?;
    let view: View = read(&document)?;
    if !context.json && !context.quiet {
        context.print(&preview(&view));
    }
    let asked = if view.text.is_none() {
        Err(Failure::new(
            "record.empty",
            "nothing public was seen, so there is no pack",
            "open the lesson on the recording device, through the proxy",
        ))
    } else {
        agreed(context, &format!("make these {} pages and {} pieces the pack \"{}\"?", view.pages, view.pieces, view.name))
    };
    if asked.is_err() {
        local.delete("/api/v1/record").await?;
        asked?;
    }
    keep(context, &local, document, &view.name).await
}

/// What becomes of a recording whose command is gone.
async fn finish(context: &Context, local: &Local, kept: bool) -> Result<Exit, Failure> {
    let document = local.get("/api/v1/record").await?;
    let view: View = read(&document)?;
    let what = if kept { "make the recording" } else { "let go of the recording" };
    if context.would(&format!(
        "{what} \"{}\" ({} pages, {} pieces){}",
        view.name,
        view.pages,
        view.pieces,
        if kept { " a pack" } else { "" }
    ))? {
        return Ok(Exit::Done);
    }
    if kept {
        return keep(context, local, document, &view.name).await;
    }
    agreed(context, &format!("let go of the recording \"{}\" ({} pages, {} pieces)?", view.name, view.pages, view.pieces))?;
    local.delete("/api/v1/record").await?;
    context.show(&json!({ "forgotten": view.name }), || format!("nothing is left of the recording \"{}\"", view.name))?;
    Ok(Exit::Done)
}

async fn keep(context: &Context, local: &Local, document: Value, name: &str) -> Result<Exit, Failure> {
    let kept = local.post("/api/v1/record/keep", &json!({})).await?;
    let mut told = document;
    told["file"] = kept["file"].clone();
    context.show(&told, || {
        let file = told["file"].as_str().unwrap_or_default();
        format!("wrote {file}; it is fetched as soon as a window is open\nnext: bulak pack plan {name}")
    })?;
    Ok(Exit::Done)
}

async fn until_over(context: &Context, local: &Local) -> Result<(), Failure> {
    let mut state = String::new();
    for look in 0_u32.. {
        let document: Value = local.get("/api/v1/record").await?;
        let view: View = read(&document)?;
        if view.state == "over" {
            break;
        }
        if context.progress() && (view.state != state || look.is_multiple_of(LINE)) {
            eprintln!("{}: {} pages, {} pieces, {} s left", view.state, view.pages, view.pieces, view.seconds);
        }
        state = view.state;
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// What was seen, for a person who decides.
fn preview(view: &View) -> String {
    let mut out = format!("{} pages and {} pieces from {}\n", view.pages, view.pieces, view.hosts.join(", "));
    if !view.left_out.is_empty() {
        let hosts: Vec<String> = view.left_out.iter().map(|(host, count)| format!("{host} ({count})")).collect();
        // Writing to memory cannot fail.
        let _ = writeln!(out, "left out, since it is personal or may not be kept: {}", hosts.join(", "));
    }
    if !view.not_readable.is_empty() {
        let _ = writeln!(out, "seen, and not readable (https that was passed on): {}", view.not_readable.join(", "));
    }
    if let Some(text) = &view.text {
        let _ = write!(out, "\n{text}");
    }
    out
}
