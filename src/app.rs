//! Builds a node's parts from the ground up, hands each what it needs, runs until a signal, and ends well.
//!
//! What runs against the floors is handed in here: the Local lane of the proxy gets the web port's router, the portal its
//! shelves, the status page the parts it need not know.

/// Log setup.
pub mod log;

/// Open files.
pub mod limit;

/// What systemd is told.
pub mod service;

/// Threads.
pub mod threads;

/// A worse place where the wished one cannot be had.
mod fallback;

/// https of named hosts, and the proxy over TLS.
mod https;

/// Packs' content under the school's own names.
mod mirror;

/// What a changed file may change at run time.
mod reload;

/// Under which names devices reach the node, and how they come to trust it.
mod devices;

/// Who looks on at the proxy.
mod onlooker;

/// Speed tests of devices.
mod tester;

use crate::admin::{self, Names, Parts, Ready, Tokens, listen};
use crate::base::body::Body;
use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::cache::Cache;
use crate::config::{self, Complaints, Config};
use crate::life::{Life, supervise};
use crate::link::{self, Link};
use crate::meter::echo::{self, Echo};
use crate::meter::outages::{self, Outages};
use crate::meter::{self, Meter};
use crate::portal::{Arrival, Doors, Reach, Shelf, local_names};
use crate::prefetch::{self, Night};
use crate::proxy::mirror::Mirror;
use crate::proxy::{self, Proxy};
use crate::report::giga::{self, Giga};
use crate::report::{self, Reporter};
use crate::state::State;
use crate::store::{self, Store};
use crate::upstream::{self, Upstream};
use anyhow::Context;
use arc_swap::ArcSwap;
use http::{Request, Response};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tower::ServiceExt;

/// How long requests under way may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// How often the outbox's figures for the status page are read anew.
const REPORT_FIGURES: Duration = Duration::from_secs(5);

/// Work for quiet hours begins when no device has asked for anything for so long: between two lessons there is a break of ten minutes.
const QUIET: Duration = Duration::from_mins(2);

/// Where a node can be reached.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// The proxy.
    pub proxy: Vec<SocketAddr>,
    /// The proxy over TLS.
    pub tls: Vec<SocketAddr>,
    /// Redirected port 443.
    pub sni: Vec<SocketAddr>,
    /// Portal, PAC, health, metrics.
    pub web: Vec<SocketAddr>,
    /// The mirror.
    pub mirror: Vec<SocketAddr>,
    /// Local commands.
    pub socket: Option<PathBuf>,
}

/// Reads the configuration again, as it was read at the start.
pub type Reread = Box<dyn Fn() -> Result<Config, Complaints> + Send + Sync>;

/// A running node.
struct Node {
    life: Life,
    store: Store,
    state: State,
    link: Link,
    night: Night,
    meter: Meter,
    trust: Arc<devices::Trust>,
    mirror: Mirror,
    /// Listeners of the mirror that could not be had.
    no_mirror: Vec<String>,
    ready: Ready,
    addresses: Addresses,
    reread: Reread,
    /// Every key as it is in force.
    effective: Arc<ArcSwap<Value>>,
    cache: Cache,
    /// The school's time zone, for statements.
    zone: Arc<ArcSwap<String>>,
}

/// Runs a node until SIGTERM or SIGINT; SIGHUP reads configuration and packs anew. `ready` is told once everything listens.
///
/// # Errors
/// When a part cannot start that nothing can stand in for; the message names what and what to do.
pub async fn run(config: Config, reread: Reread, ready: impl FnOnce(Addresses) + Send) -> anyhow::Result<()> {
    // Before anything is told: who was told may end it at once.
    let mut signals = Signals::listen()?;
    let shares = limit::share_out(limit::raise_open_files(), config.proxy.per_client);
    limit::close_files();
    // A start may take minutes on a slow card, and is no worse cut off than by a power cut.
    let node = tokio::select! {
        node = Box::pin(Node::start(config, reread, shares)) => node?,
        () = signals.end() => {
            tracing::info!("told to end before everything was there");
            return Ok(());
        }
    };
    ready(node.addresses.clone());
    service::ready(&node.life);
    node.until_stopped(signals).await;
    node.end().await
}

