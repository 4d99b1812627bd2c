//! Plans as tables: what is known, what is reckoned, what is left out.

use super::*;
use crate::prefetch::plan::findings::{Pace, Stratum};
use crate::prefetch::plan::guess::Sample;

const NOW: Time = Time::from_secs(1_800_000_000);

fn given(count: Count, learned: &Learned) -> Given<'_> {
    let road = Road { rate: Some(1_012_500.0), wait: 0.2, measured: true, transfers: 4.0, connections: 2.0 };
    Given {
        count,
        under_way: false,
        transferred: 0,
        failed: false,
        seeds: 3,
        max_bytes: u64::MAX,
        sites: &|_| None,
        findings: None,
        learned,
        anew: false,
        road,
        window: None,
        now: NOW,
        left: None,
        room: None,
    }
}

fn count(total: u64, ended: u64, done: u64, done_bytes: u64, known: u64, known_bytes: u64) -> Count {
    Count { total, ended, done, done_bytes, known, known_bytes, ..Count::default() }
}

#[test]
fn without_a_survey() {
    let learned = Learned { change: Some(0.1), ..Learned::default() };
    let table = [
        ("nothing fetched", count(0, 0, 0, 0, 0, 0), false, (3, 1000, Basis::Cap, true)),
        ("a finished run", count(9, 9, 8, 800, 0, 0), false, (9, 80, Basis::Learned, true)),
        ("half way, the rest known", count(4, 2, 2, 200, 2, 300), true, (2, 300, Basis::LastRun, false)),
        ("half way, the rest unknown", count(4, 2, 2, 200, 0, 0), true, (2, 200, Basis::Sampled, true)),
        ("the cap holds", count(40, 2, 2, 200, 0, 0), true, (38, 800, Basis::Sampled, false)),
        ("begun, nothing done", count(2, 0, 0, 0, 0, 0), true, (2, 1000, Basis::Cap, true)),
    ];
    for (name, count, under_way, wanted) in table {
        let plan = plan(&Given { under_way, max_bytes: 1000, ..given(count, &learned) });
        assert_eq!((plan.wishes.value, plan.bytes.value, plan.basis, plan.bytes.guess), wanted, "{name}");
    }
    let failed = plan(&Given { failed: true, ..given(Count { failed: 2, ..count(9, 9, 7, 700, 0, 0) }, &learned) });
    assert_eq!((failed.night, failed.wishes.value, failed.bytes.value), (Which::Failed, 2, 200));
    assert!(failed.bytes.guess, "{failed:?}");
}

/// A thousand pages on a host with manners, of which ten were asked about; and a film that is known.
fn found() -> Findings {
    let mut seen = Sample::default();
    (0..10).for_each(|n| seen.add(90_000 + n % 5 * 5000));
    let pages = Stratum { host: "a.kz".into(), known: 1000, asked: 10, coming: 1_000_000, lengths: 1_000_000, seen, ..Stratum::default() };
    let film = Stratum {
        host: "b.kz".into(),
        sort: Sort::Media,
        known: 1,
        asked: 1,
        coming: 500_000_000,
        lengths: 500_000_000,
        ..Stratum::default()
    };
    let paces = vec![Pace { host: "a.kz".into(), pause: 1.0 }];
    Findings { run: 1, digest: "d".into(), first: true, strata: vec![pages, film], paces, ..Findings::default() }
}

