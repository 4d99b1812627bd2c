//! Live events: `/api/v1/events` as a stream of server-sent events (WHATWG HTML, section 9.2), one JSON document each.
//!
//! A reader that comes back says in `Last-Event-ID` where it was and goes on there; one that reads too slowly is let go and may come
//! back the same way. The stream ends when the node stops, and when its token no longer counts.

use crate::admin::Parts;
use crate::admin::api::guard::Shown;
use crate::admin::token::Tokens;
use crate::base::problem::Problem;
use crate::life::Life;
use crate::prefetch::event::{Numbered, Watcher};
use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use utoipa::OpenApi;

/// A comment goes out when nothing else has for so long: whoever sits between keeps the connection, a dead peer is noticed, and a
/// revoked token is looked at.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a reader waits before it comes back, in milliseconds: a node that was restarted is there by then.
const RETRY: u32 = 3000;

/// The routes.
pub(super) fn routes() -> Router<Parts> {
    Router::new().route("/api/v1/events", get(events))
}

#[derive(OpenApi)]
#[openapi(paths(events), components(schemas(Numbered)))]
pub(super) struct Document;

/// What happens, as it happens.
///
/// Each event has `id` (for `Last-Event-ID`), `event` (the kind) and `data`: one NumberedEvent as JSON. An event of the kind `missed`
/// means that some are lost: read the documents anew, then go on. A comment comes every 15 s.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "events",
    params(("Last-Event-ID" = Option<String>, Header, description = "goes on after this event")),
    responses(
        (status = 200, description = "a stream without end", body = String, content_type = "text/event-stream"),
        (status = 503, description = "too many readers", body = Problem)
    )
)]
async fn events(State(parts): State<Parts>, shown: Option<Extension<Shown>>, headers: HeaderMap) -> Result<Response, Problem> {
    let last = headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default());
    let watcher = parts.events.watch(last).ok_or_else(|| {
        let title = "too many read the events already";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "api.too_many_readers", title, "close some, or ask now and then instead")
    })?;
    let token = shown.map(|Extension(Shown(id))| (parts.tokens.clone(), id));
    let reader = Reader { watcher, life: parts.life.clone(), token, begun: false };
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((fields, Body::from_stream(stream::unfold(reader, Reader::next))).into_response())
}

/// One who reads.
struct Reader {
    watcher: Watcher,
    life: Life,
    /// The token that must go on counting; none on the local socket.
    token: Option<(Tokens, String)>,
    begun: bool,
}

impl Reader {
    /// The next piece of the stream; `None` ends it.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Reader)> {
        if !std::mem::replace(&mut self.begun, true) {
            // At once, so that a reader knows that it is heard.
            return Some((Ok(Bytes::from(format!("retry: {RETRY}\n: hello\n\n"))), self));
        }
        let piece = tokio::select! {
            biased;
            () = self.life.stopping() => return None,
            batch = self.watcher.next() => self.written(&batch?),
            () = tokio::time::sleep(HEARTBEAT) => Bytes::from_static(b":\n\n"),
        };
        let counts = self.token.as_ref().is_none_or(|(tokens, id)| tokens.still_counts(id));
        counts.then_some((Ok(piece), self))
    }

    fn written(&self, batch: &[Arc<Numbered>]) -> Bytes {
        let text = batch.iter().fold(String::new(), |mut text, event| {
            let data = serde_json::to_string(&**event).unwrap_or_default();
            // Writing to memory cannot fail; JSON has no line ends outside of its strings, and in them they are escaped.
            let _ = write!(text, "id: {}\nevent: {}\ndata: {data}\n\n", self.watcher.id(event), event.event.name());
            text
        });
        Bytes::from(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::role::Role;
    use crate::base::clock::{Clock, Time};
    use crate::base::count::Metrics;
    use crate::prefetch::event::{Event, Events};
    use crate::state;

    async fn tokens() -> Tokens {
        let state = state::State::open(None).await.expect("opens");
        Tokens::load(&state, Clock::manual(Time::BUILT), &Life::default(), &Metrics::default()).await.expect("loads")
    }

    fn reader(events: &Events, life: &Life, token: Option<(Tokens, String)>) -> Reader {
        Reader { watcher: events.watch(None).expect("a seat"), life: life.clone(), token, begun: true }
    }

    async fn piece(reader: Reader) -> Option<(String, Reader)> {
        let (Ok(bytes), reader) = reader.next().await?;
        Some((String::from_utf8(bytes.to_vec()).expect("text"), reader))
    }

    #[tokio::test(start_paused = true)]
    async fn events_go_out_as_they_happen_and_comments_between_them() {
        let (events, life) = (Events::default(), Life::default());
        let fresh = Reader { begun: false, ..reader(&events, &life, None) };
        let (hello, reader) = piece(fresh).await.expect("goes on");
        assert_eq!(hello, "retry: 3000\n: hello\n\n");
        let (comment, reader) = piece(reader).await.expect("goes on");
        assert_eq!(comment, ":\n\n");
        events.tell(Time::BUILT, Event::WishAdded { wish: "a\nb".into() });
        events.tell(Time::BUILT, Event::Resumed {});
        let (text, reader) = piece(reader).await.expect("goes on");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (8, format!("id: {}", events.id(1)).as_str()));
        assert_eq!((lines[1], lines[5]), ("event: wish.added", "event: night.resumed"));
        let told: Numbered = serde_json::from_str(lines[2].strip_prefix("data: ").expect("data")).expect("JSON");
        assert_eq!((told.seq, told.event), (1, Event::WishAdded { wish: "a\nb".into() }));
        life.stop();
        assert!(piece(reader).await.is_none(), "the node stops");
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_token_and_with_a_reader_that_is_too_slow() {
        let (events, life, tokens) = (Events::default(), Life::default(), tokens().await);
        let made = tokens.add("a", Role::Read, None).await.expect("made");
        let with = reader(&events, &life, Some((tokens.clone(), made.listed.id.clone())));
        events.tell(Time::BUILT, Event::Resumed {});
        let (_, with) = piece(with).await.expect("the token counts");
        tokens.revoke("a").await.expect("revoked");
        events.tell(Time::BUILT, Event::Resumed {});
        assert!(piece(with).await.is_none(), "at the next piece, within a heartbeat");
        let slow = reader(&events, &life, None);
        for _ in 0..5000 {
            events.tell(Time::BUILT, Event::Resumed {});
        }
        assert!(piece(slow).await.is_none(), "let go");
    }
}
