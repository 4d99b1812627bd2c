//! Names and what must not be reached: overrides, DNS, silence, happy eyeballs, refused targets.

use super::kit::*;
use super::*;
use crate::link::outage::What;
use crate::link::passive::ByReach;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::net::TcpListener;

/// Whether nobody has connected: a connection on loopback is there as soon as it is made.
async fn nobody_came(listener: &TcpListener) -> bool {
    use futures_util::FutureExt;
    tokio::task::yield_now().await;
    listener.accept().now_or_never().is_none()
}

fn loopback() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}

#[tokio::test]
async fn refused_targets_are_not_even_connected_to() {
    let life = Life::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dns = dns(&life, |_| Some(vec![loopback()])).await;
    let hosts = [(String::from("over.kz"), String::from("127.0.0.1"))].into();
    let node = node(Settings { resolver: vec![dns.addr], hosts, ..Settings::default() });
    for host in ["127.0.0.1", "over.kz", "named.kz", "localhost", "[::ffff:7f00:1]", "2130706433"] {
        let failed = node.upstream.send(&target(&format!("http://{host}:{port}/")), get(), Class::Interactive).await.unwrap_err();
        assert!(matches!(failed, Error::Prohibited(_)), "{host}: {failed}");
        assert!(matches!(node.upstream.connect(host, port).await, Err(Error::Prohibited(_))), "{host}");
    }
    assert!(nobody_came(&listener).await);
    // Our own listener is out of reach even where loopback is allowed.
    let own = vec![SocketAddr::from(([0, 0, 0, 0], port))];
    let node = kit::node(Settings { own, ..settings() });
    assert!(matches!(node.upstream.connect("127.0.0.1", port).await, Err(Error::Prohibited(_))));
    assert!(nobody_came(&listener).await);
    life.stop();
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_judged_anew() {
    let life = Life::default();
    let origin = origin(&life, |_, _| Some(hello())).await;
    let asked = std::sync::atomic::AtomicUsize::new(0);
    // First an address that may be reached, then the cloud's metadata.
    let answer = move |_: &str| {
        let first = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2;
        Some(vec![if first { loopback() } else { IpAddr::from([169, 254, 169, 254]) }])
    };
    let dns = dns(&life, answer).await;
    let node = node(Settings { resolver: vec![dns.addr], ..settings() });
    let url = target(&format!("http://rebind.kz:{}/", origin.addr.port()));
    assert_eq!(text(node.upstream.send(&url, get(), Class::Interactive).await.unwrap()).await.unwrap(), "hello");
    let failed = node.upstream.connect("rebind2.kz", origin.addr.port()).await.unwrap_err();
    assert!(matches!(failed, Error::Prohibited(ip) if ip == IpAddr::from([169, 254, 169, 254])), "{failed}");
    life.stop();
}

#[tokio::test]
async fn a_name_is_asked_for_once_whoever_waits_and_overrides_not_at_all() {
    let life = Life::default();
    let origin = origin(&life, |_, _| Some(hello())).await;
    let dns = dns(&life, |name| Some(if name == "a.kz." { vec![loopback()] } else { Vec::new() })).await;
    let port = origin.addr.port();
    let hosts = [(String::from("b.kz:80"), origin.addr.to_string())].into();
    let node = node(Settings { resolver: vec![dns.addr], hosts, ..settings() });
    let url = target(&format!("http://a.kz:{port}/"));
    let all = futures_util::future::join_all((0..10).map(|_| node.upstream.send(&url, get(), Class::Interactive))).await;
    assert!(all.iter().all(Result::is_ok));
    let mut asked = dns.asked.lock().clone();
    asked.sort();
    assert_eq!(asked, ["a.kz. 1", "a.kz. 28"]);
    let sent = node.upstream.send(&target("http://b.kz/"), get(), Class::Interactive).await.unwrap();
    assert_eq!(text(sent).await.unwrap(), "hello");
    assert!(origin.heads.lock().last().unwrap().to_ascii_lowercase().contains("host: b.kz\r\n"));
    for _ in 0..2 {
        let failed = node.upstream.send(&target("http://none.kz/"), get(), Class::Interactive).await.unwrap_err();
        assert_eq!(failed.proxy_status(), "dns_error", "{failed}");
    }
    assert_eq!(dns.asked.lock().iter().filter(|name| name.starts_with("none")).count(), 2, "both families, once");
    life.stop();
}

#[tokio::test]
async fn a_silent_resolver_costs_one_wait_and_then_nothing() {
    let life = Life::default();
    let dns = dns(&life, |_| None).await;
    let resolve_timeout = Duration::from_millis(400);
    let node = node(Settings { resolver: vec![dns.addr], resolve_timeout, ..settings() });
    let ask = async |name: &str| node.upstream.send(&target(&format!("http://{name}/")), get(), Class::Interactive).await.unwrap_err();
    assert_eq!(ask("a.kz").await.proxy_status(), "dns_timeout");
    let asked = dns.asked.lock().len();
    assert!(dns.asked.lock().iter().any(|name| name == ". 2"), "the root was asked for as well");
    for name in ["a.kz", "b.kz", "c.kz"] {
        assert_eq!(ask(name).await.proxy_status(), "dns_timeout");
    }
    let later = dns.asked.lock().iter().skip(asked).filter(|name| name.contains("kz")).count();
    assert_eq!(later, 0, "no client's name was asked for again");
    assert_eq!(node.link.state(), State::Down, "nobody answered at all");
    life.stop();
}

#[tokio::test]
async fn one_silent_zone_does_not_silence_the_others() {
    let life = Life::default();
    let origin = origin(&life, |_, _| Some(hello())).await;
    let dns = dns(&life, |name| (name != "broken.kz.").then(|| vec![loopback()])).await;
    let resolve_timeout = Duration::from_millis(400);
    let node = node(Settings { resolver: vec![dns.addr], resolve_timeout, ..settings() });
    let failed = node.upstream.connect("broken.kz", 80).await.unwrap_err();
    assert_eq!(failed.proxy_status(), "dns_timeout");
    node.upstream.connect("fine.kz", origin.addr.port()).await.unwrap();
    life.stop();
}

#[tokio::test]
async fn a_server_that_answers_nothing_but_failures_is_dead_and_one_broken_zone_is_not() {
    let life = Life::default();
    let origin = origin(&life, |_, _| Some(hello())).await;
    let port = origin.addr.port();
    // Which names fail, and how: none; one zone; that and the root, which it keeps from strangers; all of them, in two ways.
    let mood = Arc::new(AtomicU8::new(0));
    let seen = mood.clone();
    let dns = dns_that(&life, move |name| match (seen.load(Ordering::Relaxed), name) {
        (1 | 2, name) if name.starts_with("broken") => Says::Fails(2),
        (3, _) => Says::Fails(2),
        (2, ".") | (4, _) => Says::Fails(5),
        (5 | 6, name) if !name.starts_with("fine") && !name.starts_with("well") => Says::Fails(5),
        (_, "." | "kz.") => Says::Addrs(Vec::new()),
        _ => Says::Addrs(vec![loopback()]),
    })
    .await;
    let clock = Clock::manual(crate::base::clock::Time::BUILT);
    let node = node_at(Settings { resolver: vec![dns.addr], ..settings() }, clock.clone());
    let amiss = || node.link.amiss().0.map(|sign| sign.what);
    node.upstream.connect("fine.kz", port).await.unwrap();
    // What fails is looked into one at a time: so one name after another is asked for until it was this one's turn.
    let fails = async |stem: &str, until: &dyn Fn() -> bool| {
        for number in 0..6_000 {
            let failed = node.upstream.connect(&format!("{stem}{number}.kz"), port).await.unwrap_err();
            assert_eq!(failed.proxy_status(), "dns_error", "{failed}");
            tokio::time::sleep(Duration::from_millis(10)).await;
            if until() {
                return;
            }
        }
        panic!("it was never looked into");
    };
    for (now, asked) in [(1, ". 2"), (2, "kz. 2")] {
        mood.store(now, Ordering::Relaxed);
        fails(&format!("broken{now}-"), &|| dns.asked.lock().iter().any(|known| known == asked)).await;
        node.upstream.connect(&format!("fine{now}.kz"), port).await.unwrap();
        assert_eq!(amiss(), None, "one zone is broken");
    }
    // What it has answered for still holds: that one of it fails, and a stranger, is not everything.
    mood.store(6, Ordering::Relaxed);
    let before = dns.asked.lock().len();
    fails("other6-", &|| dns.asked.lock()[before..].iter().any(|asked| asked == "kz. 2")).await;
    node.upstream.connect("fine6.kz", port).await.unwrap();
    assert_eq!(amiss(), None, "it lets through a list of names");
    for now in [3, 4] {
        clock.advance(Duration::from_mins(2));
        mood.store(now, Ordering::Relaxed);
        // The line is looked at too, and is there.
        fails(&format!("any{now}-"), &|| amiss() == Some(What::NamesDown)).await;
        assert_eq!(node.link.state(), State::Up);
        mood.store(0, Ordering::Relaxed);
        // Nobody asks for anything, and it is noticed.
        eventually(|| amiss().is_none()).await;
        node.upstream.connect(&format!("well{now}.kz"), port).await.unwrap();
    }
    // One that lets through a list of names, and nothing else, is no dead one: what it has answered for it answers for.
    mood.store(5, Ordering::Relaxed);
    clock.advance(Duration::from_mins(2));
    let before = dns.asked.lock().len();
    let known = |asked: &String| asked.starts_with("fine") || asked.starts_with("well");
    fails("other", &|| dns.asked.lock()[before..].iter().any(known)).await;
    node.upstream.connect("fine5.kz", port).await.unwrap();
    assert_eq!(amiss(), None);
    life.stop();
}

#[tokio::test]
async fn a_failure_counts_for_where_the_host_is_and_not_for_what_it_is_called() {
    let dead = free().await;
    let hosts = [(String::from("dead.kz"), dead.to_string())].into();
    let node = node(Settings { hosts, ..settings() });
    node.upstream.connect("dead.kz", 80).await.unwrap_err();
    // A window is told once it has counted a second.
    eventually(|| node.link.view().passive.reach != ByReach::default()).await;
    let reach = node.link.view().passive.reach;
    assert_eq!((reach.domestic.failures, reach.foreign.failures), (0, 0), "it is in this house");
    assert!(reach.unknown.failures > 0);
}

/// Waits until it is so; only a hang is a failure.
async fn eventually(is: impl Fn() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), wait).await.expect("it never came");
}

