//! One upload after another, oldest records first, until nothing waits or the hub wants to be left alone.
//!
//! A record leaves the outbox only when the hub has acknowledged it: a cut between the two means that it is sent again, and the hub
//! knows it by its number.

use crate::base::body::Body;
use crate::base::clock::Time;
use crate::base::target::Target;
use crate::report::batch;
use crate::report::compose::{self, Record};
use crate::report::join::join;
use crate::report::sign;
use crate::report::verdict::{NUMBER_USED, Reply, Verdict, judge};
use crate::report::{Flushed, Inner};
use crate::state;
use crate::state::outbox::Waiting;
use anyhow::Context;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use std::time::Duration;

/// One upload in all: 1 MiB at 64 kbit/s takes 131 s.
const DEADLINE: Duration = Duration::from_mins(3);

/// Longest answer: 4,096 refusals of 200 bytes.
const MOST_ANSWER: usize = 1 << 20;

pub(crate) async fn flush(inner: &Inner) -> anyhow::Result<Flushed> {
    let _turn = inner.turn.acquire().await.context("the reporter has ended")?;
    let outbox = inner.state.outbox();
    let mut flushed = Flushed::default();
    let mut most = batch::MOST_RECORDS;
    let (mut renewed, mut joined) = (false, false);
    let mut asked = None;
    if let Some(hub) = &inner.settings.hub_url {
        let target = endpoint(hub, "reports")?;
        loop {
            let records = outbox.batch(i64::try_from(most).unwrap_or(1), batch::SEND_BYTES).await?;
            let (Some(first), Some(last)) = (records.first(), records.last()) else {
                settle(inner, None, asked);
                break;
            };
            match upload(inner, &target, &records).await {
                Verdict::Taken(reply) if reply.acked_seq < first.seq && reply.reject.is_empty() => {
                    later(inner, None, "the hub took nothing");
                    break;
                }
                Verdict::Taken(reply) => {
                    let last = last.seq;
                    let used = take(inner, &records, &reply, &mut flushed).await?;
                    if used && !renewed {
                        renewed = true;
                        renew(inner).await?;
                    } else if used {
                        later(inner, None, "the hub says that the numbers of a new epoch are used");
                        break;
                    }
                    // What the hub left out for now is asked about later, not at once.
                    let pause = Duration::from_secs(reply.next_after_s);
                    if reply.acked_seq < last && !used {
                        later(inner, Some(pause).filter(|pause| !pause.is_zero()), "the hub took only a part");
                        break;
                    }
                    asked = Some(pause);
                    settle(inner, Some(inner.clock.now()), asked);
                }
                Verdict::Later { after, why } => {
                    later(inner, after, &why);
                    break;
                }
                Verdict::Stranger(_) if !joined && !inner.settings.code.is_empty() => {
                    joined = true;
                    if let Err(problem) = join(inner, &inner.settings.code).await {
                        later(inner, None, &problem.title);
                        break;
                    }
                }
                Verdict::Stranger(why) => {
                    later(inner, None, &why);
                    break;
                }
                Verdict::Refused(why) if records.len() == 1 => {
                    tracing::warn!(seq = first.seq, why, "the hub refused a report");
                    outbox.park(first.epoch, first.seq, &why).await?;
                    flushed.parked += 1;
                    most = batch::MOST_RECORDS;
                }
                // Which one is to blame? Halves, down to a single record.
                Verdict::Refused(_) => most = records.len() / 2,
            }
        }
    }
    flushed.waiting = outbox.count().await?.waiting;
    flushed.trouble = inner.memory.lock().trouble.clone();
    Ok(flushed)
}

/// `<hub>/api/v1/reports` and its like, below whatever path the hub's URL has.
pub(crate) fn endpoint(hub: &Target, what: &str) -> anyhow::Result<Target> {
    let path = format!("{}/api/v1/{what}", hub.path().trim_end_matches('/'));
    Target::from_parts(hub.scheme(), hub.authority(), &path).with_context(|| format!("hub.url {} is no base of an address", hub.origin()))
}

