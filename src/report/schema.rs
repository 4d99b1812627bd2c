//! Everything that may leave a school, field by field, with unit and purpose. Pure.
//!
//! An allow-list: what is not here does not leave. Words come from closed sets and numbers are numbers, so no URL, host, address
//! or user agent has a place to hide in. Whoever adds a field adds a line here, where a reviewer sees it.

use serde_json::Value;

/// What a field may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// A whole number, not negative.
    Count,
    /// Any finite number, not negative.
    Number,
    /// Yes or no.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A moment: RFC 3339, UTC, microseconds.
    Moment,
    /// Lower-case hex digits and dashes: keys and random ids.
    Id,
    /// A short name that the administrator gave: letters of any script, digits, `-`, `_`, spaces; no dot, so never a host.
    Label,
    /// `1.2.3` with an optional suffix.
    Version,
}

/// One field of a record.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Where: names joined by dots; `{way}`, `{cache}`, `{direction}` and `{reach}` stand for the words of [`WAYS`], [`OUTCOMES`],
    /// [`DIRECTIONS`] and [`REACHES`].
    pub path: &'static str,
    /// What it may hold.
    pub holds: Holds,
    /// Unit, or empty.
    pub unit: &'static str,
    /// What the region needs it for.
    pub purpose: &'static str,
}

/// The ways by which content becomes cacheable.
pub const WAYS: &[&str] = &["http", "mirror", "intercept"];

/// The outcomes that are told apart.
pub const OUTCOMES: &[&str] = &["hit", "stale", "offline", "revalidated", "miss", "bypass", "tunnel"];

/// What a speed test measures.
pub const DIRECTIONS: &[&str] = &["download", "upload"];

/// Where servers are: in the country, elsewhere, or it is not known.
pub const REACHES: &[&str] = &["domestic", "foreign", "unknown"];

/// What a record may be.
pub const KINDS: &[&str] = &["hour", "speedtest", "ping", "event"];

/// Why a test ran.
pub const TRIGGERS: &[&str] = &["daily", "startup", "manual"];

/// How a test ended: whole, cut short with a figure, without a figure, or nothing was sent because the budget was used up.
pub const ENDS: &[&str] = &["ok", "partial", "failed", "passive"];

/// Why a test has no figure, or a partial one.
pub const TROUBLES: &[&str] =
    &["none", "line", "name", "refused", "busy_server", "protocol", "stalled", "exhausted", "clock", "budget", "cancelled"];

/// How an estimate of capacity came about: one stream as ndt7 has it, several, BBR's own bandwidth, or what real fetches have shown.
pub const METHODS: &[&str] = &["ndt7", "streams", "bbr", "passive"];

/// Whose congestion control sent.
pub const CONGESTIONS: &[&str] = &["cubic", "bbr", "other"];

/// What a person would be told about: each is another trouble, and only the first is the line's own.
pub const EVENTS: &[&str] = &["line_down", "names_down", "origin_down", "box_off", "clock_wrong", "interface_lost"];

const STATES: &[&str] = &["unknown", "up", "slow", "down"];

const fn field(path: &'static str, holds: Holds, unit: &'static str, purpose: &'static str) -> Field {
    Field { path, holds, unit, purpose }
}

