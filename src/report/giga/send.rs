//! One request after another until nothing is due, or the server says to come later. That a request is about to leave is written down
//! first: what a power cut interrupts may have arrived, and is asked about.

use crate::base::backoff::retry_after;
use crate::base::body::Body;
use crate::base::clock::Time;
use crate::base::target::Target;
use crate::link::Class;
use crate::report::giga::message;
use crate::report::giga::verdict::{Look, Verdict, judge, look};
use crate::report::giga::{Inner, read_key};
use crate::report::send::collect;
use crate::state::giga::{Item, Mark, What};
use crate::upstream::Error as Reach;
use http::{Method, Request, header};
use serde_json::{Value, json};
use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

/// Speed tests that are taken up at a time.
const TESTS: u32 = 50;
/// Checks of one batch: 20 kB.
const CHECKS: u32 = 100;
/// Longest answer; what the server says is a few lines.
const MOST_ANSWER: usize = 256 << 10;
/// The longest pause that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_hours(24);

/// What came back.
enum Heard {
    /// An answer; `body` is `None` when it was too long or broke off.
    Answer { status: u16, pause: Option<Duration>, body: Option<Vec<u8>> },
    /// The request has certainly not arrived.
    Unsent(String),
    /// Nobody knows.
    Silence(String),
}

/// A round.
struct Round<'r> {
    inner: &'r Inner,
    key: String,
    mark: Mark,
    /// Whether the node was registered in this round: once is enough.
    introduced: bool,
}

/// Sends what is due; `all`: checks too, whenever they were last sent.
pub(super) async fn flush(inner: &Inner, all: bool) -> anyhow::Result<()> {
    let file = inner.settings.key.clone();
    let key = match tokio::task::spawn_blocking(move || read_key("giga.key", &file)).await? {
        Ok(key) => key,
        Err(why) => {
            // A person mends it, and that counts at once.
            later(inner, Some(Duration::ZERO), &why);
            return Ok(());
        }
    };
    {
        let mut memory = inner.memory.lock();
        if memory.stopped.as_ref().is_some_and(|(_, refused)| *refused == key) {
            return Ok(());
        }
        memory.stopped = None;
        if memory.not_before.is_some_and(|moment| moment > inner.clock.steady()) {
            return Ok(());
        }
    }
    let mark = inner.mark(0).await?;
    let mut round = Round { inner, key, mark, introduced: false };
    let due = {
        let memory = inner.memory.lock();
        let now = inner.clock.steady();
        all || memory.back || memory.sent.is_none_or(|sent| now.saturating_duration_since(sent) >= inner.pace.send_checks)
    };
    let count = inner.state.giga().count().await?;
    if count.tests == 0 && (count.checks == 0 || !due) {
        return Ok(());
    }
    if round.introduce().await?.is_continue() && round.tests().await?.is_continue() && due && round.checks().await?.is_continue() {
        let mut memory = inner.memory.lock();
        (memory.sent, memory.back) = (Some(inner.clock.steady()), false);
    }
    Ok(())
}

