//! The plans of all packs as one: what is due by the end of the next window, one after the other, and what of it does not fit. Pure.

use crate::base::unit::Bytes;
use crate::prefetch::plan::guess::{Span, real};
use crate::prefetch::plan::record::Record;
use crate::prefetch::plan::{Figure, Plan, clock};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What the next window will bring.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = NightPlan)]
pub struct Tonight {
    /// When the window opens (RFC 3339); null when it is open, or there is none.
    pub window_opens: Option<String>,
    /// When it closes.
    pub window_closes: Option<String>,
    /// Packs that are due in it, in their order.
    pub due: Vec<String>,
    /// Bytes of what is due.
    pub bytes: Figure,
    /// Seconds of it; null where the rate is unknown.
    pub seconds: Option<Figure>,
    /// Whether all of it fits.
    pub fits: Option<bool>,
    /// Packs of which a part is left for a later night, by time or caps.
    pub left: Vec<String>,
    /// In one sentence.
    pub sentence: String,
    /// All plans, those that are due first.
    pub plans: Vec<Plan>,
    /// How right earlier plans were, the newest first; thirty at most.
    pub records: Vec<Record>,
}

/// Puts plans together. `plans`: in the order in which their packs have their turn; `due`: how many of the first are due; `room`:
/// seconds of the window; `left`: bytes that the caps leave.
pub fn tonight(plans: Vec<Plan>, due: usize, room: Option<u64>, left: Option<u64>) -> Tonight {
    let mut tonight = Tonight::default();
    let (mut bytes, mut seconds) = (Span::default(), Some(Span::default()));
    for plan in plans.iter().take(due) {
        let span = |figure: &Figure| Span { mid: real(figure.value), low: real(figure.low), high: real(figure.high) };
        bytes = bytes.plus(span(&plan.bytes));
        seconds = seconds.zip(plan.seconds.as_ref()).map(|(sum, more)| sum.plus(span(more)));
        tonight.due.push(plan.id.clone());
        let late = seconds.zip(room).is_some_and(|(seconds, room)| seconds.mid > real(room));
        if late || left.is_some_and(|left| bytes.mid > real(left)) {
            tonight.left.push(plan.id.clone());
        }
    }
    tonight.bytes = Figure::of(bytes);
    tonight.seconds = seconds.map(Figure::of);
    let known = (seconds.is_some() && room.is_some()) || !tonight.left.is_empty();
    tonight.fits = known.then_some(tonight.left.is_empty());
    tonight.sentence = sentence(&tonight);
    tonight.plans = plans;
    tonight
}

fn sentence(tonight: &Tonight) -> String {
    if tonight.due.is_empty() {
        return String::from("nothing is due in the next window");
    }
    let size = tonight.bytes.told(|bytes| Bytes(bytes).human());
    let time = match &tonight.seconds {
        Some(seconds) => seconds.told(|secs| clock(Duration::from_secs(secs))),
        None => String::from("how long is unknown until the line was measured"),
    };
    let verdict = match tonight.fits {
        Some(true) => String::from(": fits"),
        Some(false) => format!(": does not fit, left for later: {}", tonight.left.join(", ")),
        None => String::new(),
    };
    let packs = if tonight.due.len() == 1 { String::from("1 pack") } else { format!("{} packs", tonight.due.len()) };
    format!("{packs} due, {size}, {time}{verdict}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(id: &str, bytes: u64, seconds: Option<u64>) -> Plan {
        Plan { id: id.into(), bytes: Figure::known(bytes), seconds: seconds.map(Figure::known), ..Plan::default() }
    }

    #[test]
    fn what_comes_last_is_left() {
        let plans = || vec![plan("a", 1000, Some(50)), plan("b", 2000, Some(100)), plan("c", 1, Some(1))];
        let all = tonight(plans(), 3, Some(200), None);
        assert_eq!((all.bytes, all.fits, all.left.len()), (Figure::known(3001), Some(true), 0));
        let late = tonight(plans(), 2, Some(100), None);
        assert_eq!(
            (late.due.as_slice(), late.left.as_slice(), late.fits),
            (["a".to_owned(), "b".to_owned()].as_slice(), ["b".to_owned()].as_slice(), Some(false))
        );
        assert!(late.sentence.contains("2 packs due, 3.0 kB, 3 min: does not fit, left for later: b"), "{}", late.sentence);
        let capped = tonight(plans(), 3, Some(200), Some(500));
        assert_eq!(capped.left, ["a", "b", "c"]);
        let unknown = tonight(vec![plan("a", 5, None)], 1, Some(1), None);
        assert_eq!((unknown.fits, unknown.seconds), (None, None));
        assert_eq!(tonight(plans(), 0, None, None).sentence, "nothing is due in the next window");
    }
}