#[test]
fn with_one() {
    let (learned, found) = (Learned::default(), found());
    let base = Given { findings: Some(&found), ..given(Count::default(), &learned) };
    let good = plan(&Given { window: Some((None, NOW.plus(Duration::from_hours(9)))), ..base.clone() });
    assert_eq!((good.night, good.wishes, good.bytes.value), (Which::First, Figure::known(1001), 600_000_000));
    assert!(good.bytes.guess && good.bytes.low > 590_000_000 && good.bytes.high < 612_000_000, "{:?}", good.bytes);
    assert_eq!((good.basis, good.parts[0].host.as_str(), good.parts[0].basis), (Basis::Known, "b.kz", Basis::Known));
    // One page a second takes longer than the line.
    assert_eq!((good.seconds.expect("a rate").value, good.fits), (999, Some(true)));
    assert!(
        good.sentence.starts_with("~600.0 MB (")
            && good.sentence.contains("~17 min (")
            && good.sentence.ends_with("fits before the window closes"),
        "{}",
        good.sentence
    );
    // No time, no place, no bytes left.
    let tight = plan(&Given {
        window: Some((None, NOW.plus(Duration::from_secs(500)))),
        max_bytes: 400_000_000,
        left: Some((100_000_000, "night_cap")),
        room: Some(50_000_000),
        ..base.clone()
    });
    let left: Vec<&str> = tight.left_out.iter().map(|one| one.why.as_str()).collect();
    assert_eq!((tight.bytes.value, tight.fits, left.len()), (400_000_000, Some(false), 4), "{left:?}");
    for (word, later) in [("scope.max_bytes", false), ("store.pinned_share", false), ("the window closes", true), ("night.night_cap", true)]
    {
        assert!(tight.left_out.iter().any(|one| one.why.contains(word) && one.later == later), "{word}: {left:?}");
    }
    let site = |host: &str| (host == "b.kz").then(|| (String::from("b.kz"), 1_000_000));
    let small = plan(&Given { sites: &site, ..base });
    assert!(small.bytes.value < 110_000_000 && small.left_out[0].why.contains("scope.sites"), "{small:?}");
}

#[test]
fn half_of_what_was_foreseen() {
    let (learned, found) = (Learned::default(), found());
    let half = count(600, 501, 501, 300_000_000, 10, 1_000_000);
    let plan = plan(&Given { under_way: true, transferred: 300_000_000, findings: Some(&found), ..given(half, &learned) });
    assert_eq!((plan.night, plan.wishes.value, plan.bytes.value), (Which::UnderWay, 500, 300_000_000));
    assert_eq!(plan.holds.value, 600_000_000);
}

#[test]
fn what_is_left_out_is_told_with_how_many() {
    let mut found = found();
    found.strata[0].forbidden = 2;
    found.left_out.push((String::from("the film is encrypted"), 1));
    let plan = plan(&Given { findings: Some(&found), ..given(Count::default(), &Learned::default()) });
    let told: Vec<(&str, u64, bool)> = plan
        .left_out
        .iter()
        .map(|one| (one.why.as_str(), one.wishes.expect("a number").value, one.wishes.expect("a number").guess))
        .collect();
    assert_eq!(told, [("pages on a.kz: robots.txt forbids them", 200, true), ("the film is encrypted", 1, false)]);
}

#[test]
fn a_guess_is_shown_as_one() {
    let figure = Figure { value: 12_400_000_000, guess: true, low: 10_100_000_000, high: 14_800_000_000 };
    assert_eq!(figure.told(|bytes| Bytes(bytes).human()), "~12.4 GB (10.1 GB to 14.8 GB)");
    assert_eq!(Figure::known(2_000).told(|bytes| Bytes(bytes).human()), "2.0 kB");
    let json = serde_json::to_value(figure).expect("JSON");
    assert_eq!((&json["guess"], &json["low"]), (&true.into(), &10_100_000_000_u64.into()));
    assert_eq!([40, 99, 100, 7500].map(|secs| clock(Duration::from_secs(secs))), ["40 s", "99 s", "2 min", "2 h 05 min"]);
}

#[test]
fn a_list_that_could_not_be_read_leaves_everything_open() {
    let learned = Learned::default();
    let list = Stratum { host: "a.kz".into(), sort: Sort::List, known: 1, silent: 1, ..Stratum::default() };
    let blind = Findings { first: true, strata: vec![list], unread: 1, ..Findings::default() };
    let none = plan(&Given { findings: Some(&blind), max_bytes: 1000, ..given(Count::default(), &learned) });
    assert_eq!((none.basis, none.bytes.value, none.bytes.guess, none.fits), (Basis::Cap, 1000, true, None));
    let some = Findings { unread: 1, ..found() };
    let some = plan(&Given { findings: Some(&some), max_bytes: 1_000_000_000_000, ..given(Count::default(), &learned) });
    assert_eq!((some.bytes.value, some.bytes.high), (600_000_000, 1_000_000_000_000));
}
