//! Asks the person for the school's consent: shows the text and the names, on a terminal waits for an answer. The questions speak
//! the language of the text.

use crate::base::clock::Time;
use crate::cli::{Context, Exit, Failure};
use crate::tls::consent::{Consent, text};
use std::io::{BufRead, IsTerminal, Write};

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
    let mut talk = Talk { words: words(&language(given)), hear: std::io::stdin().lock(), say: std::io::stderr().lock() };
    let by = given.by.clone().map_or_else(|| talk.named(talk.words.by), Ok)?;
    let role = given.role.clone().map_or_else(|| talk.named(talk.words.role), Ok)?;
    let consent = Consent::new(&by, &role, names.to_vec(), now).map_err(|error| super::failure(&error).exit(Exit::Misuse))?;
    if asked && !context.yes && !context.dry_run {
        talk.agree(&consent)?;
    }
    Ok(consent)
}

/// The questions in one language.
struct Words {
    by: &'static str,
    role: &'static str,
    /// Before and after the name and role.
    agree: [&'static str; 2],
}

const WORDS: [(&str, Words); 3] = [
    (
        "kk",
        Words {
            by: "Мектеп атынан кім келіседі (аты-жөні): ",
            role: "Қандай қызметте (лауазымы): ",
            agree: ["Мектеп атынан келісесіз бе: ", "? [иә/жоқ] "],
        },
    ),
    (
        "ru",
        Words {
            by: "Кто соглашается от имени школы (имя): ",
            role: "В какой должности: ",
            agree: ["Соглашаетесь ли вы на это от имени школы: ", "? [да/нет] "],
        },
    ),
    (
        "en",
        Words {
            by: "Who agrees for the school (name): ",
            role: "As what (role): ",
            agree: ["Do you agree to this for the school: ", "? [yes/no] "],
        },
    ),
];

/// As the text: another language reads Kazakh.
fn words(language: &str) -> &'static Words {
    WORDS.iter().find(|(tag, _)| *tag == language).map_or(&WORDS[0].1, |(_, words)| words)
}

/// A yes in any of the languages, whichever the questions are in.
fn is_yes(answer: &str) -> bool {
    matches!(answer.to_lowercase().as_str(), "y" | "yes" | "да" | "д" | "иә" | "ия" | "и")
}

/// Asks and hears.
struct Talk<H, S> {
    words: &'static Words,
    hear: H,
    say: S,
}

impl<H: BufRead, S: Write> Talk<H, S> {
    /// A name, asked for until there is one.
    fn named(&mut self, question: &str) -> Result<String, Failure> {
        loop {
            let answer = self.line(question)?;
            if !answer.is_empty() {
                return Ok(answer);
            }
        }
    }

    /// Anything but a yes is a no.
    fn agree(&mut self, consent: &Consent) -> Result<(), Failure> {
        let [before, after] = self.words.agree;
        let answer = self.line(&format!("{before}{} ({}){after}", consent.by, consent.role))?;
        if is_yes(&answer) { Ok(()) } else { Err(Failure::new("cli.declined", "nothing was done", "answer yes, or use --yes")) }
    }

    /// One answer; a person who leaves has interrupted it.
    fn line(&mut self, question: &str) -> Result<String, Failure> {
        let mut answer = String::new();
        let asked = write!(self.say, "{question}").and_then(|()| self.say.flush());
        match asked.and_then(|()| self.hear.read_line(&mut answer)) {
            Ok(read) if read > 0 => Ok(answer.trim().to_owned()),
            _ => Err(Failure::new("cli.interrupted", "nothing was done", "answer the questions, or give --consent-by and --role")
                .exit(Exit::Interrupted)),
        }
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
    fn the_questions_speak_the_language_of_the_text_and_wait_for_a_name() {
        for (language, name, yes) in [("kk", "аты-жөні", "иә"), ("ru", "Кто соглашается", "Да"), ("en", "Who agrees", "yes")]
        {
            let talked = |heard: &str| {
                let mut talk = Talk { words: words(language), hear: heard.as_bytes(), say: Vec::new() };
                let by = talk.named(talk.words.by);
                let end = by.and_then(|by| {
                    let consent = Consent::new(&by, "head", Vec::new(), Time::BUILT).expect("good");
                    talk.agree(&consent).map(|()| by)
                });
                (end.map_err(|failure| failure.exit), String::from_utf8(talk.say).expect("text"))
            };
            let (end, said) = talked(&format!("\n \nА. Сейітова\n{yes}\n"));
            assert_eq!(end, Ok("А. Сейітова".to_owned()), "{said}");
            assert_eq!(said.matches(name).count(), 3, "asked again while it is empty: {said}");
            for no in ["нет", "no", "жоқ", ""] {
                assert_eq!(talked(&format!("A\n{no}\n")).0, Err(Exit::Failed), "{no:?} is a no, and no interruption");
            }
            assert_eq!(talked("\n").0, Err(Exit::Interrupted), "nobody is there any more");
        }
        assert!(["y", "Y", "YES", "да", "ДА", "Иә", "yes"].iter().all(|yes| is_yes(yes)) && !is_yes("жоқ") && !is_yes("nay"));
    }

    #[test]
    fn the_text_speaks_the_terminals_language() {
        for (locale, wanted) in [("kk_KZ.UTF-8", "kk"), ("ru", "ru"), ("C.UTF-8", "en"), ("", "en"), ("қ", "en")] {
            assert_eq!(tongue(locale), wanted, "{locale}");
        }
    }
}
