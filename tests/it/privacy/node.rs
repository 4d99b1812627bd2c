//! The walk through a real node: by every lane, alone and at once, with the line up and down, over a restart; then the search of
//! everything that is left behind.

use super::lanes::{AGENT, Lanes, address};
use super::walk::{self, Dice, HOSTS, PACK, Step, Way};
use super::{on_disk, pupils};
use crate::kit;
use crate::kit::class::{authority, listing};
use crate::kit::diary::{By, PLACES, Place, Pupil, Secured, holds, says};
use crate::kit::line::Line;
use crate::kit::node::{Hub, Node, Setup};
use crate::kit::origin::{Ask, Origin, Reply};
use crate::kit::tls::{Fault, Key, Tls};
use crate::offline::{cut, quick};
use std::fs;
use std::path::Path;

/// A school: diaries in the plain and behind TLS, a line, a node.
struct School {
    pupils: Vec<Pupil>,
    plain: Origin,
    secured: Secured,
    line: Line,
    secure_line: Line,
    tls: Tls,
    node: Node,
}

impl School {
    fn start(seed: u64, change: impl FnOnce(Setup, &Path) -> Setup) -> School {
        let pupils = pupils(seed);
        let mut tls = Tls::new("Root of the diaries");
        let names = HOSTS.map(|(name, _)| name);
        let pair = tls.server("diary", &names, Key::Ec, Fault::None);
        let known = pupils.clone();
        let plain = Origin::start(move |ask: &Ask| Reply::Bytes(says(&known, ask)));
        let secured = Secured::start(pupils.clone(), &pair.certificate, &pair.key);
        let (line, secure_line) = (Line::to(plain.addr), Line::to(secured.addr));
        let mut setup = quick(Setup::new())
            .root(&tls.root())
            .host("s.school.test", line.addr)
            .set("intercept.refused", "[\"refused.school.test\"]")
            .set("mirror.listen", "[\"127.0.0.1:0\"]")
            .set("night.windows", "[\"mon-sun 00:00-24:00\"]");
        for name in names {
            setup = setup.host(name, line.addr).secure_host(name, secure_line.addr);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let setup = kit::pack::publish(change(setup, folder.path()), folder.path(), "diary", PACK);
        School { pupils, plain, secured, line, secure_line, tls, node: setup.start_in(folder) }
    }

    fn lanes(&self) -> Lanes {
        let ca = self.node.folder.path().join("state/ca/ca.pem");
        let roots: Vec<_> = std::iter::once(self.tls.root()).chain(ca.exists().then_some(ca)).collect();
        let mirror = self.node.local("GET", "/api/v1/status")["mirror"][0].as_str().expect("a mirror").parse().expect("an address");
        Lanes::through(self.node.proxy, mirror, &roots)
    }

    /// Walks, once in so many steps by https, and of the others one in four by the mirror; what leaked, and how many pages came that were the pupil's own, and how many out of
    /// the store.
    fn walk(&self, dice: &mut Dice, count: usize, secure: usize, fits: impl Fn(&Place) -> bool) -> Walked {
        let lanes = self.lanes();
        let mut walked = Walked::default();
        let mut at = 0;
        while at < count {
            let way = match (dice.once_in(secure), dice.once_in(4)) {
                (true, _) => Way::Secure,
                (false, true) => Way::Mirror,
                (false, false) => Way::Plain,
            };
            let step = walk::step(dice, &self.pupils, way, &fits);
            // Often both open the same page in the same moment.
            let together = dice.once_in(3).then(|| walk::as_other(dice, &self.pupils, &step));
            let steps: Vec<Step> = std::iter::once(step).chain(together).collect();
            let answers: Vec<_> = std::thread::scope(|scope| {
                let going: Vec<_> = steps.iter().map(|step| scope.spawn(|| lanes.ask(step))).collect();
                going.into_iter().map(|one| one.join().expect("an answer")).collect()
            });
            for (step, answer) in steps.iter().zip(&answers) {
                walked.leaks.extend(walk::leaks(&self.pupils, step, answer));
                walked.hits += usize::from(answer.is_hit());
                walked.answered += usize::from(answer.status == 200);
                walked.mirrored += usize::from(answer.status == 200 && step.way == Way::Mirror);
                // With the line down a stranger's page may stand in for one's own.
                if step.own && answer.status == 200 && !answer.cache_status().contains("offline") {
                    let mine = &self.pupils[step.pupil].token;
                    if holds(&answer.body, mine) {
                        walked.own += 1;
                    } else {
                        walked.missed.push(format!("{step:?} -> {} {}", answer.status, answer.cache_status()));
                    }
                }
            }
            at += steps.len();
        }
        walked
    }

    fn cut(&self) {
        self.secure_line.cut();
        cut(&self.node, &self.line);
    }

    fn mend(&self) {
        self.secure_line.mend();
        self.line.mend();
        kit::until("the node says that the line is up", 60, || {
            self.node.get("http://s.school.test/unknown");
            self.node.metric("bulak_link_up", "") == Some(1.0)
        });
    }
}

#[derive(Default)]
struct Walked {
    leaks: Vec<String>,
    /// Pages that were not the pupil's own although they should be.
    missed: Vec<String>,
    own: usize,
    hits: usize,
    /// Answers of the mirror.
    mirrored: usize,
    answered: usize,
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
    found
}

/// What the node says of itself in every document.
fn documents(node: &Node) -> Vec<(String, Vec<u8>)> {
    let web = ["/metrics", "/", "/healthz", "/readyz"].map(|path| (path.to_owned(), node.web(path).body));
    let local = ["/api/v1/status", "/api/v1/reports", "/api/v1/packs"]
        .map(|path| (path.to_owned(), node.local("GET", path).to_string().into_bytes()));
    let words: [&[&str]; 3] = [&["status", "--json"], &["store", "stat", "--json"], &["pack", "list", "--json"]];
    let told = words.map(|words| (words.join(" "), node.command(words).stdout));
    web.into_iter().chain(local).chain(told).collect()
}

#[test]
fn two_pupils_share_a_node_and_nothing_else() {
    let seed = 7;
    let mut school = School::start(seed, |setup, _| setup.set("node.log", "\"trace\""));
    let hub = Hub::start(&format!(
        "[hub]\nlisten = [\"127.0.0.1:0\"]\ndatabase = \"HERE/hub.sqlite\"\n[[node]]\nkey = \"{}\"\nschool = \"aksu-7\"\nname = \"№ 7\"\n",
        school.node.key()
    ));
    let node = school.node.again(|setup| setup.set("hub.url", &format!("\"http://{}\"", hub.addr)));
    school = School { node, ..school };
    kit::until("the night has brought the pack's script", 60, || {
        school.plain.asks().iter().any(|ask| ask.target.starts_with("/static/app"))
    });

    let mut dice = Dice::new(seed);
    let all = |_: &Place| true;
    let mut days = vec![school.walk(&mut dice, 900, 4, all)];
    school.cut();
    days.push(school.walk(&mut dice, 400, 4, all));
    assert!(days[1].hits > 0, "with the line cut what everybody may have is still there");
    school.mend();
    days.push(school.walk(&mut dice, 500, 4, all));
    school.node.kill();
    school.node.restart();
    days.push(school.walk(&mut dice, 400, 4, all));
    let wrong: Vec<&String> = days.iter().flat_map(|day| day.leaks.iter().chain(&day.missed)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // It was a walk through diaries, and a cache stood in between.
    for (at, least) in [(0, 150), (2, 60), (3, 40)] {
        assert!(
            days[at].own > least && days[at].hits > least / 10 && days[at].answered > least,
            "{} own, {} hits",
            days[at].own,
            days[at].hits
        );
    }
    assert!(school.secured.asks().len() > 100, "by https too");
    // What is reviewed came by the mirror too.
    assert!(days[0].mirrored > 20, "{} answers of the mirror", days[0].mirrored);
    // On the host with accounts the reviewed script came without anybody's cookie, and then out of the store.
    for ask in
        school.plain.asks().iter().filter(|ask| ask.field("host") == Some("static.kundelik.kz") && ask.target == "/static/app.8f3a91.js")
    {
        assert_eq!(ask.field("cookie"), None);
    }

    school.node.report();
    let told = documents(&school.node);
    assert_eq!(on_disk(&school.pupils, told.clone().into_iter()), Vec::<String>::new());
    let export = school.node.folder.path().join("stick");
    let done = school.node.command(&["store", "export", "--all", "--to", &export.display().to_string()]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    kit::until("the hub has the report", 60, || {
        school.node.report();
        hub.records().0 > 0
    });
    assert!(school.node.terminate().success());
    let left: Vec<_> = files(school.node.folder.path()).into_iter().chain(files(hub.folder())).collect();
    // The search reads what is stored: what everybody may have is found by it, in the store and on the stick.
    for place in ["/store/", "/stick/"] {
        assert!(left.iter().any(|(name, bytes)| name.contains(place) && holds(bytes, "/static/app.8f3a91.js for everybody")), "{place}");
    }
    assert_eq!(on_disk(&school.pupils, left.into_iter()), Vec::<String>::new());

    // Who asked, with what, and for what is in no line of the log, at any level, nor in any figure.
    let log = school.node.log_text();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log was at its loudest");
    let mut words: Vec<String> = (0..school.pupils.len()).map(|pupil| address(pupil).to_string()).collect();
    words.push(AGENT.into());
    words.extend(PLACES.iter().map(|place| place.path.split("TOKEN").next().unwrap_or_default().to_owned()));
    let figures: String = told.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect();
    for word in &words {
        let line = log.lines().find(|line| line.contains(word.as_str()));
        assert_eq!(line, None, "{word} is in the log");
        // Where a pack begins is no secret: the portal's shelf leads there.
        assert!(PACK.contains(word.as_str()) || !figures.contains(word.as_str()), "{word} is among the figures");
    }
    let metrics = String::from_utf8_lossy(&told[0].1).into_owned();
    for (name, value) in labels(&metrics) {
        // Words of closed sets: nothing with a dot, a slash or a colon in it, but for numbers.
        let word = value.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte));
        assert!(word || ["le", "quantile", "version"].contains(&name), "{name}={value:?}");
    }
    for (host, _) in HOSTS {
        assert!(!told[0].1.windows(host.len()).any(|part| part == host.as_bytes()), "{host} is in /metrics");
    }
}

/// Labels of Prometheus' text format, with their values.
fn labels(text: &str) -> Vec<(&str, &str)> {
    let sets = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| Some(line.split_once('{')?.1.rsplit_once('}')?.0));
    sets.flat_map(|set| set.split("\","))
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(name, value)| (name, value.trim_end_matches('"')))
        .collect()
}

