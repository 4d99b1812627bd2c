//! The shortest story that still breaks the same rule: steps, requests and fields are left out as long as it does.

use crate::play::{Fault, Subject, Tally, play};
use crate::story::{Step, Story};

/// Most stories tried: enough for a hundred steps, and a few seconds.
const TRIES: usize = 600;

/// What is left, and how it fails.
pub(crate) struct Short {
    pub(crate) story: Story,
    pub(crate) fault: Box<Fault>,
    pub(crate) tries: usize,
}

/// Makes a story that failed short.
pub(crate) fn shorten(subject: &dyn Subject, school: bool, story: &Story, fault: Box<Fault>) -> Short {
    let mut story = story.clone();
    story.steps.truncate(fault.step + 1);
    let mut short = Short { story, fault, tries: 0 };
    let mut piece = short.story.steps.len();
    while piece > 0 {
        let mut at = 0;
        while at < short.story.steps.len() {
            let mut steps = short.story.steps.clone();
            steps.drain(at..(at + piece).min(steps.len()));
            if !short.adopt(subject, school, steps) {
                at += piece;
            }
        }
        piece /= 2;
    }
    while short.trim(subject, school) {}
    short
}

impl Short {
    /// Takes these steps over when they break the same rule.
    fn adopt(&mut self, subject: &dyn Subject, school: bool, steps: Vec<Step>) -> bool {
        // What happens at once does not always happen in the same order.
        let again = if steps.iter().any(|step| matches!(step, Step::Ask(asked) if asked.len() > 1)) { 3 } else { 1 };
        let mut story = Story { steps };
        for _ in 0..again {
            if self.tries >= TRIES {
                return false;
            }
            self.tries += 1;
            if let Err(fault) = play(subject, school, &story, &mut Tally::default())
                && same(&fault.broken.rule, &self.fault.broken.rule)
            {
                story.steps.truncate(fault.step + 1);
                (self.story, self.fault) = (story, fault);
                return true;
            }
        }
        false
    }

    /// Leaves one request, field or word out; false when nothing more can go.
    fn trim(&mut self, subject: &dyn Subject, school: bool) -> bool {
        for at in 0..self.story.steps.len() {
            for steps in smaller(&self.story.steps, at) {
                if self.adopt(subject, school, steps) {
                    return true;
                }
            }
        }
        false
    }
}

/// Ages and lifetimes in a rule differ from story to story.
fn same(one: &str, other: &str) -> bool {
    let head = |rule: &str| rule.split([',', '=']).next().unwrap_or_default().to_owned();
    head(one) == head(other)
}

/// The same steps with one of them a little smaller.
fn smaller(steps: &[Step], at: usize) -> Vec<Vec<Step>> {
    let with = |step: Step| {
        let mut steps = steps.to_vec();
        steps[at] = step;
        steps
    };
    let mut all = Vec::new();
    match &steps[at] {
        Step::Ask(asked) => {
            for one in 0..asked.len() {
                if asked.len() > 1 {
                    let mut fewer = asked.clone();
                    fewer.remove(one);
                    all.push(with(Step::Ask(fewer)));
                }
                for name in 0..asked[one].fields.len() {
                    let mut plainer = asked.clone();
                    plainer[one].fields.remove(name);
                    all.push(with(Step::Ask(plainer)));
                }
            }
        }
        Step::Change(place, state) => {
            for word in 0..state.cache_control.len() {
                let mut fewer = state.clone();
                fewer.cache_control.remove(word);
                all.push(with(Step::Change(*place, fewer)));
            }
            let mut plain = |alter: &dyn Fn(&mut crate::story::State) -> bool| {
                let mut state = state.clone();
                if alter(&mut state) {
                    all.push(with(Step::Change(*place, state)));
                }
            };
            plain(&|state| !std::mem::take(&mut state.vary).is_empty());
            plain(&|state| state.age.take().is_some());
            plain(&|state| state.expires.take().is_some());
            plain(&|state| state.modified.take().is_some());
            plain(&|state| state.leads.take().is_some());
            plain(&|state| state.dated.replace(0) != Some(0));
            plain(&|state| std::mem::take(&mut state.lean));
            plain(&|state| std::mem::take(&mut state.sets_cookie));
        }
        Step::Wait(_) | Step::Trouble(..) => {}
    }
    all
}