/// The allow-list.
pub const FIELDS: &[Field] = &[
    field("v", Holds::Count, "", "version of this layout"),
    field("school", Holds::Label, "", "which school; as the administrator wrote it"),
    field("node", Holds::Id, "", "which box; made from its public key"),
    field("boot_id", Holds::Id, "", "tells restarts apart"),
    field("epoch", Holds::Count, "", "tells lives of a restored box apart"),
    field("seq", Holds::Count, "", "shows that no record is missing"),
    field("kind", Holds::Word(KINDS), "", "what the payload is"),
    field("start", Holds::Moment, "", "from when"),
    field("end", Holds::Moment, "", "until when"),
    field("clock_ok", Holds::Flag, "", "whether the times can be believed"),
    field("payload.line.state", Holds::Word(STATES), "", "verdict at the end of the record"),
    field("payload.line.up_seconds", Holds::Count, "s", "uptime of the line"),
    field("payload.line.slow_seconds", Holds::Count, "s", "time in which the line was bad"),
    field("payload.line.down_seconds", Holds::Count, "s", "outages of the line"),
    field("payload.line.no_data_seconds", Holds::Count, "s", "time in which nothing was tried"),
    field("payload.line.off_seconds", Holds::Count, "s", "time in which the box was off: no outage of the line"),
    field("payload.line.clock_seconds", Holds::Count, "s", "time that cannot be dated"),
    field("payload.line.rx_bytes", Holds::Count, "B", "load of the line"),
    field("payload.line.tx_bytes", Holds::Count, "B", "load of the line"),
    field("payload.line.background_rx_bytes", Holds::Count, "B", "the node's own part of the load"),
    field("payload.line.rtt_min_ms", Holds::Number, "ms", "quality of the line"),
    field("payload.line.rtt_median_ms", Holds::Number, "ms", "quality of the line"),
    field("payload.line.rtt_p95_ms", Holds::Number, "ms", "quality of the line"),
    field("payload.line.first_byte_median_ms", Holds::Number, "ms", "what a person waits for"),
    field("payload.line.download_p95_bps", Holds::Count, "bit/s", "speed seen without a test"),
    field("payload.line.attempts", Holds::Count, "", "how much the figures rest on"),
    field("payload.line.failures", Holds::Count, "", "quality of the line"),
    field("payload.line.names", Holds::Count, "", "how much the next figure rests on"),
    field("payload.line.name_median_ms", Holds::Number, "ms", "how long names take: the provider's DNS"),
    field("payload.line.handshakes", Holds::Count, "", "how much the next figure rests on"),
    field("payload.line.tls_median_ms", Holds::Number, "ms", "what a person waits for"),
    field("payload.line.loaded_connects", Holds::Count, "", "how much the next figure rests on"),
    field("payload.line.loaded_rtt_median_ms", Holds::Number, "ms", "latency while the line is full"),
    field("payload.line.upload_p95_bps", Holds::Count, "bit/s", "speed seen without a test"),
    field("payload.line.reach.{reach}.attempts", Holds::Count, "", "how much the figures rest on"),
    field("payload.line.reach.{reach}.failures", Holds::Count, "", "whether the border or the line is bad"),
    field("payload.line.reach.{reach}.rtt_median_ms", Holds::Number, "ms", "what the way abroad adds"),
    field("payload.line.reach.{reach}.rx_bytes", Holds::Count, "B", "how much the next figure rests on; what crosses the border"),
    field("payload.line.reach.{reach}.download_p95_bps", Holds::Count, "bit/s", "speed seen without a test, near and abroad"),
    field("payload.line.sent_segments", Holds::Count, "", "how much the next figure rests on"),
    field("payload.line.retransmitted_ratio", Holds::Number, "", "loss on the way out: see link::passive"),
    field("payload.line.received_segments", Holds::Count, "", "how much the next figure rests on"),
    field("payload.line.disordered_ratio", Holds::Number, "", "trace of loss on the way in: see link::passive"),
    field("payload.line.round_trips", Holds::Count, "", "how much the next figure rests on"),
    field("payload.line.round_trip_median_ms", Holds::Number, "ms", "latency while the line is used"),
    field("payload.test.id", Holds::Id, "", "finds the same test in the server's log"),
    field("payload.test.trigger", Holds::Word(TRIGGERS), "", "why it ran"),
    field("payload.test.end", Holds::Word(ENDS), "", "how it ended"),
    field("payload.test.trouble", Holds::Word(TROUBLES), "", "why there is no figure"),
    field("payload.test.reach", Holds::Word(REACHES), "", "where its server is"),
    field("payload.test.busy", Holds::Flag, "", "a class used the line meanwhile"),
    field("payload.test.cross_rx_bytes", Holds::Count, "B", "what others moved meanwhile"),
    field("payload.test.cross_tx_bytes", Holds::Count, "B", "what others moved meanwhile"),
    field("payload.test.cost_bytes", Holds::Count, "B", "what the test took from the line"),
    field("payload.test.left_today_bytes", Holds::Count, "B", "what tests may still take"),
    field("payload.test.{direction}.ndt7_bps", Holds::Count, "bit/s", "one stream, comparable with everybody's"),
    field("payload.test.{direction}.estimate_bps", Holds::Count, "bit/s", "capacity of the line"),
    field("payload.test.{direction}.low_bps", Holds::Count, "bit/s", "how sure that is"),
    field("payload.test.{direction}.high_bps", Holds::Count, "bit/s", "how sure that is"),
    field("payload.test.{direction}.method", Holds::Word(METHODS), "", "how the estimate came about"),
    field("payload.test.{direction}.congestion", Holds::Word(CONGESTIONS), "", "who sent"),
    field("payload.test.{direction}.streams", Holds::Count, "", "connections at once"),
    field("payload.test.{direction}.early", Holds::Flag, "", "ended early because the figure had settled"),
    field("payload.test.{direction}.took_ms", Holds::Number, "ms", "length of the test"),
    field("payload.test.{direction}.moved_bytes", Holds::Count, "B", "what the figure rests on"),
    field("payload.test.{direction}.rtt_min_ms", Holds::Number, "ms", "latency"),
    field("payload.test.{direction}.rtt_loaded_ms", Holds::Number, "ms", "latency while the line is full"),
    field("payload.test.{direction}.retransmitted_ratio", Holds::Number, "", "quality of the line"),
    field("payload.ping.reach", Holds::Word(REACHES), "", "where its server is"),
    field("payload.ping.sent", Holds::Count, "", "how much the figures rest on"),
    field("payload.ping.received", Holds::Count, "", "loss"),
    field("payload.ping.late", Holds::Count, "", "answers that came after their time"),
    field("payload.ping.doubled", Holds::Count, "", "answers that came twice"),
    field("payload.ping.rtt_min_ms", Holds::Number, "ms", "latency"),
    field("payload.ping.rtt_median_ms", Holds::Number, "ms", "latency"),
    field("payload.ping.rtt_p95_ms", Holds::Number, "ms", "latency"),
    field("payload.ping.jitter_ms", Holds::Number, "ms", "quality of the line: RFC 3550 section 6.4.1"),
    field("payload.event.what", Holds::Word(EVENTS), "", "what happened"),
    field("payload.event.seconds", Holds::Count, "s", "how long"),
    field("payload.event.open", Holds::Flag, "", "it is not over"),
    field("payload.cache.by_way.{way}.{cache}.requests", Holds::Count, "", "use of the cache in this record's time"),
    field("payload.cache.by_way.{way}.{cache}.bytes", Holds::Count, "B", "use of the cache in this record's time"),
    field("payload.cache.collapsed", Holds::Count, "", "requests that shared another's fetch"),
    field("payload.cache.upstream_bytes", Holds::Count, "B", "what the cache took from the line"),
    field("payload.total.by_way.{way}.{cache}.requests", Holds::Count, "", "the same since the node's start, should a record be lost"),
    field("payload.total.by_way.{way}.{cache}.bytes", Holds::Count, "B", "the same since the node's start"),
    field("payload.total.collapsed", Holds::Count, "", "the same since the node's start"),
    field("payload.total.upstream_bytes", Holds::Count, "B", "the same since the node's start"),
    field("payload.store.objects", Holds::Count, "", "what the store holds"),
    field("payload.store.entries", Holds::Count, "", "what the store holds"),
    field("payload.store.pinned_entries", Holds::Count, "", "what packs keep"),
    field("payload.store.object_bytes", Holds::Count, "B", "what the store holds"),
    field("payload.store.disk_bytes", Holds::Count, "B", "room on the disk"),
    field("payload.store.quota_bytes", Holds::Count, "B", "room on the disk"),
    field("payload.store.spared_dedup_bytes", Holds::Count, "B", "bytes spared"),
    field("payload.store.spared_zstd_bytes", Holds::Count, "B", "bytes spared"),
    field("payload.store.damaged", Holds::Count, "", "a disk that is dying"),
    field("payload.store.admitting", Holds::Flag, "", "a store that is full"),
    field("payload.store.writable", Holds::Flag, "", "a disk that has gone read-only"),
    field("payload.store.index", Holds::Word(&["ready", "rebuilding", "off"]), "", "health of the store"),
    field("payload.night.done", Holds::Count, "", "the night's work: wishes that are through"),
    field("payload.night.failed", Holds::Count, "", "wishes that could not be fetched"),
    field("payload.night.waiting", Holds::Count, "", "wishes still open"),
    field("payload.night.bytes", Holds::Count, "B", "what the night took from the line since the node's start"),
    field("payload.night.brought_bytes", Holds::Count, "B", "what the night took from the line in four weeks"),
    field("payload.night.used_bytes", Holds::Count, "B", "of these, what a device has used since; the rest was fetched in vain"),
    field("payload.night.last.packs", Holds::Count, "", "the last night: packs in force"),
    field("payload.night.last.packs_complete", Holds::Count, "", "of these, here in the morning"),
    field("payload.night.last.new", Holds::Count, "", "things that came"),
    field("payload.night.last.changed", Holds::Count, "", "things that came anew"),
    field("payload.night.last.unchanged", Holds::Count, "", "things that cost a question only"),
    field("payload.night.last.failed", Holds::Count, "", "things that could not be fetched"),
    field("payload.night.last.gone", Holds::Count, "", "things that their origin has no more"),
    field("payload.night.last.refused", Holds::Count, "", "things that hosts or packs do not want fetched"),
    field("payload.night.last.left_out", Holds::Count, "", "things larger than may come"),
    field("payload.night.last.left", Holds::Count, "", "things that did not fit the night"),
    field("payload.night.last.line_bytes", Holds::Count, "B", "what the night took from the line"),
    field("payload.night.last.body_bytes", Holds::Count, "B", "what of it is content"),
    field("payload.night.last.busy_seconds", Holds::Count, "s", "how long it worked"),
    field("payload.night.last.power_cuts", Holds::Count, "", "what the night went through"),
    field("payload.health.version", Holds::Version, "", "which program runs"),
    field("payload.health.uptime_seconds", Holds::Count, "s", "restarts"),
    field("payload.health.outbox_records", Holds::Count, "", "reports that wait"),
    field("payload.health.outbox_dropped", Holds::Count, "", "reports that were lost because the outbox was full"),
    field("payload.health.outbox_parked", Holds::Count, "", "reports that the hub refused"),
];

