//! What a person purges stays away, figures are exact, and what is carried to another store arrives whole or not at all.

use super::kit::{get, key, meta, noise, open, open_on, put, settings, text, variant};
use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::digest::Digest;
use crate::base::unit::Bytes as Size;
use crate::life::Life;
use crate::store::bundle::{Orders, Selection};
use crate::store::disk::Real;
use crate::store::{By, Error, Meta, Settings, Source, Store, check};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

fn own(url: &str) -> Meta {
    Meta { source: Source::Pack, ..meta(url) }
}

fn id(error: &Error) -> &'static str {
    error.told().0
}

#[tokio::test]
async fn a_purge_beats_every_fetch_that_was_begun_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let body = text(1, 5000);
    for (n, what) in ["url", "host", "site", "object"].into_iter().enumerate() {
        let url = format!("http://sub.a{n}.kz/x");
        let other = format!("http://b{n}.kz/");
        let (mut draft, mut untouched) = (store.begin(None, None).unwrap(), store.begin(None, None).unwrap());
        draft.write(Bytes::from(body.clone())).await.unwrap();
        untouched.write(Bytes::from(noise(n as u64, 300))).await.unwrap();
        let asked = store.epoch();
        match what {
            "url" => store.forget(&key(&url), true).await.unwrap(),
            "host" => store.forget_host(&format!("sub.a{n}.kz")).await.unwrap(),
            "site" => store.forget_site(&format!("A{n}.kz")).await.unwrap(),
            _ => store.forget_object(&Digest::of(&body)).await.unwrap(),
        };
        let mut asked_before = store.begin(None, None).unwrap();
        asked_before.asked_in(asked);
        asked_before.write(Bytes::from(body.clone())).await.unwrap();
        for draft in [draft, asked_before] {
            assert!(matches!(draft.commit(meta(&url)).await, Err(Error::Purged)), "{what}");
        }
        if what != "object" {
            let part = store.put_part_of(asked, meta(&url), 100, (0, Bytes::from_static(b"abc")), || 0).await;
            assert!(matches!(part, Err(Error::Purged)), "{what}");
        }
        assert!(get(&store, &url).await.is_none(), "{what}");
        untouched.commit(meta(&other)).await.unwrap();
        assert!(get(&store, &other).await.is_some(), "{what}: others come in");
        put(&store, meta(&url), &body).await.unwrap();
        assert_eq!(get(&store, &url).await.unwrap(), body, "asked for anew it comes back");
        store.forget_object(&Digest::of(&body)).await.unwrap();
    }
}

#[tokio::test]
async fn a_purged_pack_takes_with_it_what_only_it_kept_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..3_u64 {
        let url = format!("http://p.kz/{n}");
        put(&store, own(&url), &noise(n, 400)).await.unwrap();
        store.pin("one", &key(&url)).await.unwrap();
    }
    put(&store, meta("http://q.kz/"), b"a device's").await.unwrap();
    store.pin("two", &key("http://p.kz/2")).await.unwrap();
    assert_eq!(store.forget_set("one", true).await.unwrap(), (3, 2));
    assert_eq!(store.stat().pinned_entries, 3, "a trial does nothing");
    assert_eq!(store.forget_set("one", false).await.unwrap(), (3, 2));
    drop(store);
    let store = open(dir.path());
    for (url, here) in [("http://p.kz/0", false), ("http://p.kz/1", false), ("http://p.kz/2", true), ("http://q.kz/", true)] {
        assert_eq!(get(&store, url).await.is_some(), here, "{url}");
    }
    assert_eq!((store.stat().pinned_entries, store.forget_set("one", false).await.unwrap()), (1, (0, 0)));
}

