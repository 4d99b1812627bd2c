//! `bulak store`: figures, check, purge, export, import, repack. While the node runs everything goes through it; on the store of a
//! stopped node `check`, `import` and `repack` work by themselves, and `stat` and `export` only look.

/// `stat`.
mod stat;

/// `check`.
mod check;

/// `purge`.
mod purge;

/// `export` and `import`.
mod carry;

/// `repack`.
mod repack;

use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::cli::local::{Local, read};
use crate::cli::owner::stranger;
use crate::cli::progress::Teller;
use crate::cli::{Context, Exit, Failure};
use crate::config;
use crate::life::Life;
use crate::store::bundle::Step;
use crate::store::{Error, Store};
use clap::Subcommand;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// How often the node is asked how far it is: soon at first, since most work is short.
const LOOKS: [Duration; 4] = [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(300), Duration::from_secs(1)];
/// How often in a row the node may fail to answer before the watch ends.
const SILENCE: u32 = 5;

/// `bulak store`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  bulak store stat --by host\n  bulak store export --to /media/stick/lessons --pack kk-wiki")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// How much is stored, and what that spared
    Stat(stat::Args),
    /// Read the store of a stopped node and tell what is wrong
    Check(check::Args),
    /// Forget an address, a host, a pack or an object, for good
    Purge(purge::Args),
    /// Write stored answers into a folder that can be carried
    Export(carry::Export),
    /// Take in a folder that "export" wrote
    Import(carry::Import),
    /// Make what is stored smaller, now: what the nights do by and by
    Repack(repack::Args),
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    match args.action {
        Action::Stat(args) => stat::run(context, args).await,
        Action::Purge(what) => purge::run(context, &what).await,
        Action::Check(args) => check::run(context, args).await,
        Action::Export(args) => carry::export(context, args).await,
        Action::Import(args) => carry::import(context, args).await,
        Action::Repack(args) => repack::run(context, &args).await,
    }
}

/// Who answers: the running node, or the files of a stopped one.
enum Reach {
    Node(Local),
    Files(Store),
}

impl Reach {
    /// The node if it answers, else its store: for looking, or to be changed.
    async fn find(context: &Context, change: bool) -> Result<Reach, Failure> {
        match Local::connect(context).await {
            Ok(local) => return Ok(Reach::Node(local)),
            Err(failure) if failure.exit == Exit::NoAnswer => {}
            Err(failure) => return Err(failure),
        }
        let settings = config::load(context.config.as_deref(), config::environment())?.store;
        if !settings.path.join("seg").is_dir() {
            let message = format!("no node answers, and there is no store at {}", settings.path.display());
            return Err(
                Failure::new("store.missing", message, "start the node, or see store.path in the configuration").exit(Exit::NoAnswer)
            );
        }
        if change {
            // Files of another owner would be closed to the node afterwards.
            if let Ok(Some(owner)) = stranger(&settings.path) {
                let message = format!("{} belongs to another user (number {owner}), and the node is not running", settings.path.display());
                let remedy = "start the node and run this again, or run it as that user (\"sudo -u bulak bulak store …\")";
                return Err(Failure::new("store.other_user", message, remedy).exit(Exit::NotAllowed));
            }
        }
        let opened = tokio::task::spawn_blocking(move || {
            let (clock, life, metrics) = (Clock::system(), Life::default(), Metrics::default());
            if change { Store::open(settings, clock, &life, &metrics) } else { Store::open_still(settings, clock, &life, &metrics) }
        });
        let opened =
            opened.await.map_err(|error| Failure::new("store.unusable", format!("the store was not opened ({error})"), "report this"))?;
        opened.map(Reach::Files).map_err(|error| failed(&error))
    }

    /// Which one.
    fn name(&self) -> &'static str {
        match self {
            Reach::Node(_) => "node",
            Reach::Files(_) => "files",
        }
    }
}

/// An error of the store in the form of commands.
fn failed(error: &Error) -> Failure {
    let (id, what, remedy) = error.told();
    Failure::new(id, what, remedy)
}

