//! The looks at whom the node reports to: the hub of its region, a Giga Meter server. A running node knows best; only what it has not tried
//! yet is tried here, on the way that it would take itself.

use super::https::halves;
use super::look::PATIENCE;
use super::verdict::{Finding, State};
use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::base::target::Target;
use crate::cli::status;
use crate::config::Config;
use crate::life::Life;
use crate::link::{self, Link};
use crate::upstream::Upstream;
use serde_json::Value;

/// Name and parent of the check.
const HUB: (&str, Option<&str>) = ("hub", Some("node"));

pub(super) async fn hub(config: &Config, status: Option<&Value>) -> Finding {
    let url = config.hub.url.as_ref();
    if let Some(finding) = status.and_then(|status| told(&status["report"], url)) {
        return finding;
    }
    let Some(url) = url else { return Finding::fine(HUB.0, HUB.1, "none is configured") };
    match way(config, url).await {
        Ok(()) if status.is_some() => {
            Finding::fine(HUB.0, HUB.1, format!("{} can be reached, nothing was sent since the start", url.origin()))
        }
        Ok(()) => Finding::fine(HUB.0, HUB.1, format!("{} can be reached", url.origin())),
        Err(Blocked { why, .. }) => {
            look(format!("{} cannot be reached ({why}); reports are kept", url.origin()), "nothing is lost; if it lasts, ask the district")
        }
    }
}

/// What a running node says of its hub; `None` where it has not tried anything yet. `wanted`: the hub that the file names.
fn told(report: &Value, wanted: Option<&Target>) -> Option<Finding> {
    if report.is_null() {
        return None;
    }
    let hub = report["hub"].as_str();
    if hub != wanted.map(Target::origin) {
        let or_none = |name: Option<&str>| name.map_or_else(|| "no hub".to_owned(), str::to_owned);
        let message = format!("the node runs with {}, hub.url names {}", or_none(hub), or_none(wanted.map(Target::origin)));
        return Some(look(message, "restart the node (\"systemctl restart bulak\"); if that does not help, look at its log"));
    }
    let hub = hub?;
    if let Some(why) = report["by_hand"].as_str() {
        let (message, remedy) = halves(why);
        return Some(Finding::new(HUB.0, HUB.1, State::Failed, format!("{message}; reports are kept"), remedy));
    }
    if let Some(why) = report["trouble"].as_str() {
        let message = format!("the last upload failed ({why}); reports are kept");
        return Some(look(message, "nothing is lost; if it lasts, ask the district"));
    }
    report["last_delivered"].is_string().then(|| Finding::fine(HUB.0, HUB.1, format!("{hub} takes reports")))
}

fn look(message: String, remedy: &str) -> Finding {
    Finding::new(HUB.0, HUB.1, State::Attention, message, remedy)
}

/// What a running node says of its Giga Meter server; nothing where there is none.
pub(super) fn giga(status: Option<&Value>) -> Option<Finding> {
    const NAME: (&str, Option<&str>) = ("giga", Some("node"));
    let giga = &status?["giga"];
    let server = giga["server"].as_str()?;
    let look = |message: String, remedy: &str| Some(Finding::new(NAME.0, NAME.1, State::Attention, message, remedy));
    if let Some((message, remedy)) = status::giga_needs(giga).into_iter().next() {
        return look(message, remedy);
    }
    if let Some(why) = giga["trouble"].as_str() {
        return look(format!("the last round failed ({why}); what is to be told is kept"), "nothing is lost; it is tried again");
    }
    Some(Finding::fine(NAME.0, NAME.1, format!("nothing wrong is known of {server}")))
}

/// Why there is no way.
pub(super) struct Blocked {
    /// In words.
    pub(super) why: String,
    /// Nobody has the name.
    pub(super) nameless: bool,
}

