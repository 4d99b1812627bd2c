//! Tales of one folder: made, read again, refused, renewed with overlap, retired, and cut off at every step.

use super::files::{self, stopping};
use super::*;
use crate::base::clock::Clock;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tempfile::TempDir;

const DAY: Duration = Duration::from_hours(24);

fn wish() -> Wish {
    Wish {
        school: "№12 Абай мектебі".to_owned(),
        zone: "abay-12.internal".to_owned(),
        hosts: vec!["kk.wikipedia.org".to_owned(), "phet.colorado.edu".to_owned()],
    }
}

/// A school in the year of the release.
struct School {
    clock: Clock,
    _temp: TempDir,
    folder: PathBuf,
}

impl School {
    fn new() -> School {
        let temp = tempfile::tempdir().unwrap();
        School { clock: Clock::manual(Time::BUILT), folder: temp.path().join("state/ca"), _temp: temp }
    }

    fn create(&self) -> Result<Authorities, Error> {
        create(&self.folder, &wish(), &self.clock)
    }

    fn load(&self) -> Result<Option<Authorities>, Error> {
        Authorities::load(&self.folder, self.clock.now())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.at(name)).unwrap().permissions().mode() & 0o777
    }

    fn agree(&self, names: &[String]) {
        Consent::new("Айгүл Сейітова", "директор", names.to_vec(), self.clock.now()).unwrap().record(&self.folder).unwrap();
    }
}

#[test]
fn a_school_makes_its_authority_and_reads_it_again() {
    let school = School::new();
    assert!(school.load().unwrap().is_none());
    let made = school.create().unwrap();
    let (made, read) = (made.current, school.load().unwrap().unwrap().current);
    assert_eq!(made.fingerprint(), read.fingerprint());
    assert_eq!((made.certificate_der(), made.certificate_pem()), (read.certificate_der(), read.certificate_pem()));
    assert_eq!(read.school(), "№12 Абай мектебі");
    assert_eq!(read.subtrees(), ["abay-12.internal", "kk.wikipedia.org", "phet.colorado.edu"]);
    assert_eq!((read.zone(), read.is_own("proxy.abay-12.internal"), read.is_own("kk.wikipedia.org")), ("abay-12.internal", true, false));
    assert_eq!(read.not_after().since(Time::BUILT), 1826 * DAY);
    assert_eq!(Time::BUILT.since(read.not_before()), 30 * DAY);
    assert_eq!((school.mode("ca.key"), school.mode("ca.pem"), school.mode("")), (0o600, 0o644, 0o700));
    assert_eq!(fs::read_to_string(school.at("ca.pem")).unwrap(), read.certificate_pem());
    let printed = read.fingerprint().to_string();
    assert_eq!((printed.len(), Fingerprint::parse(&printed)), (95, Some(read.fingerprint())));
    assert_eq!(Fingerprint::parse("AA:BB"), None);
    let others = ["ru.wikipedia.org".to_owned(), "kk.wikipedia.org".to_owned()];
    assert_eq!(school.load().unwrap().unwrap().outside(&others), ["ru.wikipedia.org"]);
    assert!(!format!("{read:?}").contains("PRIVATE"));
}

#[test]
fn what_is_open_mixed_up_damaged_or_over_is_refused_by_name() {
    let school = School::new();
    school.create().unwrap();
    let (key, copy) = (fs::read_to_string(school.at("ca.key")).unwrap(), fs::read_to_string(school.at("ca.pem")).unwrap());
    let put = |name: &str, text: &str| {
        fs::write(school.at(name), text).unwrap();
        fs::set_permissions(school.at("ca.key"), Permissions::from_mode(0o600)).unwrap();
    };
    let restore = || {
        put("ca.key", &key);
        put("ca.pem", &copy);
        assert!(school.load().unwrap().is_some(), "good again");
    };
    let refused = |words: &[&str]| {
        let told = school.load().unwrap_err().to_string();
        assert!(words.iter().all(|word| told.contains(word)), "{told}: {words:?}");
    };
    for mode in [0o604, 0o640, 0o660, 0o777] {
        fs::set_permissions(school.at("ca.key"), Permissions::from_mode(mode)).unwrap();
        refused(&["ca.key", &format!("mode {mode:o}"), "chmod 600"]);
    }
    restore();
    fs::set_permissions(&school.folder, Permissions::from_mode(0o777)).unwrap();
    refused(&["ca is open to others", "chmod 700"]);
    fs::set_permissions(&school.folder, Permissions::from_mode(0o700)).unwrap();

    let other = School::new();
    other.create().unwrap();
    let (other_key, other_copy) = (fs::read_to_string(other.at("ca.key")).unwrap(), fs::read_to_string(other.at("ca.pem")).unwrap());
    let alone = |text: &str| text[..text.find("-----BEGIN CERTIFICATE").unwrap()].to_owned();
    put("ca.key", &format!("{}{copy}", alone(&other_key)));
    refused(&["do not belong together"]);
    put("ca.key", &alone(&other_key));
    refused(&["ca.key", "ca.pem", "do not belong together"]);
    restore();
    put("ca.pem", &other_copy);
    refused(&["ca.key", "ca.pem", "do not belong together"]);
    put("ca.pem", "nothing");
    refused(&["do not belong together"]);
    restore();
    // An older copy of the key, put back without its certificate, is as good.
    put("ca.key", &alone(&key));
    assert!(school.load().unwrap().is_some());
    for text in ["", "nothing", &key[..200], &copy, &key.replace("PRIVATE KEY", "EC PRIVATE KEY"), &"a".repeat(70_000)] {
        put("ca.key", text);
        refused(&["ca.key is damaged"]);
    }
    fs::write(school.at("ca.key"), [0xff; 64]).unwrap();
    refused(&["ca.key is damaged (no text)"]);
    fs::remove_file(school.at("ca.key")).unwrap();
    refused(&["ca.key is damaged (it is missing"]);
    assert!(school.create().is_err(), "a damaged one is never replaced by itself");
    restore();
    fs::remove_file(school.at("ca.pem")).unwrap();
    assert!(school.load().unwrap().is_some(), "the copy for people is not needed");
    school.clock.advance(1826 * DAY);
    refused(&["expired at 2031", "bulak ca create"]);
}

