//! Why there is no answer, in the words of Proxy-Status (RFC 9209 section 2.3), and how the errors of hyper, rustls and the
//! system are read. Whether to try again is judged in `retry`, not here.

use crate::base::socket;
use http::StatusCode;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// Why there is no answer; each maps to a Proxy-Status error type (RFC 9209 section 2.3).
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No DNS server answered, now or a moment ago.
    #[error("no DNS server answered for {0}")]
    DnsTimeout(String),
    /// NXDOMAIN and kin.
    #[error("{}", unnamed(.0, .1))]
    DnsError(String, String),
    /// Not a target of ours.
    #[error("{0} is an address that this proxy does not reach")]
    Prohibited(IpAddr),
    /// Nobody listens there.
    #[error("{0} refused the connection")]
    Refused(String),
    /// Nothing came back.
    #[error("{0} did not answer within {1:?}")]
    ConnectTimeout(String, Duration),
    /// Known to be down (negative memory), no route, or no connection free.
    #[error("{0} cannot be reached ({1})")]
    Unavailable(String, String),
    /// The device that waits holds or waits for too much already; others would be served.
    #[error("this device asks for too much at once, {0} among it")]
    Crowded(String),
    /// This machine has no file, socket or memory free: nothing that is said of the host or of the line.
    #[error("{0} was not asked: this machine has no connection free ({1})")]
    Exhausted(String, String),
    /// Who answers is not who was asked for.
    #[error("the certificate of {0} is not valid ({1})")]
    TlsCertificate(String, String),
    /// An alert, or no TLS that we speak.
    #[error("TLS with {0} failed ({1})")]
    Tls(String, String),
    /// No first byte within the deadline.
    #[error("{0} accepted the request but sent nothing within {1:?}")]
    ResponseTimeout(String, Duration),
    /// Closed before a head.
    #[error("{0} closed the connection without an answer")]
    Incomplete(String),
    /// The answer is malformed.
    #[error("{0} sent a malformed answer ({1})")]
    Protocol(String, String),
    /// The client's own body failed.
    #[error("the request body broke off ({0})")]
    RequestBody(String),
}

/// Why there is no address: nobody has this name. Mistyped, or given up.
pub(super) const NO_SUCH_NAME: &str = "no such name";

fn unnamed(host: &str, why: &str) -> String {
    if why == NO_SUCH_NAME { format!("there is no such name: {host}") } else { format!("{host} has no address ({why})") }
}

/// How rustls words an alert from the other side.
const ALERT: &str = "received fatal alert";

impl Error {
    /// The error type of RFC 9209 section 2.3.
    pub fn proxy_status(&self) -> &'static str {
        match self {
            Error::DnsTimeout(_) => "dns_timeout",
            Error::DnsError(..) => "dns_error",
            Error::Prohibited(_) => "destination_ip_prohibited",
            Error::Refused(_) => "connection_refused",
            Error::ConnectTimeout(..) => "connection_timeout",
            Error::Unavailable(..) => "destination_unavailable",
            Error::Crowded(_) | Error::Exhausted(..) => "connection_limit_reached",
            Error::TlsCertificate(..) => "tls_certificate_error",
            Error::Tls(_, detail) if detail.contains(ALERT) => "tls_alert_received",
            Error::Tls(..) => "tls_protocol_error",
            Error::ResponseTimeout(..) => "http_response_timeout",
            Error::Incomplete(_) => "http_response_incomplete",
            Error::Protocol(..) => "http_protocol_error",
            Error::RequestBody(_) => "http_request_error",
        }
    }

    /// The status that the client gets, as RFC 9209 recommends for each type.
    pub fn status(&self) -> StatusCode {
        match self {
            Error::DnsTimeout(_) | Error::ConnectTimeout(..) | Error::Unavailable(..) | Error::ResponseTimeout(..) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Error::Crowded(_) | Error::Exhausted(..) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Prohibited(_) => StatusCode::FORBIDDEN,
            Error::RequestBody(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whether there is nobody of that name, which is neither the line's fault nor a host's.
    pub fn is_nameless(&self) -> bool {
        matches!(self, Error::DnsError(_, why) if why == NO_SUCH_NAME)
    }

    /// Whether the host, or who knows its address, could not be reached, now; on another day it may be.
    pub fn is_out_of_reach(&self) -> bool {
        self.is_line() || self.is_untold()
    }

    /// Whether a DNS server could not tell, which says nothing of the name: one zone is broken, or the server itself has nobody to ask.
    pub fn is_untold(&self) -> bool {
        matches!(self, Error::DnsError(..)) && !self.is_nameless()
    }

    /// Whether it lies with this machine or with whoever asked, so that it says nothing of the host or of the line.
    pub fn is_ours(&self) -> bool {
        matches!(self, Error::Crowded(_) | Error::Exhausted(..))
    }

    /// Whether the line could be to blame: nothing was heard from the other side, or it fell silent.
    pub fn is_line(&self) -> bool {
        matches!(
            self,
            Error::DnsTimeout(_)
                | Error::Refused(_)
                | Error::ConnectTimeout(..)
                | Error::Unavailable(..)
                | Error::ResponseTimeout(..)
                | Error::Incomplete(_)
        )
    }

    /// From a failed TCP connection.
    pub(super) fn from_connect(host: &str, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Error::Refused(host.to_owned()),
            _ if socket::is_ours(error) => Error::Exhausted(host.to_owned(), error.to_string()),
            _ => Error::Unavailable(host.to_owned(), error.to_string()),
        }
    }

    /// From a failed TLS handshake.
    pub(super) fn from_tls(host: &str, error: &io::Error) -> Error {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(why)) => Error::TlsCertificate(host.to_owned(), format!("{why:?}")),
            Some(why) => Error::Tls(host.to_owned(), why.to_string()),
            None => Error::Tls(host.to_owned(), error.to_string()),
        }
    }

    /// From an exchange that failed before a head came.
    pub(super) fn from_hyper(host: &str, error: &hyper::Error) -> Error {
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            if let Some(error) = inner.downcast_ref::<io::Error>() {
                return match error.get_ref() {
                    Some(inner) if inner.is::<rustls::Error>() => Error::from_tls(host, error),
                    // Our own wire filter and decoders complain this way.
                    _ if error.kind() == io::ErrorKind::InvalidData => Error::Protocol(host.to_owned(), error.to_string()),
                    _ => Error::Incomplete(host.to_owned()),
                };
            }
            if inner.downcast_ref::<h2::Error>().is_some_and(is_untouched) {
                return Error::Incomplete(host.to_owned());
            }
            source = inner.source();
        }
        if error.is_incomplete_message() || error.is_closed() || error.is_canceled() || error.is_timeout() {
            return Error::Incomplete(host.to_owned());
        }
        let why = std::error::Error::source(error).map_or_else(|| error.to_string(), |inner| format!("{error}: {inner}"));
        Error::Protocol(host.to_owned(), why)
    }
}

