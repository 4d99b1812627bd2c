//! An hour of an ordinary day, mixed: what is resident stays flat once the store and its index are full, files are given back, nobody gets
//! an error. `BULAK_SOAK_SECONDS` sets another length. The store is small, so that it is full, and what was kept once has gone again,
//! before the first figure counts.

use crate::kit;
use crate::kit::http::{Connection, request};
use crate::kit::node::Setup;
use crate::kit::origin::{Ask, Origin, Reply, answer, first_range, ok};
use crate::town::{Holds, MIB, PAGE, Town, device, open, origin};
use bulak::base::clock::Clock;
use std::io::{Read, Write};
use std::ops::Range;
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
/// Pictures of its pages, longer than what is copied into a socket.
const PICTURES: u64 = 20;
const PICTURE: usize = 100_000;
/// Bytes of a film whose ranges are asked for, of one range, and how many are asked for of one film.
const FILM: usize = 4 << 20;
const RANGE: usize = 20_000;
const RANGES: u64 = 1_000;
/// Where the next film begins in the bytes of the first, which begin anew at their end.
const TURN: u64 = 4_099;
/// Numbers of pages that the store has let go again when their turn comes begin here, and how many they are.
const ONCE: u64 = 1 << 32;
const MANY: u64 = 20_000;
/// Connections that say nothing, and files that may be open at the end beside what was open after warm-up: segments come and go.
const IDLE: usize = 40;
const FILES: usize = 20;

/// Films, each of the same bytes begun elsewhere.
struct Films(Vec<u8>);

impl Films {
    fn new() -> Films {
        Films(kit::noise(3, FILM).repeat(2))
    }

    fn get(&self, number: u64, range: Range<usize>) -> &[u8] {
        let begin = usize::try_from(number.wrapping_mul(TURN)).expect("64 bits") % FILM;
        &self.0[begin + range.start..begin + range.end]
    }
}

/// Pages, pictures, films in ranges, what must be asked for each time, and forms.
fn school() -> Origin {
    let films = Films::new();
    origin(move |ask: &Ask| {
        let fields = ["Cache-Control: public, max-age=86400", "ETag: \"1\"", "Content-Type: video/mp4"];
        let number = |begin: &str| ask.target.strip_prefix(begin).and_then(|rest| rest.parse::<u64>().ok());
        if let Some(number) = number("/film/") {
            return Reply::Bytes(match first_range(ask, FILM) {
                Some(range) => {
                    let place = format!("Content-Range: bytes {}-{}/{FILM}", range.start, range.end - 1);
                    answer("206 Partial Content", &[fields.as_slice(), &[&place]].concat(), films.get(number, range))
                }
                None => ok(&fields, films.get(number, 0..FILM)),
            });
        }
        if let Some(seed) = number("/picture/") {
            return Reply::Bytes(ok(&["Cache-Control: public, max-age=86400", "Content-Type: image/png"], &kit::noise(seed, PICTURE)));
        }
        match ask.target.as_str() {
            "/news" if ask.field("if-none-match").is_some() => {
                Reply::Bytes(b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nCache-Control: max-age=0, must-revalidate\r\n\r\n".to_vec())
            }
            "/news" => Reply::Bytes(ok(&["Cache-Control: max-age=0, must-revalidate", "ETag: \"1\""], b"today")),
            _ => Reply::Bytes(ok(&["Cache-Control: no-store"], b"as you like")),
        }
    })
}

/// One thing that a device does, by its number, over its connection; what it got instead of what it wanted.
fn act(town: &Town, films: &Films, connection: &mut Connection, number: u64) -> Result<(), String> {
    let get = |path: &str, fields: &[&str]| request("GET", &format!("http://h.school.test{path}"), fields);
    let page = |number: u64| (200, get(&format!("/page/{number}"), &[]), kit::noise(number, PAGE));
    // Of each kind one after the other.
    let (kind, nth) = (number % 8, number / 8);
    let (wanted, ask, body) = match kind {
        0 => page(nth % LESSON),
        1 => (200, get(&format!("/picture/{}", nth % PICTURES), &[]), kit::noise(nth % PICTURES, PICTURE)),
        2 => {
            let at = usize::try_from(nth.wrapping_mul(7919)).expect("64 bits") % (FILM - RANGE);
            let ask = get(&format!("/film/{}", nth / RANGES), &[&format!("Range: bytes={at}-{}", at + RANGE - 1)]);
            (206, ask, films.get(nth / RANGES, at..at + RANGE).to_vec())
        }
        3 => (200, get("/news", &[]), b"today".to_vec()),
        4 | 5 => page(ONCE + (2 * nth + kind - 4) % MANY),
        6 => {
            let form = request("POST", "http://h.school.test/form", &["Content-Length: 9"]);
            (200, [form, b"name=Aigu".to_vec()].concat(), b"as you like".to_vec())
        }
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
    if (got.status, got.complete) != (wanted, true) {
        return Err(format!("{number}: {} for {wanted}, {}", got.status, got.cache_status()));
    }
    if got.body == body { Ok(()) } else { Err(format!("{number}: other bytes, {}", got.cache_status())) }
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
    let films = Films::new();
    let (stop, number, wrong) = (AtomicBool::new(false), AtomicU64::new(0), std::sync::Mutex::new(Vec::new()));
    let samples = std::thread::scope(|scope| {
        let (town, films, stop, number, wrong) = (&town, &films, &stop, &number, &wrong);
        for _ in 0..8 {
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut connection = Connection::open(town.node.proxy);
                    // A connection serves a page and what it needs.
                    for _ in 0..20 {
                        if let Err(what) = act(town, films, &mut connection, number.fetch_add(1, Ordering::Relaxed)) {
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
                let mut taken = slow.write_all(&request("GET", "http://h.school.test/film/0", &[]));
                for _ in 0..50 {
                    taken = taken.and_then(|()| slow.read_exact(&mut [0; 2000]));
                    std::thread::sleep(Duration::from_millis(50));
                }
                if let Err(error) = taken {
                    wrong.lock().expect("no thread panics holding it").push(format!("a slow reader: {error}"));
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
    let middle = |part: &[Holds], of: fn(&Holds) -> u64| {
        let mut all: Vec<u64> = part.iter().map(of).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    let (warm, last) = (&samples[quarter..2 * quarter], &samples[3 * quarter..]);
    let files = |part| usize::try_from(middle(part, |holds| holds.files as u64)).expect("64 bits");
    assert!(files(last) <= files(warm) + FILES, "{} files after warm-up, {} at the end", files(warm), files(last));
    kit::until("files of clients are closed", 60, || Holds::of(town.node.id()).files <= files(warm) - IDLE + FILES);
    let (warm, last) = (middle(warm, |holds| holds.memory) >> 10, middle(last, |holds| holds.memory) >> 10);
    eprintln!("{warm} KiB after warm-up, {last} KiB at the end");
    assert!(last <= warm + warm * FLAT / 100, "{warm} KiB after warm-up, {last} KiB at the end");
}
