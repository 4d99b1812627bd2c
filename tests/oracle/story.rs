//! What happens: places of an origin that change, clients that ask, time that passes. Plain data from a seed.
//!
//! Every step keeps its meaning when others are left out, which is what makes a long story short: a client's validators are named
//! by where it has them from, not by their text, and time passes by steps of its own.

use crate::dice::Dice;
use std::fmt;

/// One origin's days.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// So many seconds pass.
    Wait(u64),
    /// A place has a new version.
    Change(usize, Box<State>),
    /// A place keeps its version and fails, or no longer does.
    Trouble(usize, Trouble),
    /// Clients ask, all at once.
    Ask(Vec<Ask>),
}

/// What a place answers.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) status: u16,
    pub(crate) cache_control: Vec<String>,
    pub(crate) expires: Option<Expires>,
    /// How far the origin's clock is off (seconds); `None`: no `Date`.
    pub(crate) dated: Option<i64>,
    pub(crate) age: Option<&'static str>,
    pub(crate) tag: Tag,
    /// `Last-Modified`: so many seconds before the change.
    pub(crate) modified: Option<i64>,
    pub(crate) vary: Vec<&'static str>,
    pub(crate) sets_cookie: bool,
    pub(crate) size: usize,
    /// Answers ranges.
    pub(crate) ranges: bool,
    /// Answers conditional requests by 304.
    pub(crate) conditions: bool,
    /// A 304 carries nothing but validators and a date.
    pub(crate) lean: bool,
    pub(crate) framing: Framing,
    /// What an unsafe method gets.
    pub(crate) change_status: u16,
    /// `Location` or `Content-Location` of that answer, and the place it leads to.
    pub(crate) leads: Option<(&'static str, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expires {
    /// Seconds after the origin's date.
    After(i64),
    Unreadable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    None,
    Strong,
    Weak,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunked,
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// An error answer that may not be kept.
    Status(u16),
    /// The connection ends without an answer.
    Silent,
    /// The body ends early.
    Cut,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) place: usize,
    pub(crate) method: &'static str,
    pub(crate) fields: Vec<(&'static str, Value)>,
}

/// A field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    /// The entity tag of the newest answer that any client had from this place, or of the one so many versions before.
    TagOf(usize),
    /// Its `Last-Modified`.
    ModifiedOf(usize),
}

/// Places of one origin.
pub(crate) const PLACES: usize = 3;

const WAITS: [u64; 16] = [1, 1, 4, 5, 9, 10, 11, 29, 30, 31, 59, 61, 299, 301, 3601, 90_000];
const LIFETIMES: [u64; 9] = [0, 1, 5, 10, 10, 30, 60, 300, 3600];

impl Story {
    /// A story with at least `asks` requests.
    pub(crate) fn make(seed: u64, asks: usize) -> Story {
        let dice = &mut Dice::new(seed);
        let places = 1 + dice.below(PLACES);
        let mut steps: Vec<Step> = (0..places).map(|place| Step::Change(place, Box::new(state(dice)))).collect();
        let mut made = 0;
        while made < asks {
            let place = dice.below(places);
            match dice.below(100) {
                0..20 => steps.push(Step::Wait(dice.one_of(&WAITS))),
                20..28 => steps.push(Step::Change(place, Box::new(state(dice)))),
                28..33 => steps.push(Step::Trouble(place, trouble(dice))),
                33..36 => steps.push(Step::Trouble(place, Trouble::None)),
                _ => {
                    let at_once = dice.one_of(&[1, 1, 1, 1, 1, 1, 2, 2, 3, 4]);
                    // Those who ask at once mean the same place: that is what a class does.
                    let asked: Vec<Ask> = (0..at_once).map(|_| ask(dice, place)).collect();
                    made += asked.len();
                    steps.push(Step::Ask(asked));
                }
            }
        }
        Story { steps }
    }

