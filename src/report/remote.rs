//! What `/metrics` says, sent on to a receiver of Prometheus remote-write 1.0, where the operator wants that: off by default. The native
//! stream stays the way of record: this one keeps an hour, and what a receiver refuses is dropped and counted.

/// On the wire.
pub mod wire;

use crate::base::backoff::{Backoff, retry_after};
use crate::base::body::Body;
use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::target::Target;
use crate::life::{Life, Next, Worker, supervise};
use crate::link::Class;
use crate::upstream::Upstream;
use http::{Method, Request, header};
use prometheus::IntCounterVec;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Requests that wait: an hour of one a minute, some 10 kB each. Later than that receivers take them for out of order.
const MOST: usize = 60;

/// One exchange: 10 kB at 16 kbit/s take 5 s.
const EXCHANGE: Duration = Duration::from_mins(1);

/// The longest pause that a receiver may ask for.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// `[remote_write]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The receiver.
    pub url: Target,
    /// The file with a bearer token, readable by its owner alone; `None`: nobody asks for one.
    pub key: Option<PathBuf>,
    /// How often.
    pub every: Duration,
    /// How this node is called there: `instance`.
    pub name: String,
}

/// One request that waits.
struct Waiting {
    values: u64,
    body: Vec<u8>,
}

/// What came of one.
enum Fate {
    Sent,
    Refused(String),
    Later(String, Option<Duration>),
}

/// The rounds.
struct Writer {
    settings: Settings,
    clock: Clock,
    life: Life,
    metrics: Metrics,
    upstream: Upstream,
    queue: VecDeque<Waiting>,
    retry: Backoff,
    tries: u32,
    not_before: Option<Instant>,
    trouble: String,
    values: IntCounterVec,
}

/// Starts sending.
pub fn start(settings: Settings, clock: &Clock, life: &Life, metrics: &Metrics, upstream: &Upstream) {
    let retry = Backoff { first: settings.every, most: Duration::from_mins(10).max(settings.every) };
    let help = "Values for the remote-write receiver: sent, refused by it, or dropped since too many waited.";
    let values = metrics.counters("bulak_remote_write_values_total", help, &["fate"]);
    for fate in ["sent", "refused", "dropped"] {
        values.with_label_values(&[fate]);
    }
    let (clock, metrics, upstream, queue) = (clock.clone(), metrics.clone(), upstream.clone(), VecDeque::new());
    let (tries, not_before, trouble) = (0, None, String::new());
    let own = life.clone();
    supervise(life, Writer { settings, clock, life: own, metrics, upstream, queue, retry, tries, not_before, trouble, values });
}

impl Worker for Writer {
    fn name(&self) -> &'static str {
        "remote_write"
    }

    async fn work(&mut self) -> anyhow::Result<Next> {
        let life = self.life.clone();
        tokio::select! {
            () = life.stopping() => Ok(Next::Done),
            done = self.round() => done.map(|()| Next::Wait(self.settings.every)),
        }
    }
}

impl Writer {
    async fn round(&mut self) -> anyhow::Result<()> {
        // What a wrong clock dates nobody can use.
        if self.clock.trusted() {
            self.note()?;
        }
        while let Some(waiting) = self.queue.front()
            && self.not_before.is_none_or(|moment| moment <= self.clock.steady())
        {
            let values = waiting.values;
            let fate = self.send(waiting.body.clone()).await;
            let (word, why) = match fate {
                Fate::Sent => ("sent", None),
                Fate::Refused(why) => ("refused", Some(why)),
                Fate::Later(why, pause) => {
                    self.say(&why);
                    let wait = pause.unwrap_or_else(|| self.retry.wait(self.tries, rand::random_range(0.5..=1.0)));
                    self.tries = self.tries.saturating_add(1);
                    self.not_before = Some(self.clock.steady() + wait);
                    return Ok(());
                }
            };
            self.queue.pop_front();
            self.values.with_label_values(&[word]).inc_by(values);
            (self.tries, self.not_before) = (0, None);
            match why {
                Some(why) => self.say(&why),
                None => self.trouble.clear(),
            }
        }
        Ok(())
    }

    /// The values of now join what waits; the oldest make room.
    fn note(&mut self) -> anyhow::Result<()> {
        let labels = [("instance", self.settings.name.as_str()), ("job", "bulak")];
        let (values, body) = wire::request(&self.metrics.print(), self.clock.now(), &labels)?;
        while self.queue.len() >= MOST {
            if let Some(oldest) = self.queue.pop_front() {
                self.values.with_label_values(&["dropped"]).inc_by(oldest.values);
            }
        }
        self.queue.push_back(Waiting { values, body });
        Ok(())
    }

    /// Said once, at its beginning.
    fn say(&mut self, why: &str) {
        if self.trouble != why {
            tracing::info!(why, "remote-write");
            why.clone_into(&mut self.trouble);
        }
    }

    async fn send(&self, body: Vec<u8>) -> Fate {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.settings.url.url())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::CONTENT_ENCODING, "snappy")
            .header("x-prometheus-remote-write-version", "0.1.0")
            .header(header::CONTENT_LENGTH, body.len())
            .header(header::USER_AGENT, concat!("bulak/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = self.settings.key.clone() {
            let key = tokio::task::spawn_blocking(move || crate::report::giga::read_key("remote_write.key", &file)).await;
            match key {
                Ok(Ok(key)) => request = request.header(header::AUTHORIZATION, format!("Bearer {key}")),
                Ok(Err(why)) => return Fate::Later(why, None),
                Err(error) => return Fate::Later(error.to_string(), None),
            }
        }
        let request = match request.body(Body::full(body)) {
            Ok(request) => request,
            Err(error) => return Fate::Later(format!("the request cannot be made ({error})"), None),
        };
        let exchange = async {
            match self.upstream.send(&self.settings.url, request, Class::Report).await {
                Err(error) => Fate::Later(error.to_string(), None),
                Ok(sent) => {
                    let head = sent.response.into_parts().0;
                    let field = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
                    let date = field(header::DATE).and_then(Time::parse_http);
                    let pause = field(header::RETRY_AFTER).and_then(|text| retry_after(text, date)).map(|pause| pause.min(LONGEST_PAUSE));
                    match head.status.as_u16() {
                        200..300 => Fate::Sent,
                        // Of the 4xx these alone say "later"; a key may be mended.
                        status @ (401 | 403 | 429) => Fate::Later(format!("the receiver answered {status}"), pause),
                        status @ 400..500 => Fate::Refused(format!("the receiver refused values ({status})")),
                        status => Fate::Later(format!("the receiver answered {status}"), pause),
                    }
                }
            }
        };
        let late = || Fate::Later(format!("the receiver did not answer within {} s", EXCHANGE.as_secs()), None);
        tokio::time::timeout(EXCHANGE, exchange).await.unwrap_or_else(|_| late())
    }
}
