//! Plays a case between the byte-exact client and origin, and judges: safe, odd (impolite, harms nobody) or unsafe, with the reason.
//!
//! Whatever a case wishes for, this must hold always: what reaches the origin and the client is well formed, no request is smuggled,
//! each answer goes to its own request, addresses out of bounds are left alone, nothing hangs, and the next one is served.

use crate::client::{Client, End, Heard, PATIENCE};
use crate::fill::Place;
use crate::kit;
use crate::origin::{self, Origin, Seen};
use crate::script::{Case, Step, Want, Weight};
use crate::strict::{self, Message, Reading};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a case came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Safe,
    Odd(String),
    Unsafe(String),
}

/// A verdict, and whether the proxy said nothing for too long or has stopped serving: then another case may be to blame.
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) is_suspect: bool,
    pub(crate) is_sick: bool,
}

/// The first complaint of each weight.
#[derive(Default)]
struct Notes {
    bad: Option<String>,
    odd: Option<String>,
    silent: bool,
    sick: bool,
}

impl Notes {
    fn note(&mut self, weight: Weight, what: impl Into<String>) {
        let place = if weight == Weight::Unsafe { &mut self.bad } else { &mut self.odd };
        place.get_or_insert(what.into());
    }

    fn bad(&mut self, what: impl Into<String>) {
        self.note(Weight::Unsafe, what);
    }

    fn odd(&mut self, what: impl Into<String>) {
        self.note(Weight::Odd, what);
    }
}

/// Plays one case.
///
/// # Errors
/// The case itself cannot be read.
pub(crate) fn play(case: &Case, place: Place, origin: &Origin) -> Result<Judged, String> {
    origin.tell(place, &case.origin)?;
    let mut play = Play { place, origin, notes: Notes::default(), clients: BTreeMap::new() };
    for step in &case.steps {
        play.step(step)?;
    }
    play.after();
    let notes = play.notes;
    let verdict = notes.bad.map(Verdict::Unsafe).or(notes.odd.map(Verdict::Odd)).unwrap_or(Verdict::Safe);
    Ok(Judged { verdict, is_suspect: notes.silent || notes.sick, is_sick: notes.sick })
}

struct Play<'a> {
    place: Place,
    origin: &'a Origin,
    notes: Notes,
    /// Open connections; none of it is HTTP any longer, or a request is not whole: left alone at the end.
    clients: BTreeMap<char, (Client, bool)>,
}

/// A step and what came of it.
struct Turn {
    asked: Reading,
    heard: Heard,
    /// Whole requests at the origin since it began.
    gained: usize,
    seen: Seen,
}

