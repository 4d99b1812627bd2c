//! `bulak hub code|codes|nodes|revoke|token|people`: who may report to the hub and who may look at it; `bulak hub join`: the node's side.
//!
//! The hub's database is changed itself, whether the hub runs or not: it looks there before it trusts anybody.

use crate::base::calendar::Calendar;
use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::base::unit::{BitRate, Wait};
use crate::cli::local::{Local, read};
use crate::cli::owner::stranger;
use crate::cli::table::table;
use crate::cli::{Context, Exit, Failure};
use crate::hub::enrol::{self, Book};
use crate::hub::keep::{Place, Postgres};
use crate::hub::people::{People, Role};
use crate::hub::sign_in::SignIn;
use crate::hub::{Settings, Viewers};
use crate::report::enrol::Told;
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// How long PostgreSQL may take to accept a command: a person waits.
const DATABASE_LIMIT: Duration = Duration::from_secs(5);

/// People with a password.
mod people;

/// What to do beside serving.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Order {
    /// Make a code by which one node may enrol for a school; it is shown this once and counts for two weeks
    #[command(
        after_help = "Examples:\n  bulak hub code aksukent-7 --name \"№ 7, Ақсукент\" --contract \"20 Mbit/s\"\n  bulak hub code aksukent-7 --replace"
    )]
    Code {
        /// The school's id on pages and in addresses: letters, digits, '-', '_' and spaces
        school: String,
        /// Its name for people
        #[arg(long, default_value = "")]
        name: String,
        /// Whose line it is
        #[arg(long, default_value = "")]
        provider: String,
        /// What the line's contract says ("20 Mbit/s")
        #[arg(long)]
        contract: Option<BitRate>,
        /// The node takes the place of the school's others: they may report no more
        #[arg(long)]
        replace: bool,
    },
    /// The codes, without what makes them count
    #[command(after_help = "Examples:\n  bulak hub codes\n  bulak hub codes --json")]
    Codes,
    /// The nodes that may report, and those that may no more
    #[command(after_help = "Examples:\n  bulak hub nodes\n  bulak hub nodes --json")]
    Nodes,
    /// End a node's right to report, at once; what it has reported stays
    #[command(
        after_help = "Examples:\n  bulak hub revoke 5f3a90c15f3a90c15f3a90c15f3a90c1\n  bulak hub revoke 5f3a90c15f3a90c15f3a90c15f3a90c1 --dry-run"
    )]
    Revoke {
        /// The node's id
        node: String,
    },
    /// Who may look (viewer) and who may change (admin)
    #[command(subcommand)]
    Token(TokenOrder),
    /// People who sign in on the hub's pages with a name and a password
    #[command(subcommand)]
    People(PeopleOrder),
    /// On a node: enrol at the hub of hub.url by a code
    #[command(after_help = "Examples:\n  bulak hub join 7KQ2MPX4\n  bulak hub join 7KQ2MPX4 --json")]
    Join {
        /// The code that the district gave
        code: String,
    },
}

/// What to do with tokens.
#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "Examples:\n  bulak hub token add Grafana --role viewer\n  bulak hub token list")]
pub(super) enum TokenOrder {
    /// Make a token; it is shown this once
    #[command(
        after_help = "Examples:\n  bulak hub token add Grafana --role viewer\n  bulak hub token add engineer --role admin --expires \"90 days\""
    )]
    Add {
        /// What to call it: who or what will use it
        name: String,
        /// What it may do: viewer or admin
        #[arg(long)]
        role: Role,
        /// For how long ("90 days"), or until when (an RFC 3339 moment) [default: for ever]
        #[arg(long, value_name = "WHEN")]
        expires: Option<String>,
    },
    /// The tokens, without what makes them count
    #[command(after_help = "Examples:\n  bulak hub token list\n  bulak hub token list --json")]
    List,
    /// End a token
    #[command(after_help = "Examples:\n  bulak hub token revoke Grafana\n  bulak hub token revoke hub_5f3a90c1")]
    Revoke {
        /// Its name, or how it begins (hub_ and eight digits)
        which: String,
    },
}

