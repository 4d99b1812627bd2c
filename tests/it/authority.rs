//! The school's CA as a person makes, sees and retires it; the files that come of it; what openssl says first.

use crate::kit::node::binary;
use crate::kit::program::{self, need};
use bulak::tls::hello::{self, Hello, Read as First};
use serde_json::Value;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A school's folder with a configuration, without a node.
struct School {
    folder: tempfile::TempDir,
}

impl School {
    fn new(rest: &str) -> School {
        let school = School { folder: tempfile::tempdir().expect("a folder") };
        school.configure(rest);
        school
    }

    fn configure(&self, rest: &str) {
        let state = self.folder.path().join("state");
        let text = format!("[node]\nname = \"abay-12\"\nstate = \"{}\"\n{rest}", state.display());
        std::fs::write(self.folder.path().join("school.toml"), text).expect("written");
    }

    fn ca(&self, name: &str) -> PathBuf {
        self.folder.path().join("state/ca").join(name)
    }

    /// Runs a command with the loosest umask there is.
    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new("sh");
        command.args(["-c", "umask 0; exec \"$@\"", "sh"]).arg(binary()).args(words);
        command.arg("--config").arg(self.folder.path().join("school.toml")).env("LC_ALL", "ru_KZ.UTF-8");
        program::run(&command, 30)
    }

    fn json(&self, words: &[&str], exit: i32) -> Value {
        let output = self.run(&[words, &["--json"]].concat());
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(exit), "{words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("no document: {said}"))
    }
}

const HOSTS: &str = "[intercept]\nenabled = true\nhosts = [\"kk.wikipedia.org\"]\n";
const AGREED: [&str; 4] = ["--consent-by", "Айгүл Сейітова", "--role", "директор"];

fn create() -> Vec<&'static str> {
    [&["ca", "create"][..], &AGREED].concat()
}

