//! Time moves by itself when everybody waits: tokio's paused clock.

use super::*;
use crate::link::foreground::LINGER;
use futures_util::FutureExt;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_second_may_pass_at_once_and_then_the_rate_holds() {
    let pace = Pace::new(Some(BitRate(80_000)));
    let start = Instant::now();
    pace.take(10_000).await;
    pace.take(5_000).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    for _ in 0..10 {
        pace.take(5_000).await;
    }
    assert_eq!(start.elapsed().as_secs(), 5);
    pace.set(None);
    pace.take(u64::MAX).await;
    pace.take(u64::MAX).await;
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn takers_are_served_in_order() {
    let pace = Arc::new(Pace::new(Some(BitRate(8_000))));
    let order = Arc::new(Mutex::new(Vec::new()));
    let takers = (0..6).map(|name| {
        let (pace, order) = (pace.clone(), order.clone());
        async move {
            for round in 0..3 {
                pace.take(1_000).await;
                order.lock().push((round, name));
                tokio::task::yield_now().await;
            }
        }
    });
    futures_util::future::join_all(takers).await;
    let order = order.lock().clone();
    let wanted: Vec<_> = (0..3).flat_map(|round| (0..6).map(move |name| (round, name))).collect();
    assert_eq!(order, wanted);
}

#[tokio::test(start_paused = true)]
async fn a_cap_that_is_lifted_ends_the_nap_of_who_waits() {
    let pace = Pace::new(Some(BitRate(8)));
    let start = Instant::now();
    pace.take(1_000_000).await;
    tokio::join!(pace.take(1), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        pace.set(None);
    });
    assert_eq!(start.elapsed().as_secs(), 1, "not a million seconds");
}

const HOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 80);

/// Bytes that a reader gets who takes pieces for so long.
async fn reads(pace: &Pace, time: Duration) -> usize {
    let mut bytes = 0;
    let read = async {
        loop {
            let piece = pace.piece();
            bytes += piece;
            pace.take(piece as u64).await;
            tokio::task::yield_now().await;
        }
    };
    let ended: Result<(), _> = tokio::time::timeout(time, read).await;
    assert!(ended.is_err());
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_person_silences_the_night_at_once_and_it_goes_on_a_second_after() {
    let foreground = Foreground::default();
    let pace = Pace::beside(foreground.clone());
    pace.set(Some(BitRate(8_000_000)));
    assert!(reads(&pace, Duration::from_secs(10)).await > 9_000_000);
    let page = foreground.begin();
    let mut beside = 0;
    for _ in 0..60 {
        page.moved();
        beside += reads(&pace, Duration::from_secs(1)).await;
    }
    // A piece more for every reader that went away without paying.
    assert!((100_000..220_000).contains(&beside), "2 kB/s are {beside} in a minute");
    drop(page);
    let start = Instant::now();
    // Whoever waits at the floor is woken when the gate opens.
    pace.take(1_000_000).await;
    pace.take(1).await;
    assert!(start.elapsed() >= LINGER && start.elapsed() < LINGER * 3, "{:?}", start.elapsed());
    assert!(reads(&pace, Duration::from_secs(10)).await > 9_000_000);
}

#[tokio::test(start_paused = true)]
async fn who_naps_looks_again_when_the_gate_shuts() {
    let foreground = Foreground::default();
    let pace = Pace::beside(foreground.clone());
    pace.look_at(Some(HOST));
    // A second's worth of what the controller begins with.
    pace.take(20_000).await;
    let start = Instant::now();
    let person = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let page = foreground.begin();
        loop {
            page.moved();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = pace.take(1) => {}
        () = person => {}
    }
    assert!(start.elapsed() > Duration::from_secs(4), "half was paid for, the rest is paid for at the floor: {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_the_gate_but_not_all_day() {
    let foreground = Foreground::default();
    let pace = Pace::beside(foreground.clone());
    let start = Instant::now();
    pace.opening().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    drop(foreground.begin());
    pace.opening().await;
    assert_eq!(start.elapsed().as_secs(), LINGER.as_secs());
    let page = foreground.begin();
    let moving = async {
        loop {
            page.moved();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        () = moving => {}
        () = pace.opening() => {}
    }
    assert_eq!(start.elapsed().as_secs(), (LINGER + OPENING).as_secs());
}

#[tokio::test(start_paused = true)]
async fn windows_follow_the_rate_and_are_shared_by_those_who_move() {
    let pace = Arc::new(Pace::new(None));
    let (one, other) = (pace.seat(), pace.seat());
    assert_eq!(one.window().1, None, "nobody answers probes yet");
    pace.suppose(Duration::from_millis(600));
    for _ in 0..4 {
        one.came(1_000);
        other.came(1_000);
        pace.tick();
    }
    let shared = one.window().1.expect("a window");
    for _ in 0..4 {
        one.came(1_000);
        pace.tick();
    }
    let (beat, alone) = one.window();
    assert!(beat == 8 && alone.expect("a window") > shared, "{alone:?} {shared}");
    assert!(shared >= 2 * 1460);
    pace.adjust(Settings { delay: None, ..Settings::default() });
    assert_eq!(one.window().1, None);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_behind_others_is_woken_by_a_tick_and_by_the_gate() {
    let foreground = Foreground::default();
    let pace = Pace::beside(foreground.clone());
    pace.set(Some(BitRate(8)));
    pace.take(1_000).await;
    let (mut first, mut second) = (std::pin::pin!(pace.take(1)), std::pin::pin!(pace.take(1)));
    let bell = Arc::new(Bell::default());
    let waker = Arc::clone(&bell).into();
    assert!(first.as_mut().now_or_never().is_none(), "it holds the turn");
    let mut waits = || second.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending();
    assert!(waits() && !bell.rang());
    pace.tick();
    assert!(bell.rang() && waits(), "another window may be due");
    let _page = foreground.begin();
    assert!(bell.rang() && waits(), "somebody waits");
}

/// Tells whether it was rung.
#[derive(Default)]
struct Bell(std::sync::atomic::AtomicBool);

impl Bell {
    fn rang(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl std::task::Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn this_machine_is_no_line_and_the_nearest_host_is_asked() {
    let pace = Pace::new(None);
    pace.reached("127.0.0.1:80".parse().expect("an address"), Duration::ZERO);
    pace.reached("[::ffff:127.0.0.1]:80".parse().expect("an address"), Duration::ZERO);
    assert_eq!(pace.nearest(), None);
    let near = HOST;
    pace.reached(near, Duration::from_millis(20));
    for host in 2..6 {
        pace.reached(SocketAddr::from(([192, 0, 2, host], 80)), Duration::from_millis(200));
    }
    assert_eq!(pace.nearest(), Some(near));
    pace.drop_host(near);
    assert_ne!(pace.nearest(), Some(near));
}