/// https of the diaries is opened on the pupils' own devices: the rule of the school holds there whatever the policy.
#[test]
fn two_pupils_share_nothing_on_opened_https_under_either_policy() {
    for (seed, policy) in [(21, "school"), (22, "rfc9111")] {
        let open: Vec<String> = HOSTS
            .iter()
            .filter(|(host, _)| !["login.kundelik.kz", "refused.school.test"].contains(host))
            .map(|(host, _)| (*host).to_owned())
            .collect();
        let mut school = School::start(seed, |setup, folder| {
            authority(&folder.join("state/ca"), &open);
            listing(setup, &open).set("cache.policy", &format!("{policy:?}"))
        });
        for pupil in 0..school.pupils.len() {
            assert_eq!(school.lanes().enrol(pupil).status, 200);
        }
        let mut dice = Dice::new(seed);
        let day = school.walk(&mut dice, 600, 1, |_| true);
        school.cut();
        let evening = school.walk(&mut dice, 150, 1, |_| true);
        assert_eq!([day.leaks, evening.leaks, day.missed, evening.missed].concat(), Vec::<String>::new(), "{policy}");
        assert!(day.own > 100 && day.hits > 8, "{policy}: {} own, {} hits", day.own, day.hits);
        assert!(school.node.metric("bulak_tls_total", "action=\"intercept\"").unwrap_or(0.0) > 200.0);
        // What a pack names there was asked for without a cookie; pages are asked for with it.
        let scripts = |ask: &&Ask| ask.field("host") == Some("static.kundelik.kz") && ask.target == "/static/app.8f3a91.js";
        assert!(school.secured.asks().iter().filter(scripts).all(|ask| ask.field("cookie").is_none()));
        assert!(school.node.terminate().success());
        assert_eq!(on_disk(&school.pupils, files(school.node.folder.path()).into_iter()), Vec::<String>::new(), "{policy}");
    }
}

/// A plain shared cache must keep apart what the RFC keeps apart, whatever else it shares: answers to `Authorization`, `private`,
/// `no-store`, and what `Vary: Cookie` or a tag tells apart (RFC 9111 sections 3, 3.5, 4.1, 4.3). That a cookie or a set cookie
/// makes an answer personal is no rule of the RFC, and a page without any fields may be shared there: so this policy is for
/// measuring, not for schools.
#[test]
fn a_plain_shared_cache_keeps_apart_what_the_rfc_does() {
    let school = School::start(11, |setup, _| setup.set("cache.policy", "\"rfc9111\""));
    let told = ["/marks/private", "/marks/unkept", "/marks/vary", "/marks/tag"];
    let day = school.walk(&mut Dice::new(11), 600, 4, |place| place.by == By::Bearer || told.contains(&place.path));
    assert!(day.leaks.is_empty() && day.missed.is_empty(), "{:#?} {:#?}", day.leaks, day.missed);
    assert!(day.own > 200);
    // And the search would tell: without the RFC's words the same walk finds pages in other hands.
    let careless = school.walk(&mut Dice::new(12), 300, 4, |place| place.path == "/marks/aged");
    assert!(!careless.leaks.is_empty(), "what says nothing of people is shared under this policy");
}
