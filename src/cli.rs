//! The subcommands: parse, call, print. No decisions are made here.
//!
//! Each command is one file with `Args` (clap) and `run(&Context, Args) -> Result<Exit, Failure>`. What holds for all of them,
//! the global flags, the error form and the exit codes, is in this file and in `failure`.

/// Exit codes and the error form.
pub mod failure;

/// The running node, through its socket.
pub mod local;

/// Tables and quantities for people.
pub mod table;

/// Quota against disk.
mod room;

/// How far long work is.
mod progress;

/// Whose files these are.
mod owner;

/// `bulak serve`.
mod serve;

/// `bulak pack`.
mod pack;

/// `bulak night`.
mod night;

/// `bulak wish`.
mod wish;

/// `bulak status`.
mod status;

/// `bulak why`.
mod why;

/// `bulak store`.
mod store;

/// `bulak doctor`.
mod doctor;

/// `bulak config`.
mod config;

/// `bulak ca`.
mod ca;

/// `bulak user`.
mod user;

/// `bulak link`.
pub mod link;

/// `bulak hub`.
pub mod hub;

pub use failure::{Exit, Failure};

use clap::{Args, CommandFactory, Parser, Subcommand};
use jiff::tz::TimeZone;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  bulak serve --config /etc/bulak/school.toml
  bulak doctor

Exit codes: 0 done, 1 failed, 2 misuse, 3 done but something needs attention,
4 node or hub did not answer, 5 not allowed, 130 interrupted.";

#[derive(Debug, Parser)]
#[command(name = "bulak", version, about = "A learning-content cache server for schools on thin lines", after_help = EXAMPLES)]
#[command(arg_required_else_help = true)]
struct Line {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// One JSON document on stdout, errors too
    #[arg(long, global = true)]
    json: bool,
    /// Only errors; of a token or a code that is made, itself alone
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// More of what is going on
    #[arg(long, short, global = true)]
    verbose: bool,
    /// No progress bars
    #[arg(long, global = true)]
    no_progress: bool,
    /// Answer every question with yes
    #[arg(long, short, global = true)]
    yes: bool,
    /// Say what would be done, change nothing
    #[arg(long, global = true)]
    dry_run: bool,
    /// Configuration file [default: /etc/bulak/school.toml if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node: proxy, portal, night, reports
    Serve(serve::Args),
    /// Packs: keys, signatures, checks, plans, fetches
    #[command(subcommand)]
    Pack(pack::PackCommand),
    /// The night: what it is doing, pause, resume
    #[command(subcommand)]
    Night(night::NightCommand),
    /// Pages wished for tonight, and what many devices missed
    #[command(subcommand)]
    Wish(wish::WishCommand),
    /// How the node is doing, on one screen
    Status(status::Args),
    /// What would happen to an address: lane, stored or not, fresh until when, which rule decided
    Why(why::Args),
    /// What is wrong here, and what to do about it
    Doctor(doctor::Args),
    /// The store: figures, check, purge, export, import
    Store(store::Args),
    /// The line
    Link(link::Args),
    /// The configuration: check, show, default
    Config(config::Args),
    /// The school's own CA: make, show, retire, consent
    #[command(subcommand)]
    Ca(ca::CaCommand),
    /// Who may use the node's API: tokens
    #[command(subcommand)]
    User(user::UserCommand),
    /// The regional server: run it, codes, nodes, tokens; join it
    Hub(hub::Args),
    /// Completions for a shell
    #[command(hide = true)]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// A command line that makes sense.
#[derive(Debug)]
pub struct Invocation {
    context: Context,
    command: Command,
}

/// Reads the command line.
///
/// # Errors
/// With the exit code, after help or the reason has been printed.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Exit> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match Line::try_parse_from(&arguments) {
        Ok(Line { global, command }) => {
            let Global { json, quiet, verbose, no_progress, yes, dry_run, config } = global;
            Ok(Invocation { context: Context { json, quiet, verbose, no_progress, yes, dry_run, config }, command })
        }
        Err(error) if !error.use_stderr() => {
            // Nobody is left to tell when stdout is closed.
            let _ = error.print();
            Err(Exit::Done)
        }
        Err(error) => {
            if arguments.iter().any(|argument| argument == "--json") {
                misuse(&error).print(&Context { json: true, ..Context::default() });
            } else {
                // Nobody is left to tell when stderr is closed.
                let _ = error.print();
            }
            Err(Exit::Misuse)
        }
    }
}