    /// An origin that breaks every part off, and clients that ask for the end of it.
    pub(crate) fn of_cuts(count: usize) -> Story {
        let state = State {
            status: 200,
            cache_control: vec!["max-age=60".into()],
            expires: None,
            dated: Some(0),
            age: None,
            tag: Tag::Strong,
            modified: None,
            vary: vec![],
            sets_cookie: false,
            size: 400,
            ranges: true,
            conditions: true,
            lean: false,
            framing: Framing::Length,
            change_status: 200,
            leads: None,
        };
        let range = ("Range", Value::Text("bytes=-20".into()));
        let ask = Step::Ask(vec![Ask { place: 0, method: "GET", fields: vec![range] }]);
        let begun = [Step::Change(0, Box::new(state)), Step::Trouble(0, Trouble::Cut)];
        Story { steps: begun.into_iter().chain(std::iter::repeat_n(ask, count)).collect() }
    }

    /// Requests in it.
    pub(crate) fn asks(&self) -> usize {
        self.steps.iter().map(|step| if let Step::Ask(asked) = step { asked.len() } else { 0 }).sum()
    }
}

fn trouble(dice: &mut Dice) -> Trouble {
    match dice.below(6) {
        0 | 1 => Trouble::Silent,
        2 => Trouble::Cut,
        _ => Trouble::Status(dice.one_of(&[500, 502, 503, 504])),
    }
}

fn state(dice: &mut Dice) -> State {
    let status = match dice.below(20) {
        0 => 404,
        1 => 410,
        2 => dice.one_of(&[301, 302, 307, 308]),
        3 => dice.one_of(&[203, 299, 300, 403, 405, 501, 599]),
        4 => 204,
        _ => 200,
    };
    let tag = dice.one_of(&[Tag::Strong, Tag::Strong, Tag::Weak, Tag::None]);
    let modified = dice.chance(60).then(|| dice.one_of(&[0, 1, 70, 1000, 100_000, 10_000_000]));
    State {
        status,
        cache_control: cache_control(dice),
        expires: match dice.below(12) {
            0 | 1 => Some(Expires::After(dice.one_of(&[-10, 0, 10, 60, 600]))),
            2 => Some(Expires::Unreadable),
            _ => None,
        },
        dated: if dice.chance(5) { None } else { Some(dice.one_of(&[0, 0, 0, 0, 0, 0, -5, -40, 20, -4000])) },
        age: if dice.chance(8) { Some(dice.pick(&["0", "5", "40", "nine", "4000000000"])) } else { None },
        tag,
        modified,
        vary: vary(dice),
        sets_cookie: dice.chance(5),
        size: if status == 204 { 0 } else { dice.one_of(&[60, 400, 1000, 5000]) },
        ranges: dice.chance(75),
        conditions: dice.chance(85),
        lean: dice.chance(25),
        framing: dice.one_of(&[Framing::Length, Framing::Length, Framing::Length, Framing::Chunked, Framing::Close]),
        change_status: dice.one_of(&[200, 200, 204, 201, 303, 400, 404, 500]),
        leads: dice.chance(30).then(|| (dice.pick(&["location", "content-location"]), dice.below(PLACES))),
    }
}

fn cache_control(dice: &mut Dice) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    if dice.chance(70) {
        told.push(format!("max-age={}", dice.one_of(&LIFETIMES)));
    }
    if dice.chance(12) {
        told.push(format!("s-maxage={}", dice.one_of(&LIFETIMES)));
    }
    let rare: [(usize, &str); 15] = [
        (22, "public"),
        (5, "private"),
        (5, "no-store"),
        (7, "no-cache"),
        (9, "must-revalidate"),
        (4, "proxy-revalidate"),
        (8, "immutable"),
        (2, "private=\"x-own\""),
        (2, "no-cache=\"x-own\""),
        (2, "must-understand"),
        (2, "no-transform"),
        (3, "x-other=\"no-store, max-age=9\""),
        (1, "max-age=soon"),
        (1, "max-age=\"60\""),
        (1, "max-age=-1"),
    ];
    told.extend(rare.iter().filter(|(percent, _)| dice.chance(*percent)).map(|(_, word)| (*word).to_owned()));
    for name in ["stale-while-revalidate", "stale-if-error"] {
        if dice.chance(10) {
            told.push(format!("{name}={}", dice.one_of(&[5, 30, 300])));
        }
    }
    if dice.chance(10) {
        told.reverse();
    }
    if dice.chance(5) {
        told = told.iter().map(|word| if word.contains('"') { word.clone() } else { word.to_ascii_uppercase() }).collect();
    }
    told
}

