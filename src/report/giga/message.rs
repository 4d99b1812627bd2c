//! What a Giga Meter server is told, in its own words and units: kbit/s, whole milliseconds, seconds at the client and microseconds at the
//! server. Pure. Nothing in it is of a person or a machine: addresses are empty, ids are random and the node's own.

use crate::base::clock::Time;
use crate::meter::Kept;
use crate::meter::test::{End, Trigger};
use crate::state::giga::{Check, Mark};
use serde_json::{Value, json};

/// What the server takes for a version of its own app; older ones are dropped without a word.
const LEAST: [u64; 3] = [1, 0, 9];

/// As which version a program speaks whose own number is lower: it knows what that one knows.
const SPOKEN: [u64; 3] = [1, 0, 10];

/// Who the school is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct School {
    /// The number that the country gave it; may be empty.
    pub id: String,
    /// Its id at Giga, a UUID in lower case.
    pub giga_id: String,
    /// Two capital letters.
    pub country: String,
}

/// Three numbers, never below what the server takes: `1.0.10`, or our own once it is higher.
pub fn app_version(own: &str) -> String {
    let bare = own.split(['-', '+']).next().unwrap_or_default();
    let numbers: Option<Vec<u64>> = bare.split('.').map(|part| part.parse().ok()).collect();
    let own = numbers.and_then(|numbers| <[u64; 3]>::try_from(numbers).ok()).filter(|numbers| *numbers >= LEAST);
    let [major, minor, patch] = own.unwrap_or(SPOKEN);
    format!("{major}.{minor}.{patch}")
}

/// The registration.
pub fn registration(school: &School, mark: &Mark, now: Time) -> Value {
    json!({
        "user_id": mark.user_id,
        "giga_id_school": school.giga_id,
        "mac_address": mark.mac,
        "device_hardware_id": mark.device,
        "os": "Linux",
        "app_version": app_version(env!("CARGO_PKG_VERSION")),
        "created": millis(now),
        "network_information": "",
        "ip_address": "",
        "country_code": school.country,
        "is_blocked": false,
    })
}

/// A speed test; `None` where there is no figure that could be told, or no date.
pub fn measurement(school: &School, mark: &Mark, kept: &Kept) -> Option<Value> {
    let test = &kept.test;
    // What passed by shows that much came; it is no measurement of what could.
    if test.end == End::Passive {
        return None;
    }
    let down = test.download.as_ref().filter(|_| kept.clock_ok)?;
    // One stream is what all others report; where several had to fill the line, that is what there is.
    let rate = down.ndt7_bps.or(down.estimate_bps)?;
    let up = test.upload.as_ref();
    let up_rate = up.and_then(|up| up.ndt7_bps.or(up.estimate_bps)).unwrap_or(0);
    let latency = down.rtt_min_ms.unwrap_or(0.0);
    let (received, sent) = (down.moved_bytes, up.map_or(0, |up| up.moved_bytes));
    let mut s2c = server(kept, "download");
    fill(&mut s2c, "BytesAcked", received);
    fill(&mut s2c, "MinRTT", micros(latency));
    let mut c2s = server(kept, "upload");
    fill(&mut c2s, "BytesReceived", sent);
    let uuid = s2c.pointer("/ConnectionInfo/UUID").and_then(Value::as_str).filter(|uuid| !uuid.is_empty()).unwrap_or(&test.id);
    let notes = match test.trigger {
        Trigger::Manual => "manual",
        Trigger::Daily => "daily",
        Trigger::Startup => "startup",
    };
    Some(json!({
        "UUID": uuid,
        "Timestamp": millis(kept.start),
        "timestamplocal": millis(kept.start),
        "BrowserID": mark.user_id,
        "DeviceType": "linux",
        "Notes": notes,
        "Annotation": "",
        "Download": kbit(rate),
        "Upload": kbit(up_rate),
        "Latency": whole(latency),
        "ClientInfo": {
            "IP": "", "ASN": "", "ISP": "", "City": "", "Region": "", "Country": school.country, "Postal": "", "Timezone": "", "Hostname": "",
            "Latitude": 0.0, "Longitude": 0.0,
        },
        "ServerInfo": { "FQDN": "", "IPv4": "", "IPv6": "", "City": "", "Country": "", "Label": "", "Metro": "", "Site": "", "URL": "" },
        "Results": {
            "NDTResult.S2C": { "LastClientMeasurement": client(down.took_ms, received, rate), "LastServerMeasurement": s2c },
            "NDTResult.C2S": {
                "LastClientMeasurement": client(up.map_or(0.0, |up| up.took_ms), sent, up_rate), "LastServerMeasurement": c2s,
            },
        },
        "school_id": school.id,
        "giga_id_school": school.giga_id,
        "country_code": school.country,
        "ip_address": "",
        "app_version": app_version(env!("CARGO_PKG_VERSION")),
    }))
}

/// A connectivity check.
pub fn check(school: &School, mark: &Mark, made: Time, check: &Check) -> Value {
    json!({
        "timestamp": millis(made),
        "isConnected": check.connected,
        "errorMessage": if check.connected { "" } else { "no answer" },
        "giga_id_school": school.giga_id,
        "app_local_uuid": check.id,
        "browserId": mark.user_id,
        "latency": check.latency.map(|micros| (micros + 500) / 1_000),
    })
}

/// RFC 3339 with milliseconds, as the server's own app writes it.
pub fn millis(moment: Time) -> String {
    jiff::Timestamp::from_microsecond(moment.micros()).map_or_else(|_| String::from("unknown"), |stamp| format!("{stamp:.3}"))
}

