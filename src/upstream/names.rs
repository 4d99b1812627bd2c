//! Names to addresses: hickory asks, `answers` remembers, and each name is asked for once at a time, whoever waits.
//!
//! A lookup that nobody answers costs its client at most the resolve deadline. Half-way through, the root's name servers are asked for
//! as well, which any living server knows by heart: so one broken zone is told from servers that are silent altogether. While they
//! are, everything else is answered at once and a probe goes out every few seconds.
//!
//! # Why a failure is no answer
//! A server that says SERVFAIL or REFUSED to one name may be right: its zone is broken. One that says so of the root, of the country's
//! own domain and of a name that it has answered for before (one that lets through a list of names knows that) knows nothing at all, as a
//! router whose provider's DNS is gone: names are down, though nobody is silent. They are still asked for then, since such a no comes at once.
//!
//! # Why half an answer is no whole one
//! Whoever asks first is not kept waiting for the slower family. But a school without IPv6 that kept an answer of IPv6 alone for its whole
//! time would not reach the host until then: so the other family is waited for all the same, for those who ask next.

use crate::base::backoff::Backoff;
use crate::base::clock::Clock;
use crate::base::crowd::Crowd;
use crate::life::Life;
use crate::link::{Link, Sample};
use crate::upstream::Error;
use crate::upstream::answers::{Addrs, Answers, Look};
use crate::upstream::error::NO_SUCH_NAME;
use arc_swap::ArcSwapOption;
use futures_util::future::{Either, select};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::{Resolver, TokioResolver};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What answers say.
mod heard;

use heard::{Answer, HALF, NO_ADDRESS, Outcome, fold, hear, read};

/// With an answer of one family in hand the other is waited for this long (RFC 8305 section 3).
const OTHER_FAMILY: Duration = Duration::from_millis(50);
/// With an old answer in hand a new one is waited for this long (RFC 8767 section 5).
const WITH_STALE: Duration = Duration::from_millis(1800);
/// After silence the name is asked for again, but its client waits no longer than this: one round trip of a terrestrial line.
const AFTER_SILENCE: Duration = Duration::from_millis(300);
/// A server that fails at once (port closed) still gets this long to answer for the root.
const CANARY: Duration = Duration::from_secs(1);
/// While all servers are silent they are probed at such intervals: a packet is small, a class that waits is not.
const PROBES: Backoff = Backoff { first: Duration::from_secs(2), most: Duration::from_secs(30) };
/// What is asked for where a server fails at the root, which some refuse to strangers: a domain that any of them can find.
const SECOND: &str = "kz.";
/// Failures are looked into so often at most: blocked names come by the dozen.
const CHECKS: Duration = Duration::from_secs(1);
/// Names asked for at the same time; more than any class opens, little enough that nobody uses us to flood a server.
pub(super) const FLIGHTS: usize = 256;

type Flight = watch::Receiver<Option<Result<Addrs, Error>>>;

/// Resolves names. Cheap to clone.
#[derive(Clone)]
pub(super) struct Names(Arc<Inner>);

struct Inner {
    servers: Vec<SocketAddr>,
    resolver: ArcSwapOption<TokioResolver>,
    answers: Mutex<Answers>,
    flights: Mutex<HashMap<Box<str>, Flight>>,
    /// Those that have landed, of which a family is still waited for.
    halves: Crowd,
    seen: Mutex<Seen>,
    wait: Duration,
    clock: Clock,
    link: Link,
    life: Life,
}

/// How the servers are, all of them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Servers {
    /// One gives answers, or nobody knows otherwise.
    #[default]
    Well,
    /// Somebody is there, and whatever is asked for fails.
    Failing,
    /// Nobody says anything.
    Silent,
}

/// What was seen of the servers last.
#[derive(Default)]
struct Seen {
    servers: Servers,
    /// A probe goes out every few seconds, so many since they were well.
    watched: bool,
    probes: u32,
    /// Whether a failure was more than one name's is being looked into.
    checking: bool,
}