fn vary(dice: &mut Dice) -> Vec<&'static str> {
    match dice.below(20) {
        0..3 => vec!["Accept-Language"],
        3 | 4 => vec!["X-Kind"],
        5 => vec!["Accept-Language", "X-Kind"],
        6 => vec!["Accept-Encoding"],
        7 => vec!["*"],
        8 => vec!["Cookie"],
        _ => vec![],
    }
}

fn ask(dice: &mut Dice, place: usize) -> Ask {
    let method = match dice.below(100) {
        0..8 => "HEAD",
        8..13 => "POST",
        13..16 => "PUT",
        16 | 17 => "DELETE",
        18 => "PATCH",
        19 => "OPTIONS",
        20 => "MEND",
        _ => "GET",
    };
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    let mut put = |name: &'static str, value: &str| fields.push((name, Value::Text(value.to_owned())));
    if dice.chance(12) {
        put("Cookie", dice.pick(&["child=7", "child=8"]));
    }
    if dice.chance(6) {
        put("Authorization", dice.pick(&["Basic QTpi", "Bearer abc"]));
    }
    if dice.chance(35) {
        put("Accept-Language", dice.pick(&["kk", "ru", "en"]));
    }
    if dice.chance(20) {
        put("X-Kind", dice.pick(&["a", "b"]));
    }
    if dice.chance(15) {
        let words = [
            "no-cache",
            "no-store",
            "max-age=0",
            "max-age=5",
            "max-age=3600",
            "min-fresh=5",
            "max-stale",
            "max-stale=5",
            "max-stale=300",
            "only-if-cached",
            "only-if-cached, max-stale=10",
        ];
        put("Cache-Control", dice.pick(&words));
    }
    if dice.chance(2) {
        put("Pragma", "no-cache");
    }
    let ranged = dice.chance(14);
    if ranged {
        put(
            "Range",
            dice.pick(&["bytes=0-9", "bytes=10-49", "bytes=0-", "bytes=100-", "bytes=-20", "bytes=0-0,5-9", "bytes=9000-", "bytes=0-399"]),
        );
    }
    if ranged && dice.chance(45) {
        let text = Value::Text("\"never\"".into());
        let values = [Value::TagOf(0), Value::TagOf(1), Value::ModifiedOf(0), Value::ModifiedOf(1), text];
        fields.push(("If-Range", values[dice.below(values.len())].clone()));
    }
    if dice.chance(9) {
        let text = |text: &str| Value::Text(text.into());
        let values = [Value::TagOf(0), Value::TagOf(0), Value::TagOf(1), text("\"never\""), text("*")];
        fields.push(("If-None-Match", values[dice.below(values.len())].clone()));
    }
    if dice.chance(7) {
        let values = [Value::ModifiedOf(0), Value::ModifiedOf(1), Value::Text("Thu, 01 Jan 1998 00:00:00 GMT".into())];
        fields.push(("If-Modified-Since", values[dice.below(values.len())].clone()));
    }
    Ask { place, method, fields }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} bytes, {:?}", self.status, self.size, self.framing)?;
        if !self.cache_control.is_empty() {
            write!(f, ", Cache-Control `{}`", self.cache_control.join(", "))?;
        }
        match self.expires {
            Some(Expires::After(secs)) => write!(f, ", Expires {secs} s after Date")?,
            Some(Expires::Unreadable) => write!(f, ", Expires `0`")?,
            None => {}
        }
        match self.dated {
            None => write!(f, ", no Date")?,
            Some(0) => {}
            Some(skew) => write!(f, ", Date off by {skew} s")?,
        }
        if let Some(age) = self.age {
            write!(f, ", Age `{age}`")?;
        }
        write!(f, ", tag {:?}", self.tag)?;
        if let Some(ago) = self.modified {
            write!(f, ", modified {ago} s before")?;
        }
        if !self.vary.is_empty() {
            write!(f, ", Vary `{}`", self.vary.join(", "))?;
        }
        for (is, word) in
            [(self.sets_cookie, "sets a cookie"), (!self.ranges, "no ranges"), (!self.conditions, "never 304"), (self.lean, "lean 304")]
        {
            if is {
                write!(f, ", {word}")?;
            }
        }
        write!(f, "; a change gets {}", self.change_status)?;
        if let Some((field, place)) = self.leads {
            write!(f, " with {field} /p{place}")?;
        }
        Ok(())
    }
}