#[tokio::test]
async fn an_old_answer_serves_when_the_resolver_falls_silent() {
    let life = Life::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let hush = silent.clone();
    let dns = dns(&life, move |_| (!hush.load(std::sync::atomic::Ordering::Relaxed)).then(|| vec![loopback()])).await;
    let (metrics, clock) = (Metrics::default(), Clock::manual(crate::base::clock::Time::BUILT));
    let link = Link::new(crate::link::Settings::default(), clock.clone(), &life, &metrics);
    let settings = Settings { resolver: vec![dns.addr], resolve_timeout: Duration::from_millis(200), ..settings() };
    let upstream = Upstream::new(settings, clock.clone(), link, &life, &metrics).unwrap();
    upstream.connect("a.kz", port).await.unwrap();
    silent.store(true, std::sync::atomic::Ordering::Relaxed);
    clock.advance(Duration::from_hours(1));
    upstream.connect("a.kz", port).await.unwrap();
    upstream.connect("a.kz", port).await.unwrap();
    life.stop();
}

#[tokio::test]
async fn the_family_that_is_late_is_there_for_whoever_asks_next() {
    let life = Life::default();
    let v6: IpAddr = "::1".parse().unwrap();
    let dns = dns_that(&life, move |name| match name {
        "late.kz." | "tardy.kz." => Says::Late(Duration::from_millis(300), vec![v6, loopback()]),
        "never.kz." => Says::Late(Duration::from_hours(1), vec![v6, loopback()]),
        _ => Says::Addrs(Vec::new()),
    })
    .await;
    let (node, clock) = (node(settings()), Clock::manual(crate::base::clock::Time::BUILT));
    let names = Names::new(vec![dns.addr], Duration::from_secs(5), clock.clone(), node.link.clone(), life.clone());
    let asked = |name: &str| dns.asked.lock().iter().filter(|asked| asked.starts_with(name)).count();
    assert_eq!(*names.lookup("late.kz").await.unwrap(), [v6], "nobody waits for the other family");
    assert_eq!(*names.lookup("never.kz").await.unwrap(), [v6]);
    eventually(|| names.known("late.kz").unwrap().contains(&loopback())).await;
    assert_eq!(*names.lookup("late.kz").await.unwrap(), [v6, loopback()]);
    assert_eq!((asked("late"), asked("never")), (2, 2), "and nobody asks again");
    // At a school where IPv4 alone gets through nobody is told what he cannot use.
    let near = Sample::Connected { host: "near.kz".into(), addr: (loopback(), 443).into(), took: Duration::from_millis(1) };
    node.link.observe(near);
    assert_eq!(*names.lookup("tardy.kz").await.unwrap(), [v6, loopback()]);
    // The answers' minute is not over, but one of them is half a one.
    clock.advance(Duration::from_secs(6));
    names.lookup("late.kz").await.unwrap();
    names.lookup("never.kz").await.unwrap();
    assert!(asked("late") == 2 && asked("never") > 2);
    life.stop();
}

