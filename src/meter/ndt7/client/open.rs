//! From an address to a WebSocket of ndt7: a connection of its own, one request, and an answer that is looked at closely.

use crate::base::target::{Scheme, Target};
use crate::meter::ndt7::client::{Error, Limits};
use crate::meter::ndt7::{Dialect, LONGEST_QUERY};
use crate::upstream::{self, Line, LineMeter, LineStream, Upstream};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::pin::pin;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use url::Url;

/// What servers learn of who tests: that it is this program.
const NAME: &str = env!("CARGO_PKG_NAME");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A WebSocket, what came along with the upgrade, and what has passed.
pub(super) struct Opened {
    pub(super) stream: LineStream,
    pub(super) first: Bytes,
    pub(super) meter: LineMeter,
}

/// Opens one. `more` is what the address has to say besides (throughput1). May be dropped at any await.
pub(super) async fn open(upstream: &Upstream, url: &Url, more: &[(&str, String)], limits: &Limits) -> Result<Opened, Error> {
    let dialect = Dialect::of(url.path());
    let target = target(url, more)?;
    let late = || Error::Reach(upstream::Error::ConnectTimeout(target.host().to_owned(), limits.open));
    // Names, TCP and TLS have deadlines of their own; this one is for whoever asked for less.
    let Line { stream, meter } = tokio::time::timeout(limits.open, upstream.line(&target)).await.map_err(|_| late())??;
    let upgraded = tokio::time::timeout(limits.open, upgrade(stream, &target, dialect)).await;
    let (stream, first) = upgraded.map_err(|_| late())??;
    Ok(Opened { stream, first, meter })
}

/// Where it goes: the address as it was given (a token in it stays to the letter), and who we are.
fn target(url: &Url, more: &[(&str, String)]) -> Result<Target, Error> {
    let wrong = |why: String| Error::Address(shown(url), why);
    let scheme = match url.scheme() {
        "ws" | "http" => Scheme::Http,
        "wss" | "https" => Scheme::Https,
        other => return Err(wrong(format!("{other} is no scheme of a test"))),
    };
    let host = url.host_str().ok_or_else(|| wrong("it has no host".into()))?;
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let mut query = url.query().unwrap_or_default().to_owned();
    let about = [
        ("client_name", NAME.into()),
        ("client_version", VERSION.into()),
        ("client_library_name", NAME.into()),
        ("client_library_version", VERSION.into()),
        ("client_os", std::env::consts::OS.into()),
        ("client_arch", std::env::consts::ARCH.into()),
    ];
    for (key, value) in more.iter().chain(&about) {
        if !url.query_pairs().any(|(known, _)| known == *key) {
            let gap = if query.is_empty() { "" } else { "&" };
            // Names, versions and numbers: nothing that would have to be escaped.
            query = format!("{query}{gap}{key}={value}");
        }
    }
    if query.len() > LONGEST_QUERY {
        return Err(wrong(format!("its query has {} bytes, {LONGEST_QUERY} are allowed", query.len())));
    }
    Target::from_parts(scheme, &authority, &format!("{}?{query}", url.path())).map_err(|bad| wrong(bad.to_string()))
}

/// An address without its query, which may hold a token.
fn shown(url: &Url) -> String {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.to_string()
}

