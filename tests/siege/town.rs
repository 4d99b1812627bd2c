//! What a siege is made of: a node with a healthy origin behind it, crowds of connections from addresses of their own, one ordinary client
//! who goes on asking, and what the process holds meanwhile.

use crate::kit;
use crate::kit::http::{self, Answer, request};
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply, ok};
use bulak::base::clock::Clock;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// The promise is a second; a busy machine gets ten.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Bytes of what the ordinary client asks for.
pub(crate) const PAGE: usize = 20_000;

/// What the ordinary client has asked for before.
const KEPT: u64 = 5;

/// Ordinary requests.
const TEN: u64 = 10;

pub(crate) const MIB: u64 = 1 << 20;

/// The address of the `n`-th device.
pub(crate) fn device(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, u8::try_from(n + 1).expect("a few devices"))
}

/// Who asks for ordinary things.
pub(crate) const PUPIL: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 200);

/// A connection from an address of ours.
pub(crate) fn open(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address of this machine");
    socket.connect_timeout(&to.into(), http::PATIENCE).unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(http::PATIENCE)).expect("a socket option");
    stream.set_write_timeout(Some(http::PATIENCE)).expect("a socket option");
    stream
}

/// So many connections of each of so many devices, each of which has said `words`. Those that were refused are dropped by the other side.
pub(crate) fn crowd(devices: usize, each: usize, to: SocketAddr, words: impl Fn(usize) -> Vec<u8>) -> Vec<TcpStream> {
    let mut streams = Vec::with_capacity(devices * each);
    for number in 0..devices * each {
        let mut stream = open(device(number % devices), to);
        // It may have been turned away meanwhile.
        let _sent = stream.write_all(&words(number));
        streams.push(stream);
    }
    streams
}

/// How many of these the other side has not ended.
pub(crate) fn standing(streams: &[TcpStream]) -> usize {
    let open = |mut stream: &TcpStream| {
        stream.set_nonblocking(true).expect("a socket option");
        let mut room = [0; 4096];
        loop {
            match stream.read(&mut room) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
    };
    streams.iter().filter(|stream| open(stream)).count()
}

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holds {
    /// Resident memory that is its own, bytes, heaps and bodies alike: without the pages of files, which the kernel takes back when it likes.
    pub(crate) memory: u64,
    /// Open files.
    pub(crate) files: usize,
    /// Threads.
    pub(crate) threads: u64,
}

impl Holds {
    pub(crate) fn of(process: u32) -> Holds {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        let figure = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {status}"));
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
        };
        let files = fs::read_dir(format!("/proc/{process}/fd")).expect("it runs").count();
        Holds { memory: (figure("RssAnon:") + figure("RssShmem:")) * 1024, files, threads: figure("Threads:") }
    }
}

/// A node under siege.
pub(crate) struct Town {
    pub(crate) node: Node,
    pub(crate) origin: Origin,
    /// What it held in peace.
    pub(crate) before: Holds,
    next: AtomicU64,
}

/// One that answers everything.
pub(crate) fn obliging() -> Origin {
    origin(|_| Reply::Bytes(ok(&["Cache-Control: no-store"], b"as you like")))
}

/// `/page/N` is noise of that seed, for an hour; `/stall/…` is never answered; everything else is `script`'s.
pub(crate) fn origin(script: impl Fn(&Ask) -> Reply + Send + Sync + 'static) -> Origin {
    Origin::start(move |ask: &Ask| {
        if let Some(seed) = ask.target.strip_prefix("/page/").and_then(|seed| seed.parse().ok()) {
            return Reply::Bytes(ok(&["Cache-Control: public, max-age=3600"], &kit::noise(seed, PAGE)));
        }
        if ask.target.starts_with("/stall/") {
            return Reply::Act(Box::new(|stream| {
                // Until the node has had enough.
                let _ended = stream.read(&mut [0]);
            }));
        }
        script(ask)
    })
}

impl Town {
    pub(crate) fn new(setup: Setup) -> Town {
        Town::with(setup, obliging())
    }

    pub(crate) fn with(setup: Setup, origin: Origin) -> Town {
        Town::within(tempfile::tempdir().expect("a folder"), setup, origin)
    }

    /// In a prepared folder.
    pub(crate) fn within(folder: TempDir, setup: Setup, origin: Origin) -> Town {
        raise_open_files();
        let node = setup.host("h.school.test", origin.addr).start_in(folder);
        let mut town = Town { before: Holds::of(node.id()), node, origin, next: AtomicU64::new(1000) };
        for page in 0..KEPT {
            town.page(page);
        }
        // Buffers and threads that are made once.
        town.ordinary("in peace");
        town.before = Holds::of(town.node.id());
        town
    }

