//! One upload after another, oldest records first, until nothing waits or the hub wants to be left alone.
//!
//! A record leaves the outbox only when the hub has acknowledged it: a cut between the two means that it is sent again, and the hub
//! knows it by its number.

use crate::base::backoff::retry_after;
use crate::base::body::Body;
use crate::base::clock::Time;
use crate::base::target::Target;
use crate::base::unit::Bytes;
use crate::report::batch;
use crate::report::coding::Packer;
use crate::report::compose;
use crate::report::gather::{self, plain};
use crate::report::join::join;
use crate::report::schema;
use crate::report::sign;
use crate::report::verdict::{NUMBER_USED, Reply, Verdict, judge};
use crate::report::world::Unsent;
use crate::report::{Flushed, Inner};
use crate::state::outbox::{Sealed, Waiting};
use anyhow::Context;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use serde_json::Value;
use std::time::Duration;

/// One upload in all: 1 MiB at 64 kbit/s takes 131 s.
const DEADLINE: Duration = Duration::from_mins(3);

/// Longest answer: 4,096 refusals of 200 bytes.
pub(crate) const MOST_ANSWER: usize = 1 << 20;

/// What a backlog is sent in, before compression: 60 kB on the line. A class that comes back waits behind no more than that.
const LOT_BYTES: usize = 256 << 10;

/// A backlog of more bytes than this gives way to a class: what one hour leaves is a packet or two, and nobody sees it.
pub(crate) const BACKLOG: u64 = 100_000;

/// How long a hub that did not know a field is told without those that came later: then it is tried whether it has a newer program.
const PLAIN: Duration = Duration::from_hours(24);

/// How the next upload goes.
#[derive(Debug)]
pub(crate) struct Way {
    /// Records of one upload, at most.
    most: usize,
    /// A new epoch was begun, with or without another name, a code was used; none helps twice.
    renewed: bool,
    renamed: bool,
    joined: bool,
}

impl Default for Way {
    fn default() -> Way {
        Way { most: batch::MOST_RECORDS, renewed: false, renamed: false, joined: false }
    }
}

/// What came of one upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Another one may go at once.
    More,
    /// Nothing waits, or there is no hub.
    Empty,
    /// Not now.
    Later,
}

/// Uploads until nothing waits or it must be later.
pub(crate) async fn flush(inner: &Inner) -> anyhow::Result<Flushed> {
    let mut flushed = Flushed::default();
    while one(inner, &mut flushed).await? == Step::More {}
    flushed.waiting = inner.state.outbox().count().await?.waiting;
    flushed.trouble = inner.memory.lock().trouble.clone();
    Ok(flushed)
}

/// One upload.
pub(crate) async fn one(inner: &Inner, flushed: &mut Flushed) -> anyhow::Result<Step> {
    let Some(hub) = &inner.settings.hub_url else { return Ok(Step::Empty) };
    let _turn = inner.sending.acquire().await.context("the reporter has ended")?;
    let (outbox, target) = (inner.state.outbox(), endpoint(hub, "reports")?);
    let most = inner.memory.lock().way.most;
    let waiting = outbox.batch(i64::try_from(most).unwrap_or(1), LOT_BYTES).await?;
    let Some(last) = waiting.last() else {
        settle(inner, None);
        inner.memory.lock().wants = false;
        return Ok(Step::Empty);
    };
    outbox.try_until(last.epoch, last.seq).await?;
    let plainly = inner.memory.lock().plain_until.is_some_and(|until| until > inner.clock.steady());
    let mut records = Vec::with_capacity(waiting.len());
    for Waiting { epoch, seq, sealed } in waiting {
        let reworded = if plainly { reword(inner, epoch, seq, &sealed).await? } else { None };
        match plain(&reworded.unwrap_or(sealed)) {
            Some(sealed) => records.push(Record { epoch, seq, sealed }),
            None => outbox.park(epoch, seq, "it cannot be read any more").await?,
        }
    }
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(Step::More) };
    let (epoch, seq, last) = (first.epoch, first.seq, last.seq);
    if names_another(inner, first) && !std::mem::replace(&mut inner.memory.lock().way.renamed, true) {
        renew(inner, "this box has a key of its own: what waits is signed by it, in a new epoch").await?;
        return Ok(Step::More);
    }
    Ok(match upload(inner, &target, &records).await {
        Verdict::Taken(reply) if reply.acked_seq < seq && reply.reject.is_empty() => later(inner, None, "the hub took nothing"),
        // What it believes to have taken it was not sent: it means somebody else, and nothing of ours is safe there.
        Verdict::Taken(reply) if reply.acked_seq > last => later(inner, None, "the hub acknowledges what it was not sent"),
        Verdict::Taken(reply) => {
            let used = take(inner, &records, &reply, flushed).await?;
            let pause = Duration::from_secs(reply.next_after_s);
            if used && std::mem::replace(&mut inner.memory.lock().way.renewed, true) {
                later(inner, None, "the hub says that the numbers of a new epoch are used")
            } else if used {
                renew(inner, "the hub knows these numbers already: this box was restored, a new epoch begins").await?;
                Step::More
            } else if reply.acked_seq < last {
                // What the hub left out for now is asked about later, not at once.
                later(inner, Some(pause).filter(|pause| !pause.is_zero()), "the hub took only a part")
            } else {
                settle(inner, Some((inner.clock.now(), pause)));
                Step::More
            }
        }
        Verdict::Later { after, why } => later(inner, after, &why),
        Verdict::Barred(why) => stuck(inner, &why),
        Verdict::Stranger(why) => {
            let tried = inner.settings.code.is_empty() || std::mem::replace(&mut inner.memory.lock().way.joined, true);
            if tried {
                stuck(inner, &why)
            } else if let Err(problem) = join(inner, &inner.settings.code).await {
                stuck(inner, &format!("{why}; hub.code did not help: {}", problem.title))
            } else {
                Step::More
            }
        }
        Verdict::Refused(why) if records.len() == 1 => {
            tracing::warn!(seq, why, "the hub refused a report");
            outbox.park(epoch, seq, &why).await?;
            flushed.parked += 1;
            inner.memory.lock().way.most = batch::MOST_RECORDS;
            Step::More
        }
        Verdict::TooLarge(why) if records.len() == 1 => later(inner, None, &why),
        // Which one is to blame? Halves, down to a single record.
        Verdict::Refused(_) | Verdict::TooLarge(_) => {
            inner.memory.lock().way.most = (records.len() / 2).max(1);
            Step::More
        }
    })
}