#[tokio::test]
async fn a_survey_counts_each_body_once_and_each_host_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (page, film) = (text(1, 20_000), noise(2, 2_000_000));
    for url in ["http://a.kz/1", "http://a.kz/2", "http://b.kz/1"] {
        put(&store, own(url), &page).await.unwrap();
    }
    put(&store, meta("http://b.kz/film"), &film).await.unwrap();
    put(&store, meta("http://c.kz/old"), &noise(3, 5000)).await.unwrap();
    store.forget(&key("http://c.kz/old"), true).await.unwrap();
    store.pin("lessons", &key("http://a.kz/1")).await.unwrap();
    store.put_part(meta("http://c.kz/part"), 1000, 0, Bytes::from(vec![1; 10])).await.unwrap();
    let whole = store.survey(None, |_, _| {}).await.unwrap();
    assert_eq!((whole.answers, whole.partial_answers, whole.objects), (5, 1, 2));
    assert_eq!((whole.raw_bytes, whole.decoded_bytes), (2_060_000, 2_020_000));
    assert_eq!(whole.spared.dedup_bytes, 40_000);
    assert!(whole.spared.zstd_bytes > 10_000 && whole.stored_bytes < 2_010_000, "{whole:?}");
    let stat = store.stat();
    assert_eq!(stat.objects, whole.objects);
    let near = |cheap: u64, exact: u64| cheap.abs_diff(exact) * 32 <= exact;
    assert!(near(stat.object_bytes, whole.decoded_bytes) && near(stat.entry_bytes, whole.raw_bytes), "as the cheap counters");
    let rows = async |by| store.survey(Some(by), |_, _| {}).await.unwrap().rows;
    let hosts: Vec<_> = rows(By::Host).await.into_iter().map(|row| (row.name, row.answers, row.objects, row.decoded_bytes)).collect();
    let wanted = [("b.kz", 2, 2, 2_020_000), ("a.kz", 2, 1, 20_000), ("c.kz", 1, 0, 0)].map(|row| (row.0.to_owned(), row.1, row.2, row.3));
    assert_eq!(hosts, wanted);
    let packs: Vec<_> = rows(By::Pack).await.into_iter().map(|row| (row.name, row.answers)).collect();
    assert_eq!(packs, [("(no pack)".to_owned(), 4), ("lessons".to_owned(), 1)]);
    assert_eq!(rows(By::Type).await[0].name, "text/html");
    let codecs = rows(By::Codec).await;
    assert_eq!(codecs.iter().map(|row| row.objects).collect::<Vec<_>>(), [1, 1, 0, 0, 0]);
    let open_ones = rows(By::Segment).await;
    store.close().await.unwrap();
    let sealed = rows(By::Segment).await;
    for (before, after) in open_ones.iter().zip(&sealed) {
        let (before, after) = (before.segment.as_ref().unwrap(), after.segment.as_ref().unwrap());
        assert_eq!((before.live_bytes, before.dead_bytes), (after.live_bytes, after.dead_bytes));
        assert!(after.sealed);
    }
    assert!(sealed.iter().any(|row| row.segment.as_ref().unwrap().dead_bytes > 5000), "what was forgotten is dead: {sealed:?}");
    drop(store);
    let before = listing(dir.path());
    let still = Store::open_still(settings(dir.path()), Clock::manual(Time::from_secs(2)), &Life::default(), &Metrics::default()).unwrap();
    assert_eq!(still.survey(None, |_, _| {}).await.unwrap().stored_bytes, whole.stored_bytes);
    assert!(put(&still, meta("http://x.kz/"), b"x").await.is_err());
    drop(still);
    assert_eq!(listing(dir.path()), before, "nothing was changed");
}

fn listing(path: &Path) -> Vec<(String, u64)> {
    let mut files: Vec<_> = std::fs::read_dir(path.join("seg")).unwrap().map(|file| file.unwrap()).collect();
    files.sort_by_key(std::fs::DirEntry::path);
    files.into_iter().map(|file| (file.path().display().to_string(), file.metadata().unwrap().len())).collect()
}

/// A store with a pack of pages, films and twins, and something that a device asked for.
async fn school(path: &Path) -> (Store, Vec<(String, Vec<u8>)>) {
    let store = open(path);
    let mut wanted = vec![
        ("http://p.kz/page".to_owned(), text(1, 30_000)),
        ("http://p.kz/twin".to_owned(), text(1, 30_000)),
        ("http://p.kz/book".to_owned(), text(2, 3_000_000)),
        ("http://p.kz/film".to_owned(), noise(3, 3_000_000)),
        ("http://p.kz/empty".to_owned(), Vec::new()),
        ("http://sub.p.kz/icon".to_owned(), noise(4, 70_000)),
    ];
    for (url, body) in &wanted {
        put(&store, own(url), body).await.unwrap();
        store.pin("lessons", &key(url)).await.unwrap();
    }
    put(&store, Meta { source: Source::Prefetch, ..meta("http://r.kz/") }, b"ahead").await.unwrap();
    put(&store, meta("http://diary.kz/9a"), b"what was read here").await.unwrap();
    wanted.sort();
    (store, wanted)
}