    /// What it holds now is what it holds in peace.
    pub(crate) fn taken_as_peace(mut self) -> Town {
        self.before = Holds::of(self.node.id());
        self
    }

    /// One page for the ordinary client, and how long it took.
    fn page(&self, number: u64) -> (Answer, Duration) {
        let clock = Clock::system();
        let began = clock.steady();
        let answer = ask(PUPIL, self.node.proxy, "GET", &format!("http://h.school.test/page/{number}"), &[]);
        assert!(answer.complete && answer.body == kit::noise(number, PAGE), "page {number}: {} {}", answer.status, answer.text());
        (answer, clock.steady().duration_since(began))
    }

    /// Ten ordinary requests of a client who has nothing to do with it: five of what is stored, five of what is not.
    pub(crate) fn ordinary(&self, during: &str) {
        let mut longest = Duration::ZERO;
        for number in 0..TEN {
            let stored = number % 2 == 0;
            let page = if stored { number / 2 } else { self.next.fetch_add(1, Ordering::Relaxed) };
            let (answer, took) = self.page(page);
            assert_eq!(answer.is_hit(), stored, "page {page} {during}: {}", answer.cache_status());
            longest = longest.max(took);
        }
        eprintln!("{during}: ten ordinary requests, the longest in {} ms", longest.as_millis());
        assert!(longest < SOON, "{during}: an ordinary request took {longest:?}");
    }

    /// Connections that the node counts as its clients'.
    pub(crate) fn inside(&self) -> usize {
        let text = self.node.web("/metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix("bulak_client_connections ")).expect("a gauge");
        line.parse().expect("a number")
    }

    /// What it holds more than in peace is no more than this.
    pub(crate) fn holds_at_most(&self, during: &str, memory: u64, files: usize) {
        let now = Holds::of(self.node.id());
        let (more, opened) = (now.memory.saturating_sub(self.before.memory), now.files.saturating_sub(self.before.files));
        eprintln!("{during}: {} MiB more memory, {opened} more files, {} threads", more / MIB, now.threads);
        assert!(more <= memory, "{during}: {} MiB more memory than in peace, {} are allowed", more / MIB, memory / MIB);
        assert!(opened <= files, "{during}: {opened} more files than in peace, {files} are allowed");
    }

    /// Everything is given back: no client is inside, and files are as few as before but for idle connections to origins.
    pub(crate) fn peace(&self, memory: u64) {
        kit::until("all clients are out", 60, || self.inside() == 0);
        let idle = 40;
        kit::until("files are closed", 60, || Holds::of(self.node.id()).files <= self.before.files + idle);
        self.holds_at_most("afterwards", memory, idle);
        self.ordinary("afterwards");
    }
}

/// One request of a device.
pub(crate) fn ask(from: Ipv4Addr, to: SocketAddr, method: &str, url: &str, fields: &[&str]) -> Answer {
    let mut stream = open(from, to);
    stream.write_all(&request(method, url, fields)).expect("sends");
    http::read(&mut BufReader::new(stream), method == "HEAD")
}

/// `GET path` straight from a server, of a device; status 0 when it was turned away without a word.
pub(crate) fn ask_direct(from: Ipv4Addr, to: SocketAddr, path: &str) -> Answer {
    let mut stream = open(from, to);
    let _sent = stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n").as_bytes());
    http::read(&mut BufReader::new(stream), false)
}

/// This process holds the other end of every connection.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // What is not allowed shows as a connection that cannot be made.
    let _raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Whether this process may hold so many connections, else the test is told as skipped.
pub(crate) fn may_hold(test: &str, connections: u64) -> bool {
    raise_open_files();
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if allowed < connections + 500 {
        kit::program::skipped(test, &format!("{allowed} open files are allowed here, {connections} connections are needed"));
    }
    allowed >= connections + 500
}

/// Says one more byte on each connection now and then, until dropped.
pub(crate) struct Drip {
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drip {
    /// `byte`, about once a second.
    pub(crate) fn on(streams: &[TcpStream], byte: u8) -> Drip {
        let streams: Vec<TcpStream> = streams.iter().map(|stream| stream.try_clone().expect("a descriptor")).collect();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for mut stream in &streams {
                    // It may have been cut off.
                    let _sent = stream.write(&[byte]);
                }
                for _ in 0..20 {
                    if !stopped.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
            }
        });
        Drip { stop, thread: Some(thread) }
    }
}

impl Drop for Drip {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _joined = thread.join();
        }
    }
}