fn openssl(words: &[&str]) -> String {
    let output = program::run(Command::new(need("openssl")).args(words), 20);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_school_makes_shows_renews_and_retires_its_authority() {
    let school = School::new(HOSTS);
    assert_eq!(school.json(&["ca", "show"], 3)["current"], Value::Null, "interception is on without one");
    let nobody = school.json(&["ca", "create"], 2);
    assert_eq!(nobody["id"], "ca.consent", "nobody agreed");
    assert_eq!(school.json(&["ca", "create", "--consent-by", "A"], 2)["id"], "cli.misuse");
    let dry = school.json(&[&create()[..], &["--dry-run"]].concat(), 0);
    assert_eq!(dry["would_create"]["subtrees"][1], "kk.wikipedia.org");
    assert!(!school.ca("").exists(), "a dry run writes nothing");

    let made = school.run(&create());
    let (said, shown) = (String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
    assert_eq!(made.status.code(), Some(0), "{said}{shown}");
    assert!(
        said.contains("no node runs here") && said.contains("next: enrol the devices") && said.contains("fingerprint (SHA-256): "),
        "{said}"
    );
    assert!(shown.contains("Кого уведомить.") && shown.contains("kk.wikipedia.org"), "the text is shown: {shown}");

    let file = school.ca("ca.pem");
    let text = openssl(&["x509", "-in", file.to_str().expect("a path"), "-noout", "-text", "-fingerprint", "-sha256"]);
    for words in ["Name Constraints: critical", "DNS:abay-12.internal", "DNS:kk.wikipedia.org", "CA:TRUE, pathlen:0"] {
        assert!(text.contains(words), "{words} is missing in {text}");
    }
    let show = school.json(&["ca", "show"], 0);
    let first = show["current"]["fingerprint_sha256"].as_str().expect("a fingerprint").to_owned();
    assert!(text.contains(&first) && said.contains(&first));
    assert_eq!((&show["consent"]["by"], &show["consent"]["role"]), (&Value::from("Айгүл Сейітова"), &Value::from("директор")));
    assert_eq!(show["attention"], Value::Array(vec![]));
    for (name, mode) in [("ca.key", 0o600), ("ca.pem", 0o644), ("consent.json", 0o644), ("", 0o700)] {
        let found = std::fs::metadata(school.ca(name)).expect(name).permissions().mode() & 0o777;
        assert_eq!(found, mode, "{name} under umask 0");
    }

    // Another host: another CA, the old one stays for its devices until it is retired.
    school.configure("[intercept]\nenabled = true\nhosts = [\"kk.wikipedia.org\", \"phet.colorado.edu\"]\n");
    let outside = school.json(&["ca", "show"], 3);
    assert!(outside["attention"][0].as_str().is_some_and(|told| told.contains("phet.colorado.edu")), "{outside}");
    school.json(&create(), 0);
    let show = school.json(&["ca", "show"], 0);
    assert_eq!(show["previous"]["fingerprint_sha256"], first.as_str());
    assert_eq!(school.json(&create(), 1)["id"], "ca.third");
    assert_eq!(school.json(&["ca", "retire", "--yes"], 0)["retired"][0], first.as_str());
    assert_eq!(school.json(&["ca", "retire", "--yes"], 1)["id"], "ca.missing");
    let show = school.json(&["ca", "show"], 0);
    assert_eq!((&show["previous"], &show["retired"][0]["fingerprint_sha256"]), (&Value::Null, &Value::from(first)));
    assert_eq!(school.json(&["ca", "retire", "--all"], 2)["id"], "cli.unasked", "nobody can be asked here");
    assert!(school.ca("ca.key").exists() && school.ca("consent.json").exists());
    school.json(&["ca", "retire", "--all", "--yes"], 0);
    let show = school.json(&["ca", "show"], 3);
    assert_eq!((&show["current"], show["retired"].as_array().map(Vec::len)), (&Value::Null, Some(2)));
    assert!(!school.ca("ca.key").exists() && !school.ca("consent.json").exists());
}

#[test]
fn the_ca_carries_the_schools_title() {
    let school = School::new(HOSTS);
    assert_eq!(school.json(&[&create()[..], &["--dry-run"]].concat(), 0)["would_create"]["school"], "abay-12");
    school.configure(&format!("title = \"№12 Абай мектебі\"\n{HOSTS}"));
    assert_eq!(school.json(&create(), 0)["current"]["school"], "№12 Абай мектебі");
}

#[test]
fn a_node_that_cannot_be_told_is_told_to_the_person() {
    let school = School::new(HOSTS);
    let socket = school.folder.path().join("deaf.sock");
    // Takes connections, and answers nothing.
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    std::thread::spawn(move || listener.incoming().for_each(drop));
    school.configure(&format!("socket = \"{}\"\n{HOSTS}", socket.display()));
    let made = school.json(&create(), 3);
    assert_eq!((&made["node"], &made["current"]["devices"]), (&Value::from("not_told"), &Value::Null));
    let consent = school.run(&[&["ca", "consent"][..], &AGREED].concat());
    let said = String::from_utf8_lossy(&consent.stdout);
    assert_eq!(consent.status.code(), Some(3), "{said}");
    assert!(said.contains("the running node still goes by the old one until it is reloaded (SIGHUP)"), "{said}");
    assert_eq!(school.json(&["ca", "retire", "--all", "--yes"], 3)["node"], "not_told");
}

#[test]
fn damaged_files_are_told_by_show_and_doctor() {
    let school =
        School::new(&format!("{HOSTS}[proxy]\nlisten = [\"127.0.0.1:0\"]\n[web]\nlisten = [\"127.0.0.1:0\"]\n[mirror]\nlisten = []\n"));
    school.json(&create(), 0);
    let checks = |exit: i32| {
        let document = school.json(&["doctor"], exit);
        let list = document["checks"].as_array().expect("checks").clone();
        move |check: &str| {
            let found = list.iter().find(|one| one["check"] == check).unwrap_or_else(|| panic!("no {check}"));
            (found["state"].as_str().expect("a state").to_owned(), found["message"].as_str().expect("a message").to_owned())
        }
    };
    // Whatever this machine's line is like, the exit code is not asked here.
    let exit = school.run(&["doctor", "--json"]).status.code().expect("an end");
    let look = checks(exit);
    assert_eq!([look("ca").0, look("consent").0, look("intercept").0], ["fine", "fine", "fine"]);
    std::fs::set_permissions(school.ca("ca.key"), std::fs::Permissions::from_mode(0o640)).expect("chmod");
    let shown = school.json(&["ca", "show"], 3);
    assert!(shown["attention"][0].as_str().is_some_and(|told| told.contains("mode 640") && told.contains("chmod 600")), "{shown}");
    let look = checks(1);
    assert!(look("ca").0 == "failed" && look("ca").1.contains("mode 640"));
    assert_eq!(look("intercept"), ("unknown".to_owned(), "cannot be told while \"ca\" fails".to_owned()), "a cause hides its consequences");
}

/// What `openssl s_client` says first, taken from a socket.
fn said_first(arguments: &[&str]) -> First {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound").to_string();
    let mut command = Command::new(need("openssl"));
    command.args(["s_client", "-connect", &addr]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let client = program::Running(command.spawn().expect("openssl"));
    let (mut stream, _) = listener.accept().expect("a client");
    let (mut bytes, mut buffer) = (Vec::new(), [0; 50]);
    loop {
        match hello::read(&bytes) {
            First::More => {}
            told => {
                drop(client);
                return told;
            }
        }
        let read = stream.read(&mut buffer).expect("reads");
        assert!(read > 0, "openssl hung up after {} bytes", bytes.len());
        bytes.extend_from_slice(&buffer[..read]);
    }
}

#[test]
fn what_openssl_says_first_is_read() {
    let plain = Hello { name: Some("kk.wikipedia.org".to_owned()), modern: true, ..Hello::default() };
    let table = [
        (
            &["-servername", "kk.wikipedia.org", "-alpn", "h2,http/1.1"][..],
            Hello { alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()], ..plain.clone() },
        ),
        (&["-servername", "KK.wikipedia.org", "-tls1_2"], plain.clone()),
        (&["-servername", "kk.wikipedia.org", "-tls1_3", "-alpn", "imap"], Hello { alpn: vec![b"imap".to_vec()], ..plain.clone() }),
        (&["-noservername"], Hello { name: None, ..plain.clone() }),
        (&["-servername", "kk.wikipedia.org", "-tls1", "-cipher", "ALL:@SECLEVEL=0"], Hello { modern: false, ..plain.clone() }),
        (&["-servername", "kk.wikipedia.org", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], Hello { modern: false, ..plain }),
    ];
    for (arguments, wanted) in table {
        assert_eq!(said_first(arguments), First::Hello(wanted), "{arguments:?}");
    }
}
