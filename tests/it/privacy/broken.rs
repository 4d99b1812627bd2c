//! The search finds what it is there to find: the same walk through a small cache over the library's own rules, whole at first,
//! and then with one condition switched off at a time. A check that cannot fail would be no check.

use super::walk::{self, Dice, PACK, Step, Way};
use crate::kit::diary::{Pupil, says};
use crate::kit::http::{self, Answer};
use crate::kit::origin::Ask as Asked;
use bulak::base::clock::{Clock, Time};
use bulak::base::target::Target;
use bulak::policy::{self, Admit, Ask, Decision, Kept, Kind, Line, Offline, Place, Rules, Vary};
use bulak::site::{Sites, pack::Pack};
use http_types::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use std::collections::HashMap;
use std::io::BufReader;
use std::sync::Arc;
use std::time::Duration;

use ::http as http_types;

/// What the cache of the test does not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blind {
    Nothing,
    /// Cookies of requests.
    Cookie,
    /// Authorization and its kin.
    Login,
    /// Cookies that answers set.
    SetCookie,
    /// `private` and `no-store`.
    Private,
    /// That an answer depends on who asks.
    Vary,
    /// That a host has accounts.
    Account,
    /// Keys in addresses.
    Address,
    /// Answers that speak to one person.
    Personal,
    /// That a 304 was for one person.
    Confirmed,
}

struct Stored {
    vary: Vary,
    kept: Kept,
    body: Vec<u8>,
    own: bool,
}

/// A cache in memory: nothing but the decisions.
struct Small {
    rules: Rules,
    sites: Sites,
    pupils: Vec<Pupil>,
    blind: Blind,
    shelf: HashMap<Target, Vec<Stored>>,
    now: Time,
    hits: usize,
}

impl Small {
    fn new(pupils: &[Pupil], blind: Blind) -> Small {
        let rules = Rules {
            kind: Kind::School,
            targeted: Vec::new(),
            offline: Offline::Public,
            heuristic_share: 0.1,
            heuristic_max: Duration::from_hours(24),
        };
        let pack = Pack::parse(PACK).expect("a good pack");
        let sites = Sites::with_refused(&[Arc::new(pack)], &["refused.school.test".into()]);
        Small { rules, sites, pupils: pupils.to_vec(), blind, shelf: HashMap::new(), now: Clock::system().now(), hits: 0 }
    }

    fn origin(&self, target: &Target, method: &Method, headers: &HeaderMap) -> Answer {
        let fields = headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.to_str().expect("ASCII").to_owned()));
        let ask =
            Asked { method: method.to_string(), target: target.path_and_query().to_owned(), fields: fields.collect(), ..Asked::default() };
        http::read(&mut BufReader::new(&says(&self.pupils, &ask)[..]), *method == Method::HEAD)
    }

    fn seen(&self, asked: &HeaderMap) -> HeaderMap {
        let mut seen = asked.clone();
        match self.blind {
            Blind::Cookie => drop(seen.remove("cookie")),
            Blind::Login => ["authorization", "access-token"].iter().for_each(|name| drop(seen.remove(*name))),
            _ => {}
        }
        seen
    }

    fn told(&self, answer: &HeaderMap) -> HeaderMap {
        let mut told = answer.clone();
        match self.blind {
            Blind::SetCookie => drop(told.remove("set-cookie")),
            Blind::Vary => drop(told.remove("vary")),
            Blind::Personal => ["clear-site-data", "x-csrf-token"].iter().for_each(|name| drop(told.remove(*name))),
            Blind::Private
                if ["private", "no-store"]
                    .iter()
                    .any(|word| told.get("cache-control").is_some_and(|told| told.to_str().is_ok_and(|told| told.contains(word)))) =>
            {
                told.insert("cache-control", HeaderValue::from_static("public, max-age=60"));
            }
            _ => {}
        }
        told
    }

    fn ask(&mut self, step: &Step, line: Line) -> Answer {
        let scheme = if step.way == Way::Secure { "https" } else { "http" };
        let target = Target::parse(&format!("{scheme}://{}{}", step.host, step.path)).expect("a target");
        let method: Method = step.method.parse().expect("a method");
        let asked = fields(step.fields.iter().filter_map(|line| line.split_once(": ")));
        let known = self.sites.look(&target);
        let account = known.account && self.blind != Blind::Account;
        let place = Place { account, class: known.class, own: false, intercepted: step.way == Way::Secure };
        let mut seen = self.seen(&asked);
        let mut place = place;
        let mut sent = asked.clone();
        let ask = Ask { method: &method, target: &target, headers: &seen, place };
        if policy::goes_bare(&self.rules, &ask) {
            seen.remove("cookie");
            sent.remove("cookie");
            place.own = place.account;
        }
        let ask = Ask { method: &method, target: &target, headers: &seen, place };
        let shelf = self.shelf.get(&target).map_or(&[][..], Vec::as_slice);
        let usable: Vec<usize> = (0..shelf.len()).rev().filter(|at| !account || shelf[*at].own).collect();
        let found = policy::select(&ask, usable.iter().map(|at| &shelf[*at].vary[..])).map(|chosen| usable[chosen]);
        let kept = found.map(|at| &shelf[at].kept);
        match policy::decide(&self.rules, &ask, kept, line, self.now) {
            Decision::Serve { .. } => {
                let stored = &shelf[found.expect("served from it")];
                self.hits += 1;
                return given(&stored.kept, &stored.body);
            }
            Decision::Refuse { .. } => return Answer { status: 504, ..Answer::default() },
            _ if line == Line::Down => return Answer { status: 502, ..Answer::default() },
            Decision::Pass { .. } => return self.origin(&target, &method, &sent),
            Decision::Revalidate { conditions, .. } => {
                sent.remove("if-none-match");
                sent.extend(conditions);
            }
            Decision::Fetch { .. } => {}
        }
        sent.remove("range");
        let answer = self.origin(&target, &method, &sent);
        let headers = fields(answer.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let status = StatusCode::from_u16(answer.status).expect("a status");
        if let (304, Some(at)) = (answer.status, found) {
            return self.confirm(&target, at, (&method, &seen, place), &headers);
        }
        let plain = Target::parse("http://plain.test/").expect("a target");
        let judged = Ask { target: if self.blind == Blind::Address { &plain } else { &target }, ..ask };
        if let Admit::Store { vary } = policy::admit(&self.rules, &judged, status, &self.told(&headers), self.now)
            && method == Method::GET
        {
            let kept = Kept::new(&self.rules, status, policy::header::fields_to_store(&headers), self.now, self.now);
            self.shelf.entry(target).or_default().push(Stored { vary, kept, body: answer.body.clone(), own: place.own });
        }
        answer
    }

    fn confirm(&mut self, target: &Target, at: usize, (method, seen, place): (&Method, &HeaderMap, Place), newer: &HeaderMap) -> Answer {
        let sound = self.blind != Blind::Confirmed;
        let ask = Ask { method, target, headers: seen, place };
        let stored = &self.shelf[target][at];
        let merged = policy::freshen::freshen_for(sound, &stored.kept.headers, newer);
        let kept = Kept::new(&self.rules, stored.kept.status, merged, self.now, self.now);
        let admitted = matches!(policy::admit(&self.rules, &ask, kept.status, &kept.headers, self.now), Admit::Store { .. });
        let stored = &mut self.shelf.get_mut(target).expect("it is there")[at];
        if admitted || !sound {
            stored.kept = kept;
        }
        given(&stored.kept, &stored.body)
    }

    /// Everything that is kept, as a disk would hold it.
    fn disk(&self) -> Vec<Vec<u8>> {
        let each = |(target, list): (&Target, &Vec<Stored>)| {
            let of = |stored: &Stored| [format!("{target} {:?} {:?}", stored.vary, stored.kept.headers).into_bytes(), stored.body.clone()];
            list.iter().flat_map(of).collect::<Vec<_>>()
        };
        self.shelf.iter().flat_map(each).collect()
    }
}

