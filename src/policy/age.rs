//! Age and freshness lifetime (RFC 9111 section 4.2).
//!
//! Counted in microseconds inside and whole seconds outside, so that `max-age=2` lasts two seconds from the moment the request
//! left. An Age field uses its first member and is ignored when that is no number (section 5.1); an Expires field that is no
//! date means stale (section 5.3).

use crate::base::clock::Time;
use crate::policy::directive::{Delta, Directives, MOST_SECONDS};
use crate::policy::{Rules, date};
use http::{HeaderMap, StatusCode, header};
use std::time::Duration;

/// What is known of an answer's freshness the moment it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Seconds for which the answer is fresh, counted from its birth at the origin.
    pub lifetime: u64,
    /// Whether the origin said so (`max-age`, `s-maxage` or Expires), if only with an unusable value.
    pub explicit: bool,
    /// Age when its head arrived.
    pub initial: Duration,
}

impl Freshness {
    /// Works it out. `targeted` says that the directives come from a targeted field, beside which Expires does not count.
    pub fn of(
        rules: &Rules,
        status: StatusCode,
        headers: &HeaderMap,
        directives: &Directives,
        targeted: bool,
        requested: Time,
        received: Time,
    ) -> Freshness {
        // An answer without a usable Date is dated by its arrival (RFC 9110 section 6.6.1).
        let dated = headers.get(header::DATE).and_then(date::read).unwrap_or(received);
        let told = told_lifetime(headers, directives, targeted, dated);
        Freshness {
            lifetime: told.unwrap_or_else(|| guessed_lifetime(rules, status, headers, directives, dated)),
            explicit: told.is_some(),
            initial: initial_age(headers, dated, requested, received),
        }
    }
}

/// What the origin said; the first that is present decides (section 4.2.1).
fn told_lifetime(headers: &HeaderMap, directives: &Directives, targeted: bool, dated: Time) -> Option<u64> {
    if directives.s_maxage != Delta::Absent {
        return directives.s_maxage.secs();
    }
    if directives.max_age != Delta::Absent {
        return directives.max_age.secs();
    }
    let expires = headers.get(header::EXPIRES).filter(|_| !targeted)?;
    Some(date::read(expires).map_or(0, |moment| moment.since(dated).as_secs().min(MOST_SECONDS)))
}

/// A share of the time since the last change, where the status or `public` allows a guess (section 4.2.2).
fn guessed_lifetime(rules: &Rules, status: StatusCode, headers: &HeaderMap, directives: &Directives, dated: Time) -> u64 {
    if !may_guess(status) && !directives.public {
        return 0;
    }
    let Some(modified) = headers.get(header::LAST_MODIFIED).and_then(date::read) else { return 0 };
    let share = dated.since(modified).mul_f64(rules.heuristic_share.clamp(0.0, 1.0));
    share.min(rules.heuristic_max).as_secs()
}

