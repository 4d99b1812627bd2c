//! Turns, bounds and what is fair, with dummies for connections.

use super::*;
use futures_util::FutureExt;

/// What one client may have under way.
const EACH: usize = 256;

#[derive(Clone, Default)]
struct Wire(u32, Arc<AtomicBool>);

impl Reusable for Wire {
    fn is_open(&self) -> bool {
        !self.1.load(Ordering::Relaxed)
    }
}

struct Dummy;

impl Kinds for Dummy {
    type One = Wire;
    type Many = Wire;
}

fn pool(most: usize, may_share: bool) -> (Pool<Dummy>, Key, Clock) {
    let clock = Clock::manual(crate::base::clock::Time::BUILT);
    let limits = Limits { background: 1, idle: Duration::from_secs(90), idle_most: 100, each: EACH };
    (Pool::new(limits, clock.clone()), Key { text: "http://a.kz".into(), most, may_share }, clock)
}

fn opens(grant: Grant<Dummy>) -> Slot<Dummy> {
    match grant {
        Ok(Lease::Open(slot)) => slot,
        Ok(Lease::One(one, _) | Lease::Many(one, _)) => panic!("got connection {}", one.0),
        Err(error) => panic!("{error}"),
    }
}

fn uses(grant: Grant<Dummy>) -> (Wire, Slot<Dummy>) {
    match grant {
        Ok(Lease::One(one, slot) | Lease::Many(one, slot)) => (one, slot),
        Ok(Lease::Open(_)) => panic!("opens"),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn the_newest_idle_connection_is_used_first_and_closed_or_old_ones_never() {
    let (pool, key, clock) = pool(3, false);
    let mut slots = Vec::new();
    for _ in 0..3 {
        let mut slot = opens(pool.checkout(&key, Class::Interactive, ANY, None).await);
        Pool::opened_one(&mut slot);
        slots.push(slot);
    }
    let wires = [Wire(1, Arc::default()), Wire(2, Arc::default()), Wire(3, Arc::default())];
    for (wire, slot) in wires.iter().zip(slots) {
        Pool::put(wire.clone(), slot, None);
        clock.advance(Duration::from_secs(10));
    }
    wires[2].1.store(true, Ordering::Relaxed);
    let (used, slot) = uses(pool.checkout(&key, Class::Interactive, ANY, None).await);
    assert_eq!(used.0, 2);
    drop(slot);
    clock.advance(Duration::from_secs(65));
    drop(opens(pool.checkout(&key, Class::Interactive, ANY, None).await));
    pool.sweep();
    assert!(pool.0.origins.lock().is_empty());
}

#[tokio::test]
async fn an_idle_connection_is_used_while_its_origin_keeps_it() {
    let second = Duration::from_secs(1);
    let said = [(None, 90.0), (Some(5), 4.0), (Some(2), 1.0), (Some(1), 0.5), (Some(0), 0.0), (Some(3600), 90.0)];
    for (keeps, lasts) in said {
        for (after, kept) in [(-0.1, true), (0.1, false)] {
            let (pool, key, clock) = pool(1, false);
            let slot = opens(pool.checkout(&key, Class::Interactive, ANY, None).await);
            Pool::put(Wire::default(), slot, keeps.map(|keeps| second * keeps));
            clock.advance(second.mul_f64(f64::max(lasts + after, 0.0)));
            match pool.checkout(&key, Class::Interactive, ANY, None).await {
                Ok(Lease::One(..)) => assert!(kept, "{keeps:?} after {lasts} {after}"),
                Ok(Lease::Open(_)) => assert!(!kept || lasts == 0.0, "{keeps:?} after {lasts} {after}"),
                _ => panic!("neither"),
            }
        }
    }
}

#[tokio::test]
async fn who_may_not_be_sent_again_takes_no_connection_that_lay_long() {
    let (pool, key, clock) = pool(2, false);
    let second = Duration::from_secs(1);
    let slots =
        [opens(pool.checkout(&key, Class::Interactive, ANY, None).await), opens(pool.checkout(&key, Class::Interactive, ANY, None).await)];
    for (number, slot) in (1..).zip(slots) {
        Pool::put(Wire(number, Arc::default()), slot, None);
        clock.advance(second / 2);
    }
    let (young, slot) = uses(pool.checkout(&key, Class::Interactive, second, None).await);
    assert_eq!(young.0, 2);
    Pool::put(young, slot, None);
    clock.advance(second);
    let fresh = opens(pool.checkout(&key, Class::Interactive, second, None).await);
    assert_eq!((pool.idle(&key.text), pool.0.origins.lock()[&key.text].open), (1, 2), "the oldest made room");
    let (kept, slot) = uses(pool.checkout(&key, Class::Interactive, ANY, None).await);
    assert_eq!(kept.0, 2);
    // One who waits says it, too.
    let mut later = Box::pin(pool.checkout(&key, Class::Interactive, Duration::ZERO, None));
    assert!((&mut later).now_or_never().is_none());
    Pool::put(kept, slot, None);
    drop((opens(later.await), fresh));
    assert_eq!(pool.0.origins.lock()[&key.text].open, 0);
}

#[tokio::test]
async fn people_go_before_background_and_background_is_held_back() {
    let (pool, key, _) = pool(2, false);
    let night = opens(pool.checkout(&key, Class::Background, ANY, None).await);
    let mut more_night = Box::pin(pool.checkout(&key, Class::Background, ANY, None));
    assert!((&mut more_night).now_or_never().is_none(), "one is background's share");
    let mut person = opens(pool.checkout(&key, Class::Interactive, ANY, None).await);
    Pool::opened_one(&mut person);
    let mut second = Box::pin(pool.checkout(&key, Class::Interactive, ANY, None));
    assert!((&mut second).now_or_never().is_none());
    drop(night);
    let second = opens(second.await);
    assert!((&mut more_night).now_or_never().is_none(), "people were first");
    Pool::put(Wire(7, Arc::default()), person, None);
    let (used, slot) = uses(more_night.await);
    assert_eq!(used.0, 7);
    drop((slot, second));
    assert_eq!(pool.0.origins.lock()[&key.text].open, 0);
}

#[tokio::test]
async fn those_who_wait_for_an_opening_share_what_comes_of_it() {
    let (pool, key, _) = pool(6, true);
    let mut first = opens(pool.checkout(&key, Class::Interactive, ANY, None).await);
    let mut others: Vec<_> = (0..5).map(|_| Box::pin(pool.checkout(&key, Class::Interactive, ANY, None))).collect();
    assert!(others.iter_mut().all(|other| other.now_or_never().is_none()));
    let many = Wire(9, Arc::default());
    Pool::opened_many(&mut first, &many);
    let mut held = Vec::new();
    for other in others {
        let (used, slot) = uses(other.await);
        assert_eq!(used.0, 9);
        held.push(slot);
    }
    assert_eq!(pool.0.origins.lock()[&key.text].streams, 6);
    many.1.store(true, Ordering::Relaxed);
    drop((held, first));
    drop(opens(pool.checkout(&key, Class::Interactive, ANY, None).await));
}

#[tokio::test]
async fn those_who_wait_for_an_opening_share_its_failure_or_take_over() {
    let (pool, key, _) = pool(6, true);
    let first = opens(pool.checkout(&key, Class::Interactive, ANY, None).await);
    let mut other = Box::pin(pool.checkout(&key, Class::Interactive, ANY, None));
    assert!((&mut other).now_or_never().is_none());
    drop(first);
    let second = opens(other.await);
    let mut other = Box::pin(pool.checkout(&key, Class::Interactive, ANY, None));
    assert!((&mut other).now_or_never().is_none());
    Pool::failed(second, &Error::Refused("a.kz".into()));
    assert!(matches!(other.await, Err(Error::Refused(_))));
    let mut third = opens(pool.checkout(&key, Class::Interactive, ANY, None).await);
    Pool::opened_one(&mut third);
    drop(opens(pool.checkout(&key, Class::Interactive, ANY, None).await));
    pool.close();
    Pool::put(Wire::default(), third, None);
    assert_eq!(pool.0.origins.lock()[&key.text].open, 0);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_never_comes_is_an_error_and_one_who_left_is_skipped() {
    let (pool, key, _) = pool(1, false);
    let held = opens(pool.checkout(&key, Class::Interactive, ANY, None).await);
    let mut gone = Box::pin(pool.checkout(&key, Class::Interactive, ANY, None));
    assert!((&mut gone).now_or_never().is_none());
    assert!(matches!(pool.checkout(&key, Class::Interactive, ANY, None).await, Err(Error::Unavailable(..))));
    drop(gone);
    let mut next = Box::pin(pool.checkout(&key, Class::Interactive, ANY, None));
    assert!((&mut next).now_or_never().is_none());
    drop(held);
    drop(opens(next.await));
}

#[expect(clippy::unnecessary_wraps, reason = "it stands where nothing may stand, too")]
fn client(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([10, 0, 0, last]))
}

#[tokio::test]
async fn no_client_takes_a_whole_origin_and_who_is_over_his_share_is_passed_by() {
    let (pool, key, _) = pool(30, false);
    let mut greedy = Vec::new();
    let mut waiting = Vec::new();
    for _ in 0..30 {
        let mut turn = Box::pin(pool.checkout(&key, Class::Interactive, ANY, client(1)));
        match (&mut turn).now_or_never() {
            Some(grant) => greedy.push(opens(grant)),
            None => waiting.push(turn),
        }
    }
    assert_eq!(greedy.len(), 20, "two thirds are one client's at most");
    let others: Vec<_> = (2..=9)
        .map(|last| opens(pool.checkout(&key, Class::Interactive, ANY, client(last)).now_or_never().expect("a place for everybody else")))
        .collect();
    drop(others);
    // Whoever has no address is counted against nobody.
    let all: Vec<_> = (0..10).map(|_| opens(pool.checkout(&key, Class::Interactive, ANY, None).now_or_never().expect("a place"))).collect();
    assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
    let mut late = Box::pin(pool.checkout(&key, Class::Interactive, ANY, client(77)));
    assert!((&mut late).now_or_never().is_none(), "all are in use");
    // What the greedy one gives back goes to one behind him, while he is over his share.
    drop(greedy.pop());
    let late = opens(late.now_or_never().expect("the one who holds nothing is first"));
    assert!(waiting.iter_mut().all(|turn| turn.now_or_never().is_none()));
    drop((late, all));
    let mut served = 0;
    for turn in &mut waiting {
        served += usize::from(turn.now_or_never().is_some_and(|grant| grant.is_ok()));
    }
    assert!(served > 0, "what is free again is his, too");
}

#[tokio::test]
async fn one_client_has_so_many_requests_at_all_origins_together() {
    let (pool, _, _) = pool(1, false);
    let of = |number: usize| Key { text: format!("http://{number}.kz").into(), most: 30, may_share: false };
    let mut slots = Vec::new();
    for number in 0..EACH {
        slots.push(opens(pool.checkout(&of(number), Class::Interactive, ANY, client(1)).await));
    }
    assert!(matches!(pool.checkout(&of(EACH), Class::Interactive, ANY, client(1)).await, Err(Error::Crowded(_))));
    drop(opens(pool.checkout(&of(EACH), Class::Interactive, ANY, client(2)).await));
    drop(slots.pop());
    drop(opens(pool.checkout(&of(EACH), Class::Interactive, ANY, client(1)).await));
    drop(slots);
    // Those who wait for one origin.
    let key = of(0);
    let mut turns = Vec::new();
    for _ in 0..WAITING_EACH + 20 {
        turns.push(Box::pin(pool.checkout(&key, Class::Interactive, ANY, client(1))));
    }
    let mut kept = Vec::new();
    let mut refused = 0;
    for turn in &mut turns {
        match turn.now_or_never() {
            Some(Ok(lease)) => kept.push(lease),
            Some(Err(_)) => refused += 1,
            None => {}
        }
    }
    assert_eq!((kept.len(), refused), (20, 0), "20 have a connection and {WAITING_EACH} wait");
    let more = pool.checkout(&key, Class::Interactive, ANY, client(1)).await;
    assert!(matches!(more, Err(Error::Crowded(_))), "one more is one too many");
}

#[tokio::test]
async fn idle_connections_are_bounded_over_all_origins_and_the_oldest_go() {
    let (pool, _, clock) = pool(1, false);
    let of = |number: u32| Key { text: format!("http://{number}.kz").into(), most: 30, may_share: false };
    for number in 0..10 * u32::try_from(COUNT_AFTER).expect("small") {
        let mut slot = opens(pool.checkout(&of(number), Class::Interactive, ANY, None).await);
        Pool::opened_one(&mut slot);
        Pool::put(Wire(number, Arc::default()), slot, None);
        clock.advance(Duration::from_millis(1));
    }
    let idle: usize = pool.0.origins.lock().values().map(|origin| origin.idle.len()).sum();
    assert_eq!(idle, 100);
    assert!(matches!(pool.checkout(&of(0), Class::Interactive, ANY, None).await, Ok(Lease::Open(_))), "the oldest are gone");
    assert!(matches!(pool.checkout(&of(319), Class::Interactive, ANY, None).await, Ok(Lease::One(..))), "the newest are there");
    assert!(pool.0.origins.lock().values().all(|origin| origin.open >= origin.idle.len()));
}
