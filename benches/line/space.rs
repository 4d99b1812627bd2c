//! Network namespaces of our own: made, entered, removed, also after a panic, Ctrl-C or a kill.
//!
//! A name says whose it is (`bulak-PID-STARTED-N-near`), so that the next run finds what a killed one left behind. Nothing outside
//! these namespaces is touched: they have no way to the machine's own network.

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once};
use std::thread::JoinHandle;

/// Where `ip netns` keeps its names.
const PLACE: &str = "/run/netns";

/// What stands, for whoever has to leave in a hurry.
static STANDING: Mutex<Vec<String>> = Mutex::new(Vec::new());
static WATCH: Once = Once::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A namespace with an address on the line.
#[derive(Debug)]
pub(crate) struct Space {
    name: String,
    /// Its address on the line.
    pub(crate) addr: Ipv4Addr,
}

/// A common part of the names of one line's namespaces.
pub(crate) fn stem() -> String {
    let id = std::process::id();
    format!("bulak-{id}-{}-{}", started(id).unwrap_or(0), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Space {
    /// Makes a namespace. Its loopback is up, IPv6 is off (its chatter would use the line), and TCP starts every connection afresh.
    ///
    /// # Errors
    /// Without root, without `ip`, without namespaces.
    pub(crate) fn make(stem: &str, side: &str, addr: Ipv4Addr) -> io::Result<Space> {
        leave_nothing();
        let name = format!("{stem}-{side}");
        ip(&["netns", "add", &name], "")?;
        STANDING.lock().expect("no thread panics holding it").push(name.clone());
        let space = Space { name, addr };
        ip(&["-n", &space.name, "link", "set", "lo", "up"], "")?;
        space.enter(|| {
            fs::write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1")?;
            // A kernel without IPv6 has nothing to turn off.
            let _off = fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
            let _off = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            io::Result::Ok(())
        })?;
        Ok(space)
    }

    /// A namespace with this address on its loopback, and no way out of it.
    ///
    /// # Errors
    /// As for [`Space::make`].
    pub(crate) fn alone(addr: Ipv4Addr) -> io::Result<Space> {
        sweep();
        let space = Space::make(&stem(), "alone", addr)?;
        space.configure(&format!("address add {addr}/32 dev lo"))?;
        Ok(space)
    }

    /// Several lines for `ip -batch` in this namespace.
    ///
    /// # Errors
    /// What `ip` says.
    pub(crate) fn configure(&self, lines: &str) -> io::Result<()> {
        ip(&["-n", &self.name, "-batch", "-"], lines)
    }

    /// Put before a program's words, they run it in here.
    pub(crate) fn words(&self) -> Vec<String> {
        vec![String::from("nsenter"), format!("--net={}", self.path().display())]
    }

    /// A program in here. It becomes the program itself: the process id is the program's.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.arg(&words[1]).arg(program);
        command
    }

    /// Does some work on a thread in here and waits for it. Sockets made in here stay in here, wherever they are used.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let place = self.path();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_to(&place);
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a thread in here.
    pub(crate) fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let place = self.path();
        std::thread::spawn(move || {
            move_to(&place);
            work()
        })
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(PLACE).join(&self.name)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        remove(&self.name);
        STANDING.lock().expect("no thread panics holding it").retain(|standing| *standing != self.name);
    }
}

fn move_to(place: &Path) {
    let file = File::open(place).expect("the namespace stands");
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter a namespace");
}

/// Ends what still runs in a namespace and removes it.
fn remove(name: &str) {
    let listed = Command::new("ip").args(["netns", "pids", name]).output().map(|output| output.stdout).unwrap_or_default();
    for id in String::from_utf8_lossy(&listed).split_whitespace().filter_map(|id| id.parse::<i32>().ok()) {
        // Our own threads may be in there: they end with us.
        if u32::try_from(id).is_ok_and(|id| id != std::process::id())
            && let Some(id) = Pid::from_raw(id)
        {
            let _ended = kill_process(id, Signal::KILL); // it may just have ended by itself
        }
    }
    let _removed = ip(&["netns", "del", name], ""); // someone else may have found it, too
}

/// Removes what killed runs have left behind.
pub(crate) fn sweep() {
    for entry in fs::read_dir(PLACE).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let mut parts = name.split('-');
        let owner = (parts.next(), parts.next().and_then(|id| id.parse().ok()), parts.next().and_then(|time| time.parse().ok()));
        if let (Some("bulak"), Some(id), Some(time)) = owner
            && started(id) != Some(time)
        {
            remove(&name);
        }
    }
}

/// When a process was started, in ticks since boot: with its id a name that is never used twice.
fn started(id: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // Field 22; counted after the name, which may hold spaces.
    text.rsplit(')').next()?.split_whitespace().nth(19)?.parse().ok()
}

/// From now on Ctrl-C and SIGTERM end our children, remove what stands, and then end us.
pub(crate) fn leave_nothing() {
    WATCH.call_once(watch);
}

fn watch() {
    std::thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        let asked = runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            io::Result::Ok(())
        });
        if asked.is_ok() {
            end_children();
            let standing = STANDING.lock().map(|names| names.clone()).unwrap_or_default();
            for name in &*standing {
                remove(name);
            }
            std::process::exit(130);
        }
    });
}

fn end_children() {
    for thread in fs::read_dir("/proc/self/task").into_iter().flatten().filter_map(Result::ok) {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|id| id.parse::<i32>().ok()).filter_map(Pid::from_raw) {
            let _ended = kill_process(child, Signal::KILL); // it may just have ended by itself
        }
    }
}

fn ip(words: &[&str], input: &str) -> io::Result<()> {
    let mut child = Command::new("ip").args(words).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().expect("piped").write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim())))
}
