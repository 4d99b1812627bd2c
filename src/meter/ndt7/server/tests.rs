//! Requests for tests, good and bad, and a test of our own client against our own server over loopback.

use super::*;
use crate::base::clock::Time;
use crate::link::{self, Link};
use crate::meter::ndt7::client::{self, Continue, Ended, Error, Limits, Target};
use crate::upstream::{self, Upstream};
use hyper_util::service::TowerToHyperService;
use tower::ServiceExt;

fn ends(client: &str) -> Ends {
    Ends { client: client.parse().unwrap(), server: "192.168.8.1:80".parse().unwrap() }
}

fn server(who: Option<&str>) -> Server {
    let ends = who.map(ends);
    let settings = Settings::lan(vec![String::from("https://anybody.example")]);
    Server::new(settings, Arc::new(move |_: &Extensions| ends), Clock::manual(Time::BUILT), &Life::default(), &Metrics::default())
}

fn request(path: &str, without: &str, more: &[(&str, &str)]) -> Request {
    let fields = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", if path.starts_with("/ndt") { "net.measurementlab.ndt.v7" } else { "net.measurementlab.throughput.v1" }),
        ("origin", "https://anybody.example"),
    ];
    let mut request = Request::builder().uri(path);
    let kept = fields.into_iter().filter(|(name, _)| *name != without && more.iter().all(|(other, _)| other != name));
    for (name, value) in kept.chain(more.iter().copied()) {
        request = request.header(name, value);
    }
    request.body(Body::empty()).unwrap()
}

async fn status(who: Option<&str>, request: Request) -> u16 {
    server(who).routes().oneshot(request).await.unwrap().status().as_u16()
}

/// What a request that is fine in every way gets here, where there is no connection to upgrade.
async fn is_fine(who: Option<&str>, request: Request) -> bool {
    let response = server(who).routes().oneshot(request).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
    String::from_utf8_lossy(&body).contains("cannot be upgraded")
}

#[tokio::test]
async fn requests_that_are_no_tests_are_refused() {
    let lan = Some("192.168.8.20:5000");
    for path in ["/ndt/v7/download", "/ndt/v7/upload", "/throughput/v1/download?mid=a&streams=2", "/throughput/v1/upload?mid=a&streams=8"] {
        assert!(is_fine(lan, request(path, "", &[])).await, "{path}");
        for field in ["connection", "upgrade", "sec-websocket-version", "sec-websocket-key", "sec-websocket-protocol"] {
            assert_eq!(status(lan, request(path, field, &[])).await, 400, "{path} without {field}");
        }
        assert_eq!(status(lan, request(path, "", &[("sec-websocket-protocol", "chat")])).await, 400);
        let mut post = request(path, "", &[]);
        *post.method_mut() = Method::POST;
        assert_eq!(status(lan, post).await, 400);
    }
    assert!(is_fine(lan, request("/ndt/v7/download", "", &[("sec-websocket-protocol", "chat, net.measurementlab.ndt.v7")])).await);
    let long = format!("/ndt/v7/download?a={}", "x".repeat(LONGEST_QUERY));
    for (path, fine) in [
        ("/ndt/v7/download?early_exit=250", true),
        ("/ndt/v7/download?early_exit=10", false),
        ("/ndt/v7/download?client_name=x&client_name=y&server_name=z&empty=", true),
        (&long, false),
        ("/throughput/v1/download?streams=2", false),
        ("/throughput/v1/download?mid=&streams=2", false),
        ("/throughput/v1/download?mid=a", false),
        ("/throughput/v1/download?mid=a&streams=0", false),
        ("/throughput/v1/download?mid=a&streams=9", false),
        ("/throughput/v1/download?mid=a&streams=2&duration=soon", false),
        ("/throughput/v1/download?mid=a&streams=2&bytes=-1", false),
        ("/throughput/v1/download?mid=a&streams=2&duration=5000&bytes=0", true),
    ] {
        assert_eq!(is_fine(lan, request(path, "", &[])).await, fine, "{path}");
    }
}

#[tokio::test]
async fn only_ones_own_network_is_tested() {
    let path = "/ndt/v7/download";
    let table = [
        (Some("192.168.8.20:5000"), true),
        (Some("10.1.2.3:5000"), true),
        (Some("[::ffff:10.1.2.3]:5000"), true),
        (Some("[fd00::5]:5000"), true),
        (Some("127.0.0.1:5000"), true),
        (Some("8.8.8.8:5000"), false),
        (Some("[2a00::1]:5000"), false),
        (None, false),
    ];
    for (who, fine) in table {
        assert_eq!(is_fine(who, request(path, "", &[])).await, fine, "{who:?}");
        assert!(fine || status(who, request(path, "", &[])).await == 403);
    }
}

