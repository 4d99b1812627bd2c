//! Who needs a call: one state a school, sorted so that the top of the page is the day's work. Pure.
//!
//! # Why
//! A hub cannot tell a dead box from a dead line while both are silent; it says "silent" and the next report explains the gap (box
//! off, line down). Right after its own start the hub knows nothing about silence: then schools are unknown, not silent.

use crate::base::clock::Time;
use crate::hub::keep::Latest;
use crate::hub::{Settings, age};
use crate::report::compose::{Record, Use};
use serde::Serialize;
use std::collections::BTreeMap;

/// How a school is, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nothing for a day: box off, or the line has been down all the while.
    Silent,
    /// It reports, and says that its line was down when it wrote.
    LineDown,
    /// A report is overdue.
    Late,
    /// Enrolled, never heard of.
    NeverReported,
    /// The hub has not been up long enough to say.
    Unknown,
    /// All is well.
    Live,
}

/// One school.
#[derive(Clone, Debug, Serialize)]
pub struct School {
    /// Its id.
    pub id: String,
    /// For people.
    pub name: String,
    /// How it is.
    pub standing: Standing,
    /// When the hub last heard of it (RFC 3339).
    pub heard: Option<String>,
    /// How long ago that is.
    pub heard_seconds_ago: Option<u64>,
    /// Records kept of all its nodes.
    pub records: i64,
    /// Node ids, the one that was heard last first.
    pub nodes: Vec<String>,
    /// Bytes from the cache and in all since the node's start, by way.
    pub by_way: BTreeMap<String, Share>,
    /// The newest report.
    pub last: Option<Record>,
}

/// What of the bytes to clients came from the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Bytes to clients that the line did not carry.
    pub cached_bytes: u64,
    /// All bytes to clients.
    pub client_bytes: u64,
    /// Requests.
    pub requests: u64,
}

/// Outcomes whose bytes did not cross the line.
const FROM_CACHE: &[&str] = &["hit", "stale", "offline", "revalidated"];