/// What such a refusal says of a field that the hub does not know.
pub const UNLISTED: &str = "a field outside the list";

/// How a hub's refusal begins that a record holds something outside its list.
pub const REFUSAL: &str = "schema";

/// Fields of an hour's payload that hubs of an earlier program do not know. Such a hub refuses a record for one of them, and is then
/// told the same without: whoever adds a field adds it here too.
pub const LATER: &[&str] = &[
    "line.reach.{reach}.rx_bytes",
    "line.reach.{reach}.download_p95_bps",
    "line.sent_segments",
    "line.retransmitted_ratio",
    "line.received_segments",
    "line.disordered_ratio",
    "line.round_trips",
    "line.round_trip_median_ms",
];

/// Takes out of a payload what hubs of an earlier program do not know. Whether there was any of it.
pub fn without_later(payload: &mut Value) -> bool {
    let mut had = false;
    for path in LATER {
        for reach in REACHES {
            let path = path.replace("{reach}", reach);
            let (above, name) = path.rsplit_once('.').unwrap_or_default();
            let pointer = format!("/{}", above.replace('.', "/"));
            let fields = payload.pointer_mut(&pointer).and_then(Value::as_object_mut);
            had |= fields.is_some_and(|fields| fields.remove(name).is_some());
        }
    }
    had
}