async fn upload(inner: &Inner, target: &Target, records: &[Waiting]) -> Verdict {
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
        let wait = head.headers.get(header::RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, inner.clock.now()));
        let body = collect(body).await?;
        Ok::<Verdict, String>(judge(head.status.as_u16(), wait, &body))
    };
    match tokio::time::timeout(DEADLINE, exchange).await {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(why)) => trouble(why),
        Err(_) => trouble(format!("the hub did not answer within {} s", DEADLINE.as_secs())),
    }
}

/// The whole answer. Frame by frame rather than `Body::collect`, whose future the compiler cannot prove `Send` in every place.
pub(crate) async fn collect(mut body: Body) -> Result<Vec<u8>, String> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the hub's answer broke off ({error})"))?;
        let data = frame.data_ref().map(AsRef::as_ref).unwrap_or_default();
        if whole.len() + data.len() > MOST_ANSWER {
            return Err("the hub's answer is longer than 1 MiB".into());
        }
        whole.extend_from_slice(data);
    }
    Ok(whole)
}

/// Seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(text: &str, now: Time) -> Option<Duration> {
    text.trim().parse().map(Duration::from_secs).ok().or_else(|| Time::parse_http(text).map(|then| then.since(now)))
}

/// Books an answer. Whether the hub says that numbers were used before.
async fn take(inner: &Inner, records: &[Waiting], reply: &Reply, flushed: &mut Flushed) -> anyhow::Result<bool> {
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
        let why: String = reject.why.chars().filter(|letter| !letter.is_control()).take(200).collect();
        tracing::warn!(seq = reject.seq, why, "the hub refused a report");
        outbox.park(epoch, reject.seq, &why).await?;
        flushed.parked += 1;
    }
    Ok(used)
}

/// This box was restored from a copy: its numbers had been used. Begins a new epoch and signs what waits anew.
async fn renew(inner: &Inner) -> anyhow::Result<()> {
    let seal = |old: &[u8], epoch: i64, seq: i64| {
        let bytes = sign::peel(old).unwrap_or_default();
        let mut record: Record = serde_json::from_slice(bytes)?;
        record.epoch = epoch;
        record.seq = seq;
        compose::bytes(&record).map(|bytes| inner.key.seal(&bytes)).map_err(state::Error::Refused)
    };
    let count = inner.state.outbox().begin_epoch(inner.clock.now().secs(), seal).await?;
    tracing::info!(count, "the hub knows these numbers already: this box was restored, a new epoch begins");
    Ok(())
}

/// It worked.
fn settle(inner: &Inner, delivered: Option<Time>, pause: Option<Duration>) {
    let mut memory = inner.memory.lock();
    memory.tries = 0;
    memory.trouble = None;
    memory.last_delivered = delivered.or(memory.last_delivered);
    memory.not_before = pause.filter(|pause| !pause.is_zero()).map(|pause| inner.clock.steady() + pause);
}

/// It did not: come again after the hub's wait, else after the backoff's.
fn later(inner: &Inner, after: Option<Duration>, why: &str) {
    let mut memory = inner.memory.lock();
    // Said once, at its beginning: a hub that is away is an ordinary Tuesday.
    if memory.trouble.as_deref() != Some(why) {
        tracing::info!(why, "reports wait");
    }
    let wait = after.unwrap_or_else(|| inner.settings.retry.wait(memory.tries, rand::random_range(0.0..=1.0)));
    memory.tries = memory.tries.saturating_add(1);
    memory.trouble = Some(why.to_owned());
    memory.not_before = Some(inner.clock.steady() + wait);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_both_forms() {
        let now = Time::from_secs(784_111_777);
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:47 GMT", now), Some(Duration::from_secs(10)));
        assert_eq!(retry_after("soon", now), None);
    }

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
