//! `kill -9` while bodies are being fetched: whatever is answered afterwards is right, byte by byte, or is asked for again.
//!
//! `BULAK_FILL_KILLS` sets how often (20; `scripts/test --full`: 200), `BULAK_FILL_SEED` repeats a run.

use crate::kit;
use crate::kit::http::{self, request};
use crate::kit::node::Setup;
use crate::kit::origin::{Ask, Origin, Reply, promise};
use bulak::base::digest::Digest;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

const KILLS: u64 = 20;
/// Clients that fetch one after the other.
const CLIENTS: u64 = 6;
/// Of the objects of earlier rounds so many are asked for again.
const OLD: u64 = 5;

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// From a page to a film: what one record, a few and many take.
fn body(number: u64) -> Vec<u8> {
    let lengths = [900, 20_000, 300_000, 2_500_000, 65_536, 0];
    kit::noise(number, lengths[usize::try_from(number % 6).expect("small")])
}

/// Sends each body in two halves, with a pause in which a kill finds it; tells how many first halves are out.
fn library(halves: &Arc<AtomicUsize>) -> Origin {
    let halves = Arc::clone(halves);
    Origin::start(move |ask: &Ask| {
        let number: u64 = ask.target.trim_start_matches('/').parse().unwrap_or(0);
        let halves = Arc::clone(&halves);
        Reply::Act(Box::new(move |stream| {
            let (whole, tag) = (body(number), format!("ETag: \"{number}\""));
            let chunked = number.is_multiple_of(5);
            let length = format!("Content-Length: {}", whole.len());
            let head = String::from_utf8(promise(&["Cache-Control: public, max-age=86400", &tag], whole.len())).expect("ASCII");
            let head = if chunked { head.replace(&length, "Transfer-Encoding: chunked") } else { head };
            // The node may be dead at any of these.
            let _sent = stream.write_all(head.as_bytes());
            let half = whole.len() / 2;
            for (part, last) in [(&whole[..half], false), (&whole[half..], true)] {
                let framed = if chunked && !part.is_empty() { chunk(part) } else { part.to_vec() };
                let _sent = stream.write_all(&framed);
                if !last {
                    halves.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(8));
                } else if chunked {
                    let _sent = stream.write_all(b"0\r\n\r\n");
                }
            }
        }))
    })
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn url(number: u64) -> String {
    format!("http://l.school.test/{number}")
}

#[test]
fn what_is_answered_after_a_kill_in_a_fill_is_right_or_asked_for_again() {
    let (kills, seed) = (setting("BULAK_FILL_KILLS", KILLS), setting("BULAK_FILL_SEED", 1));
    let halves = Arc::new(AtomicUsize::new(0));
    let origin = library(&halves);
    let setup = Setup::new().set("store.segment", "\"8 MiB\"").set("store.sync_after", "\"200 ms\"").set("store.memory", "\"4 MiB\"");
    let mut node = setup.host("l.school.test", origin.addr).start();
    let mut chance = Chance(seed);
    let (mut next, mut kept, mut again, mut cut) = (1, 0, 0, 0);
    for round in 0..kills {
        let (first, at) = (next, AtomicU64::new(next));
        let (proxy, enough) = (node.proxy, 3 + usize::try_from(chance.below(20)).expect("small"));
        let begun = halves.load(Ordering::SeqCst);
        let broken = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    loop {
                        let number = at.fetch_add(1, Ordering::SeqCst);
                        // The node dies under this client: any outcome but wrong bytes, told as whole, is right.
                        let Ok(mut stream) = TcpStream::connect(proxy) else { return };
                        if stream.write_all(&request("GET", &url(number), &["Connection: close"])).is_err() {
                            return;
                        }
                        let answer = http::read(&mut BufReader::new(stream), false);
                        if !answer.complete {
                            broken.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                        assert!(answer.status != 200 || answer.body == body(number), "object {number} under way");
                    }
                });
            }
            kit::until("bodies are on their way", 60, || halves.load(Ordering::SeqCst) >= begun + enough);
            std::thread::sleep(Duration::from_micros(chance.below(16_000)));
            node.kill();
        });
        next = at.load(Ordering::SeqCst);
        cut += broken.into_inner();
        node.restart();
        let old = (0..OLD).map(|_| 1 + chance.below(first.max(2) - 1));
        for number in (first..next).chain(old.collect::<Vec<_>>()) {
            let answer = node.get(&url(number));
            let right = answer.status == 200 && answer.complete && Digest::of(&answer.body) == Digest::of(&body(number));
            assert!(right, "round {round}, object {number}: {} {} bytes, {}", answer.status, answer.body.len(), answer.cache_status());
            kept += usize::from(answer.is_hit());
            again += usize::from(!answer.is_hit());
        }
    }
    eprintln!("{kills} kills, {cut} answers cut: of {} objects {kept} were stored and right, {again} were asked for again", kept + again);
    assert!(kept > 0 && again > 0 && cut > 0, "the kills came before or after everything: nothing was shown");
    assert!(node.terminate().success());
    let check = node.command(&["store", "check", "--deep", "--json"]);
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stdout));
}

/// Numbers from a seed (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        let mut state = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0 = state;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) % most.max(1)
    }
}
