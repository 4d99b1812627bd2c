//! `bulak ca`: the school's own certificate authority: made, shown, retired, and the consent that goes with it.
//!
//! It works on the files in `<state>/ca`, with or without a running node, which takes over what changed at SIGHUP.

/// Asking for consent.
mod consent;

/// What is there, and what needs attention.
mod show;

pub(in crate::cli) use show::{SOON, day};

use crate::base::clock::Clock;
use crate::cli::store::agreed;
use crate::cli::{Context, Exit, Failure};
use crate::config::{self, Config};
use crate::tls::authority::{self, Authorities, Error, Fingerprint, Which, Wish};
use clap::Subcommand;
use serde_json::json;
use std::path::PathBuf;

/// What comes after a change: the unit of the package reloads with SIGHUP.
const RELOAD: &str = "systemctl reload bulak (or kill -HUP its process)";

/// What to do with the school's CA.
#[derive(Debug, Subcommand)]
pub(super) enum CaCommand {
    /// Make a CA for the school's zone and the hosts of intercept.hosts; records the consent first
    Create {
        /// The school's name on devices and paper [default: node.name]
        #[arg(long, value_name = "NAME")]
        school: Option<String>,
        #[command(flatten)]
        consent: consent::Given,
    },
    /// Record the consent anew for the CA that is there
    Consent {
        #[command(flatten)]
        consent: consent::Given,
    },
    /// Fingerprint, names, expiry, consent and files; exit 3 when something needs attention
    Show,
    /// Destroy the key of the CA before the one in force, once its devices have moved over
    Retire {
        #[command(flatten)]
        which: Chosen,
    },
}

/// Whose key is destroyed.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(super) struct Chosen {
    /// The one before the one in force (the default)
    #[arg(long)]
    previous: bool,
    /// All of them: nothing is opened any more
    #[arg(long)]
    all: bool,
}

/// Carries the command out.
///
/// # Errors
/// Exit 1 when the CA cannot be made, read or retired, 2 when a consent is missing, 130 when the person declines.
pub(super) async fn run(context: &Context, command: CaCommand) -> Result<Exit, Failure> {
    let config = config::load(context.config.as_deref(), std::env::vars())?;
    let context = context.clone();
    // Files, and a person who thinks: nothing else runs in this process.
    let work = move || match command {
        CaCommand::Create { school, consent } => create(&context, &config, school, &consent),
        CaCommand::Consent { consent } => renew(&context, &config, &consent),
        CaCommand::Show => show::run(&context, &config),
        CaCommand::Retire { which } => retire(&context, &config, if which.all { Which::All } else { Which::Previous }),
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::from(anyhow::Error::from(error)))?
}

/// Where the CA lives.
pub(in crate::cli) fn folder(config: &Config) -> PathBuf {
    config.node.state.join("ca")
}

fn create(context: &Context, config: &Config, school: Option<String>, given: &consent::Given) -> Result<Exit, Failure> {
    let (clock, folder) = (Clock::system(), folder(config));
    let wish = Wish {
        school: school.unwrap_or_else(|| config.node.name.clone()),
        zone: config.node.zone.clone(),
        hosts: config.intercept.hosts.clone(),
    };
    let names = authority::may_create(&folder, &wish, &clock).map_err(|error| failure(&error))?;
    let consent = consent::ask(context, given, &names, clock.now())?;
    if context.dry_run {
        let would = json!({ "would_create": { "school": wish.school, "subtrees": names, "folder": folder } });
        context.show(&would, || format!("would make a CA for {} in {}", names.join(", "), folder.display()))?;
        return Ok(Exit::Done);
    }
    // The consent first: were the power cut between the two, nothing would be opened without it.
    consent.record(&folder).map_err(|error| failure(&error))?;
    let made = authority::create(&folder, &wish, &clock).map_err(|error| failure(&error))?;
    context.show(&show::document(config, Some(&made), Some(&consent), &[]), || told(config, &made))?;
    Ok(Exit::Done)
}

