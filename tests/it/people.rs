//! People who sign in at the hub with a password: the command that sets it, the form by curl and in Chromium, what a session may, how it
//! ends, and whom nothing of it helps: other sites, other names, whoever guesses, whoever reads the log or the database.

use crate::kit;
use crate::kit::browser::Wish;
use crate::kit::http::{Answer, exchange};
use crate::kit::node::Hub;
use crate::kit::program;
use serde_json::Value;
use std::fmt::Write as _;
use std::process::Command;

const CONFIG: &str =
    "[hub]\nlisten = [\"127.0.0.1:0\"]\ndatabase = \"HERE/hub.sqlite\"\nviewers = \"tokens\"\nnames = [\"hub.example.kz\"]\n";

const NAME: &str = "Айгүл Серікқызы";
const PASSWORD: &str = "төрт сөз жеткілікті болады";

/// A hub at which one person signs in.
fn hub() -> Hub {
    let hub = Hub::start(CONFIG);
    let set = hub.command(&["people", "password", NAME, "--json"], &format!("{PASSWORD}\n"));
    let said = String::from_utf8_lossy(&set.stdout).into_owned();
    assert!(set.status.success() && !said.contains(PASSWORD), "{said}{}", String::from_utf8_lossy(&set.stderr));
    hub
}

fn percent(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        write!(out, "%{byte:02X}").expect("a string grows");
        out
    })
}

/// A form as a browser sends it, with these fields of the head.
fn form(hub: &Hub, path: &str, pairs: &[(&str, &str)], fields: &[&str]) -> Answer {
    let body: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect();
    let body = body.join("&");
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    );
    if !fields.iter().any(|field| field.starts_with("Host:")) {
        write!(head, "Host: {}\r\n", hub.addr).expect("a string grows");
    }
    for field in fields {
        head = head + field + "\r\n";
    }
    exchange(hub.addr, format!("{head}\r\n{body}").as_bytes())
}

/// Signs in as that person from our own page.
fn sign_in(hub: &Hub, name: &str, password: &str, more: &[&str]) -> Answer {
    let origin = format!("Origin: http://{}", hub.addr);
    form(
        hub,
        "/sign-in",
        &[("name", name), ("password", password), ("next", "/?lang=ru"), ("lang", "ru")],
        &[&[origin.as_str()], more].concat(),
    )
}

fn get(hub: &Hub, path: &str, fields: &[&str]) -> Answer {
    let mut head = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
    if !fields.iter().any(|field| field.starts_with("Host:")) {
        write!(head, "Host: {}\r\n", hub.addr).expect("a string grows");
    }
    for field in fields {
        head = head + field + "\r\n";
    }
    exchange(hub.addr, format!("{head}\r\n").as_bytes())
}

/// The cookie that a browser would show after this answer.
fn cookie(answer: &Answer) -> String {
    let field = answer.field("set-cookie");
    assert!(field.contains("; HttpOnly") && field.contains("; SameSite=Strict") && field.contains("; Path=/"), "{field}");
    format!("Cookie: {}", field.split(';').next().unwrap_or_default())
}