impl Round<'_> {
    /// Registers the node where the server does not know it yet.
    async fn introduce(&mut self) -> anyhow::Result<ControlFlow<()>> {
        let place = self.inner.place();
        if self.mark.registered == place {
            return Ok(Continue(()));
        }
        if self.introduced {
            later(self.inner, None, "the server says that this node is not registered, though it was");
            return Ok(Break(()));
        }
        self.introduced = true;
        let body = message::registration(&self.inner.settings.school, &self.mark, self.inner.clock.now());
        let heard = self.ask(Method::POST, "/dailycheckapp_schools", Some(&body)).await;
        let given = match verdict(heard) {
            (Verdict::Taken(data), _) => {
                let given = data["user_id"].as_str().unwrap_or_default();
                let plain = (1..=64).contains(&given.len()) && given.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
                if plain { given.to_owned() } else { self.mark.user_id.clone() }
            }
            // An answer of the first try was lost.
            (Verdict::Refused(why), _) if why.to_lowercase().contains("exist") && !is_about_school(&why) => self.mark.user_id.clone(),
            (verdict, pause) => return Ok(self.give_up(verdict, pause)),
        };
        self.inner.state.giga().registered(&place, &given).await?;
        tracing::info!("the Giga Meter server knows this node now");
        (self.mark.registered, self.mark.user_id) = (place, given);
        Ok(Continue(()))
    }

    async fn tests(&mut self) -> anyhow::Result<ControlFlow<()>> {
        loop {
            let items = self.inner.state.giga().tests(TESTS).await?;
            if items.is_empty() {
                return Ok(Continue(()));
            }
            for item in items {
                if self.test(&item).await?.is_break() {
                    return Ok(Break(()));
                }
            }
        }
    }

    async fn test(&mut self, item: &Item) -> anyhow::Result<ControlFlow<()>> {
        let queue = self.inner.state.giga();
        let own = [item.number];
        let What::Test(test) = &item.what else { return Ok(Continue(())) };
        let kept = self.inner.meter.after(test.saturating_sub(1), 1).await?.into_iter().find(|kept| kept.number == *test);
        let Some((kept, body)) = kept.and_then(|kept| {
            let body = message::measurement(&self.inner.settings.school, &self.mark, &kept)?;
            Some((kept, body))
        }) else {
            queue.gone(&own).await?;
            return Ok(Continue(()));
        };
        if item.asked > 0 {
            match self.look(kept.start, body["UUID"].as_str().unwrap_or_default()).await {
                Look::There => {
                    queue.done(&own, self.inner.clock.now()).await?;
                    self.settled();
                    return Ok(Continue(()));
                }
                // Nobody may look: once more, and then it is left at that.
                Look::Closed if item.asked > 1 => {
                    queue.unsure(&own).await?;
                    return Ok(Continue(()));
                }
                Look::Absent | Look::Closed => {}
                Look::Unknown => {
                    later(self.inner, None, "the server does not say whether it has a test that may have arrived");
                    return Ok(Break(()));
                }
            }
        }
        queue.asking(&own).await?;
        let heard = self.ask(Method::POST, "/measurements", Some(&body)).await;
        match verdict(heard) {
            (Verdict::Taken(_), _) => {
                queue.done(&own, self.inner.clock.now()).await?;
                self.settled();
                Ok(Continue(()))
            }
            (Verdict::Refused(why), _) => {
                queue.unasked(&own).await?;
                self.park(item, &why).await
            }
            (Verdict::Stranger, _) => {
                queue.unasked(&own).await?;
                queue.registered("", &self.mark.user_id).await?;
                self.mark.registered.clear();
                // The next turn of the loop sends it again.
                self.introduce().await
            }
            (verdict @ Verdict::Unknown(_), pause) => Ok(self.give_up(verdict, pause)),
            (verdict, pause) => {
                queue.unasked(&own).await?;
                Ok(self.give_up(verdict, pause))
            }
        }
    }

    /// Whether the server has a test.
    async fn look(&self, start: Time, uuid: &str) -> Look {
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("giga_id_school", &self.inner.settings.school.giga_id)
            .append_pair("filterBy", "timestamp")
            .append_pair("filterCondition", "eq")
            .append_pair("filterValue", &message::millis(start))
            .finish();
        match self.ask(Method::GET, &format!("/measurements?{query}"), None).await {
            Heard::Answer { status, body: Some(body), .. } => look(status, &body, uuid),
            _ => Look::Unknown,
        }
    }

    async fn checks(&mut self) -> anyhow::Result<ControlFlow<()>> {
        let queue = self.inner.state.giga();
        let path = format!("/connectivity/{}", self.inner.settings.school.giga_id);
        loop {
            // What may have arrived goes alone: one duplicate would fail all that are beside it.
            let again = queue.checks(true, 1).await?;
            let alone = !again.is_empty();
            let items = if alone { again } else { queue.checks(false, CHECKS).await? };
            if items.is_empty() {
                return Ok(Continue(()));
            }
            let numbers: Vec<i64> = items.iter().map(|item| item.number).collect();
            queue.asking(&numbers).await?;
            let school = &self.inner.settings.school;
            let records = items.iter().filter_map(|item| match &item.what {
                What::Check(check) => Some(message::check(school, &self.mark, item.made, check)),
                What::Test(_) => None,
            });
            let body = json!({ "records": records.collect::<Vec<Value>>() });
            let heard = self.ask(Method::POST, &path, Some(&body)).await;
            match verdict(heard) {
                (Verdict::Taken(_), _) => {
                    queue.done(&numbers, self.inner.clock.now()).await?;
                    self.settled();
                }
                (Verdict::Refused(why), _) if is_about_school(&why) => {
                    queue.unasked(&numbers).await?;
                    // One stands for all: a person has to mend it.
                    if let Some(item) = items.first()
                        && self.park(item, &why).await?.is_break()
                    {
                        return Ok(Break(()));
                    }
                }
                // It does not like its form: it is kept aside and told.
                (Verdict::Refused(why), _) if alone && is_about_form(&why) => {
                    queue.unasked(&numbers).await?;
                    if let Some(item) = items.first()
                        && self.park(item, &why).await?.is_break()
                    {
                        return Ok(Break(()));
                    }
                }
                // It has it already.
                (Verdict::Refused(_), _) if alone => {
                    queue.done(&numbers, self.inner.clock.now()).await?;
                    self.settled();
                }
                // One of them may be known there: all go alone now, which `asked` says.
                (Verdict::Refused(_), _) => {}
                (Verdict::Stranger, _) => {
                    queue.unasked(&numbers).await?;
                    queue.registered("", &self.mark.user_id).await?;
                    self.mark.registered.clear();
                    if self.introduce().await?.is_break() {
                        return Ok(Break(()));
                    }
                }
                (verdict @ Verdict::Unknown(_), pause) => return Ok(self.give_up(verdict, pause)),
                (verdict, pause) => {
                    queue.unasked(&numbers).await?;
                    return Ok(self.give_up(verdict, pause));
                }
            }
        }
    }

    /// Refused for good. What is wrong with the school is wrong with everything: then nothing more is sent for a while.
    async fn park(&self, item: &Item, why: &str) -> anyhow::Result<ControlFlow<()>> {
        tracing::warn!(why, "the Giga Meter server refused something for good");
        self.inner.state.giga().park(item.number, why).await?;
        self.inner.gauges.refused();
        if !is_about_school(why) {
            return Ok(Continue(()));
        }
        later(self.inner, Some(self.inner.pace.retry.most), why);
        Ok(Break(()))
    }

    fn give_up(&self, verdict: Verdict, pause: Option<Duration>) -> ControlFlow<()> {
        match verdict {
            Verdict::Stopped(why) => {
                tracing::warn!(why, "the Giga Meter server does not take the key: nothing more is sent until giga.key holds another");
                let mut memory = self.inner.memory.lock();
                memory.trouble = Some(why.clone());
                memory.stopped = Some((why, self.key.clone()));
            }
            Verdict::Refused(why) => {
                tracing::warn!(why, "the Giga Meter server does not register this node");
                later(self.inner, Some(self.inner.pace.retry.most), &why);
            }
            Verdict::Later(why) | Verdict::Unknown(why) => later(self.inner, pause, &why),
            Verdict::Stranger | Verdict::Taken(_) => later(self.inner, pause, "the server does not register this node"),
        }
        Break(())
    }

    fn settled(&self) {
        let mut memory = self.inner.memory.lock();
        (memory.tries, memory.trouble, memory.not_before) = (0, None, None);
    }

    /// One exchange, not sooner after the last one than the server takes.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Heard {
        let inner = self.inner;
        let last = inner.memory.lock().asked;
        if let Some(last) = last {
            let wait = inner.pace.between.saturating_sub(inner.clock.steady().saturating_duration_since(last));
            tokio::time::sleep(wait).await;
        }
        inner.memory.lock().asked = Some(inner.clock.steady());
        let base = &inner.settings.base;
        let path = format!("{}{path}", base.path().trim_end_matches('/'));
        let Ok(target) = Target::from_parts(base.scheme(), base.authority(), &path) else {
            return Heard::Unsent("giga.url is no base of an address".into());
        };
        let bytes = body.map(ToString::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(target.url())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("bulak/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json").header(header::CONTENT_LENGTH, bytes.len());
        }
        let request = match request.body(Body::full(bytes.into_bytes())) {
            Ok(request) => request,
            Err(error) => return Heard::Unsent(format!("the request cannot be made ({error})")),
        };
        let exchange = async {
            let response = match inner.upstream.send(&target, request, Class::Report).await {
                Ok(sent) => sent.response,
                Err(error) if is_unsent(&error) => return Heard::Unsent(error.to_string()),
                Err(error) => return Heard::Silence(error.to_string()),
            };
            let (head, body) = response.into_parts();
            let field = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
            let date = field(header::DATE).and_then(Time::parse_http);
            let pause = field(header::RETRY_AFTER).and_then(|text| retry_after(text, date)).map(|pause| pause.min(LONGEST_PAUSE));
            Heard::Answer { status: head.status.as_u16(), pause, body: collect(body, MOST_ANSWER).await.ok() }
        };
        let limit = inner.pace.exchange;
        tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or_else(|_| Heard::Silence(format!("the server did not answer within {} s", limit.as_secs())))
    }
}