/// What changed, and what comes next.
fn told(config: &Config, made: &Authorities) -> String {
    let current = &made.current;
    let mut out = format!(
        "made a CA for {}, valid until {}\nfingerprint (SHA-256): {}\nit vouches for: {}\ncertificate: {}\n",
        current.school(),
        show::day(current.not_after()),
        current.fingerprint(),
        current.subtrees().join(", "),
        folder(config).join("ca.pem").display()
    );
    if made.previous.is_some() {
        out += "devices of the previous CA go on under it; when they have moved over: bulak ca retire\n";
    }
    if !config.intercept.enabled {
        out += "nothing is opened yet: set intercept.enabled = true\n";
    }
    if config.intercept.hosts.is_empty() {
        out += "intercept.hosts is empty: hosts that are added later need a new CA\n";
    }
    out + &format!("next: {RELOAD}, then enrol the devices and compare the fingerprint")
}

fn renew(context: &Context, config: &Config, given: &consent::Given) -> Result<Exit, Failure> {
    let (clock, folder) = (Clock::system(), folder(config));
    let there = Authorities::load(&folder, clock.now()).map_err(|error| failure(&error))?;
    let Some(there) = there else {
        return Err(Failure::new("ca.missing", "no CA was made here", "make one with \"bulak ca create\""));
    };
    let consent = consent::ask(context, given, there.current.subtrees(), clock.now())?;
    if !context.dry_run {
        consent.record(&folder).map_err(|error| failure(&error))?;
    }
    context.show(&json!({ "consent": consent, "dry_run": context.dry_run }), || {
        let verb = if context.dry_run { "would record" } else { "recorded" };
        format!("{verb} the consent of {} ({})\nnext: {RELOAD}", consent.by, consent.role)
    })?;
    Ok(Exit::Done)
}

fn retire(context: &Context, config: &Config, which: Which) -> Result<Exit, Failure> {
    let folder = folder(config);
    let question = match which {
        Which::Previous => {
            "destroy the key of the previous CA? Devices that carry only that one are not opened any more. There is no undo."
        }
        Which::All => "destroy the keys of all CAs? Nothing is opened any more, and every device must be enrolled anew. There is no undo.",
    };
    if context.dry_run {
        let word = if which == Which::All { "all" } else { "previous" };
        context.show(&json!({ "would_retire": word }), || format!("would destroy the key of {word} in {}", folder.display()))?;
        return Ok(Exit::Done);
    }
    agreed(context, question)?;
    let gone = authority::retire(&folder, which).map_err(|error| failure(&error))?;
    let prints: Vec<String> = gone.iter().map(Fingerprint::to_string).collect();
    context.show(&json!({ "retired": prints }), || {
        let each = prints.iter().fold(String::new(), |text, print| text + &format!("destroyed the key of {print}\n"));
        format!("{each}remove the certificate from devices that still carry it\nnext: {RELOAD}")
    })?;
    Ok(Exit::Done)
}

/// An error of the CA as the commands tell it; its text holds the remedy.
pub(in crate::cli) fn failure(error: &Error) -> Failure {
    let id = match error {
        Error::File { .. } => "ca.file",
        Error::Open { .. } => "ca.open",
        Error::Mismatch { .. } => "ca.mismatch",
        Error::Damaged { .. } | Error::Consent { .. } => "ca.damaged",
        Error::Expired { .. } => "ca.expired",
        Error::Outside { .. } | Error::Personal { .. } | Error::Wish { .. } => "ca.refused",
        Error::Third => "ca.third",
        Error::None(_) => "ca.missing",
        Error::Busy(_) => "ca.busy",
        Error::Clock => "ca.clock",
        Error::Make(_) => "ca.failed",
    };
    let told = error.to_string();
    let (message, remedy) = told.split_once("; ").unwrap_or((&told, ""));
    Failure::new(id, message, remedy)
}