/// What to do with people.
#[derive(Clone, Debug, Subcommand)]
#[command(after_help = "Examples:\n  bulak hub people password aigul --role viewer\n  bulak hub people list")]
pub(super) enum PeopleOrder {
    /// Set a person's password, new or old; it is asked for, or read from standard input, never an argument
    #[command(after_help = "Examples:\n  bulak hub people password aigul\n  bulak hub people password aigul --role admin")]
    Password {
        /// By which the person signs in
        name: String,
        /// What the person may look at: viewer or admin [default: as it is; viewer for somebody new]
        #[arg(long)]
        role: Option<Role>,
    },
    /// The people, without their passwords
    #[command(after_help = "Examples:\n  bulak hub people list\n  bulak hub people list --json")]
    List,
    /// Remove a person; whoever is signed in under the name is no more
    #[command(after_help = "Examples:\n  bulak hub people remove aigul\n  bulak hub people remove aigul --dry-run")]
    Remove {
        /// By which the person signs in
        name: String,
    },
}

/// Carries an order out.
pub(super) async fn run(context: &Context, order: Order, settings: Settings) -> Result<Exit, Failure> {
    match &settings.database {
        Place::File(file) => owned(file)?,
        Place::Postgres(url) => answers(url).await?,
        Place::Memory => {}
    }
    let keep = crate::hub::open(&settings.database)
        .await
        .map_err(|error| Failure::new("hub.database", error.to_string(), "start the hub once, or name its file with --config"))?;
    let (clock, calendar) = (Clock::system(), settings.calendar.clone());
    let book = Book::open(settings.nodes, keep.clone(), clock.clone())
        .await
        .map_err(|error| Failure::new("hub.database", error.to_string(), "mend what is named and try again"))?;
    match order {
        Order::Code { school, name, provider, contract, replace } => {
            let contract_bps = contract.and_then(|rate| i64::try_from(rate.0).ok());
            code(context, &book, &calendar, enrol::Order { school, name, provider, contract_bps, replaces: replace }).await
        }
        Order::Codes => codes(context, &book, &calendar).await,
        Order::Nodes => nodes(context, &book).await,
        Order::Revoke { node } => revoke(context, &book, &node).await,
        Order::Token(order) => token(context, &People::new(keep, clock, Viewers::Tokens), &calendar, order).await,
        Order::People(order) => people::run(context, &SignIn::new(keep, clock, &Metrics::default()), &calendar, order).await,
        Order::Join { code } => join(context, &code).await,
    }
}

/// Whether PostgreSQL is there: said at once and with the cause. A hub that starts is more patient, for both may have started together.
async fn answers(url: &str) -> Result<(), Failure> {
    let silent = |why: String| {
        let remedy = "see that PostgreSQL runs and that hub.database is right";
        Failure::new("hub.database", format!("the hub's database cannot be reached ({why})"), remedy).exit(Exit::NoAnswer)
    };
    match tokio::time::timeout(DATABASE_LIMIT, Postgres::reach(url)).await {
        Ok(reached) => reached.map_err(|error| silent(error.to_string())),
        Err(_) => Err(silent(format!("no answer within {} s", DATABASE_LIMIT.as_secs()))),
    }
}

/// Files of another owner beside the database would be closed to the hub afterwards.
pub(super) fn owned(file: &Path) -> Result<(), Failure> {
    let stranger = stranger(file).map_err(|error| {
        let message = format!("the hub's database {} cannot be read ({error})", file.display());
        Failure::new("hub.database", message, "start the hub once, or name its file with --config")
    })?;
    let Some(owner) = stranger else { return Ok(()) };
    let message = format!("{} belongs to another user (number {owner})", file.display());
    Err(Failure::new("hub.other_user", message, "run it as that user (\"sudo -u bulak-hub bulak hub …\")").exit(Exit::NotAllowed))
}

async fn code(context: &Context, book: &Book, calendar: &Calendar, order: enrol::Order) -> Result<Exit, Failure> {
    if context.dry_run {
        context.show(&json!({ "would_make": order }), || format!("would make a code for \"{}\"", order.school))?;
        return Ok(Exit::Done);
    }
    let made = book.make(&order).await?;
    context.show_secret(&made, &made.code, || {
        let code = &made.code;
        format!(
            "{code}\nfor the school \"{}\", once, until {}\nnext, on the node: bulak hub join {code}, or [hub] code = \"{code}\"",
            made.listed.school,
            calendar.day_of(&made.listed.expires)
        )
    })?;
    Ok(Exit::Done)
}

