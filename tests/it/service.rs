//! The node as a service: what systemd would give it and take from it, what it tells systemd, and the units themselves.

use crate::kit;
use crate::kit::node::{Setup, binary, copied};
use crate::kit::origin::{Origin, Reply, ok};
use crate::kit::program;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// `CAP_NET_BIND_SERVICE` (capability 10) as `/proc/PID/status` writes it.
const PORTS_ALONE: &str = "0000000000000400";
/// Nobody, who owns nothing.
const NOBODY: u32 = 65_534;
/// How often systemd wants to hear of the node in these tests, microseconds.
const WATCHDOG: &str = "300000";

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("Linux").uid() == 0
}

#[test]
fn the_units_keep_within_what_systemd_calls_safe() {
    let Some(analyze) = program::find("systemd-analyze") else {
        return program::skipped("the_units_keep_within_what_systemd_calls_safe", "systemd-analyze is not installed");
    };
    let judge = |unit: &Path| {
        let mut command = Command::new(&analyze);
        command.args(["security", "--offline=true", "--threshold=20", "--no-pager"]).arg(unit);
        program::run(&command, 60)
    };
    for unit in ["bulak.service", "bulak-hub.service"] {
        let verdict = judge(&kit::root().join("config/systemd").join(unit));
        let words = String::from_utf8_lossy(&verdict.stdout);
        assert!(verdict.status.success() && words.contains("Overall exposure level"), "{unit}: {words}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let open = folder.path().join("open.service");
    fs::write(&open, "[Service]\nExecStart=/bin/true\n").expect("a file");
    assert!(!judge(&open).status.success(), "a unit without any protection passes: the check sees nothing");
}

#[test]
fn systemd_hears_of_the_start_of_life_and_of_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
    let hear = || {
        let mut words = [0; 256];
        let length = socket.recv(&mut words).expect("systemd is told in time");
        String::from_utf8_lossy(&words[..length]).trim().to_owned()
    };
    let mut node = Setup::new().env("NOTIFY_SOCKET", path.to_str().expect("a path")).env("WATCHDOG_USEC", WATCHDOG).start_in(folder);
    assert_eq!(hear(), "READY=1");
    for _ in 0..4 {
        assert_eq!(hear(), "WATCHDOG=1");
    }
    assert!(node.terminate().success());
    let last = std::iter::repeat_with(hear).find(|word| word != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
}

#[test]
fn its_own_user_and_the_ports_below_1024_are_enough() {
    if !is_root() || program::find("setpriv").is_none() {
        return program::skipped("its_own_user_and_the_ports_below_1024_are_enough", "becoming another user needs root and setpriv");
    }
    let origin = Origin::start(|_| Reply::Bytes(ok(&["Cache-Control: public, max-age=3600"], b"a lesson")));
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
    // The build's folder may be closed to others.
    let program = copied(folder.path());
    let become_nobody = format!(
        "shift; exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --no-new-privs --inh-caps=-all,+net_bind_service \
         --ambient-caps=-all,+net_bind_service --bounding-set=-all,+net_bind_service {} \"$@\"",
        program.display()
    );
    // An address of this machine's own network that nothing else listens on.
    let port = "127.83.14.7:80";
    let mut node = Setup::new()
        .set("web.listen", &format!("[\"{port}\"]"))
        .host("o.school.test", origin.addr)
        .under(&["sh", "-c", &become_nobody, "sh"])
        .start_in(folder);
    assert_eq!(node.web.to_string(), port);
    assert_eq!(node.twice("http://o.school.test/1").text(), "a lesson");

    let status = fs::read_to_string(format!("/proc/{}/status", node.id())).expect("it runs");
    let of = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect("a line").trim().to_owned();
    assert_eq!((of("CapEff:"), of("CapBnd:"), of("NoNewPrivs:")), (PORTS_ALONE.into(), PORTS_ALONE.into(), "1".into()));
    assert!(of("Uid:").split_whitespace().all(|id| id == NOBODY.to_string()), "{}", of("Uid:"));

    assert!(node.terminate().success());
    let mut seen = 0;
    for part in ["state", "store"] {
        closed_to_others(&node.folder.path().join(part), &mut seen);
    }
    assert!(seen > 4, "only {seen} files were looked at");
    let key = fs::metadata(node.folder.path().join("state/node.key")).expect("the node's key");
    assert_eq!(key.mode() & 0o777, 0o600, "the node's key");
}

/// The program in a folder: what it says on stderr, and how it ends. `act` is called while it starts, with its process id.
fn started_in(folder: &Path, act: impl FnOnce(u32)) -> (String, Option<i32>) {
    let (state, store) = (folder.join("state"), folder.join("cache"));
    let mut command = Command::new(binary());
    command.args(["serve", "--ephemeral"]).env("BULAK_NODE__STATE", &state).env("BULAK_STORE__PATH", &store);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
    act(child.id());
    let output = child.wait_with_output().expect("ends");
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

#[test]
fn root_leaves_the_folders_of_the_services_user_alone() {
    if !is_root() {
        return program::skipped("root_leaves_the_folders_of_the_services_user_alone", "another user's file needs root");
    }
    for file in ["cache/FORMAT", "state/node.key"] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("ours");
        fs::write(&path, "").expect("a file");
        std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).expect("root may");
        let (told, code) = started_in(folder.path(), |_| ());
        assert!(code == Some(5) && told.contains("belongs to another user (number 65534)"), "{code:?} {told}");
        let left = |place: &str| fs::read_dir(folder.path().join(place)).map_or(0, Iterator::count);
        assert_eq!(left("cache") + left("state"), 1, "nothing was written");
    }
}

#[test]
fn whoever_is_told_to_end_while_it_starts_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    fs::create_dir_all(&state).expect("ours");
    // Another process holds its database: that start would take some seconds and fail.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _held = runtime.block_on(async {
        let place = sqlx::sqlite::SqliteConnectOptions::new().filename(state.join("node.sqlite")).create_if_missing(true);
        let mut held = sqlx::ConnectOptions::connect(&place).await.expect("opens");
        sqlx::query("PRAGMA locking_mode = EXCLUSIVE").execute(&mut held).await.expect("locks");
        sqlx::query("BEGIN EXCLUSIVE").execute(&mut held).await.expect("locks");
        held
    });
    let (told, code) = started_in(folder.path(), |id| {
        kit::until("the store is open", 60, || folder.path().join("cache/FORMAT").exists());
        let id = rustix::process::Pid::from_raw(i32::try_from(id).expect("a process")).expect("a process");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("ours");
    });
    assert_eq!(code, Some(0), "{told}");
}

