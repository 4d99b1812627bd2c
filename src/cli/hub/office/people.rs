//! `bulak hub people`: who signs in on the hub's pages with a name and a password.
//!
//! A password is typed without being seen, twice, or comes by standard input; it is in no argument, where other users of the machine and
//! the shell's history would have it.

use super::PeopleOrder;
use crate::base::calendar::Calendar;
use crate::cli::table::table;
use crate::cli::{Context, Exit, Failure};
use crate::hub::sign_in::SignIn;
use serde_json::json;
use std::io::{BufRead, IsTerminal, Read};

/// Bytes of standard input that are looked at: more is no password.
const MOST_INPUT: u64 = 1 << 10;

/// Carries an order out.
pub(super) async fn run(context: &Context, people: &SignIn, calendar: &Calendar, order: PeopleOrder) -> Result<Exit, Failure> {
    match order {
        PeopleOrder::Password { name, role } if context.dry_run => {
            let would = json!({ "would_set": { "name": name, "role": role } });
            context.show(&would, || format!("would set the password of \"{name}\""))?;
        }
        PeopleOrder::Password { name, role } => {
            let set = people.set(&name, role, &password()?).await?;
            context.show(&set, || {
                let (name, role) = (&set.name, set.role);
                format!("\"{name}\" signs in with this password now, as {role}; whoever was signed in under the name is no more\nnext: open /sign-in")
            })?;
        }
        PeopleOrder::List => {
            let listed = people.list().await?;
            context.show(&json!({ "people": listed }), || {
                let mut table = table(&["name", "role", "password set"]);
                for person in &listed {
                    table.add_row([person.name.as_str(), person.role.name(), &calendar.day_of(&person.changed)]);
                }
                if listed.is_empty() { String::from("nobody; next: bulak hub people password NAME") } else { table.to_string() }
            })?;
        }
        PeopleOrder::Remove { name } if context.dry_run => {
            context.show(&json!({ "would_remove": name }), || format!("would remove \"{name}\""))?;
        }
        PeopleOrder::Remove { name } => {
            people.remove(&name).await?;
            context.show(&json!({ "removed": name }), || format!("\"{name}\" signs in no more"))?;
        }
    }
    Ok(Exit::Done)
}

/// Typed twice at a terminal, else the first line of standard input.
fn password() -> Result<String, Failure> {
    let failed =
        |error: std::io::Error| Failure::new("people.no_password", format!("no password was read ({error})"), "type it, or pipe it in");
    let input = std::io::stdin();
    if input.is_terminal() {
        let first = rpassword::prompt_password("password: ").map_err(failed)?;
        if rpassword::prompt_password("once more: ").map_err(failed)? != first {
            return Err(Failure::new("people.typed_differently", "the two passwords differ", "type it again").exit(Exit::Misuse));
        }
        return Ok(first);
    }
    let mut line = String::new();
    input.lock().take(MOST_INPUT).read_line(&mut line).map_err(failed)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