/// An answer on its way.
type Coming = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What one family's answer was, and the other's, which is late.
struct Half {
    first: Outcome,
    other: Coming,
}

impl Names {
    /// `servers` empty: those of the system. `wait` bounds each lookup.
    pub(super) fn new(servers: Vec<SocketAddr>, wait: Duration, clock: Clock, link: Link, life: Life) -> Names {
        let resolver = build(&servers, wait);
        let names = Names(Arc::new(Inner {
            servers,
            resolver: ArcSwapOption::from(resolver.map(Arc::new)),
            answers: Mutex::default(),
            flights: Mutex::default(),
            halves: Crowd::default(),
            seen: Mutex::default(),
            wait,
            clock,
            link,
            life,
        }));
        if names.0.resolver.load().is_none() {
            tracing::warn!("the system names no DNS server; names are asked for when it does");
            names.saw(Servers::Silent);
        }
        names
    }

    /// The addresses of `name` (lower case, no port). May be dropped at any await; the lookup goes on for others.
    pub(super) async fn lookup(&self, name: &str) -> Result<Addrs, Error> {
        let name = name.trim_end_matches('.');
        if name == "localhost" || name.ends_with(".localhost") {
            // RFC 6761 section 6.3: never asked for. The guard decides whether it may be reached.
            return Ok(Arc::from([IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)]));
        }
        let look = self.0.answers.lock().look(name, self.0.clock.steady());
        let (stale, patience) = match look {
            Look::Known(addrs) => return Ok(addrs),
            Look::Denied(why) => return Err(Error::DnsError(name.to_owned(), why)),
            Look::Silent(stale) => return self.without_answer(name, stale),
            Look::Ask { stale, was_silent: true } => (stale, AFTER_SILENCE),
            Look::Ask { stale: Some(stale), .. } => (Some(stale), WITH_STALE),
            Look::Ask { stale: None, .. } => (None, self.0.wait),
        };
        let Some(mut flight) = self.flight(name) else {
            // Nobody was asked: that says nothing of the line.
            return stale.ok_or_else(|| Error::Exhausted(name.to_owned(), String::from("too many names are being asked for")));
        };
        let landed = tokio::time::timeout(patience, flight.wait_for(Option::is_some)).await;
        let told = match landed {
            Ok(Ok(told)) => told.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        match (told, stale) {
            (Some(Ok(addrs)), _) => Ok(addrs),
            (Some(Err(Error::DnsTimeout(_))) | None, stale) => self.without_answer(name, stale),
            (Some(Err(error)), None) => Err(error),
            (Some(Err(error)), Some(stale)) => {
                if denies(&error) {
                    Err(error)
                } else {
                    Ok(stale)
                }
            }
        }
    }

    /// The addresses of `name` as they are known, without asking.
    pub(super) fn known(&self, name: &str) -> Option<Addrs> {
        match self.0.answers.lock().look(name.trim_end_matches('.'), self.0.clock.steady()) {
            Look::Known(addrs) | Look::Silent(Some(addrs)) | Look::Ask { stale: Some(addrs), .. } => Some(addrs),
            Look::Denied(_) | Look::Silent(None) | Look::Ask { stale: None, .. } => None,
        }
    }

    /// The line is back: ask again for everything that was silent.
    pub(super) fn line_is_back(&self) {
        // How the servers are, whoever watches them finds out.
        self.0.answers.lock().forget_silence(self.0.clock.steady());
    }

    fn without_answer(&self, name: &str, stale: Option<Addrs>) -> Result<Addrs, Error> {
        stale.ok_or_else(|| {
            self.0.link.observe(Sample::NameFailed { host: name.into() });
            Error::DnsTimeout(name.to_owned())
        })
    }

