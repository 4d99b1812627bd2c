//! What an upload holds and what of it may be kept. Pure but for the processor's time: unpacking is bounded, nothing is stored here.
//!
//! An upload is of one node and one epoch. What cannot be read at all is refused as a whole; a record that can be read but not taken
//! gets its own reason, and the others are kept.

use crate::base::clock::Time;
use crate::base::digest::Digest;
use crate::hub::facts::{self, Facts, Frame};
use crate::hub::roll::{Known, Roll};
use crate::report::batch;
use crate::report::compose;
use crate::report::schema;
use crate::report::sign;
use crate::report::verdict::Reject;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

/// Why an upload is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No `Content-Digest` with sha-256, or another one.
    #[error("Content-Digest does not fit the body; it was damaged on the way, send it again")]
    Digest,
    /// Not zstd, a bomb, or wrong lengths.
    #[error(transparent)]
    Bad(#[from] batch::Bad),
    /// A record that is not JSON or has no number.
    #[error("record {0} of the upload is no report")]
    Unreadable(usize),
    /// More than one node or epoch.
    #[error("an upload holds records of one node and one epoch")]
    Mixed,
    /// No record.
    #[error("the upload holds no record")]
    Empty,
    /// Not on the roll.
    #[error("this hub does not know the node {0}; give it a code (bulak hub code SCHOOL), or add its key as [[node]] to the hub's file")]
    Unknown(String),
    /// It was on the roll.
    #[error("the node {0} was revoked; give it a new code if it may report again")]
    Revoked(String),
}

impl Refusal {
    /// Its status.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::Unknown(_) | Refusal::Revoked(_) => 403,
            Refusal::Bad(batch::Bad::Large | batch::Bad::Many) => 413,
            _ => 400,
        }
    }

    /// Its name in counters and problem documents.
    pub fn id(&self) -> &'static str {
        match self {
            Refusal::Digest => "hub.digest",
            Refusal::Bad(_) => "hub.malformed",
            Refusal::Unreadable(_) => "hub.unreadable",
            Refusal::Mixed => "hub.mixed",
            Refusal::Empty => "hub.empty",
            Refusal::Unknown(_) => "hub.unknown_node",
            Refusal::Revoked(_) => "hub.revoked",
        }
    }
}

/// A record that may be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Fresh {
    /// Its name: (node of the upload, epoch of the upload, seq).
    pub seq: i64,
    /// What it tells.
    pub kind: String,
    /// From.
    pub start: Time,
    /// Until.
    pub end: Time,
    /// Whether the node believed its clock.
    pub clock_ok: bool,
    /// Tells two records of one number apart.
    pub digest: Digest,
    /// Signature and record.
    pub sealed: Vec<u8>,
    /// What of it goes into columns.
    pub facts: Facts,
}

/// An upload, judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Whose.
    pub node: String,
    /// Its school.
    pub school: String,
    /// Its epoch.
    pub epoch: i64,
    /// The highest number in it.
    pub last: i64,
    /// What may be kept.
    pub fresh: Vec<Fresh>,
    /// What may not, and why.
    pub reject: Vec<Reject>,
}

/// What is read of a record before it is known whose it is: nothing of the rest is held.
#[derive(Deserialize)]
struct Name<'a> {
    #[serde(borrow)]
    node: Cow<'a, str>,
    epoch: i64,
    seq: i64,
}

impl Name<'_> {
    fn of(sealed: &[u8]) -> Option<Name<'_>> {
        let name: Name<'_> = serde_json::from_slice(sign::peel(sealed)?).ok()?;
        (name.epoch >= 0 && name.seq >= 0).then_some(name)
    }
}

