//! The doctor's looks at https: the CA's files, the consent, what is to be opened, the listeners that need a certificate, the
//! mirror's own certificate. Silent about what a school does not use.

use super::look::{here, reach};
use super::verdict::{Finding, State};
use crate::base::clock::Time;
use crate::cli::ca::{RELOAD, SOON, day, differs, folder, usable};
use crate::config::Config;
use crate::site::refuse;
use crate::tls::authority::{self, Authorities, Readiness};
use crate::tls::consent::Consent;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// This long before its end the mirror's certificate is told: the hub sends another a month before.
const MIRROR_SOON: Duration = Duration::from_hours(24 * 14);

/// All looks. `status`: the running node's, whose listeners must be there, and which must go by the files.
pub(super) async fn all(config: &Arc<Config>, status: Option<&Value>, now: Time) -> Vec<Finding> {
    let (runs, seen, loaded) = (status.is_some(), Arc::clone(config), status.map(|status| status["https"].clone()));
    // All of this lies on a disk that may hang.
    let read = tokio::task::spawn_blocking(move || {
        let mut findings = files(&seen, now);
        if let Some(loaded) = loaded {
            in_force(&mut findings, &seen, &loaded, now);
        }
        findings.extend(mirror(&seen, now));
        findings
    });
    let mut findings = match read.await {
        Ok(findings) => findings,
        Err(error) => return vec![Finding::new("https", None, State::Unknown, error.to_string(), "")],
    };
    for (check, key, listeners) in [
        ("tls_listen", "proxy.tls_listen", &config.proxy.tls_listen),
        ("sni_listen", "proxy.sni_listen", &config.proxy.sni_listen),
        ("mirror", "mirror.listen", &config.mirror.listen),
    ] {
        // One finding for a listener without its certificate is enough.
        if !findings.iter().any(|finding| finding.check == check && finding.state == State::Failed) {
            findings.extend(listening(check, key, listeners, runs).await);
        }
    }
    findings
}

/// What the files of the CA allow, without a socket.
fn files(config: &Config, now: Time) -> Vec<Finding> {
    let folder = folder(config);
    let enabled = config.intercept.enabled;
    let needs_ca = enabled || !config.proxy.tls_listen.is_empty();
    let mut findings = Vec::new();
    let there = match Authorities::load(&folder, now) {
        Ok(there) => there,
        Err(error) => {
            let (message, remedy) = halves(&error.to_string());
            findings.push(Finding::new("ca", None, State::Failed, message, remedy));
            if enabled {
                findings.push(Finding::new("intercept", None, State::Failed, "the CA cannot be used", ""));
            }
            return findings;
        }
    };
    let Some(there) = there else {
        for (wanted, check, what) in [
            (enabled, "intercept", "intercept.enabled is true, but no CA was made: nothing is opened"),
            (!config.proxy.tls_listen.is_empty(), "tls_listen", "proxy.tls_listen is set, but there is no CA for its certificate"),
        ] {
            if wanted {
                findings.push(Finding::new(check, None, State::Failed, what, "make one with \"bulak ca create\", or switch it off"));
            }
        }
        return findings;
    };
    findings.push(ca(config, &there, needs_ca, now));
    if enabled {
        findings.push(consent(&folder, now));
        findings.push(hosts(config, &there));
    }
    findings
}

/// What the running node goes by, where that is not what the files say. Files that fail are told already.
fn in_force(findings: &mut Vec<Finding>, config: &Config, loaded: &Value, now: Time) {
    let reload = format!("reload the node: {RELOAD}");
    let failed = |check: &str| findings.iter().any(|finding| finding.check == check && finding.state == State::Failed);
    let found = if failed("ca") {
        None
    } else if let Some(what) = differs(loaded, usable(&folder(config), now).as_ref()).filter(|_| !failed("consent")) {
        Some(Finding::new("ca", None, State::Attention, what, reload))
    } else {
        match (config.intercept.enabled, loaded["intercept"]["enabled"].as_bool()) {
            (false, Some(true)) => {
                let what = "intercept.enabled is false, but the node still opens hosts";
                Some(Finding::new("intercept", None, State::Attention, what, reload))
            }
            (true, Some(false)) if !failed("consent") && !failed("intercept") => {
                let why = loaded["intercept"]["why_not"].as_str().unwrap_or("it does not say why");
                Some(Finding::new("intercept", None, State::Attention, format!("the node opens nothing: {why}"), reload))
            }
            _ => None,
        }
    };
    if let Some(found) = found {
        findings.retain(|finding| finding.check != found.check);
        findings.push(found);
    }
}

