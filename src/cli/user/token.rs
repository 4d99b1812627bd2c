//! `bulak user token`: make, list and revoke bearer tokens.

use crate::admin::Tokens;
use crate::admin::api::role::Role;
use crate::admin::token::{Listed, Made};
use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::base::problem::Problem;
use crate::base::unit::Wait;
use crate::cli::local::{Local, read};
use crate::cli::owner::stranger;
use crate::cli::table::moment;
use crate::cli::{Context, Exit, Failure};
use crate::config;
use crate::life::Life;
use crate::state::State;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// How long a stopped node's database may take to end what was begun.
const GRACE: Duration = Duration::from_secs(5);

/// What to do with tokens.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  bulak user token add \"report script\" --role read --expires \"90 days\"\n  bulak user token revoke \"report script\""
)]
pub(in crate::cli) enum TokenCommand {
    /// Make a token; it is shown this once
    #[command(
        after_help = "Examples:\n  bulak user token add \"report script\" --role read --expires \"90 days\"\n  bulak user token add \"night shift\" --role operate --json"
    )]
    Add {
        /// What to call it: who or what will use it
        name: String,
        /// What it may do: read, operate (and run the night) or admin (and change the node)
        #[arg(long)]
        role: Role,
        /// For how long ("90 days"), or until when (2027-06-01 or an RFC 3339 moment) [default: for ever]
        #[arg(long, value_name = "WHEN", value_parser = expiry)]
        expires: Option<Expiry>,
    },
    /// The tokens, without what makes them count
    #[command(after_help = "Examples:\n  bulak user token list\n  bulak user token list --json")]
    List,
    /// End a token; what it began ends too
    #[command(after_help = "Examples:\n  bulak user token revoke \"report script\"\n  bulak user token revoke bulak_5f3a90c1")]
    Revoke {
        /// Its name, or how it begins (bulak_ and eight digits)
        which: String,
    },
}

/// When a token expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Expiry {
    /// After so long.
    After(Duration),
    /// At this moment.
    At(jiff::Timestamp),
}

pub(super) async fn run(context: &Context, command: TokenCommand) -> Result<Exit, Failure> {
    let reach = Reach::find(context).await?;
    let done = match command {
        TokenCommand::Add { name, role, expires } => add(context, &reach, &name, role, expires).await,
        TokenCommand::List => list(context, &reach).await,
        TokenCommand::Revoke { which } => revoke(context, &reach, &which).await,
    };
    reach.close().await;
    done
}

async fn add(context: &Context, reach: &Reach, name: &str, role: Role, expires: Option<Expiry>) -> Result<Exit, Failure> {
    let expires = expires.map(|expires| match expires {
        Expiry::After(wait) => Clock::system().now().plus(wait).to_rfc3339(),
        Expiry::At(stamp) => stamp.to_string(),
    });
    let until = expires.as_deref().map_or_else(|| String::from("for ever"), |moment| format!("until {moment}"));
    if context.would(&format!("make the token \"{name}\" with the role {role}, {until}"))? {
        return Ok(Exit::Done);
    }
    let made: Made = match reach {
        Reach::Node(local) => read(&local.post("/api/v1/tokens", &json!({ "name": name, "role": role, "expires": expires })).await?)?,
        Reach::Files(tokens, ..) => tokens.add(name, role, expires.as_deref()).await.map_err(|problem| failed(&problem))?,
    };
    context.show_secret(&made, &made.token, || {
        let until = made.listed.expires.as_deref().map_or_else(|| String::from("for ever"), |moment| format!("until {moment}"));
        format!(
            "made the token \"{}\" with the role {}, {until}. It is shown this once:\n\n  {}\n\nnext: curl -H \"Authorization: Bearer …\" http://THIS-NODE/api/v1/status{}",
            made.listed.name,
            made.listed.role,
            made.token,
            reach.note()
        )
    })?;
    Ok(Exit::Done)
}

async fn list(context: &Context, reach: &Reach) -> Result<Exit, Failure> {
    let listed: Vec<Listed> = match reach {
        Reach::Node(local) => read(&local.get("/api/v1/tokens").await?["tokens"])?,
        Reach::Files(tokens, ..) => tokens.list(),
    };
    context.show(&json!({ "tokens": listed }), || {
        let mut table = crate::cli::table::table(&["token", "name", "role", "made", "expires", "last used"]);
        let zone = context.zone();
        let day = |stamp: Option<&str>, none: &str| stamp.map_or_else(|| none.to_owned(), |stamp| moment(&zone, stamp));
        for token in &listed {
            let expires = if token.expired { String::from("has expired") } else { day(token.expires.as_deref(), "never") };
            let cells = [day(Some(&token.created), ""), expires, day(token.used.as_deref(), "never")];
            table.add_row([&token.id, &token.name, &token.role.to_string()].into_iter().chain(&cells));
        }
        if listed.is_empty() { String::from("no tokens; next: bulak user token add NAME --role read") } else { table.to_string() }
    })?;
    Ok(Exit::Done)
}