/// A mistake on the command line in the error form: its first line, and the tip or usage as remedy.
fn misuse(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim);
    let mut message = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    if message.ends_with(':') {
        // What is named stands on lines of its own.
        let named: Vec<&str> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        message = format!("{message} {}", named.join(", "));
    }
    let remedy =
        lines.find_map(|line| line.strip_prefix("tip: ").or_else(|| line.strip_prefix("Usage: "))).unwrap_or("see \"bulak --help\"");
    Failure::new("cli.misuse", message, remedy).exit(Exit::Misuse)
}

impl Invocation {
    /// Worker threads for the runtime: what the configuration says for a node, one per core for a hub, two for all else.
    pub fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        match self.command {
            Command::Serve(_) => {}
            Command::Hub(_) => return cores(),
            _ => return 2,
        }
        // A damaged configuration is told by the command itself.
        let asked =
            crate::config::load(self.context.config.as_deref(), crate::config::environment()).map_or(0, |config| config.node.workers);
        if asked == 0 { cores() } else { asked }
    }

    /// Threads beside those: the store's hands, its index, the databases. What cannot have them at the start would wait for them in the
    /// middle of it, without a word.
    pub fn hands(&self) -> usize {
        match self.command {
            Command::Serve(_) | Command::Hub(_) => 10,
            _ => 2,
        }
    }

    /// Carries the command out and prints what came of it.
    pub async fn run(self) -> Exit {
        let Invocation { context, command } = self;
        let result = match command {
            Command::Serve(args) => Box::pin(serve::run(&context, args)).await,
            Command::Pack(command) => pack::run(&context, command).await,
            Command::Night(command) => night::run(&context, command).await,
            Command::Wish(command) => wish::run(&context, command).await,
            Command::Status(args) => status::run(&context, args).await,
            Command::Why(args) => why::run(&context, args).await,
            Command::Doctor(args) => doctor::run(&context, args).await,
            Command::Store(args) => store::run(&context, args).await,
            Command::Link(args) => link::run(&context, args).await,
            Command::Config(args) => config::run(&context, args).await,
            Command::Ca(command) => ca::run(&context, command).await,
            Command::User(command) => user::run(&context, command).await,
            Command::Hub(args) => Box::pin(hub::run(&context, args)).await,
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Line::command(), "bulak", &mut std::io::stdout());
                Ok(Exit::Done)
            }
        };
        result.unwrap_or_else(|failure| {
            failure.print(&context);
            failure.exit
        })
    }
}

/// What the global flags say; the same for every command.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// One JSON document on stdout, errors too.
    pub json: bool,
    /// Only errors.
    pub quiet: bool,
    /// More of what is going on.
    pub verbose: bool,
    /// No progress bars.
    pub no_progress: bool,
    /// Answer every question with yes.
    pub yes: bool,
    /// Say what would be done, change nothing.
    pub dry_run: bool,
    /// The configuration to use instead of the usual place.
    pub config: Option<PathBuf>,
}

impl Context {
    /// Whether a moving progress bar may be drawn: on a terminal, for a person. Elsewhere: one plain line per 10 s on stderr.
    pub fn progress_bar(&self) -> bool {
        self.progress() && std::io::stderr().is_terminal()
    }

    /// Whether progress is told at all.
    pub fn progress(&self) -> bool {
        !self.no_progress && !self.quiet
    }

    /// Shows a result: the document with `--json`, else the text for people (nothing with `--quiet`).
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn show<T: serde::Serialize>(&self, value: &T, people: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json {
            let text = serde_json::to_string(value)
                .map_err(|error| Failure::new("cli.output", format!("the result cannot be written as JSON ({error})"), "report this"))?;
            self.print(&text);
        } else if !self.quiet {
            self.print(&people());
        }
        Ok(())
    }

    /// Shows a result that holds a secret which is never shown again: with `--quiet` the secret alone, for a script to take.
    ///
    /// # Errors
    /// As [`Context::show`].
    pub fn show_secret<T: serde::Serialize>(&self, value: &T, secret: &str, people: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.quiet && !self.json {
            self.print(secret);
            return Ok(());
        }
        self.show(value, people)
    }

