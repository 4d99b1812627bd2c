//! Large bodies in pieces: kept while they come, gone on with after `kill -9` and broken transfers, begun anew when they have
//! changed, shared with a pupil who cannot wait for the night.

use crate::kit;
use crate::kit::http::{self, Connection};
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, answer, first_range, ok, promise};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MIB: usize = 1 << 20;
/// What is durable on its own.
const PIECE: usize = 4 * MIB;
const URL: &str = "http://film.school.test/film.mp4";

/// One film, its version, and how much of an answer may leave before somebody says more.
struct Studio {
    film: Mutex<(Vec<u8>, &'static str)>,
    habit: Mutex<Habit>,
    /// Bytes of each answer that may leave.
    gate: AtomicUsize,
    /// Body bytes of films that have left.
    sent: AtomicUsize,
}

/// How an origin treats a request to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// As RFC 9110 says.
    Good,
    /// It sends the range of whatever it has, and never reads `If-Range`.
    Careless,
    /// It knows no ranges.
    Plain,
    /// It says 416 to the old version's range.
    Refuses,
    /// It ends an answer where the gate is, instead of waiting.
    Breaks,
    /// It sends at most a MiB of a range at once.
    Sparing,
    /// It does not say of which version a range is.
    Vague,
}

impl Studio {
    fn start(length: usize, habit: Habit, gate: usize) -> (Arc<Studio>, Origin) {
        let studio = Arc::new(Studio {
            film: Mutex::new((kit::noise(3, length), "\"v1\"")),
            habit: Mutex::new(habit),
            gate: AtomicUsize::new(gate),
            sent: AtomicUsize::new(0),
        });
        let worker = Arc::clone(&studio);
        let origin = Origin::start(move |ask| match ask.target.as_str() {
            "/list.txt" => Reply::Bytes(ok(&["Content-Type: text/plain"], format!("{URL}\n").as_bytes())),
            "/film.mp4" => Studio::film(&worker, ask),
            _ => Reply::Bytes(answer("404 Not Found", &[], b"")),
        });
        (studio, origin)
    }