async fn upgrade(stream: LineStream, target: &Target, dialect: Dialect) -> Result<(LineStream, Bytes), Error> {
    let host = target.host();
    let broke = |error: hyper::Error| Error::Reach(upstream::Error::Protocol(host.to_owned(), error.to_string()));
    let key = generate_key();
    let request = Request::builder()
        .uri(target.path_and_query())
        .header(header::HOST, target.authority())
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key)
        .header(header::SEC_WEBSOCKET_PROTOCOL, dialect.subprotocol())
        .header(header::USER_AGENT, format!("{NAME}/{VERSION}"))
        .body(Empty::<Bytes>::new())
        .map_err(|error| Error::Protocol(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
    let mut exchange = pin!(async {
        let response = sender.send_request(request).await.map_err(broke)?;
        agreed(&response, &key, dialect)?;
        hyper::upgrade::on(response).await.map_err(broke)
    });
    let mut connection = pin!(connection.with_upgrades());
    let upgraded = tokio::select! {
        biased;
        upgraded = exchange.as_mut() => upgraded?,
        ended = connection.as_mut() => {
            ended.map_err(broke)?;
            exchange.await?
        }
    };
    let parts = upgraded.downcast::<TokioIo<LineStream>>().map_err(|_| Error::Protocol("the connection was not handed over".into()))?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

/// Whether the answer is the upgrade that was asked for (RFC 6455 section 4.1).
fn agreed(response: &Response<Incoming>, key: &str, dialect: Dialect) -> Result<(), Error> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::Refused(response.status()));
    }
    let fault = fault(response.headers(), key, dialect);
    fault.map_or(Ok(()), |fault| Err(Error::Protocol(format!("its upgrade {fault}"))))
}

fn fault(headers: &HeaderMap, key: &str, dialect: Dialect) -> Option<&'static str> {
    let field = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim().to_owned();
    let is_upgrade = field(header::CONNECTION).split(',').any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    if !is_upgrade || !field(header::UPGRADE).eq_ignore_ascii_case("websocket") {
        Some("is none to WebSocket")
    } else if field(header::SEC_WEBSOCKET_ACCEPT) != derive_accept_key(key.as_bytes()) {
        Some("has the wrong key")
    } else if field(header::SEC_WEBSOCKET_PROTOCOL) != dialect.subprotocol() {
        Some("is to another protocol")
    } else if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        Some("has an extension that nobody asked for")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_stays_as_it_is_and_says_who_we_are() {
        let target = target(&url("wss://t.kz:4443/ndt/v7/download?access_token=a%2Bb%3D&client_name=other"), &[]).unwrap();
        let text = target.url();
        assert!(text.starts_with("https://t.kz:4443/ndt/v7/download?access_token=a%2Bb%3D&client_name=other&client_version="), "{text}");
        assert_eq!(text.matches("client_name").count(), 1);
        let bare = super::target(&url("ws://10.0.0.1/throughput/v1/upload"), &[("streams", "3".into())]).unwrap();
        assert!(bare.url().starts_with("http://10.0.0.1/throughput/v1/upload?streams=3&client_name=bulak&"), "{bare:?}");
        let long = format!("ws://t.kz/?access_token={}", "a".repeat(LONGEST_QUERY));
        for bad in ["ftp://t.kz/", "data:x", &long] {
            let error = super::target(&url(bad), &[]).unwrap_err();
            assert!(matches!(&error, Error::Address(shown, _) if !shown.contains("token")), "{error}");
        }
    }

    #[test]
    fn an_upgrade_is_looked_at_closely() {
        let good = |key: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONNECTION, "keep-alive, Upgrade".parse().unwrap());
            headers.insert(header::UPGRADE, "WebSocket".parse().unwrap());
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()).parse().unwrap());
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, Dialect::Ndt7.subprotocol().parse().unwrap());
            headers
        };
        assert_eq!(fault(&good("k"), "k", Dialect::Ndt7), None);
        assert_eq!(fault(&good("other"), "k", Dialect::Ndt7), Some("has the wrong key"));
        assert_eq!(fault(&good("k"), "k", Dialect::Throughput1), Some("is to another protocol"));
        for (name, fault_seen) in [
            (header::CONNECTION, "is none to WebSocket"),
            (header::UPGRADE, "is none to WebSocket"),
            (header::SEC_WEBSOCKET_ACCEPT, "has the wrong key"),
            (header::SEC_WEBSOCKET_PROTOCOL, "is to another protocol"),
        ] {
            let mut headers = good("k");
            headers.remove(name);
            assert_eq!(fault(&headers, "k", Dialect::Ndt7), Some(fault_seen));
        }
        let mut headers = good("k");
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate".parse().unwrap());
        assert_eq!(fault(&headers, "k", Dialect::Ndt7), Some("has an extension that nobody asked for"));
    }
}