fn ca(config: &Config, there: &Authorities, needed: bool, now: Time) -> Finding {
    let look = |message: String, remedy: &str| Finding::new("ca", None, State::Attention, message, remedy);
    let end = there.current.not_after();
    if end.since(now) < SOON {
        return look(format!("ends on {}", day(end)), "make the next one with \"bulak ca create\" and move the devices over");
    }
    if !there.current.is_own(&config.node.zone) {
        let message = format!("is for the zone {}, not {}", there.current.zone(), config.node.zone);
        return look(message, "put node.zone back, or make another with \"bulak ca create\"");
    }
    if let Some(trouble) = &there.previous_trouble {
        return look(
            format!("the previous one is of no use: {}", halves(&trouble.to_string()).0),
            "clear it away with \"bulak ca retire\"",
        );
    }
    let moving = if there.previous.is_some() { "; the previous one is kept until \"bulak ca retire\"" } else { "" };
    let unused = if needed { "" } else { "; nothing uses it" };
    Finding::fine("ca", None, format!("good until {}{moving}{unused}", day(end)))
}

fn consent(folder: &Path, now: Time) -> Finding {
    let finding = |state, message: &str, remedy: &str| Finding::new("consent", Some("ca"), state, message, remedy);
    let anew = "record it with \"bulak ca consent\"";
    match authority::ready(folder, now) {
        Readiness::Ready(_, consent) if !consent.is_current() => {
            finding(State::Attention, "the text has changed since it was given", "read it and record it anew with \"bulak ca consent\"")
        }
        Readiness::Ready(_, consent) => Finding::fine("consent", Some("ca"), format!("{}, {}", consent.role, day(consent.at))),
        Readiness::Unconsented if matches!(Consent::read(folder), Ok(Some(_))) => {
            finding(State::Failed, "does not name all that the CA can open: nothing is opened", anew)
        }
        Readiness::Unconsented => finding(State::Failed, "none is recorded: nothing is opened", anew),
        Readiness::Faulty(error) => {
            let (message, remedy) = halves(&error.to_string());
            finding(State::Failed, &message, &remedy)
        }
        // Made away with between two looks.
        Readiness::Missing => finding(State::Unknown, "the CA has just been retired", ""),
    }
}

fn hosts(config: &Config, there: &Authorities) -> Finding {
    let finding = |state, message: String, remedy: &str| Finding::new("intercept", None, state, message, remedy);
    let hosts = &config.intercept.hosts;
    let personal: Vec<&str> = hosts.iter().map(String::as_str).filter(|host| refuse::is_personal(host)).collect();
    if !personal.is_empty() {
        return finding(State::Attention, format!("{} will never be opened", personal.join(", ")), "take them out of intercept.hosts");
    }
    let outside = there.outside(hosts);
    if !outside.is_empty() {
        let message = format!("the CA cannot vouch for {}: passed on unopened", outside.join(", "));
        return finding(State::Attention, message, "make another with \"bulak ca create\" and enrol the devices anew");
    }
    if hosts.is_empty() {
        return finding(
            State::Attention,
            "is on, but intercept.hosts is empty: nothing is opened".to_owned(),
            "name hosts, or switch it off",
        );
    }
    Finding::fine("intercept", None, format!("{} hosts may be opened on enrolled devices", hosts.len()))
}

/// The certificate that was given for the mirror.
fn mirror(config: &Config, now: Time) -> Option<Finding> {
    let (certificate, key) = config.mirror.certificate.as_ref()?;
    let finding = |state, message: String, remedy: &str| Some(Finding::new("mirror", None, state, message, remedy));
    let told = match provided(certificate, key, &config.node.zone) {
        Ok(told) => told,
        Err((message, remedy)) => return finding(State::Failed, message, remedy),
    };
    let name = certificate.display();
    if told.from > now {
        return finding(State::Failed, format!("{name} counts only from {}", day(told.from)), "set the clock, or wait");
    }
    if told.until <= now {
        return finding(State::Failed, format!("{name} expired on {}", day(told.until)), "get another one, or empty mirror.certificate");
    }
    if told.until.since(now) < MIRROR_SOON {
        return finding(State::Attention, format!("{name} ends on {}", day(told.until)), "get the next one");
    }
    None
}

