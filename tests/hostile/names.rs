//! Names of the cases: a DNS server (RFC 1035) that knows `cN`, `badN`, `sixN` and `reN` under `hostile.test` and lies as told.

use crate::fill::Place;
use bulak::base::clock::Clock;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// How long a name that changes its mind keeps to the first one.
const FIRST: Duration = Duration::from_secs(1);

/// Starts on a free loopback port and runs until the tests end.
pub(crate) fn start() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let addr = socket.local_addr().expect("bound");
    std::thread::spawn(move || {
        let (clock, mut packet, mut first) = (Clock::system(), [0; 1500], HashMap::new());
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            if let Some(reply) = reply(&packet[..length], &mut first, clock.steady()) {
                let _sent = socket.send_to(&reply, from); // the asker may be gone
            }
        }
    });
    addr
}

/// The addresses of a name.
fn look(name: &str, first: &mut HashMap<String, Instant>, now: Instant) -> Option<IpAddr> {
    let label = name.strip_suffix(".hostile.test")?;
    let digits = label.trim_start_matches(|letter: char| letter.is_ascii_lowercase());
    let place = Place { number: digits.parse().ok()?, port: 0, proxy: SocketAddr::from(([127, 0, 0, 1], 0)) };
    match &label[..label.len() - digits.len()] {
        "c" => Some(place.ip().into()),
        "bad" => Some(place.bad().into()),
        "six" => Some(place.bad().to_ipv6_mapped().into()),
        "re" => {
            let since = *first.entry(name.to_owned()).or_insert(now);
            Some(if now < since + FIRST { place.ip().into() } else { place.bad().into() })
        }
        _ => None,
    }
}

fn reply(packet: &[u8], first: &mut HashMap<String, Instant>, now: Instant) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*packet.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?);
    let question = packet.get(12..at + 4)?;
    let found = look(&labels.join("."), first, now);
    let data = match (found, kind) {
        (Some(IpAddr::V4(four)), 1) => Some(four.octets().to_vec()),
        (Some(IpAddr::V6(six)), 28) => Some(six.octets().to_vec()),
        _ => None,
    };
    let mut out = packet.get(..2)?.to_vec();
    // QR, AA, RD, RA; NXDOMAIN for strangers. One question, perhaps an answer, nothing else.
    out.extend_from_slice(&[0x85, if found.is_some() { 0x80 } else { 0x83 }]);
    for count in [1, u16::from(data.is_some()), 0, 0] {
        out.extend_from_slice(&count.to_be_bytes());
    }
    out.extend_from_slice(question);
    if let Some(data) = data {
        out.extend_from_slice(&[0xc0, 0x0c]);
        out.extend_from_slice(&kind.to_be_bytes());
        // Internet, for a second.
        out.extend_from_slice(&[0, 1, 0, 0, 0, 1]);
        out.extend_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(&data);
    }
    Some(out)
}
