//! A DNS server for `*.school.test`: one A record for every such name, NXDOMAIN for others, silence when it is cut.
//!
//! Written from RFC 1035 section 4 with raw packets, so that a broken resolver of ours cannot hide behind its own library.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// How long answers may be kept, seconds: short, so that a name is asked for again within a test.
const TTL: u32 = 2;

/// A running name server.
pub(crate) struct Dns {
    /// Where it listens (UDP).
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    silent: AtomicBool,
    stop: AtomicBool,
    queries: AtomicUsize,
}

impl Dns {
    /// Starts on a free loopback port; every `*.school.test` is at `target`.
    pub(crate) fn start(target: Ipv4Addr) -> Dns {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket option");
        let addr = socket.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        let worker = Arc::clone(&shared);
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while !worker.stop.load(Ordering::SeqCst) {
                let Ok((length, from)) = socket.recv_from(&mut packet) else { continue };
                worker.queries.fetch_add(1, Ordering::SeqCst);
                if worker.silent.load(Ordering::SeqCst) {
                    continue;
                }
                if let Some(reply) = reply(&packet[..length], target) {
                    let _sent = socket.send_to(&reply, from); // the asker may be gone
                }
            }
        });
        Dns { addr, shared }
    }

    /// Answers nothing from now on; questions are still counted.
    pub(crate) fn cut(&self) {
        self.shared.silent.store(true, Ordering::SeqCst);
    }

    /// Answers again.
    pub(crate) fn mend(&self) {
        self.shared.silent.store(false, Ordering::SeqCst);
    }

    /// Questions that arrived, answered or not.
    pub(crate) fn queries(&self) -> usize {
        self.shared.queries.load(Ordering::SeqCst)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

/// The answer to one question; `None` for what is no question.
fn reply(packet: &[u8], target: Ipv4Addr) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
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
    let known = labels.len() >= 2 && labels[labels.len() - 2..] == ["school", "test"];
    let answers = u16::from(known && kind == 1);
    let mut out = packet.get(..2)?.to_vec();
    // QR, AA, RD, RA; NXDOMAIN (3) for strangers.
    out.extend_from_slice(&[0x85, if known { 0x80 } else { 0x83 }]);
    // One question, `answers` records, and where there is none an SOA that says how long to remember that (RFC 2308).
    for count in [1, answers, 1 - answers, 0] {
        out.extend_from_slice(&count.to_be_bytes());
    }
    out.extend_from_slice(question);
    if answers == 1 {
        record(&mut out, &[0xc0, 0x0c], 1, &target.octets());
    } else {
        let mut soa = vec![0, 0];
        for number in [1, 60, 60, 60, TTL] {
            soa.extend_from_slice(&number.to_be_bytes());
        }
        record(&mut out, b"\x04test\x00", 6, &soa);
    }
    Some(out)
}

fn record(out: &mut Vec<u8>, name: &[u8], kind: u16, data: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&1_u16.to_be_bytes());
    out.extend_from_slice(&TTL.to_be_bytes());
    out.extend_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(data);
}