    fn film(this: &Arc<Studio>, ask: &Ask) -> Reply {
        let (film, tag) = this.film.lock().expect("no thread panics holding it").clone();
        let habit = *this.habit.lock().expect("no thread panics holding it");
        let tagged = format!("ETag: {tag}");
        let ranges = if habit == Habit::Plain { "Accept-Ranges: none" } else { "Accept-Ranges: bytes" };
        let fields = [tagged.as_str(), "Content-Type: video/mp4", "Cache-Control: public, max-age=3600", ranges];
        let fits = ask.field("if-range").is_none_or(|wanted| wanted == tag) || habit == Habit::Careless;
        let most = if habit == Habit::Sparing { MIB } else { film.len() };
        let range = first_range(ask, film.len()).filter(|_| habit != Habit::Plain);
        let range = range.map(|range| range.start..range.end.min(range.start + most));
        if habit == Habit::Refuses && ask.field("if-range").is_some_and(|wanted| wanted != tag) {
            let place = format!("Content-Range: bytes */{}", film.len());
            return Reply::Bytes(answer("416 Range Not Satisfiable", &[tagged.as_str(), place.as_str()], b""));
        }
        let (head, body) = match range.filter(|_| fits) {
            Some(range) => {
                let place = format!("Content-Range: bytes {}-{}/{}", range.start, range.end - 1, film.len());
                let told = if habit == Habit::Vague { &fields[1..] } else { &fields[..] };
                let fields: Vec<&str> = told.iter().copied().chain([place.as_str()]).collect();
                let head = String::from_utf8(promise(&fields, range.len())).expect("ASCII");
                (head.replacen("200 OK", "206 Partial Content", 1).into_bytes(), film[range].to_vec())
            }
            None => (promise(&fields, film.len()), film),
        };
        let this = Arc::clone(this);
        Reply::Act(Box::new(move |stream| {
            if stream.write_all(&head).is_err() {
                return;
            }
            let mut at = 0;
            while at < body.len() {
                let open = this.gate.load(Ordering::SeqCst).min(body.len());
                if at >= open {
                    if habit == Habit::Breaks {
                        return;
                    }
                    // The other end may have gone: a test's node is killed while it waits.
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
                let end = open.min(at + (64 << 10));
                if stream.write_all(&body[at..end]).is_err() {
                    return;
                }
                this.sent.fetch_add(end - at, Ordering::SeqCst);
                at = end;
            }
        }))
    }

    fn open(&self, bytes: usize) {
        self.gate.store(bytes, Ordering::SeqCst);
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    fn body(&self) -> Vec<u8> {
        self.film.lock().expect("no thread panics holding it").0.clone()
    }
}

/// A node whose night fetches the film, under way.
fn night(origin: &Origin, rate: &str) -> Node {
    let setup = Setup::new()
        .host("film.school.test", origin.addr)
        .set("night.windows", "[\"mon-sun 00:00-24:00\"]")
        .set("night.rate", &format!("\"{rate}\""))
        .set("manners.rate", "1000");
    let folder = tempfile::tempdir().expect("a folder");
    let pack = kit::pack::text("film", "http://film.school.test/list.txt", &["film.school.test"]);
    kit::pack::publish(setup, folder.path(), "film", &pack).start_in(folder)
}

/// What the origin was asked about the film: the range and the condition of each.
fn asked(origin: &Origin) -> Vec<(String, String)> {
    let film = origin.asks().into_iter().filter(|ask| ask.target == "/film.mp4");
    let text = |ask: &Ask, name: &str| ask.field(name).unwrap_or_default().to_owned();
    film.map(|ask| (text(&ask, "range"), text(&ask, "if-range"))).collect()
}

fn is_done(node: &Node) -> bool {
    node.local("GET", "/api/v1/packs")["packs"][0]["progress"]["state"] == "done"
}

/// MiB that the store has written, drafts included.
fn kept(node: &Node) -> f64 {
    node.metric("bulak_store_written_bytes_total", "").unwrap_or_default() / 1_048_576.0
}

/// The film out of the store, with nothing more asked of its origin.
fn is_stored(node: &Node, origin: &Origin, body: &[u8]) -> bool {
    let before = origin.count();
    let answer = node.get(URL);
    answer.status == 200 && answer.complete && answer.body == body && origin.count() == before
}

#[test]
fn a_kill_in_the_middle_of_a_film_costs_what_was_no_piece_yet() {
    let (studio, origin) = Studio::start(100 * MIB, Habit::Good, 41 * MIB + 5);
    let mut node = night(&origin, "");
    // The drafts and the pieces of what came are written by then.
    kit::until("ten pieces are kept", 60, || studio.sent() == 41 * MIB + 5 && kept(&node) >= 79.0);
    node.kill();
    studio.open(usize::MAX);
    node.restart();
    kit::until("the film is there", 60, || is_done(&node));
    assert_eq!(asked(&origin), [(String::new(), String::new()), (format!("bytes={}-{}", 40 * MIB, 100 * MIB - 1), "\"v1\"".to_owned())]);
    // The dead connection takes one write more.
    assert!(studio.sent() <= 101 * MIB + (128 << 10), "{} bytes were sent", studio.sent());
    assert!(is_stored(&node, &origin, &studio.body()));
}

#[test]
fn a_line_that_breaks_and_breaks_brings_the_film_piece_by_piece() {
    let (studio, origin) = Studio::start(3 * MIB, Habit::Breaks, 700_000);
    let node = night(&origin, "");
    kit::until("the film is there", 60, || is_done(&node));
    let asked = asked(&origin);
    assert_eq!(asked.len(), 5, "{asked:?}");
    assert_eq!(studio.sent(), 3 * MIB, "every byte came once: {asked:?}");
    assert!(is_stored(&node, &origin, &studio.body()));
}

#[test]
fn an_origin_that_sends_a_mib_at_once_gives_the_rest_step_by_step_and_one_that_is_vague_the_whole_again() {
    for (habit, steps) in [(Habit::Sparing, 4), (Habit::Vague, 3)] {
        let (studio, origin) = Studio::start(3 * MIB, Habit::Breaks, 700_000);
        let node = night(&origin, "");
        kit::until("the transfer has broken off", 30, || studio.sent() == 700_000);
        *studio.habit.lock().expect("no thread panics holding it") = habit;
        studio.open(usize::MAX);
        kit::until("the film is there", 60, || is_done(&node));
        let mut asked = asked(&origin);
        // A node that was quicker than the change of habit has asked for the same again.
        asked.dedup();
        assert_eq!(asked.len(), steps, "{habit:?}: {asked:?}");
        assert_eq!(asked[1], (format!("bytes=700000-{}", 3 * MIB - 1), "\"v1\"".to_owned()), "{habit:?}");
        // What one sent that was of no use may have left in part.
        assert!(habit == Habit::Vague || studio.sent() == 3 * MIB, "{habit:?}: {} bytes", studio.sent());
        assert!(is_stored(&node, &origin, &studio.body()), "{habit:?}");
    }
}

#[test]
fn a_film_that_has_changed_or_an_origin_without_ranges_begins_anew() {
    for habit in [Habit::Good, Habit::Careless, Habit::Refuses, Habit::Plain] {
        let (studio, origin) = Studio::start(6 * MIB, Habit::Breaks, 5 * MIB);
        let node = night(&origin, "");
        kit::until("the transfer has broken off", 30, || studio.sent() == 5 * MIB);
        if habit != Habit::Plain {
            *studio.film.lock().expect("no thread panics holding it") = (kit::noise(4, 7 * MIB), "\"v2\"");
        }
        *studio.habit.lock().expect("no thread panics holding it") = habit;
        studio.open(usize::MAX);
        kit::until("the film is there", 60, || is_done(&node));
        let asked = asked(&origin);
        assert_eq!(asked[1], (format!("bytes={}-{}", 5 * MIB, 6 * MIB - 1), "\"v1\"".to_owned()), "{habit:?}");
        let again = match habit {
            Habit::Careless => 3 * MIB,
            _ => 0,
        };
        assert!(asked.len() <= 3, "{habit:?}: {asked:?}");
        assert!(studio.sent() <= 5 * MIB + studio.body().len() + again, "{habit:?}: {} bytes were sent", studio.sent());
        assert!(is_stored(&node, &origin, &studio.body()), "{habit:?}");
    }
}

#[test]
fn pupils_get_what_is_here_and_raise_the_rest() {
    let (studio, origin) = Studio::start(40 * MIB, Habit::Good, 9 * MIB);
    let mut node = night(&origin, "");
    kit::until("two pieces are kept", 60, || studio.sent() == 9 * MIB && kept(&node) >= 15.0);
    // A part that is here, in a piece and behind the last one; the origin is not asked again.
    let part = node.fetch("GET", URL, &["Range: bytes=1000000-1999999"]);
    assert!(part.status == 206 && part.body == studio.body()[1_000_000..2_000_000], "{} {}", part.status, part.cache_status());
    let part = node.fetch("GET", URL, &["Range: bytes=8500000-8999999"]);
    assert!(part.status == 206 && part.body == studio.body()[8_500_000..9_000_000], "{} {}", part.status, part.cache_status());
    assert_eq!(asked(&origin).len(), 1);
    // Who jumps to the end does not wait for the middle.
    let tail = node.fetch("GET", URL, &["Range: bytes=41000000-41000999"]);
    assert!(tail.status == 206 && tail.body == studio.body()[41_000_000..41_001_000], "{} {}", tail.status, tail.cache_status());
    assert_eq!(asked(&origin).len(), 2);
    // The whole: it comes at once as far as it is here.
    let mut pupil = ask(&node, &[]);
    let first = take(&mut pupil, 8 * MIB);
    assert!(first == studio.body()[..8 * MIB]);
    node.kill();
    drop(pupil);
    studio.open(5 * MIB);
    node.restart();
    // The night goes on behind the pieces; a pupil has those out of the store.
    kit::until("the rest is under way", 60, || asked(&origin).len() == 3 && studio.sent() >= 14 * MIB);
    let mut pupil = ask(&node, &[]);
    let mut body = take(&mut pupil, 9 * MIB);
    let mut second = ask(&node, &["Range: bytes=4000000-20999999"]);
    studio.open(usize::MAX);
    body.extend(take(&mut pupil, 31 * MIB));
    assert!(body == studio.body());
    assert!(take(&mut second, 17_000_000) == studio.body()[4_000_000..21_000_000]);
    kit::until("the film is there", 60, || is_done(&node));
    let asked = asked(&origin);
    assert_eq!(asked[2], (format!("bytes={}-{}", 2 * PIECE, 41_000_000 - 1), "\"v1\"".to_owned()), "{asked:?}");
    assert!(studio.sent() <= 42 * MIB, "{} bytes were sent", studio.sent());
    assert!(is_stored(&node, &origin, &studio.body()));
}

#[test]
fn what_a_pupil_waits_for_is_not_held_back() {
    // 8 MiB at this rate take more than two minutes.
    let (studio, origin) = Studio::start(8 * MIB, Habit::Good, usize::MAX);
    let node = night(&origin, "512 kbit/s");
    kit::until("the night fetches it", 60, || asked(&origin).len() == 1);
    let (proxy, (tell, told)) = (node.proxy, std::sync::mpsc::channel());
    std::thread::spawn(move || tell.send(http::get(proxy, URL)));
    let answer = told.recv_timeout(Duration::from_mins(1)).expect("the pupil has it long before the night would");
    assert!(answer.complete && answer.body == studio.body());
    assert_eq!(asked(&origin).len(), 1, "the pupil came along");
}

/// Sends a request and reads its head.
fn ask(node: &Node, fields: &[&str]) -> Connection {
    let mut connection = Connection::open(node.proxy);
    connection.send(&http::request("GET", URL, fields)).expect("sends");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.raw().read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.starts_with("HTTP/1.1 20"), "{head}");
    connection
}

/// Reads so many bytes of a body.
fn take(connection: &mut Connection, length: usize) -> Vec<u8> {
    let mut body = vec![0; length];
    connection.raw().read_exact(&mut body).expect("a body");
    body
}
