//! A node in this process: the real proxy port, cache, store and upstream over real sockets, and a clock that the test moves.

use crate::origin::{Origin, Stage};
use crate::play::Subject;
use crate::scene::Request;
use crate::wire::{self, Message};
use bulak::base::body::Body;
use bulak::base::clock::{Clock, Time};
use bulak::base::count::Metrics;
use bulak::base::unit::Bytes;
use bulak::cache::Cache;
use bulak::config::Config;
use bulak::life::{Life, supervise};
use bulak::link::{self, Link};
use bulak::policy::Kind;
use bulak::proxy::intercept::Interception;
use bulak::proxy::{self, Proxy};
use bulak::store::{self, Store};
use bulak::upstream::{self, Upstream};
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Longest wait for bytes: more means that the node hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node with one policy, and the origin that it may reach.
pub(crate) struct Node {
    pub(crate) origin: Origin,
    address: SocketAddr,
    clock: Clock,
    life: Life,
    runtime: tokio::runtime::Runtime,
    _folder: TempDir,
}

impl Node {
    pub(crate) fn start(school: bool) -> Node {
        let origin = Origin::start();
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let inside = runtime.enter();
        let (life, metrics, clock) = (Life::default(), Metrics::default(), Clock::manual(Time::BUILT.plus(Duration::from_hours(500))));
        let usual = Config::default();
        let sockets = proxy::bind(&["127.0.0.1:0".parse().expect("an address")], &[], &[]).expect("a port");
        // Small, so that a long run makes room too.
        let settings = store::Settings { path: folder.path().join("store"), quota: Bytes::mib(256), ..usual.store.clone() };
        let store = Store::open(settings, clock.clone(), &life, &metrics).expect("a store");
        // With a list the line is down only when nothing of it answers: one silent origin does not make it so.
        let link = Link::new(
            link::Settings { check: vec![origin.address.to_string()], ..link::Settings::default() },
            clock.clone(),
            &life,
            &metrics,
        );
        let allow_private = vec!["127.0.0.0/8".parse().expect("a network")];
        let reach = upstream::Settings { allow_private, own: sockets.addresses(), ..upstream::Settings::default() };
        let upstream = Upstream::new(reach, clock.clone(), link.clone(), &life, &metrics).expect("an upstream");
        let mut rules = usual.cache.clone();
        rules.rules.kind = if school { Kind::School } else { Kind::Rfc9111 };
        let cache = Cache::new(rules, clock.clone(), &life, &metrics, store.clone(), upstream.clone(), link.clone());
        supervise(&life, store.tend(Arc::new(|| false)));
        let interception = Interception::new(Duration::from_hours(24), clock.clone(), &metrics).expect("a key");
        let local: proxy::Local = Arc::new(|_, _| Box::pin(async { http::Response::new(Body::Empty) }));
        let proxy = Proxy::new(
            proxy::Settings::default(),
            sockets,
            clock.clone(),
            life.clone(),
            &metrics,
            cache,
            upstream,
            link,
            local,
            Arc::new(interception),
        );
        proxy.serve().expect("it listens");
        let address = proxy.addresses()[0];
        drop(inside);
        Node { origin, address, clock, life, runtime, _folder: folder }
    }

    fn send(&self, host: &str, request: &Request, id: usize) -> io::Result<Message> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut text =
            format!("{} http://{host}/p{} HTTP/1.1\r\nHost: {host}\r\nX-Ask: {id}\r\nConnection: close\r\n", request.method, request.place);
        request.fields.iter().for_each(|(name, value)| text.extend([name, ": ", value, "\r\n"]));
        let changes = crate::scene::is_change(&request.method);
        text.push_str(if changes { "Content-Length: 4\r\n\r\nword" } else { "\r\n" });
        stream.write_all(text.as_bytes())?;
        let mut reader = BufReader::new(stream);
        loop {
            let mut answer = wire::read_head(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if (100..200).contains(&answer.status()) {
                continue;
            }
            if request.method != "HEAD" && !matches!(answer.status(), 204 | 304) {
                wire::read_body(&mut reader, &mut answer, true)?;
            }
            return Ok(answer);
        }
    }
}

impl Subject for Node {
    fn ask(&self, stage: &Stage, request: &Request, id: usize) -> Message {
        let none = |error: io::Error| Message { line: format!("none: {error}"), ..Message::default() };
        self.send(&stage.host, request, id).unwrap_or_else(none)
    }

    fn wait(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    fn now(&self) -> i64 {
        self.clock.now().secs()
    }

    fn stage(&self) -> Stage {
        self.origin.stage()
    }

    fn leave(&self, stage: &Stage) {
        self.origin.leave(stage);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let life = self.life.clone();
        self.runtime.block_on(async move { life.end(Duration::from_secs(5)).await });
    }
}
