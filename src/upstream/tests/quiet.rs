//! What is fetched for nobody who waits: on connections of its own, silent while somebody does, let off when somebody comes to wait
//! for it.

use super::kit::*;
use super::*;
use crate::base::socket::{unread, window_clamp};
use crate::link::pace;
use crate::link::reach::Reach;
use crate::upstream::channel::Channel;
use http_body_util::BodyExt;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Whatever goes well takes a fraction of this.
const LONG: Duration = Duration::from_mins(1);

fn body_of(bytes: usize) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + bytes, b'x');
    answer
}

/// Counts what a body brings, until it ends.
async fn drain(sent: Sent, count: &AtomicU64) {
    let mut body = sent.response.into_body();
    while let Some(frame) = body.frame().await {
        count.fetch_add(frame.unwrap().into_data().unwrap().len() as u64, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn background_and_people_never_share_a_connection() {
    let node = node(settings());
    let origin = origin(&node.life, |_, _| Some(hello())).await;
    for class in [Class::Background, Class::Interactive, Class::Background, Class::Report, Class::Interactive] {
        assert_eq!(text(node.upstream.send(&origin.url("/"), get(), class).await.unwrap()).await.unwrap(), "hello");
        let quiet = if class.is_background() { " quiet" } else { "" };
        while node.upstream.0.pool.idle(&format!("{}{quiet}", origin.url("/").origin()).into()) == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!((origin.connections(), origin.heads.lock().len()), (2, 5));
}

#[tokio::test]
async fn a_transfer_of_the_night_stands_still_while_a_person_waits() {
    const FILM: usize = 64 << 20;
    let node = node(settings());
    let origin = origin(&node.life, |_, _| Some(body_of(FILM))).await;
    let came = Arc::new(AtomicU64::new(0));
    let film = node.upstream.send(&origin.url("/film"), get(), Class::Background).await.unwrap();
    let count = came.clone();
    node.life.spawn(async move { drain(film, &count).await });
    while came.load(Ordering::Relaxed) < 1 << 20 {
        tokio::task::yield_now().await;
    }
    // Three pages of 8 MiB, while which as much of the film would come.
    let page = target(&format!("http://{}/page", page(&node.life, 8 << 20).await));
    let first = node.upstream.send(&page, get(), Class::Interactive).await.unwrap();
    let before = came.load(Ordering::Relaxed);
    let seen = AtomicU64::new(0);
    drain(first, &seen).await;
    for _ in 0..2 {
        drain(node.upstream.send(&page, get(), Class::Interactive).await.unwrap(), &seen).await;
    }
    assert_eq!(seen.load(Ordering::Relaxed), 24 << 20);
    let beside = came.load(Ordering::Relaxed) - before;
    // What hyper had read already, and the floor's pieces.
    assert!(beside <= 512 << 10, "{beside} bytes came beside 24 MiB of pages");
    // A second later it goes on, and comes to its end.
    tokio::time::timeout(LONG, async {
        while came.load(Ordering::Relaxed) < FILM as u64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
}

/// An origin of pages of this length.
async fn page(life: &Life, bytes: usize) -> SocketAddr {
    origin(life, move |_, _| Some(body_of(bytes))).await.addr
}

#[tokio::test]
async fn what_a_device_comes_to_wait_for_is_not_held_back_any_more() {
    const FILM: usize = 4 << 20;
    let node = node(settings());
    let origin = origin(&node.life, |_, _| Some(body_of(FILM))).await;
    let raise = Raise::default();
    let mut request = get();
    request.extensions_mut().insert(raise.clone());
    let film = node.upstream.send(&origin.url("/film"), request, Class::Background).await.unwrap();
    let _somebody = node.link.foreground().begin();
    let came = Arc::new(AtomicU64::new(0));
    let count = came.clone();
    node.life.spawn(async move { drain(film, &count).await });
    // At the floor now; a debt is being paid off.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(came.load(Ordering::Relaxed) < 1 << 20);
    assert_eq!(node.link.foreground().count(), 1);
    raise.raise();
    tokio::time::timeout(LONG, async {
        while came.load(Ordering::Relaxed) < FILM as u64 {
            if came.load(Ordering::Relaxed) > 1 << 20 && came.load(Ordering::Relaxed) < 3 << 20 {
                assert_eq!(node.link.foreground().count(), 2, "it counts as one that somebody waits for");
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    tokio::time::timeout(LONG, async {
        while node.link.foreground().count() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    // The connection serves the night again, slowly.
    while node.upstream.0.pool.idle(&format!("{} quiet", origin.url("/").origin()).into()) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn who_waits_in_the_nights_queue_is_let_past_it() {
    let limits = Settings { background_per_origin: 1, ..settings() };
    let node = node(limits);
    let origin = origin(&node.life, |_, request| Some(if request == 0 { body_of(32 << 20) } else { hello() })).await;
    let _film = node.upstream.send(&origin.url("/film"), get(), Class::Background).await.unwrap();
    let raise = Raise::default();
    let mut request = get();
    request.extensions_mut().insert(raise.clone());
    let url = origin.url("/page");
    let mut second = Box::pin(node.upstream.send(&url, request, Class::Background));
    let early = tokio::time::timeout(Duration::from_millis(50), &mut second).await;
    assert!(early.is_err(), "the night has one connection here");
    raise.raise();
    tokio::time::timeout(LONG, second).await.unwrap().unwrap();
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn the_nights_own_patience_is_no_silence_of_the_origin() {
    let node = node(Settings { idle_timeout: Duration::from_millis(300), ..settings() });
    let origin = origin(&node.life, |_, _| Some(body_of(200_000))).await;
    let film = node.upstream.send(&origin.url("/film"), get(), Class::Background).await.unwrap();
    let mut body = film.response.into_body();
    let somebody = node.link.foreground().begin();
    let mut came = 0;
    let mut read = async || {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        came += frame;
        came
    };
    // What was read already comes at once; at 2 kB/s every further read is longer in coming than the origin may be silent.
    for _ in 0..6 {
        somebody.moved();
        tokio::time::timeout(LONG, read()).await.unwrap();
    }
    drop(somebody);
    while tokio::time::timeout(LONG, read()).await.unwrap() < 200_000 {}
}

#[tokio::test]
async fn marks_and_windows_are_the_nights_until_a_device_waits() {
    let node = node(settings());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stream = throttle::connect(addr).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    let watched = dup(&stream);
    let tos = || socket2::SockRef::from(&watched).tos_v4().unwrap();
    assert_eq!(tos(), 4, "lower effort is the code point 1");
    let usual = window_clamp(&watched).unwrap();
    assert!(usual > 50_000, "{usual}");
    let throttle = Throttle::new(node.link.clone());
    let mut paced = Paced::new(Channel::new(stream, Reach::Unknown, &node.link), throttle.clone());
    let raise = Raise::default();
    let ride = throttle.ride(raise.clone());
    far.write_all(&[7; 4000]).await.unwrap();
    let mut bytes = [0; 100];
    paced.read_exact(&mut bytes).await.unwrap();
    assert!(window_clamp(&watched).unwrap() >= usual, "nobody answers probes: the system's own window");
    node.link.pace().suppose(Duration::from_millis(600));
    node.link.pace().beat();
    paced.read_exact(&mut bytes).await.unwrap();
    let thin = window_clamp(&watched).unwrap();
    // 20 kB/s over 600 ms and half of the target, less the 3,900 bytes that lay there before this read.
    assert!((8_300..8_600).contains(&thin), "{thin}");
    // So it goes on between two ticks.
    far.write_all(&[7; 4000]).await.unwrap();
    while unread(&watched).unwrap() < 7_800 {
        tokio::task::yield_now().await;
    }
    paced.read_exact(&mut bytes).await.unwrap();
    let less = window_clamp(&watched).unwrap();
    assert!((4_300..4_600).contains(&less), "{less}");
    raise.raise();
    paced.read_exact(&mut bytes).await.unwrap();
    assert!(window_clamp(&watched).unwrap() > usual && tos() == 0);
    assert_eq!(node.link.foreground().count(), 1);
    drop(ride);
    assert_eq!(node.link.foreground().count(), 0);
    // The next one on this connection is the night's again.
    let _ride = throttle.ride(Raise::default());
    node.link.pace().beat();
    paced.read_exact(&mut bytes).await.unwrap();
    assert!(window_clamp(&watched).unwrap() < usual && tos() == 4);
    node.link.pace().adjust(pace::Settings { delay: None, ..pace::Settings::default() });
    node.link.pace().beat();
    paced.read_exact(&mut bytes).await.unwrap();
    assert!(window_clamp(&watched).unwrap() > usual);
}

#[tokio::test]
async fn a_transfer_that_ends_in_debt_holds_up_no_other() {
    let node = node(settings());
    let _somebody = node.link.foreground().begin();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stream = throttle::connect(addr).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    far.write_all(&vec![7; 20_000]).await.unwrap();
    let throttle = Throttle::new(node.link.clone());
    let mut paced = Paced::new(Channel::new(stream, Reach::Unknown, &node.link), throttle.clone());
    let mut ride = throttle.ride(Raise::default());
    let one = async {
        let mut all = Vec::new();
        paced.read_to_end(&mut all).await.unwrap();
        all.len()
    };
    let other = async {
        // At the floor; asked twice, so that what was read before does not count.
        while !(ride.stirred() && ride.stirred()) {
            tokio::task::yield_now().await;
        }
        assert_eq!(node.link.pace().seats(), 1);
        drop(ride);
        assert_eq!(node.link.pace().seats(), 0, "an idle connection is no transfer");
        // The first one's connection stays idle.
        for _ in 0..3 {
            node.link.pace().take(100).await;
        }
        drop(far);
    };
    let (read, ()) = tokio::time::timeout(LONG, async { tokio::join!(one, other) }).await.unwrap();
    assert_eq!(read, 20_000, "and is read on as if nothing were owed");
}

/// Another handle of the same socket.
fn dup(stream: &TcpStream) -> std::os::fd::OwnedFd {
    std::os::fd::AsFd::as_fd(stream).try_clone_to_owned().unwrap()
}
