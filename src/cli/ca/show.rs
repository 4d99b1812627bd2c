//! `bulak ca show`: what is there, and what needs attention. Also what the doctor says of it.

use super::node::{self, Node, RELOAD, devices_told};
use crate::base::clock::{Clock, Time};
use crate::cli::table::pairs;
use crate::cli::{Context, Exit, Failure};
use crate::config::Config;
use crate::tls::authority::{self, Authorities, Authority, Retired, Which};
use crate::tls::consent::Consent;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// This long before its end a CA is told: devices need weeks to move over, and summer is long.
pub(in crate::cli) const SOON: Duration = Duration::from_hours(24 * 120);

pub(super) fn run(context: &Context, config: &Config, node: &Node<'_>) -> Result<Exit, Failure> {
    let (folder, now) = (super::folder(config), Clock::system().now());
    let mut attention: Vec<String> = Vec::new();
    let mut told = |result: Result<Option<_>, authority::Error>| {
        result.unwrap_or_else(|error| {
            attention.push(error.to_string());
            None
        })
    };
    let there: Option<Authorities> = told(Authorities::load(&folder, now));
    let damaged = !attention.is_empty();
    let consent = Consent::read(&folder).unwrap_or_else(|error| {
        attention.push(error.to_string());
        None
    });
    let history = authority::history(&folder).map_err(|error| super::failure(&error))?;
    let status = node.status();
    if !damaged {
        attention.extend(needs(config, there.as_ref(), consent.as_ref(), now));
    }
    let read_before = status.as_ref().and_then(|status| node::differs(status, node::usable(&folder, now).as_ref()));
    attention.extend(read_before.map(|what| format!("{what}; {RELOAD}")));
    let mut document = document(config, there.as_ref(), consent.as_ref(), &history, status.as_ref());
    document["attention"] = json!(attention);
    context.show(&document, || {
        let seen = Seen { there: there.as_ref(), damaged, consent: consent.as_ref(), history: &history, status: status.as_ref() };
        people(config, &seen, &attention)
    })?;
    Ok(if attention.is_empty() { Exit::Done } else { Exit::Attention })
}

/// What someone should do, in sentences. Pure.
fn needs(config: &Config, there: Option<&Authorities>, consent: Option<&Consent>, now: Time) -> Vec<String> {
    let mut needs = Vec::new();
    let Some(there) = there else {
        if config.intercept.enabled {
            needs.push(String::from("intercept.enabled is true, but no CA was made; make one with \"bulak ca create\""));
        }
        if !config.proxy.tls_listen.is_empty() {
            needs.push(String::from("proxy.tls_listen needs a CA; make one with \"bulak ca create\""));
        }
        return needs;
    };
    match consent {
        None => needs.push(String::from("no consent is recorded, so nothing is opened; record it with \"bulak ca consent\"")),
        Some(consent) if !consent.covers(&there.current) => {
            needs.push(String::from(
                "the consent does not name all that this CA can open, so nothing is opened; record it anew with \"bulak ca consent\"",
            ));
        }
        Some(consent) if !consent.is_current() => {
            needs.push(String::from("the text of the consent has changed since; read it and record it anew with \"bulak ca consent\""));
        }
        Some(_) => {}
    }
    let outside = there.outside(&config.intercept.hosts);
    if !outside.is_empty() {
        needs.push(format!(
            "this CA cannot vouch for {}; \"bulak ca create\" makes one that can, and devices enrol anew",
            outside.join(", ")
        ));
    }
    if !there.current.is_own(&config.node.zone) {
        needs.push(format!(
            "this CA is for the zone {}, not {}; put node.zone back, or \"bulak ca create\"",
            there.current.zone(),
            config.node.zone
        ));
    }
    if there.current.not_after().since(now) < SOON {
        needs.push(format!(
            "the CA ends on {}; make the next one with \"bulak ca create\" and move the devices over",
            day(there.current.not_after())
        ));
    }
    if let Some(trouble) = &there.previous_trouble {
        needs.push(format!("the previous CA is of no use: {trouble}; \"bulak ca retire\" clears it away"));
    }
    needs
}

/// Everything as a document.
pub(super) fn document(
    config: &Config,
    there: Option<&Authorities>,
    consent: Option<&Consent>,
    history: &[Retired],
    status: Option<&Value>,
) -> Value {
    let folder = super::folder(config);
    let one = |authority: &Authority, name: &str| {
        json!({
            "fingerprint_sha256": authority.fingerprint().to_string(),
            "school": authority.school(),
            "subtrees": authority.subtrees(),
            "not_before": authority.not_before().to_rfc3339(),
            "not_after": authority.not_after().to_rfc3339(),
            "devices": node::devices(status, &authority.fingerprint().to_string()),
            "certificate_file": folder.join(format!("{name}.pem")),
            "key_file": folder.join(format!("{name}.key")),
        })
    };
    let retired = |retired: &Retired| {
        json!({
            "fingerprint_sha256": retired.fingerprint.to_string(),
            "school": retired.school,
            "not_after": retired.not_after.to_rfc3339(),
        })
    };
    json!({
        "folder": folder,
        "interception_enabled": config.intercept.enabled,
        "current": there.map(|there| one(&there.current, "ca")),
        "previous": there.and_then(|there| there.previous.as_ref()).map(|previous| one(previous, "previous")),
        "consent": consent.map(consented),
        "retired": history.iter().map(retired).collect::<Vec<_>>(),
    })
}

