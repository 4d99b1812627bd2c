//! The outbox on a real database.

use super::*;

const NOW: Time = Time::from_secs(1_795_478_400);

const HOUR: Label<'static> = Label { kind: "hour", made: NOW, blind: false };

async fn add(outbox: &Outbox, size: usize) -> (i64, i64) {
    let seal = |_, seq| Ok(Sealed::plain(vec![u8::try_from(seq % 256).expect("small"); size]));
    outbox.add(7, HOUR, NOW, seal).await.expect("adds")
}

#[tokio::test]
async fn numbers_go_on_after_reopening() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("state.sqlite");
    let state = State::open(Some(&file)).await.expect("opens");
    assert_eq!(add(&state.outbox(), 10).await, (7, 1));
    assert_eq!(add(&state.outbox(), 10).await, (7, 2));
    let failed = state.outbox().add(7, HOUR, NOW, |_, _| Err(Error::Database(sqlx::Error::RowNotFound))).await;
    assert!(failed.is_err());
    // Not closed: the write-ahead log is all there is, as after a power cut.
    let again = State::open(Some(&file)).await.expect("opens again");
    let outbox = again.outbox();
    assert_eq!(add(&outbox, 10).await, (7, 3), "a failed record uses no number");
    let waiting: Vec<i64> = outbox.batch(10, 1_000).await.expect("reads").into_iter().map(|record| record.seq).collect();
    assert_eq!(waiting, [1, 2, 3]);
    assert_eq!(outbox.ended().await.expect("reads"), Some(NOW));
}

#[tokio::test]
async fn batches_are_bounded_and_what_is_delivered_or_parked_is_not_sent_again() {
    let state = State::open(None).await.expect("opens");
    let outbox = state.outbox();
    for _ in 0..5 {
        add(&outbox, 96).await;
    }
    let numbers = async |records, bytes| -> Vec<i64> {
        outbox.batch(records, bytes).await.expect("reads").into_iter().map(|record| record.seq).collect()
    };
    assert_eq!(numbers(2, 1_000).await, [1, 2]);
    assert_eq!(numbers(10, 300).await, [1, 2, 3]);
    assert_eq!(numbers(10, 1).await, [1], "at least one");
    outbox.delivered(7, &[1, 3]).await.expect("forgets");
    outbox.park(7, 2, "schema").await.expect("parks");
    assert_eq!(numbers(10, 1_000).await, [4, 5]);
    let count = outbox.count().await.expect("counts");
    assert_eq!((count.waiting, count.waiting_bytes, count.parked, count.delivered, count.seq), (2, 192, 1, 2, 5));
    assert_eq!(outbox.parked().await.expect("reads"), [Parked { epoch: 7, seq: 2, why: "schema".into() }]);
}

#[tokio::test]
async fn a_full_outbox_drops_the_oldest_and_says_so() {
    let state = State::open(None).await.expect("opens");
    let outbox = state.outbox();
    for _ in 0..5 {
        add(&outbox, 16 << 20).await;
    }
    let waiting: Vec<i64> = outbox.batch(10, usize::MAX).await.expect("reads").into_iter().map(|record| record.seq).collect();
    assert_eq!(waiting, [2, 3, 4, 5]);
    assert_eq!(outbox.count().await.expect("counts").dropped, 1);
}

#[tokio::test]
async fn a_restored_box_numbers_anew_in_a_later_epoch() {
    let state = State::open(None).await.expect("opens");
    let outbox = state.outbox();
    for _ in 0..3 {
        add(&outbox, 4).await;
    }
    outbox.delivered(7, &[1]).await.expect("forgets");
    let seal = |old: &Sealed, epoch: i64, seq: i64| Ok(Sealed::plain(format!("{}-{epoch}-{seq}", old.bytes[0]).into_bytes()));
    assert_eq!(outbox.begin_epoch(5, seal).await.expect("renumbers"), 2);
    let waiting = outbox.batch(10, 1_000).await.expect("reads");
    let told: Vec<(i64, i64, &[u8])> = waiting.iter().map(|record| (record.epoch, record.seq, record.sealed.bytes.as_slice())).collect();
    assert_eq!(told, [(8, 1, b"2-8-1".as_slice()), (8, 2, b"3-8-2".as_slice())]);
    assert_eq!(add(&outbox, 4).await, (8, 3));
}