/// The server's last message, word by word; empty objects where it sent none.
fn server(kept: &Kept, way: &str) -> Value {
    let told = &kept.raw[way]["server"];
    let mut object = if told.is_object() { told.clone() } else { json!({}) };
    for part in ["ConnectionInfo", "BBRInfo", "TCPInfo"] {
        if !object[part].is_object() {
            object[part] = json!({});
        }
    }
    // Emptied when it was kept; an adapter that forgot would not get past here.
    for end in ["Client", "Server"] {
        if let Some(info) = object["ConnectionInfo"].as_object_mut() {
            info.remove(end);
        }
    }
    object
}

/// A figure of the kernel's that the server derives others from: it is always there.
fn fill(object: &mut Value, field: &str, value: u64) {
    let told = &mut object["TCPInfo"][field];
    if told.as_u64().is_none() {
        *told = json!(value);
    }
}

fn client(took_ms: f64, bytes: u64, rate: u64) -> Value {
    json!({ "ElapsedTime": took_ms / 1_000.0, "NumBytes": bytes, "MeanClientMbps": float(rate) / 1e6 })
}

/// bit/s -> kbit/s.
fn kbit(rate: u64) -> f64 {
    float(rate) / 1e3
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some milliseconds; `as` saturates, and takes what is no number for 0"
)]
fn whole(millis: f64) -> u64 {
    millis.round() as u64
}

fn micros(millis: f64) -> u64 {
    whole(millis * 1_000.0)
}

#[expect(clippy::cast_precision_loss, reason = "rates and bytes of a test fit a double")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::statement::figures::tests::test;

    fn school() -> School {
        School { id: "kz-7".into(), giga_id: "3b5d0a9e-0000-4000-8000-000000000007".into(), country: "KZ".into() }
    }

    fn mark() -> Mark {
        Mark { user_id: "u-1".into(), device: "d-1".into(), mac: "02:00:5e:00:53:01".into(), registered: String::new(), test: 0 }
    }

    fn kept() -> Kept {
        let mut kept = test(Time::from_micros(1_795_496_400_123_456), Some(18_250_400), Some(2_210_700));
        kept.raw = json!({ "download": { "server": {
            "ConnectionInfo": { "Client": "10.0.0.7:1", "Server": "", "UUID": "uuid-1" },
            "TCPInfo": { "BytesAcked": 777, "MinRTT": 41_250, "ElapsedTime": 4_000_000 },
        } } });
        kept
    }

    #[test]
    fn units_are_the_servers() {
        let told = measurement(&school(), &mark(), &kept()).expect("figures");
        assert_eq!((&told["Download"], &told["Upload"], &told["Latency"]), (&json!(18_250.4), &json!(2_210.7), &json!(41)));
        assert_eq!((&told["UUID"], &told["BrowserID"], &told["Notes"]), (&json!("uuid-1"), &json!("u-1"), &json!("daily")));
        assert_eq!(told["Timestamp"], "2026-11-24T05:00:00.123Z");
        let s2c = &told["Results"]["NDTResult.S2C"];
        assert_eq!(s2c["LastClientMeasurement"], json!({ "ElapsedTime": 4.0, "NumBytes": 3_000_000, "MeanClientMbps": 18.2504 }));
        // Word by word where the server said it, and filled where it did not.
        assert_eq!(s2c["LastServerMeasurement"]["TCPInfo"], json!({ "BytesAcked": 777, "MinRTT": 41_250, "ElapsedTime": 4_000_000 }));
        assert_eq!(told["Results"]["NDTResult.C2S"]["LastServerMeasurement"]["TCPInfo"], json!({ "BytesReceived": 3_000_000 }));
        assert!(!told.to_string().contains("10.0.0.7"), "{told}");
    }

    #[test]
    fn what_has_no_figure_or_no_date_is_not_told() {
        let mut none = kept();
        none.clock_ok = false;
        assert_eq!(measurement(&school(), &mark(), &none), None);
        none = kept();
        none.test.end = End::Passive;
        assert_eq!(measurement(&school(), &mark(), &none), None);
        none = kept();
        none.test.download = None;
        assert_eq!(measurement(&school(), &mark(), &none), None);
        let mut bare = kept();
        (bare.raw, bare.test.upload) = (Value::Null, None);
        let told = measurement(&school(), &mark(), &bare).expect("figures");
        assert_eq!((&told["UUID"], &told["Upload"]), (&json!(bare.test.id), &json!(0.0)));
    }

    #[test]
    fn a_version_that_the_server_does_not_drop() {
        for (own, wanted) in
            [("0.1.0", "1.0.10"), ("1.0.8", "1.0.10"), ("1.0.9", "1.0.9"), ("1.2.3-rc.1", "1.2.3"), ("2", "1.0.10"), ("", "1.0.10")]
        {
            assert_eq!(app_version(own), wanted, "{own}");
        }
    }

    #[test]
    fn registration_and_checks_hold_nothing_of_the_machine() {
        let told = registration(&school(), &mark(), Time::BUILT);
        assert_eq!((&told["user_id"], &told["mac_address"], &told["ip_address"]), (&json!("u-1"), &json!("02:00:5e:00:53:01"), &json!("")));
        assert!(["windows_username", "installed_path", "wifi_connections"].iter().all(|field| told[field].is_null()));
        let told = check(&school(), &mark(), Time::BUILT, &Check { connected: true, latency: Some(41_600), id: "c-1".into() });
        assert_eq!((&told["isConnected"], &told["latency"], &told["app_local_uuid"]), (&json!(true), &json!(42), &json!("c-1")));
        assert_eq!(told["giga_id_school"], school().giga_id);
    }
}
