//! `bulak hub`: the regional server in the foreground, until SIGTERM or Ctrl-C; and beside it codes, nodes and tokens.

use crate::app::{limit, service};
use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::cli::{Context, Exit, Failure};
use crate::hub::keep::Place;
use crate::hub::{Hub, Settings, Viewers, settings};
use crate::life::Life;
use serde_json::json;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Codes, nodes and tokens.
mod office;

/// Uploads under way may end; a school that is cut off sends again.
const GRACE: Duration = Duration::from_secs(10);

/// Where the package keeps the hub's file.
const USUAL: &str = "/etc/bulak/hub.toml";

/// Runs the regional server, or says who may report to it and look at it.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = "Examples:\n  bulak hub --config hub.toml\n  bulak hub --config hub.toml code aksukent-7 --name \"№ 7, Ақсукент\"")]
pub struct Args {
    /// What to do; nothing: run the server
    #[command(subcommand)]
    order: Option<office::Order>,
}

/// Serves until the process is told to stop.
///
/// # Errors
/// A wrong file, an address that is taken, a database that cannot be opened.
pub async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    match args.order {
        None => serve(context).await,
        Some(office::Order::Join { code }) => office::join(context, &code).await,
        Some(order) => office::run(context, order, read(context)?).await,
    }
}

async fn serve(context: &Context) -> Result<Exit, Failure> {
    context.log("info")?;
    let settings = read(context)?;
    // Made by root, what lies beside it would be closed to the hub.
    if let Place::File(file) = &settings.database
        && file.exists()
    {
        office::owned(file)?;
    }
    if context.dry_run {
        let database = match &settings.database {
            Place::Memory => String::from("memory"),
            Place::File(file) => file.display().to_string(),
            // A password may stand in its address.
            Place::Postgres(_) => String::from("PostgreSQL"),
        };
        let (listen, viewers) = (&settings.listen, settings.viewers == Viewers::Tokens);
        let places = json!({ "listen": listen, "database": database, "tokens": viewers, "nodes": settings.nodes.len() });
        context.show(&places, || format!("no errors found; would serve with {places}"))?;
        return Ok(Exit::Done);
    }
    if settings.viewers == Viewers::Anyone {
        tracing::info!(
            "whoever reaches this hub may look at its schools; for tokens: hub.viewers = \"tokens\" and bulak hub token add NAME --role viewer"
        );
    }
    limit::raise_open_files();
    limit::close_files();
    let life = Life::default();
    let hub = Hub::bind(settings, Clock::system(), &life, &Metrics::default())
        .await
        .map_err(|error| Failure::new("hub.start", error.to_string(), "mend what is named and start again"))?;
    let places: Vec<String> = hub.addresses().iter().map(ToString::to_string).collect();
    let signals = || anyhow::Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?));
    let (mut terminate, mut interrupt) = signals()?;
    life.spawn(hub.serve());
    context.show(&json!({ "ready": true, "hub": places }), || format!("ready hub={}", places.join(",")))?;
    service::ready(&life);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    service::stopping();
    Ok(if life.end(GRACE).await { Exit::Done } else { Exit::Attention })
}

/// `--config`, else the package's place, else the defaults.
fn read(context: &Context) -> Result<Settings, Failure> {
    let file = match &context.config {
        Some(file) => file.clone(),
        None if PathBuf::from(USUAL).exists() => PathBuf::from(USUAL),
        None => return Ok(Settings::default()),
    };
    settings::load(&file).map_err(|error| match error {
        // The installer closes it to others: keys may stand in it.
        settings::Error::Read(_, why) if why.kind() == ErrorKind::PermissionDenied => {
            let remedy = "run it as root (sudo) or as the hub's user";
            Failure::new("hub.config", format!("{} may not be read by this user", file.display()), remedy).exit(Exit::NotAllowed)
        }
        error => Failure::new("hub.config", error.to_string(), "mend the file and start again").exit(Exit::Misuse),
    })
}