    /// Joins the lookup under way, or starts one. `None`: too many.
    fn flight(&self, name: &str) -> Option<Flight> {
        let mut flights = self.0.flights.lock();
        if let Some(flight) = flights.get(name) {
            return Some(flight.clone());
        }
        if flights.len() >= FLIGHTS {
            return None;
        }
        let (land, flight) = watch::channel(None);
        flights.insert(name.into(), flight.clone());
        drop(flights);
        let (names, name) = (self.clone(), Box::<str>::from(name));
        self.0.life.spawn_until_stop(async move {
            let began = names.0.clock.steady();
            let (result, half) = names.fly(&name).await;
            if result.as_ref().map_or_else(denies, |_| true) {
                names.0.link.observe(Sample::Named { took: names.0.clock.steady().saturating_duration_since(began) });
            }
            names.0.flights.lock().remove(&name);
            land.send_replace(Some(result));
            if let Some(half) = half {
                names.complete(&name, half).await;
            }
        });
        Some(flight)
    }

    async fn fly(&self, name: &str) -> (Result<Addrs, Error>, Option<Half>) {
        let Some(resolver) = self.0.resolver.load_full() else {
            self.saw(Servers::Silent);
            return (Err(Error::DnsTimeout(name.to_owned())), None);
        };
        let (outcome, servers, half) = self.ask(&resolver, name).await;
        (self.learn(name, outcome, servers), half)
    }

    /// Keeps what came of asking for a name.
    fn learn(&self, name: &str, outcome: Outcome, servers: Servers) -> Result<Addrs, Error> {
        match servers {
            // Of its own names a router tells without any line: that is no end of failing.
            Servers::Well if matches!(outcome, Outcome::Denied { .. }) && self.0.seen.lock().servers == Servers::Failing => self.check(),
            Servers::Well => self.saw(servers),
            Servers::Failing => self.check(),
            // Below, when the name's own silence is noted; nothing at all, when nobody could be asked.
            Servers::Silent => {}
        }
        let now = self.0.clock.steady();
        let mut answers = self.0.answers.lock();
        match outcome {
            Outcome::Found(addrs, ttl) => {
                answers.answered(name, addrs.clone(), ttl, now);
                Ok(addrs)
            }
            Outcome::Denied { why, ttl, trouble } => {
                answers.denied(name, why.clone(), ttl, trouble, now);
                Err(Error::DnsError(name.to_owned(), why))
            }
            Outcome::Silent => {
                answers.silent(name, now);
                drop(answers);
                if servers == Servers::Silent {
                    self.saw(servers);
                }
                Err(Error::DnsTimeout(name.to_owned()))
            }
            Outcome::Ours(why) => Err(Error::Exhausted(name.to_owned(), why)),
        }
    }

    /// Waits for the family that is late, and keeps both. Nobody waits for that.
    async fn complete(&self, name: &str, half: Half) {
        let Some(_seat) = self.0.halves.enter(None, FLIGHTS, FLIGHTS) else { return };
        // No longer than the half is kept at least, lest a newer answer be lost.
        let Ok(other) = tokio::time::timeout(HALF.min(self.0.wait), half.other).await else { return };
        if let Outcome::Found(addrs, ttl) = fold([half.first, read(other)].into_iter()) {
            self.0.answers.lock().answered(name, addrs, ttl, self.0.clock.steady());
        }
    }

