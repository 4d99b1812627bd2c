//! "What is slow?": the pages, and the picture by which a device's Wi-Fi is timed. The line itself is not tested for it: that costs, and
//! whoever sits in the class could ask; what is known of it is shown.
//!
//! Nothing of it is written down: a look is kept in memory for two minutes, by a number that only the asking page knows.

use crate::admin::Parts;
use crate::admin::told::{Told, failed};
use crate::base::problem::Problem;
use crate::base::target::Target;
use crate::link::Class;
use crate::meter::Meter;
use crate::portal::Frame;
use crate::portal::slow::{Finding, Site, SlowPage, Step};
use crate::upstream::Upstream;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Looks that are remembered: a class that all presses the button.
const LOOKS: usize = 64;
/// For so long.
const KEPT: Duration = Duration::from_mins(2);
/// Devices whose Wi-Fi is timed at once: more would time each other.
const AT_ONCE: usize = 2;
/// Sites that are tried at once.
const SITES: usize = 4;
/// A site may take so long; a person waits as long.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is in use on the line is watched for so long.
const WATCH: Duration = Duration::from_secs(2);

/// The picture: 24 bits a pixel, any bytes are a picture.
const WIDTH: u32 = 2048;
const HEIGHT: u32 = 1365;
/// Pieces of it, bytes; and how many.
const PIECE: usize = 64 << 10;
const PIECES: usize = (WIDTH as usize * HEIGHT as usize * 3) / PIECE;
/// The first pieces fill buffers and say nothing.
const FIRST: usize = 16;
/// It ends after so long, whatever of it is left: a slow Wi-Fi has told enough.
const LONGEST: Duration = Duration::from_secs(3);
/// Timed pieces that a figure needs.
const LEAST: u32 = 4;

/// What the routes need.
#[derive(Clone)]
struct Looks {
    parts: Parts,
    meter: Meter,
    upstream: Upstream,
    kept: Arc<Mutex<VecDeque<Look>>>,
    loads: Arc<Semaphore>,
    sites: Arc<Semaphore>,
    looking: Arc<Semaphore>,
}

struct Look {
    number: u64,
    since: Instant,
    finding: Finding,
}

#[derive(Deserialize)]
struct Number {
    v: Option<String>,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    site: String,
}

/// The routes, for the web port.
pub fn slow_routes(parts: Parts, meter: Meter, upstream: Upstream) -> Router {
    let looks = Looks {
        parts,
        meter,
        upstream,
        kept: Arc::default(),
        loads: Arc::new(Semaphore::new(AT_ONCE)),
        sites: Arc::new(Semaphore::new(SITES)),
        looking: Arc::new(Semaphore::new(LOOKS)),
    };
    Router::new().route("/slow", get(show)).route("/slow/look", get(look)).route("/slow/load.bmp", get(load)).with_state(looks)
}

async fn show(State(looks): State<Looks>, told: Told, Query(number): Query<Number>) -> Result<Response, Problem> {
    let number = number.v.and_then(|text| u64::from_str_radix(&text, 16).ok());
    let found = number.and_then(|number| Some((number, looks.find(number)?)));
    let step = found.as_ref().map_or(Step::Begin, |(_, finding)| Step::Found(finding));
    let path = found.as_ref().map_or_else(|| String::from("/slow"), |(number, _)| of_look(*number));
    let frame = Frame::new(told.language, &path, &looks.parts.reach.title);
    Ok(told.page(SlowPage { frame, step }.render().map_err(failed)?))
}

/// Begins a look: what of it the node sees by itself is looked at while the device fetches the picture.
async fn look(State(looks): State<Looks>, told: Told, Query(asked): Query<Asked>) -> Result<Response, Problem> {
    let Ok(turn) = Arc::clone(&looks.looking).try_acquire_owned() else {
        let title = "too many look at once";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "slow.full", title, "try again in a minute"));
    };
    let number = looks.begin();
    let place = place(&asked.site);
    let looking = looks.clone();
    looks.parts.life.spawn_until_stop(async move {
        tokio::join!(looking.line(number), looking.site(number, place));
        drop(turn);
    });
    // In another language what was found by then: a look is not begun anew.
    let path = of_look(number);
    let frame = Frame::new(told.language, &path, &looks.parts.reach.title);
    Ok(told.page(SlowPage { frame, step: Step::Looking(number) }.render().map_err(failed)?))
}

/// The page of a look.
fn of_look(number: u64) -> String {
    format!("/slow?v={number:016x}")
}

/// The picture, timed as it is taken.
async fn load(State(looks): State<Looks>, Query(number): Query<Number>) -> Response {
    let number = number.v.and_then(|text| u64::from_str_radix(&text, 16).ok()).filter(|number| looks.find(*number).is_some());
    let (Some(number), Ok(seat)) = (number, Arc::clone(&looks.loads).try_acquire_owned()) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "").into_response();
    };
    let piece: Vec<u8> = (0..PIECE).map(|_| rand::random()).collect();
    let (piece, clock, began) = (Bytes::from(piece), looks.parts.clock.clone(), looks.parts.clock.steady());
    // Not the picture's own: who takes a byte a minute keeps nobody from looking.
    looks.parts.life.spawn_until_stop(async move {
        tokio::time::sleep(LONGEST).await;
        drop(seat);
    });
    let pieces = futures_util::stream::unfold((0_usize, None::<Instant>), move |(count, from)| {
        let (piece, clock, looks) = (piece.clone(), clock.clone(), looks.clone());
        async move {
            let now = clock.steady();
            let from = from.or_else(|| (count >= FIRST).then_some(now));
            if let Some(from) = from {
                looks.wifi(number, u32::try_from(count - FIRST).unwrap_or(u32::MAX), now.saturating_duration_since(from));
            }
            let took = now.saturating_duration_since(began);
            if count > PIECES || took > LONGEST {
                if count < FIRST + LEAST as usize {
                    // Slower than a figure needs: never faster than this, for what lies in buffers counts as taken.
                    looks.wifi(number, u32::try_from(count).unwrap_or(u32::MAX).max(LEAST), took);
                }
                return None;
            }
            let bytes = if count == 0 { Bytes::from(head()) } else { piece };
            Some((Ok::<_, std::convert::Infallible>(bytes), (count + 1, from)))
        }
    });
    ([(header::CONTENT_TYPE, "image/bmp")], Body::from_stream(pieces)).into_response()
}

