//! PostgreSQL from Debian in a folder of its own: made, started and thrown away by whoever needs it, reached by a socket in that folder.
//!
//! `initdb` and `postgres` refuse to be root, so root runs them as `postgres`. Nothing here needs more than the standard library and a
//! signal: unit tests and benches include it as well.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server of its own. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    server: Child,
}

impl Cluster {
    /// Makes and starts one; `None` when `BULAK_NO_POSTGRES` is set, as the fast tests set it.
    pub(crate) fn start() -> Option<Cluster> {
        Cluster::with(&["-c", "fsync=off"])
    }

    /// The same with settings of the server's (`-c name=value`).
    pub(crate) fn with(settings: &[&str]) -> Option<Cluster> {
        if std::env::var_os("BULAK_NO_POSTGRES").is_some() {
            eprintln!("SKIPPED on PostgreSQL: BULAK_NO_POSTGRES is set");
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/skipped");
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(folder.join("on PostgreSQL"), "BULAK_NO_POSTGRES is set\n").expect("a file");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let somebody = somebody();
        if let Some((user, group)) = somebody {
            chown(folder.path(), Some(user), Some(group)).expect("a folder of postgres");
        }
        let data = folder.path().join("data");
        let program = |name: &str| {
            let mut command = Command::new(programs().join(name));
            command.current_dir(folder.path()).stdin(Stdio::null()).env_clear().env("LC_ALL", "C");
            if let Some((user, group)) = somebody {
                command.uid(user).gid(group);
            }
            command
        };
        let made = program("initdb").arg("-D").arg(&data).args(["-A", "trust", "-U", "hub", "-N", "-E", "UTF8", "--locale=C"]).output();
        let made = made.expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut server = program("postgres");
        server.arg("-D").arg(&data).arg("-k").arg(folder.path()).args(["-c", "listen_addresses=", "-c", "log_min_messages=warning"]);
        let mut server = server.args(settings).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("postgres runs");
        // It says when it is ready; what it says later is thrown away, so that it never waits for a reader.
        let mut told = BufReader::new(server.stderr.take().expect("its log"));
        let mut log = String::new();
        while !log.contains("ready to accept connections") {
            assert!(told.read_line(&mut log).expect("its log") > 0, "postgres ended: {log}");
        }
        std::thread::spawn(move || std::io::copy(&mut told, &mut std::io::sink()));
        Some(Cluster { folder, server })
    }

    /// Where a database of this server is.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@localhost/{database}?host={}", self.folder.path().display())
    }

    /// The address of its first database.
    pub(crate) fn first(&self) -> String {
        self.url("hub", "postgres")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // At once, without a checkpoint: nobody will read it again.
        if let Some(pid) = i32::try_from(self.server.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        }
        let _ = self.server.wait();
    }
}

/// Who runs the server: nobody else, unless we are root.
fn somebody() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let number = |what: &str| {
        let told = Command::new("id").args([what, "postgres"]).output().expect("id runs");
        let text = String::from_utf8_lossy(&told.stdout).trim().to_owned();
        text.parse::<u32>().expect("there is no user postgres; install postgresql (scripts/need)")
    };
    Some((number("-u"), number("-g")))
}

/// The newest of Debian's folders.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let number = |path: &Path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let newest = versions.map(|entry| entry.path()).filter(|path| path.join("bin/initdb").exists()).max_by_key(|path| number(path));
    newest.expect("PostgreSQL is not installed (scripts/need); or set BULAK_NO_POSTGRES").join("bin")
}
