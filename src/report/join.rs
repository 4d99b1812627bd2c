//! Asks the hub to be enrolled by a code: because a person says so now, or because `hub.code` is set and the hub does not know us.

use crate::base::body::Body;
use crate::base::problem::Problem;
use crate::report::Inner;
use crate::report::enrol::{Asks, Told};
use crate::report::send::{MOST_ANSWER, collect, endpoint};
use crate::report::world::Unsent;
use http::{Method, Request, StatusCode, header};
use serde_json::Value;
use std::time::Duration;

/// One question in all: some hundred bytes each way.
const DEADLINE: Duration = Duration::from_secs(30);

/// Letters of the hub's words that are told on.
const WORDS: usize = 300;

/// Asks. Repeating it is no harm: the hub knows a code that this node has used.
pub(crate) async fn join(inner: &Inner, code: &str) -> Result<Told, Problem> {
    let Some(hub) = &inner.settings.hub_url else {
        let remedy = "set hub.url to the address of the regional server, restart the node, then enrol again";
        return Err(Problem::new(StatusCode::CONFLICT, "hub.none", "no hub is configured", remedy));
    };
    let away = |why: String| Problem::new(StatusCode::BAD_GATEWAY, "hub.no_answer", why, "see that the line is up and hub.url is right");
    let target = endpoint(hub, "enrol").map_err(|error| away(format!("{error:#}")))?;
    let body = serde_json::to_vec(&Asks::new(code, &inner.key)).map_err(|error| away(error.to_string()))?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(target.url())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, body.len())
        .header(header::USER_AGENT, concat!("bulak/", env!("CARGO_PKG_VERSION")))
        .body(Body::full(body))
        .map_err(|error| away(error.to_string()))?;
    let exchange = async {
        let response = inner.world.post(&target, request).await?;
        let (head, body) = response.into_parts();
        Ok::<_, Unsent>((head.status, collect(body, MOST_ANSWER).await?))
    };
    let answer = tokio::time::timeout(DEADLINE, exchange).await;
    let answer = answer.unwrap_or_else(|_| Err(Unsent::Later("the hub did not answer in time".into())));
    let (status, body) = answer.map_err(|unsent| match unsent {
        Unsent::Later(why) => away(why),
        Unsent::Never(why) => {
            let (what, remedy) = why.split_once("; ").unwrap_or((&why, ""));
            Problem::new(StatusCode::CONFLICT, "hub.private_address", what, remedy)
        }
    })?;
    if status != StatusCode::OK {
        return Err(refusal(status, &body));
    }
    let told: Told = serde_json::from_slice(&body).map_err(|_| away("the answer is not a hub's".into()))?;
    let mut memory = inner.memory.lock();
    // What waited because the hub did not know us goes at the next round.
    memory.tries = 0;
    memory.by_hand = None;
    memory.not_before = Some(inner.clock.steady());
    tracing::info!("this node has enrolled at its hub");
    Ok(told)
}

/// The hub's own words, with its id.
fn refusal(status: StatusCode, body: &[u8]) -> Problem {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| -> String {
        let text = told[name].as_str().unwrap_or_default();
        text.chars().filter(|letter| !letter.is_control()).take(WORDS).collect()
    };
    let (id, title) = (text("id"), text("title"));
    let id = if id.starts_with("hub.") { id } else { "hub.refused".into() };
    let title = if title.is_empty() { format!("the hub answered with status {}", status.as_u16()) } else { title };
    let status = if status.is_client_error() { status } else { StatusCode::BAD_GATEWAY };
    Problem::new(status, &id, title, text("remedy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_s_refusal_is_told_on_and_rubbish_is_not() {
        let told = refusal(StatusCode::NOT_FOUND, br#"{"id":"hub.no_code","title":"there is no such code","remedy":"ask"}"#);
        assert_eq!(
            (told.id.as_str(), told.title.as_str(), told.remedy.as_str(), told.status),
            ("hub.no_code", "there is no such code", "ask", 404)
        );
        let told = refusal(StatusCode::FOUND, b"<html>Welcome to the Wi-Fi</html>");
        assert_eq!((told.id.as_str(), told.title.as_str(), told.status), ("hub.refused", "the hub answered with status 302", 502));
    }
}