#[tokio::test]
async fn where_too_many_names_are_asked_for_an_old_answer_serves_and_the_line_is_not_blamed() {
    use futures_util::FutureExt;
    let life = Life::default();
    let dns = dns(&life, |name| (name == "old.kz.").then(|| vec![loopback()])).await;
    let (node, clock) = (node(settings()), Clock::manual(crate::base::clock::Time::BUILT));
    let names = Names::new(vec![dns.addr], Duration::from_secs(5), clock.clone(), node.link.clone(), life.clone());
    names.lookup("old.kz").await.unwrap();
    clock.advance(Duration::from_mins(2));
    for number in 0..names::FLIGHTS {
        assert!(names.lookup(&format!("{number}.kz")).now_or_never().is_none(), "it is being asked for");
    }
    assert_eq!(*names.lookup("old.kz").now_or_never().expect("at once").unwrap(), [loopback()]);
    let failed = names.lookup("new.kz").now_or_never().expect("at once").unwrap_err();
    assert!(matches!(failed, Error::Exhausted(..)) && !failed.is_line(), "{failed}");
    life.stop();
}

#[tokio::test]
async fn the_family_that_works_is_found() {
    let life = Life::default();
    let origin = origin(&life, |_, _| Some(hello())).await;
    let dns = dns(&life, |_| Some(vec!["::1".parse().unwrap(), loopback()])).await;
    let node = node(Settings { resolver: vec![dns.addr], ..settings() });
    let stream = node.upstream.connect("both.kz", origin.addr.port()).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), origin.addr);
    life.stop();
}

