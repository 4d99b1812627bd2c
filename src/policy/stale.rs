//! What may still be served when the origin cannot be asked: RFC 9111 section 4.2.4, RFC 5861 section 4, and the offline
//! override of policy `school`, which alone goes beyond them.
//!
//! The override needs three things: the line itself is down (not one host), the configuration wants it for this entry, and the
//! host keeps no accounts. That the entry passed the stranger rule is given: else it would not be stored.

use crate::base::clock::Time;
use crate::policy::directive::Directives;
use crate::policy::{Ask, Failure, Kept, Kind, Line, Offline, Rules, Why, secret, stranger};
use http::StatusCode;

/// Whether the offline override holds.
pub(super) fn offline(rules: &Rules, ask: &Ask<'_>, kept: &Kept, line: Line) -> bool {
    let wanted = match rules.offline {
        Offline::Public => true,
        Offline::Packs => kept.pinned,
        Offline::Off => false,
    };
    rules.kind == Kind::School && line == Line::Down && wanted && !personal(ask)
}

/// What concerns one person: never answered from what is kept for all beyond the RFC.
fn personal(ask: &Ask<'_>) -> bool {
    ask.place.account || secret::has_login(ask.headers)
}

/// See [`crate::policy::on_failure()`].
pub(super) fn on_failure(rules: &Rules, ask: &Ask<'_>, kept: &Kept, failure: Failure, line: Line, now: Time) -> Option<(u64, i64, Why)> {
    let (age, ttl) = kept.age_and_ttl(now);
    if offline(rules, ask, kept, line) {
        return Some((age, ttl, Why::Offline));
    }
    if stranger::holds(rules, ask.place) && !stranger::may_read(ask, kept) {
        return None;
    }
    let why = by_the_book(ask, kept, failure, ttl)?;
    Some((age, ttl, why))
}

fn by_the_book(ask: &Ask<'_>, kept: &Kept, failure: Failure, ttl: i64) -> Option<Why> {
    let fresh = ttl > 0;
    if kept.no_cache || (!fresh && kept.forbids_stale) {
        return None;
    }
    if fresh {
        return Some(if failure == Failure::Unreachable { Why::Disconnected } else { Why::StaleIfError });
    }
    let asked = Directives::read(ask.headers).stale_if_error.secs();
    let window = kept.stale_if_error.max(asked);
    if window.is_some_and(|window| ttl.unsigned_abs() < window) {
        return Some(Why::StaleIfError);
    }
    match failure {
        Failure::Unreachable => Some(Why::Disconnected),
        // Section 4.3.3: a 5xx may be taken as if the origin had not answered. A gateway's three say as much; where the origin
        // itself gave a window (RFC 5861) and it is over, its word counts.
        Failure::ServerError(StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
            if window.is_none() =>
        {
            Some(Why::Disconnected)
        }
        Failure::ServerError(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::target::Target;
    use crate::policy::tests::{NOW, headers, kept, rules, school};
    use crate::policy::{Place, on_failure};
    use http::Method;
    use std::time::Duration;

    const DOWN: Failure = Failure::Unreachable;
    const BROKEN: Failure = Failure::ServerError(StatusCode::INTERNAL_SERVER_ERROR);
    const AWAY: Failure = Failure::ServerError(StatusCode::SERVICE_UNAVAILABLE);

    fn verdict(rules: &Rules, place: Place, asked: &[(&str, &str)], control: &str, failure: Failure, line: Line) -> Option<Why> {
        let target = Target::parse("http://a.kz/").expect("a target");
        let ask = Ask { method: &Method::GET, target: &target, headers: &headers(asked), place };
        let kept = kept(rules, 200, &[("cache-control", control)]);
        on_failure(rules, &ask, &kept, failure, line, NOW.plus(Duration::from_secs(30))).map(|(age, ttl, why)| {
            assert_eq!(age, 30);
            assert!(ttl <= 30, "{ttl}");
            why
        })
    }

    #[test]
    fn by_the_rfcs() {
        let table: &[(&str, Failure, Option<Why>)] = &[
            ("max-age=2", DOWN, Some(Why::Disconnected)),
            ("max-age=2", AWAY, Some(Why::Disconnected)),
            ("max-age=2", BROKEN, None),
            ("max-age=2, must-revalidate", DOWN, None),
            ("max-age=2, proxy-revalidate", DOWN, None),
            ("max-age=2, no-cache", DOWN, None),
            ("max-age=60, no-cache", DOWN, None),
            ("max-age=2, s-maxage=2", DOWN, None),
            ("max-age=2, must-revalidate, stale-if-error=60", AWAY, None),
            ("max-age=2, stale-if-error=60", DOWN, Some(Why::StaleIfError)),
            ("max-age=2, stale-if-error=60", AWAY, Some(Why::StaleIfError)),
            ("max-age=2, stale-if-error=60", BROKEN, Some(Why::StaleIfError)),
            ("max-age=2, stale-if-error=20", AWAY, None),
            ("max-age=2, stale-if-error=20", DOWN, Some(Why::Disconnected)),
            ("max-age=60", DOWN, Some(Why::Disconnected)),
            ("max-age=60, must-revalidate", BROKEN, Some(Why::StaleIfError)),
        ];
        for (control, failure, wanted) in table {
            for line in [Line::Up, Line::Slow, Line::Down] {
                assert_eq!(verdict(&rules(), Place::default(), &[], control, *failure, line), *wanted, "{control} {failure:?} {line:?}");
            }
            // One dead host does not take a school beyond the RFC.
            assert_eq!(verdict(&school(), Place::default(), &[], control, *failure, Line::Up), *wanted, "{control} {failure:?}");
        }
        let asked = [("cache-control", "stale-if-error=60")];
        assert_eq!(verdict(&rules(), Place::default(), &asked, "max-age=2", BROKEN, Line::Up), Some(Why::StaleIfError));
    }

    #[test]
    fn with_the_line_down_a_school_serves_what_it_has() {
        for control in ["no-cache", "max-age=2, must-revalidate", "s-maxage=2", "max-age=2", "max-age=60"] {
            for failure in [DOWN, AWAY, BROKEN] {
                assert_eq!(verdict(&school(), Place::default(), &[], control, failure, Line::Down), Some(Why::Offline), "{control}");
            }
            let account = Place { account: true, ..Place::default() };
            assert_ne!(verdict(&school(), account, &[], control, DOWN, Line::Down), Some(Why::Offline));
            assert_ne!(verdict(&school(), Place { class: true, ..account }, &[], control, DOWN, Line::Down), Some(Why::Offline));
            assert_eq!(verdict(&school(), Place::default(), &[("authorization", "x")], control, DOWN, Line::Down), None);
        }
    }
}
