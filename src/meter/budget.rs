//! What tests may cost: bytes a day and a month, shared out over the tests that the day still has. Pure.
//!
//! A line of up to 20 Mbit/s gives 50 MB a day, a faster one more, up to 200 MB at 150 Mbit/s: a twentieth of what the meters on
//! teachers' PCs take. The budget wins: a test that would cost more ends early, and one for which nothing is left sends nothing.

/// A day's bytes on lines of up to `SLOW`.
pub const DAY: u64 = 50_000_000;
/// And on those of `FAST` and more.
pub const DAY_MOST: u64 = 200_000_000;
/// See [`DAY`], bit/s.
const SLOW: u64 = 20_000_000;
/// See [`DAY_MOST`], bit/s.
const FAST: u64 = 150_000_000;

/// Days of a month's bytes: tests that people ask for come out of the days on which the school was off.
const DAYS: u64 = 30;

/// No test but a full one takes more than this part of a day.
const THIRD: u64 = 3;

/// What the line carries for each byte of TCP: packet heads (3.6 %), acknowledgements the other way (2 to 4 %, with SACK more).
const WIRE: (u64, u64) = (108, 100);

/// Less than this is not worth a test: half a second of the thinnest line, both ways.
const LEAST: u64 = 150_000;

/// Nor is less than half a second of a faster one (its bits in bytes, by two): what is on its way when a test hangs up would be more than
/// it may take.
const HALF_A_SECOND: u64 = 8 * 2;

/// The parts of a test that a download may take, percent, where the line's own are not known; and the bounds where they are.
const DOWN: (u64, u64, u64) = (75, 35, 85);

/// What the configuration says; `None`: as the line's speed has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Bytes a day.
    pub day: Option<u64>,
    /// Bytes a month.
    pub month: Option<u64>,
}

impl Caps {
    /// Bytes of a day on a line of this capacity, bit/s; of one that nobody knows, on a slow one.
    pub fn day(&self, capacity: Option<u64>) -> u64 {
        self.day.unwrap_or_else(|| {
            let above = u128::from(capacity.unwrap_or(0).clamp(SLOW, FAST) - SLOW);
            let more = above * u128::from(DAY_MOST - DAY) / u128::from(FAST - SLOW);
            DAY + u64::try_from(more).unwrap_or(0)
        })
    }

    /// Bytes of a month.
    pub fn month(&self, capacity: Option<u64>) -> u64 {
        self.month.unwrap_or_else(|| self.day(capacity).saturating_mul(DAYS))
    }
}

/// What has been spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Today, bytes.
    pub today: u64,
    /// This month, today included.
    pub month: u64,
}

/// What one test may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The caps.
    pub caps: Caps,
    /// What was spent before it.
    pub spent: Spent,
    /// Tests that today's rest has to last for, this one included; at least 1.
    pub shares: u64,
    /// It may take all that is left: no early end is asked of it.
    pub full: bool,
    /// What is known of the line, bit/s.
    pub capacity: Option<u64>,
}

impl Budget {
    /// Bytes that it may take in all, on a line that has shown to carry `seen` (bit/s): a fast line's budget is found out by the test itself.
    pub fn allowance(&self, seen: Option<u64>) -> u64 {
        let capacity = self.capacity.max(seen);
        let left = self.left(capacity);
        if self.full { left } else { (left / self.shares.max(1)).min(self.caps.day(capacity) / THIRD) }
    }

    /// Bytes that are left of day and month.
    pub fn left(&self, capacity: Option<u64>) -> u64 {
        let day = self.caps.day(capacity).saturating_sub(self.spent.today);
        day.min(self.caps.month(capacity).saturating_sub(self.spent.month))
    }

    /// Whether a test is worth beginning; `rate`: what the line has been seen to carry, bit/s, where no test could tell its capacity.
    pub fn suffices(&self, rate: Option<u64>) -> bool {
        let rate = self.capacity.max(rate).unwrap_or(0).min(FAST);
        self.allowance(None) >= LEAST.max(rate / HALF_A_SECOND)
    }

