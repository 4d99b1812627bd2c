//! What a node stands on, with a worse place where the wished one cannot be had: a class with a proxy that remembers little is
//! better off than a class without a proxy. Every step down is an error in the log, and where it lasts, a reason not to be ready.
//!
//! Not stepped over: what another node holds. Two nodes on one store would be one too many.

use crate::admin::Ready;
use crate::base::clock::Clock;
use crate::base::count::Metrics;
use crate::base::unit::Bytes;
use crate::life::Life;
use crate::state::State;
use crate::store::{self, Store};
use crate::tls::trust;
use anyhow::Context;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;

/// Where the web port goes when nobody chose: the port that nobody has to type, else its usual neighbour.
const WEB_PORTS: [u16; 2] = [80, 8080];

/// A spare store takes no more: it lies where nobody planned for it.
const SPARE_QUOTA: Bytes = Bytes::mib(256);

/// The spare store's folder, below `node.state`.
const SPARE: &str = "store.spare";

/// The state database: the file, else a new file beside the damaged one, else in memory until the next start. Whether it lasts beyond that.
///
/// # Errors
/// When another process holds it, or there is not even memory.
pub(super) async fn state(folder: &Path, ready: &Ready) -> anyhow::Result<(State, bool)> {
    let file = folder.join("node.sqlite");
    if let Some(gone) = gone(folder) {
        tracing::error!(folder = %folder.display(), "{gone}");
    }
    let first = match open_sound(&file).await {
        Ok(state) => return Ok((state, true)),
        Err(error) => error,
    };
    anyhow::ensure!(!first.busy, "{} is held by another process ({}); stop it, or choose another node.state", file.display(), first.why);
    let mut why = first.why;
    if first.damaged {
        let again = match move_aside(&file) {
            Ok(bad) => {
                tracing::error!(bad = %bad.display(), why, "the state database is damaged: it was moved aside and a new one begins");
                open_sound(&file).await.map_err(|error| error.why)
            }
            Err(error) => Err(format!("{why}; it cannot be moved aside ({error})")),
        };
        match again {
            Ok(state) => return Ok((state, true)),
            Err(reason) => why = reason,
        }
    }
    tracing::error!(file = %file.display(), why, "the state database cannot be used: the night's progress is kept in memory until the next start, and nothing is told to the hub");
    ready.down("state", format!("is in memory only: {why}"));
    Ok((State::open(None).await.context("a state database in memory")?, false))
}

/// What has gone of a state that was there: key and database are made together, at the first start.
fn gone(folder: &Path) -> Option<&'static str> {
    let about = |name: &str| std::fs::symlink_metadata(folder.join(name));
    let key = about("node.key").is_ok();
    let database = about("node.sqlite").is_ok_and(|about| !about.is_file() || about.len() > 0);
    match (key, database) {
        (false, true) => Some(
            "node.key is gone and a new key is made, which the hub takes for another node; put the old one back from a backup, or enrol this node anew",
        ),
        (true, false) => Some(
            "node.sqlite is gone and a new one begins: tokens, history and reports that waited are lost; put it back from a backup, or make new tokens",
        ),
        _ => None,
    }
}

/// Why a file is no state database.
struct Unsound {
    why: String,
    damaged: bool,
    busy: bool,
}

impl From<crate::state::Error> for Unsound {
    fn from(error: crate::state::Error) -> Unsound {
        Unsound { why: error.to_string(), damaged: error.is_damage(), busy: error.is_busy() }
    }
}

async fn open_sound(file: &Path) -> Result<State, Unsound> {
    let state = State::open(Some(file)).await?;
    let sound = state.is_sound().await;
    if let Ok(true) = sound {
        return Ok(state);
    }
    state.close().await;
    Err(match sound {
        Err(error) => error.into(),
        Ok(_) => Unsound { why: String::from("its pages do not fit each other"), damaged: true, busy: false },
    })
}