async fn codes(context: &Context, book: &Book, calendar: &Calendar) -> Result<Exit, Failure> {
    let codes = book.codes().await?;
    context.show(&json!({ "codes": codes }), || {
        let mut table = table(&["code", "school", "state", "until", "node"]);
        for code in &codes {
            let until = calendar.day_of(&code.expires);
            table.add_row([code.id.as_str(), &code.school, &code.state, &until, code.node.as_deref().unwrap_or("")]);
        }
        if codes.is_empty() { String::from("no codes; next: bulak hub code SCHOOL") } else { table.to_string() }
    })?;
    Ok(Exit::Done)
}

async fn nodes(context: &Context, book: &Book) -> Result<Exit, Failure> {
    let nodes = book.nodes().await?;
    let twins = nodes.iter().any(|node| node.twin);
    context.show(&json!({ "nodes": nodes }), || {
        let mut table = table(&["node", "school", "state", ""]);
        for node in &nodes {
            let note = if node.twin { "two boxes use its key: give one a new key" } else { "" };
            let state = match node.state.as_str() {
                "code" => "enrolled by a code",
                "file" => "listed in the file",
                other => other,
            };
            table.add_row([node.id.as_str(), &node.school, state, note]);
        }
        if nodes.is_empty() { String::from("no nodes; next: bulak hub code SCHOOL") } else { table.to_string() }
    })?;
    Ok(if twins { Exit::Attention } else { Exit::Done })
}

async fn revoke(context: &Context, book: &Book, node: &str) -> Result<Exit, Failure> {
    if context.dry_run {
        context.show(&json!({ "would_revoke": node }), || format!("would revoke {node}"))?;
        return Ok(Exit::Done);
    }
    book.revoke(node).await?;
    context.show(&json!({ "revoked": node }), || format!("{node} may report no more; what it has reported stays"))?;
    Ok(Exit::Done)
}

async fn token(context: &Context, people: &People, calendar: &Calendar, order: TokenOrder) -> Result<Exit, Failure> {
    match order {
        TokenOrder::Add { name, role, expires } => {
            let expires = expires.map(|text| match text.parse::<Wait>() {
                Ok(wait) => Clock::system().now().plus(wait.0).to_rfc3339(),
                Err(_) => text,
            });
            if context.dry_run {
                let would = json!({ "would_make": { "name": name, "role": role, "expires": expires } });
                context.show(&would, || format!("would make the token \"{name}\" with the role {role}"))?;
                return Ok(Exit::Done);
            }
            let made = people.add(&name, role, expires.as_deref()).await?;
            context.show_secret(&made, &made.token, || {
                format!("{}\nshown this once; a browser takes it as the password, a program as Authorization: Bearer", made.token)
            })?;
        }
        TokenOrder::List => {
            let listed = people.list().await?;
            context.show(&json!({ "tokens": listed }), || {
                let mut table = table(&["token", "name", "role", "made", "expires", "last used"]);
                let day = |moment: Option<&str>| moment.map_or_else(|| String::from("never"), |moment| calendar.day_of(moment));
                for token in &listed {
                    let days = [Some(token.created.as_str()), token.expires.as_deref(), token.used.as_deref()].map(day);
                    table.add_row([&token.id, &token.name, token.role.name()].into_iter().chain(days.iter().map(String::as_str)));
                }
                if listed.is_empty() { String::from("no tokens; next: bulak hub token add NAME --role viewer") } else { table.to_string() }
            })?;
        }
        TokenOrder::Revoke { which } if context.dry_run => {
            context.show(&json!({ "would_revoke": which }), || format!("would revoke the token \"{which}\""))?;
        }
        TokenOrder::Revoke { which } => {
            let gone = people.revoke(&which).await?;
            context.show(&json!({ "revoked": gone }), || format!("the token \"{}\" ({}) counts no more", gone.name, gone.id))?;
        }
    }
    Ok(Exit::Done)
}

/// The node's side: through its socket, so that its key stays where it is.
pub(super) async fn join(context: &Context, code: &str) -> Result<Exit, Failure> {
    let local = Local::connect(context).await?;
    if context.dry_run {
        context.show(&json!({ "would_join": true }), || String::from("would enrol this node at its hub"))?;
        return Ok(Exit::Done);
    }
    let document: Value = local.post("/api/v1/reports/enrol", &json!({ "code": code })).await?;
    let told: Told = read(&document)?;
    context.show(&told, || {
        let name = if told.name.is_empty() { &told.school } else { &told.name };
        format!("this node reports for \"{name}\" now\nnext: bulak status")
    })?;
    Ok(Exit::Done)
}