struct Provided {
    from: Time,
    until: Time,
}

fn provided(certificate: &Path, key: &Path, zone: &str) -> Result<Provided, (String, &'static str)> {
    let read = |path: &Path, error: &dyn std::fmt::Display| {
        (format!("{} cannot be read ({error})", path.display()), "give the node's user a PEM file")
    };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| read(certificate, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| read(key, &error))?;
    let Some(first) = chain.first().cloned() else {
        return Err((format!("{} holds no certificate", certificate.display()), "put the chain in, the node's own first"));
    };
    CertifiedKey::from_der(chain, secret, &rustls::crypto::ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => (
            format!("{} and {} do not belong together", certificate.display(), key.display()),
            "put in the key that the certificate was made for",
        ),
        other => (format!("{} and {} cannot be used ({other})", certificate.display(), key.display()), "get another certificate"),
    })?;
    let parsed = ParsedCertificate::try_from(&first).map_err(|error| read(certificate, &error))?;
    // Any name one label below: only a star covers it.
    let host = format!("a-b.m.{zone}");
    let name = ServerName::try_from(host.as_str()).map_err(|_| (format!("{zone} is no zone"), "mend node.zone"))?;
    if rustls::client::verify_server_name(&parsed, &name).is_err() {
        return Err((format!("{} is not for *.m.{zone}", certificate.display()), "get one for that name, or mend node.zone"));
    }
    let (_, read_back) = x509_parser::parse_x509_certificate(&first).map_err(|error| read(certificate, &error))?;
    let validity = read_back.validity();
    Ok(Provided { from: Time::from_secs(validity.not_before.timestamp()), until: Time::from_secs(validity.not_after.timestamp()) })
}

/// Whether listeners are there, or could be had. Port 0 is the system's choice, which nobody can look for.
async fn listening(check: &'static str, key: &str, listeners: &[SocketAddr], runs: bool) -> Option<Finding> {
    let listeners: Vec<SocketAddr> = listeners.iter().copied().filter(|addr| addr.port() != 0).collect();
    let parent = Some("node");
    for addr in &listeners {
        if runs {
            if let Err(why) = reach(&here(*addr).to_string()).await {
                let message = format!("{key} {addr}: nothing gets in ({why})");
                return Some(Finding::new(check, parent, State::Failed, message, "look into the node's log, or restart it after a change"));
            }
        } else if let Err(error) = TcpListener::bind(addr).await {
            let remedy = format!("see who holds it (\"ss -ltnp 'sport = :{}'\"), or change {key}", addr.port());
            return Some(Finding::new(check, parent, State::Failed, format!("{key} {addr}: {error}"), remedy));
        }
    }
    let told = listeners.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    (!listeners.is_empty())
        .then(|| Finding::fine(check, parent, if runs { format!("{told} can be reached") } else { format!("{told} can be had") }))
}

