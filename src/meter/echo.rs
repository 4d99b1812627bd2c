//! Bursts of UDP echo packets to the hub, every quarter of an hour: loss, round trips and jitter of a line that nobody uses otherwise.
//!
//! Ten packets of 64 bytes each way, 96 times a day: about 200 kB, which come out of the budget of tests. A burst says nothing while the
//! line is down (that is the log of outages' business), and none is sent where the day's bytes are used up. The hub says at which
//! port it answers; one that says nothing is not asked for an hour. A server whose answers have never come through is no loss: a
//! firewall may keep UDP away for good.

/// Packets.
pub mod packet;

/// What came of a burst.
pub mod burst;

/// Bursts as the API has them.
pub mod api;

use crate::base::body::Body;
use crate::base::clock::{Clock, Time};
use crate::base::target::Target;
use crate::life::{Life, Next, Worker, news, supervise};
use crate::link::{Class, Link, State as LineState};
use crate::meter::test::{Reach, moment};
use crate::meter::{Meter, settings};
use crate::state::ping::{Pings, Row};
use crate::state::{self, State};
use crate::upstream::{Datagrams, Upstream};
use burst::{Burst, Ping};
use http::{Request, StatusCode};
use packet::{Cookie, Nonce, Packet};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use utoipa::ToSchema;

/// Bursts are so far apart; when in a quarter of an hour each node draws at its start, so that schools do not all ask at once.
const EVERY: Duration = Duration::from_mins(15);
/// Packets of a burst.
const PACKETS: u32 = 10;
/// Between packets (protocols.md section 1: 10 Hz).
const STEP: Duration = Duration::from_millis(100);
/// A hello is said so often before nobody is there.
const HELLOS: u32 = 3;
/// And waits for its cookie so long.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// After the last packet late answers are still counted for so long.
const LINGER: Duration = Duration::from_secs(6);
/// A hub that has no echo is asked again after so long.
const AGAIN: Duration = Duration::from_hours(1);
/// And one that has, whether it still is there: ports change with a hub's file.
const KNOWN: Duration = Duration::from_hours(24);
/// Packets that a burst reads at most: doubles and whatever else comes to its port.
const MOST_READ: u32 = 200;
/// A burst with all it may take, heads of IP and UDP (48 bytes for IPv6) included.
const COST: u64 = (PACKETS as u64 + HELLOS as u64) * 2 * (packet::LENGTH as u64 + 48);
/// The hub's answer is one number.
const DOCUMENT: usize = 1 << 10;
/// Where the hub says at which port it answers.
pub const PATH: &str = "/api/v1/echo";

/// What a hub says of its echo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EchoPlace)]
pub struct Place {
    /// UDP port.
    pub port: u16,
}

/// A burst as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = KeptPing)]
pub struct Kept {
    /// Counts up.
    pub number: i64,
    /// When it began.
    #[schema(value_type = String)]
    #[serde(with = "moment")]
    pub start: Time,
    /// When it was over.
    #[schema(value_type = String)]
    #[serde(with = "moment")]
    pub finish: Time,
    /// Whether these can be believed.
    pub clock_ok: bool,
    /// The figures: what leaves the school.
    pub ping: Ping,
}

/// Packets that came to a burst and were not for it, since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EchoIgnored)]
pub struct Ignored {
    /// No packets of ours.
    pub malformed: u64,
    /// Of another burst, or forged.
    pub foreign: u64,
}

/// Bursts. Cheap to clone.
#[derive(Clone)]
pub struct Echo(Arc<Inner>);

struct Inner {
    meter: Meter,
    clock: Clock,
    link: Link,
    upstream: Upstream,
    pings: Pings,
    newest: watch::Sender<i64>,
    memory: Mutex<Memory>,
    /// One burst at a time.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Memory {
    /// Where the hub answers, and until when that is believed; `None`: nowhere.
    place: Option<(Option<u16>, Instant)>,
    jitter: Option<f64>,
    /// An answer has come through.
    proven: bool,
    ignored: Ignored,
}

