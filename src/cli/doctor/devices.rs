//! The looks at what devices are told: the PAC file (served, whole, names a proxy that answers) and the names on the LAN (whether
//! one is taken). They ask a running node; without one there is nothing to see.

use super::verdict::{Finding, State};
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long one try may take; a browser gives up on a PAC file a little later.
const PATIENCE: Duration = Duration::from_secs(2);

/// A PAC file that is larger is not ours: ours stays below 4 kB.
const PAC_LIMIT: usize = 64 << 10;

const PAC: (&str, Option<&str>) = ("pac", Some("node"));
const LOCAL: (&str, Option<&str>) = ("local names", Some("node"));

/// The PAC file as a device gets it. `here`: how this machine reaches a listener of its own.
pub(super) async fn pac(status: Option<&Value>, here: impl Fn(SocketAddr) -> SocketAddr) -> Finding {
    let Some(status) = status else { return Finding::new(PAC.0, PAC.1, State::Unknown, "no node serves it", "") };
    let listeners = status["web"].as_array().into_iter().flatten().filter_map(|text| text.as_str()?.parse().ok());
    let Some(web) = listeners.map(here).next() else {
        return Finding::new(PAC.0, PAC.1, State::Failed, "there is no web port that could serve it", "see \"ports\", or set web.listen");
    };
    let answer =
        tokio::time::timeout(PATIENCE, fetch(web)).await.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())));
    let proxy = match answer.and_then(|(kind, text)| judge(&kind, &text)) {
        Ok(Some(proxy)) => proxy,
        Ok(None) => {
            let remedy = "let proxy.listen have the address that devices reach the web port by, or 0.0.0.0";
            return Finding::new(PAC.0, PAC.1, State::Attention, "names no proxy: devices go past the cache", remedy);
        }
        Err(why) => return Finding::new(PAC.0, PAC.1, State::Failed, format!("http://{web}/proxy.pac: {why}"), "look at the node's log"),
    };
    match tokio::time::timeout(PATIENCE, TcpStream::connect(proxy)).await {
        Ok(Ok(_)) if web.port() == 80 => Finding::fine(PAC.0, PAC.1, format!("served, and {proxy} answers")),
        Ok(Ok(_)) => {
            let message = format!("served, and {proxy} answers; not found by DNS (wpad), which is for port 80 alone");
            Finding::fine(PAC.0, PAC.1, message)
        }
        Ok(Err(error)) => Finding::new(PAC.0, PAC.1, State::Failed, format!("names {proxy}, but there {error}"), "look at proxy.listen"),
        Err(_) => {
            Finding::new(PAC.0, PAC.1, State::Failed, format!("names {proxy}, which is silent"), "look for a firewall on this machine")
        }
    }
}

async fn fetch(web: SocketAddr) -> Result<(String, String), String> {
    let stream = TcpStream::connect(web).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = Request::builder().uri("/proxy.pac").header(header::HOST, web.to_string()).body(Empty::<bytes::Bytes>::new());
    let exchange = async {
        let answer = sender.send_request(request.map_err(|error| error.to_string())?).await.map_err(|error| error.to_string())?;
        if answer.status() != http::StatusCode::OK {
            return Err(format!("status {}, and browsers take 200 alone", answer.status().as_u16()));
        }
        let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_owned();
        let body = Limited::new(answer.into_body(), PAC_LIMIT).collect().await.map_err(|error| error.to_string())?.to_bytes();
        drop(sender);
        Ok((kind, String::from_utf8_lossy(&body).into_owned()))
    };
    // The connection ends with its sender; what it says by then is said by the exchange, too.
    let (answer, _) = tokio::join!(exchange, connection);
    answer
}

/// The proxy that a PAC file names; `None`: it sends devices past the cache.
fn judge(kind: &str, text: &str) -> Result<Option<SocketAddr>, String> {
    if !kind.starts_with("application/x-ns-proxy-autoconfig") {
        return Err(format!("has the type {kind:?}, which browsers refuse"));
    }
    let count = |sign: char| text.chars().filter(|letter| *letter == sign).count();
    if !text.starts_with("function FindProxyForURL(") || count('{') != count('}') || !text.trim_end().ends_with('}') {
        return Err("is not whole".to_owned());
    }
    let Some((_, rest)) = text.split_once("PROXY ") else { return Ok(None) };
    let proxy = rest.split([';', '"']).next().unwrap_or_default().trim();
    proxy.parse().map(Some).map_err(|_| format!("names the proxy {proxy:?}, which is no address"))
}

/// The names on the LAN, as the node tells them.
pub(super) fn local_names(status: Option<&Value>) -> Finding {
    let Some(told) = status.map(|status| &status["local_names"]) else {
        return Finding::new(LOCAL.0, LOCAL.1, State::Unknown, "no node announces any", "");
    };
    let names: Vec<&str> = told["names"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match (names.is_empty(), told["renamed"].as_bool()) {
        (_, None) => Finding::new(LOCAL.0, LOCAL.1, State::Unknown, "the node tells nothing of them", ""),
        (true, _) => {
            Finding::fine(LOCAL.0, LOCAL.1, "none are announced: the web port listens on this machine alone, or mDNS is not to be had")
        }
        (false, Some(false)) => Finding::fine(LOCAL.0, LOCAL.1, names.join(", ")),
        (false, Some(true)) => {
            let message = format!("a wished name is taken by another machine; announced are {}", names.join(", "));
            Finding::new(
                LOCAL.0,
                LOCAL.1,
                State::Attention,
                message,
                "see who has it, or set node.title; devices reach the node by what is announced",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_is_whole_and_names_a_proxy() {
        const KIND: &str = "application/x-ns-proxy-autoconfig; charset=utf-8";
        let ours = |proxy: Option<&str>| {
            crate::portal::pac::Pac { proxy: proxy.and_then(|text| text.parse().ok()), zone: "a.kz", ..Default::default() }.text()
        };
        let (some, none) = (ours(Some("192.168.8.1:3128")), ours(None));
        assert_eq!(judge(KIND, &some), Ok("192.168.8.1:3128".parse().ok()));
        assert_eq!(judge(KIND, &ours(Some("[fd00::1]:3128"))), Ok("[fd00::1]:3128".parse().ok()));
        assert_eq!(judge(KIND, &none), Ok(None));
        assert!(judge("text/html", &some).is_err_and(|why| why.contains("text/html")));
        assert!(judge(KIND, &some[..some.len() - 3]).is_err_and(|why| why == "is not whole"));
        assert!(judge(KIND, "<html>").is_err());
        assert!(judge(KIND, "function FindProxyForURL(u, h) { return \"PROXY x\"; }").is_err_and(|why| why.contains("no address")));
    }

    #[tokio::test]
    async fn without_a_node_nothing_is_claimed() {
        assert_eq!(pac(None, |addr| addr).await.state, State::Unknown);
        assert_eq!(local_names(None).state, State::Unknown);
        assert_eq!(pac(Some(&json!({ "web": [] })), |addr| addr).await.state, State::Failed);
    }

    #[test]
    fn a_taken_name_is_told() {
        let table = [
            (json!({}), State::Unknown),
            (json!({ "local_names": { "names": [], "renamed": false } }), State::Fine),
            (json!({ "local_names": { "names": ["abay-12.local"], "renamed": false } }), State::Fine),
            (json!({ "local_names": { "names": ["abay-12-2.local"], "renamed": true } }), State::Attention),
        ];
        for (status, wanted) in table {
            let finding = local_names(Some(&status));
            assert_eq!((finding.state, finding.remedy.is_empty()), (wanted, wanted != State::Attention), "{status}");
        }
    }
}