/// What the system may tell a node.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Resolves when the node is told to end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    fn listen() -> anyhow::Result<Signals> {
        let of = |kind| signal(kind).context("signals");
        Ok(Signals { terminate: of(SignalKind::terminate())?, interrupt: of(SignalKind::interrupt())?, hangup: of(SignalKind::hangup())? })
    }
}

impl Node {
    async fn start(config: Config, reread: Reread, shares: limit::Shares) -> anyhow::Result<Node> {
        let (life, clock, metrics) = (Life::default(), Clock::system(), Metrics::default());
        let ready = Ready::new(&metrics, &["store", "listeners"]);
        let sockets = proxy::bind(&config.proxy.listen, &config.proxy.tls_listen, &config.proxy.sni_listen)?;
        let (web, no_web) = fallback::web(&config.web.listen).await;
        let mirrors = proxy::mirror::bind(&config.mirror.listen);
        if let Err(error) = std::fs::create_dir_all(&config.node.state) {
            tracing::error!(path = %config.node.state.display(), %error, "node.state cannot be made");
        }
        // The store first: its lock tells a second node, before anything of the first is touched.
        let store = open_store(&config, &ready, &clock, &life, &metrics).await?;
        let (state, lasts) = fallback::state(&config.node.state, &ready).await?;
        let link = Link::new(config.link.clone(), clock.clone(), &life, &metrics);
        link.pace().adjust(config.night.yields.clone());
        let own = [sockets.addresses(), sockets.secure(), sockets.named(), addresses(&web)?, mirrors.addresses()].concat();
        let extra_roots = fallback::roots(&config.upstream.extra_roots, &ready);
        let upstream = Upstream::new(
            upstream::Settings { own, extra_roots, idle: shares.idle, each: shares.proxy.1, ..config.upstream.clone() },
            clock.clone(),
            link.clone(),
            &life,
            &metrics,
        )?;
        let cache = Cache::new(config.cache.clone(), clock.clone(), &life, &metrics, store.clone(), upstream.clone(), link.clone());
        supervise(&life, store.tend(quiet(&life, &clock, &cache, &link)));
        let night =
            Night::new(night_settings(&config)?, clock.clone(), &life, &metrics, state.clone(), store.clone(), link.clone(), cache.clone())
                .await?;
        let report = async |settings: report::Settings, state: State| {
            let (store, link, upstream) = (store.clone(), link.clone(), upstream.clone());
            Reporter::new(settings, clock.clone(), &life, &metrics, state, store, link, upstream, cache.clone(), night.clone()).await
        };
        let reporter = match report(report_settings(&config, lasts), state.clone()).await {
            Ok(reporter) => reporter,
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "no reports are sent: the node has no key or name of its own until that is mended"
                );
                // Nothing signed by a passing key may wait beside what the hub will take.
                let passing = report::Settings { every: config.hub.every, ..report::Settings::default() };
                report(passing, State::open(None).await?).await?
            }
        };

        let meter = Meter::new(meter_parts(&config, &clock, &life, &link, &upstream, &night), &metrics, &state).await?;
        reporter.hear(Arc::new(report::source::Tests(meter.clone())));

        let outages = Outages::new(&clock, &life, &link, &metrics, &state).await?;
        let echo = Echo::new(&meter, &life, &state);
        reporter.hear(Arc::new(report::source::Events(outages.clone())));
        reporter.hear(Arc::new(report::source::Pings(echo.clone())));

        let giga = config.giga.clone().map(|settings| {
            let (clock, state, meter) = (clock.clone(), state.clone(), meter.clone());
            let (link, upstream, metrics, pace) = (link.clone(), upstream.clone(), metrics.clone(), giga::Pace::default());
            Giga::new(giga::Parts { settings, pace, clock, state, meter, link, upstream, metrics }, &life)
        });

        if let Some(settings) = config.remote_write.clone() {
            report::remote::start(settings, &clock, &life, &metrics, &upstream);
        }

        let interception = https::start(&config, &clock, &life, &metrics, &state).await?;
        let doors = Doors { proxy: sockets.addresses(), web: addresses(&web)?, mirror: mirrors.addresses() };
        let later = mirror::Later::default();
        let effective = Arc::new(ArcSwap::from_pointee(config.effective()));
        let zone = Arc::new(ArcSwap::from_pointee(config.night.timezone.clone()));
        let reach = devices::reach(&config);
        let listeners = devices::Listeners { tls: sockets.secure(), sni: sockets.named(), mirror: doors.mirror.clone() };
        let trust = Arc::new(devices::Trust::new(Arc::clone(&interception), Arc::clone(&reach), listeners, &config));
        trust.adopt(None).await?;
        let names = Names::new(&config.node.name, devices::names(&config).iter().map(String::as_str));
        let parts = Parts {
            clock: clock.clone(),
            life: life.clone(),
            jobs: night.jobs(),
            events: night.feed(),
            tokens: Tokens::load(&state, clock.clone(), &life, &metrics).await?,
            metrics: metrics.clone(),
            store: store.clone(),
            cache: cache.clone(),
            link: link.clone(),
            effective: Arc::clone(&effective),
            name: config.node.name.as_str().into(),
            started: clock.now(),
            ready: ready.clone(),
            interception: Arc::clone(&interception),
            doors: Arc::new(doors.clone()),
            tls: sockets.secure().into(),
            sni: sockets.named().into(),
            names: Arc::new(names),
            reach: Arc::clone(&reach),
            mirrored: mirror::mirrored(&later),
            foresee: mirror::outlook(&later),
            shelves: shelves(&night, &later),
            morning: {
                let night = night.clone();
                Arc::new(move || night.morning())
            },
            others: others(&life, &night, &reporter, &outages, giga.as_ref(), &reach, &trust),
        };
        let routes = prefetch::api::routes(night.clone())
            .merge(prefetch::api::wishes::routes(night.clone()))
            .merge(report::api::routes(reporter.clone(), link.clone(), state.clone()))
            .merge(report::statement::api::routes(desk(&config, &zone, &reporter, &meter, &outages)))
            .merge(report::sheet::routes(desk(&config, &zone, &reporter, &meter, &outages)))
            .merge(report::giga::api::routes(giga.clone()))
            .merge(meter::api::routes(meter.clone()))
            .merge(outages::api::routes(outages))
            .merge(echo::api::routes(echo));
        let extra = admin::tonight_routes(parts.clone(), night.clone()).merge(admin::api::guarded(&parts, routes.clone()));
        let extra = extra.merge(admin::slow_routes(parts.clone(), meter.clone(), upstream.clone()));
        let extra = extra.merge(tester::routes(config.meter.pages.clone(), &clock, &life, &metrics));
        let pages = admin::web_router(parts.clone(), extra);
        let commands = admin::local_router(&parts, routes.merge(admin::ca_routes(reread_ca(&trust))));

        let local = local_lane(pages.clone());
        let settings = proxy_settings(&config, &doors.web, shares.proxy);
        let (tls, sni) = (sockets.secure(), sockets.named());
        let interceptor = Arc::clone(&interception);
        let proxy = Proxy::new(settings, sockets, clock, life.clone(), &metrics, cache.clone(), upstream, link.clone(), local, interceptor);
        let socket = match listen::bind_unix(&config.node.socket).await {
            Ok(socket) => {
                listen::serve_unix(&life, socket, config.node.socket.clone(), commands);
                Some(config.node.socket.clone())
            }
            Err(error) => {
                tracing::warn!(path = %config.node.socket.display(), %error, "node.socket cannot be had: local commands do not reach this node");
                None
            }
        };
        for listener in web {
            listen::serve_tcp(&life, listener, pages.clone(), shares.web);
        }
        proxy.watched_by(onlooker::onlooker(&night));
        proxy.serve()?;
        devices::announce(&life, &reach, &doors.web);
        let no_mirror = mirrors.missing.clone();
        let mirror = mirror::start(&config, mirrors, &proxy, &doors, &ready)?;
        later.get_or_init(|| mirror.clone());
        match no_web {
            None => ready.up("listeners"),
            Some(missing) => ready.down("listeners", format!("are not all there: {missing}")),
        }
        let addresses = Addresses { proxy: doors.proxy, tls, sni, web: doors.web, mirror: doors.mirror, socket };
        Ok(Node { life, store, state, link, night, meter, trust, mirror, no_mirror, ready, addresses, reread, effective, cache, zone })
    }

    async fn until_stopped(&self, mut signals: Signals) {
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return,
                _ = signals.interrupt.recv() => return,
                _ = signals.hangup.recv() => self.reload().await,
            }
        }
    }

    /// A bad file changes nothing; a good one changes what can change without a restart, and names the rest.
    async fn reload(&self) {
        let read = self.take_over().await;
        self.ready.reloaded(read.as_ref().cloned().map_err(|error| format!("{error:#}")));
        match read {
            Ok(_) => tracing::info!("configuration and packs read anew"),
            Err(error) => tracing::error!(error = format!("{error:#}"), "not read anew, what was in force stays in force"),
        }
    }

    /// The keys that wait for a restart.
    async fn take_over(&self) -> anyhow::Result<Vec<String>> {
        let config = (self.reread)().inspect_err(|complaints| {
            for complaint in &complaints.list {
                tracing::error!(key = complaint.key, %complaint, "a mistake in the configuration");
            }
        });
        let config = config.map_err(|complaints| anyhow::anyhow!(complaints.summary()))?;
        let changes = reload::changes(&self.effective.load(), &config);
        self.link.pace().adjust(config.night.yields.clone());
        self.cache.set_look_ahead(config.cache.look_ahead);
        self.zone.store(Arc::new(config.night.timezone.clone()));
        self.night.adopt(night_settings(&config)?).await?;
        self.meter.adopt(config.meter.clone());
        self.trust.adopt(Some(&config)).await?;
        mirror::reload(&self.mirror, &self.ready, &self.no_mirror);
        self.effective.store(Arc::new(changes.effective));
        if !changes.taken.is_empty() {
            tracing::info!(keys = changes.taken.join(", "), "taken over");
        }
        if !changes.waiting.is_empty() {
            tracing::warn!(keys = changes.waiting.join(", "), "changed, and count only after a restart");
        }
        Ok(changes.waiting)
    }

    async fn end(self) -> anyhow::Result<()> {
        service::stopping();
        if !self.life.end(GRACE).await {
            tracing::warn!(grace = ?GRACE, "some requests were cut off");
        }
        // What was used since the last hour.
        if let Err(error) = self.night.keep_books(true).await {
            tracing::warn!(%error, "what was used lately is not written down");
        }
        self.store.close().await?;
        self.state.close().await;
        Ok(())
    }
}

