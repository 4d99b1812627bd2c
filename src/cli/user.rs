//! `bulak user`: who may use the node's API over the web port.
//!
//! A running node is asked through its socket, and what changes counts at once; of a stopped one the database is changed.

/// Bearer tokens.
mod token;

use crate::cli::{Context, Exit, Failure};
use clap::Subcommand;

/// Whom to admit.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  bulak user token list\n  bulak user token add \"report script\" --role read")]
pub(super) enum UserCommand {
    /// Bearer tokens of the API: make, list, revoke
    #[command(subcommand)]
    Token(token::TokenCommand),
}

/// Carries the command out.
///
/// # Errors
/// Exit 1 when something failed, 5 when this user may not.
pub(super) async fn run(context: &Context, command: UserCommand) -> Result<Exit, Failure> {
    match command {
        UserCommand::Token(command) => token::run(context, command).await,
    }
}