/// The statuses that may be given a guessed lifetime (RFC 9110 section 15.1).
pub fn may_guess(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Age on arrival (section 4.2.3): by the origin's clock or by the caches in between and the time of the exchange, whichever
/// is more.
fn initial_age(headers: &HeaderMap, dated: Time, requested: Time, received: Time) -> Duration {
    // Dates have whole seconds, so the two are compared in whole seconds.
    let apparent = u64::try_from(received.secs().saturating_sub(dated.secs())).unwrap_or(0);
    let corrected = Duration::from_secs(age_field(headers)) + received.since(requested);
    corrected.max(Duration::from_secs(apparent))
}

/// The Age field in seconds; 0 when there is none or its first member is no number (section 5.1). Parameters, which the field
/// does not have, are set aside: a number that somebody meant as an age is better believed.
pub fn age_field(headers: &HeaderMap) -> u64 {
    let Some(value) = headers.get(header::AGE) else { return 0 };
    let first = value.as_bytes().split(|byte| matches!(byte, b',' | b';')).next().unwrap_or_default().trim_ascii();
    if first.is_empty() || !first.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let sum = first.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    sum.min(MOST_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{NOW, headers, rules};
    use proptest::prelude::*;

    fn freshness(status: u16, fields: &[(&str, &str)]) -> Freshness {
        let fields = headers(fields);
        let status = StatusCode::from_u16(status).expect("a status");
        Freshness::of(&rules(), status, &fields, &Directives::read(&fields), false, NOW, NOW)
    }

    const DATE: &str = "Wed, 25 Nov 2026 12:00:00 GMT";
    const HOUR_LATER: &str = "Wed, 25 Nov 2026 13:00:00 GMT";
    const HOUR_BEFORE: &str = "Wed, 25 Nov 2026 11:00:00 GMT";

    #[test]
    fn told_lifetimes() {
        let table: &[(&[(&str, &str)], u64)] = &[
            (&[("cache-control", "max-age=60")], 60),
            (&[("cache-control", "max-age=3600, s-maxage=1")], 1),
            (&[("cache-control", "s-maxage=3600, max-age=1")], 3600),
            (&[("cache-control", "max-age=0, s-maxage=3600"), ("expires", HOUR_BEFORE)], 3600),
            (&[("cache-control", "s-maxage=x, max-age=60")], 0),
            (&[("cache-control", "max-age=60"), ("expires", "0")], 60),
            (&[("cache-control", "max-age=0"), ("expires", HOUR_LATER), ("date", DATE)], 0),
            (&[("cache-control", "max-age=-60"), ("expires", HOUR_LATER)], 0),
            (&[("expires", HOUR_LATER), ("date", DATE)], 3600),
            (&[("expires", HOUR_LATER)], 3600),
            (&[("expires", HOUR_LATER), ("date", "foo")], 3600),
            (&[("expires", DATE), ("date", DATE)], 0),
            (&[("expires", DATE), ("date", HOUR_LATER)], 0),
            (&[("expires", HOUR_BEFORE), ("date", DATE)], 0),
            (&[("expires", "0"), ("date", DATE)], 0),
            (&[("expires", ""), ("date", DATE)], 0),
            (&[("expires", "-1")], 0),
            (&[("expires", "Thu, 18 Aug 2050 02:01:18 UTC")], 0),
            (&[("expires", HOUR_LATER), ("expires", HOUR_BEFORE), ("date", DATE)], 3600),
            (&[("expires", "junk"), ("expires", HOUR_LATER)], 0),
            (&[("expires", "Sun, 21 Nov 2286 04:46:39 GMT")], MOST_SECONDS),
            (&[("expires", "Wednesday, 25-Nov-26 13:00:00 GMT"), ("date", DATE)], 3600),
        ];
        for (fields, wanted) in table {
            let found = freshness(200, fields);
            assert_eq!((found.lifetime, found.explicit), (*wanted, true), "{fields:?}");
        }
    }

    #[test]
    fn guessed_lifetimes() {
        let day = ("last-modified", "Tue, 24 Nov 2026 12:00:00 GMT");
        for status in [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501] {
            assert_eq!(freshness(status, &[day, ("date", DATE)]).lifetime, 8640, "{status}");
        }
        for status in [201, 202, 302, 303, 307, 400, 403, 429, 500, 502, 503, 504, 599] {
            assert_eq!(freshness(status, &[day, ("date", DATE)]).lifetime, 0, "{status}");
        }
        assert_eq!(freshness(599, &[day, ("date", DATE), ("cache-control", "public")]).lifetime, 8640);
        assert_eq!(freshness(200, &[("last-modified", "Sun, 25 Nov 2001 12:00:00 GMT")]).lifetime, 86_400);
        assert_eq!(freshness(200, &[("last-modified", "nonsense")]).lifetime, 0);
        assert_eq!(freshness(200, &[("last-modified", HOUR_LATER), ("date", DATE)]).lifetime, 0);
        assert_eq!(freshness(200, &[]), Freshness { lifetime: 0, explicit: false, initial: Duration::ZERO });
        assert_eq!(freshness(200, &[day, ("expires", "0")]).lifetime, 0);
    }

    #[test]
    fn targeted_fields_put_expires_aside() {
        let fields = headers(&[("expires", HOUR_LATER), ("date", DATE)]);
        let found = Freshness::of(&rules(), StatusCode::OK, &fields, &Directives::default(), true, NOW, NOW);
        assert_eq!((found.lifetime, found.explicit), (0, false));
    }

    #[test]
    fn age_fields_in_every_shape() {
        let table: &[(&[&str], u64)] = &[
            (&[], 0),
            (&["30"], 30),
            (&["abc"], 0),
            (&["-7200"], 0),
            (&["7200.0"], 0),
            (&["7200;foo=bar"], 7200),
            (&["+5"], 0),
            (&[""], 0),
            (&["7200,0"], 7200),
            (&["0,7200"], 0),
            (&["7200", "0"], 7200),
            (&["0", "7200"], 0),
            (&["3600, 3600"], 3600),
            (&["2147483647"], 2_147_483_647),
            (&["2147483648"], MOST_SECONDS),
            (&["2147483649"], MOST_SECONDS),
            (&["99999999999999999999999"], MOST_SECONDS),
        ];
        for (lines, wanted) in table {
            let fields: Vec<(&str, &str)> = lines.iter().map(|line| ("age", *line)).collect();
            assert_eq!(age_field(&headers(&fields)), *wanted, "{lines:?}");
        }
    }

    #[test]
    fn age_on_arrival_takes_the_worse_of_clock_and_caches() {
        let fields = headers(&[("date", HOUR_BEFORE), ("age", "25")]);
        let later = NOW.plus(Duration::from_millis(2500));
        assert_eq!(initial_age(&fields, date::parse(HOUR_BEFORE.as_bytes()).expect("a date"), NOW, later).as_secs(), 3602);
        assert_eq!(initial_age(&headers(&[("age", "25")]), NOW, NOW, later).as_millis(), 27_500);
        let fast = date::parse(HOUR_LATER.as_bytes()).expect("a date");
        assert_eq!(initial_age(&headers(&[("age", "15")]), fast, NOW, NOW).as_secs(), 15);
    }

    // `http-cache-semantics` follows RFC 7234 and differs where we leave it out: it stretches `immutable` to a day, calls
    // answers with conflicting directives stale, takes Date for fresh without Age, and reads only RFC 2822 dates.
    fn second_opinion(fields: &[(&str, &str)]) -> u64 {
        let request = http::Request::get("http://a.kz/").body(()).expect("a request");
        let mut answer = http::Response::builder().status(200);
        for (name, value) in fields {
            answer = answer.header(*name, *value);
        }
        let answer = answer.body(()).expect("an answer");
        let now = std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(NOW.secs()).expect("after 1970"));
        let options = http_cache_semantics::CacheOptions { shared: true, cache_heuristic: 0.1, ..Default::default() };
        http_cache_semantics::CachePolicy::new_options(&request, &answer, now, options).time_to_live(now).as_secs()
    }

    proptest! {
        #[test]
        fn a_second_opinion_agrees(max_age in proptest::option::of(0_u64..100_000), shared in proptest::option::of(0_u64..100_000),
            expires in proptest::option::of(-10_000_i64..100_000)) {
            let control = [max_age.map(|secs| format!("max-age={secs}")), shared.map(|secs| format!("s-maxage={secs}"))];
            let control = control.into_iter().flatten().collect::<Vec<_>>().join(", ");
            let expires = expires.map(|secs| Time::from_secs(NOW.secs() + secs).to_http());
            let mut fields = vec![("date", DATE)];
            if !control.is_empty() {
                fields.push(("cache-control", &control));
            }
            if let Some(expires) = &expires {
                fields.push(("expires", expires));
            }
            prop_assert_eq!(freshness(200, &fields).lifetime, second_opinion(&fields), "{:?}", fields);
        }

        #[test]
        fn a_lifetime_is_never_longer_than_told(value in "[ -~]{0,12}") {
            let found = freshness(200, &[("cache-control", &format!("max-age={value}"))]);
            let digits: String = value.chars().filter(char::is_ascii_digit).collect();
            prop_assert!(found.lifetime <= digits.parse::<u64>().unwrap_or(0));
        }
    }
}
