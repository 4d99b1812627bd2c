//! What slow heads cost others: the p99 of a pupil's hits while 3,000 connections of 24 devices say a byte of a head each second, beside the
//! same hits in peace.
//!
//! `cargo bench --bench heads`. Rounds of peace and of attack take turns, the median counts. Whether the attack stood while it was measured
//! is looked at. `BULAK_BIN` names another build.

#[path = "../tests/kit/mod.rs"]
mod kit;

#[path = "../tests/siege/town.rs"]
#[expect(dead_code, reason = "sieges hold it against more")]
mod town;

#[path = "measure.rs"]
mod measure;

use bulak::base::clock::Clock;
use kit::http::{self, request};
use kit::node::Setup;
use measure::median;
use std::io::{BufReader, Write};
use town::{Drip, PUPIL, Town, crowd, may_hold, open, standing};

const ROUNDS: usize = 5;
/// Hits of a round, and over how many connections they go by turns.
const HITS: usize = 2_000;
const CONNECTIONS: usize = 8;
/// Who attacks, and with how many connections each.
const DEVICES: usize = 24;
const EACH: usize = 125;
/// Of these connections, so many must stand when a round ends.
const STANDING: usize = DEVICES * EACH * 9 / 10;
/// What may be added to the p99, ms (product.md section 12).
const GOAL: f64 = 50.0;

/// How long hits took, ms.
struct Times {
    median: f64,
    p99: f64,
    worst: f64,
}

fn main() {
    assert!(may_hold("heads", (DEVICES * EACH) as u64), "more open files are needed");
    let town = Town::new(Setup::new());
    let (mut peace, mut attack) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        peace.push(hits(&town));
        let head = |_| b"GET http://h.school.test/page/1 HTTP/1.1\r\nHost: h.school.test\r\nX-Slow: ".to_vec();
        let heads = crowd(DEVICES, EACH, town.node.proxy, head);
        let drip = Drip::on(&heads, b'x');
        kit::until("all are inside", 30, || town.inside() >= DEVICES * EACH);
        attack.push(hits(&town));
        let stood = standing(&heads);
        assert!(stood >= STANDING, "{stood} connections of the attack stood: nothing was shown");
        drop((drip, heads));
        kit::until("all have gone", 60, || town.inside() == 0);
    }
    println!("{HITS} hits of 20 kB, ms (medians of {ROUNDS} rounds)");
    println!("{:>26} {:>8} {:>8} {:>8}", "", "median", "p99", "worst");
    let told = |name: &str, all: &[Times]| {
        let of = |part: fn(&Times) -> f64| median(&mut all.iter().map(part).collect::<Vec<_>>());
        let (middle, p99, worst) = (of(|times| times.median), of(|times| times.p99), of(|times| times.worst));
        println!("{name:>26} {middle:>8.2} {p99:>8.2} {worst:>8.2}");
        p99
    };
    let (before, during) = (told("in peace", &peace), told("beside 3,000 slow heads", &attack));
    let more = during - before;
    println!("p99 at most {GOAL} ms more: {} ({more:.2} ms)", if more <= GOAL { "yes" } else { "NO" });
}

fn hits(town: &Town) -> Times {
    let clock = Clock::system();
    let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| BufReader::new(open(PUPIL, town.node.proxy))).collect();
    let ask = request("GET", "http://h.school.test/page/1", &[]);
    let mut times = Vec::with_capacity(HITS);
    for number in 0..HITS {
        let stream = &mut streams[number % CONNECTIONS];
        let asked = clock.steady();
        stream.get_mut().write_all(&ask).expect("sends");
        let answer = http::read(stream, false);
        times.push((clock.steady() - asked).as_secs_f64() * 1e3);
        assert!(answer.is_hit() && answer.body.len() == town::PAGE, "{} {}", answer.status, answer.cache_status());
    }
    times.sort_by(f64::total_cmp);
    Times { median: times[HITS / 2], p99: times[HITS * 99 / 100], worst: times[HITS - 1] }
}