#[tokio::test]
async fn a_page_of_another_site_runs_no_test_through_its_readers_browser() {
    let lan = Some("192.168.8.20:5000");
    let path = "/ndt/v7/download";
    let of = |origin: &'static str| request(path, "", &[("host", "192.168.8.1"), ("origin", origin)]);
    for (origin, fine) in [
        ("https://anybody.example", true),
        ("http://192.168.8.1", true),
        ("https://192.168.8.1", true),
        ("https://192.168.8.1:8443", false),
        ("https://evil.example", false),
        ("https://anybody.example.evil.example", false),
        ("http://192.168.8.2", false),
        ("null", false),
        ("", false),
    ] {
        assert_eq!(is_fine(lan, of(origin)).await, fine, "{origin:?}");
        assert_eq!(status(lan, of(origin)).await, if fine { 400 } else { 403 }, "{origin:?}");
    }
    let mut two = of("https://anybody.example");
    two.headers_mut().append("origin", "https://evil.example".parse().unwrap());
    assert_eq!(status(lan, two).await, 403, "two origins");
    assert!(is_fine(lan, request(path, "origin", &[])).await, "programs name none");
    let anybody = Server::new(
        Settings::hub(),
        Arc::new(move |_: &Extensions| Some(ends("8.8.8.8:1"))),
        Clock::manual(Time::BUILT),
        &Life::default(),
        &Metrics::default(),
    );
    assert_eq!(anybody.routes().oneshot(of("https://evil.example")).await.unwrap().status(), 400, "a server for the world takes all pages");
}

#[test]
fn what_is_asked_for_stays_within_bounds() {
    let mut asked = Asked { key: String::new(), ends: ends("10.0.0.2:1"), test: "own".into(), time: TIME, bytes: None, acked: None };
    asked.read("early_exit=250", Dialect::Ndt7, Way::Upload).unwrap();
    assert_eq!((asked.acked, asked.test.as_str()), (None, "own"));
    asked.read("early_exit=250&early_exit=7", Dialect::Ndt7, Way::Download).unwrap();
    assert_eq!(asked.acked, Some(250_000_000));
    asked.read("mid=m&streams=2&duration=60000&bytes=7", Dialect::Throughput1, Way::Upload).unwrap();
    assert_eq!((asked.time, asked.bytes, asked.test.as_str()), (TIME, Some(7), "10.0.0.2 m upload"));
}