/// What is wrong, and what to do.
pub(super) fn halves(told: &str) -> (String, String) {
    told.split_once("; ").map_or_else(|| (told.to_owned(), String::new()), |(message, remedy)| (message.to_owned(), remedy.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Clock;
    use crate::tls::authority::Wish;
    use serde_json::json;
    use std::os::unix::fs::PermissionsExt;

    const DAY: Duration = Duration::from_hours(24);

    struct School {
        temp: tempfile::TempDir,
    }

    impl School {
        fn new() -> School {
            School { temp: tempfile::tempdir().expect("a folder") }
        }

        fn config(&self, rest: &str) -> Config {
            let state = self.temp.path().display();
            let text = format!("[node]\nname = \"abay\"\nstate = \"{state}\"\n{rest}");
            crate::config::parse(&text, std::iter::empty(), "school.toml").expect("right")
        }

        fn create(&self, hosts: &[&str]) {
            let hosts = hosts.iter().map(ToString::to_string).collect();
            let wish = Wish { school: "Abay".to_owned(), zone: "abay.internal".to_owned(), hosts };
            authority::create(&self.temp.path().join("ca"), &wish, &Clock::manual(Time::BUILT)).expect("a CA");
        }

        fn agree(&self, names: &[&str]) {
            let names = names.iter().map(ToString::to_string).collect();
            Consent::new("A", "head", names, Time::BUILT).expect("good").record(&self.temp.path().join("ca")).expect("written");
        }

        /// A certificate as the hub would give it.
        fn mirror(&self, names: &[&str], from: Time, until: Time) {
            let key = rcgen::KeyPair::generate().expect("a key");
            let mut params = rcgen::CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("names");
            let epoch = rcgen::date_time_ymd(1970, 1, 1);
            params.not_before = epoch + from.since(Time::from_secs(0));
            params.not_after = epoch + until.since(Time::from_secs(0));
            let made = params.self_signed(&key).expect("signed");
            std::fs::write(self.temp.path().join("m.pem"), made.pem()).expect("written");
            std::fs::write(self.temp.path().join("m.key"), key.serialize_pem()).expect("written");
        }
    }

    fn seen(findings: &[Finding], check: &str) -> (State, String) {
        let found = findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("no {check} in {findings:?}"));
        assert_eq!(found.remedy.is_empty(), found.state == State::Fine || found.state == State::Unknown, "{found:?}");
        (found.state, found.message.clone())
    }

    const ON: &str = "[intercept]\nenabled = true\nhosts = [\"kk.wikipedia.org\"]\n";

    #[test]
    fn a_school_without_https_hears_nothing_of_it() {
        assert_eq!(files(&School::new().config(""), Time::BUILT), []);
    }

    #[test]
    fn interception_and_its_listener_need_a_ca() {
        let school = School::new();
        let findings = files(&school.config(&format!("{ON}[proxy]\ntls_listen = [\"127.0.0.1:3129\"]\n")), Time::BUILT);
        assert_eq!(seen(&findings, "intercept").0, State::Failed);
        assert!(seen(&findings, "tls_listen").1.contains("no CA"));
    }

    #[test]
    fn ca_consent_and_hosts_are_looked_at() {
        let school = School::new();
        school.create(&["kk.wikipedia.org"]);
        let on = school.config(ON);
        let findings = files(&on, Time::BUILT);
        assert_eq!(seen(&findings, "ca").0, State::Fine);
        assert_eq!(seen(&findings, "consent"), (State::Failed, "none is recorded: nothing is opened".to_owned()));
        school.agree(&["abay.internal"]);
        assert!(seen(&files(&on, Time::BUILT), "consent").1.contains("does not name all"));
        school.agree(&["abay.internal", "kk.wikipedia.org"]);
        let findings = files(&on, Time::BUILT);
        assert!(findings.iter().all(|finding| finding.state == State::Fine), "{findings:?}");
        let (state, message) = seen(&files(&on, Time::BUILT.plus(1800 * DAY)), "ca");
        assert!(state == State::Attention && message.contains("ends on 01.11.2031"), "{message}");
        let findings = files(&on, Time::BUILT.plus(1900 * DAY));
        assert!(seen(&findings, "ca").1.contains("expired"), "{findings:?}");
        let wider = school.config("[intercept]\nenabled = true\nhosts = [\"kk.wikipedia.org\", \"ru.wikipedia.org\"]\n");
        let (state, message) = seen(&files(&wider, Time::BUILT), "intercept");
        assert!(state == State::Attention && message.contains("cannot vouch for ru.wikipedia.org"), "{message}");
        let none = school.config("[intercept]\nenabled = true\n");
        assert!(seen(&files(&none, Time::BUILT), "intercept").1.contains("is empty"));
        let mut personal = on.clone();
        personal.intercept.hosts.push("egov.kz".to_owned());
        assert!(seen(&files(&personal, Time::BUILT), "intercept").1.contains("egov.kz will never be opened"));
        let key = school.temp.path().join("ca/ca.key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("chmod");
        let findings = files(&on, Time::BUILT);
        let told = findings.iter().find(|finding| finding.check == "ca").expect("told");
        assert!(told.state == State::Failed && told.message.contains("mode 644") && told.remedy.contains("chmod 600"), "{told:?}");
    }

    #[test]
    fn a_node_that_has_not_read_the_files_is_told() {
        let school = School::new();
        let look = |config: &Config, loaded: &Value, check: &str| {
            let mut findings = files(config, Time::BUILT);
            in_force(&mut findings, config, loaded, Time::BUILT);
            let found = findings.into_iter().find(|finding| finding.check == check);
            found.map(|found| (found.state, found.message, found.remedy))
        };
        let (on, off) = (school.config(ON), school.config(""));
        let loaded = |ca: Option<&str>, opens: bool| json!({ "ca": ca, "previous": null, "intercept": { "enabled": opens, "why_not": (!opens).then_some("there is no CA") } });
        let nothing = loaded(None, false);
        assert_eq!(look(&off, &nothing, "ca"), None);
        let (state, message, _) = look(&off, &loaded(Some("AA"), true), "ca").expect("told");
        assert!(state == State::Attention && message.contains("still goes by it"), "{message}");
        school.create(&["kk.wikipedia.org"]);
        school.agree(&["abay.internal", "kk.wikipedia.org"]);
        let (state, message, remedy) = look(&on, &nothing, "ca").expect("told");
        assert_eq!((state, message.as_str()), (State::Attention, "made, but the node has not read it"));
        assert!(remedy.contains("systemctl reload bulak"), "{remedy}");
        let print = usable(&folder(&on), Time::BUILT).expect("a CA").current.fingerprint().to_string();
        for check in ["ca", "intercept"] {
            assert_eq!(look(&on, &loaded(Some(&print), true), check).expect("told").0, State::Fine);
        }
        assert!(look(&on, &loaded(Some(&print), false), "intercept").expect("told").1.contains("opens nothing: there is no CA"));
        assert!(look(&off, &loaded(Some(&print), true), "intercept").expect("told").1.contains("still opens"));
        assert_eq!(look(&on, &Value::Null, "ca").expect("told").0, State::Fine, "a node of an earlier version");
    }

    #[test]
    fn the_mirrors_certificate_is_looked_at() {
        let school = School::new();
        let folder = school.temp.path().display();
        let config = school.config(&format!("[mirror]\nlisten = []\ncertificate = \"{folder}/m.pem\"\nkey = \"{folder}/m.key\"\n"));
        let told = |now: Time| mirror(&config, now).map(|finding| (finding.state, finding.message));
        let (from, until) = (Time::BUILT, Time::BUILT.plus(90 * DAY));
        assert!(told(from).expect("missing").1.contains("m.pem cannot be read"));
        school.mirror(&["*.m.abay.internal"], from, until);
        assert_eq!(told(from), None);
        assert_eq!(told(from.plus(80 * DAY)).map(|told| told.0), Some(State::Attention));
        for (now, words) in [(from.minus(DAY), "counts only from"), (until, "expired on")] {
            let (state, message) = told(now).expect("trouble");
            assert!(state == State::Failed && message.contains(words), "{message}");
        }
        for names in [&["m.abay.internal"][..], &["*.abay.internal"], &["*.m.other.internal"]] {
            school.mirror(names, from, until);
            assert!(told(from).expect("trouble").1.contains("is not for *.m.abay.internal"), "{names:?}");
        }
        school.mirror(&["*.m.abay.internal"], from, until);
        std::fs::write(school.temp.path().join("m.key"), rcgen::KeyPair::generate().expect("a key").serialize_pem()).expect("written");
        assert!(told(from).expect("trouble").1.contains("do not belong together"));
        std::fs::write(school.temp.path().join("m.pem"), "").expect("written");
        assert!(told(from).expect("trouble").1.contains("holds no certificate"));
    }

    #[tokio::test]
    async fn listeners_are_there_or_can_be_had() {
        let held = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = held.local_addr().expect("bound");
        let look = async |runs| listening("sni_listen", "proxy.sni_listen", &[addr], runs).await.expect("told").state;
        assert_eq!((look(true).await, look(false).await), (State::Fine, State::Failed));
        drop(held);
        assert_eq!((look(true).await, look(false).await), (State::Failed, State::Fine));
        assert_eq!(listening("mirror", "mirror.listen", &["127.0.0.1:0".parse().expect("valid")], true).await, None);
    }
}
