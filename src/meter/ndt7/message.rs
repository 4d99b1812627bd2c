//! The messages that the two ends of a test send each other as JSON text: what each has counted, and what its kernel says. Pure.
//!
//! Read as a stranger's: what is missing, misspelt, negative or beyond 53 bits is simply not there. Written as the reference writes
//! them: times in µs, sizes in bytes, and a figure that the kernel does not have is left out, never zero.

use crate::base::socket::{Bbr, TcpInfo as Kernel};
use crate::meter::ndt7::Way;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::time::Duration;

/// Longest message, bytes: the reference's have less than 2 KiB, four times that leaves room for fields to come.
pub const LONGEST: usize = 8 << 10;

/// Largest whole number that survives a browser (RFC 8259 section 6).
const LARGEST: u64 = (1 << 53) - 1;

/// Longest text within a message that is kept, characters: an address with its port has 47, the reference's ids have some 60.
const LONGEST_TEXT: usize = 128;

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The client.
    Client,
    /// The server.
    Server,
}

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Message {
    /// What the program has counted.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub app_info: Option<AppInfo>,
    /// Who speaks with whom.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub connection_info: Option<ConnectionInfo>,
    /// Who sent it.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub origin: Option<Origin>,
    /// Which way the bytes of the test go.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub test: Option<Way>,
    /// What BBR says.
    #[serde(rename = "BBRInfo", skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub bbr_info: Option<BbrInfo>,
    /// What the kernel says.
    #[serde(rename = "TCPInfo", skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub tcp_info: Option<TcpInfo>,
}

/// What the program has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AppInfo {
    /// Since the test began, µs.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub elapsed_time: Option<u64>,
    /// Bytes of messages sent (by who sends) or received (by who receives).
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub num_bytes: Option<u64>,
}

/// Who speaks with whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ConnectionInfo {
    /// The client's address and port, as the server sees it.
    #[serde(deserialize_with = "text")]
    pub client: String,
    /// The server's address and port.
    #[serde(deserialize_with = "text")]
    pub server: String,
    /// Names the connection in the server's log.
    #[serde(rename = "UUID", skip_serializing_if = "String::is_empty", deserialize_with = "text")]
    pub uuid: String,
    /// When the test began, RFC 3339.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "text")]
    pub start_time: String,
}

/// What BBR says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BbrInfo {
    /// Its estimate of the bottleneck's bandwidth, bytes/s (as the reference has it, whatever its specification says).
    #[serde(rename = "BW", skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub bw: Option<u64>,
    /// Shortest round trip, µs.
    #[serde(rename = "MinRTT", skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub min_rtt: Option<u64>,
    /// Pacing gain times 256.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub pacing_gain: Option<u64>,
    /// Window gain times 256.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub cwnd_gain: Option<u64>,
    /// Since the test began, µs.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub elapsed_time: Option<u64>,
}

/// What the kernel says of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TcpInfo {
    /// In which there was something to send, µs.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub busy_time: Option<u64>,
    /// Bytes that the other side has acknowledged.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub bytes_acked: Option<u64>,
    /// Bytes received.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub bytes_received: Option<u64>,
    /// Bytes sent, repeats included.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub bytes_sent: Option<u64>,
    /// Of which repeats.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub bytes_retrans: Option<u64>,
    /// Since the test began, µs.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub elapsed_time: Option<u64>,
    /// Shortest round trip, µs.
    #[serde(rename = "MinRTT", skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub min_rtt: Option<u64>,
    /// Smoothed round trip, µs.
    #[serde(rename = "RTT", skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub rtt: Option<u64>,
    /// Its mean deviation, µs.
    #[serde(rename = "RTTVar", skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub rtt_var: Option<u64>,
    /// Held up by the other side's window, µs.
    #[serde(rename = "RWndLimited", skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub rwnd_limited: Option<u64>,
    /// Held up by our own buffer, µs.
    #[serde(rename = "SndBufLimited", skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    pub snd_buf_limited: Option<u64>,
}

/// Why a text is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// Longer than [`LONGEST`].
    #[error("it has {0} bytes, more than a measurement needs")]
    Long(usize),
    /// No JSON object.
    #[error("it is no JSON object")]
    Json,
}

impl Message {
    /// Reads what the other side sent, in the words of ndt7 or of throughput1.
    ///
    /// # Errors
    /// See [`Bad`]; an object without a single word that we know is an empty message.
    pub fn parse(text: &str) -> Result<Message, Bad> {
        if text.len() > LONGEST {
            return Err(Bad::Long(text.len()));
        }
        let value: Value = serde_json::from_str(text).map_err(|_| Bad::Json)?;
        if !value.is_object() {
            return Err(Bad::Json);
        }
        let mut message: Message = serde_json::from_value(value.clone()).map_err(|_| Bad::Json)?;
        if let Ok(wire) = serde_json::from_value::<Wire>(value) {
            wire.fill(&mut message);
        }
        Ok(message)
    }