async fn open_store(config: &Config, ready: &Ready, clock: &Clock, life: &Life, metrics: &Metrics) -> anyhow::Result<Store> {
    let (settings, folder, ready) = (config.store.clone(), config.node.state.clone(), ready.clone());
    let (clock, life, metrics) = (clock.clone(), life.clone(), metrics.clone());
    tokio::task::spawn_blocking(move || fallback::store(&settings, &folder, &ready, &clock, &life, &metrics)).await?
}

fn addresses(listeners: &[TcpListener]) -> anyhow::Result<Vec<SocketAddr>> {
    listeners.iter().map(|listener| Ok(listener.local_addr()?)).collect()
}

fn proxy_settings(config: &Config, web: &[SocketAddr], (total, per_client): (usize, usize)) -> proxy::Settings {
    let usual = proxy::Settings::default();
    let mut names = usual.names.clone();
    names.extend(config.web.names.iter().cloned());
    names.extend(local_names::possible(&config.node.title));
    names.push(config.node.name.to_ascii_lowercase());
    let secure_name = https::secure_name(config);
    names.push(secure_name.clone());
    proxy::Settings {
        clients: config.proxy.clients.clone(),
        connect_ports: config.proxy.connect_ports.clone(),
        via: config.node.name.clone(),
        names,
        web_ports: web.iter().map(SocketAddr::port).collect(),
        total,
        per_client,
        lasting: proxy::tunnel::Lasting { quiet: config.proxy.tunnel_quiet, whole: config.proxy.tunnel_lifetime },
        secure_name,
        ..usual
    }
}