#[tokio::test]
async fn pings_make_room_before_hours_and_hours_before_tests() {
    let state = State::open(None).await.expect("opens");
    let outbox = state.outbox();
    let lot = async |kind: &'static str, count: usize| {
        let labels = vec![Label { kind, ..HOUR }; count];
        let from = outbox.cursor(kind).await.expect("reads");
        outbox.add_lot(7, (from, from + 1), kind, &labels, |_, _, _| Ok(Sealed::plain(vec![0; 10]))).await.expect("adds")
    };
    let half = usize::try_from(MOST_RECORDS / 2).expect("small");
    assert_eq!(lot("speedtest", 5).await, 5);
    assert_eq!(lot("ping", half).await, half);
    for _ in 0..3 {
        add(&outbox, 10).await;
    }
    assert_eq!(lot("ping", half).await, half);
    let kinds = async || -> Vec<(String, i64)> {
        let rows = sqlx::query_as("SELECT kind, count(*) FROM outbox GROUP BY kind ORDER BY kind");
        rows.fetch_all(&outbox.0).await.expect("reads")
    };
    let wanted = |hours: i64, tests: i64| {
        let rows = [("hour", hours), ("ping", MOST_RECORDS - hours - tests), ("speedtest", tests)];
        rows.into_iter().filter(|(_, count)| *count > 0).map(|(kind, count)| (kind.to_owned(), count)).collect::<Vec<_>>()
    };
    assert_eq!(kinds().await, wanted(3, 5), "8 pings made room");
    // All that is left of pings, then hours.
    let all = usize::try_from(MOST_RECORDS).expect("small");
    lot("speedtest", all - 7).await;
    assert_eq!(kinds().await, [("hour".to_owned(), 2), ("speedtest".to_owned(), MOST_RECORDS - 2)], "the oldest hour has gone");
    let sum: (i64, i64) = sqlx::query_as("SELECT records, bytes FROM outbox_sum").fetch_one(&outbox.0).await.expect("reads");
    assert_eq!(sum, (MOST_RECORDS, 10 * MOST_RECORDS));
}

#[tokio::test]
async fn a_lot_and_its_cursor_are_kept_together_or_not_at_all() {
    let state = State::open(None).await.expect("opens");
    let outbox = state.outbox();
    let labels = [Label { kind: "ping", ..HOUR }; 3];
    let fails = |at: usize, _, _| if at == 2 { Err(Error::Refused("no".into())) } else { Ok(Sealed::plain(vec![1])) };
    assert!(outbox.add_lot(7, (0, 9), "ping", &labels, fails).await.is_err());
    assert_eq!((outbox.cursor("ping").await.expect("reads"), outbox.count().await.expect("counts").seq), (0, 0));
    let seal = |_, _, seq: i64| Ok(Sealed::plain(vec![u8::try_from(seq).expect("small")]));
    assert_eq!(outbox.add_lot(7, (0, 9), "ping", &labels, seal).await.expect("adds"), 3);
    assert_eq!(outbox.add_lot(7, (0, 9), "ping", &labels, seal).await.expect("not twice"), 0);
    assert_eq!(outbox.cursor("ping").await.expect("reads"), 9);
    let waiting = outbox.batch(9, 99).await.expect("reads");
    assert_eq!(waiting.iter().map(|record| (record.seq, record.sealed.bytes[0])).collect::<Vec<_>>(), [(1, 1), (2, 2), (3, 3)]);
    // Hours reach where they did.
    assert_eq!(outbox.ended().await.expect("reads"), None);
    add(&outbox, 4).await;
    assert_eq!(outbox.ended().await.expect("reads"), Some(NOW));
}

#[tokio::test]
async fn only_what_was_dated_blindly_and_not_sent_is_dated_anew() {
    let state = State::open(None).await.expect("opens");
    let outbox = state.outbox();
    for (blind, byte) in [(true, 1_u8), (true, 2), (false, 3), (true, 4)] {
        outbox.add(7, Label { blind, ..HOUR }, NOW, move |_, _| Ok(Sealed::plain(vec![byte]))).await.expect("adds");
    }
    outbox.try_until(7, 1).await.expect("marks");
    let later = |time: Time| time.plus(std::time::Duration::from_secs(60));
    let anew = |old: &Sealed| Ok((old.bytes[0] != 4).then(|| Sealed::plain(vec![old.bytes[0], 9])));
    assert_eq!(outbox.redate(later, anew).await.expect("dates"), 1);
    let bytes: Vec<Vec<u8>> = outbox.batch(9, 99).await.expect("reads").into_iter().map(|record| record.sealed.bytes).collect();
    assert_eq!(bytes, [vec![1], vec![2, 9], vec![3], vec![4]]);
    assert_eq!(outbox.ended().await.expect("reads"), Some(later(NOW)));
}
