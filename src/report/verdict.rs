//! What an answer of the hub means for the records that were sent. Pure.
//!
//! # Why
//! A 4xx of a hub that speaks of the records (malformed, too large) will be the same tomorrow: the record is parked. A 4xx that speaks of
//! the node or the address (not enrolled yet, wrong URL) is mended by a person, and one without the hub's word on the records may come
//! from the way: the records wait, nothing is lost.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest wait that is taken from a hub's word: a day.
const LONGEST: Duration = Duration::from_hours(24);

/// The answer to an upload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Every record of the upload up to this number is in the hub's hands or in `reject`.
    pub acked_seq: i64,
    /// Records that the hub will never take.
    #[serde(default)]
    pub reject: Vec<Reject>,
    /// When to come again, seconds.
    #[serde(default)]
    pub next_after_s: u64,
}

/// One record that the hub will never take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// Its number.
    pub seq: i64,
    /// Why, in one word or a sentence.
    pub why: String,
}

/// The reason that tells a restored box that its numbers were used before it was restored.
pub const NUMBER_USED: &str = "number_used";

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has arrived.
    Taken(Reply),
    /// Keep everything; come again after this long, or as the backoff says.
    Later {
        /// What the hub asked for.
        after: Option<Duration>,
        /// For status.
        why: String,
    },
    /// The hub does not know this node (any more): everything waits; a code may help.
    Stranger(String),
    /// This node's own rules do not let it get there: everything waits for a person.
    Barred(String),
    /// The hub will not take it as it is: fewer records at once, and a single one never.
    Refused(String),
    /// Something on the way, which is no hub, has a limit: fewer records at once; a single one waits.
    TooLarge(String),
}

/// Judges an answer.
pub fn judge(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Verdict {
    let after = retry_after.map(|wait| wait.min(LONGEST));
    let later = |why: String| Verdict::Later { after, why };
    match status {
        200 => match serde_json::from_slice::<Reply>(body) {
            Ok(reply) => Verdict::Taken(Reply { next_after_s: reply.next_after_s.min(LONGEST.as_secs()), ..reply }),
            // A captive portal answers 200 to everything.
            Err(_) => later("the answer is not a hub's".into()),
        },
        401 | 403 => Verdict::Stranger(format!(
            "the hub does not know this node (status {status}); enrol it by a code (bulak hub join CODE), or add its key to the hub's [[node]] list"
        )),
        404 | 405 | 407 | 408 | 421 | 425 | 429 => later(format!("status {status}")),
        413 if !speaks_of_records(body) => Verdict::TooLarge(format!("status {status}, and not from a hub")),
        // A page is no word of a hub about records: a captive portal, a proxy.
        400..=499 if is_page(body) => later(format!("status {status}, and the answer is not a hub's")),
        400..=499 if speaks_of_records(body) => Verdict::Refused(format!("status {status}: {}", reason(body))),
        400..=499 => later(format!("status {status}: {}", reason(body))),
        _ => later(format!("status {status}")),
    }
}

/// Whether it is made for people to look at.
fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'<')
}

/// What a hub says of records that it will not take as they are. All else may be the way's doing: damaged, cut or changed by something
/// between, which tomorrow may be gone.
const OF_RECORDS: [&str; 4] = ["hub.malformed", "hub.unreadable", "hub.too_large", "hub.mixed"];

fn speaks_of_records(body: &[u8]) -> bool {
    let told = serde_json::from_slice::<serde_json::Value>(body).ok();
    told.as_ref().and_then(|told| told.get("id")?.as_str()).is_some_and(|id| OF_RECORDS.contains(&id))
}

/// The `title` of a problem document, or the beginning of a text.
fn reason(body: &[u8]) -> String {
    let told = serde_json::from_slice::<serde_json::Value>(body).ok();
    let title = told.as_ref().and_then(|value| value.get("title")?.as_str());
    let text = title.map_or_else(|| String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(), str::to_owned);
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_what_they_mean() {
        let ten = Some(Duration::from_secs(10));
        let word = |verdict: &Verdict| match verdict {
            Verdict::Taken(_) => "taken",
            Verdict::Later { after: None, .. } => "later",
            Verdict::Later { .. } => "then",
            Verdict::Refused(_) => "refused",
            Verdict::TooLarge(_) => "large",
            Verdict::Barred(_) => "barred",
            Verdict::Stranger(_) => "stranger",
        };
        let good = br#"{"acked_seq":7,"reject":[{"seq":3,"why":"schema"}],"next_after_s":5}"#;
        let table: &[(u16, Option<Duration>, &[u8], &str)] = &[
            (200, None, good, "taken"),
            (200, None, b"<html>Welcome to the Wi-Fi</html>", "later"),
            (302, None, b"", "later"),
            (400, None, b"{\"id\":\"hub.malformed\",\"title\":\"bad\"}", "refused"),
            (413, None, b"{\"id\":\"hub.too_large\"}", "refused"),
            // Damaged on the way, stripped of its coding, or by a server of another kind: tomorrow the way may be whole.
            (400, None, b"{\"id\":\"hub.digest\",\"title\":\"damaged\"}", "later"),
            (400, None, b"{\"title\":\"bad\"}", "later"),
            (415, None, b"{\"id\":\"hub.coding\"}", "later"),
            (413, None, b"", "large"),
            (413, None, b"\r\n<html><h1>413 Request Entity Too Large</h1>", "large"),
            (400, None, b"<!DOCTYPE html>Welcome to the Wi-Fi", "later"),
            (422, ten, b"", "then"),
            (403, None, b"", "stranger"),
            (404, None, b"", "later"),
            (429, ten, b"", "then"),
            (503, ten, b"", "then"),
            (502, None, b"", "later"),
            (500, None, b"", "later"),
        ];
        for (status, wait, body, wanted) in table {
            assert_eq!(word(&judge(*status, *wait, body)), *wanted, "{status}");
        }
        let told = judge(400, None, b"{\"id\":\"hub.mixed\",\"title\":\"two nodes\"}");
        assert_eq!(told, Verdict::Refused("status 400: two nodes".into()));
        let Verdict::Taken(reply) = judge(200, None, good) else { panic!("taken") };
        assert_eq!((reply.acked_seq, reply.next_after_s, reply.reject[0].seq), (7, 5, 3));
        let forever = format!("{{\"acked_seq\":7,\"next_after_s\":{}}}", u64::MAX);
        let Verdict::Taken(reply) = judge(200, None, forever.as_bytes()) else { panic!("taken") };
        assert_eq!(reply.next_after_s, 86_400);
        assert_eq!(judge(503, Some(Duration::from_secs(1 << 30)), b""), Verdict::Later { after: Some(LONGEST), why: "status 503".into() });
    }
}