fn night_settings(config: &Config) -> anyhow::Result<prefetch::Settings> {
    let night = &config.night;
    let windows = prefetch::Windows {
        list: night.windows.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>().context("night.windows")?,
        holidays: night.holiday_windows.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>().context("night.holiday_windows")?,
        calendar: prefetch::Calendar {
            days: night.holidays.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>().context("night.holidays")?,
        },
        zone: jiff::tz::TimeZone::get(&night.timezone).context("night.timezone")?,
    };
    let own = config.upstream.hosts.keys().map(|name| name.split(':').next().unwrap_or(name).to_owned()).collect();
    Ok(prefetch::Settings {
        paths: config.packs.paths.clone(),
        own: Some(config.node.state.join(config::OWN_PACKS)),
        trusted_keys: config.packs.trusted_keys.clone(),
        windows,
        caps: prefetch::Caps { night: night.night_cap, month: night.month_cap },
        metered: night.metered,
        refused: config.intercept.refused.clone(),
        media: config.media.clone(),
        rate: config.night.rate,
        max_transfers: config.night.transfers,
        survey: config.night.survey,
        manners: prefetch::Manners {
            rate: config.manners.rate,
            connections: config.manners.connections,
            errors: config.manners.errors,
            own,
        },
        contact: config.manners.contact.clone(),
        wishes: config.wishes.clone(),
        ..prefetch::Settings::default()
    })
}