#[tokio::test]
async fn a_pack_arrives_whole_pinned_and_once() {
    let (dir, there, stick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, wanted) = school(dir.path()).await;
    let folder = stick.path().join("b");
    let what = Selection { pack: Some("lessons".into()), ..Selection::default() };
    let weighed = store.export(&folder, what.clone(), true, |_| {}).await.unwrap();
    assert!(!folder.exists(), "a trial writes nothing");
    let mut phases = Vec::new();
    let out = store.export(&folder, what.clone(), false, |step| phases.push(step.phase)).await.unwrap();
    assert_eq!((out.answers, out.objects, out.pins, out.browsed, out.damaged), (6, 5, 6, 0, 0));
    assert_eq!((weighed.answers, weighed.objects), (6, 5));
    phases.dedup();
    assert_eq!(phases, ["weighing", "writing", "hashing"]);
    assert_eq!(id(&store.export(&folder, what, false, |_| {}).await.unwrap_err()), "bundle.not_empty");
    let far = open(there.path());
    let trial = far.import(&folder, Orders { trial: true, ..Orders::default() }, |_| {}).await.unwrap();
    assert_eq!((trial.answers, trial.objects, trial.pins, far.stat().entries), (6, 5, 6, 0));
    let taken = far.import(&folder, Orders::default(), |_| {}).await.unwrap();
    assert_eq!((taken.answers, taken.objects, taken.pins, taken.damaged, taken.bytes), (6, 5, 6, 0, trial.bytes));
    let again = far.import(&folder, Orders::default(), |_| {}).await.unwrap();
    assert_eq!((again.answers, again.here, again.pins), (0, 6, 0));
    drop(far);
    let far = open(there.path());
    for (url, body) in &wanted {
        let entry = far.find(&key(url)).await.unwrap()[0].clone();
        assert!(entry.pinned && entry.meta.source == Source::Pack, "{url}");
        assert_eq!(get(&far, url).await.unwrap(), *body, "{url}");
    }
    assert_eq!((far.stat().entries, far.stat().objects), (6, 5));
}

#[tokio::test]
async fn what_a_pack_keeps_is_the_packs_whoever_asked_for_it_first() {
    let (dir, stick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, _) = school(dir.path()).await;
    store.pin("lessons", &key("http://diary.kz/9a")).await.unwrap();
    let what = Selection { pack: Some("lessons".into()), ..Selection::default() };
    let out = store.export(&stick.path().join("b"), what, false, |_| {}).await.unwrap();
    assert_eq!((out.answers, out.left_out, out.browsed), (7, 0, 0));
}

#[tokio::test]
async fn what_devices_asked_for_stays_here_unless_it_is_wanted() {
    let (dir, there, stick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, _) = school(dir.path()).await;
    let export = async |name: &str, what: Selection| store.export(&stick.path().join(name), what, false, |_| {}).await;
    let usual = export("own", Selection::default()).await.unwrap();
    assert_eq!((usual.answers, usual.left_out, usual.browsed, usual.pins), (7, 1, 0, 0));
    for file in std::fs::read_dir(stick.path().join("own")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(8).any(|part| part == b"diary.kz"), "a stick tells nothing of what was read here");
    }
    let diary = Selection { host: Some("diary.kz".into()), ..Selection::default() };
    assert_eq!(id(&export("none", diary.clone()).await.unwrap_err()), "bundle.empty");
    let all = export("all", Selection { browsed: true, ..diary }).await.unwrap();
    assert_eq!((all.answers, all.browsed), (1, 1));
    let site = export("site", Selection { host: Some("P.kz".into()), subdomains: true, ..Selection::default() }).await.unwrap();
    assert_eq!(site.answers, 6);
    let later = Selection { since: Some(1_800_000_001), ..Selection::default() };
    assert_eq!(id(&export("late", later).await.unwrap_err()), "bundle.empty");
    let far = open(there.path());
    assert_eq!(far.import(&stick.path().join("all"), Orders::default(), |_| {}).await.unwrap().browsed, 1);
}