async fn revoke(context: &Context, reach: &Reach, which: &str) -> Result<Exit, Failure> {
    if context.would(&format!("revoke the token \"{which}\""))? {
        return Ok(Exit::Done);
    }
    let gone: Listed = match reach {
        Reach::Node(local) => {
            // A name may hold anything: it is looked up here, and asked for by what is always a path segment.
            let listed: Vec<Listed> = read(&local.get("/api/v1/tokens").await?["tokens"])?;
            let id = listed.into_iter().find(|token| token.id == which || token.name == which).map(|token| token.id);
            let unknown = || {
                Failure::new("token.unknown", format!("there is no token \"{which}\""), "\"bulak user token list\" shows which there are")
            };
            read(&local.delete(&format!("/api/v1/tokens/{}", id.ok_or_else(unknown)?)).await?)?
        }
        Reach::Files(tokens, ..) => tokens.revoke(which).await.map_err(|problem| failed(&problem))?,
    };
    context.show(&json!({ "revoked": gone }), || format!("the token \"{}\" ({}) counts no more{}", gone.name, gone.id, reach.note()))?;
    Ok(Exit::Done)
}

/// Who keeps the tokens: the running node, or the database of a stopped one.
enum Reach {
    Node(Local),
    Files(Tokens, State, Life),
}

impl Reach {
    async fn find(context: &Context) -> Result<Reach, Failure> {
        match Local::connect(context).await {
            Ok(local) => return Ok(Reach::Node(local)),
            Err(failure) if failure.exit == Exit::NoAnswer => {}
            Err(failure) => return Err(failure),
        }
        let folder = config::load(context.config.as_deref(), config::environment())?.node.state;
        let file = folder.join("node.sqlite");
        let stranger = stranger(&file).map_err(|error| {
            let message = format!("no node answers, and {} cannot be read ({error})", file.display());
            Failure::new("state.missing", message, "start the node once, or see node.state in the configuration").exit(Exit::NoAnswer)
        })?;
        if let Some(owner) = stranger {
            // Files of another owner beside it would be closed to the node afterwards.
            let message = format!("{} belongs to another user (number {owner}), and the node is not running", file.display());
            let remedy = "start the node and run this again, or run it as that user (\"sudo -u bulak bulak user token …\")";
            return Err(Failure::new("state.other_user", message, remedy).exit(Exit::NotAllowed));
        }
        Reach::open(&file).await
    }

    async fn open(file: &Path) -> Result<Reach, Failure> {
        let bad = |error: crate::state::Error| {
            Failure::new("state.failed", error.to_string(), "start the node: it moves a damaged file aside and begins a new one")
        };
        let (state, life) = (State::open(Some(file)).await.map_err(bad)?, Life::default());
        let tokens = Tokens::load(&state, Clock::system(), &life, &Metrics::default()).await.map_err(bad)?;
        Ok(Reach::Files(tokens, state, life))
    }

    /// What to know where no node answered.
    fn note(&self) -> &'static str {
        match self {
            Reach::Node(_) => "",
            Reach::Files(..) => "\nno node answered: this counts from its next start",
        }
    }

    async fn close(self) {
        if let Reach::Files(_, state, life) = self {
            life.end(GRACE).await;
            state.close().await;
        }
    }
}

fn failed(problem: &Problem) -> Failure {
    let document: Value = json!(problem);
    Failure::from_document(problem.status, &document)
}

/// `90 days`, a day (from its first moment here), or an RFC 3339 moment.
fn expiry(text: &str) -> Result<Expiry, String> {
    if let Ok(wait) = text.parse::<Wait>() {
        return Ok(Expiry::After(wait.0));
    }
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        return Ok(Expiry::At(stamp));
    }
    let day: jiff::civil::Date = text.parse().map_err(|_| String::from("write \"90 days\", 2027-06-01 or 2027-06-01T00:00:00Z"))?;
    let start = day.to_zoned(jiff::tz::TimeZone::system()).map_err(|error| error.to_string())?;
    Ok(Expiry::At(start.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_days_and_moments() {
        assert_eq!(expiry("90 days"), Ok(Expiry::After(Duration::from_hours(90 * 24))));
        assert_eq!(expiry("2 h"), Ok(Expiry::After(Duration::from_hours(2))));
        assert_eq!(expiry("2027-06-01T00:00:00Z"), Ok(Expiry::At("2027-06-01T00:00:00Z".parse().expect("a moment"))));
        assert!(matches!(expiry("2027-06-01"), Ok(Expiry::At(_))));
        for odd in ["", "soon", "90", "2027-13-01"] {
            assert!(expiry(odd).is_err(), "{odd}");
        }
    }
}