/// Judges an upload.
///
/// # Errors
/// See [`Refusal`].
pub fn judge(content_digest: Option<&str>, body: &[u8], roll: &Roll) -> Result<Judged, Refusal> {
    if !content_digest.is_some_and(|field| batch::digest_fits(field, body)) {
        return Err(Refusal::Digest);
    }
    let records = batch::unpack(body)?;
    let mut judged: Option<Judged> = None;
    for (number, sealed) in records.into_iter().enumerate() {
        let Name { node, epoch, seq } = Name::of(&sealed).ok_or(Refusal::Unreadable(number))?;
        let known = roll.node(&node).ok_or_else(|| {
            let plain = node.chars().filter(char::is_ascii_hexdigit).take(32).collect();
            if roll.is_revoked(&node) { Refusal::Revoked(plain) } else { Refusal::Unknown(plain) }
        })?;
        let node = node.into_owned();
        let judged = judged.get_or_insert_with(|| Judged {
            node: node.clone(),
            school: known.school.clone(),
            epoch,
            last: seq,
            fresh: Vec::new(),
            reject: Vec::new(),
        });
        if judged.node != node || judged.epoch != epoch {
            return Err(Refusal::Mixed);
        }
        judged.last = judged.last.max(seq);
        match take((&node, epoch, seq), sealed, known) {
            Ok(fresh) => judged.fresh.push(fresh),
            Err(why) => judged.reject.push(Reject { seq, why }),
        }
    }
    judged.ok_or(Refusal::Empty)
}