#[tokio::test]
async fn a_host_that_is_gone_takes_the_line_down_and_back_up() {
    let life = Life::default();
    let origin = origin(&life, |_, _| Some(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec())).await;
    let node = node(settings());
    node.upstream.send(&origin.url("/"), get(), Class::Interactive).await.unwrap();
    assert_eq!(node.link.state(), State::Up);
    life.stop();
    assert!(life.end(Duration::from_secs(10)).await);
    // More than five seconds after the success this takes two attempts, right after it the probe's as well.
    while node.link.state() != State::Down {
        let failed = node.upstream.send(&origin.url("/"), get(), Class::Interactive).await.unwrap_err();
        assert!(failed.is_line(), "{failed}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let listener = TcpListener::bind(origin.addr).await.unwrap();
    drop(listener.accept().await.unwrap());
    node.link.becomes(State::Up).await;
}

#[tokio::test(start_paused = true)]
async fn what_hangs_ends_when_the_line_turns_out_to_be_down() {
    let (_hanging, addr) = hanging_at(loopback());
    let node = node(settings());
    node.link.observe(Sample::Connected { host: "a.kz".into(), addr, took: Duration::from_millis(1) });
    let failed = node.upstream.connect("127.0.0.1", addr.port()).await.unwrap_err();
    assert_eq!(failed.to_string(), "127.0.0.1 cannot be reached (the line is down)");
    assert_eq!(node.link.state(), State::Down);
    let start = tokio::time::Instant::now();
    let failed = node.upstream.connect("127.0.0.1", addr.port()).await.unwrap_err();
    assert!(matches!(failed, Error::Unavailable(..)) && start.elapsed() == Duration::ZERO, "{failed}, from memory");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_hangs_is_remembered() {
    let (_hanging, addr) = hanging_at(loopback());
    let node = node(settings());
    let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
    node.link.observe(Sample::Connected { host: "b.kz".into(), addr: alive.local_addr().unwrap(), took: Duration::from_millis(1) });
    let url = target(&format!("http://{addr}/"));
    let failed = node.upstream.send(&url, get(), Class::Interactive).await.unwrap_err();
    assert_eq!(failed.proxy_status(), "connection_timeout", "{failed}");
    let failed = node.upstream.send(&url, get(), Class::Interactive).await.unwrap_err();
    assert_eq!(failed.proxy_status(), "destination_unavailable", "{failed}");
    assert_eq!(node.link.state(), State::Up, "another host still answers");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_behind_a_cut_line_knows_by_the_first_request() {
    let (_hanging, addr) = hanging_at(loopback());
    let node = node(settings());
    let start = tokio::time::Instant::now();
    let failed = node.upstream.send(&target(&format!("http://{addr}/")), get(), Class::Interactive).await.unwrap_err();
    assert_eq!(failed.proxy_status(), "destination_unavailable", "{failed}");
    assert!(node.link.state() == State::Down && start.elapsed() < Settings::default().connect_timeout);
    // Nobody asks, nothing was ever reached: it stays down all the same.
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(node.link.state(), State::Down);
    }
}

#[tokio::test]
async fn a_node_that_never_reached_anything_sees_the_lines_return() {
    let life = Life::default();
    let origin = origin(&life, |_, _| Some(hello())).await;
    let dead = free().await;
    let node = node(settings());
    for _ in 0..2 {
        node.upstream.connect("127.0.0.1", dead.port()).await.unwrap_err();
    }
    assert_eq!(node.link.state(), State::Down);
    node.upstream.wanted(&origin.url("/"));
    node.link.becomes(State::Up).await;
    life.stop();
}

/// An address where nobody listens.
async fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