/// One record as it travels.
struct Record {
    epoch: i64,
    seq: i64,
    sealed: Vec<u8>,
}

/// `<hub>/api/v1/reports` and its like, below whatever path the hub's URL has.
pub(crate) fn endpoint(hub: &Target, what: &str) -> anyhow::Result<Target> {
    let path = format!("{}/api/v1/{what}", hub.path().trim_end_matches('/'));
    Target::from_parts(hub.scheme(), hub.authority(), &path).with_context(|| format!("hub.url {} is no base of an address", hub.origin()))
}

async fn upload(inner: &Inner, target: &Target, records: &[Record]) -> Verdict {
    let trouble = |why: String| Verdict::Later { after: None, why };
    let body = match batch::pack(records.iter().map(|record| record.sealed.as_slice())) {
        Ok(body) => body,
        Err(error) => return trouble(format!("the reports cannot be packed ({error})")),
    };
    let request = Request::builder()
        .method(Method::POST)
        .uri(target.url())
        .header(header::CONTENT_TYPE, batch::MEDIA_TYPE)
        .header(header::CONTENT_ENCODING, "zstd")
        .header("content-digest", batch::digest(&body))
        .header(header::CONTENT_LENGTH, body.len())
        .header(header::USER_AGENT, concat!("bulak/", env!("CARGO_PKG_VERSION")))
        .body(Body::full(body));
    let request = match request {
        Ok(request) => request,
        Err(error) => return trouble(format!("the request cannot be made ({error})")),
    };
    let exchange = async {
        let response = inner.world.post(target, request).await?;
        let (head, body) = response.into_parts();
        let field = |name| head.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        let date = field(header::DATE).and_then(Time::parse_http);
        let wait = field(header::RETRY_AFTER).and_then(|text| retry_after(text, date.or(Some(inner.clock.now()))));
        let body = collect(body, MOST_ANSWER).await?;
        Ok::<Verdict, Unsent>(judge(head.status.as_u16(), wait, &body))
    };
    match tokio::time::timeout(DEADLINE, exchange).await {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(Unsent::Later(why))) => trouble(why),
        Ok(Err(Unsent::Never(why))) => Verdict::Barred(why),
        Err(_) => trouble(format!("the hub did not answer within {} s", DEADLINE.as_secs())),
    }
}

/// The whole of an answer of at most `most` bytes. Frame by frame rather than `Body::collect`, whose future the compiler cannot prove `Send` in every place.
pub(crate) async fn collect(mut body: Body, most: usize) -> Result<Vec<u8>, String> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the answer broke off ({error})"))?;
        let data = frame.data_ref().map(AsRef::as_ref).unwrap_or_default();
        if whole.len() + data.len() > most {
            return Err(format!("the answer is longer than {}", Bytes(u64::try_from(most).unwrap_or(u64::MAX))));
        }
        whole.extend_from_slice(data);
    }
    Ok(whole)
}

/// Books an answer. Whether the hub says that numbers were used before.
async fn take(inner: &Inner, records: &[Record], reply: &Reply, flushed: &mut Flushed) -> anyhow::Result<bool> {
    let outbox = inner.state.outbox();
    let Some(epoch) = records.first().map(|record| record.epoch) else {
        return Ok(false);
    };
    let refusal = |seq: i64| reply.reject.iter().find(|reject| reject.seq == seq);
    let taken: Vec<i64> =
        records.iter().map(|record| record.seq).filter(|seq| *seq <= reply.acked_seq && refusal(*seq).is_none()).collect();
    outbox.delivered(epoch, &taken).await?;
    flushed.delivered += taken.len() as u64;
    let mut used = false;
    for reject in records.iter().filter_map(|record| refusal(record.seq)) {
        if reject.why == NUMBER_USED {
            used = true;
            continue;
        }
        let unlisted = reject.why.starts_with(schema::REFUSAL) && reject.why.contains(schema::UNLISTED);
        if unlisted && reword_refused(inner, records, reject.seq).await? {
            continue;
        }
        let why: String = reject.why.chars().filter(|letter| !letter.is_control()).take(200).collect();
        tracing::warn!(seq = reject.seq, why, "the hub refused a report");
        outbox.park(epoch, reject.seq, &why).await?;
        flushed.parked += 1;
    }
    Ok(used)
}