/// All enrolled schools, who needs a call first. `since`: when the hub started.
pub fn region(settings: &Settings, nodes: &[(String, String)], latest: &[Latest], now: Time, since: Time) -> Vec<School> {
    let mut ids: Vec<&str> = settings.nodes.iter().map(|node| node.school.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut schools: Vec<School> = ids.into_iter().map(|id| school(settings, id, nodes, latest, now, since)).collect();
    schools.sort_by(|a, b| {
        let key = |school: &School| (school.standing, std::cmp::Reverse(school.heard_seconds_ago));
        key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
    schools
}

fn school(settings: &Settings, id: &str, nodes: &[(String, String)], latest: &[Latest], now: Time, since: Time) -> School {
    let mine: Vec<&str> = nodes.iter().filter(|(_, school)| school == id).map(|(node, _)| node.as_str()).collect();
    let mut news: Vec<&Latest> = latest.iter().filter(|latest| mine.contains(&latest.node.as_str())).collect();
    news.sort_by_key(|latest| std::cmp::Reverse(latest.heard));
    let mut order: Vec<String> = news.iter().map(|latest| latest.node.clone()).collect();
    order.extend(mine.iter().filter(|node| !news.iter().any(|latest| latest.node == **node)).map(|node| String::from(*node)));
    let last: Option<Record> = news.first().and_then(|latest| serde_json::from_str(&latest.record).ok());
    let heard = news.first().map(|latest| latest.heard);
    let name = settings.nodes.iter().find(|node| node.school == id && !node.name.is_empty()).map_or(id, |node| node.name.as_str());
    School {
        id: id.to_owned(),
        name: name.to_owned(),
        standing: standing(settings, heard, last.as_ref(), now, since),
        heard: heard.map(Time::to_rfc3339),
        heard_seconds_ago: heard.map(|heard| age(now, heard).as_secs()),
        records: news.iter().map(|latest| latest.records).sum(),
        nodes: order,
        by_way: last.as_ref().map(by_way).unwrap_or_default(),
        last,
    }
}

/// How a school is.
pub fn standing(settings: &Settings, heard: Option<Time>, last: Option<&Record>, now: Time, since: Time) -> Standing {
    let Some(heard) = heard else {
        return Standing::NeverReported;
    };
    let quiet = age(now, heard);
    if quiet <= settings.late_after {
        let down = last.is_some_and(|record| record.payload.line.state == "down");
        return if down { Standing::LineDown } else { Standing::Live };
    }
    // What the hub itself slept through is nobody's silence.
    let listened = age(now, since).min(quiet);
    if listened <= settings.late_after {
        Standing::Unknown
    } else if quiet <= settings.silent_after {
        Standing::Late
    } else {
        Standing::Silent
    }
}

/// Bytes from the cache and in all, by way: never one blended figure.
pub fn by_way(record: &Record) -> BTreeMap<String, Share> {
    let sum = |outcomes: &BTreeMap<String, Use>| {
        outcomes.iter().fold(Share::default(), |mut share, (outcome, figures)| {
            share.client_bytes = share.client_bytes.saturating_add(figures.bytes);
            share.requests = share.requests.saturating_add(figures.requests);
            if FROM_CACHE.contains(&outcome.as_str()) {
                share.cached_bytes = share.cached_bytes.saturating_add(figures.bytes);
            }
            share
        })
    };
    record.payload.total.by_way.iter().map(|(way, outcomes)| (way.clone(), sum(outcomes))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Enrolled;
    use crate::report::compose::{Payload, Who, record};
    use std::time::Duration;

    const NOW: Time = Time::from_secs(1_795_500_000);

    fn told(state: &str) -> Record {
        let mut payload = Payload::default();
        payload.line.state = state.into();
        payload.total.by_way = [(
            "http".to_owned(),
            [("hit".to_owned(), Use { requests: 3, bytes: 300 }), ("miss".to_owned(), Use { requests: 1, bytes: 100 })].into(),
        )]
        .into();
        let who = Who { school: None, node: "n".into(), boot_id: "b".into() };
        record(&who, (1, 1), (NOW, NOW), true, payload)
    }

    fn hours(hours: u64) -> Time {
        NOW.minus(Duration::from_secs(hours * 3_600))
    }

    #[test]
    fn a_school_s_state_from_silence_and_last_words() {
        let settings = Settings::default();
        let table = [
            (None, "up", 100, Standing::NeverReported),
            (Some(0), "up", 100, Standing::Live),
            (Some(2), "slow", 100, Standing::Live),
            (Some(2), "down", 100, Standing::LineDown),
            (Some(3), "up", 100, Standing::Late),
            (Some(3), "down", 100, Standing::Late),
            (Some(24), "up", 100, Standing::Late),
            (Some(25), "up", 100, Standing::Silent),
            (Some(25), "up", 1, Standing::Unknown),
            (Some(25), "up", 3, Standing::Silent),
            (Some(2), "up", 0, Standing::Live),
        ];
        for (heard, state, up, wanted) in table {
            let record = told(state);
            let heard = heard.map(hours);
            assert_eq!(standing(&settings, heard, heard.map(|_| &record), NOW, hours(up)), wanted, "{heard:?} {state} {up}");
        }
    }

    #[test]
    fn the_region_puts_who_needs_a_call_first() {
        let enrol = |school: &str| Enrolled { key: String::new(), school: school.into(), name: format!("School {school}") };
        let settings =
            Settings { nodes: ["live", "late", "silent", "older", "new", "down", "live"].map(enrol).to_vec(), ..Settings::default() };
        let nodes: Vec<(String, String)> =
            settings.nodes.iter().enumerate().map(|(at, node)| (format!("n{at}"), node.school.clone())).collect();
        let news = |at: usize, heard: u64, state: &str| Latest {
            node: format!("n{at}"),
            heard: hours(heard),
            records: 2,
            record: serde_json::to_string(&told(state)).expect("JSON"),
        };
        let latest = [news(0, 9, "up"), news(1, 5, "up"), news(2, 30, "up"), news(3, 300, "up"), news(5, 1, "down"), news(6, 0, "up")];
        let schools = region(&settings, &nodes, &latest, NOW, hours(1_000));
        assert_eq!(schools.iter().map(|school| school.id.as_str()).collect::<Vec<_>>(), ["older", "silent", "down", "late", "new", "live"]);
        let live = schools.last().expect("six");
        assert_eq!((live.nodes.as_slice(), live.records), (["n6".to_owned(), "n0".to_owned()].as_slice(), 4));
        assert_eq!(live.by_way["http"], Share { cached_bytes: 300, client_bytes: 400, requests: 4 });
        assert_eq!(live.name, "School live");
    }
}