/// One record, or why not.
fn take((node, epoch, seq): (&str, i64, i64), sealed: Vec<u8>, known: &Known) -> Result<Fresh, String> {
    if sealed.len() > batch::MOST_RECORD {
        return Err("too_large".into());
    }
    // Held as a value it takes some sixteen times its length, so that comes last.
    let bytes = sign::open(&sealed, &known.key).ok_or("signature")?;
    let value: Value = serde_json::from_slice(bytes).map_err(|_| "unreadable")?;
    if value.get("v").and_then(Value::as_u64) != Some(u64::from(compose::VERSION)) {
        return Err("version".into());
    }
    let complaints = schema::complaints(&value);
    if !complaints.is_empty() {
        return Err(format!("{}: {}", schema::REFUSAL, complaints.join(", ")).chars().take(200).collect());
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let (start, end) = (text("start").and_then(moment), text("end").and_then(moment));
    let (Some(kind), Some(start), Some(end), Some(clock_ok)) = (text("kind"), start, end, value.get("clock_ok").and_then(Value::as_bool))
    else {
        return Err("incomplete".into());
    };
    if start > end {
        return Err("times".into());
    }
    let frame = Frame { node, school: &known.school, epoch, seq, start, end, clock_ok };
    let facts = facts::read(frame, kind, &value);
    Ok(Fresh { seq, kind: kind.to_owned(), start, end, clock_ok, digest: Digest::of(&sealed), sealed, facts })
}

fn moment(text: &str) -> Option<Time> {
    text.parse::<jiff::Timestamp>().ok().map(|stamp| Time::from_micros(stamp.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Enrolled;
    use crate::report::sign::Key;
    use serde_json::json;

    fn record(key: &Key, seq: i64) -> Value {
        json!({
            "v": 1, "node": key.node(), "boot_id": "00000000", "epoch": 5, "seq": seq, "kind": "hour",
            "start": "2026-11-24T00:00:00.000000Z", "end": "2026-11-24T01:00:00.000000Z", "clock_ok": true, "payload": {},
        })
    }

    fn roll(key: &Key) -> Roll {
        Roll::new(&[Enrolled { key: key.public(), school: "one".into(), ..Enrolled::default() }], &[], &[]).expect("a key")
    }

    fn upload(records: &[Vec<u8>]) -> (String, Vec<u8>) {
        let body = batch::pack(records.iter().map(Vec::as_slice)).expect("packs");
        (batch::digest(&body), body)
    }

    #[test]
    fn each_record_is_taken_or_gets_its_reason() {
        let key = Key::make();
        let with = |seq: i64, name: &str, value: Value| {
            let mut record = record(&key, seq);
            record[name] = value;
            key.seal(record.to_string().as_bytes())
        };
        let mut forged = key.seal(record(&key, 2).to_string().as_bytes());
        forged[10] ^= 1;
        let (digest, body) = upload(&[
            key.seal(record(&key, 1).to_string().as_bytes()),
            forged,
            Key::make().seal(record(&key, 3).to_string().as_bytes()),
            with(4, "v", json!(2)),
            with(5, "url", json!("http://e.kz/")),
            with(6, "clock_ok", Value::Null),
            with(7, "start", json!("2026-11-24T02:00:00.000000Z")),
            with(8, "school", json!("x".repeat(70_000))),
            with(9, "payload", json!({"line": {"up_seconds": 5}})),
        ]);
        let judged = judge(Some(&digest), &body, &roll(&key)).expect("readable");
        assert_eq!((judged.school.as_str(), judged.epoch, judged.last), ("one", 5, 9));
        assert_eq!(judged.fresh.iter().map(|fresh| fresh.seq).collect::<Vec<_>>(), [1, 9]);
        let why: Vec<(i64, &str)> =
            judged.reject.iter().map(|reject| (reject.seq, reject.why.split(':').next().unwrap_or_default())).collect();
        assert_eq!(why, [(2, "signature"), (3, "signature"), (4, "version"), (5, "schema"), (6, "schema"), (7, "times"), (8, "too_large")]);
    }

    #[test]
    fn nothing_of_a_record_is_held_before_its_length_and_its_signature_fit() {
        let key = Key::make();
        // What takes far more room as a value than as text; so deep that no value can be made of it.
        let deep = |levels: usize, length: usize| {
            let payload = format!("\"payload\":{}{}{}", "[".repeat(levels), vec!["0"; length].join(","), "]".repeat(levels));
            record(&key, 1).to_string().replace("\"payload\":{}", &payload).into_bytes()
        };
        let why = |sealed: Vec<u8>| {
            let (digest, body) = upload(&[sealed]);
            judge(Some(&digest), &body, &roll(&key)).expect("a name is read all the same").reject[0].why.clone()
        };
        assert_eq!(why(key.seal(&deep(200, 7 << 20))), "too_large");
        assert_eq!(why(Key::make().seal(&deep(200, 1))), "signature");
        assert_eq!(why(key.seal(&deep(200, 1))), "unreadable");
        assert!(why(key.seal(&deep(1, 1))).starts_with(schema::REFUSAL));
    }

    #[test]
    fn what_cannot_be_read_is_refused_as_a_whole() {
        let key = Key::make();
        let stranger = Key::make();
        let sealed = |key: &Key, value: &Value| key.seal(value.to_string().as_bytes());
        let mut other = record(&key, 2);
        other["epoch"] = json!(6);
        let mut nameless = record(&key, 2);
        nameless["seq"] = json!(-1);
        let table: Vec<(Vec<Vec<u8>>, Refusal)> = vec![
            (vec![], Refusal::Empty),
            (vec![vec![1, 2, 3]], Refusal::Unreadable(0)),
            (vec![key.seal(b"not json")], Refusal::Unreadable(0)),
            (vec![sealed(&key, &record(&key, 1)), sealed(&key, &nameless)], Refusal::Unreadable(1)),
            (vec![sealed(&stranger, &record(&stranger, 1))], Refusal::Unknown(stranger.node())),
            (vec![sealed(&key, &record(&key, 1)), sealed(&key, &other)], Refusal::Mixed),
        ];
        for (records, wanted) in table {
            let (digest, body) = upload(&records);
            assert_eq!(judge(Some(&digest), &body, &roll(&key)), Err(wanted));
        }
        let (digest, body) = upload(&[sealed(&key, &record(&key, 1))]);
        for wrong in [None, Some("sha-256=:AAAA:"), Some("")] {
            assert_eq!(judge(wrong, &body, &roll(&key)), Err(Refusal::Digest));
        }
        assert_eq!(judge(Some(&digest), &body[1..], &roll(&key)), Err(Refusal::Digest));
    }
}