/// Whether the origin says that it has not looked at the request: it ends the connection in peace, and what came behind its last word
/// may be sent again (RFC 9113 section 6.8), or it refused the stream (section 8.7).
fn is_untouched(error: &h2::Error) -> bool {
    let said = if error.is_go_away() { h2::Reason::NO_ERROR } else { h2::Reason::REFUSED_STREAM };
    error.is_remote() && error.reason() == Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn every_error_has_its_word_and_status() {
        let host = || String::from("a.kz");
        let wait = Duration::from_secs(1);
        let table = [
            (Error::DnsTimeout(host()), "dns_timeout", 504, true),
            (Error::DnsError(host(), host()), "dns_error", 502, false),
            (Error::Prohibited([127, 0, 0, 1].into()), "destination_ip_prohibited", 403, false),
            (Error::Refused(host()), "connection_refused", 502, true),
            (Error::ConnectTimeout(host(), wait), "connection_timeout", 504, true),
            (Error::Unavailable(host(), host()), "destination_unavailable", 504, true),
            (Error::Crowded(host()), "connection_limit_reached", 503, false),
            (Error::Exhausted(host(), host()), "connection_limit_reached", 503, false),
            (Error::TlsCertificate(host(), host()), "tls_certificate_error", 502, false),
            (
                Error::Tls(host(), rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure).to_string()),
                "tls_alert_received",
                502,
                false,
            ),
            (Error::Tls(host(), host()), "tls_protocol_error", 502, false),
            (Error::ResponseTimeout(host(), wait), "http_response_timeout", 504, true),
            (Error::Incomplete(host()), "http_response_incomplete", 502, true),
            (Error::Protocol(host(), host()), "http_protocol_error", 502, false),
            (Error::RequestBody(host()), "http_request_error", 400, false),
        ];
        for (error, word, status, line) in table {
            assert_eq!(error.is_ours(), word == "connection_limit_reached", "{error}");
            assert!(!error.is_nameless());
            assert_eq!((error.proxy_status(), error.status().as_u16(), error.is_line()), (word, status, line), "{error}");
        }
        let connect = |errno: Errno| Error::from_connect("a.kz", &io::Error::from(errno));
        assert!(matches!(connect(Errno::MFILE), Error::Exhausted(..)), "a host is not to blame for what is missing here");
        assert!(matches!(connect(Errno::NETUNREACH), Error::Unavailable(..)));
        assert!(matches!(connect(Errno::CONNREFUSED), Error::Refused(_)));
        let nobody = Error::DnsError(String::from("nobody.kz"), String::from(NO_SUCH_NAME));
        assert!(nobody.is_nameless() && !nobody.is_line() && !nobody.is_out_of_reach() && !nobody.is_untold());
        let untold = Error::DnsError(host(), String::from("SERVFAIL"));
        assert!(untold.is_out_of_reach() && untold.is_untold());
        assert_eq!(nobody.to_string(), "there is no such name: nobody.kz");
    }
}