#[test]
fn every_flipped_byte_of_a_certificate_is_seen() {
    let school = School::new();
    let der = school.create().unwrap().current.certificate_der().to_vec();
    assert!(read::told(&der, None).is_ok());
    for at in 0..der.len() {
        let mut damaged = der.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(read::told(&damaged, None).is_err(), "byte {at}");
        assert!(read::told(&der[..at], None).is_err(), "cut at {at}");
    }
}

#[test]
fn a_certificate_without_our_constraints_is_none_of_ours() {
    let key = KeyPair::generate().unwrap();
    let dns = || vec![rcgen::GeneralSubtree::DnsName("a.kz".to_owned())];
    let addresses = || {
        [0_u8, 1].map(|family| match family {
            0 => rcgen::GeneralSubtree::IpAddress(rcgen::CidrSubnet::from_v4_prefix([0; 4], 0)),
            _ => rcgen::GeneralSubtree::IpAddress(rcgen::CidrSubnet::from_v6_prefix([0; 16], 0)),
        })
    };
    let made = |permitted: Vec<_>, excluded: Vec<_>, is_ca: bool| {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = if is_ca { rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0)) } else { rcgen::IsCa::NoCa };
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        params.name_constraints = Some(rcgen::NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded });
        params.self_signed(&key).unwrap().der().to_vec()
    };
    assert!(read::told(&made(dns(), addresses().to_vec(), true), None).is_ok());
    for der in [
        made(vec![], vec![], true),
        made(vec![], addresses().to_vec(), true),
        made(dns(), vec![], true),
        made(vec![rcgen::GeneralSubtree::DnsName(String::new())], addresses().to_vec(), true),
        made(dns(), addresses().to_vec(), false),
    ] {
        assert!(read::told(&der, None).is_err());
    }
}

#[test]
fn devices_move_over_before_the_old_key_is_destroyed() {
    let school = School::new();
    let first = school.create().unwrap().current.fingerprint();
    school.agree(wish().subtrees().unwrap().as_slice());
    school.clock.advance(400 * DAY);
    let second = school.create().unwrap();
    assert_eq!(second.previous.as_ref().unwrap().fingerprint(), first);
    let second = second.current.fingerprint();
    assert_ne!(first, second);
    let loaded = school.load().unwrap().unwrap();
    assert_eq!([first, second].map(|one| loaded.by(one).unwrap().fingerprint()), [first, second]);
    assert_eq!(school.mode("previous.key"), 0o600);
    assert!(matches!(school.create(), Err(Error::Third)), "three generations are one too many");

    let old_key = fs::read(school.at("previous.key")).unwrap();
    assert_eq!(retire(&school.folder, Which::Previous).unwrap(), [first]);
    assert!(matches!(retire(&school.folder, Which::Previous), Err(Error::None("previous "))));
    let loaded = school.load().unwrap().unwrap();
    assert!(loaded.previous.is_none() && loaded.by(first).is_none() && loaded.current.fingerprint() == second);
    let history = history(&school.folder).unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].fingerprint, history[0].school.as_str()), (first, "№12 Абай мектебі"));
    assert!(!holds(&school.folder, &old_key[..120]), "no file holds the old key");

    school.create().unwrap();
    assert_eq!(retire(&school.folder, Which::All).unwrap().len(), 2);
    assert!(matches!(retire(&school.folder, Which::All), Err(Error::None(""))));
    assert!(school.load().unwrap().is_none());
    assert!(Consent::read(&school.folder).unwrap().is_none(), "consent ends with what it was given for");
    assert!(!holds(&school.folder, b"PRIVATE KEY"));
    assert_eq!(super::history(&school.folder).unwrap().len(), 3);
}

/// Whether any file below holds these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() { holds(&path, bytes) } else { fs::read(&path).unwrap().windows(bytes.len()).any(|part| part == bytes) }
    })
}