/// Why a burst has no figures; nobody's fault, and tried again.
#[derive(Debug, PartialEq, Eq)]
enum Nothing {
    /// There is no hub, or it has no echo.
    NoServer,
    /// The line is down, or the day's bytes are used up.
    NotNow,
    /// The server was not reached.
    Unreached(String),
    /// No answer has ever come through.
    Unproven,
}

impl Nothing {
    /// What it means and what helps, for people.
    fn words(&self) -> (String, &'static str) {
        match self {
            Nothing::NoServer => ("there is nobody to ping".into(), "set hub.url; the hub's hub.echo must be true"),
            Nothing::NotNow => ("the line is down, or the bytes that tests may take are used up".into(), "it is tried again by itself"),
            Nothing::Unreached(why) => (why.clone(), "it is tried again by itself"),
            Nothing::Unproven => ("no packet of UDP has ever come back".into(), "let UDP to the hub's port through"),
        }
    }
}

/// What came.
#[derive(Clone, Copy, Debug)]
enum Heard {
    /// A packet of ours, whoever sent it.
    Packet(Packet),
    /// Something else.
    Noise,
}

impl Echo {
    /// Starts the bursts.
    pub fn new(meter: &Meter, life: &Life, state: &State) -> Echo {
        let echo = Echo::open(meter, state);
        let first = EVERY.mul_f64(rand::random_range(0.0..1.0));
        supervise(life, Beat { echo: echo.clone(), wait: first });
        echo
    }

