//! Who needs a call: one state a school, sorted so that the top of the page is the day's work. Pure.
//!
//! # Why
//! A hub cannot tell a dead box from a dead line while both are silent; it says "silent" and the next report explains the gap (box
//! off, line down). Right after its own start the hub knows nothing about silence: then schools are unknown, not silent. Where most
//! schools of one provider are away at once, that is one event and not twenty.

use crate::base::clock::Time;
use crate::hub::facts::AHEAD;
use crate::hub::figures::Glance;
use crate::hub::keep::{Latest, Twin};
use crate::hub::roll::{About, Roll};
use crate::hub::{Settings, age};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use utoipa::ToSchema;

/// Silent for so long: the week's list.
const WEEK: Duration = Duration::from_hours(7 * 24);

/// Silent for so long: somebody should drive there before it counts as lost.
const RISK: Duration = Duration::from_hours(22 * 24);

/// Silent for so long: it has dropped off.
const DROPPED: Duration = Duration::from_hours(29 * 24);

/// Schools of a provider that must be away together to make one event.
const TOGETHER: usize = 3;

/// How a school is, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Nothing for 29 days.
    DroppedOff,
    /// Nothing for 22 days.
    AtRisk,
    /// Nothing for a week.
    SilentWeek,
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

/// All states, in that order.
pub const STANDINGS: [Standing; 9] = [
    Standing::DroppedOff,
    Standing::AtRisk,
    Standing::SilentWeek,
    Standing::Silent,
    Standing::LineDown,
    Standing::Late,
    Standing::NeverReported,
    Standing::Unknown,
    Standing::Live,
];

impl Standing {
    /// The word in JSON, addresses and classes.
    pub const fn word(self) -> &'static str {
        match self {
            Standing::DroppedOff => "dropped_off",
            Standing::AtRisk => "at_risk",
            Standing::SilentWeek => "silent_week",
            Standing::Silent => "silent",
            Standing::LineDown => "line_down",
            Standing::Late => "late",
            Standing::NeverReported => "never_reported",
            Standing::Unknown => "unknown",
            Standing::Live => "live",
        }
    }

    /// Whether its line or its box is in trouble now.
    pub const fn is_away(self) -> bool {
        !matches!(self, Standing::NeverReported | Standing::Unknown | Standing::Live)
    }
}

/// One school.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct School {
    /// Its id.
    pub id: String,
    /// For people.
    pub name: String,
    /// Who provides its line; empty: not known.
    pub provider: String,
    /// What the line's contract says, bit/s.
    pub contract_bps: Option<i64>,
    /// How it is.
    pub standing: Standing,
    /// When the hub last heard of it (RFC 3339).
    pub heard: Option<String>,
    /// How long ago that is.
    pub heard_seconds_ago: Option<u64>,
    /// Records that all its nodes have sent.
    pub records: i64,
    /// Node ids, the one that was heard last first.
    pub nodes: Vec<String>,
    /// Nodes that may report no more; what they told is the school's.
    pub former: Vec<String>,
    /// The node whose newest hour is shown.
    #[serde(skip)]
    #[schema(ignore)]
    pub shown: Option<String>,
    /// Two boxes use the key of one of them: a card was copied.
    pub twin: bool,
    /// Bytes from the cache and in all since the node's start, by way.
    pub by_way: BTreeMap<String, Share>,
    /// The newest hour in short.
    #[serde(skip)]
    #[schema(ignore)]
    pub glance: Option<Glance>,
    /// The newest hour as it was signed.
    #[schema(value_type = Option<Object>)]
    pub last: Option<Value>,
}

/// What of the bytes to clients came from the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Share {
    /// Bytes to clients that the line did not carry.
    pub cached_bytes: u64,
    /// All bytes to clients.
    pub client_bytes: u64,
    /// Requests.
    pub requests: u64,
}

/// Most schools of one provider are away at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Event {
    /// Whose line it is.
    pub provider: String,
    /// Schools that are away.
    pub away: usize,
    /// Schools that have ever reported.
    pub of: usize,
    /// Which.
    pub schools: Vec<String>,
}