/// The paths of this kind that the sources name outside their tests.
fn named(folder: &Path, start: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            if !entry.ends_with("tests") {
                named(&entry, start, found);
            }
            continue;
        }
        let text = fs::read_to_string(&entry).expect("a source");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let paths = code.split('"').filter(|piece| piece.starts_with(start) && !entry.ends_with("tests.rs"));
        found.extend(paths.filter_map(|path| path.split('{').next()).map(str::to_owned));
    }
}

#[test]
fn what_the_node_reads_of_proc_is_there_for_a_service() {
    let (Some(unshare), true) = (program::find("unshare"), is_root()) else {
        return program::skipped("what_the_node_reads_of_proc_is_there_for_a_service", "another /proc needs root and unshare");
    };
    let mut paths = Vec::new();
    named(&kit::root().join("src"), "/proc/", &mut paths);
    assert!(paths.iter().any(|path| path == "/proc/self/net/arp"), "the neighbours' table: {paths:?}");
    // As `ProcSubset=pid` and `ProtectProc=invisible` have it.
    let look = |path: &str| {
        let mut command = Command::new(&unshare);
        let script = "mount -t proc -o subset=pid,hidepid=invisible proc /proc && test -e \"$1\"";
        command.args(["--mount", "sh", "-c", script, "sh", path]);
        program::run(&command, 30).status.success()
    };
    if !look("/proc/self/status") {
        return program::skipped("what_the_node_reads_of_proc_is_there_for_a_service", "this root may mount nothing");
    }
    assert!(!look("/proc/net/arp"), "the check sees everything");
    for path in &paths {
        assert!(look(path), "{path} is not there for a service");
    }
}

/// Nothing below `folder` can be read or written by people outside the service's user and group.
fn closed_to_others(folder: &Path, seen: &mut usize) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let about = fs::symlink_metadata(&entry).expect("it is there");
        assert_eq!(about.mode() & 0o007, 0, "{} is open to others: {:o}", entry.display(), about.mode());
        *seen += 1;
        if about.is_dir() {
            closed_to_others(&entry, seen);
        }
    }
}

#[test]
fn what_the_installer_puts_down_serves() {
    let root = tempfile::tempdir().expect("a folder");
    let install = |words: &[&str]| {
        let mut command = Command::new(kit::root().join("scripts/install"));
        command.args(words).arg("--root").arg(root.path()).env("BULAK_BIN", binary());
        let told = program::run(&command, 60);
        assert!(told.status.success(), "{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
        String::from_utf8_lossy(&told.stdout).into_owned()
    };
    install(&["--hub"]);
    let at = |path: &str| root.path().join(path);
    for file in
        ["usr/bin/bulak", "lib/systemd/system/bulak.service", "lib/systemd/system/bulak-hub.service", "usr/lib/sysusers.d/bulak.conf"]
    {
        assert!(at(file).is_file(), "{file}");
    }
    for (unit, place) in
        [("bulak.service", "serve --config /etc/bulak/school.toml"), ("bulak-hub.service", "hub --config /etc/bulak/hub.toml")]
    {
        let text = fs::read_to_string(at("lib/systemd/system").join(unit)).expect("a unit");
        assert!(text.contains(&format!("ExecStart=/usr/bin/bulak {place}\n")), "{unit}");
    }
    let check = program::run(Command::new(at("usr/bin/bulak")).args(["config", "check", "--config"]).arg(at("etc/bulak/school.toml")), 60);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));

    fs::write(at("etc/bulak/school.toml"), "[node]\nname = \"ours\"\n").expect("a file");
    fs::write(at("lib/systemd/system/bulak-hub.service"), "[Service]\n").expect("a unit");
    install(&[]);
    assert_ne!(
        fs::read_to_string(at("lib/systemd/system/bulak-hub.service")).expect("a unit"),
        "[Service]\n",
        "a hub that is here grows old"
    );
    assert!(fs::read_to_string(at("etc/bulak/school.toml")).expect("a file").contains("ours"), "an update overwrote what somebody wrote");
    install(&["--remove"]);
    assert!(!at("usr/bin/bulak").exists() && at("etc/bulak/school.toml").exists(), "removing keeps what people wrote");
    let elsewhere = "[store]\n  path = \"/mnt/disk/bulak\"\n[node]\nstate = \"/var/lib/bulak\"\n";
    fs::write(at("etc/bulak/school.toml"), elsewhere).expect("a file");
    let told = install(&["--purge"]);
    let stays: Vec<&str> = told.lines().filter(|line| line.starts_with("stays, ")).collect();
    assert!(matches!(stays[..], [line] if line.ends_with(": /mnt/disk/bulak")), "{told}");
    assert!(!at("etc/bulak").exists(), "purging takes all");
}
