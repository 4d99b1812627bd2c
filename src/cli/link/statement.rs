//! `bulak link statement`: has the node make a statement of its line, or holds one against its signature. A check needs no node.

use crate::base::language::Language;
use crate::base::unit::BitRate;
use crate::cli::link::sheet::query;
use crate::cli::local::{Local, read};
use crate::cli::{Context, Exit, Failure};
use crate::report::statement::figures::{Figures, State};
use crate::report::statement::page;
use crate::report::statement::paper::{self, Checked, Document, Doubt};
use serde_json::json;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

/// Which statement, and where it goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A month; without it and days: the last thirty days
    #[arg(long, value_name = "YYYY-MM", conflicts_with_all = ["from", "to", "check"])]
    month: Option<String>,
    /// The first day
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "check")]
    from: Option<String>,
    /// The last day, included [default: today]
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "check")]
    to: Option<String>,
    /// The page's language: kk, ru or en
    #[arg(long, default_value = "kk", value_parser = language, conflicts_with = "check")]
    lang: Language,
    /// Where the page goes; - is standard output
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    out: Option<PathBuf>,
    /// Check a page or a JSON document instead; - is standard input
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

fn language(tag: &str) -> Result<Language, String> {
    Language::from_tag(tag).ok_or_else(|| "write kk, ru or en".to_owned())
}

/// Carries it out.
pub(super) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    if let Some(file) = &args.check {
        return check(context, file);
    }
    let local = Local::connect(context).await?;
    let days = query(&[("month", args.month.as_deref()), ("from", args.from.as_deref()), ("to", args.to.as_deref())]);
    let path = format!("/api/v1/link/statement?form=json{days}");
    let told = local.get(&path).await?;
    let document: Document = read(&told)?;
    let made = |error: &dyn std::fmt::Display| Failure::new("statement.failed", format!("the page was not made ({error})"), "report this");
    let page = page::render(&document, args.lang).map_err(|error| made(&error))?;
    match args.out.as_deref().filter(|file| *file != Path::new("-")) {
        Some(file) => {
            if !context.would(&format!("write {} bytes to {}", page.len(), file.display()))? {
                save(file, &page)?;
                context.show(&told, || format!("{}\nwritten to {}; print it with any browser", people(&document), file.display()))?;
            }
        }
        None => context.show(&told, || page.trim_end().to_owned())?,
    }
    Ok(if document.statement.figures.few { Exit::Attention } else { Exit::Done })
}

/// Whole or not at all.
fn save(file: &Path, page: &str) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new("statement.file", format!("{} cannot be written ({error})", file.display()), "name another place with --out")
    };
    let fresh = file.with_extension("new");
    let mut out = std::fs::File::create(&fresh).map_err(failed)?;
    out.write_all(page.as_bytes()).and_then(|()| out.sync_all()).and_then(|()| std::fs::rename(&fresh, file)).map_err(failed)
}

fn check(context: &Context, file: &Path) -> Result<Exit, Failure> {
    let unread = |error: std::io::Error| {
        Failure::new("statement.file", format!("{} cannot be read ({error})", file.display()), "name the file of a statement")
    };
    let mut bytes = Vec::new();
    let most = u64::try_from(paper::LONGEST).unwrap_or(u64::MAX).saturating_add(1);
    if file == Path::new("-") {
        std::io::stdin().take(most).read_to_end(&mut bytes).map_err(unread)?;
    } else {
        std::fs::File::open(file).and_then(|open| open.take(most).read_to_end(&mut bytes)).map_err(unread)?;
    }
    let checked = String::from_utf8(bytes).map_err(|_| Doubt::Stranger).and_then(|text| paper::check(&text));
    let Checked { document, compared } = checked.map_err(|doubt| {
        let id = match doubt {
            Doubt::Stranger => "statement.stranger",
            Doubt::Newer(_) => "statement.newer",
            Doubt::Forged => "statement.forged",
            Doubt::Altered => "statement.altered",
        };
        let text = doubt.to_string();
        let (what, remedy) = text.split_once("; ").unwrap_or((&text, ""));
        Failure::new(id, what, remedy)
    })?;
    let told = json!({ "signed": true, "compared": compared, "digest": document.digest, "statement": document.statement });
    context.show(&told, || {
        let rest = if compared {
            "the signature is the node's, and what is shown is what was signed"
        } else {
            "the signature is the node's; the page is that of another version, so compare its figures with those above"
        };
        format!("{}\n{rest}\nis that the school's box? its number stands on the hub's page of the school", people(&document))
    })?;
    Ok(if compared { Exit::Done } else { Exit::Attention })
}

/// What a statement says, for a terminal, and by what it is known on paper.
fn people(document: &Document) -> String {
    let Figures { school, from, to, download, upload, benchmark_bps, time, state, few, .. } = &document.statement.figures;
    let mut page = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "{name:<14}{value}");
    };
    let rate = |bits: Option<u64>| bits.map_or_else(|| "unknown".to_owned(), |bits| BitRate(bits).human());
    line("school", school.clone());
    line("period", format!("{from} to {to}"));
    for (name, speed) in [("download", download), ("upload", upload)] {
        line(name, format!("median {}, contract {}, {} tests", rate(speed.median_bps), rate(speed.contract_bps), speed.tests));
    }
    let verdict = match state {
        State::NoData => "no data",
        State::Offline => "offline",
        State::Below => "below",
        State::Meets => "meets",
    };
    line("benchmark", format!("{}: {verdict}{}", rate(Some(*benchmark_bps)), if *few { " (little data)" } else { "" }));
    let available = time.available_ppm.map_or_else(|| "unknown".to_owned(), |ppm| format!("{}.{} %", ppm / 10_000, ppm / 1_000 % 10));
    line("available", available);
    line("box", document.statement.node.clone());
    line("digest", document.digest_in_groups());
    page.truncate(page.trim_end().len());
    page
}