/// What was heard, and how long the server wants to be left alone.
fn verdict(heard: Heard) -> (Verdict, Option<Duration>) {
    match heard {
        Heard::Answer { status, pause, body: Some(body) } => (judge(status, &body), pause),
        Heard::Answer { status, pause, body: None } => {
            let why = format!("the server's answer ({status}) is too long, or broke off");
            // What is no success by its status alone needs no document.
            if matches!(status, 401 | 429 | 500 | 503) { (judge(status, b""), pause) } else { (Verdict::Unknown(why), pause) }
        }
        Heard::Unsent(why) => (Verdict::Later(why), None),
        Heard::Silence(why) => (Verdict::Unknown(why), None),
    }
}

/// The server's reason is the school or its country: nothing else would fare better.
fn is_about_school(why: &str) -> bool {
    let why = why.to_lowercase();
    why.contains("school") || why.contains("country")
}

/// The server's reason is how a record is written, or that nothing of this kind is taken, in the words of its framework's checks.
fn is_about_form(why: &str) -> bool {
    let why = why.to_lowercase();
    ["must be", "must not", "should ", "invalid", "cannot post", "bad request"].iter().any(|word| why.contains(word))
}

/// Nothing of the request can have arrived.
fn is_unsent(error: &Reach) -> bool {
    matches!(
        error,
        Reach::DnsTimeout(_)
            | Reach::DnsError(..)
            | Reach::Prohibited(_)
            | Reach::Refused(_)
            | Reach::ConnectTimeout(..)
            | Reach::Unavailable(..)
            | Reach::Crowded(_)
            | Reach::TlsCertificate(..)
            | Reach::Tls(..)
    )
}

/// Not now.
fn later(inner: &Inner, pause: Option<Duration>, why: &str) {
    let mut memory = inner.memory.lock();
    // Said once, at its beginning.
    if memory.trouble.as_deref() != Some(why) {
        tracing::info!(why, "what is for the Giga Meter server waits");
    }
    let wait = pause.unwrap_or_else(|| inner.pace.retry.wait(memory.tries, rand::random_range(0.5..=1.0)));
    memory.tries = memory.tries.saturating_add(1);
    memory.trouble = Some(why.to_owned());
    memory.not_before = Some(inner.clock.steady() + wait);
}