    /// As ndt7 writes it.
    pub fn print(&self) -> String {
        // Numbers and short texts: there is nothing in it that could fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As throughput1 writes it; `congestion` is the congestion control that paces what the server sends.
    pub fn print_wire(&self, congestion: &str) -> String {
        let bytes = self.app_info.and_then(|app| app.num_bytes);
        let (sent, received) = if self.test == Some(Way::Download) { (bytes, None) } else { (None, bytes) };
        let info = self.connection_info.as_ref();
        let spoken = Spoken {
            cc: congestion,
            uuid: info.map_or("", |info| &info.uuid),
            local_addr: info.map_or("", |info| &info.server),
            remote_addr: info.map_or("", |info| &info.client),
            application: Counters { bytes_sent: sent, bytes_received: received },
            network: self
                .tcp_info
                .map(|tcp| Counters { bytes_sent: tcp.bytes_sent, bytes_received: tcp.bytes_received })
                .unwrap_or_default(),
            elapsed_time: self.app_info.and_then(|app| app.elapsed_time),
            bbr_info: self.bbr_info.as_ref(),
            tcp_info: self.tcp_info.as_ref(),
        };
        serde_json::to_string(&spoken).unwrap_or_default()
    }

    /// What has arrived by this message, where its sender received: by its kernel, else by its program. In which time.
    pub fn received(&self) -> Option<(u64, Duration)> {
        let kernel = self.tcp_info.and_then(|tcp| tcp.bytes_received.zip(tcp.elapsed_time));
        let program = self.app_info.and_then(|app| app.num_bytes.zip(app.elapsed_time));
        kernel.or(program).map(|(bytes, micros)| (bytes, Duration::from_micros(micros)))
    }
}

/// What throughput1 says otherwise than ndt7.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Wire {
    #[serde(deserialize_with = "lenient")]
    application: Option<Counters>,
    #[serde(deserialize_with = "whole")]
    elapsed_time: Option<u64>,
    #[serde(rename = "UUID", deserialize_with = "text")]
    uuid: String,
    #[serde(deserialize_with = "text")]
    local_addr: String,
    #[serde(deserialize_with = "text")]
    remote_addr: String,
}

/// A message in the words of throughput1.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Spoken<'a> {
    #[serde(rename = "CC", skip_serializing_if = "str::is_empty")]
    cc: &'a str,
    #[serde(rename = "UUID", skip_serializing_if = "str::is_empty")]
    uuid: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    local_addr: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    remote_addr: &'a str,
    application: Counters,
    network: Counters,
    #[serde(skip_serializing_if = "Option::is_none")]
    elapsed_time: Option<u64>,
    #[serde(rename = "BBRInfo", skip_serializing_if = "Option::is_none")]
    bbr_info: Option<&'a BbrInfo>,
    #[serde(rename = "TCPInfo", skip_serializing_if = "Option::is_none")]
    tcp_info: Option<&'a TcpInfo>,
}

/// Bytes of messages, both ways.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Counters {
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    bytes_sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "whole")]
    bytes_received: Option<u64>,
}

impl Wire {
    /// A server of throughput1 sends more than it receives on a download, and the reverse on an upload.
    fn fill(self, message: &mut Message) {
        if message.app_info.is_none()
            && let Some(counted) = self.application
        {
            let bytes = counted.bytes_sent.unwrap_or(0).max(counted.bytes_received.unwrap_or(0));
            message.app_info = Some(AppInfo { elapsed_time: self.elapsed_time, num_bytes: Some(bytes) });
        }
        if message.connection_info.is_none() && !self.uuid.is_empty() {
            let (client, server) = (self.remote_addr, self.local_addr);
            message.connection_info = Some(ConnectionInfo { client, server, uuid: self.uuid, start_time: String::new() });
        }
    }
}

impl TcpInfo {
    /// From the kernel's own.
    pub fn from_kernel(info: &Kernel, elapsed: Duration) -> TcpInfo {
        TcpInfo {
            busy_time: info.busy.map(micros),
            bytes_acked: info.bytes_acked,
            bytes_received: info.bytes_received,
            bytes_sent: info.bytes_sent,
            bytes_retrans: info.bytes_retransmitted,
            elapsed_time: Some(micros(elapsed)),
            min_rtt: info.min_rtt.map(micros),
            rtt: info.rtt.map(micros),
            rtt_var: info.rtt_variation.map(micros),
            rwnd_limited: info.window_limited.map(micros),
            snd_buf_limited: info.buffer_limited.map(micros),
        }
    }
}

impl BbrInfo {
    /// From the kernel's own.
    pub fn from_kernel(bbr: &Bbr, elapsed: Duration) -> BbrInfo {
        BbrInfo {
            bw: Some(bbr.bandwidth),
            min_rtt: bbr.min_rtt.map(micros),
            pacing_gain: Some(bbr.pacing_gain.into()),
            cwnd_gain: Some(bbr.window_gain.into()),
            elapsed_time: Some(micros(elapsed)),
        }
    }
}