#[test]
fn a_person_signs_in_and_out_and_a_session_reads_alone() {
    let hub = hub();
    let asked = get(&hub, "/?q=%D0%B0", &["Accept-Language: kk"]);
    assert_eq!((asked.status, asked.field("location").as_str()), (303, "/sign-in?next=%2F%3Fq%3D%25D0%25B0"));
    let page = get(&hub, "/sign-in?next=%2F%3Fq%3Dx&lang=kk", &[]);
    assert!(
        page.status == 200 && page.text().contains("Құпиясөз") && page.text().contains("name=\"next\" value=\"/?q=x\""),
        "{}",
        page.text()
    );
    assert_eq!(get(&hub, "/api/v1/schools", &[]).status, 401, "programs are asked for a token as ever");
    assert_eq!(get(&hub, "/", &["Authorization: Bearer hub_x"]).status, 401, "and so is whoever shows one");

    let wrong = sign_in(&hub, NAME, "төрт сөз жеткіліксіз", &[]);
    let unknown = sign_in(&hub, "nobody", PASSWORD, &[]);
    let plain = |answer: &Answer, name: &str| answer.text().replace(name, "NAME");
    assert_eq!((wrong.status, unknown.status), (403, 403));
    assert_eq!(plain(&wrong, NAME), plain(&unknown, "nobody"), "nobody learns who there is");
    assert!(
        wrong.text().contains("Имя или пароль неверны") && wrong.field("set-cookie").is_empty() && !wrong.text().contains("жеткіліксіз")
    );

    let right = sign_in(&hub, NAME, PASSWORD, &[]);
    assert_eq!((right.status, right.field("location").as_str()), (303, "/?lang=ru"));
    let shown = cookie(&right);
    assert!(shown.starts_with("Cookie: bulak=") && !right.field("set-cookie").contains("Secure"), "without TLS");
    let region = get(&hub, "/?lang=ru", &[&shown]);
    assert!(region.status == 200 && region.text().contains(NAME) && region.text().contains("Выйти"), "{}", region.text());
    assert_eq!(get(&hub, "/api/v1/schools", &[&shown]).status, 200);
    assert_eq!(get(&hub, "/api/v1/nodes", &[&shown]).status, 403, "this person is no admin");
    for path in ["/api/v1/tokens", "/api/v1/codes", "/api/v1/nodes/x/revoke"] {
        let origin = format!("Origin: http://{}", hub.addr);
        assert_eq!(form(&hub, path, &[("name", "x")], &[&shown, &origin]).status, 401, "{path}: a session changes nothing");
    }
    // Not through the database either.
    let kept = std::fs::read(hub.folder().join("hub.sqlite")).expect("reads");
    let wal = std::fs::read(hub.folder().join("hub.sqlite-wal")).unwrap_or_default();
    let secret = shown.split('=').nth(1).unwrap_or_default();
    for (what, there) in [("$argon2id$v=19$m=19456,t=2,p=1$", true), (PASSWORD, false), (secret, false)] {
        let found = [&kept, &wal].iter().any(|bytes| bytes.windows(what.len()).any(|part| part == what.as_bytes()));
        assert_eq!(found, there, "{}", &what[..8]);
    }

    let out = form(&hub, "/sign-out", &[], &[&shown, &format!("Origin: http://{}", hub.addr)]);
    assert_eq!((out.status, out.field("location").as_str()), (303, "/sign-in"));
    assert!(out.field("set-cookie").starts_with("bulak=;") && out.field("set-cookie").contains("Max-Age=0"));
    assert_eq!(get(&hub, "/", &[&shown]).status, 303, "what the browser showed counts no more");
    // A new password ends what the old one began, as the command does while the hub runs.
    let again = cookie(&sign_in(&hub, NAME, PASSWORD, &[]));
    assert_eq!(get(&hub, "/", &[&again]).status, 200);
    assert!(hub.command(&["people", "password", NAME, "--role", "admin"], "an entirely new one\n").status.success());
    assert_eq!(get(&hub, "/", &[&again]).status, 303);
    assert_eq!(sign_in(&hub, NAME, PASSWORD, &[]).status, 403);
    let admin = cookie(&sign_in(&hub, NAME, "an entirely new one", &[]));
    assert_eq!(get(&hub, "/api/v1/nodes", &[&admin]).status, 200, "an admin looks at more");
    let listed = hub.command(&["people", "list", "--json"], "");
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(
        (&listed["people"][0]["name"], &listed["people"][0]["role"], listed.to_string().contains("argon")),
        (&NAME.into(), &"admin".into(), false)
    );
    assert!(hub.command(&["people", "remove", NAME], "").status.success());
    assert_eq!(get(&hub, "/", &[&admin]).status, 401, "nobody can sign in any more: a token is asked for");
    for secret in [NAME, "Айгүл", PASSWORD, "an entirely new one", secret, "127.0.0.1:"] {
        let log = hub.log();
        assert!(!log.lines().filter(|line| !line.contains("ready")).any(|line| line.contains(secret)), "{secret} is in the log:\n{log}");
    }
}

