//! An index that is made anew, fails, is late, or is none.

use super::*;

#[test]
fn what_is_put_in_is_found_by_host() {
    let dir = tempfile::tempdir().unwrap();
    let index = Sled::open(&dir.path().join("index"), 1 << 20).unwrap();
    let at = |n: u32| Place { segment: n, at: 64 };
    let change = |n: u32| Change { host: u64::from(1 + n % 2), place: at(n) };
    index.apply(&[change(1), change(2), change(3)], 5).unwrap();
    index.apply(&[change(4)], 6).unwrap();
    assert_eq!((index.all().unwrap().len(), index.mark().unwrap(), index.held().unwrap()), (4, Some(6), 4));
    assert_eq!(index.places(1).unwrap(), [at(2), at(4)]);
    assert_eq!(index.places(3).unwrap(), []);
}

fn wait_for(what: impl Fn() -> bool) {
    for _ in 0..24_000 {
        if what() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it did not happen within two minutes");
}

#[test]
fn one_that_holds_mostly_what_is_gone_is_made_anew() {
    const MOST: u64 = 50;
    let dir = tempfile::tempdir().unwrap();
    let replays = Arc::new(Mutex::new(0));
    let count = Arc::clone(&replays);
    // Two are alive, whatever was told.
    let replay: Replay = Box::new(move |_, each| {
        *count.lock() += 1;
        for segment in [8, 9] {
            each(Change { host: 1, place: Place { segment, at: 64 } });
        }
    });
    let limit: Limit = Box::new(|| Extent { changes: MOST, bytes: u64::MAX });
    let keeper = Keeper::start(dir.path().join("index"), 1 << 20, replay, limit);
    wait_for(|| keeper.mood() == Mood::Ready);
    let told = |n: u64| {
        for at in 0..n {
            keeper.push(Change { host: 2, place: Place { segment: 3, at: 64 * (1 + at) } });
        }
        keeper.complete(2, &[]).expect("a ready index that lacks nothing").len() as u64
    };
    assert_eq!(told(MOST - 2), MOST - 2, "as many as it may hold");
    assert_eq!(*replays.lock(), 1);
    keeper.push(Change { host: 2, place: Place { segment: 4, at: 64 } });
    wait_for(|| *replays.lock() == 2 && keeper.mood() == Mood::Ready);
    assert_eq!((keeper.complete(2, &[]).unwrap(), keeper.complete(1, &[]).unwrap().len(), keeper.held()), (Vec::new(), 2, 2));
    keeper.stop();
}

#[test]
fn an_index_that_has_grown_is_made_anew_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    drop(Sled::open(&path, 1 << 20).unwrap());
    std::fs::write(path.join("grown"), vec![1; 3 << 20]).unwrap();
    let replays = Arc::new(Mutex::new(0));
    let count = Arc::clone(&replays);
    let replay: Replay = Box::new(move |_, each| {
        *count.lock() += 1;
        each(Change { host: 1, place: Place { segment: 3, at: 64 } });
    });
    // Even a new one is larger than that.
    let keeper = Keeper::start(path.clone(), 1 << 20, replay, Box::new(|| Extent { changes: u64::MAX, bytes: 1 }));
    wait_for(|| *replays.lock() == 2 && keeper.mood() == Mood::Ready);
    assert!(!path.join("grown").exists());
    assert!(path.with_extension("bad").join("grown").exists());
    assert_eq!(keeper.complete(1, &[]).unwrap(), [Place { segment: 3, at: 64 }]);
    keeper.stop();
    assert_eq!(*replays.lock(), 2);
    let may = |entries, quota| (limit(entries, quota).changes, limit(entries, quota).bytes);
    assert_eq!(may(0, 1 << 40), (SLACK, LEAST));
    assert_eq!(may(1 << 20, 1 << 40), ((3 << 20) + SLACK, 192 << 20));
    assert_eq!(may(1 << 20, 1 << 30).1, (1 << 30) / 50);
}

#[test]
fn a_panic_and_an_error_while_it_is_filled_set_it_aside_and_at_last_turn_it_off() {
    for panics in [1, 5] {
        let dir = tempfile::tempdir().unwrap();
        let left = Mutex::new(panics);
        let replay: Replay = Box::new(move |_, _| {
            let mut left = left.lock();
            *left -= 1;
            assert!(*left < 0, "as sled may");
        });
        let keeper = Keeper::start(dir.path().join("index"), 1 << 20, replay, Box::new(|| limit(0, 1 << 40)));
        wait_for(|| keeper.mood() != Mood::Rebuilding);
        assert_eq!(keeper.mood(), if panics == 1 { Mood::Ready } else { Mood::Off });
        assert!(dir.path().join("index.bad").exists());
        keeper.push(Change { host: 1, place: Place { segment: 3, at: 64 } });
        assert_eq!(keeper.complete(1, &[]).is_some(), panics == 1);
        keeper.stop();
    }
}

#[test]
fn one_that_does_not_open_in_time_is_an_error() {
    let late = guarded(Duration::from_millis(20), || {
        std::thread::sleep(Duration::from_millis(200));
        Err(String::from("nobody hears this"))
    });
    assert!(late.is_err_and(|why| why.contains("not open after")));
    assert!(guarded(DEADLINE, || panic!("as sled may")).is_err_and(|why| why.contains("as sled may")));
}

#[test]
fn a_folder_of_garbage_is_an_error_and_not_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    std::fs::write(&path, b"a file where a folder should be").unwrap();
    assert!(open_guarded(&path, 1 << 20).is_err());
    set_aside(&path);
    assert!(open_guarded(&path, 1 << 20).is_ok());
}