/// A consent as a document.
pub(super) fn consented(consent: &Consent) -> Value {
    json!({
        "by": consent.by,
        "role": consent.role,
        "at": consent.at.to_rfc3339(),
        "text_version": consent.text_version,
        "text_is_current": consent.is_current(),
        "names": consent.names,
    })
}

/// How many devices are on which CA, before keys are destroyed: one line each.
pub(super) fn carried(folder: &Path, now: Time, which: Which, status: Option<&Value>) -> String {
    let Ok(Some(there)) = Authorities::load(folder, now) else { return String::new() };
    let line = |name: &str, authority: &Authority| {
        format!("devices enrolled under the {name} CA: {}\n", devices_told(status, &authority.fingerprint().to_string()))
    };
    match &there.previous {
        Some(previous) => line("previous", previous) + &line("current", &there.current),
        None if which == Which::All => line("current", &there.current),
        None => String::new(),
    }
}

/// What was found.
struct Seen<'s> {
    there: Option<&'s Authorities>,
    /// Whether something could not be read.
    damaged: bool,
    consent: Option<&'s Consent>,
    history: &'s [Retired],
    status: Option<&'s Value>,
}

fn people(config: &Config, seen: &Seen<'_>, attention: &[String]) -> String {
    let Seen { there, damaged, consent, history, status } = *seen;
    let folder = super::folder(config);
    let one = |authority: &Authority, name: &str| {
        pairs([
            ("school", authority.school().to_owned()),
            ("fingerprint", authority.fingerprint().to_string()),
            ("vouches for", authority.subtrees().join(", ")),
            ("valid until", day(authority.not_after())),
            ("devices", devices_told(status, &authority.fingerprint().to_string())),
            ("certificate", folder.join(name).with_extension("pem").display().to_string()),
            ("key", folder.join(name).with_extension("key").display().to_string()),
        ])
    };
    let mut out = Vec::new();
    match there {
        Some(there) => {
            out.extend(one(&there.current, "ca"));
            match consent {
                Some(consent) => {
                    out.extend(pairs([("consent    ", format!("{} ({}), {}", consent.by, consent.role, day(consent.at)))]));
                }
                None => out.extend(pairs([("consent    ", String::from("none"))])),
            }
            if let Some(previous) = &there.previous {
                out.push(String::from("\nprevious, for devices that have not moved over yet:"));
                out.extend(one(previous, "previous"));
            }
        }
        None if damaged => {}
        None => {
            let made = if history.is_empty() { "none was made" } else { "all were retired" };
            out.push(format!("no CA: {made}; nothing is opened\nnext, if the school wants it: bulak ca create"));
        }
    }
    if !history.is_empty() {
        out.push(String::from("\nretired; devices may still carry:"));
        out.extend(history.iter().map(|one| format!("{}  until {}", one.fingerprint, day(one.not_after))));
    }
    if !attention.is_empty() {
        out.push(String::from("\nneeds attention:"));
        out.extend(attention.iter().map(|line| format!("- {line}")));
    }
    out.join("\n")
}

/// A day as people write it: dd.mm.yyyy.
pub(in crate::cli) fn day(time: Time) -> String {
    let text = time.to_rfc3339();
    match (text.get(8..10), text.get(5..7), text.get(..4)) {
        (Some(day), Some(month), Some(year)) => format!("{day}.{month}.{year}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::authority::Wish;

    fn config(text: &str) -> Config {
        crate::config::parse(text, std::iter::empty(), "school.toml").expect("right")
    }

    #[test]
    fn what_needs_attention_is_told_in_sentences() {
        let plain = config("");
        assert!(needs(&plain, None, None, Time::BUILT).is_empty(), "nobody nags a school without a CA");
        let on = config("[intercept]\nenabled = true\nhosts = [\"kk.wikipedia.org\"]\n[proxy]\ntls_listen = [\"127.0.0.1:3129\"]\n");
        assert_eq!(needs(&on, None, None, Time::BUILT).len(), 2);
        let clock = Clock::manual(Time::BUILT);
        let folder = tempfile::tempdir().expect("a folder");
        let wish = Wish { school: "Abay".to_owned(), zone: on.node.zone.clone(), hosts: vec!["kk.wikipedia.org".to_owned()] };
        let made = authority::create(&folder.path().join("ca"), &wish, &clock).expect("a CA");
        let agreed = Consent::new("A", "head", made.current.subtrees().to_vec(), Time::BUILT).expect("good");
        let told = |config: &Config, consent: Option<&Consent>, days: u64| {
            needs(config, Some(&made), consent, Time::BUILT.plus(Duration::from_hours(24 * days)))
        };
        assert_eq!(told(&on, Some(&agreed), 1), [""; 0]);
        let wider = config("[intercept]\nhosts = [\"ru.wikipedia.org\"]\n");
        let renamed = config("[node]\nzone = \"other.internal\"\n");
        let part = Consent { names: vec![], ..agreed.clone() };
        let old = Consent { text_version: String::new(), ..agreed.clone() };
        let table = [
            (told(&on, None, 1), "no consent is recorded"),
            (told(&on, Some(&part), 1), "does not name all"),
            (told(&on, Some(&old), 1), "text of the consent has changed"),
            (told(&wider, Some(&agreed), 1), "cannot vouch for ru.wikipedia.org"),
            (told(&renamed, Some(&agreed), 1), "not other.internal"),
            (told(&on, Some(&agreed), 1710), "ends on 01.11.2031"),
        ];
        for (told, wanted) in table {
            assert!(told.len() == 1 && told[0].contains(wanted), "{told:?}: {wanted}");
        }
    }
}