impl Play<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        if step.pause > 0 {
            // However busy the machine is: what the origin says a moment later is to have been said.
            kit::until("the origin has said what it says", 60, || self.origin.is_quiet(self.place.ip().into()));
            std::thread::sleep(Duration::from_secs(step.pause));
        }
        let bytes = self.place.fill(&step.text)?;
        let before = self.origin.seen(self.place.ip().into()).asks.len();
        let kept = self.clients.remove(&step.client).map(|(client, _)| client).filter(|client| !client.over);
        let mut client = match kept.map_or_else(|| Client::open(self.place.proxy), Ok) {
            Ok(client) => client,
            Err(what) => {
                self.notes.bad(what);
                return Ok(());
            }
        };
        if step.leaves {
            client.leave(&bytes);
            return Ok(());
        }
        let asked = strict::requests(&bytes);
        let mut methods: Vec<String> = asked.whole.iter().map(|ask| ask.method().to_owned()).collect();
        if asked.fault.is_some() || asked.begun.is_some() {
            methods.push(method_of(&bytes[asked.used..]));
        }
        let heard = client.exchange(&bytes, &methods);
        let seen = self.origin.seen(self.place.ip().into());
        let turn = Turn { gained: seen.asks.len().saturating_sub(before), asked, heard, seen };
        self.always(&turn);
        let through = turn
            .heard
            .reading
            .whole
            .last()
            .zip(methods.last())
            .is_some_and(|(answer, method)| answer.status() == 101 || (method == "CONNECT" && answer.status() / 100 == 2));
        for (weight, want) in &step.wants {
            if *want == Want::Closed {
                if !client.over && !through && self.goes_on(&mut client) {
                    self.notes.note(*weight, "the connection is kept");
                }
            } else {
                self.weigh(*weight, want, &turn)?;
            }
        }
        self.clients.insert(step.client, (client, through || turn.asked.begun.is_some()));
        Ok(())
    }

    /// What must hold of every exchange.
    fn always(&mut self, turn: &Turn) {
        let Turn { asked, heard, .. } = turn;
        if let Some(fault) = &heard.reading.fault {
            let page = asked.fault.is_some() && !heard.raw.starts_with(b"HTTP/");
            let weight = if page { Weight::Odd } else { Weight::Unsafe };
            self.notes.note(weight, format!("the client got {fault}"));
        }
        let waits = asked.begun.is_some() && heard.reading.whole.len() >= asked.whole.len() && heard.reading.begun.is_none();
        if heard.end == End::Hung && !waits {
            self.notes.silent = true;
            // Who takes a malformed request for the beginning of one waits for the rest, and may.
            let weight = if asked.fault.is_some() && heard.raw.is_empty() { Weight::Odd } else { Weight::Unsafe };
            self.notes.note(weight, format!("hangs: nothing for {} s", PATIENCE.as_secs()));
        }
        for (answer, ask) in heard.reading.whole.iter().zip(&asked.whole) {
            self.own(answer, ask, asked);
        }
    }

    /// Each answer goes to its own request.
    fn own(&mut self, answer: &Message, ask: &Message, asked: &Reading) {
        let (Some(echo), wanted) = (answer.field("x-echo"), echo_of(ask)) else { return };
        if echo == wanted {
            return;
        }
        let others = asked.whole.iter().any(|other| echo_of(other) == echo) || echo.contains("/next");
        if others {
            self.notes.bad(format!("the answer to `{echo}` was given to `{wanted}`"));
        } else {
            self.notes.odd(format!("`{wanted}` became `{echo}`"));
        }
    }

    fn weigh(&mut self, weight: Weight, want: &Want, turn: &Turn) -> Result<(), String> {
        let whole = &turn.heard.reading.whole;
        let last = whole.last();
        let status = last.map_or(0, Message::status);
        // Good requests before the one that is meant may pass.
        let faulty = usize::from(turn.asked.fault.is_some() || turn.asked.begun.is_some());
        let good = (turn.asked.whole.len() + faulty).saturating_sub(1);
        let extra = turn.gained.saturating_sub(good);
        let unless = |fine: bool, what: String| if fine { None } else { Some((weight, what)) };
        let holds = |text: &str, raw: &[u8]| -> Result<bool, String> {
            let text = self.place.fill(text)?;
            Ok(raw.windows(text.len()).any(|part| part.eq_ignore_ascii_case(&text)))
        };
        let complaint = match want {
            Want::Refused if extra > 0 => Some((weight, format!("went through to the origin as {}", newest(turn)))),
            Want::Repaired if extra > 1 => Some((weight, format!("became {extra} requests, the last {}", newest(turn)))),
            Want::Repaired if extra == 1 => Some((Weight::Odd, format!("was repaired to {}", newest(turn)))),
            Want::Refused | Want::Repaired => match status {
                _ if whole.len() <= good => None,
                200..=299 => Some((weight, format!("answered with {status} all the same"))),
                100..=399 => Some((Weight::Odd, format!("answered with {status} all the same"))),
                _ => None,
            },
            Want::Passed if turn.gained == 0 || !(200..400).contains(&status) => {
                Some((Weight::Odd, format!("a good request got {status}")))
            }
            Want::Denied => match status {
                400..=499 => None,
                0 | 500..=599 => Some((Weight::Odd, format!("refused by {status}"))),
                _ => Some((weight, format!("was answered with {status}"))),
            },
            Want::Broken => unless(
                // An echo is no cut body: the proxy has asked again.
                !whole.iter().any(|answer| answer.status() < 400 && answer.field("x-echo").is_none()),
                format!("delivered as complete: {}", last.map(ToString::to_string).unwrap_or_default()),
            ),
            Want::Fresh => unless(
                turn.gained > 0 || status == 0 || status >= 500,
                format!("kept, and given again: {}", last.map(ToString::to_string).unwrap_or_default()),
            ),
            Want::Status(wanted) => unless(status == *wanted, format!("status {status}, not {wanted}")),
            Want::Not(unwanted) => unless(!whole.iter().any(|answer| answer.status() == *unwanted), format!("status {unwanted}")),
            Want::Has(text) => unless(holds(text, &turn.heard.raw)?, format!("no `{text}` in the answer, status {status}")),
            Want::Lacks(text) => unless(!holds(text, &turn.heard.raw)?, format!("`{text}` in the answer")),
            Want::OriginHas(text) => unless(holds(text, &turn.seen.raw)?, format!("no `{text}` at the origin")),
            Want::OriginLacks(text) => unless(!holds(text, &turn.seen.raw)?, format!("`{text}` at the origin")),
            Want::Passed | Want::Closed => None,
        };
        if let Some((weight, what)) = complaint {
            self.notes.note(weight, what);
        }
        Ok(())
    }

    /// Whether another request is served on this connection; judged like any.
    fn goes_on(&mut self, client: &mut Client) -> bool {
        let (ask, host) = ("/next-same", self.place.host());
        let Some(heard) = self.next(client, ask, &host) else { return false };
        heard.reading.whole.first().is_some_and(|answer| answer.field("x-echo").is_some())
    }

    /// One more good request; none when the connection is over.
    fn next(&mut self, client: &mut Client, path: &str, host: &str) -> Option<Heard> {
        let bytes = format!("GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
        let heard = client.exchange(&bytes, &["GET".to_owned()]);
        if heard.raw.is_empty() && matches!(heard.end, End::Closed | End::Reset) {
            return None;
        }
        if let Some(fault) = &heard.reading.fault {
            self.notes.bad(format!("to the next request the client got {fault}"));
        } else if heard.end == End::Hung {
            self.notes.silent = true;
            self.notes.bad("the next request hangs");
        } else if let Some(answer) = heard.reading.whole.first() {
            let own = answer.field("x-echo") == Some(&format!("GET {path}"));
            // A page of the proxy's own says that it failed.
            if !own && (answer.status() < 400 || answer.field("x-echo").is_some()) {
                self.notes.bad(format!("the next request got another's answer: {answer}"));
            }
        }
        Some(heard)
    }

    /// After the case: the same connections, the same origin, and somebody who has nothing to do with it.
    fn after(&mut self) {
        let host = self.place.host();
        for (mut client, is_left) in std::mem::take(&mut self.clients).into_values() {
            if !client.over && !is_left {
                self.next(&mut client, "/next-same", &host);
            }
        }
        match Client::open(self.place.proxy) {
            Ok(mut client) => {
                if self.next(&mut client, "/next", &host).is_none() {
                    self.notes.odd("the next request got no answer");
                }
            }
            Err(what) => self.notes.bad(what),
        }
        if !self.is_healthy() && !self.is_healthy() {
            self.notes.sick = true;
            self.notes.bad("a healthy request is served no longer");
        }
        let seen = self.origin.seen(self.place.ip().into());
        if let Some(fault) = seen.faults.first() {
            self.notes.bad(format!("the origin got {fault}"));
        }
        if seen.asks.iter().any(|ask| origin::path(ask.target()).starts_with("/smuggled")) {
            self.notes.bad("a smuggled request reached the origin");
        }
        if self.origin.seen(self.place.bad().into()).connections > 0 {
            self.notes.bad("a forbidden address was connected to");
        }
    }

    fn is_healthy(&mut self) -> bool {
        let host = origin::healthy(self.place.port).to_string();
        let Ok(mut client) = Client::open(self.place.proxy) else { return false };
        let heard = self.next(&mut client, "/next-healthy", &host);
        heard.is_some_and(|heard| heard.reading.whole.first().is_some_and(|answer| answer.field("x-echo").is_some()))
    }
}

fn echo_of(ask: &Message) -> String {
    format!("{} {}", ask.method(), origin::path(ask.target()))
}

fn newest(turn: &Turn) -> String {
    turn.seen.asks.last().map(ToString::to_string).unwrap_or_default()
}

/// The method of a request that cannot be read, as far as it decides how its answer is framed.
fn method_of(bytes: &[u8]) -> String {
    ["HEAD ", "CONNECT "].iter().find(|word| bytes.starts_with(word.as_bytes())).map_or("GET", |word| word.trim_end()).to_owned()
}