    /// The school's time zone, in which people read moments; the machine's where the configuration cannot be read.
    pub fn zone(&self) -> TimeZone {
        let config = crate::config::load(self.config.as_deref(), crate::config::environment()).ok();
        let zone = config.and_then(|config| TimeZone::get(&config.night.timezone).ok());
        zone.unwrap_or_else(TimeZone::system)
    }

    /// Whether this is a trial (`--dry-run`); then what would be done has been said.
    ///
    /// # Errors
    /// As [`Context::show`].
    pub fn would(&self, what: &str) -> Result<bool, Failure> {
        if self.dry_run {
            self.show(&serde_json::json!({ "would": what }), || format!("would {what}"))?;
        }
        Ok(self.dry_run)
    }

    /// Sets up the log: `levels` as configured, unless `--verbose` or `--quiet` say otherwise. JSON lines with `--json`.
    ///
    /// # Errors
    /// When `levels` cannot be read.
    pub fn log(&self, levels: &str) -> Result<(), Failure> {
        let levels = match (self.verbose, self.quiet) {
            (true, _) => "info,bulak=debug",
            (false, true) => "error",
            (false, false) => levels,
        };
        crate::app::log::init(levels, self.json).map_err(|error| {
            Failure::new("config.log", format!("{levels:?} is no log level ({error})"), "write error, warn, info, debug or trace")
        })
    }

    /// Prints a line on stdout. A reader that has gone away (`| head`) is no error.
    pub fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // Nobody is left to tell when stdout is closed.
        let _ = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Line, clap::Error> {
        Line::try_parse_from(text.split(' '))
    }

    #[test]
    fn the_commands_are_well_formed() {
        Line::command().debug_assert();
    }

    #[test]
    fn the_help_of_each_command_has_two_examples() {
        fn walk(command: &clap::Command, path: &str, seen: &mut u32) {
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let lines: Vec<&str> = examples.lines().filter_map(|line| line.strip_prefix("  bulak")).collect();
            assert!(lines.len() >= 2, "{path} has {} examples", lines.len());
            for line in lines.into_iter().filter(|line| !line.contains('"') && !line.contains('>')) {
                let words = line.split_whitespace();
                let parsed = Line::try_parse_from(std::iter::once("bulak").chain(words));
                assert!(parsed.is_ok(), "{path}: bulak{line}: {:?}", parsed.err());
            }
            *seen += 1;
            for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
                walk(inner, &format!("{path} {}", inner.get_name()), seen);
            }
        }
        let mut seen = 0;
        walk(&Line::command(), "bulak", &mut seen);
        assert!(seen > 40, "{seen} commands");
    }

    #[test]
    fn global_flags_mean_the_same_everywhere() {
        for text in [
            "bulak --json status",
            "bulak status --json",
            "bulak store stat --json",
            "bulak --json store purge --url http://a/",
            "bulak why http://a/ --json",
        ] {
            assert!(line(text).expect(text).global.json, "{text}");
        }
        let parsed = line("bulak serve --config x.toml --ephemeral --policy rfc9111 --json").expect("right");
        assert_eq!(parsed.global.config.as_deref(), Some(std::path::Path::new("x.toml")));
        assert!(matches!(parsed.command, Command::Serve(_)));
    }

    #[test]
    fn misuse_is_told_with_a_remedy() {
        let table = [
            ("bulak stauts", "unrecognized subcommand 'stauts'", "a similar subcommand exists: 'status'"),
            ("bulak serve --polcy school", "unexpected argument '--polcy' found", "a similar argument exists: '--policy'"),
            ("bulak why", "the following required arguments were not provided: <URL>", "bulak why <URL>"),
        ];
        for (text, message, remedy) in table {
            let failure = misuse(&line(text).expect_err(text));
            assert_eq!((failure.message.as_str(), failure.remedy.as_str(), failure.exit), (message, remedy, Exit::Misuse));
        }
        for text in [
            "bulak why",
            "bulak store purge",
            "bulak store purge --url http://a/ --host b",
            "bulak serve --policy fast",
            "bulak status -q -v",
        ] {
            assert!(line(text).is_err(), "{text}");
        }
    }
}