/// A record without what hubs of an earlier program do not know; `None`: it has none of it.
async fn reword(inner: &Inner, epoch: i64, seq: i64, old: &Sealed) -> anyhow::Result<Option<Sealed>> {
    let new = gather::anew(inner, &mut Packer::new(), old, |record| schema::without_later(&mut record.payload));
    if let Some(new) = &new {
        inner.state.outbox().reword(epoch, seq, new).await?;
    }
    Ok(new)
}

/// The hub does not know a field of this record: it is told the same without those that came later, and so is what follows. Whether
/// there was anything to leave out.
async fn reword_refused(inner: &Inner, records: &[Record], seq: i64) -> anyhow::Result<bool> {
    let Some(record) = records.iter().find(|record| record.seq == seq) else { return Ok(false) };
    if reword(inner, record.epoch, seq, &Sealed::plain(record.sealed.clone())).await?.is_none() {
        return Ok(false);
    }
    let until = inner.clock.steady() + PLAIN;
    if inner.memory.lock().plain_until.replace(until).is_none() {
        tracing::info!("the hub has an older program: it is told what that knows");
    }
    Ok(true)
}

/// Whether a record waits under another node's name: the key was lost or put aside since, and no hub takes that name from this one.
fn names_another(inner: &Inner, record: &Record) -> bool {
    let read = sign::peel(&record.sealed).and_then(|bytes| serde_json::from_slice::<compose::Record<Value>>(bytes).ok());
    read.is_some_and(|record| record.node != inner.who.node)
}

/// Begins a new epoch and signs what waits anew, as this node: the box was restored from a copy and its numbers had been used, or it has
/// another key.
async fn renew(inner: &Inner, why: &str) -> anyhow::Result<()> {
    let seal = |old: &Sealed, epoch: i64, seq: i64| {
        let rename = |record: &mut compose::Record<Value>| {
            (record.epoch, record.seq) = (epoch, seq);
            record.node.clone_from(&inner.who.node);
            true
        };
        // One that cannot be read is put aside when its turn comes.
        Ok(gather::anew(inner, &mut Packer::new(), old, rename).unwrap_or_else(|| old.clone()))
    };
    let count = inner.state.outbox().begin_epoch(inner.clock.now().secs(), seal).await?;
    tracing::info!(count, "{why}");
    Ok(())
}

/// It worked: something was delivered, and the hub wants to be left alone for so long; or nothing waits.
fn settle(inner: &Inner, delivered: Option<(Time, Duration)>) {
    let mut memory = inner.memory.lock();
    memory.tries = 0;
    memory.trouble = None;
    let Some((when, pause)) = delivered else { return };
    memory.by_hand = None;
    memory.way = Way { most: memory.way.most.saturating_mul(2).min(batch::MOST_RECORDS), ..Way::default() };
    memory.last_delivered = Some(when);
    memory.not_before = Some(pause).filter(|pause| !pause.is_zero()).map(|pause| inner.clock.steady() + pause);
}

/// It did not: come again after the hub's wait, else after the backoff's.
fn later(inner: &Inner, after: Option<Duration>, why: &str) -> Step {
    let mut memory = inner.memory.lock();
    // Said once, at its beginning: a hub that is away is an ordinary Tuesday.
    if memory.trouble.as_deref() != Some(why) {
        tracing::info!(why, "reports wait");
    }
    let wait = after.unwrap_or_else(|| inner.settings.retry.wait(memory.tries, rand::random_range(0.0..=1.0)));
    memory.tries = memory.tries.saturating_add(1);
    memory.trouble = Some(why.to_owned());
    memory.not_before = Some(inner.clock.steady() + wait);
    (memory.way.renewed, memory.way.joined) = (false, false);
    Step::Later
}

/// It did not, and waiting alone does not help. Remembered until the hub takes something: that it cannot be reached meanwhile mends
/// nothing.
fn stuck(inner: &Inner, why: &str) -> Step {
    inner.memory.lock().by_hand = Some(why.to_owned());
    later(inner, None, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_lies_below_the_hub() {
        for (hub, wanted) in [
            ("http://127.0.0.1:8090", "http://127.0.0.1:8090/api/v1/reports"),
            ("https://region.example.kz/bulak/", "https://region.example.kz/bulak/api/v1/reports"),
        ] {
            assert_eq!(endpoint(&Target::parse(hub).expect("valid"), "reports").expect("joins").url(), wanted);
        }
    }
}