impl Looks {
    fn begin(&self) -> u64 {
        let (number, now) = (rand::random(), self.parts.clock.steady());
        let mut kept = self.kept.lock();
        while kept.len() >= LOOKS || kept.front().is_some_and(|look| now.saturating_duration_since(look.since) > KEPT) {
            kept.pop_front();
        }
        kept.push_back(Look { number, since: now, finding: Finding::default() });
        number
    }

    fn find(&self, number: u64) -> Option<Finding> {
        self.kept.lock().iter().find(|look| look.number == number).map(|look| look.finding.clone())
    }

    fn note(&self, number: u64, note: impl FnOnce(&mut Finding)) {
        if let Some(look) = self.kept.lock().iter_mut().find(|look| look.number == number) {
            note(&mut look.finding);
        }
    }

    /// So many pieces have gone in this time.
    fn wifi(&self, number: u64, pieces: u32, time: Duration) {
        if pieces >= LEAST && !time.is_zero() {
            let bits = u128::from(pieces) * (PIECE as u128) * 8_000_000 / time.as_micros().max(1);
            self.note(number, |finding| finding.wifi_bps = u64::try_from(bits).ok());
        }
    }

    /// What is known of the line, and what of it is in use.
    async fn line(&self, number: u64) {
        let link = &self.parts.link;
        let view = link.view();
        let tested = self.meter.known().await.ok().and_then(|known| known.0);
        let line_bps = tested.or_else(|| view.download.map(|rate| rate.0));
        self.note(number, |finding| {
            finding.line = Some(view.state);
            finding.line_bps = line_bps;
            finding.rtt_ms = view.rtt_seconds.map(|seconds| seconds * 1e3);
        });
        let before = link.beside(Class::Measure).0;
        tokio::time::sleep(WATCH).await;
        let moved = link.beside(Class::Measure).0.saturating_sub(before);
        self.note(number, |finding| finding.used_bps = Some(moved * 8 / WATCH.as_secs()));
    }

    /// How long a connection to the site takes.
    async fn site(&self, number: u64, place: Option<(String, u16)>) {
        let Some((host, port)) = place else { return };
        let Ok(_turn) = self.sites.acquire().await else { return };
        if self.find(number).is_none() {
            return;
        }
        let began = self.parts.clock.steady();
        let tried = tokio::time::timeout(PATIENCE, self.upstream.connect(&host, port)).await;
        let took = self.parts.clock.steady().saturating_duration_since(began);
        let took_ms = matches!(tried, Ok(Ok(_))).then(|| took.as_secs_f64() * 1e3);
        let nameless = matches!(&tried, Ok(Err(error)) if error.is_nameless());
        self.note(number, |finding| finding.site = Some(Site { host, took_ms, nameless }));
    }
}

/// Host and port of what a person typed: an address, or a bare name.
fn place(text: &str) -> Option<(String, u16)> {
    let text = text.trim();
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let target = Target::parse(&whole).ok().filter(|_| !text.is_empty())?;
    // What browsers go to, and nothing else of a machine.
    matches!(target.port(), 80 | 443).then(|| (target.host().to_owned(), target.port()))
}

/// The head of a BMP: 14 bytes of file, 40 of picture, no palette.
fn head() -> Vec<u8> {
    let pixels = WIDTH * HEIGHT * 3;
    let mut head = b"BM".to_vec();
    let mut word = |number: u32| head.extend_from_slice(&number.to_le_bytes());
    word(54 + pixels);
    word(0);
    word(54);
    word(40);
    word(WIDTH);
    word(HEIGHT);
    // One plane, 24 bits a pixel.
    word(1 | 24 << 16);
    word(0);
    word(pixels);
    for _ in 0..4 {
        word(0);
    }
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type() {
        let table = [
            ("kundelik.kz", Some(("kundelik.kz", 443))),
            (" http://a.kz/lesson?n=1 ", Some(("a.kz", 80))),
            ("https://a.kz", Some(("a.kz", 443))),
            ("a.kz:8080", None),
            ("", None),
            ("two words", None),
        ];
        for (text, wanted) in table {
            assert_eq!(place(text), wanted.map(|(host, port)| (host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn the_picture_is_a_picture() {
        let head = head();
        assert_eq!((head.len(), &head[..2]), (54, &b"BM"[..]));
        assert_eq!(u32::from_le_bytes(head[2..6].try_into().expect("four")), 54 + WIDTH * HEIGHT * 3);
        assert_eq!(&head[26..30], [1, 0, 24, 0]);
        const { assert!(PIECES > FIRST + LEAST as usize) };
    }
}
