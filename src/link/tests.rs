//! The line as a whole, on real sockets.

use super::*;
use std::net::IpAddr;
use tokio::net::TcpListener;

fn link(check: Vec<String>, life: &Life, metrics: &Metrics) -> Link {
    Link::new(Settings { check, ..Settings::default() }, Clock::system(), life, metrics)
}

async fn until(link: &Link, wanted: State) {
    // Far above what it takes; only a hang is a failure.
    tokio::time::timeout(Duration::from_mins(1), link.becomes(wanted)).await.expect("the verdict never came");
}

fn connected(addr: SocketAddr) -> Sample {
    Sample::Connected { host: "a.kz".into(), addr, took: Duration::from_millis(20) }
}

#[tokio::test]
async fn the_lines_return_is_noticed_without_anybody_asking() {
    let (life, metrics) = (Life::default(), Metrics::default());
    let link = link(Vec::new(), &life, &metrics);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    link.observe(connected(addr));
    assert_eq!(link.state(), State::Up);
    drop(listener);
    // One failure of a fetch, and the probe of the host that answered lately is the second.
    link.0.mind.lock().judge = Judge::new(false, link.0.clock.steady());
    link.observe(Sample::Failed { host: "a.kz".into(), addr: None });
    until(&link, State::Down).await;
    assert_eq!(link.settle().await, State::Down);
    assert!(metrics.print().contains("bulak_link_up 0"));
    let listener = TcpListener::bind(addr).await.unwrap();
    let (probe, _) = listener.accept().await.unwrap();
    drop(probe);
    until(&link, State::Up).await;
    life.stop();
}

#[tokio::test]
async fn one_dead_host_among_living_ones_is_not_the_line() {
    let (life, metrics) = (Life::default(), Metrics::default());
    let link = link(Vec::new(), &life, &metrics);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    link.observe(connected(listener.local_addr().unwrap()));
    link.observe(Sample::Failed { host: "dead.kz".into(), addr: None });
    assert_eq!(link.settle().await, State::Up);
    listener.accept().await.unwrap();
    let view = link.view();
    assert!(view.failed_ratio.is_some_and(|ratio| ratio > 0.0));
    assert_eq!(link.0.mind.lock().suspicion, 0);
    life.stop();
}

#[tokio::test]
async fn what_anybody_can_name_brings_no_line_down() {
    let (life, metrics) = (Life::default(), Metrics::default());
    let link = link(Vec::new(), &life, &metrics);
    let (living, dead) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let gone = dead.local_addr().unwrap();
    drop(dead);
    // One with many addresses answered last, and does not any more.
    link.observe(Sample::Connected { host: "alive.kz".into(), addr: living.local_addr().unwrap(), took: Duration::from_millis(20) });
    for last in 1..=4 {
        let addr = SocketAddr::new(IpAddr::from([127, 0, 0, last]), gone.port());
        link.observe(Sample::Connected { host: "gone.kz".into(), addr, took: Duration::from_millis(20) });
    }
    let mut verdicts = link.watch();
    let judge = || Judge::new(false, link.0.clock.steady());
    for hosts in [["dead.kz", "dead.kz"], ["dead.kz", "blocked.kz"], ["gone.kz", "gone.kz"]] {
        link.0.mind.lock().judge = judge();
        for host in hosts {
            link.observe(Sample::Failed { host: host.into(), addr: None });
            link.observe(Sample::NameFailed { host: host.into() });
        }
        assert_eq!(link.settle().await, State::Up, "{hosts:?}");
        living.accept().await.unwrap();
    }
    while verdicts.has_changed().unwrap() {
        assert_ne!(*verdicts.borrow_and_update(), State::Down);
    }
    life.stop();
}

