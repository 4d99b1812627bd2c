//! WebSocket and other switches of protocol (RFC 9110 section 7.8): the request goes to the origin with its Upgrade; after a
//! 101 bytes pass both ways as in a tunnel, after anything else the answer is an ordinary one. A WebSocket that was asked for by
//! extended CONNECT (RFC 8441) goes to the origin as an Upgrade, since that is what every origin understands.

use crate::base::body::Body;
use crate::base::target::Target;
use crate::link::Class;
use crate::policy::header::strip_hop_by_hop;
use crate::proxy::Inner;
use crate::proxy::talk::two::Stay;
use crate::upstream::Error;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::upgrade::{OnUpgrade, on};
use hyper_util::rt::TokioIo;
use std::sync::Arc;

/// Carries the request through; `request` has Via added, hop-by-hop fields still there.
pub(crate) async fn pass(inner: Arc<Inner>, target: Target, mut request: Request<Body>) -> Response<Body> {
    let client = on(&mut request);
    let stay: Option<Stay> = request.extensions_mut().remove();
    let extended = *request.method() == Method::CONNECT;
    if extended {
        as_upgrade(&mut request);
    }
    strip_but_upgrade(request.headers_mut());
    let (mut response, is_line) = match inner.upstream.send(&target, request, Class::Interactive).await {
        Ok(sent) => (sent.response, sent.is_line),
        Err(error) => return inner.failed(&error),
    };
    if extended && response.status().is_success() {
        // Passed on it would say that the socket is open (RFC 8441 section 5).
        let error = Error::Protocol(target.host().to_owned(), String::from("it does not speak WebSocket there"));
        return inner.failed(&error);
    }
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return inner.signature.bypassed(inner.signature.finish(response, false));
    }
    if extended && !response.headers().get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(WEBSOCKET)) {
        let error = Error::Protocol(target.host().to_owned(), String::from("it switched to another protocol than WebSocket"));
        return inner.failed(&error);
    }
    let origin = on(&mut response);
    if extended {
        strip_hop_by_hop(response.headers_mut());
        response.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
        *response.status_mut() = StatusCode::OK;
    } else {
        strip_but_upgrade(response.headers_mut());
    }
    join(&inner, client, (origin, is_line), stay);
    inner.signature.finish(response.map(|_| Body::Empty), true)
}

const WEBSOCKET: &[u8] = b"websocket";

/// The opening handshake of RFC 6455 for an extended CONNECT, which has neither key nor Upgrade (RFC 8441 section 5).
fn as_upgrade(request: &mut Request<Body>) {
    *request.method_mut() = Method::GET;
    *request.version_mut() = Version::HTTP_11;
    // What the client sends from now on belongs to the socket.
    *request.body_mut() = Body::Empty;
    let headers = request.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(key) = HeaderValue::from_str(&key(rand::random())) {
        headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
}

/// 16 bytes in base64 (RFC 6455 section 4.1): 21 letters of six bits, one of two, two signs to fill up.
fn key(random: [u8; 16]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(24);
    let mut rest = u128::from_be_bytes(random);
    for _ in 0..21 {
        text.push(char::from(LETTERS[usize::try_from(rest >> 122).unwrap_or_default()]));
        rest <<= 6;
    }
    text.push(char::from(LETTERS[usize::try_from(rest >> 122).unwrap_or_default()]));
    text.push_str("==");
    text
}

/// Removes hop-by-hop fields and puts Upgrade back.
fn strip_but_upgrade(headers: &mut HeaderMap) {
    let upgrade = headers.get(header::UPGRADE).cloned();
    strip_hop_by_hop(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(header::UPGRADE, upgrade);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

fn join(inner: &Arc<Inner>, client: OnUpgrade, (origin, is_line): (OnUpgrade, bool), stay: Option<Stay>) {
    let shared = Arc::clone(inner);
    inner.life.spawn_until_stop(async move {
        match tokio::try_join!(client, origin) {
            Ok((client, origin)) => shared.relay(TokioIo::new(client), TokioIo::new(origin), is_line).await,
            Err(error) => {
                tracing::debug!(%error, "the protocol was not switched after all");
                shared.tunnels.with_label_values(&["broken"]).inc();
            }
        }
        drop(stay);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_base64() {
        assert_eq!(key(*b"the sample nonce"), "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(key([0xff; 16]), "/////////////////////w==");
    }

    #[test]
    fn an_extended_connect_becomes_an_upgrade() {
        let builder = Request::builder().method("CONNECT").uri("https://a.kz/chat").version(Version::HTTP_2);
        let mut request = builder.header("sec-websocket-version", "13").body(Body::Empty).expect("valid");
        as_upgrade(&mut request);
        strip_but_upgrade(request.headers_mut());
        assert_eq!((request.method(), request.version()), (&Method::GET, Version::HTTP_11));
        assert_eq!(
            (&request.headers()["upgrade"], &request.headers()["connection"]),
            (&"websocket".parse().expect("valid"), &"upgrade".parse().expect("valid"))
        );
        assert!(request.headers().contains_key("sec-websocket-key") && request.headers().contains_key("sec-websocket-version"));
    }

    #[test]
    fn upgrade_alone_survives_the_stripping() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade, x-hop"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert("x-hop", HeaderValue::from_static("1"));
        headers.insert("sec-websocket-key", HeaderValue::from_static("k"));
        strip_but_upgrade(&mut headers);
        assert_eq!(headers[header::CONNECTION], "upgrade");
        assert_eq!(headers[header::UPGRADE], "websocket");
        assert!(headers.contains_key("sec-websocket-key") && !headers.contains_key("x-hop"));
    }
}