#[test]
fn the_document_names_us_as_we_were_reached() {
    let of = |fields: &[(&str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(header::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        document(Dialect::Ndt7, &headers)
    };
    assert_eq!(of(&[("host", "hub.kz:8090")]).status(), 200);
    assert_eq!(of(&[("host", "hub.kz:8090")]).headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    for bad in ["", "a b", "hub.kz/evil", "me@hub.kz", "hub.kz:99999"] {
        assert_eq!(of(&[("host", bad)]).status(), 400, "{bad}");
    }
    assert_eq!(of(&[]).status(), 400);
}

/// Our server and our client, over loopback.
struct Both {
    server: Server,
    upstream: Upstream,
    link: Link,
    clock: Clock,
    life: Life,
    addr: SocketAddr,
}

impl Both {
    async fn new() -> Both {
        Both::with(2).await
    }

    /// Of which one client may have so many.
    async fn with(each: usize) -> Both {
        let (life, metrics, clock) = (Life::default(), Metrics::default(), Clock::system());
        let link = Link::new(link::Settings::default(), clock.clone(), &life, &metrics);
        let settings = upstream::Settings { allow_private: vec!["127.0.0.0/8".parse().unwrap()], ..upstream::Settings::default() };
        let upstream = Upstream::new(settings, clock.clone(), link.clone(), &life, &metrics).unwrap();
        let ends = ends("127.0.0.1:5000");
        let server = Server::new(
            Settings { each, ..Settings::lan(Vec::new()) },
            Arc::new(move |_: &Extensions| Some(ends)),
            clock.clone(),
            &life,
            &metrics,
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (router, spawner) = (server.routes(), life.clone());
        life.spawn_until_stop(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(router.clone());
                let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades();
                spawner.spawn_until_stop(async move {
                    let _ = connection.await;
                });
            }
        });
        Both { server, upstream, link, clock, life, addr }
    }

    fn target(&self, dialect: Dialect) -> Target {
        let url = |way| format!("ws://{}{}", self.addr, dialect.path(way)).parse().unwrap();
        Target { download: url(Way::Download), upload: url(Way::Upload) }
    }

    async fn run(&self, dialect: Dialect, way: Way, limits: &Limits) -> Result<client::Outcome, Error> {
        client::run(&self.upstream, &self.clock, &self.target(dialect), way, limits, |_| Continue::On).await
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        self.life.stop();
    }
}

fn brief() -> Limits {
    Limits { time: Duration::from_millis(800), bytes: Some(8 << 20), ..Limits::default() }
}

#[tokio::test]
async fn our_client_and_our_server_agree() {
    let both = Both::new().await;
    for (dialect, streams) in [(Dialect::Ndt7, 1), (Dialect::Throughput1, 3)] {
        for way in [Way::Download, Way::Upload] {
            // Bytes end it, however busy the machine is.
            let limits = Limits { streams, time: Duration::from_secs(10), ..brief() };
            let outcome = both.run(dialect, way, &limits).await.unwrap_or_else(|error| panic!("{dialect:?} {way:?}: {error}"));
            assert_eq!(outcome.streams.len(), usize::from(streams));
            assert!(outcome.told && outcome.moved > 1 << 20 && outcome.rate().is_some(), "{dialect:?} {way:?}: {outcome:?}");
            let kernel = outcome.server().expect("the server measures").tcp_info.expect("Linux");
            assert!(kernel.rtt.is_some() && kernel.elapsed_time.is_some(), "{kernel:?}");
            let uuid = outcome.uuid().expect("an id");
            assert!(uuid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'), "{uuid}");
            let (paid, got) =
                if way == Way::Download { (outcome.cost.received, outcome.moved) } else { (outcome.cost.sent, outcome.moved) };
            assert!(paid >= got, "{way:?}: what it took ({paid}) holds what arrived ({got})");
        }
    }
    let (received, sent) = both.link.view().bytes["measure"];
    assert!(received > 16 << 20 && sent > 16 << 20, "counted as measurements: {received}, {sent}");
    empties(&both.server).await;
}

/// Seats are free again once the other side is gone.
async fn empties(server: &Server) {
    while server.running() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn whoever_asked_may_end_it() {
    let both = Both::new().await;
    for way in [Way::Download, Way::Upload] {
        let mut seen = 0;
        let (target, limits) = (both.target(Dialect::Ndt7), Limits::default());
        let outcome = client::run(&both.upstream, &both.clock, &target, way, &limits, |progress| {
            seen += u32::from(progress.moved > 0 && progress.cost.received + progress.cost.sent >= progress.moved);
            if seen >= 2 { Continue::Stop } else { Continue::On }
        });
        let outcome = outcome.await.unwrap();
        assert_eq!((outcome.ended, seen), (Ended::Early, 2), "{way:?}");
        assert!(outcome.moved > 0 && outcome.took < Duration::from_secs(8), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_third_test_at_once_is_refused() {
    let both = Both::new().await;
    let long = Limits { bytes: None, ..brief() };
    let run = || both.run(Dialect::Ndt7, Way::Upload, &long);
    let (one, two, three) = tokio::join!(run(), run(), run());
    let refused = [one, two, three].into_iter().filter(|run| matches!(run, Err(Error::Refused(StatusCode::SERVICE_UNAVAILABLE)))).count();
    assert_eq!(refused, 1);
    empties(&both.server).await;
}

#[tokio::test]
async fn one_device_does_not_hold_all_seats() {
    let both = Both::with(1).await;
    let long = Limits { time: Duration::from_secs(4), bytes: None, ..brief() };
    let run = || both.run(Dialect::Ndt7, Way::Upload, &long);
    let (one, two) = tokio::join!(run(), run());
    let refused = [&one, &two].into_iter().filter(|run| matches!(run, Err(Error::Refused(StatusCode::SERVICE_UNAVAILABLE)))).count();
    assert_eq!(refused, 1, "{one:?} {two:?}");
    // One after the other is what every test does.
    for way in [Way::Download, Way::Upload, Way::Download] {
        both.run(Dialect::Ndt7, way, &brief()).await.unwrap();
    }
    empties(&both.server).await;
}

#[test]
fn at_a_public_server_a_network_is_one_client_and_a_gateway_is_none() {
    let of = |settings: &Settings, address: &str| settings.client(address.parse().unwrap()).map(|client| client.to_string());
    let (lan, hub) = (Settings::lan(Vec::new()), Settings::hub());
    for (address, by_lan, by_hub) in [
        ("192.168.8.20", Some("192.168.8.20"), None),
        ("::ffff:10.0.0.7", Some("10.0.0.7"), None),
        ("fd00::5", Some("fd00::5"), None),
        ("8.8.8.8", Some("8.8.8.8"), Some("8.8.8.8")),
        ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2:3:4:5:6"), Some("2001:db8:1:2::")),
    ] {
        assert_eq!((of(&lan, address).as_deref(), of(&hub, address).as_deref()), (by_lan, by_hub), "{address}");
    }
}

#[tokio::test]
async fn a_proxy_of_another_kind_is_no_server() {
    let both = Both::new().await;
    // A path that is none: 404.
    let url: url::Url = format!("ws://{}/elsewhere", both.addr).parse().unwrap();
    let target = Target { download: url.clone(), upload: url };
    let run = client::run(&both.upstream, &both.clock, &target, Way::Download, &brief(), |_| Continue::On).await;
    assert!(matches!(run, Err(Error::Refused(StatusCode::NOT_FOUND))), "{run:?}");
}