#[tokio::test]
async fn a_check_list_decides_when_there_is_one() {
    let (life, metrics) = (Life::default(), Metrics::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let link = link(vec![addr.to_string()], &life, &metrics);
    link.observe(Sample::Failed { host: "a.kz".into(), addr: None });
    until(&link, State::Up).await;
    drop(listener);
    // Each failure asks for a round at once; two rounds without an answer are enough.
    let nag = async {
        loop {
            link.observe(Sample::Failed { host: "a.kz".into(), addr: None });
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = until(&link, State::Down) => {}
        () = nag => {}
    }
    life.stop();
}

#[tokio::test]
async fn a_check_that_names_nobody_is_no_dead_line() {
    let (life, metrics) = (Life::default(), Metrics::default());
    // A name that no resolver asks anybody for: a label may have 63 letters.
    let link = link(vec![format!("{}.kz:443", "a".repeat(64))], &life, &metrics);
    let mut rounds = link.0.settled.subscribe();
    for round in 0..=state::ROUNDS {
        link.observe(Sample::Failed { host: "a.kz".into(), addr: None });
        rounds.changed().await.unwrap();
        assert_eq!(link.state(), State::Unknown, "round {round}");
    }
    life.stop();
}

#[tokio::test]
async fn bytes_are_counted_by_class_and_seconds_fill_slices() {
    let (life, metrics) = (Life::default(), Metrics::default());
    let clock = Clock::manual(Time::from_secs(1_800_000_298));
    let link = Link::new(Settings::default(), clock.clone(), &life, &metrics);
    life.stop();
    link.observe(Sample::Received { class: Class::Background, bytes: 50_000 });
    link.observe(Sample::Sent { class: Class::Report, bytes: 7 });
    link.observe(Sample::FirstByte { host: "a.kz".into(), took: Duration::from_millis(30) });
    link.observe(connected(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 9)));
    for _ in 0..3 {
        clock.advance(Duration::from_secs(1));
        link.tick();
    }
    let view = link.view();
    assert_eq!(view.bytes["prefetch"], (50_000, 0));
    assert_eq!(view.bytes["report"], (0, 7));
    assert_eq!((view.rtt_seconds, view.first_byte_seconds), (Some(0.02), Some(0.03)));
    assert_eq!(view.download, Some(BitRate(400_000)));
    let slices = link.slices(Time::from_secs(0));
    assert_eq!(slices.len(), 2, "the finished one and the open one");
    assert_eq!((slices[0].rx_bytes, slices[0].tx_bytes, slices[0].background_rx_bytes), (50_000, 7, 50_000));
    assert_eq!(slices[0].up_seconds, 2);
}

#[tokio::test]
async fn names_answer_once_one_was_told_and_until_none_is() {
    let (life, metrics) = (Life::default(), Metrics::default());
    let link = link(Vec::new(), &life, &metrics);
    life.stop();
    assert!(!link.names_answer(), "nobody knows yet");
    for heard in [false, true, false] {
        link.observe(Sample::Names { heard });
        assert_eq!(link.names_answer(), heard);
    }
}

#[tokio::test]
async fn a_late_beat_fills_no_line() {
    let (life, metrics) = (Life::default(), Metrics::default());
    let clock = Clock::manual(Time::from_secs(1_800_000_001));
    let link = Link::new(Settings::default(), clock.clone(), &life, &metrics);
    life.stop();
    link.tick();
    // A line of 1 MB a second that is half used, and a beat three seconds late.
    link.capacity(Some(8_000_000), None);
    for (seconds, bytes, loaded) in [(3, 1_500_000, 0), (1, 900_000, 1)] {
        link.observe(Sample::Received { class: Class::Interactive, bytes });
        clock.advance(Duration::from_secs(seconds));
        link.tick();
        link.observe(connected(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 9)));
        assert_eq!(link.view().passive.loaded_connects, loaded, "{bytes} in {seconds} s");
    }
}

#[tokio::test]
async fn failures_and_bytes_are_told_by_where_the_host_is() {
    let (life, metrics) = (Life::default(), Metrics::default());
    let settings = Settings { domestic: vec!["203.0.113.0/24".parse().unwrap()], ..Settings::default() };
    let link = Link::new(settings, Clock::system(), &life, &metrics);
    life.stop();
    let (near, far): (IpAddr, IpAddr) = ([203, 0, 113, 7].into(), [198, 51, 100, 7].into());
    for (host, addr) in [("a.kz", Some(far)), ("b.org", Some(far)), ("c.org", Some(near)), ("d.kz", None), ("e.org", None)] {
        link.observe(Sample::Failed { host: host.into(), addr });
    }
    link.observe(Sample::Came { reach: link.reach("a.kz", far), bytes: 700_000 });
    link.tick();
    let reach = link.view().passive.reach;
    assert_eq!([reach.domestic.failures, reach.foreign.failures, reach.unknown.failures], [2, 2, 1]);
    assert_eq!((reach.foreign.rx_bytes, reach.foreign.download_p95_bps), (700_000, Some(5_600_000)));
    assert_eq!((reach.domestic.rx_bytes, reach.domestic.download_p95_bps), (0, None));
    link.tick();
    assert_eq!(link.view().passive.reach.foreign.rx_bytes, 700_000, "once");
}