fn meter_parts(config: &Config, clock: &Clock, life: &Life, link: &Link, upstream: &Upstream, night: &Night) -> meter::Parts {
    meter::Parts {
        settings: config.meter.clone(),
        clock: clock.clone(),
        life: life.clone(),
        link: link.clone(),
        upstream: upstream.clone(),
        jobs: night.jobs(),
    }
}

/// Where statements are made.
fn desk(config: &Config, zone: &Arc<ArcSwap<String>>, reporter: &Reporter, meter: &Meter, outages: &Outages) -> report::statement::Desk {
    let (title, zone) = (config.node.title.clone(), Arc::clone(zone));
    report::statement::Desk { reporter: reporter.clone(), meter: meter.clone(), outages: outages.clone(), title, zone }
}

/// `lasts`: the state is there after the next start, too. Numbers that begin anew under the same key, and are forgotten, would make the
/// hub take this box and the one of tomorrow for two, of which it believes the later number.
fn report_settings(config: &Config, lasts: bool) -> report::Settings {
    report::Settings {
        hub_url: config.hub.url.clone().filter(|_| lasts),
        school: config.hub.school.clone(),
        code: config.hub.code.clone(),
        key_file: Some(config.node.state.join("node.key")),
        every: config.hub.every,
        ..report::Settings::default()
    }
}

