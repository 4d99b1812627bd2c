//! Two pupils wander through their diaries, at random from a seed; whatever one of them gets is searched for the other's token.
//!
//! The walk knows nothing of what carries it: the same steps go through a node, or through a cache of the test's own whose rule
//! is broken on purpose.

use crate::kit::diary::{By, PLACES, Place, Pupil, unpacked};
use crate::kit::http::Answer;
use std::fmt::Write as _;

/// Hosts of diaries, and whether the node knows that they keep accounts: by the compiled-in list, by a pack, or not at all.
pub(crate) const HOSTS: [(&str, bool); 7] = [
    ("kundelik.kz", true),
    ("static.kundelik.kz", true),
    ("login.kundelik.kz", true),
    ("portal.school.test", true),
    ("refused.school.test", true),
    ("lessons.school.test", false),
    ("diary.school.test", false),
];

/// What is reviewed of them: scripts and styles, and (a careless reviewer) everything below `/v1/`.
pub(crate) const PACK: &str = r#"
id = "diary"
version = "1"
status = "verified"
licence = "by agreement"
permission = "letter of 2026-09-01"
[title]
en = "Diary"
[[seed]]
url = "http://static.kundelik.kz/static/app.8f3a91.js"
[scope]
hosts = ["static.kundelik.kz", "portal.school.test", "lessons.school.test"]
[[class]]
host = "static.kundelik.kz"
path = "/static/**"
accounts = true
[[class]]
host = "static.kundelik.kz"
path = "/v1/**"
accounts = true
[[class]]
host = "portal.school.test"
path = "/static/**"
accounts = true
[[class]]
host = "lessons.school.test"
path = "/v1/**"
[[class]]
host = "lessons.school.test"
path = "/static/**"
"#;

/// The ways to a diary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// In the plain, through the proxy.
    Plain,
    /// By CONNECT, with TLS of the device's own.
    Secure,
    /// Under the school's own names, as a pupil's own phone would, with whatever the browser has for that name.
    Mirror,
}

/// One request of one pupil.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Which of the pupils.
    pub(crate) pupil: usize,
    /// Host.
    pub(crate) host: &'static str,
    /// By which way.
    pub(crate) way: Way,
    /// Method.
    pub(crate) method: &'static str,
    /// Path and query.
    pub(crate) path: String,
    /// Field lines.
    pub(crate) fields: Vec<String>,
    /// Whether the body of a 200 is the pupil's own, when nothing stands between the pupil and the diary.
    pub(crate) own: bool,
}

/// Numbers at random that can be had again (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    /// From a seed.
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `most`.
    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).expect("31 bits") % most
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// The next step; `fits` says which places are visited.
pub(crate) fn step(dice: &mut Dice, pupils: &[Pupil], way: Way, fits: impl Fn(&Place) -> bool) -> Step {
    let (host, account) = *dice.pick(&HOSTS);
    let places: Vec<&Place> = PLACES.iter().filter(|place| (account || !place.mistaken) && fits(place)).collect();
    let place = **dice.pick(&places);
    let pupil = dice.below(pupils.len());
    let mut step = Step { pupil, host, way, method: "GET", path: String::new(), fields: Vec::new(), own: false };
    fill(dice, &pupils[pupil], &place, &mut step);
    step
}

/// The same step as somebody else takes it.
pub(crate) fn as_other(dice: &mut Dice, pupils: &[Pupil], step: &Step) -> Step {
    let me = &pupils[step.pupil].token;
    let pupil = (step.pupil + 1) % pupils.len();
    let path = step.path.replace(me, "TOKEN");
    let place = *PLACES.iter().find(|place| place.path == path).expect("a place of the diary");
    let mut other = Step { pupil, own: false, fields: Vec::new(), ..step.clone() };
    fill(dice, &pupils[pupil], &place, &mut other);
    other
}

fn fill(dice: &mut Dice, who: &Pupil, place: &Place, step: &mut Step) {
    step.path = place.path.replace("TOKEN", &who.token);
    let signed_in = !dice.once_in(5);
    match place.by {
        By::Bearer => step.fields.push(format!("Authorization: Bearer {}", who.token)),
        By::Header => step.fields.push(format!("Access-Token: {}", who.token)),
        By::Cookie | By::Link => {}
    }
    // A link is opened with the session as often as without (another host of the same diary).
    if signed_in && (place.by != By::Link || dice.once_in(2)) {
        step.fields.push(format!("Cookie: lang=kk; session={}", who.token));
    }
    step.method = *dice.pick(&["GET", "GET", "GET", "GET", "GET", "GET", "HEAD"]);
    if dice.once_in(3) {
        step.fields.push("Accept-Encoding: gzip".into());
    }
    let wishes = ["no-cache", "max-age=0", "max-stale=999999", "only-if-cached", "min-fresh=5"];
    let mut whole = step.method == "GET";
    match dice.below(12) {
        0 => {
            let wish = *dice.pick(&wishes);
            whole &= wish != "only-if-cached";
            step.fields.push(format!("Cache-Control: {wish}"));
        }
        1 => {
            let from = dice.below(400);
            step.fields.push(format!("Range: bytes={from}-{}", from + 300));
            whole = false;
        }
        2 => {
            step.fields.push(format!("If-None-Match: \"{}\"", who.token));
            whole = false;
        }
        _ => {}
    }
    // A mirror asks for nobody: there is nothing of one's own there, but behind a link that one knows.
    step.own = whole && place.own && (place.by != By::Cookie || signed_in) && step.way != Way::Mirror;
}

/// Who else's token lies in this answer, and where.
pub(crate) fn leaks(pupils: &[Pupil], step: &Step, answer: &Answer) -> Vec<String> {
    let mut head = String::new();
    for (name, value) in answer.fields.iter().chain(answer.interim.iter().flat_map(|(_, fields)| fields)) {
        writeln!(head, "{name}: {value}").expect("a string grows");
    }
    let mut told = Vec::new();
    for other in pupils.iter().enumerate().filter(|(at, _)| *at != step.pupil).map(|(_, other)| other) {
        // A range may cut the first token in two: half of one is as bad.
        let half = &other.token[..16];
        let body = || unpacked(&answer.body).iter().any(|part| String::from_utf8_lossy(part).contains(half));
        if head.contains(half) || body() {
            told.push(format!(
                "{} got what is {}'s: {step:?} -> {} {}",
                pupils[step.pupil].name,
                other.name,
                answer.status,
                answer.cache_status()
            ));
        }
    }
    told
}