/// Renames a database and what belongs to it to `….bad`, over an older one.
fn move_aside(file: &Path) -> io::Result<PathBuf> {
    let with = |end: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let bad = with(".bad");
    std::fs::rename(file, &bad)?;
    for end in ["-wal", "-shm"] {
        match std::fs::rename(with(end), with(&format!(".bad{end}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(bad)
}

/// The store, else a small one below `folder`, else in the system's temporary folder. Blocking, and within the runtime.
///
/// # Errors
/// When another process has the store open, or no place can be had.
pub(super) fn store(
    settings: &store::Settings,
    folder: &Path,
    ready: &Ready,
    clock: &Clock,
    life: &Life,
    metrics: &Metrics,
) -> anyhow::Result<Store> {
    let open = |settings: store::Settings| Store::open(settings, clock.clone(), life, metrics);
    let spare = folder.join(SPARE);
    let first = match open(settings.clone()) {
        Ok(store) => {
            ready.up("store");
            forget(&spare);
            return Ok(store);
        }
        Err(error) => error,
    };
    if is_in_use(&first) {
        return Err(anyhow::Error::new(first).context(format!("store.path {}", settings.path.display())));
    }
    tracing::error!(path = %settings.path.display(), why = %first, "the store cannot be used: a small one elsewhere serves until that is mended");
    let temporary = std::env::temp_dir().join(format!("bulak-{SPARE}-{}", std::process::id()));
    for path in [spare, temporary] {
        let quota = SPARE_QUOTA.min(settings.quota);
        match private(&path)
            .map_err(store::Error::from)
            .and_then(|()| open(store::Settings { path: path.clone(), quota, ..settings.clone() }))
        {
            Ok(store) => {
                ready.down("store", format!("of store.path is not in use ({first}); {} holds {quota} instead", path.display()));
                return Ok(store);
            }
            Err(error) => tracing::error!(path = %path.display(), %error, "no place for a spare store"),
        }
    }
    Err(anyhow::Error::new(first).context(format!("store.path {}", settings.path.display())))
}

/// The store tells a second node from a broken folder by its words alone.
fn is_in_use(error: &store::Error) -> bool {
    matches!(error, store::Error::Unusable(why) if why.contains("another process"))
}

/// Those of the files of `upstream.extra_roots` that can be used. Without one, less is trusted: the hosts that it vouches for are not
/// reached. Not stepped over: a list of what was revoked, without which more would be.
pub(super) fn roots(files: &[PathBuf], ready: &Ready) -> Vec<PathBuf> {
    let mut missing = Vec::new();
    let usable = files.iter().filter(|file| trust::check_roots(file).inspect_err(|why| missing.push(format!("{why:#}"))).is_ok());
    let usable = usable.cloned().collect();
    if !missing.is_empty() {
        let missing = missing.join("; ");
        tracing::error!(
            missing,
            "hosts that only upstream.extra_roots vouches for are not reached until that is mended and the node restarted"
        );
        ready.down("trust", format!("lacks roots, and hosts that only they vouch for are not reached: {missing}"));
    }
    usable
}

/// Makes a folder that nobody else may look into.
fn private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

/// What a bad day left behind.
fn forget(spare: &Path) {
    match std::fs::remove_dir_all(spare) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %spare.display(), %error, "a spare store that is no longer needed stays behind");
        }
        _ => {}
    }
}

/// The web port: where it was put, else the first of its usual places that is free. What is missing of that, in words.
pub(super) async fn web(listen: &[SocketAddr]) -> (Vec<TcpListener>, Option<String>) {
    let (mut listeners, mut missing) = (Vec::new(), Vec::new());
    for address in listen {
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            Err(error) => missing.push(format!("web.listen {address}: {error}")),
        }
    }
    for port in WEB_PORTS.iter().filter(|_| listen.is_empty()) {
        match TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], *port))).await {
            Ok(listener) => return (vec![listener], None),
            Err(error) => missing.push(format!("web port {port}: {error}")),
        }
    }
    let missing = missing.join("; ");
    if missing.is_empty() {
        return (listeners, None);
    }
    tracing::error!(
        missing,
        "portal and proxy.pac are not served there; the proxy runs all the same (\"ss -ltnp\" shows who holds a port)"
    );
    (listeners, Some(missing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Time;
    use crate::state::outbox::{Label, Sealed};

    #[test]
    fn what_has_gone_is_told_and_a_first_start_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let (key, database) = (folder.path().join("node.key"), folder.path().join("node.sqlite"));
        assert_eq!(gone(folder.path()), None, "a first start");
        std::fs::write(&database, "pages").expect("writes");
        assert!(gone(folder.path()).is_some_and(|told| told.starts_with("node.key is gone")));
        std::fs::write(&key, "key").expect("writes");
        assert_eq!(gone(folder.path()), None);
        std::fs::write(&database, "").expect("writes");
        assert!(gone(folder.path()).is_some_and(|told| told.starts_with("node.sqlite is gone")), "emptied");
        std::fs::remove_file(&database).expect("removed");
        assert!(gone(folder.path()).is_some_and(|told| told.starts_with("node.sqlite is gone")));
    }

    fn ready() -> (Ready, Metrics) {
        let metrics = Metrics::default();
        (Ready::new(&metrics, &["store"]), metrics)
    }

    #[tokio::test]
    async fn a_damaged_database_is_moved_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("node.sqlite");
        let (ready, _) = ready();
        let label = Label { kind: "hour", made: Time::BUILT, blind: false };
        let fill = async |state: &State| {
            for number in 0..2000 {
                state.outbox().add(number, label, Time::BUILT, |_, _| Ok(Sealed::plain(vec![7; 200]))).await.expect("adds");
            }
        };
        state(folder.path(), &ready).await.expect("a new one").0.close().await;
        let (healthy, lasts) = state(folder.path(), &ready).await.expect("the same again");
        assert!(lasts);
        fill(&healthy).await;
        healthy.close().await;
        assert!(!folder.path().join("node.sqlite.bad").exists());
        // First no database at all, then one whose head is well and whose pages are not.
        let whole = std::fs::read(&file).expect("reads");
        let mut torn = whole.clone();
        let middle = whole.len() / 4..whole.len() / 2;
        torn[middle].fill(0xa5);
        for bad in [b"this is no database".repeat(500), torn] {
            std::fs::write(&file, &bad).expect("writes");
            let (anew, _) = state(folder.path(), &ready).await.expect("starts");
            assert_eq!(anew.outbox().count().await.expect("works").waiting, 0);
            anew.close().await;
            assert_eq!(std::fs::read(folder.path().join("node.sqlite.bad")).expect("kept"), bad);
        }
        assert!(!ready.reasons().iter().any(|reason| reason.starts_with("state")));
    }

    #[tokio::test]
    async fn without_a_folder_the_state_lives_in_memory() {
        let folder = tempfile::tempdir().expect("a folder");
        let (ready, _) = ready();
        let (state, lasts) = state(&folder.path().join("missing"), &ready).await.expect("starts");
        assert!(!lasts);
        assert_eq!(state.outbox().count().await.expect("works").waiting, 0);
        assert!(ready.reasons().iter().any(|reason| reason.starts_with("state is in memory only")), "{:?}", ready.reasons());
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_used_is_replaced_and_one_in_use_is_not() {
        let (folder, life, clock) = (tempfile::tempdir().expect("a folder"), Life::default(), Clock::system());
        let settings = |name: &str| store::Settings {
            path: folder.path().join(name),
            index_cache: Bytes(0),
            ..crate::config::Config::default().store
        };
        let spare = folder.path().join(SPARE);
        std::fs::create_dir(folder.path().join("newer")).expect("makes");
        std::fs::write(folder.path().join("newer/FORMAT"), "version 999\n").expect("writes");
        std::fs::write(folder.path().join("file"), "no folder").expect("writes");
        for name in ["file", "newer"] {
            let (ready, metrics) = ready();
            let store = store(&settings(name), folder.path(), &ready, &clock, &life, &metrics).expect("a spare one");
            assert!(ready.reasons().iter().any(|reason| reason.contains("store.spare")), "{name}: {:?}", ready.reasons());
            assert!(spare.is_dir());
            store.close().await.expect("closes");
        }
        let (ready, metrics) = ready();
        let _held = store(&settings("good"), folder.path(), &ready, &clock, &life, &metrics).expect("opens");
        assert!(ready.reasons().is_empty() && !spare.exists(), "what the bad days left is gone");
        let error = store(&settings("good"), folder.path(), &ready, &clock, &life, &Metrics::default()).err().expect("in use");
        assert!(format!("{error:#}").contains("another process"), "{error:#}");
        life.stop();
    }

    #[tokio::test]
    async fn a_taken_web_port_is_named_and_the_others_serve() {
        let held = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let taken = held.local_addr().expect("bound");
        let (listeners, missing) = web(&[taken, SocketAddr::from(([127, 0, 0, 1], 0))]).await;
        assert_eq!(listeners.len(), 1);
        assert!(missing.expect("named").contains(&taken.to_string()));
        let (listeners, missing) = web(&[SocketAddr::from(([127, 0, 0, 1], 0))]).await;
        assert_eq!((listeners.len(), missing), (1, None));
    }
}