    /// Of this allowance, the part of the download; the upload gets what it leaves. `known`: both directions' capacity as last seen.
    pub fn download(&self, allowance: u64, known: Option<(u64, u64)>) -> u64 {
        let part = known.filter(|(down, up)| down + up > 0).map_or(DOWN.0, |(down, up)| {
            let share = u128::from(down) * 100 / u128::from(down + up);
            u64::try_from(share).unwrap_or(DOWN.0).clamp(DOWN.1, DOWN.2)
        });
        allowance / 100 * part
    }
}

/// What the line has carried for so many bytes of TCP.
pub fn on_the_wire(bytes: u64) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(WIRE.0) / u128::from(WIRE.1)).unwrap_or(u64::MAX)
}

/// The bytes of TCP for which the line carries so many, at most.
pub fn off_the_wire(bytes: u64) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(WIRE.1) / u128::from(WIRE.0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1_000_000;

    fn budget(today: u64, shares: u64) -> Budget {
        Budget { caps: Caps::default(), spent: Spent { today, month: today }, shares, full: false, capacity: None }
    }

    #[test]
    fn a_day_is_as_large_as_the_line() {
        let caps = Caps::default();
        for (mbit, day) in [(0, 50), (1, 50), (20, 50), (85, 125), (150, 200), (1_000, 200)] {
            assert_eq!(caps.day(Some(mbit * MB)), day * MB, "{mbit}");
        }
        assert_eq!((caps.day(None), caps.month(None)), (50 * MB, 1_500 * MB));
        let set = Caps { day: Some(7 * MB), month: Some(90 * MB) };
        assert_eq!((set.day(Some(150 * MB)), set.month(Some(150 * MB))), (7 * MB, 90 * MB), "what is written counts");
    }

    #[test]
    fn three_tests_share_a_day_and_a_person_takes_no_more_than_one_of_them() {
        assert_eq!(budget(0, 3).allowance(None), 50 * MB / 3);
        assert_eq!(budget(30 * MB, 2).allowance(None), 10 * MB);
        assert_eq!(budget(0, 1).allowance(None), 50 * MB / 3, "even when nobody else comes");
        assert_eq!(budget(0, 3).allowance(Some(150 * MB)), 200 * MB / 3, "a fast line is found out by the test");
        assert_eq!(Budget { full: true, ..budget(10 * MB, 3) }.allowance(None), 40 * MB);
    }

    #[test]
    fn the_budget_wins() {
        for (today, suffices) in [(0, true), (49 * MB, true), (50 * MB, false), (60 * MB, false), (50 * MB - 100_000, false)] {
            assert_eq!(budget(today, 1).suffices(None), suffices, "{today}");
        }
        assert!(!budget(49 * MB, 1).suffices(Some(20 * MB)) && budget(48 * MB, 1).suffices(Some(20 * MB)), "half a second is more");
        assert!(budget(0, 3).suffices(Some(10_000 * MB)), "no line is too fast");
        let month = Budget { spent: Spent { today: 0, month: 1_499 * MB }, ..budget(0, 1) };
        assert_eq!(month.allowance(None), MB, "the month's rest is less than the day's");
        // Whatever a day brings, its tests together never take more than it has.
        let mut today = 0;
        for shares in [4, 3, 2, 1, 1, 1, 1, 1] {
            today += budget(today, shares).allowance(None);
        }
        assert!(today <= 50 * MB, "{today}");
    }

    #[test]
    fn directions_share_as_the_line_has_it() {
        let budget = budget(0, 3);
        for (known, part) in [(None, 75), (Some((20, 20)), 50), (Some((100, 1)), 85), (Some((1, 100)), 35), (Some((0, 0)), 75)] {
            assert_eq!(budget.download(10_000, known), part * 100, "{known:?}");
        }
        assert_eq!((on_the_wire(1_000_000), off_the_wire(1_080_000)), (1_080_000, 1_000_000));
        assert!((0..5_000).all(|bytes| on_the_wire(off_the_wire(bytes)) <= bytes), "never more than there is");
    }
}