#[tokio::test]
async fn newer_answers_here_stay_and_older_ones_are_replaced() {
    let (dir, there, stick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = stick.path().join("b");
    let store = open(dir.path());
    let at = |url: &str, secs: i64| Meta { received: Time::from_secs(secs), ..own(url) };
    put(&store, at("http://a.kz/", 100), b"middle").await.unwrap();
    put(&store, at("http://b.kz/", 100), b"middle").await.unwrap();
    put(&store, Meta { received: Time::from_secs(100), source: Source::Pack, ..variant("http://c.kz/", "kk") }, b"kk").await.unwrap();
    store.export(&folder, Selection::default(), false, |_| {}).await.unwrap();
    let far = open(there.path());
    put(&far, at("http://a.kz/", 200), b"newer").await.unwrap();
    put(&far, at("http://b.kz/", 50), b"older").await.unwrap();
    put(&far, Meta { received: Time::from_secs(300), ..variant("http://c.kz/", "ru") }, b"ru").await.unwrap();
    let taken = far.import(&folder, Orders::default(), |_| {}).await.unwrap();
    assert_eq!((taken.answers, taken.older), (2, 1));
    assert_eq!(get(&far, "http://a.kz/").await.unwrap(), "newer");
    assert_eq!(get(&far, "http://b.kz/").await.unwrap(), "middle");
    assert_eq!(far.find(&key("http://c.kz/")).await.unwrap().len(), 2, "variants stand beside each other");
}

#[tokio::test]
async fn one_flipped_byte_anywhere_and_nothing_is_taken_in() {
    let (dir, there, stick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = stick.path().join("b");
    let store = open(dir.path());
    put(&store, own("http://a.kz/"), &text(1, 3000)).await.unwrap();
    store.export(&folder, Selection::default(), false, |_| {}).await.unwrap();
    let far = open(there.path());
    let segment = folder.join("00000001.seg");
    let good = std::fs::read(&segment).unwrap();
    for at in (0..good.len()).step_by(97) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&segment, &bad).unwrap();
        let error = far.import(&folder, Orders::default(), |_| {}).await.unwrap_err();
        assert!(id(&error) == "bundle.damaged" && error.to_string().contains("00000001.seg"), "byte {at}: {error}");
    }
    for (name, break_it) in [("cut", &good[..good.len() - 1]), ("none", &good[..0])] {
        std::fs::write(&segment, break_it).unwrap();
        assert_eq!(id(&far.import(&folder, Orders::default(), |_| {}).await.unwrap_err()), "bundle.damaged", "{name}");
    }
    std::fs::remove_file(&segment).unwrap();
    assert_eq!(id(&far.import(&folder, Orders::default(), |_| {}).await.unwrap_err()), "bundle.damaged");
    std::fs::write(&segment, &good).unwrap();
    let manifest = std::fs::read(folder.join("MANIFEST")).unwrap();
    for at in 0..manifest.len() {
        let mut bad = manifest.clone();
        bad[at] ^= 1;
        std::fs::write(folder.join("MANIFEST"), &bad).unwrap();
        // What is told for people alone may differ; what is taken in never does.
        if far.import(&folder, Orders::default(), |_| {}).await.is_ok() {
            assert_eq!(get(&far, "http://a.kz/").await.unwrap(), text(1, 3000), "byte {at}");
            far.forget_host("a.kz").await.unwrap();
        }
        let checked = Orders { manifest: Some(Digest::of(&manifest).to_string()), ..Orders::default() };
        assert_eq!(id(&far.import(&folder, checked, |_| {}).await.unwrap_err()), "bundle.changed");
        assert_eq!(far.stat().entries, 0);
    }
    std::fs::remove_file(folder.join("MANIFEST")).unwrap();
    assert_eq!(id(&far.import(&folder, Orders::default(), |_| {}).await.unwrap_err()), "bundle.none");
    assert_eq!(id(&far.import(Path::new("b"), Orders::default(), |_| {}).await.unwrap_err()), "bundle.relative");
}

