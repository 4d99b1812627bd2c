//! sled's folder damaged in every way, a few hundred times: the store opens, answers rightly, forgets a host wholly, and has an
//! index again.

use super::kit::{get, key, meta, put, text};
use crate::store::disk::record::roll;
use crate::store::tests::kit::open;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Cases in all, and the tests that share them.
const CASES: u64 = 240;
const SHARES: u64 = 4;
/// Answers in the store: every other one is of the host that is forgotten.
const ANSWERS: u64 = 24;

fn url(n: u64) -> String {
    format!("http://{}.kz/{n}", if n.is_multiple_of(2) { "keep" } else { "drop" })
}

/// A store with an index, closed; and its index as it was earlier, at half of it.
async fn fill(path: &Path, older: &Path) {
    let store = open(path);
    for n in 0..ANSWERS {
        put(&store, meta(&url(n)), &text(n, 300)).await.unwrap();
        if n == ANSWERS / 2 {
            store.close().await.unwrap();
            ready(&store).await;
            copy(&path.join("index"), older);
        }
    }
    store.close().await.unwrap();
}

async fn ready(store: &crate::store::Store) {
    for _ in 0..400 {
        if store.stat().index != "rebuilding" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the index is never ready");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            match fs::copy(entry.path(), target) {
                // sled may still be tidying up behind itself.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// Damages the index in the way of this case.
fn mangle(index: &Path, older: &Path, case: u64) -> &'static str {
    let all = files(index);
    let pick = |salt: u64| all[usize::try_from(roll(case, salt, 20)).unwrap_or(0) % all.len()].clone();
    let within = |length: u64, salt: u64| roll(case, salt, 21) % length.max(1);
    match case % 8 {
        0 => {
            let path = pick(1);
            let length = path.metadata().unwrap().len();
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(within(length, 2)).unwrap();
            "a file is truncated"
        }
        1 | 2 => {
            let path = pick(3);
            let mut bytes = fs::read(&path).unwrap();
            for n in 0..=within(20, 4) {
                let at = usize::try_from(within(bytes.len() as u64, 100 + n)).unwrap_or(0);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (n % 8);
                }
            }
            fs::write(&path, bytes).unwrap();
            "bits are flipped"
        }
        3 => {
            fs::remove_file(pick(5)).unwrap();
            "a file is gone"
        }
        4 => {
            fs::remove_dir_all(index).unwrap();
            copy(older, index);
            "an older copy"
        }
        5 => {
            // Some files of one time, and some of another.
            for path in files(older) {
                if within(2, path.to_string_lossy().len() as u64) == 0 {
                    fs::copy(&path, index.join(path.strip_prefix(older).unwrap())).unwrap();
                }
            }
            "old and new files"
        }
        6 => {
            fs::remove_dir_all(index).unwrap();
            match case % 3 {
                0 => fs::write(index, b"a file").unwrap(),
                1 => fs::create_dir(index).unwrap(),
                _ => {}
            }
            "a file for a folder, an empty one, or none"
        }
        _ => {
            let path = pick(6);
            let mut bytes = fs::read(&path).unwrap();
            let from = usize::try_from(within(bytes.len() as u64, 7)).unwrap_or(0);
            bytes[from..].fill(0);
            fs::write(&path, bytes).unwrap();
            "the end of a file is zero"
        }
    }
}

async fn share(which: u64) {
    let dir = tempfile::tempdir().unwrap();
    let (good, older) = (dir.path().join("good"), dir.path().join("older"));
    fill(&good, &older).await;
    for case in (which..CASES).step_by(usize::try_from(SHARES).unwrap_or(1)) {
        let path = dir.path().join(format!("case-{case}"));
        copy(&good, &path);
        if case % 5 == 0 {
            fs::create_dir_all(path.join("index.bad")).unwrap();
            fs::write(path.join("index.bad/db"), b"an earlier one").unwrap();
        }
        let how = mangle(&path.join("index"), &older, case);
        let store = open(&path);
        if case % 2 == 0 {
            ready(&store).await;
        }
        assert_eq!(get(&store, &url(0)).await.unwrap(), text(0, 300), "case {case}, {how}");
        assert_eq!(store.forget_host("drop.kz").await.unwrap(), ANSWERS / 2, "case {case}, {how}");
        for n in 0..ANSWERS {
            let found = get(&store, &url(n)).await;
            assert_eq!(found.as_deref(), n.is_multiple_of(2).then(|| text(n, 300)).as_deref(), "case {case}, {how}: {n}");
        }
        ready(&store).await;
        assert_eq!(store.stat().index, "ready", "case {case}, {how}");
        store.close().await.unwrap();
        drop(store);
        let store = open(&path);
        ready(&store).await;
        assert_eq!(store.stat().index, "ready", "case {case}, {how}: again");
        assert_eq!(store.forget_host("drop.kz").await.unwrap(), 0, "case {case}, {how}: again");
        assert!(store.may_have(&key(&url(0))));
        store.close().await.unwrap();
        drop(store);
        // The index's thread may still be ending within.
        let _ = fs::remove_dir_all(&path);
    }
}

shares! { a_mangled_index_is_made_anew_0 0 a_mangled_index_is_made_anew_1 1 a_mangled_index_is_made_anew_2 2 a_mangled_index_is_made_anew_3 3 }