/// Opens a connection as the node would: by its names, hosts, guards and parent. With a parent, a target of http is the parent.
pub(super) async fn way(config: &Config, target: &Target) -> Result<(), Blocked> {
    let blocked = |why: String| Blocked { why, nameless: false };
    let (clock, life, metrics) = (Clock::system(), Life::default(), Metrics::default());
    let link = Link::new(link::Settings::default(), clock.clone(), &life, &metrics);
    let upstream = Upstream::new(config.upstream.clone(), clock, link, &life, &metrics).map_err(|error| blocked(format!("{error:#}")))?;
    match tokio::time::timeout(PATIENCE, upstream.verify(target)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Blocked { why: error.to_string(), nameless: error.is_nameless() }),
        Err(_) => Err(blocked(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::net::TcpListener;

    fn with_hub(url: &str) -> Config {
        let mut config = Config::default();
        config.hub.url = Some(Target::parse(url).expect("an address"));
        config
    }

    #[test]
    fn a_node_that_delivers_is_believed() {
        let config = with_hub("http://hub.example");
        let url = config.hub.url.as_ref();
        let table = [
            (json!({"hub": "http://hub.example", "last_delivered": "2026-11-25T00:00:00Z"}), Some((State::Fine, "takes reports"))),
            (json!({"hub": "http://hub.example", "trouble": "no answer"}), Some((State::Attention, "no answer"))),
            (json!({"hub": "http://hub.example", "by_hand": "not known; join"}), Some((State::Failed, "not known"))),
            (json!({"hub": "http://hub.example"}), None),
            (json!({"hub": "http://other.example", "last_delivered": "x"}), Some((State::Attention, "runs with http://other.example"))),
            (json!({"hub": null}), Some((State::Attention, "runs with no hub"))),
        ];
        for (report, wanted) in table {
            let found = told(&report, url);
            assert_eq!(found.is_some(), wanted.is_some(), "{report}");
            if let (Some(found), Some((state, words))) = (found, wanted) {
                assert!(found.state == state && found.message.contains(words), "{report}: {found:?}");
            }
        }
        assert!(told(&json!({"hub": null}), None).is_none() && told(&Value::Null, url).is_none(), "nothing is known yet");
    }

    #[tokio::test]
    async fn a_hub_is_tried_on_the_way_that_the_node_takes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let addr = listener.local_addr().expect("bound");
        // A name that only upstream.hosts knows.
        let set = [
            ("BULAK_UPSTREAM__HOSTS".to_owned(), format!("{{ \"hub.invalid:80\" = \"{addr}\" }}")),
            ("BULAK_PROXY__ALLOW_PRIVATE_TARGETS".to_owned(), "[\"127.0.0.0/8\"]".to_owned()),
            ("BULAK_HUB__URL".to_owned(), "http://hub.invalid".to_owned()),
        ];
        let config = crate::config::parse("", set.into_iter(), "x").expect("right");
        let finding = hub(&config, None).await;
        assert_eq!((finding.state, finding.message.as_str()), (State::Fine, "http://hub.invalid can be reached"));
        drop(listener);
        assert_eq!(hub(&config, None).await.state, State::Attention);
    }

    #[test]
    fn what_status_complains_of_the_doctor_finds() {
        for giga in [
            json!({"server": "https://giga.example", "stopped": "the key is not taken"}),
            json!({"server": "https://giga.example", "parked": [{"why": "no such school"}], "waiting": {"parked": 3}}),
        ] {
            let status = json!({ "giga": giga });
            let finding = super::giga(Some(&status)).expect("it is used");
            assert_eq!(finding.state, State::Attention, "{status}");
            let needs = status::attention(&status);
            assert!(needs.len() == 1 && needs[0].starts_with(&finding.message), "{needs:?} {finding:?}");
        }
        assert!(super::giga(Some(&json!({"giga": null}))).is_none() && super::giga(None).is_none());
        assert_eq!(super::giga(Some(&json!({"giga": {"server": "x"}}))).map(|found| found.state), Some(State::Fine));
    }
}