#[test]
fn other_sites_other_names_and_whoever_guesses_come_to_nothing() {
    let hub = hub();
    let own = format!("Origin: http://{}", hub.addr);
    let pairs = [("name", NAME), ("password", PASSWORD)];
    for fields in [
        &["Origin: https://evil.example"][..],
        &["Origin: null"],
        &[],
        &[own.as_str(), "Sec-Fetch-Site: cross-site"],
        &[own.as_str(), "Sec-Fetch-Site: same-site"],
    ] {
        let answer = form(&hub, "/sign-in", &pairs, fields);
        assert_eq!((answer.status, answer.has("set-cookie")), (403, false), "{fields:?}");
        assert!(answer.text().contains("hub.foreign_form"), "{}", answer.text());
    }
    // A name of the Internet that was pointed at this hub.
    for path in ["/", "/sign-in", "/api/v1/schools"] {
        assert_eq!(get(&hub, path, &["Host: evil.example"]).status, 421, "{path}");
    }
    let rebound = form(&hub, "/sign-in", &pairs, &["Host: evil.example", "Origin: http://evil.example"]);
    assert_eq!((rebound.status, rebound.has("set-cookie")), (421, false));
    assert_eq!(get(&hub, "/sign-in", &["Host: hub.example.kz"]).status, 200);
    assert_eq!(get(&hub, "/healthz", &["Host: evil.example"]).status, 200, "programs and nodes come under any name");
    // Behind what ends TLS.
    let behind = ["Host: hub.example.kz", "Origin: https://hub.example.kz", "X-Forwarded-Proto: https", "X-Forwarded-For: 203.0.113.9"];
    let secure = form(&hub, "/sign-in", &pairs, &behind);
    let field = secure.field("set-cookie");
    assert!(secure.status == 303 && field.starts_with("__Host-bulak=") && field.contains("; Secure"), "{} {field}", secure.status);
    let shown = cookie(&secure);
    assert_eq!(get(&hub, "/", &[&shown, behind[0], behind[2], behind[3]]).status, 200);
    // A password over the open Internet is not even looked at.
    let open = form(&hub, "/sign-in", &pairs, &[own.as_str(), "X-Forwarded-For: 203.0.113.9"]);
    assert!(open.status == 403 && !open.has("set-cookie") && open.text().contains("https"), "{}", open.text());
    for next in ["https://evil.example/", "//evil.example/", "/\\evil.example"] {
        let answer = form(&hub, "/sign-in", &[pairs[0], pairs[1], ("next", next)], &[&own]);
        assert_eq!((answer.status, answer.field("location").as_str()), (303, "/"), "{next}");
    }
    // Guessing: some tries, then one now and then, for a name that is there and for one that is not.
    for (name, from) in [(NAME, "X-Forwarded-For: 192.168.7.1"), ("nobody", "X-Forwarded-For: 192.168.7.2")] {
        let told: Vec<Answer> = (0..40).map(|number| sign_in(&hub, name, &format!("guess number {number}"), &[from])).collect();
        let count = |status: u16| told.iter().filter(|answer| answer.status == status).count();
        assert!(count(403) >= 8 && count(429) > 0 && count(403) + count(429) == 40, "{name}: {} and {}", count(403), count(429));
        let held = told.iter().find(|answer| answer.status == 429).expect("one");
        assert!(held.field("retry-after").parse::<u32>().is_ok_and(|wait| wait <= 7) && held.text().contains("Слишком много попыток"));
    }
    // At the place where one has signed in before, strangers do not hold one up.
    assert_eq!(sign_in(&hub, NAME, PASSWORD, &[]).status, 303);
    let weak = hub.command(&["people", "password", "weak"], "short\n");
    assert!(!weak.status.success() && String::from_utf8_lossy(&weak.stderr).contains("at least 10 letters"));
}

#[test]
fn curl_signs_in_with_its_jar() {
    let hub = hub();
    let folder = tempfile::tempdir().expect("a folder");
    let jar = folder.path().join("jar").display().to_string();
    let (base, origin) = (format!("http://{}", hub.addr), format!("Origin: http://{}", hub.addr));
    let curl = |words: &[&str]| {
        let mut command = Command::new(program::need("curl"));
        command.args(["-sS", "--noproxy", "*", "-b", &jar, "-c", &jar, "-o", "-", "-w", "\n%{http_code}"]).args(words);
        String::from_utf8_lossy(&program::run(&command, 60).stdout).into_owned()
    };
    let (name, password) = (format!("name={NAME}"), format!("password={PASSWORD}"));
    let told = curl(&["-L", "-H", &origin, "--data-urlencode", &name, "--data-urlencode", &password, &format!("{base}/sign-in")]);
    assert!(told.ends_with("\n200") && told.contains(NAME), "{told}");
    assert!(curl(&[&format!("{base}/api/v1/schools")]).contains("\"schools\":[]"));
    curl(&["-H", &origin, "-X", "POST", &format!("{base}/sign-out")]);
    assert!(curl(&[&base]).ends_with("\n303"));
}

#[test]
fn a_person_signs_in_with_chromium() {
    let hub = hub();
    let base = format!("http://{}", hub.addr);
    let mut browser = Wish::direct().locale("ru").start();
    let page = browser.visit_until(&format!("{base}/?lang=ru"), "Пароль");
    assert!(page.url.contains("/sign-in?next=") && page.complaints().is_empty(), "{page:?}");
    let fill = |browser: &mut kit::browser::Browser, password: &str| {
        let text = serde_json::to_string(password).expect("JSON");
        browser.run(&format!(
            "(() => {{ document.querySelector('[name=name]').value = '{NAME}'; document.querySelector('[name=password]').value = {text}; \
             setTimeout(() => document.querySelector('.lines button').click(), 0); }})()"
        ));
    };
    fill(&mut browser, "not this one at all");
    kit::until("the browser is told", 60, || browser.look().text.contains("Имя или пароль неверны"));
    fill(&mut browser, PASSWORD);
    kit::until("the region is shown", 60, || {
        let page = browser.look();
        page.text.contains(NAME) && page.text.contains("Выйти")
    });
    assert_eq!(browser.run("document.cookie"), "", "no script sees the session");
    let region = browser.visit_until(&format!("{base}/?lang=kk"), "Шығу");
    assert!(region.status == 200 && region.complaints().is_empty(), "{region:?}");
    browser.run("(() => { setTimeout(() => document.querySelector('.out button').click(), 0); })()");
    kit::until("the form is back", 60, || browser.look().url.ends_with("/sign-in"));
    assert!(browser.visit_until(&base, "Пароль").url.contains("/sign-in"), "signed out");
}