    /// Asks for a name and, when that takes long, for the root. What that says of the servers: failing may mean one zone alone.
    async fn ask(&self, resolver: &Arc<TokioResolver>, name: &str) -> (Outcome, Servers, Option<Half>) {
        let mut query = pin!(tokio::time::timeout(self.0.wait, self.both(resolver, name)));
        let mut canary = pin!(async {
            tokio::time::sleep(self.0.wait / 2).await;
            hear(&resolver.lookup(".", RecordType::NS).await)
        });
        let (outcome, heard) = match select(query.as_mut(), canary.as_mut()).await {
            Either::Left((outcome, _)) => (outcome, None),
            Either::Right((heard, query)) => (query.await, Some(heard)),
        };
        let (outcome, half) = outcome.unwrap_or((Outcome::Silent, None));
        let (outcome, servers) = match (outcome, heard) {
            (Outcome::Silent, None) => {
                let lookup = resolver.lookup(".", RecordType::NS);
                let heard = tokio::time::timeout(CANARY.min(self.0.wait), lookup).await.map_or(Servers::Silent, |answer| hear(&answer));
                (Outcome::Silent, heard)
            }
            (Outcome::Silent, Some(heard)) => (Outcome::Silent, heard),
            (outcome @ Outcome::Ours(_), heard) => (outcome, heard.unwrap_or(Servers::Silent)),
            (outcome @ Outcome::Denied { trouble: true, .. }, _) => (outcome, Servers::Failing),
            (outcome, _) => (outcome, Servers::Well),
        };
        (outcome, servers, half)
    }

    /// Both families at once. An answer in hand waits for the other a moment only, but where nobody could use it: of IPv6 alone, at a school
    /// where IPv6 never got through.
    async fn both(&self, resolver: &Arc<TokioResolver>, name: &str) -> (Outcome, Option<Half>) {
        // A name with a dot is complete; a bare word may need the system's search list.
        let full = if name.contains('.') { format!("{name}.") } else { name.to_owned() };
        let lookup = |kind| -> Coming {
            let (resolver, full) = (resolver.clone(), full.clone());
            Box::pin(async move { resolver.lookup(full, kind).await })
        };
        let (first, mut other) = match select(lookup(RecordType::AAAA), lookup(RecordType::A)).await {
            Either::Left((first, other)) | Either::Right((first, other)) => (first, other),
        };
        let first = read(first);
        // A chain of aliases that ends in nothing is no address in hand.
        if !matches!(first, Outcome::Found(..)) {
            return (fold([first, read(other.await)].into_iter()), None);
        }
        let of_use = |ip: &IpAddr| ip.is_ipv4() || !self.0.link.lacks_family(*ip);
        let is_useless = matches!(&first, Outcome::Found(addrs, _) if !addrs.iter().any(of_use));
        // Half of the time, so that what is in hand is still told where the other is silent.
        let patience = if is_useless { self.0.wait / 2 } else { OTHER_FAMILY };
        match tokio::time::timeout(patience, &mut other).await {
            Ok(second) => (fold([first, read(second)].into_iter()), None),
            Err(_) => (fold([first.clone(), Outcome::Silent].into_iter()), Some(Half { first, other })),
        }
    }

    /// Something failed: everything, or one zone? Nobody waits for that.
    fn check(&self) {
        if std::mem::replace(&mut self.0.seen.lock().checking, true) {
            return;
        }
        let names = self.clone();
        self.0.life.spawn_until_stop(async move {
            let servers = names.probe().await;
            tokio::time::sleep(CHECKS).await;
            names.0.seen.lock().checking = false;
            // Somebody has just said something; whoever is slow about the root is not silent for that.
            if servers != Servers::Silent {
                names.saw(servers);
            }
        });
    }

    /// Notes how the servers are, and tells the line. While they are not well, a probe goes out every few seconds.
    fn saw(&self, servers: Servers) {
        {
            let mut answers = self.0.answers.lock();
            if servers == Servers::Silent {
                answers.all_silent();
            } else {
                answers.heard(self.0.clock.steady());
            }
        }
        let well = servers == Servers::Well;
        let (before, unwatched) = {
            let mut seen = self.0.seen.lock();
            // In the order in which it is noted here.
            self.0.link.observe(Sample::Names { heard: well });
            let before = std::mem::replace(&mut seen.servers, servers);
            if before == Servers::Well {
                seen.probes = 0;
            }
            let unwatched = !well && !seen.watched;
            seen.watched |= unwatched;
            (before, unwatched)
        };
        if before != servers {
            match servers {
                Servers::Well => tracing::info!("names are asked for again"),
                Servers::Failing => tracing::info!("DNS servers answer, and nothing but failures"),
                Servers::Silent => tracing::info!("no DNS server answers"),
            }
        }
        if servers == Servers::Failing && before != servers {
            // The line itself, perhaps, of which the school's own router knows: addresses tell.
            self.0.link.suspect();
        }
        if unwatched {
            self.0.life.spawn_until_stop(self.clone().watch());
        }
    }

