//! May a request be tried again? Once, and only where the origin cannot have acted on it twice (RFC 9110 section 9.2.2, RFC 9112
//! section 9.3.1). The only judge of that, and of which connection a request may be risked on; pure.

use crate::upstream::Error;
use crate::upstream::pool::ANY;
use http::Method;
use std::time::Duration;

/// A connection that lay idle for longer may have been closed by its origin without our knowing: Node and Apache close after
/// 5 s, some at 2, and a FIN needs half a satellite's round trip.
const CAREFUL: Duration = Duration::from_secs(1);

/// What is known of a try that failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Try {
    /// Tries before this one.
    pub(super) earlier: u32,
    /// On a pooled connection, which the origin may have closed a moment ago.
    pub(super) reused: bool,
    /// The request never reached the wire.
    pub(super) unsent: bool,
    /// The method is idempotent.
    pub(super) idempotent: bool,
    /// The body is empty or still at hand.
    pub(super) whole: bool,
}

/// Whether to try again on another connection. `error` came before anything of an answer was seen.
pub(super) fn again(failed: Try, error: &Error) -> bool {
    let closed = matches!(error, Error::Incomplete(_));
    failed.earlier == 0 && closed && failed.whole && failed.reused && (failed.unsent || failed.idempotent)
}

/// How long an HTTP/1.1 connection may have lain idle to be used for this try. What cannot be sent again stays away from old
/// ones, as in squid: a repeated order is two orders, and without a repeat a closed connection is a failure that the client
/// sees. A second try takes a new connection.
pub(super) fn rested(earlier: u32, repeatable: bool) -> Duration {
    match (earlier, repeatable) {
        (0, true) => ANY,
        (0, false) => CAREFUL,
        _ => Duration::ZERO,
    }
}

/// Idempotent by RFC 9110 section 9.2.2; others are not known to be.
pub(super) fn is_idempotent(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE, Method::PUT, Method::DELETE].contains(method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stale_connection_and_a_repeatable_request() {
        let good = Try { earlier: 0, reused: true, unsent: false, idempotent: true, whole: true };
        let closed = Error::Incomplete("a.kz".into());
        assert!(again(good, &closed));
        let table = [
            (Try { earlier: 1, ..good }, false),
            (Try { reused: false, ..good }, false),
            (Try { idempotent: false, ..good }, false),
            (Try { whole: false, ..good }, false),
            (Try { idempotent: false, unsent: true, ..good }, true),
            (Try { whole: false, unsent: true, ..good }, false),
        ];
        for (failed, wanted) in table {
            assert_eq!(again(failed, &closed), wanted, "{failed:?}");
        }
        assert!(!again(good, &Error::Protocol("a.kz".into(), "x".into())));
        assert_eq!([rested(0, true), rested(0, false), rested(1, true)], [ANY, CAREFUL, Duration::ZERO]);
        assert!(is_idempotent(&Method::PUT) && !is_idempotent(&Method::POST) && !is_idempotent(&Method::PATCH));
    }
}
