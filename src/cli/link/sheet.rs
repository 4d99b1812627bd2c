//! `bulak link show --csv`: a table of the line for a spreadsheet.

use crate::cli::local::Local;
use crate::cli::{Context, Exit, Failure};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// Which table, of which days.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Args {
    /// A table for a spreadsheet instead
    #[arg(long, value_name = "TABLE")]
    csv: Option<Table>,
    /// As RFC 4180 says, rather than for an Excel with a decimal comma
    #[arg(long, requires = "csv")]
    plain: bool,
    /// A month; without it and days: the last thirty days
    #[arg(long, value_name = "YYYY-MM", requires = "csv", conflicts_with_all = ["from", "to"])]
    month: Option<String>,
    /// The first day
    #[arg(long, value_name = "YYYY-MM-DD", requires = "csv")]
    from: Option<String>,
    /// The last day, included [default: today]
    #[arg(long, value_name = "YYYY-MM-DD", requires = "csv")]
    to: Option<String>,
    /// Where the table goes; - is standard output
    #[arg(long, value_name = "FILE", requires = "csv")]
    out: Option<PathBuf>,
}

/// The tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Table {
    /// Speed tests
    Tests,
    /// The line by hours
    Hours,
    /// The line by days
    Days,
    /// What was out of order
    Outages,
}

impl Args {
    /// Whether a table is wanted.
    pub(super) fn is_wanted(&self) -> bool {
        self.csv.is_some()
    }
}

/// `&name=value` of what is set.
pub(super) fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::for_suffix(String::from("&"), 1);
    for (name, value) in pairs {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.finish().trim_end_matches('&').to_owned()
}

/// Carries it out.
pub(super) async fn run(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let name = match args.csv {
        Some(Table::Tests) | None => "tests",
        Some(Table::Hours) => "hours",
        Some(Table::Days) => "days",
        Some(Table::Outages) => "outages",
    };
    let form = if args.plain { "plain" } else { "excel" };
    let days = query(&[("month", args.month.as_deref()), ("from", args.from.as_deref()), ("to", args.to.as_deref())]);
    let told = Local::connect(context).await?.get(&format!("/api/v1/link/{name}.csv?csv={form}{days}")).await?;
    let Value::String(text) = &told else {
        return Err(Failure::new("node.version", "the node gave no table", "use the bulak command of the node's version"));
    };
    let failed = |error: std::io::Error| Failure::new("link.table", format!("the table cannot be written ({error})"), "name another place");
    match args.out.as_deref().filter(|file| *file != std::path::Path::new("-")) {
        Some(file) => {
            if !context.would(&format!("write {} bytes to {}", text.len(), file.display()))? {
                std::fs::write(file, text).map_err(failed)?;
                context.show(&json!({ "file": file, "bytes": text.len() }), || format!("written to {}", file.display()))?;
            }
        }
        None if context.json => context.show(&json!({ "csv": text }), String::new)?,
        // Byte for byte: a spreadsheet looks at the first ones.
        None => match std::io::stdout().lock().write_all(text.as_bytes()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            done => done.map_err(failed)?,
        },
    }
    Ok(Exit::Done)
}