/// Every reason why this record may not leave; empty when it may. Reasons name the field, never its value.
pub fn complaints(record: &Value) -> Vec<String> {
    let mut found = Vec::new();
    match record.as_object() {
        Some(_) => walk("", record, &mut found),
        None => found.push("the record is no object".into()),
    }
    found
}

fn walk(path: &str, value: &Value, found: &mut Vec<String>) {
    if let Value::Object(fields) = value {
        for (name, value) in fields {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            // An empty object tells its name, too; of others what is in them does.
            match value {
                Value::Object(inner) if inner.is_empty() && !FIELDS.iter().any(|field| leads_to(field.path, &path)) => {
                    found.push(unlisted(&path));
                }
                _ => walk(&path, value, found),
            }
        }
        return;
    }
    match FIELDS.iter().find(|field| matches(field.path, path)) {
        None => found.push(unlisted(path)),
        Some(field) if !may_hold(field.holds, value) => found.push(format!("{} holds something else than it may", field.path)),
        Some(_) => {}
    }
}

/// A key could itself be a secret: an unknown name is cut short and stripped of all but letters.
fn unlisted(path: &str) -> String {
    let name: String = path.chars().filter(char::is_ascii_lowercase).take(40).collect();
    format!("{UNLISTED} ({name})")
}

