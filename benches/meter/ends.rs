//! A node's meter at the near end of a line, the hub's server at its far end, and a class between them.
//!
//! Each end has a runtime of its own, on threads that live in its namespace, so that every socket is made there.

use crate::line::{Cable, Space};
use bulak::admin::listen::{Room, serve_tcp};
use bulak::base::clock::Clock;
use bulak::base::count::Metrics;
use bulak::life::{Jobs, Life};
use bulak::link::{self, Class, Link, Sample};
use bulak::meter::budget::Caps;
use bulak::meter::ndt7::server;
use bulak::meter::schedule::Schedule;
use bulak::meter::{Contract, Kept, Meter, Parts, Server, Settings};
use bulak::portal::Arrival;
use bulak::state::State;
use bulak::upstream::{self, Allowed, Upstream};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// The hub's port.
const PORT: u16 = 8090;

/// What a class reads at once, and how often: pieces of a twentieth of a second.
const PIECE: Duration = Duration::from_millis(50);

type Answer = Sender<Result<Kept, String>>;

/// Both ends. They end with their value.
pub(crate) struct Ends {
    orders: Option<tokio::sync::mpsc::UnboundedSender<Answer>>,
    link: Link,
    lives: [Life; 2],
    threads: Vec<JoinHandle<()>>,
}

impl Ends {
    /// Starts the hub's server and the node's meter.
    pub(crate) fn start(cable: &Cable) -> io::Result<Ends> {
        let lives = [Life::default(), Life::default()];
        let (life, listener) = (lives[0].clone(), cable.far.enter(|| TcpListener::bind((cable.far.addr, PORT)))?);
        let far = in_space(&cable.far, async move || {
            let clock = Clock::system();
            let who: server::Who = Arc::new(|extensions| {
                let arrival = extensions.get::<Arrival>()?;
                Some(server::Ends { client: arrival.client, server: arrival.local })
            });
            let tests = server::Server::new(server::Settings::hub(), who, clock, &life, &Metrics::default());
            listener.set_nonblocking(true).expect("a socket");
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            serve_tcp(&life, listener, tests.routes(), Room::default());
            life.stopping().await;
            life.end(Duration::from_secs(1)).await;
        });
        let (orders, mut asked) = tokio::sync::mpsc::unbounded_channel::<Answer>();
        let (life, hub, (told, linked)) = (lives[1].clone(), SocketAddr::from((cable.far.addr, PORT)), channel());
        let near = in_space(&cable.near, async move || {
            let (meter, link) = meter(&life, hub).await.expect("a meter");
            told.send(link).expect("somebody waits");
            while let Some(answer) = asked.recv().await {
                // Who asked may be gone.
                let _ = answer.send(meter.now(false).await.map_err(|error| error.to_string()));
            }
            life.end(Duration::from_secs(1)).await;
        });
        let link = linked.recv().map_err(io::Error::other)?;
        Ok(Ends { orders: Some(orders), link, lives, threads: vec![far, near] })
    }

    /// One test.
    pub(crate) fn test(&self) -> Result<Kept, String> {
        let (answer, told) = channel();
        let orders = self.orders.as_ref().ok_or("the ends are gone")?;
        orders.send(answer).map_err(|_| "the near end is gone")?;
        told.recv().map_err(|error| error.to_string())?
    }

    /// A class that takes this part of what comes, until it is dropped.
    pub(crate) fn class(&self, cable: &Cable, part: f64) -> io::Result<School> {
        let listener = cable.far.enter(|| TcpListener::bind((cable.far.addr, 0)))?;
        let addr = listener.local_addr()?;
        let mut stream = cable.near.enter(|| TcpStream::connect(addr))?;
        let (mut far, _) = listener.accept()?;
        let (stop, moved) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of a piece")]
        let piece = vec![0_u8; (cable.line.down.0 as f64 * part / 8.0 * PIECE.as_secs_f64() * 1448.0 / 1500.0) as usize];
        let ends = Arc::clone(&stop);
        let sends = std::thread::spawn(move || {
            let clock = Clock::system();
            let began = clock.steady();
            for count in 1_u32.. {
                if ends.load(Ordering::Relaxed) || far.write_all(&piece).is_err() {
                    return;
                }
                std::thread::sleep((PIECE * count).saturating_sub(clock.steady().saturating_duration_since(began)));
            }
        });
        let (ends, counts, link) = (Arc::clone(&stop), Arc::clone(&moved), self.link.clone());
        let reads = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            let _limited = stream.set_read_timeout(Some(Duration::from_millis(200))); // without it, it only ends later
            while !ends.load(Ordering::Relaxed) {
                let Ok(bytes) = stream.read(&mut buffer) else { continue };
                if bytes == 0 {
                    return;
                }
                counts.fetch_add(bytes as u64, Ordering::Relaxed);
                link.observe(Sample::Received { class: Class::Interactive, bytes: bytes as u64 });
            }
        });
        // Until it has its rate.
        std::thread::sleep(Duration::from_secs(2) + cable.line.rtt * 6);
        Ok(School { stop, moved, threads: vec![sends, reads] })
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.orders = None;
        self.lives.iter().for_each(Life::stop);
        for thread in self.threads.drain(..) {
            let _ended = thread.join(); // a panic of theirs was printed
        }
    }
}

/// A class on the line.
pub(crate) struct School {
    stop: Arc<AtomicBool>,
    moved: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl School {
    /// What it has received, with the heads of its packets.
    pub(crate) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed) * 1500 / 1448
    }
}

impl Drop for School {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ended = thread.join(); // a panic of theirs was printed
        }
    }
}

/// Runs a future on a thread in a namespace.
fn in_space<F, T>(space: &Space, work: F) -> JoinHandle<()>
where
    F: FnOnce() -> T + Send + 'static,
    T: Future<Output = ()>,
{
    space.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work());
    })
}

/// A meter that knows this hub and runs nothing by itself.
async fn meter(life: &Life, hub: SocketAddr) -> anyhow::Result<(Meter, Link)> {
    let (clock, metrics) = (Clock::system(), Metrics::default());
    let link = Link::new(link::Settings::default(), clock.clone(), life, &metrics);
    let net = "198.18.0.0/15".parse()?;
    let settings = upstream::Settings { allow_private: vec![Allowed { net, ports: None }], ..upstream::Settings::default() };
    let upstream = Upstream::new(settings, clock.clone(), link.clone(), life, &metrics)?;
    let server = Server::parse(&format!("ws://{hub}")).ok_or_else(|| anyhow::anyhow!("no server"))?;
    let settings = Settings {
        servers: vec![server],
        hub: None,
        mlab: None,
        schedule: Schedule { slots: Vec::new(), zone: jiff::tz::TimeZone::UTC, startup: false },
        caps: Caps::default(),
        contract: Contract::default(),
        pages: Vec::new(),
        pupils: None,
    };
    let jobs = Jobs::new(clock.clone(), |_| ());
    let parts = Parts { settings, clock, life: life.clone(), link: link.clone(), upstream, jobs };
    let meter = Meter::new(parts, &metrics, &State::open(None).await?).await?;
    Ok((meter, link))
}
