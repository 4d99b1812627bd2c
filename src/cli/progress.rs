//! How far long work is: a bar on a terminal, a plain line every ten seconds elsewhere, nothing when nobody wants it.

use crate::base::clock::Clock;
use crate::base::unit::Bytes;
use crate::cli::Context;
use crate::store::bundle::Step;
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Where no bar can be drawn, one line each so long.
const LINE: Duration = Duration::from_secs(10);
/// A rate is told after so long.
const WARM: u64 = 2;
/// Letters of what it is at, so that the line stays one line.
const CURRENT: usize = 40;

/// Tells steps.
pub(crate) struct Teller {
    bar: Option<ProgressBar>,
    plain: bool,
    clock: Clock,
    /// The phase, when it began, and how far it was then.
    phase: (String, Instant, u64),
    said: Instant,
}

impl Teller {
    pub(crate) fn new(context: &Context) -> Teller {
        let clock = Clock::system();
        let bar = context.progress_bar().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {percent:>3} %  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        let now = clock.steady();
        Teller { plain: bar.is_none() && context.progress(), bar, clock, phase: (String::new(), now, 0), said: now }
    }

    /// One more step.
    pub(crate) fn tell(&mut self, step: &Step) {
        let now = self.clock.steady();
        if self.phase.0 != step.phase {
            self.phase = (step.phase.clone(), now, step.done);
        }
        let text = sentence(step, now.saturating_duration_since(self.phase.1).as_secs(), step.done.saturating_sub(self.phase.2));
        if let Some(bar) = &self.bar {
            bar.set_prefix(step.phase.clone());
            bar.set_length(step.total);
            bar.set_position(step.done);
            bar.set_message(text);
        } else if self.plain && now.saturating_duration_since(self.said) >= LINE {
            self.said = now;
            let percent = (step.done * 100).checked_div(step.total).unwrap_or(0);
            eprintln!("{} {percent} % {text}", step.phase);
        }
    }

    /// It is over.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `3.1 MB of 9.8 MB, 1.0 MB/s, 7 s left – http://a.kz/`. `moved` since the phase began, `spent` seconds ago.
fn sentence(step: &Step, spent: u64, moved: u64) -> String {
    let show = |count: u64| if step.phase == "weighing" { count.to_string() } else { Bytes(count).human() };
    let mut text = format!("{} of {}", show(step.done), show(step.total));
    if spent >= WARM
        && let Some(rate) = moved.checked_div(spent).filter(|rate| *rate > 0)
    {
        // Writing to memory cannot fail.
        let _ = write!(text, ", {}/s, {} s left", show(rate), step.total.saturating_sub(step.done) / rate);
    }
    if !step.current.is_empty() {
        let short: String = step.current.chars().take(CURRENT).collect();
        let _ = write!(text, " – {short}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_in_a_sentence() {
        let step = Step { phase: "writing".into(), done: 3_100_000, total: 9_800_000, current: "http://a.kz/".into() };
        assert_eq!(sentence(&step, 3, 3_000_000), "3.1 MB of 9.8 MB, 1.0 MB/s, 6 s left – http://a.kz/");
        assert_eq!(sentence(&Step { phase: "weighing".into(), current: String::new(), ..step }, 0, 0), "3100000 of 9800000");
    }
}