#[test]
fn damaged_files_can_be_retired_and_an_expired_previous_one_is_told() {
    let school = School::new();
    school.create().unwrap();
    school.clock.advance(1000 * DAY);
    school.create().unwrap();
    school.clock.advance(900 * DAY);
    let loaded = school.load().unwrap().unwrap();
    assert!(loaded.previous.is_none());
    assert!(matches!(loaded.previous_trouble.as_deref(), Some(Error::Expired { .. })));
    fs::write(school.at("previous.key"), "x").unwrap();
    assert!(school.load().unwrap().unwrap().previous_trouble.is_some(), "the one in force goes on");
    fs::write(school.at("ca.key"), "x").unwrap();
    assert!(school.load().is_err());
    assert_eq!(retire(&school.folder, Which::All).unwrap().len(), 2, "their certificates were beside them");
    assert!(school.load().unwrap().is_none());
    school.create().unwrap();
}

#[test]
fn a_power_cut_at_any_step_leaves_the_old_or_the_new() {
    let mut cuts = 0;
    for step in 0.. {
        let school = School::new();
        // The first one: none or all of it.
        stopping::after(Some(step));
        let first = school.create();
        stopping::after(None);
        let there = school.load().unwrap().map(|loaded| loaded.current.fingerprint());
        if let Ok(made) = &first {
            assert_eq!(there, Some(made.current.fingerprint()));
        }
        let first = school.load().unwrap().map_or_else(|| school.create().unwrap().current.fingerprint(), |a| a.current.fingerprint());

        // The second one: the old one alone, or the new one with the old one behind it.
        stopping::after(Some(step));
        let second = school.create();
        stopping::after(None);
        let loaded = school.load().unwrap().expect("one is in force at every moment");
        let previous = loaded.previous.as_ref().map(|previous| previous.fingerprint());
        assert!(loaded.previous_trouble.is_none());
        if loaded.current.fingerprint() == first {
            assert!(second.is_err() && previous.is_none());
            // Tried again it goes well, whatever lies about.
            school.create().unwrap();
        } else {
            assert_eq!(previous, Some(first), "step {step}");
        }
        let second_fingerprint = school.load().unwrap().unwrap().current.fingerprint();

        // Retiring: the old one is there or gone, the one in force stays.
        stopping::after(Some(step));
        let retired = retire(&school.folder, Which::Previous);
        stopping::after(None);
        let loaded = school.load().unwrap().unwrap();
        assert_eq!(loaded.current.fingerprint(), second_fingerprint);
        assert!(loaded.previous_trouble.is_none() && loaded.previous.is_none_or(|previous| previous.fingerprint() == first));
        // Whatever was left is swept by the next change.
        let _none_or_done = retire(&school.folder, Which::Previous);
        school.create().unwrap();
        retire(&school.folder, Which::All).unwrap();
        assert!(!holds(&school.folder, b"PRIVATE KEY"), "step {step}");
        if second.is_ok() && retired.is_ok() {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 20, "only {cuts} steps were cut: the test cuts nothing");
}

#[test]
fn keys_are_nobody_elses_even_while_they_are_written() {
    for step in 0..40 {
        let school = School::new();
        stopping::after(Some(step));
        let done = school.create().is_ok();
        stopping::after(None);
        for entry in fs::read_dir(&school.folder).into_iter().flatten().map(Result::unwrap) {
            if entry.file_name().to_string_lossy().contains("key") {
                assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?} at step {step}", entry.path());
            }
        }
        if done {
            return;
        }
    }
    panic!("it never came to its end");
}

#[test]
fn a_clock_at_1970_makes_no_authority() {
    let school = School::new();
    let clock = Clock::manual(Time::from_secs(100));
    clock.raise_floor(Time::BUILT);
    assert!(matches!(create(&school.folder, &wish(), &clock), Err(Error::Clock)));
    assert!(!school.folder.exists(), "nothing was written");
}

#[test]
fn two_commands_do_not_change_one_folder_at_once() {
    let school = School::new();
    school.create().unwrap();
    let lock = files::lock(&school.folder).unwrap();
    assert!(matches!(school.create(), Err(Error::Busy(_))));
    assert!(matches!(retire(&school.folder, Which::All), Err(Error::Busy(_))));
    drop(lock);
    school.create().unwrap();
}

#[test]
fn nothing_is_opened_without_consent_to_all_of_it() {
    let school = School::new();
    let ready = || ready(&school.folder, school.clock.now());
    assert!(matches!(ready(), Readiness::Missing));
    school.agree(&["abay-12.internal".to_owned()]);
    assert!(matches!(ready(), Readiness::Missing), "consent alone opens nothing");
    school.create().unwrap();
    assert!(matches!(ready(), Readiness::Unconsented), "the hosts were not named");
    school.agree(&wish().subtrees().unwrap());
    assert!(matches!(ready(), Readiness::Ready(_, consent) if consent.by == "Айгүл Сейітова"));
    fs::write(school.at("consent.json"), "{").unwrap();
    assert!(matches!(ready(), Readiness::Faulty(Error::Consent { .. })));
    school.agree(&wish().subtrees().unwrap());
    fs::set_permissions(school.at("ca.key"), Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(ready(), Readiness::Faulty(Error::Open { .. })));
}