fn given(kept: &Kept, body: &[u8]) -> Answer {
    let fields = kept.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.to_str().expect("ASCII").to_owned()));
    Answer { status: kept.status.as_u16(), fields: fields.collect(), body: body.to_vec(), ..Answer::default() }
}

fn fields<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>) -> HeaderMap {
    let one = |(name, value): (&str, &str)| (name.parse::<HeaderName>().expect("a name"), value.parse::<HeaderValue>().expect("a value"));
    let mut map = HeaderMap::new();
    for (name, value) in lines.map(one) {
        map.append(name, value);
    }
    map
}

/// Walks, and gives what leaked to the other pupil, what lies on the disk, and how often the cache was of use.
fn wander(seed: u64, count: usize, blind: Blind) -> (Vec<String>, Vec<String>, usize) {
    let pupils = super::pupils(seed);
    let mut small = Small::new(&pupils, blind);
    let mut dice = Dice::new(seed);
    let mut told = Vec::new();
    for at in 0..count {
        // A fifth of the day the line is down.
        let line = if at % 500 >= 400 { Line::Down } else { Line::Up };
        let way = if dice.below(3) == 0 { Way::Secure } else { Way::Plain };
        let step = walk::step(&mut dice, &pupils, way, |_| true);
        let answer = small.ask(&step, line);
        told.extend(walk::leaks(&pupils, &step, &answer));
        small.now = small.now.plus(Duration::from_secs(1));
    }
    let disk = super::on_disk(&pupils, small.disk().iter().map(|bytes| ("shelf".into(), bytes.clone())));
    (told, disk, small.hits)
}

#[test]
fn the_rules_as_they_are_leak_nothing() {
    for seed in 1..=5 {
        let (told, disk, hits) = wander(seed, 4000, Blind::Nothing);
        assert!(told.is_empty() && disk.is_empty(), "seed {seed}: {told:#?} {disk:#?}");
        assert!(hits > 200, "seed {seed}: the cache was of use {hits} times");
    }
}

#[test]
fn every_condition_that_is_switched_off_is_found_out() {
    // Whether the other pupil gets it, or it only lies on the disk.
    let table = [
        (Blind::Cookie, true),
        (Blind::Login, true),
        (Blind::SetCookie, true),
        (Blind::Private, false),
        (Blind::Vary, true),
        (Blind::Account, true),
        (Blind::Address, false),
        (Blind::Personal, true),
        (Blind::Confirmed, true),
    ];
    for (blind, told_to_others) in table {
        let (told, disk, _) = wander(1, 4000, blind);
        assert!(!disk.is_empty(), "{blind:?} leaves nothing on the disk");
        assert!(!told_to_others || !told.is_empty(), "{blind:?} tells nobody");
    }
}