    /// Probes until the servers are well.
    async fn watch(self) {
        loop {
            let tries = {
                let mut seen = self.0.seen.lock();
                if seen.servers == Servers::Well {
                    seen.watched = false;
                    return;
                }
                seen.probes = seen.probes.saturating_add(1);
                seen.probes - 1
            };
            tokio::time::sleep(PROBES.wait(tries, 1.0)).await;
            // Whoever was asked for something meanwhile may have seen it.
            if self.0.seen.lock().servers == Servers::Well {
                continue;
            }
            // The system's list of servers may have changed with the network.
            if self.0.servers.is_empty()
                && let Some(resolver) = build(&self.0.servers, self.0.wait)
            {
                self.0.resolver.store(Some(Arc::new(resolver)));
            }
            let servers = self.probe().await;
            self.saw(servers);
            if servers == Servers::Failing {
                self.0.link.suspect();
            }
        }
    }

    /// How the servers are.
    async fn probe(&self) -> Servers {
        let Some(resolver) = self.0.resolver.load_full() else { return Servers::Silent };
        let mut all = Servers::Silent;
        // Some keep the root from whoever is no server, or drop what is asked of it.
        for name in [".", SECOND] {
            match self.hears(&resolver, name, RecordType::NS).await {
                Servers::Well => return Servers::Well,
                Servers::Failing => all = Servers::Failing,
                Servers::Silent => {}
            }
        }
        if all == Servers::Silent {
            return all;
        }
        // And some keep everything but what they let through, which they have answered for.
        let past = self.0.answers.lock().past(self.0.clock.steady());
        let well = match past {
            Some(name) => self.hears(&resolver, &format!("{name}."), RecordType::A).await == Servers::Well,
            // All that they have answered for still holds: nobody knows otherwise.
            None => !self.0.answers.lock().fails(self.0.clock.steady()),
        };
        if well { Servers::Well } else { Servers::Failing }
    }

    /// What is said of a name that exists.
    async fn hears(&self, resolver: &TokioResolver, name: &str, kind: RecordType) -> Servers {
        let lookup = resolver.lookup(name, kind);
        tokio::time::timeout(self.0.wait, lookup).await.map_or(Servers::Silent, |answer| hear(&answer))
    }
}

/// Whether a DnsError says that the name does not exist, rather than that its server has trouble.
fn denies(error: &Error) -> bool {
    matches!(error, Error::DnsError(_, why) if why == NO_SUCH_NAME || why == NO_ADDRESS)
}

fn build(servers: &[SocketAddr], wait: Duration) -> Option<TokioResolver> {
    let mut builder = if servers.is_empty() {
        Resolver::builder_tokio().inspect_err(|error| tracing::debug!(%error, "the system's DNS configuration")).ok()?
    } else {
        let config = ResolverConfig::from_name_servers(servers.iter().map(|server| name_server(*server)).collect());
        Resolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options: &mut ResolverOpts = builder.options_mut();
    // Ours remembers, shares and forgets; one repeat within the deadline covers a lost packet.
    options.cache_size = 0;
    options.timeout = wait / 2;
    options.attempts = 1;
    builder.build().inspect_err(|error| tracing::warn!(%error, "no DNS resolver")).ok()
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let with_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let mut config = NameServerConfig::udp_and_tcp(server.ip());
    config.connections = vec![with_port(ConnectionConfig::udp()), with_port(ConnectionConfig::tcp())];
    config
}
