//! Asks the person for the school's consent: shows the text and the names, on a terminal waits for an answer.

use crate::base::clock::Time;
use crate::cli::{Context, Exit, Failure};
use crate::tls::consent::{Consent, text};
use std::io::{IsTerminal, Write};

/// Who agrees, when nobody is asked.
#[derive(Clone, Debug, Default, clap::Args)]
pub(in crate::cli) struct Given {
    /// Who agrees for the school; asked for on a terminal
    #[arg(long = "consent-by", value_name = "NAME", requires = "role")]
    by: Option<String>,
    /// As what: "head", "deputy head", …
    #[arg(long, value_name = "ROLE", requires = "by")]
    role: Option<String>,
    /// The language of the text: kk, ru or en [default: that of the terminal]
    #[arg(long, value_name = "LANG", value_parser = ["kk", "ru", "en"])]
    language: Option<String>,
}

/// Shows what is agreed to and gives the consent; records nothing.
pub(super) fn ask(context: &Context, given: &Given, names: &[String], now: Time) -> Result<Consent, Failure> {
    let asked = std::io::stdin().is_terminal();
    if given.by.is_none() && !asked {
        let message = "nobody can be asked for consent here";
        return Err(Failure::new("ca.consent", message, "give --consent-by NAME --role ROLE, or run it on a terminal").exit(Exit::Misuse));
    }
    if !context.quiet {
        // On stderr: stdout is for the result.
        eprintln!("{}\n\n  {}\n", text(&language(given)).trim_end(), names.join("\n  "));
    }
    let by = given.by.clone().map_or_else(|| line("Who agrees for the school (name): "), Ok)?;
    let role = given.role.clone().map_or_else(|| line("As what (role): "), Ok)?;
    let consent = Consent::new(&by, &role, names.to_vec(), now).map_err(|error| super::failure(&error).exit(Exit::Misuse))?;
    if asked && !context.yes && !context.dry_run {
        let answer = line(&format!("Does {} ({}) agree to this for the school? [y/N] ", consent.by, consent.role))?;
        if !matches!(answer.as_str(), "y" | "Y" | "yes") {
            return Err(Failure::new("cli.declined", "nothing was done", "answer y, or use --yes").exit(Exit::Interrupted));
        }
    }
    Ok(consent)
}

fn line(question: &str) -> Result<String, Failure> {
    let mut answer = String::new();
    let asked = write!(std::io::stderr(), "{question}").and_then(|()| std::io::stderr().flush());
    match asked.and_then(|()| std::io::stdin().read_line(&mut answer)) {
        Ok(read) if read > 0 => Ok(answer.trim().to_owned()),
        _ => Err(Failure::new("cli.declined", "nothing was done", "answer the questions, or give --consent-by and --role")
            .exit(Exit::Interrupted)),
    }
}

fn language(given: &Given) -> String {
    let locale = || ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    given.language.clone().unwrap_or_else(|| tongue(&locale().unwrap_or_default()).to_owned())
}

/// Of a locale such as `ru_KZ.UTF-8`; the commands speak English to all others.
fn tongue(locale: &str) -> &'static str {
    match locale.get(..2) {
        Some("kk") => "kk",
        Some("ru") => "ru",
        _ => "en",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_speaks_the_terminals_language() {
        for (locale, wanted) in [("kk_KZ.UTF-8", "kk"), ("ru", "ru"), ("C.UTF-8", "en"), ("", "en"), ("қ", "en")] {
            assert_eq!(tongue(locale), wanted, "{locale}");
        }
    }
}