/// Whole microseconds.
pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(LARGEST)
}

/// A whole number from 0 to 2^53-1, or nothing.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_u64().filter(|number| *number <= LARGEST))
}

/// A short text, or an empty one.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let plain = |text: &&str| text.chars().count() <= LONGEST_TEXT && !text.chars().any(char::is_control);
    Ok(value.as_str().filter(plain).unwrap_or_default().to_owned())
}

/// What fits, or nothing.
fn lenient<'de, D: Deserializer<'de>, T: for<'a> Deserialize<'a>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As the reference server sends it, shortened.
    const SPOKEN: &str = r#"{"AppInfo":{"ElapsedTime":1234,"NumBytes":5678},
        "ConnectionInfo":{"Client":"1.2.3.4:5678","Server":"[::1]:2345","UUID":"a-1","StartTime":"2026-11-26T00:00:00Z"},
        "Origin":"server","Test":"upload","BBRInfo":{"BW":1000000,"MinRTT":4000,"PacingGain":739,"CwndGain":739,"ElapsedTime":99},
        "TCPInfo":{"BytesReceived":6000,"ElapsedTime":1300,"RTT":6000,"MinRTT":5000,"State":1,"Retransmits":0}}"#;

    #[test]
    fn what_the_reference_says_is_understood_and_said_again() {
        let message = Message::parse(SPOKEN).unwrap();
        assert_eq!((message.origin, message.test), (Some(Origin::Server), Some(Way::Upload)));
        assert_eq!(message.received(), Some((6000, Duration::from_micros(1300))));
        assert_eq!(message.bbr_info.unwrap().bw, Some(1_000_000));
        assert_eq!(Message::parse(&message.print()).unwrap(), message);
        assert_eq!(Message::default().print(), "{}");
    }

    #[test]
    fn throughput1_is_understood_as_well() {
        let text = r#"{"CC":"bbr","UUID":"u-7","LocalAddr":"10.0.0.1:80","RemoteAddr":"10.0.0.2:5000",
            "Application":{"BytesReceived":900,"BytesSent":30},"Network":{"BytesReceived":1000},"ElapsedTime":70,
            "TCPInfo":{"BytesReceived":1000,"ElapsedTime":80}}"#;
        let message = Message::parse(text).unwrap();
        assert_eq!(message.app_info, Some(AppInfo { elapsed_time: Some(70), num_bytes: Some(900) }));
        assert_eq!(message.connection_info.clone().unwrap().client, "10.0.0.2:5000");
        assert_eq!(message.tcp_info.unwrap().bytes_received, Some(1000));
        // And spoken, all but what its words have no place for.
        let whole = Message { test: Some(Way::Upload), ..message.clone() };
        assert_eq!(Message::parse(&whole.print_wire("bbr")).unwrap(), message);
    }

    #[test]
    fn lies_and_rubbish_are_not_there() {
        let long = "x".repeat(LONGEST_TEXT + 1);
        let odd = json!({
            "AppInfo": {"ElapsedTime": -5, "NumBytes": 1u64 << 53},
            "ConnectionInfo": {"Client": 7, "Server": long, "UUID": "a\nb"},
            "Origin": "nobody", "Test": 4, "BBRInfo": "no", "TCPInfo": {"RTT": "fast", "MinRTT": 5, "BytesSent": 1.5, "BusyTime": null}
        });
        let message = Message::parse(&odd.to_string()).unwrap();
        let wanted = Message {
            app_info: Some(AppInfo::default()),
            connection_info: Some(ConnectionInfo::default()),
            tcp_info: Some(TcpInfo { min_rtt: Some(5), ..TcpInfo::default() }),
            ..Message::default()
        };
        assert_eq!(message, wanted);
        assert_eq!(message.received(), None);
        for text in ["", "null", "[]", "7", "{", "<html>", "\"{}\""] {
            assert_eq!(Message::parse(text), Err(Bad::Json), "{text}");
        }
        let deep = "[".repeat(1000);
        assert_eq!(Message::parse(&format!("{{\"a\":{deep}")), Err(Bad::Json));
        assert_eq!(Message::parse(&" ".repeat(LONGEST + 1)), Err(Bad::Long(LONGEST + 1)));
    }

    #[test]
    fn what_the_kernel_does_not_say_is_left_out() {
        let info = Kernel { rtt: Some(Duration::from_millis(40)), ..Kernel::default() };
        let printed = Message { tcp_info: Some(TcpInfo::from_kernel(&info, Duration::from_secs(1))), ..Message::default() }.print();
        assert_eq!(printed, r#"{"TCPInfo":{"ElapsedTime":1000000,"RTT":40000}}"#);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_message_or_not(text in ".{0,200}") {
            // Only that nothing panics.
            let _ = Message::parse(&text);
        }
    }
}
