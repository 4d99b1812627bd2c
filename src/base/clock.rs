//! Wall time, steady time, time since boot. The only file that asks the system what time it is.
//!
//! Schools lose power and small boxes have no battery: after a cut the system may believe it is 1970. The clock therefore
//! never runs behind its *floor*, the newest moment the node can prove (its own build, its newest stored record). While the
//! system is behind the floor, time runs on from the floor and the clock says that it is not trusted.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment of wall time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(i64);

impl Time {
    /// The first moment that any release of this program can see: 2026-11-01. A system clock before it is wrong.
    pub const BUILT: Time = Time(1_793_491_200_000_000);

    /// From whole seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Time {
        Time(secs.saturating_mul(1_000_000))
    }

    /// The end of time.
    pub const MAX: Time = Time(i64::MAX);

    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Time {
        Time(micros)
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This moment and `wait` more.
    #[must_use]
    pub fn plus(self, wait: Duration) -> Time {
        Time(self.0.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
    }

    /// `wait` before this moment.
    #[must_use]
    pub fn minus(self, wait: Duration) -> Time {
        Time(self.0.saturating_sub(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads an HTTP date in any of its three forms (RFC 9110 section 5.6.7). Strict: anything else is `None`.
    pub fn parse_http(text: &str) -> Option<Time> {
        let moment = httpdate::parse_http_date(text.trim()).ok()?;
        Some(Time::from_system(moment))
    }

    /// The preferred form of an HTTP date: `Sun, 06 Nov 1994 08:49:37 GMT`. Moments before 1970 print as 1970.
    pub fn to_http(self) -> String {
        // 9999-12-31T23:59:59Z, the last date that the format can hold.
        let secs = u64::try_from(self.secs()).unwrap_or(0).min(253_402_300_799);
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs))
    }

    /// RFC 3339 in UTC with microseconds, as reports want it.
    pub fn to_rfc3339(self) -> String {
        jiff::Timestamp::from_microsecond(self.0).map_or_else(|_| String::from("unknown"), |stamp| format!("{stamp:.6}"))
    }

    /// From the system's type.
    pub fn from_system(moment: SystemTime) -> Time {
        match moment.duration_since(UNIX_EPOCH) {
            Ok(after) => Time(i64::try_from(after.as_micros()).unwrap_or(i64::MAX)),
            Err(before) => Time(-i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX)),
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// A step of the wall clock that counts: less moves no figure of a day, and what sets clocks takes a second now and then.
pub const STEP: Duration = Duration::from_mins(1);

/// All that a clock says at one moment. Two of them tell what time has done between: passed, been slept, or been set.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Wall time.
    pub now: Time,
    /// Steady time.
    pub steady: Instant,
    /// See [`Clock::since_boot`].
    pub boot: Duration,
}

impl Look {
    /// Steady time since an earlier look, and how long the machine slept meanwhile.
    pub fn since(&self, earlier: &Look) -> (Duration, Duration) {
        let passed = self.steady.saturating_duration_since(earlier.steady);
        (passed, self.boot.saturating_sub(earlier.boot).saturating_sub(passed))
    }
}

/// Tells wall and steady time. Cheap to clone; clones share the floor.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Added to the system's wall clock; only tests move it (µs).
    shift: AtomicI64,
    /// Added to the steady clock; only tests move it (µs).
    steady_shift: AtomicI64,
    /// Time that a test's machine slept (µs).
    slept: AtomicI64,
    floor: AtomicI64,
    /// The latest start that is proven: a floor less the age at which it was raised. While the system is behind, time runs on from here.
    anchor: AtomicI64,
    started: Instant,
    /// A test's clock stands still but for `advance`.
    frozen: Option<Time>,
}

impl Clock {
    /// The system's clock, never behind `Time::BUILT`.
    pub fn system() -> Clock {
        Clock::with(Time::BUILT, None)
    }

    /// A clock for tests that stands at `start` until it is moved.
    pub fn manual(start: Time) -> Clock {
        Clock::with(Time::from_micros(i64::MIN), Some(start))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that asks for steady time")]
    fn with(floor: Time, frozen: Option<Time>) -> Clock {
        Clock(Arc::new(Inner {
            shift: AtomicI64::new(0),
            steady_shift: AtomicI64::new(0),
            slept: AtomicI64::new(0),
            floor: AtomicI64::new(floor.micros()),
            anchor: AtomicI64::new(floor.micros()),
            started: Instant::now(),
            frozen,
        }))
    }

    /// Wall time, never before the floor.
    pub fn now(&self) -> Time {
        let told = self.told();
        let floor = Time(self.0.floor.load(Ordering::Relaxed));
        if told >= floor { told } else { floor.max(Time(self.0.anchor.load(Ordering::Relaxed)).plus(self.age())) }
    }

    /// Whether the system's own wall clock is believable, that is, not behind the floor.
    pub fn trusted(&self) -> bool {
        self.told().micros() >= self.0.floor.load(Ordering::Relaxed)
    }

    /// Steady time, for measuring waits. Never compared with wall time.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks for steady time")]
    pub fn steady(&self) -> Instant {
        let shift = u64::try_from(self.0.steady_shift.load(Ordering::Relaxed)).unwrap_or(0);
        let base = if self.0.frozen.is_some() { self.0.started } else { Instant::now() };
        base + Duration::from_micros(shift)
    }

    /// How long this clock, and so the node, has been running.
    pub fn age(&self) -> Duration {
        self.steady().saturating_duration_since(self.0.started)
    }

    /// How long the machine has been up, sleep included: steady time stands still in it.
    pub fn since_boot(&self) -> Duration {
        let slept = Duration::from_micros(u64::try_from(self.0.slept.load(Ordering::Relaxed)).unwrap_or(0));
        if self.0.frozen.is_some() {
            return self.age() + slept;
        }
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(u64::try_from(up.tv_sec).unwrap_or(0), u32::try_from(up.tv_nsec).unwrap_or(0)) + slept
    }

    /// One look at all of it.
    pub fn look(&self) -> Look {
        Look { now: self.now(), steady: self.steady(), boot: self.since_boot() }
    }

    /// Proof that it is at least `moment`: from now on the clock is never before it. Called with the newest stored record.
    pub fn raise_floor(&self, moment: Time) {
        self.0.anchor.fetch_max(moment.minus(self.age()).micros(), Ordering::Relaxed);
        self.0.floor.fetch_max(moment.micros(), Ordering::Relaxed);
    }

    /// Moves a test's clock on, wall and steady alike.
    pub fn advance(&self, step: Duration) {
        let micros = i64::try_from(step.as_micros()).unwrap_or(i64::MAX);
        self.0.shift.fetch_add(micros, Ordering::Relaxed);
        self.0.steady_shift.fetch_add(micros, Ordering::Relaxed);
    }

    /// A test's machine sleeps: wall time goes on, steady time does not.
    pub fn sleep(&self, time: Duration) {
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        self.0.shift.fetch_add(micros, Ordering::Relaxed);
        self.0.slept.fetch_add(micros, Ordering::Relaxed);
    }

    /// Moves the wall clock alone, as NTP or a flat battery would (µs, either way). For tests.
    pub fn jump(&self, micros: i64) {
        self.0.shift.fetch_add(micros, Ordering::Relaxed);
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that asks for wall time")]
    fn told(&self) -> Time {
        let base = self.0.frozen.unwrap_or_else(|| Time::from_system(SystemTime::now()));
        Time(base.0.saturating_add(self.0.shift.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_dates_in_all_three_forms_and_nothing_else() {
        let wanted = Some(Time::from_secs(784_111_777));
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(Time::parse_http(text), wanted, "{text}");
        }
        for text in ["0", "", "Sun, 06 Nov 1994 08:49:37 UTC", "tomorrow", "1994-11-06T08:49:37Z"] {
            assert_eq!(Time::parse_http(text), None, "{text}");
        }
    }

    #[test]
    fn a_clock_at_1970_runs_on_from_the_floor_and_is_not_trusted() {
        let clock = Clock::manual(Time::from_secs(100));
        let newest = Time::from_secs(1_800_000_000);
        clock.raise_floor(newest);
        assert!(!clock.trusted());
        assert_eq!(clock.now(), newest);
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now(), newest.plus(Duration::from_secs(5)));
        clock.jump(1_800_000_100_000_000);
        assert!(clock.trusted());
    }

    #[test]
    fn a_floor_that_rises_late_does_not_count_the_time_before_it() {
        let day = Duration::from_hours(24);
        let start = Time::from_secs(1_800_000_000);
        let clock = Clock::manual(start);
        clock.advance(day * 60);
        let floor = start.plus(day * 59);
        clock.raise_floor(floor);
        clock.jump(-i64::try_from((day * 70).as_micros()).expect("fits"));
        assert_eq!((clock.now(), clock.trusted()), (floor, false));
        clock.advance(day);
        clock.raise_floor(floor);
        assert_eq!(clock.now(), floor.plus(day), "what was proven before it holds");
    }

    #[test]
    fn two_looks_tell_what_time_has_done() {
        let clock = Clock::manual(Time::from_secs(100));
        let first = clock.look();
        clock.advance(Duration::from_secs(7));
        clock.sleep(Duration::from_secs(60));
        clock.jump(-5_000_000);
        let second = clock.look();
        assert_eq!(second.since(&first), (Duration::from_secs(7), Duration::from_secs(60)));
        assert_eq!(second.now, Time::from_secs(162));
        assert_eq!(first.since(&second), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn times_print_as_reports_and_http_want_them() {
        let time = Time::from_micros(784_111_777_000_250);
        assert_eq!(time.to_rfc3339(), "1994-11-06T08:49:37.000250Z");
        assert_eq!(time.to_http(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
