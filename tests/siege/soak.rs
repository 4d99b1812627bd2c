//! An hour of an ordinary day, mixed: what is resident stays flat once the store and its index are full, files are given back, nobody gets
//! an error. `BULAK_SOAK_SECONDS` sets another length. The store is small, so that it is full, and what was kept once has gone again,
//! before the first figure counts.

use crate::kit;
use crate::kit::http::{Connection, request};
use crate::kit::node::Setup;
use crate::kit::origin::{Ask, Origin, Reply, answer, first_range, ok};
use crate::town::{Holds, MIB, Town, device, open, origin};
use bulak::base::clock::Clock;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// An hour.
const SECONDS: u64 = 3600;
/// Figures taken in the run; the first quarter of them is warm-up.
const SAMPLES: u64 = 40;
/// What may be resident more at the end than after warm-up, in percent.
const FLAT: u64 = 5;
/// Pages that are asked for again and again.
const LESSON: u64 = 200;
/// Bytes of the film whose ranges are asked for, and of one range.
const FILM: usize = 4 << 20;
const RANGE: usize = 20_000;
/// Numbers of pages that the store has let go again when their turn comes begin here, and how many they are.
const ONCE: u64 = 1 << 32;
const MANY: u64 = 20_000;
/// Connections that say nothing, and files that may be open beside what was open after warm-up.
const IDLE: usize = 40;
const FILES: usize = 60;

/// Pages, a film in ranges, what must be asked for each time, and forms.
fn school() -> Origin {
    let film = kit::noise(3, FILM);
    origin(move |ask: &Ask| {
        let fields = ["Cache-Control: public, max-age=86400", "ETag: \"1\"", "Content-Type: video/mp4"];
        match ask.target.as_str() {
            "/film" => Reply::Bytes(match first_range(ask, FILM) {
                Some(range) => {
                    let place = format!("Content-Range: bytes {}-{}/{FILM}", range.start, range.end - 1);
                    answer("206 Partial Content", &[fields.as_slice(), &[&place]].concat(), &film[range])
                }
                None => ok(&fields, &film),
            }),
            "/news" if ask.field("if-none-match").is_some() => {
                Reply::Bytes(b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nCache-Control: max-age=0, must-revalidate\r\n\r\n".to_vec())
            }
            "/news" => Reply::Bytes(ok(&["Cache-Control: max-age=0, must-revalidate", "ETag: \"1\""], b"today")),
            _ => Reply::Bytes(ok(&["Cache-Control: no-store"], b"as you like")),
        }
    })
}

/// One thing that a device does, by its number, over its connection; what it got instead of what it wanted.
fn act(town: &Town, connection: &mut Connection, number: u64) -> Result<(), String> {
    let url = |path: &str| format!("http://h.school.test{path}");
    let at = usize::try_from(number.wrapping_mul(7919)).expect("64 bits") % (FILM - RANGE);
    let (wanted, ask) = match number % 8 {
        0 | 1 => (200, request("GET", &url(&format!("/page/{}", number % LESSON)), &[])),
        2 => (206, request("GET", &url("/film"), &[&format!("Range: bytes={at}-{}", at + RANGE - 1)])),
        3 => (200, request("GET", &url("/news"), &[])),
        4 | 5 => (200, request("GET", &url(&format!("/page/{}", ONCE + number % MANY)), &[])),
        6 => (200, [request("POST", &url("/form"), &["Content-Length: 9"]), b"name=Aigu".to_vec()].concat()),
        _ => {
            // A tunnel to the origin, with one request inside.
            let mut tunnel = Connection::open(town.node.proxy);
            let told =
                tunnel.send(b"CONNECT h.school.test:80 HTTP/1.1\r\nHost: h.school.test:80\r\n\r\n").map(|()| tunnel.read(true).status);
            let inside = tunnel.send(b"GET /inside HTTP/1.1\r\nHost: h.school.test\r\n\r\n").map(|()| tunnel.read(false).status);
            return if matches!((&told, &inside), (Ok(200), Ok(200))) { Ok(()) } else { Err(format!("tunnel: {told:?} {inside:?}")) };
        }
    };
    connection.send(&ask).map_err(|error| error.to_string())?;
    let got = connection.read(false);
    if got.status == wanted && got.complete {
        Ok(())
    } else {
        Err(format!("{number}: {} for {wanted}, {}", got.status, got.cache_status()))
    }
}

#[test]
#[ignore = "an hour; scripts/test --full"]
fn an_hour_of_everything_leaves_nothing_behind() {
    let seconds = std::env::var("BULAK_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let setup = Setup::new()
        .set("store.quota", "\"64 MiB\"")
        .set("store.segment", "\"4 MiB\"")
        .set("store.memory", "\"8 MiB\"")
        .set("store.index_cache", "\"1 MiB\"");
    let town = Town::with(setup, school());
    let (stop, number, wrong) = (AtomicBool::new(false), AtomicU64::new(0), std::sync::Mutex::new(Vec::new()));
    let samples = std::thread::scope(|scope| {
        let (town, stop, number, wrong) = (&town, &stop, &number, &wrong);
        for _ in 0..8 {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut connection = Connection::open(town.node.proxy);
                    // A connection serves a page and what it needs.
                    for _ in 0..20 {
                        if let Err(what) = act(town, &mut connection, number.fetch_add(1, Ordering::Relaxed)) {
                            wrong.lock().expect("no thread panics holding it").push(what);
                            break;
                        }
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            });
        }
        // Those who take a film slowly and leave in the middle, and those who say nothing.
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let idle: Vec<_> = (0..IDLE).map(|at| open(device(at), town.node.proxy)).collect();
                let mut slow = open(device(IDLE), town.node.proxy);
                let _sent = slow.write_all(&request("GET", "http://h.school.test/film", &[]));
                for _ in 0..50 {
                    let _taken = slow.read(&mut [0; 2000]);
                    std::thread::sleep(Duration::from_millis(50));
                }
                drop((idle, slow));
            }
        });
        let clock = Clock::system();
        let start = clock.steady();
        let mut samples = Vec::new();
        for _ in 0..SAMPLES {
            std::thread::sleep(Duration::from_millis(seconds * 1000 / SAMPLES));
            let holds = Holds::of(town.node.id());
            let (passed, asked) = ((clock.steady() - start).as_secs(), number.load(Ordering::Relaxed));
            eprintln!("{passed:>5} s: {:>4} MiB, {} files, {} threads, {asked} requests", holds.memory / MIB, holds.files, holds.threads);
            samples.push(holds);
        }
        stop.store(true, Ordering::Relaxed);
        samples
    });
    let wrong = wrong.into_inner().expect("no thread panics holding it");
    assert!(wrong.is_empty(), "{} errors, the first: {:?}", wrong.len(), wrong.first());
    // The middle of a quarter: what one sample holds more is somebody's film.
    let quarter = samples.len() / 4;
    let middle = |part: &[Holds]| {
        let mut all: Vec<u64> = part.iter().map(|holds| holds.memory).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    let (warm, last) = (middle(&samples[quarter..2 * quarter]), middle(&samples[3 * quarter..]));
    assert!(last <= warm + warm * FLAT / 100, "{} MiB after warm-up, {} MiB at the end", warm / MIB, last / MIB);
    kit::until("files are closed", 60, || Holds::of(town.node.id()).files <= town.before.files + FILES);
}
