//! Plays a story before a proxy and asks the oracle after every step.

use crate::law::{self, Broken, Case, Kind};
use crate::origin::Stage;
use crate::scene::{Exchange, Fields, Request, is_change};
use crate::second::Second;
use crate::story::{Ask, Step, Story, Trouble, Value};
use crate::wire::Message;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What stands between clients and the origin.
pub(crate) trait Subject: Sync {
    /// One request and its answer; one without a line when none came.
    fn ask(&self, stage: &Stage, request: &Request, id: usize) -> Message;

    /// Time passes.
    fn wait(&self, secs: u64);

    fn now(&self) -> i64;

    fn stage(&self) -> Stage;

    fn leave(&self, stage: &Stage);
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) asks: usize,
    pub(crate) kinds: BTreeMap<Kind, usize>,
    pub(crate) exchanges: usize,
    pub(crate) second: Second,
}

/// A rule that did not hold, at which step, and everything up to there in words.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) step: usize,
    pub(crate) broken: Broken,
    pub(crate) told: String,
}

/// Entity tag and date of change of an answer.
type Validators = (Option<String>, Option<String>);

/// Validators that clients have, by place, oldest first.
#[derive(Default)]
struct Memory(BTreeMap<usize, Vec<Validators>>);

impl Memory {
    fn learn(&mut self, place: usize, answer: &Message) {
        let pair = (answer.field("etag"), answer.field("last-modified"));
        let known = self.0.entry(place).or_default();
        if pair != (None, None) && known.last() != Some(&pair) {
            known.push(pair);
        }
    }

    fn fill(&self, ask: &Ask) -> Request {
        let known = self.0.get(&ask.place);
        let back = |count: usize| known.and_then(|known| known.iter().rev().nth(count));
        let fill = |value: &Value| match value {
            Value::Text(text) => Some(text.clone()),
            Value::TagOf(count) => back(*count)?.0.clone(),
            Value::ModifiedOf(count) => back(*count)?.1.clone(),
        };
        let fields: Fields = ask.fields.iter().filter_map(|(name, value)| Some((name.to_ascii_lowercase(), fill(value)?))).collect();
        // A condition without its range, or the other way round, is left out as a client would.
        let ranged = fields.iter().any(|(name, _)| name == "range");
        let fields = fields.into_iter().filter(|(name, _)| name != "if-range" || ranged).collect();
        Request { method: ask.method.into(), place: ask.place, fields }
    }
}

/// Plays it to the end or to the first fault.
pub(crate) fn play(subject: &dyn Subject, school: bool, story: &Story, tally: &mut Tally) -> Result<(), Box<Fault>> {
    let stage = subject.stage();
    let played = Play {
        subject,
        school,
        stage: &stage,
        memory: Memory::default(),
        ends: Vec::new(),
        waited: Vec::new(),
        taken: Vec::new(),
        told: String::new(),
        next: 0,
    }
    .run(story, tally);
    tally.exchanges += stage.scene.lock().log.len();
    subject.leave(&stage);
    played
}

struct Play<'a> {
    subject: &'a dyn Subject,
    school: bool,
    stage: &'a Stage,
    memory: Memory,
    ends: Vec<i64>,
    /// Exchanges that a client waited for.
    waited: Vec<usize>,
    /// Exchanges whose whole answer a client took.
    taken: Vec<usize>,
    told: String,
    next: usize,
}