#[tokio::test]
async fn an_import_that_was_broken_off_goes_on_and_one_too_large_says_what_is_missing() {
    let (dir, there, stick) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, wanted) = school(dir.path()).await;
    let folder = stick.path().join("b");
    store.export(&folder, Selection::default(), false, |_| {}).await.unwrap();
    let small = Settings { quota: Size::mib(3), ..settings(&there.path().join("small")) };
    let small = open_on(Arc::new(Real), small).unwrap();
    let error = small.import(&folder, Orders::default(), |_| {}).await.unwrap_err();
    assert!(id(&error) == "store.full" && error.to_string().contains("are missing"), "{error}");
    assert_eq!(small.stat().entries, 0);
    let path = there.path().join("far");
    let far = open(&path);
    {
        let taken = std::sync::atomic::AtomicUsize::new(0);
        let count = |step: crate::store::bundle::Step| {
            taken.fetch_add(usize::from(step.phase == "taking in"), std::sync::atomic::Ordering::Relaxed);
        };
        let import = far.import(&folder, Orders::default(), count);
        tokio::pin!(import);
        // Dropped in the middle, as when the node ends.
        while taken.load(std::sync::atomic::Ordering::Relaxed) < 3 {
            tokio::select! {
                biased;
                done = &mut import => { done.unwrap(); break }
                () = tokio::task::yield_now() => {}
            }
        }
    }
    for (url, body) in &wanted {
        assert!(get(&far, url).await.is_none_or(|got| got == *body), "{url}: whole or not at all");
    }
    let rest = far.import(&folder, Orders::default(), |_| {}).await.unwrap();
    assert_eq!(rest.answers + rest.here, 7);
    for (url, body) in &wanted {
        assert_eq!(get(&far, url).await.unwrap(), *body, "{url}");
    }
}

#[tokio::test]
async fn a_check_tells_whole_packs_from_those_with_holes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = school(dir.path()).await;
    put(&store, own("http://p.kz/page"), &text(9, 900)).await.unwrap();
    store.pin("gone", &key("http://p.kz/film")).await.unwrap();
    store.unpin("gone", None).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let look = |deep, repair| check(dir.path(), deep, repair, |_, _| {}).unwrap();
    for deep in [false, true] {
        let clean = look(deep, false);
        assert_eq!((clean.repaired, clean.lost, clean.incomplete.len(), clean.gone), (vec![], vec![], 0, 0), "deep: {deep}");
    }
    // A segment of one film is lost.
    let film = listing(dir.path()).into_iter().max_by_key(|file| file.1).unwrap().0;
    std::fs::rename(&film, dir.path().join("film")).unwrap();
    let told = look(false, false);
    assert_eq!((told.gone, told.lost.len()), (1, 0), "{told:?}");
    assert_eq!(told.incomplete.into_iter().collect::<Vec<_>>(), [("lessons".to_owned(), vec!["http://p.kz/film".to_owned()])]);
    std::fs::rename(dir.path().join("film"), &film).unwrap();

    // Padding, headers, an index of another day, and a stranger.
    let segment = dir.path().join("seg/00000001.seg");
    let good = std::fs::read(&segment).unwrap();
    let stray = padding_of(&good);
    let mut bad = good.clone();
    bad[stray] = 7;
    bad[3] ^= 1;
    std::fs::write(&segment, &bad).unwrap();
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    std::fs::write(dir.path().join("index"), b"a file where a folder should be").unwrap();
    let other = tempfile::tempdir().unwrap();
    let stranger = open(other.path());
    put(&stranger, meta("http://s.kz/"), b"stranger").await.unwrap();
    stranger.close().await.unwrap();
    drop(stranger);
    let foreign = dir.path().join("seg/00000077.seg");
    std::fs::copy(other.path().join("seg/00000001.seg"), &foreign).unwrap();
    let told = look(true, false);
    assert!(told.lost.is_empty() && told.incomplete.is_empty(), "{told:?}");
    assert!(told.foreign[0].contains("00000077.seg belongs to another store; move it out"), "{told:?}");
    let wrong = told.repaired.join("\n");
    assert!(wrong.contains("stray bytes") && wrong.contains("damaged header") && wrong.contains("index"), "{wrong}");
    look(true, true);
    let mended = look(true, false);
    assert!(mended.repaired.is_empty() && mended.lost.is_empty() && mended.foreign.len() == 1, "{mended:?}");
    assert_eq!(std::fs::read(&foreign).unwrap(), std::fs::read(other.path().join("seg/00000001.seg")).unwrap(), "untouched");
}

/// A padding byte between two records: the first zero behind a META's payload.
fn padding_of(segment: &[u8]) -> usize {
    let starts = |at: &usize| segment[*at..].starts_with(&segment[64..68]);
    (72..segment.len() - 4).step_by(8).filter(starts).map(|at| at - 1).find(|at| segment[*at] == 0 && *at > 200).unwrap()
}