/// Whether a pattern of the list means this path.
fn matches(pattern: &str, path: &str) -> bool {
    let mut steps = path.split('.');
    pattern.split('.').all(|wanted| steps.next().is_some_and(|step| fits(wanted, step))) && steps.next().is_none()
}

/// Whether a pattern of the list means something below this path.
fn leads_to(pattern: &str, path: &str) -> bool {
    let mut pattern = pattern.split('.');
    path.split('.').all(|step| pattern.next().is_some_and(|wanted| fits(wanted, step))) && pattern.next().is_some()
}

fn fits(wanted: &str, step: &str) -> bool {
    match wanted {
        "{way}" => WAYS.contains(&step),
        "{cache}" => OUTCOMES.contains(&step),
        "{direction}" => DIRECTIONS.contains(&step),
        "{reach}" => REACHES.contains(&step),
        _ => step == wanted,
    }
}

fn may_hold(holds: Holds, value: &Value) -> bool {
    let text = value.as_str();
    match holds {
        Holds::Count => value.is_u64(),
        Holds::Number => value.as_f64().is_some_and(|number| number.is_finite() && number >= 0.0),
        Holds::Flag => value.is_boolean(),
        Holds::Word(words) => text.is_some_and(|text| words.contains(&text)),
        Holds::Moment => text.is_some_and(|text| text.len() == 27 && text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()),
        Holds::Id => text.is_some_and(|text| {
            (8..=64).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
        }),
        Holds::Label => text.is_some_and(is_label),
        Holds::Version => text.is_some_and(is_version),
    }
}

/// Three numbers, and perhaps a suffix. Four would be an address.
fn is_version(text: &str) -> bool {
    let (numbers, suffix) = text.find(['-', '+']).map_or((text, ""), |at| text.split_at(at));
    let number = |part: &str| (1..=5).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    numbers.split('.').count() == 3
        && numbers.split('.').all(number)
        && suffix.len() <= 16
        && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+'))
}