    fn open(meter: &Meter, state: &State) -> Echo {
        let (clock, link, upstream) = meter.ways();
        let newest = watch::Sender::new(0);
        Echo(Arc::new(Inner {
            meter: meter.clone(),
            clock,
            link,
            upstream,
            pings: state.pings(),
            newest,
            memory: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// Bursts that were kept after this number, the lowest first: what reports read.
    ///
    /// # Errors
    /// The database's.
    pub async fn after(&self, number: i64, most: u32) -> Result<Vec<Kept>, state::Error> {
        Ok(self.0.pings.after(number, most).await?.iter().map(kept).collect())
    }

    /// Bursts that began at `since` or later, the newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn since(&self, since: Time, most: u32) -> Result<Vec<Kept>, state::Error> {
        Ok(self.0.pings.newest(since, most).await?.iter().map(kept).collect())
    }

    /// Resolves when something new was kept, seen from the call on. May be dropped at any await.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + use<> {
        news(&self.0.newest)
    }

    /// What came and was not for a burst.
    pub fn ignored(&self) -> Ignored {
        self.0.memory.lock().ignored
    }

    /// A burst now; it is kept before this returns. May be dropped at any await, and is not kept then.
    async fn burst(&self) -> Result<Result<Kept, Nothing>, state::Error> {
        let inner = &*self.0;
        let _turn = inner.turn.lock().await;
        // A test fills the line: what it did to the packets would be told of the line.
        if inner.meter.is_testing() || inner.link.state() == LineState::Down || !inner.meter.may_spend(COST).await? {
            return Ok(Err(Nothing::NotNow));
        }
        let (host, port, reach) = match self.place().await {
            Ok(place) => place,
            Err(nothing) => return Ok(Err(nothing)),
        };
        let (steady, clock_ok) = (inner.clock.steady(), inner.clock.trusted());
        let socket = match inner.upstream.datagrams(&host, port).await {
            Ok(socket) => socket,
            Err(error) => return Ok(Err(Nothing::Unreached(error.to_string()))),
        };
        let burst = self.exchange(&socket).await;
        inner.meter.spend(socket.passed()).await?;
        let Some(burst) = burst else { return Ok(Err(Nothing::Unproven)) };
        let ping = burst.ping(reach);
        if ping.received == 0 {
            // A hub that is not there, or has moved, loses no packets: it is asked anew, by the same line.
            inner.memory.lock().place = None;
            match self.place().await {
                Ok((_, now, _)) if now == port => {}
                Ok(_) => return Ok(Err(Nothing::NoServer)),
                Err(nothing) => return Ok(Err(nothing)),
            }
        }
        {
            let mut memory = inner.memory.lock();
            memory.proven |= ping.received > 0;
            memory.jitter = ping.jitter_ms.or(memory.jitter);
        }
        let finish = inner.clock.now();
        // By the end and the length: the clock may have been set meanwhile.
        let start = finish.minus(inner.clock.steady().saturating_duration_since(steady));
        let mut kept = Kept { number: 0, start, finish, clock_ok: clock_ok && inner.clock.trusted(), ping };
        kept.number = inner.pings.keep(&row(&kept)).await?;
        inner.newest.send_replace(kept.number);
        tracing::debug!(sent = ping.sent, received = ping.received, "a burst of pings");
        Ok(Ok(kept))
    }

    /// The server's host, port and place.
    async fn place(&self) -> Result<(String, u16, Reach), Nothing> {
        let inner = &*self.0;
        let hub = inner.meter.hub().ok_or(Nothing::NoServer)?;
        let now = inner.clock.steady();
        let known = inner.memory.lock().place.filter(|(_, until)| now < *until).map(|(port, _)| port);
        let port = if let Some(port) = known {
            port
        } else {
            let port = self.ask(&hub).await?;
            let again = if port.is_some() { KNOWN } else { AGAIN };
            inner.memory.lock().place = Some((port, now + again));
            port
        };
        // The hub is where the school's own district is.
        Ok((hub.host().to_owned(), port.ok_or(Nothing::NoServer)?, Reach::Domestic))
    }

    /// Asks the hub for its port; `None`: it has no echo.
    async fn ask(&self, hub: &Target) -> Result<Option<u16>, Nothing> {
        let unreached = |error: &dyn std::fmt::Display| Nothing::Unreached(error.to_string());
        let target = Target::parse(&format!("{}{PATH}", hub.origin())).map_err(|_| Nothing::NoServer)?;
        let request = Request::get("/").body(Body::Empty).map_err(|error| unreached(&error))?;
        let sent = self.0.upstream.send(&target, request, Class::Measure).await.map_err(|error| unreached(&error))?;
        match sent.response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(unreached(&status)),
        }
        let body = sent.response.into_body().collect(DOCUMENT).await.map_err(|error| unreached(&error))?;
        Ok(serde_json::from_slice::<Place>(&body).ok().map(|place| place.port).filter(|port| *port != 0))
    }

    /// Hello, cookie, pings and pongs. `None`: nobody is there, and never was.
    async fn exchange(&self, socket: &Datagrams) -> Option<Burst> {
        let inner = &*self.0;
        let clock = &inner.clock;
        let (jitter, proven) = {
            let memory = inner.memory.lock();
            (memory.jitter, memory.proven)
        };
        let nonce: Nonce = rand::random();
        let mut burst = Burst::new(jitter);
        let mut reads = 0;
        let Some(cookie) = self.cookie(socket, nonce, &mut reads).await else {
            // It has answered before: what was asked for is lost. The hellos count as what they were.
            for _ in 0..HELLOS {
                burst.sent(clock.steady());
            }
            return proven.then_some(burst);
        };
        let begun = clock.steady();
        for step in 0..PACKETS {
            let number = burst.sent(clock.steady());
            // What the machine itself does not send is lost like any other.
            let _lost = socket.send(&Packet::Ping(nonce, number, cookie).bytes()).await;
            self.listen(socket, nonce, &mut burst, &mut reads, begun + STEP * (step + 1)).await;
        }
        let until = clock.steady() + LINGER;
        while !burst.is_whole()
            && let Some(heard) = self.next(socket, until, &mut reads).await
        {
            self.take(heard, nonce, &mut burst);
        }
        Some(burst)
    }

    /// Says hello until there is a cookie.
    async fn cookie(&self, socket: &Datagrams, nonce: Nonce, reads: &mut u32) -> Option<Cookie> {
        for _ in 0..HELLOS {
            let _lost = socket.send(&Packet::Hello(nonce).bytes()).await;
            let until = self.0.clock.steady() + PATIENCE;
            while let Some(packet) = self.next(socket, until, reads).await {
                match packet {
                    Heard::Packet(Packet::Cookie(of, cookie)) if of == nonce => return Some(cookie),
                    other => self.ignore(other),
                }
            }
        }
        None
    }

    /// Takes answers until then.
    async fn listen(&self, socket: &Datagrams, nonce: Nonce, burst: &mut Burst, reads: &mut u32, until: Instant) {
        while let Some(heard) = self.next(socket, until, reads).await {
            self.take(heard, nonce, burst);
        }
    }

    fn take(&self, heard: Heard, nonce: Nonce, burst: &mut Burst) {
        match heard {
            Heard::Packet(Packet::Pong(of, number)) if of == nonce && burst.answered(number, self.0.clock.steady()) => {}
            // A hello that was said twice is answered twice.
            Heard::Packet(Packet::Cookie(of, _)) if of == nonce => {}
            other => self.ignore(other),
        }
    }

    /// The next packet, until then; `None`: time is over, or too much has come.
    async fn next(&self, socket: &Datagrams, until: Instant, reads: &mut u32) -> Option<Heard> {
        let left = until.saturating_duration_since(self.0.clock.steady());
        if *reads >= MOST_READ {
            // A flood: the rest of the time is waited for, so that the packets keep their pace.
            tokio::time::sleep(left).await;
            return None;
        }
        let mut buffer = [0; packet::LENGTH + 1];
        match tokio::time::timeout(left, socket.receive(&mut buffer)).await {
            Ok(Ok(length)) => {
                *reads += 1;
                Some(Packet::read(&buffer[..length]).map_or(Heard::Noise, Heard::Packet))
            }
            // A port that is closed says so to the next who reads.
            Ok(Err(_)) => {
                *reads += 1;
                Some(Heard::Noise)
            }
            Err(_) => None,
        }
    }

    fn ignore(&self, heard: Heard) {
        let mut memory = self.0.memory.lock();
        match heard {
            Heard::Noise => memory.ignored.malformed += 1,
            Heard::Packet(_) => memory.ignored.foreign += 1,
        }
    }
}

fn row(kept: &Kept) -> Row {
    let Ping { reach, sent, received, late, doubled, rtt_min_ms, rtt_median_ms, rtt_p95_ms, jitter_ms } = kept.ping;
    let times = [rtt_min_ms, rtt_median_ms, rtt_p95_ms, jitter_ms];
    let counts = [sent, received, late, doubled];
    Row { number: kept.number, start: kept.start, finish: kept.finish, clock_ok: kept.clock_ok, reach: reach.word().into(), counts, times }
}

fn kept(row: &Row) -> Kept {
    let [sent, received, late, doubled] = row.counts;
    let [rtt_min_ms, rtt_median_ms, rtt_p95_ms, jitter_ms] = row.times;
    let reach = Reach::read(&row.reach);
    let ping = Ping { reach, sent, received, late, doubled, rtt_min_ms, rtt_median_ms, rtt_p95_ms, jitter_ms };
    Kept { number: row.number, start: row.start, finish: row.finish, clock_ok: row.clock_ok, ping }
}

/// A burst now and then.
struct Beat {
    echo: Echo,
    wait: Duration,
}

impl Worker for Beat {
    fn name(&self) -> &'static str {
        "echo"
    }

    async fn work(&mut self) -> anyhow::Result<Next> {
        let life = self.echo.0.meter.life();
        let due = self.echo.0.clock.steady() + self.wait;
        tokio::select! {
            () = life.stopping() => return Ok(Next::Done),
            () = tokio::time::sleep(self.wait) => {}
        }
        // From burst to burst, however long one takes and whatever comes of it.
        self.wait = EVERY;
        let burst = tokio::select! {
            () = life.stopping() => return Ok(Next::Done),
            burst = self.echo.burst() => burst?,
        };
        if let Err(nothing) = burst {
            tracing::debug!(?nothing, "no burst of pings");
        }
        self.wait = (due + EVERY).saturating_duration_since(self.echo.0.clock.steady());
        Ok(Next::Busy)
    }
}

/// The hub as a target.
pub(super) fn target(settings: &settings::Settings) -> Option<Target> {
    settings.hub.as_ref().and_then(|url| Target::parse(url.as_str()).ok())
}

#[cfg(test)]
mod tests;
