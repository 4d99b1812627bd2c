//! Debian's squid: the proxy that schools may already have, beside, before or behind ours.

use crate::kit;
use crate::kit::program::{self, Running};
use crate::kit::tls::Pair;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use tempfile::TempDir;

/// A running squid.
pub(crate) struct Squid {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    child: Running,
    _folder: TempDir,
}

impl Squid {
    /// Starts on a free loopback port, with the names of [`nginx`](crate::kit::nginx) at 127.0.0.1; asks `parent` for everything when there is one.
    pub(crate) fn start(parent: Option<SocketAddr>) -> Squid {
        Squid::open(parent, None)
    }

    /// Starts a squid that speaks TLS with its clients.
    pub(crate) fn secure(pair: &Pair) -> Squid {
        Squid::open(None, Some(pair))
    }

    fn open(parent: Option<SocketAddr>, pair: Option<&Pair>) -> Squid {
        let folder = tempfile::tempdir().expect("a folder");
        open_to_all(folder.path());
        let log = folder.path().join("squid.out");
        for _ in 0..5 {
            let port = kit::free_port();
            let config = folder.path().join("squid.conf");
            fs::write(&config, configuration(folder.path(), port, parent, pair)).expect("a file");
            let mut child = program::start(Command::new(program::need("squid")).arg("-N").arg("-f").arg(&config), &log);
            let mut listening = false;
            kit::until("squid listens or has ended", 30, || {
                listening = std::net::TcpStream::connect(kit::loopback(port)).is_ok();
                listening || child.0.try_wait().expect("a child").is_some()
            });
            if listening && child.0.try_wait().expect("a child").is_none() {
                return Squid { addr: kit::loopback(port), child, _folder: folder };
            }
        }
        panic!("squid does not start: {}", kit::tail(&log, 10));
    }
}

/// squid started by root continues as another user, who must be able to write here.
fn open_to_all(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("permissions");
}

impl Squid {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.0.id()
    }
}

fn configuration(folder: &std::path::Path, port: u16, parent: Option<SocketAddr>, pair: Option<&Pair>) -> String {
    let here = folder.display();
    let listen = match pair {
        Some(pair) => format!("https_port 127.0.0.1:{port} tls-cert={} tls-key={}", pair.certificate.display(), pair.key.display()),
        None => format!("http_port 127.0.0.1:{port}"),
    };
    let text = format!(
        "{listen}\nhttp_access allow all\npid_filename {here}/squid.pid\ncache_log {here}/cache.log\n\
         access_log none\ncache_store_log none\ncoredump_dir {here}\ncache_mem 64 MB\nmaximum_object_size_in_memory 32 MB\n\
         memory_cache_shared off\npinger_enable off\nshutdown_lifetime 0 seconds\nvisible_hostname squid.school.test\n\
         netdb_filename none\nhosts_file {here}/hosts\n"
    );
    let names = ["docs", "assets", "plain", "gzip", "big"].map(|name| format!("127.0.0.1 {name}.school.test\n"));
    fs::write(folder.join("hosts"), names.concat()).expect("a file");
    let port = parent.map(|parent| parent.port());
    let parent = port.map(|port| format!("cache_peer 127.0.0.1 parent {port} 0 no-query no-digest default\nnever_direct allow all\n"));
    text + &parent.unwrap_or_default()
}