/// Starts a job in the node and watches it to its end; `left` says what holds when it is ended before.
async fn job<T: DeserializeOwned>(context: &Context, local: &Local, path: &str, order: &Value, left: &str) -> Result<T, Failure> {
    let started = local.post(path, order).await?;
    let place = started["job"].as_str().unwrap_or_default().to_owned();
    let mut teller = Teller::new(context);
    let watched = tokio::select! {
        watched = watch(local, &place, &mut teller, left) => watched,
        _ = tokio::signal::ctrl_c() => {
            teller.clear();
            local.delete(&place).await?;
            Err(interrupted(left))
        }
    };
    teller.clear();
    read(&watched?)
}

fn interrupted(left: &str) -> Failure {
    Failure::new("cli.interrupted", "interrupted", left).exit(Exit::Interrupted)
}

async fn watch(local: &Local, place: &str, teller: &mut Teller, left: &str) -> Result<Value, Failure> {
    let mut silent = 0;
    for look in 0_usize.. {
        tokio::time::sleep(LOOKS[look.min(LOOKS.len() - 1)]).await;
        let document = match local.get(place).await {
            Err(failure) if failure.exit == Exit::NoAnswer && silent < SILENCE => {
                silent += 1;
                continue;
            }
            Err(failure) if failure.exit == Exit::NoAnswer => {
                return Err(
                    Failure::new("node.gone", "the node ended in the middle of it", format!("start it again; {left}")).exit(Exit::NoAnswer)
                );
            }
            Err(failure) if failure.id == "job.unknown" => {
                return Err(Failure::new("node.restarted", "the node was restarted in the middle of it", left));
            }
            document => document?,
        };
        silent = 0;
        match document["state"].as_str() {
            Some("queued" | "running") => {
                let word = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
                let number = |key: &str| document[key].as_u64().unwrap_or_default();
                teller.tell(&Step { phase: word("phase"), done: number("done"), total: number("total"), current: word("current") });
            }
            Some("done") => return Ok(document["result"].clone()),
            Some("failed") => {
                let problem = &document["problem"];
                let status = problem["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(500);
                return Err(Failure::from_document(status, problem));
            }
            _ => return Err(Failure::new("store.job_ended", "another command ended it", left)),
        }
    }
    unreachable!("nobody watches for so long")
}

/// Does the same on the files of a stopped node; an interruption ends it between two steps.
async fn here<T>(context: &Context, left: &str, work: impl AsyncFnOnce(&mut Teller) -> Result<T, Error>) -> Result<T, Failure> {
    let mut teller = Teller::new(context);
    let done = tokio::select! {
        done = work(&mut teller) => done.map_err(|error| failed(&error)),
        _ = tokio::signal::ctrl_c() => Err(interrupted(left)),
    };
    teller.clear();
    done
}

/// Whether the person says yes to what cannot be undone. Off a terminal nobody can be asked, and silence is no yes.
pub(in crate::cli) fn agreed(context: &Context, question: &str) -> Result<(), Failure> {
    can_ask(context)?;
    wished(context, question)
}

/// Whether there will be an answer to a question: somebody at a terminal, or `--yes`.
pub(in crate::cli) fn can_ask(context: &Context) -> Result<(), Failure> {
    if context.yes || context.dry_run || std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Failure::new("cli.unasked", "this cannot be undone, and nobody can be asked here", "add --yes").exit(Exit::Misuse))
}

/// Whether the person says yes, or nobody need be asked: what is ordered off a terminal is wished.
fn wished(context: &Context, question: &str) -> Result<(), Failure> {
    if context.yes || context.dry_run || !std::io::stdin().is_terminal() {
        return Ok(());
    }
    let mut answer = String::new();
    let shown = write!(std::io::stderr(), "{question} [y/N] ").and_then(|()| std::io::stderr().flush());
    let yes = shown.is_ok() && std::io::stdin().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "yes" | "Y");
    if yes { Ok(()) } else { Err(Failure::new("cli.declined", "nothing was done", "answer y, or use --yes")) }
}