/// Answers the Local lane with the web port's pages, as if the device had come there by the address that it reached the proxy at.
fn local_lane(pages: axum::Router) -> proxy::Local {
    Arc::new(move |request: Request<Body>, arrival: Arrival| {
        let pages = pages.clone();
        Box::pin(async move {
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(arrival);
            let Ok(response): Result<Response<axum::body::Body>, std::convert::Infallible> = pages.oneshot(request).await;
            response.map(Body::stream)
        })
    })
}

/// Whether no device has asked for anything for a while, and the node is to stay.
fn quiet(life: &Life, clock: &Clock, cache: &Cache, link: &Link) -> store::Permit {
    let (life, clock, cache, link) = (life.clone(), clock.clone(), cache.clone(), link.clone());
    let foreground = link::Class::Interactive.label();
    let figures = move || (cache.tally().by_way, link.view().bytes.get(foreground).copied());
    let seen = parking_lot::Mutex::new((figures(), clock.steady()));
    Arc::new(move || {
        let (now, mut seen) = (figures(), seen.lock());
        if seen.0 != now {
            *seen = (now, clock.steady());
        }
        !life.is_stopping() && clock.steady().duration_since(seen.1) >= QUIET
    })
}

/// The packs as the portal shows them.
fn shelves(night: &Night, mirror: &mirror::Later) -> admin::Shelves {
    let (night, mirror) = (night.clone(), Arc::clone(mirror));
    Arc::new(move |local| {
        let begins = night.begins();
        let link = |id: &str| mirror.get()?.address(begins.get(id)?, Some(local?));
        let shelf = |pack: prefetch::Listed| Shelf {
            link: link(&pack.id).unwrap_or_default(),
            id: pack.id,
            title: [pack.title.kk, pack.title.ru, pack.title.en].map(Option::unwrap_or_default),
            entries: Some(pack.progress.done),
            bytes: Some(pack.progress.bytes_done),
        };
        night.packs().into_iter().map(shelf).collect()
    })
}

/// Reads the CA's folder anew when a command changed it.
fn reread_ca(trust: &Arc<devices::Trust>) -> admin::Reread {
    let trust = Arc::clone(trust);
    Arc::new(move || {
        let trust = Arc::clone(&trust);
        Box::pin(async move {
            trust.adopt(None).await?;
            tracing::info!("the CA was read anew");
            Ok(trust.status())
        })
    })
}

/// Night, outbox, names and https for the status document. The outbox is read from its database now and then, not for every reader.
fn others(
    life: &Life,
    night: &Night,
    reporter: &Reporter,
    outages: &Outages,
    giga: Option<&Giga>,
    reach: &Arc<Reach>,
    trust: &Arc<devices::Trust>,
) -> admin::Others {
    let figures = Arc::new(ArcSwap::from_pointee((Value::Null, Value::Null)));
    let (reach, trust) = (Arc::clone(reach), Arc::clone(trust));
    let (night, reporter, outages, giga, kept) = (night.clone(), reporter.clone(), outages.clone(), giga.cloned(), Arc::clone(&figures));
    life.spawn_until_stop(async move {
        loop {
            let told = match &giga {
                Some(giga) => giga.status().await.map_or(Value::Null, |status| json!(status)),
                None => Value::Null,
            };
            kept.store(Arc::new((json!(reporter.status().await), told)));
            tokio::time::sleep(REPORT_FIGURES).await;
        }
    });
    Arc::new(move || {
        let mut members = Map::new();
        members.insert("night".into(), json!(night.status()));
        let (report, giga) = (*figures.load_full()).clone();
        members.insert("report".into(), report);
        members.insert("giga".into(), giga);
        let announced = reach.local.announced();
        members.insert("outages".into(), json!(outages.open_now()));
        members.insert("https".into(), trust.status());
        members.insert("local_names".into(), json!({ "names": announced.names, "renamed": announced.renamed }));
        members
    })
}