/// Whether a text may be a school's or a node's name: 1 to 64 letters of any script, digits, `-`, `_` and spaces.
pub fn is_label(text: &str) -> bool {
    let count = text.chars().count();
    (1..=64).contains(&count)
        && text.trim() == text
        && text.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_' | ' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_list_has_units_purposes_and_no_doubles() {
        for (number, field) in FIELDS.iter().enumerate() {
            assert!(!field.purpose.is_empty(), "{}", field.path);
            assert!(FIELDS[..number].iter().all(|other| other.path != field.path), "{} twice", field.path);
            for (end, unit) in [("_seconds", "s"), ("_bytes", "B"), ("_ms", "ms"), ("_bps", "bit/s")] {
                assert!(!field.path.ends_with(end) || field.unit == unit, "{}", field.path);
            }
            let path = field.path.to_lowercase();
            for word in ["url", "host", "addr", "agent", "client", "ip_", "user", "cookie", "referer", "query"] {
                assert!(!path.split(['.', '_']).any(|part| part == word), "{path} sounds like a person's doing");
            }
        }
    }

    #[test]
    fn no_field_has_room_for_a_person() {
        let hostile = [
            "10.0.0.7",
            "192.168.8.17:40312",
            "fd00::1",
            "aa:bb:cc:dd:ee:ff",
            "kundelik.kz",
            "www.example.kz",
            "/pupil/7",
            "?token=1",
            "token=abc&x=1",
            "http://e.kz/x?token=1",
            "Mozilla/5.0 (X11; CrOS x86_64)",
            "session=0a1b; lang=kk",
        ];
        for field in FIELDS {
            for text in hostile {
                let path = [("{way}", "http"), ("{cache}", "hit"), ("{direction}", "upload"), ("{reach}", "foreign")];
                let path = path.into_iter().fold(field.path.to_owned(), |path, (from, to)| path.replace(from, to));
                let record = path.rsplit('.').fold(json!(text), |inner, name| json!({ name: inner }));
                assert!(!complaints(&record).is_empty(), "{} takes {text}", field.path);
                // Nor has a name.
                let beside = json!({ "payload": { "line": { text: 1 } } });
                assert!(!complaints(&beside).is_empty(), "a field {text}");
            }
        }
        for (version, may) in [("0.1.0", true), ("1.20.300-rc.1", true), ("0.1", false), ("1.2.3.4", false), ("1.2.x", false)] {
            assert_eq!(is_version(version), may, "{version}");
        }
    }

    #[test]
    fn what_is_new_can_be_left_out() {
        for later in LATER {
            assert!(FIELDS.iter().any(|field| field.path == format!("payload.{later}")), "{later} is on no list");
        }
        let line =
            json!({"up_seconds": 5, "sent_segments": 7, "reach": {"foreign": {"attempts": 1, "rx_bytes": 9}, "unknown": {"rx_bytes": 1}}});
        let mut payload = json!({"line": line, "health": {"version": "0.1.0"}});
        assert!(without_later(&mut payload));
        let wanted =
            json!({"line": {"up_seconds": 5, "reach": {"foreign": {"attempts": 1}, "unknown": {}}}, "health": {"version": "0.1.0"}});
        assert_eq!(payload, wanted);
        assert!(!without_later(&mut payload), "once");
        assert!(!without_later(&mut json!({"ping": {"sent": 1}})) && !without_later(&mut json!(7)));
    }

    #[test]
    fn what_is_not_on_the_list_does_not_leave() {
        let table = [
            (json!({"payload": {"line": {"up_seconds": 3}}}), true),
            (json!({"payload": {"line": {"up_seconds": 3, "host": "e.kz"}}}), false),
            (json!({"payload": {"cache": {"by_way": {"http": {"hit": {"requests": 1, "bytes": 2}}}}}}), true),
            (json!({"payload": {"cache": {"by_way": {"www.example.kz": {"hit": {"requests": 1}}}}}}), false),
            (json!({"payload": {"cache": {"by_way": {"http": {"10.0.0.7": {"requests": 1}}}}}}), false),
            (json!({"payload": {}}), true),
            (json!({"payload": {"cache": {"by_way": {"http": {}}}, "line": {"reach": {"unknown": {}}}}}), true),
            (json!({"payload": {"line": {"http://any.site/path": {}}}}), false),
            (json!({"payload": {"cache": {"by_way": {"www.example.kz": {}}}}}), false),
            (json!({"payload": {"line": {"up_seconds": {}}}}), false),
            (json!({"e.kz": {"up_seconds": {}}}), false),
            (json!({"payload": {"line": {"state": "up"}}}), true),
            (json!({"payload": {"line": {"state": "https://e.kz/pupil/7"}}}), false),
            (json!({"payload": {"line": {"up_seconds": "Mozilla/5.0"}}}), false),
            (json!({"payload": {"line": {"up_seconds": -1}}}), false),
            (json!({"payload": {"line": {"up_seconds": ["10.0.0.7"]}}}), false),
            (json!({"payload": "e.kz"}), false),
            (json!({"school": "№ 7 орта мектебі"}), false),
            (json!({"school": "Ақсукент 7"}), true),
            (json!({"school": "www.example.kz"}), false),
            (json!({"school": "10.0.0.7"}), false),
            (json!({"node": "00112233445566778899aabbccddeeff"}), true),
            (json!({"node": "fd00::1"}), false),
            (json!({"start": "2026-11-24T00:00:00.000000Z"}), true),
            (json!({"start": "2026-11-24T00:00:00.000000 e.kz"}), false),
            (json!({"payload": {"health": {"version": "0.1.0"}}}), true),
            (json!({"payload": {"health": {"version": "http://e.kz"}}}), false),
            (json!(["e.kz"]), false),
        ];
        for (record, may) in table {
            assert_eq!(complaints(&record).is_empty(), may, "{record}: {:?}", complaints(&record));
        }
        let told = complaints(&json!({"http://e.kz/pupil?token=SECRET123": 1})).join(" ");
        assert!(!told.contains("SECRET") && !told.contains("://"), "{told}");
    }
}