/// All enrolled schools, who needs a call first. `since`: when the hub started.
pub fn region(settings: &Settings, roll: &Roll, latest: &[Latest], twins: &[Twin], now: Time, since: Time) -> Vec<School> {
    let news: HashMap<&str, &Latest> = latest.iter().map(|latest| (latest.node.as_str(), latest)).collect();
    let twins: HashSet<&str> = twins.iter().map(|twin| twin.node.as_str()).collect();
    let school = |(id, about): (&String, &About)| school(settings, (id, about), &news, &twins, now, since);
    let mut schools: Vec<School> = roll.schools().iter().map(school).collect();
    schools.sort_by(|a, b| {
        let key = |school: &School| (school.standing, std::cmp::Reverse(school.heard_seconds_ago));
        key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
    schools
}

fn school(
    settings: &Settings,
    (id, about): (&str, &About),
    news: &HashMap<&str, &Latest>,
    twins: &HashSet<&str>,
    now: Time,
    since: Time,
) -> School {
    let mut nodes: Vec<&String> = about.nodes.iter().collect();
    nodes.sort_by_key(|node| std::cmp::Reverse(news.get(node.as_str()).map(|latest| heard(latest, now))));
    // A box that was replaced speaks for its school until the new one does.
    let before = about.former.iter().filter_map(|node| news.get(node.as_str())).max_by_key(|latest| heard(latest, now));
    let newest = nodes.first().and_then(|node| news.get(node.as_str())).or(before);
    let glance = newest.and_then(|latest| latest.glance.clone());
    let heard = newest.map(|latest| heard(latest, now));
    let down = glance.as_ref().is_some_and(|glance| glance.state == "down");
    School {
        id: id.to_owned(),
        name: if about.name.is_empty() { id } else { &about.name }.to_owned(),
        provider: about.provider.clone(),
        contract_bps: about.contract_bps,
        standing: standing(settings, heard, down, now, since),
        heard: heard.map(Time::to_rfc3339),
        heard_seconds_ago: heard.map(|heard| age(now, heard).as_secs()),
        records: about.nodes.iter().chain(&about.former).filter_map(|node| news.get(node.as_str())).map(|latest| latest.records).sum(),
        twin: nodes.iter().any(|node| twins.contains(node.as_str())),
        nodes: nodes.into_iter().cloned().collect(),
        former: about.former.clone(),
        shown: newest.map(|latest| latest.node.clone()),
        by_way: glance.as_ref().map(by_way).unwrap_or_default(),
        glance,
        last: None,
    }
}

/// When a node was heard last. What was heard in days to come was heard by a clock that was ahead: then its newest hour says it.
fn heard(latest: &Latest, now: Time) -> Time {
    if latest.heard <= now.plus(AHEAD) {
        return latest.heard;
    }
    latest.glance.as_ref().map(|glance| Time::from_micros(glance.ended)).filter(|ended| *ended <= now.plus(AHEAD)).unwrap_or(Time::BUILT)
}

/// How a school is.
pub fn standing(settings: &Settings, heard: Option<Time>, down: bool, now: Time, since: Time) -> Standing {
    let Some(heard) = heard else {
        return Standing::NeverReported;
    };
    let quiet = age(now, heard);
    if quiet <= settings.late_after {
        return if down { Standing::LineDown } else { Standing::Live };
    }
    // What the hub itself slept through is nobody's silence.
    let listened = age(now, since).min(quiet);
    match quiet {
        _ if listened <= settings.late_after => Standing::Unknown,
        quiet if quiet <= settings.silent_after => Standing::Late,
        quiet if quiet >= DROPPED => Standing::DroppedOff,
        quiet if quiet >= RISK => Standing::AtRisk,
        quiet if quiet >= WEEK => Standing::SilentWeek,
        _ => Standing::Silent,
    }
}

/// Bytes from the cache and in all, by way: never one blended figure.
fn by_way(glance: &Glance) -> BTreeMap<String, Share> {
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let share = |(way, cached, all, requests): &(String, i64, i64, i64)| {
        (way.clone(), Share { cached_bytes: count(*cached), client_bytes: count(*all), requests: count(*requests) })
    };
    glance.ways.iter().map(share).collect()
}

/// Providers most of whose schools are away, the one with the most first.
pub fn events(schools: &[School]) -> Vec<Event> {
    let mut providers: BTreeMap<&str, Vec<&School>> = BTreeMap::new();
    for school in schools.iter().filter(|school| !school.provider.is_empty() && school.heard.is_some()) {
        providers.entry(&school.provider).or_default().push(school);
    }
    let event = |(provider, schools): (&str, Vec<&School>)| {
        // Who has been silent for a week is a case of his own.
        let together = |school: &&&School| school.standing.is_away() && school.standing > Standing::SilentWeek;
        let away: Vec<String> = schools.iter().filter(together).map(|school| school.id.clone()).collect();
        let event = Event { provider: provider.to_owned(), away: away.len(), of: schools.len(), schools: away };
        (event.away >= TOGETHER && 2 * event.away >= event.of).then_some(event)
    };
    let mut events: Vec<Event> = providers.into_iter().filter_map(event).collect();
    events.sort_by_key(|event| std::cmp::Reverse(event.away));
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Enrolled;
    use crate::report::sign::Key;

    const NOW: Time = Time::from_secs(1_795_500_000);

    fn hours(hours: u64) -> Time {
        NOW.minus(Duration::from_secs(hours * 3_600))
    }

    #[test]
    fn a_school_s_state_from_silence_and_last_words() {
        let settings = Settings::default();
        let table = [
            (None, false, 9_000, Standing::NeverReported),
            (Some(0), false, 9_000, Standing::Live),
            (Some(2), false, 9_000, Standing::Live),
            (Some(2), true, 9_000, Standing::LineDown),
            (Some(3), false, 9_000, Standing::Late),
            (Some(3), true, 9_000, Standing::Late),
            (Some(24), false, 9_000, Standing::Late),
            (Some(25), false, 9_000, Standing::Silent),
            (Some(7 * 24), false, 9_000, Standing::SilentWeek),
            (Some(22 * 24), false, 9_000, Standing::AtRisk),
            (Some(29 * 24), false, 9_000, Standing::DroppedOff),
            (Some(29 * 24), false, 1, Standing::Unknown),
            (Some(25), false, 3, Standing::Silent),
            (Some(2), false, 0, Standing::Live),
        ];
        for (heard, down, up, wanted) in table {
            assert_eq!(standing(&settings, heard.map(hours), down, NOW, hours(up)), wanted, "{heard:?} {down} {up}");
        }
        let mut sorted = STANDINGS;
        sorted.sort();
        assert_eq!(sorted, STANDINGS);
        assert!(STANDINGS.iter().all(|standing| serde_json::to_value(standing).expect("JSON") == standing.word()));
    }

    /// Schools with their provider, each with one node heard so many hours ago.
    fn stage(schools: &[(&str, &str, Option<u64>, &str)]) -> Vec<School> {
        let keys: Vec<Key> = schools.iter().map(|_| Key::make()).collect();
        let file: Vec<Enrolled> = keys
            .iter()
            .zip(schools)
            .map(|(key, (school, provider, ..))| Enrolled {
                key: key.public(),
                school: String::from(*school),
                name: format!("School {school}"),
                provider: String::from(*provider),
                contract: None,
            })
            .collect();
        let roll = Roll::new(&file, &[], &[]).expect("keys");
        let news = |(key, (_, _, heard, state)): (&Key, &(&str, &str, Option<u64>, &str))| {
            let ways = vec![("http".to_owned(), 300, 400, 4)];
            let glance = Glance { state: String::from(*state), ways, ..Glance::default() };
            heard.map(|heard| Latest { node: key.node(), heard: hours(heard), records: 2, glance: Some(glance) })
        };
        let latest: Vec<Latest> = keys.iter().zip(schools).filter_map(news).collect();
        let twin = Twin { node: keys[0].node(), found: 1, seen: 2, times: 1 };
        region(&Settings::default(), &roll, &latest, &[twin], NOW, hours(9_000))
    }

    #[test]
    fn the_region_puts_who_needs_a_call_first() {
        let schools = stage(&[
            ("live", "", Some(9), "up"),
            ("late", "", Some(5), "up"),
            ("silent", "", Some(30), "up"),
            ("older", "", Some(300), "up"),
            ("new", "", None, ""),
            ("down", "", Some(1), "down"),
            ("live", "", Some(0), "up"),
        ]);
        assert_eq!(schools.iter().map(|school| school.id.as_str()).collect::<Vec<_>>(), ["older", "silent", "down", "late", "new", "live"]);
        let live = schools.last().expect("six");
        assert_eq!((live.nodes.len(), live.records, live.twin, live.heard_seconds_ago), (2, 4, true, Some(0)));
        assert_eq!(live.by_way["http"], Share { cached_bytes: 300, client_bytes: 400, requests: 4 });
        assert_eq!((live.name.as_str(), schools[0].twin), ("School live", false));
    }

    #[test]
    fn a_school_that_was_heard_in_days_to_come_is_no_live_one() {
        let day = Duration::from_hours(24);
        let glance = |ended: Time| Some(Glance { ended: ended.micros(), ..Glance::default() });
        let node = |by: Time, glance| Latest { node: String::new(), heard: by, records: 1, glance };
        assert_eq!(heard(&node(NOW.plus(AHEAD), None), NOW), NOW.plus(AHEAD));
        assert_eq!(heard(&node(NOW.plus(day * 900), glance(NOW.minus(day))), NOW), NOW.minus(day));
        assert_eq!(heard(&node(NOW.plus(day * 900), glance(NOW.plus(day * 900))), NOW), Time::BUILT);
    }

    #[test]
    fn one_provider_failing_is_one_event() {
        let away = |id: &'static str| (id, "SAT", Some(4), "up");
        let mut all = vec![away("a"), away("b"), ("c", "SAT", Some(1), "down"), ("d", "SAT", Some(0), "up"), ("e", "SAT", Some(0), "up")];
        all.extend([("f", "FIBRE", Some(4), "up"), ("g", "", Some(4), "up"), ("h", "SAT", None, ""), ("i", "SAT", Some(2_000), "up")]);
        let told = events(&stage(&all));
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].provider.as_str(), told[0].away, told[0].of), ("SAT", 3, 6));
        assert_eq!(told[0].schools, ["c", "a", "b"]);
        assert!(events(&stage(&all[1..])).is_empty(), "two are two cases");
        let many: Vec<(&str, &str, Option<u64>, &str)> = [all.clone(), vec![("j", "SAT", Some(0), "up")]].concat();
        assert!(events(&stage(&many)).is_empty(), "three of seven are three cases");
    }
}
