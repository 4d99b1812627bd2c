//! `bulak ca`: the school's own certificate authority: made, shown, retired, and the consent that goes with it.
//!
//! It works on the files in `<state>/ca`, with or without a running node; one that runs is told to read them anew.

/// Asking for consent.
mod consent;

/// The running node.
mod node;

/// What is there, and what needs attention.
mod show;

pub(in crate::cli) use node::{RELOAD, differs, usable};
pub(in crate::cli) use show::{SOON, day};

use crate::base::clock::Clock;
use crate::cli::store::agreed;
use crate::cli::{Context, Exit, Failure};
use crate::config::{self, Config};
use crate::tls::authority::{self, Authorities, Error, Fingerprint, Which, Wish};
use clap::Subcommand;
use node::{Node, devices_told};
use serde_json::json;
use std::path::PathBuf;

/// What to do with the school's CA.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  bulak ca create\n  bulak ca show")]
pub(super) enum CaCommand {
    /// Make a CA for the school's zone and the hosts of intercept.hosts; records the consent first
    #[command(after_help = "Examples:\n  bulak ca create\n  bulak ca create --consent-by \"A. Seitova\" --role head --yes")]
    Create {
        /// The school's name on devices and paper [default: node.title, else node.name]
        #[arg(long, value_name = "NAME")]
        school: Option<String>,
        #[command(flatten)]
        consent: consent::Given,
    },
    /// Record the consent anew for the CA that is there
    #[command(after_help = "Examples:\n  bulak ca consent\n  bulak ca consent --consent-by \"A. Seitova\" --role head --yes")]
    Consent {
        #[command(flatten)]
        consent: consent::Given,
    },
    /// Fingerprint, names, expiry, consent and files; exit 3 when something needs attention
    #[command(after_help = "Examples:\n  bulak ca show\n  bulak ca show --json")]
    Show,
    /// Destroy the key of the CA before the one in force, once its devices have moved over
    #[command(after_help = "Examples:\n  bulak ca retire\n  bulak ca retire --all --dry-run")]
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
/// Exit 1 when the CA cannot be made, read or retired, or the person declines; 2 when nobody can be asked.
pub(super) async fn run(context: &Context, command: CaCommand) -> Result<Exit, Failure> {
    let config = config::load(context.config.as_deref(), config::environment())?;
    let (context, runtime) = (context.clone(), tokio::runtime::Handle::current());
    // Files, and a person who thinks: nothing else runs in this process.
    let work = move || {
        let node = Node::new(&context, runtime);
        match command {
            CaCommand::Create { school, consent } => create(&context, &config, &node, school, &consent),
            CaCommand::Consent { consent } => renew(&context, &config, &node, &consent),
            CaCommand::Show => show::run(&context, &config, &node),
            CaCommand::Retire { which } => retire(&context, &config, &node, if which.all { Which::All } else { Which::Previous }),
        }
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::from(anyhow::Error::from(error)))?
}

/// Where the CA lives.
pub(in crate::cli) fn folder(config: &Config) -> PathBuf {
    config.node.state.join("ca")
}

fn create(context: &Context, config: &Config, node: &Node<'_>, school: Option<String>, given: &consent::Given) -> Result<Exit, Failure> {
    let (clock, folder) = (Clock::system(), folder(config));
    let wish = Wish {
        school: school.unwrap_or_else(|| config.node.title.clone()),
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
    let known = node.tell(&folder, clock.now());
    let mut document = show::document(config, Some(&made), Some(&consent), &[], node.status().as_ref());
    document["node"] = json!(known.word());
    context.show(&document, || format!("{}{}\nnext: enrol the devices and compare the fingerprint", told(config, &made), known.line()))?;
    Ok(known.exit())
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
    out
}

fn renew(context: &Context, config: &Config, node: &Node<'_>, given: &consent::Given) -> Result<Exit, Failure> {
    let (clock, folder) = (Clock::system(), folder(config));
    let there = Authorities::load(&folder, clock.now()).map_err(|error| failure(&error))?;
    let Some(there) = there else {
        return Err(Failure::new("ca.missing", "no CA was made here", "make one with \"bulak ca create\""));
    };
    let consent = consent::ask(context, given, there.current.subtrees(), clock.now())?;
    let mut document = json!({ "consent": show::consented(&consent), "dry_run": context.dry_run });
    let whose = format!("the consent of {} ({})", consent.by, consent.role);
    if context.dry_run {
        context.show(&document, || format!("would record {whose}"))?;
        return Ok(Exit::Done);
    }
    consent.record(&folder).map_err(|error| failure(&error))?;
    let known = node.tell(&folder, clock.now());
    document["node"] = json!(known.word());
    context.show(&document, || format!("recorded {whose}\n{}", known.line()))?;
    Ok(known.exit())
}

fn retire(context: &Context, config: &Config, node: &Node<'_>, which: Which) -> Result<Exit, Failure> {
    let (clock, folder) = (Clock::system(), folder(config));
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
    // As long as their CAs are in force.
    let status = node.status();
    if !context.quiet {
        // On stderr: stdout is for the result.
        eprint!("{}", show::carried(&folder, clock.now(), which, status.as_ref()));
    }
    agreed(context, question)?;
    let gone = authority::retire(&folder, which).map_err(|error| failure(&error))?;
    let known = node.tell(&folder, clock.now());
    let prints: Vec<String> = gone.iter().map(Fingerprint::to_string).collect();
    let counts: Vec<_> = prints.iter().map(|print| node::devices(status.as_ref(), print)).collect();
    context.show(&json!({ "retired": prints, "devices": counts, "node": known.word() }), || {
        let each = prints.iter().fold(String::new(), |text, print| {
            text + &format!("destroyed the key of {print}\ndevices enrolled under it: {}\n", devices_told(status.as_ref(), print))
        });
        format!(
            "{each}no connection is opened under it any more; those that are open last until either side ends them\n\
             remove the certificate from devices that still carry it\n{}",
            known.line()
        )
    })?;
    Ok(known.exit())
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
