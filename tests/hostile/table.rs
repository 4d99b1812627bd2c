//! Runs all cases against one proxy, and tells what came of them: a table by class, and what was unsafe with its reason.

use crate::fill::Place;
use crate::judge::{self, Verdict};
use crate::kit;
use crate::origin::Origin;
use crate::script::{self, Case};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases played at once: enough to overlap their waits, few enough for two cores.
const HANDS: usize = 12;

/// What came of all cases at one proxy.
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) verdicts: Vec<(Case, Verdict)>,
}

/// The cases of a side, `requests` or `answers`.
pub(crate) fn cases(side: &str) -> Vec<Case> {
    let folder = kit::root().join("tests/hostile").join(side);
    let mut files: Vec<_> = fs::read_dir(&folder).expect("cases").filter_map(Result::ok).map(|entry| entry.path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a text");
        cases.extend(script::parse(&text).unwrap_or_else(|what| panic!("{}: {what}", file.display())));
    }
    if let Ok(only) = std::env::var("BULAK_HOSTILE_ONLY") {
        cases.retain(|case| case.to_string().contains(&only));
    }
    cases
}

/// All cases.
pub(crate) fn all() -> Vec<Case> {
    [cases("requests"), cases("answers")].concat()
}

/// All cases but those that need names, for a proxy that cannot be told any.
pub(crate) fn nameless() -> Vec<Case> {
    let mut cases = all();
    cases.retain(|case| !needs_names(case));
    cases
}

/// What is played against.
pub(crate) trait Proxy: Sync {
    fn addr(&self) -> SocketAddr;

    /// Whether another can be put in its place.
    fn is_replaceable(&self) -> bool {
        false
    }

    /// Puts another in the place of the one at this address, unless that was done already.
    fn replace(&self, _sick: SocketAddr) {}
}

impl Proxy for SocketAddr {
    fn addr(&self) -> SocketAddr {
        *self
    }
}

/// Plays the cases. Where the proxy can be replaced, cases that a sick one may have spoilt are played again, each alone with a new one.
pub(crate) fn run(name: &str, proxy: &dyn Proxy, origin: &Origin, all: Vec<Case>) -> Outcome {
    let play = |at: usize, case: &Case| {
        let number = u16::try_from(at + 1).expect("fewer cases than addresses");
        let place = Place { number, port: origin.port, proxy: proxy.addr() };
        let judged = judge::play(case, place, origin).unwrap_or_else(|what| panic!("{case}: {what}"));
        if judged.is_sick {
            proxy.replace(place.proxy);
        }
        let spoilt = proxy.is_replaceable() && (judged.is_suspect || place.proxy != proxy.addr());
        (judged.verdict, spoilt)
    };
    let (next, played) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..HANDS {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = all.get(at) else { return };
                    let (verdict, spoilt) = play(at, case);
                    played.lock().expect("no panic").push((at, verdict, spoilt));
                }
            });
        }
    });
    let mut played = played.into_inner().expect("no panic");
    played.sort_by_key(|(at, ..)| *at);
    let again = |(at, verdict, spoilt): (usize, Verdict, bool)| {
        if spoilt {
            proxy.replace(proxy.addr());
            play(at, &all[at]).0
        } else {
            verdict
        }
    };
    let verdicts: Vec<Verdict> = played.into_iter().map(again).collect();
    Outcome { name: name.to_owned(), verdicts: all.into_iter().zip(verdicts).collect() }
}

fn needs_names(case: &Case) -> bool {
    let texts = case.steps.iter().map(|step| &step.text).chain(case.origin.iter().map(|said| &said.text));
    texts.into_iter().any(|text| ["{name}", "{bad-name}", "{bad-six}", "{rebind}"].iter().any(|name| text.contains(name)))
}

impl Outcome {
    /// Cases, unsafe ones and odd ones, of a class or of all.
    pub(crate) fn count(&self, class: Option<&str>) -> (usize, usize, usize) {
        let of = self.verdicts.iter().filter(|(case, _)| class.is_none_or(|class| case.class == class));
        of.fold((0, 0, 0), |(all, bad, odd), (_, verdict)| {
            (all + 1, bad + usize::from(matches!(verdict, Verdict::Unsafe(_))), odd + usize::from(matches!(verdict, Verdict::Odd(_))))
        })
    }

    /// Classes in order.
    pub(crate) fn classes(&self) -> Vec<String> {
        let mut classes: Vec<String> = Vec::new();
        for (case, _) in &self.verdicts {
            if !classes.contains(&case.class) {
                classes.push(case.class.clone());
            }
        }
        classes
    }

    /// What was unsafe or odd, each with its reason.
    pub(crate) fn complaints(&self, odd: bool) -> String {
        let mut text = String::new();
        for (case, verdict) in &self.verdicts {
            match verdict {
                Verdict::Unsafe(what) => writeln!(text, "unsafe  {case}: {what}").expect("a string grows"),
                Verdict::Odd(what) if odd => writeln!(text, "odd     {case}: {what}").expect("a string grows"),
                Verdict::Safe | Verdict::Odd(_) => {}
            }
        }
        text
    }

    /// Leaves everything in `target/hostile/NAME.txt`.
    pub(crate) fn keep(&self) {
        let folder = kit::root().join("target/hostile");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(format!("{}.txt", self.name)), table(&[self]) + "\n" + &self.complaints(true)).expect("a file");
    }
}

/// Proxies side by side: unsafe cases, and odd ones in brackets.
pub(crate) fn table(outcomes: &[&Outcome]) -> String {
    let Some(first) = outcomes.first() else { return String::new() };
    let mut text = String::from("| class | cases |");
    for outcome in outcomes {
        write!(text, " {} |", outcome.name).expect("a string grows");
    }
    writeln!(text, "\n|---|--:|{}", "--:|".repeat(outcomes.len())).expect("a string grows");
    let classes = first.classes();
    for class in classes.iter().map(|class| Some(class.as_str())).chain([None]) {
        write!(text, "| {} | {} |", class.unwrap_or("**all**"), first.count(class).0).expect("a string grows");
        for outcome in outcomes {
            let (all, bad, odd) = outcome.count(class);
            let part = if all < first.count(class).0 { format!(" of {all}") } else { String::new() };
            write!(text, " {bad}{part} ({odd}) |").expect("a string grows");
        }
        text.push('\n');
    }
    text
}
