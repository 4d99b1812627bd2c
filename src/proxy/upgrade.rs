//! WebSocket and other switches of protocol (RFC 9110 section 7.8): the request goes to the origin with its Upgrade; after a
//! 101 bytes pass both ways as in a tunnel, after anything else the answer is an ordinary one.

use crate::base::body::Body;
use crate::base::target::Target;
use crate::link::Class;
use crate::policy::header::strip_hop_by_hop;
use crate::proxy::Inner;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, on};
use hyper_util::rt::TokioIo;
use std::sync::Arc;

/// Carries the request through; `request` has Via added, hop-by-hop fields still there.
pub(crate) async fn pass(inner: Arc<Inner>, target: Target, mut request: Request<Body>) -> Response<Body> {
    let client = on(&mut request);
    strip_but_upgrade(request.headers_mut());
    let mut response = match inner.upstream.send(&target, request, Class::Interactive).await {
        Ok(sent) => sent.response,
        Err(error) => return inner.failed(&error),
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return inner.signature.bypassed(inner.signature.finish(response, false));
    }
    let origin = on(&mut response);
    strip_but_upgrade(response.headers_mut());
    join(&inner, client, origin);
    inner.signature.finish(response.map(|_| Body::Empty), true)
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

fn join(inner: &Arc<Inner>, client: OnUpgrade, origin: OnUpgrade) {
    let shared = Arc::clone(inner);
    inner.life.spawn_until_stop(async move {
        match tokio::try_join!(client, origin) {
            Ok((client, origin)) => shared.relay(TokioIo::new(client), TokioIo::new(origin)).await,
            Err(error) => {
                tracing::debug!(%error, "the protocol was not switched after all");
                shared.tunnels.with_label_values(&["broken"]).inc();
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

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