impl Play<'_> {
    fn run(mut self, story: &Story, tally: &mut Tally) -> Result<(), Box<Fault>> {
        let begun = self.subject.now();
        self.stage.scene.lock().now = begun;
        for (at, step) in story.steps.iter().enumerate() {
            self.stage.scene.lock().step = at;
            match step {
                Step::Wait(secs) => {
                    self.subject.wait(*secs);
                    self.stage.scene.lock().now = self.subject.now();
                    self.tell(format_args!("{secs} s pass"));
                }
                Step::Change(place, state) => {
                    self.stage.scene.lock().change(*place, state);
                    self.tell(format_args!("/p{place} is new: {state}"));
                }
                Step::Trouble(place, trouble) => {
                    self.stage.scene.lock().trouble(*place, *trouble);
                    let word = if *trouble == Trouble::None { "works again".to_owned() } else { format!("fails: {trouble:?}") };
                    self.tell(format_args!("/p{place} {word}"));
                }
                Step::Ask(asked) => {
                    if let Err(broken) = self.ask(at, asked, tally) {
                        return Err(Box::new(Fault { step: at, broken, told: self.told }));
                    }
                }
            }
            let now = self.subject.now();
            self.ends.push(now);
            // Steps without a request follow each other at once: what runs behind may end after the last of them.
            let silent = story.steps[..=at].iter().rposition(|step| matches!(step, Step::Ask(_))).map_or(0, |ask| ask + 1);
            self.ends[silent..].fill(now);
        }
        Ok(())
    }

    fn tell(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.told, "{:>3}  {line}", self.ends.len()).expect("a string grows");
    }

    fn ask(&mut self, step: usize, asked: &[Ask], tally: &mut Tally) -> Result<(), Broken> {
        let requests: Vec<(usize, Request)> = asked.iter().enumerate().map(|(at, ask)| (self.next + at, self.memory.fill(ask))).collect();
        self.next += asked.len();
        let (subject, stage) = (self.subject, self.stage);
        let answers: Vec<Message> = if let [(id, request)] = &requests[..] {
            vec![subject.ask(stage, request, *id)]
        } else {
            std::thread::scope(|scope| {
                let running: Vec<_> = requests.iter().map(|(id, request)| scope.spawn(move || subject.ask(stage, request, *id))).collect();
                running.into_iter().map(|one| one.join().expect("no panic")).collect()
            })
        };
        stage.settle(None);
        let log = stage.scene.lock().log.clone();
        self.hear(step, &requests, &answers, &log);
        let now = self.subject.now();
        for ((id, request), answer) in requests.iter().zip(&answers) {
            self.memory.learn(request.place, answer);
            let case = Case {
                school: self.school,
                log: &log,
                ends: &self.ends,
                waited: &self.waited,
                taken: &self.taken,
                id: *id,
                step,
                now,
                request,
                answer,
            };
            let kind = law::judge(&case)?;
            tally.asks += 1;
            *tally.kinds.entry(kind).or_default() += 1;
            tally.second.compare(&case, kind);
            if kind == Kind::Stored(law::reuse::Leave::WhileRevalidate) {
                stage.settle(Some(*id));
            }
        }
        Ok(())
    }

    /// Notes who waited for what, and writes it down.
    fn hear(&mut self, step: usize, requests: &[(usize, Request)], answers: &[Message], log: &[Exchange]) {
        for ((id, request), answer) in requests.iter().zip(answers) {
            let serial = answer.field("x-serial").and_then(|text| text.parse::<usize>().ok());
            let own = |exchange: &&Exchange| exchange.ask == Some(*id) && exchange.step == step;
            // Who asked under a condition of his own waited for all that was asked for him.
            let short = serial.is_none() && answer.status() == 304;
            let waited =
                log.iter().filter(own).filter(|exchange| short || Some(exchange.serial) == serial || is_change(&exchange.request.method));
            self.waited.extend(waited.map(|exchange| exchange.serial));
            // A range, a head and what was cut are told before the node has read to the end.
            let whole = request.method == "GET" && !answer.cut && !matches!(answer.status(), 206 | 304);
            self.taken.extend(log.iter().filter(own).filter(|exchange| whole && Some(exchange.serial) == serial).map(|own| own.serial));
            let said = |fields: &Fields| fields.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("; ");
            self.tell(format_args!("#{id} {} /p{} [{}]", request.method, request.place, said(&request.fields)));
            for exchange in log.iter().filter(|exchange| exchange.ask == Some(*id)) {
                let sent = exchange.request.fields.iter().filter(|(name, _)| !matches!(name.as_str(), "host" | "via" | "x-ask"));
                let sent = said(&sent.cloned().collect());
                let line = format!(
                    "   the origin ({}) saw {} [{sent}] and told {} [{}]",
                    exchange.serial,
                    exchange.request.method,
                    exchange.status,
                    said(&exchange.fields)
                );
                self.tell(format_args!("{line}"));
            }
            let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(24)]).replace('\n', "|");
            let cut = if answer.cut { ", cut" } else { "" };
            self.tell(format_args!("   => {} [{}] {} bytes{cut} `{body}`", answer.line, said(&answer.fields), answer.body.len()));
        }
    }
}
