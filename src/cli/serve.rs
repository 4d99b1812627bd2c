//! `bulak serve`: the node in the foreground, until SIGTERM. One line on stdout when it is ready; the log goes to stderr.
//!
//! `--ephemeral` needs no file and no root: free ports on loopback, a temporary folder, nothing left behind. File and environment
//! still count where they say something.

use crate::app;
use crate::base::unit::Bytes;
use crate::cli::owner::{is_root, stranger};
use crate::cli::{Context, Exit, Failure};
use crate::config::{self, Complaints, Config};
use crate::policy::Kind;
use crate::store;
use crate::tls::trust;
use clap::ValueEnum;
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// `bulak serve`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  bulak serve --config school.toml\n  bulak serve --ephemeral --policy rfc9111 --json")]
pub(crate) struct Args {
    /// No file, no root, free ports on loopback, nothing left behind
    #[arg(long)]
    ephemeral: bool,
    /// Which rules hold, whatever the configuration says
    #[arg(long, value_name = "NAME")]
    policy: Option<Policy>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Policy {
    /// RFC 9111, privacy rules, offline override
    School,
    /// A plain shared cache
    Rfc9111,
}

/// Quota of an ephemeral node: it may live on a small or memory-backed `/tmp`.
const EPHEMERAL_QUOTA: Bytes = Bytes::gib(4);

pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let (config, folder) = prepare(context, &args)?;
    leave_anothers(&config)?;
    if context.dry_run {
        let places =
            json!({ "proxy": config.proxy.listen, "web": config.web.listen, "store": config.store.path, "state": config.node.state });
        context.show(&places, || format!("no errors found; would serve with {places}"))?;
        return Ok(Exit::Done);
    }
    context.log(&config.node.log)?;
    let json = context.json;
    let context_of_ready = context.clone();
    let (again, place) = (context.clone(), folder.as_ref().map(|folder| folder.0.clone()));
    let reread: app::Reread = Box::new(move || read(&again, &args, place.as_deref()));
    let result = app::run(config, reread, move |addresses| context_of_ready.print(&ready(&addresses, json))).await;
    if let Some(folder) = folder {
        folder.remove();
    }
    result.map(|()| Exit::Done).map_err(|error| explain(&error))
}

/// Root may write into the folders of the service's user, who could not read afterwards what root has made there.
fn leave_anothers(config: &Config) -> Result<(), Failure> {
    if !is_root() {
        return Ok(());
    }
    for file in [config.store.path.join("FORMAT"), config.node.state.join("node.key")] {
        if let Ok(Some(owner)) = stranger(&file) {
            let message = format!("{} belongs to another user (number {owner})", file.display());
            let remedy = "run it as that user (\"sudo -u bulak bulak serve\"), or with folders of its own (--ephemeral)";
            return Err(Failure::new("serve.other_user", message, remedy).exit(Exit::NotAllowed));
        }
    }
    Ok(())
}

fn prepare(context: &Context, args: &Args) -> Result<(Config, Option<Folder>), Failure> {
    let folder = if args.ephemeral { Some(Folder::make()?) } else { None };
    let config = read(context, args, folder.as_ref().map(|folder| folder.0.as_path()))?;
    Ok((config, folder))
}

/// File, environment and arguments; at the start, and again at every SIGHUP. `folder`: that of an ephemeral node.
fn read(context: &Context, args: &Args, folder: Option<&Path>) -> Result<Config, Complaints> {
    let mut config = match (&context.config, folder) {
        // The usual place belongs to the installed node: for an ephemeral one only a file that was named counts.
        (None, Some(_)) => config::parse("", config::environment(), "the environment")?,
        (path, _) => config::load(path.as_deref(), config::environment())?,
    };
    if let Some(folder) = folder {
        ephemeral(&mut config, folder);
    }
    if let Some(policy) = args.policy {
        let (kind, word) = match policy {
            Policy::School => (Kind::School, "school"),
            Policy::Rfc9111 => (Kind::Rfc9111, "rfc9111"),
        };
        config.cache.rules.kind = kind;
        word.clone_into(&mut config.written.cache.policy);
    }
    Ok(config)
}

/// Puts the values of an ephemeral node where neither file nor environment say something.
fn ephemeral(config: &mut Config, folder: &Path) {
    let unset = |key: &str| !config.places.contains_key(key);
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (state, cache) = (folder.join("state"), folder.join("cache"));
    let (set_state, set_socket, set_path, set_quota) =
        (unset("node.state"), unset("node.socket"), unset("store.path"), unset("store.quota"));
    let (set_proxy, set_web, set_packs) = (unset("proxy.listen"), unset("web.listen"), unset("packs.paths"));
    let set_mirror = unset("mirror.listen");
    if set_socket {
        // An own state folder with an installed node's socket in it must not be taken over.
        config.node.socket = if set_state { state.join("bulak.sock") } else { config.node.state.join("bulak.sock") };
        config.written.node.socket.clone_from(&config.node.socket);
    }
    if set_state {
        config.written.node.state.clone_from(&state);
        config.node.state = state;
    }
    if set_path {
        config.written.store.path.clone_from(&cache);
        config.store.path = cache;
    }
    if set_quota {
        config.written.store.quota = EPHEMERAL_QUOTA;
        config.store.quota = EPHEMERAL_QUOTA;
    }
    if set_proxy {
        config.written.proxy.listen = vec![free.to_string()];
        config.proxy.listen = vec![free];
    }
    if set_web {
        config.written.web.listen = vec![free.to_string()];
        config.web.listen = vec![free];
    }
    if set_mirror {
        config.written.mirror.listen = vec![free.to_string()];
        config.mirror.listen = vec![free];
    }
    if set_packs {
        config.written.packs.paths.clear();
        config.packs.paths.clear();
    }
}

/// The line that scripts wait for.
fn ready(addresses: &app::Addresses, json: bool) -> String {
    let first = |list: &[SocketAddr]| list.first().map_or(Value::Null, |addr| json!(addr.to_string()));
    let (proxy, web) = (first(&addresses.proxy), first(&addresses.web));
    if json {
        let socket = addresses.socket.as_ref().map(|path| path.display().to_string());
        let all = json!({ "proxy": addresses.proxy, "tls": addresses.tls, "sni": addresses.sni, "web": addresses.web, "mirror": addresses.mirror });
        return json!({ "ready": true, "proxy": proxy, "web": web, "socket": socket, "listen": all }).to_string();
    }
    let word = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let mut line = format!("ready proxy={} web={}", word(&proxy), word(&web));
    // Further listeners where there are some.
    for (name, list) in [("mirror", &addresses.mirror), ("tls", &addresses.tls), ("sni", &addresses.sni)] {
        if let Some(addr) = list.first() {
            line = format!("{line} {name}={addr}");
        }
    }
    line
}

/// The error form of what ended a node.
fn explain(error: &anyhow::Error) -> Failure {
    if let Some(store) = error.chain().find_map(|step| step.downcast_ref::<store::Error>()) {
        let (id, _, remedy) = store.told();
        // What cannot be used says what to do itself.
        let remedy = if matches!(store, store::Error::Unusable(_)) { "" } else { &remedy };
        return Failure::of(id, error, remedy);
    }
    if error.downcast_ref::<trust::Untrusted>().is_some() {
        return Failure::of("upstream.trust", error, trust::UNTRUSTED);
    }
    let kind = error.chain().find_map(|step| step.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    let (id, remedy) = match kind {
        Some(ErrorKind::AddrInUse) => ("listen.taken", "end the program that holds it (\"ss -ltnp\" shows it), or choose another address"),
        Some(ErrorKind::AddrNotAvailable) => ("listen.not_ours", "this machine has no such address: choose one of its own, or 0.0.0.0"),
        Some(ErrorKind::PermissionDenied) => {
            ("node.not_allowed", "use a port above 1024 or folders of this user, or run it as its service does")
        }
        _ => ("node.failed", "\"bulak doctor\" says more"),
    };
    Failure::of(id, error, remedy)
}

/// A temporary folder that is removed at the end, also by a panic.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Folder, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let path = std::env::temp_dir().join(format!("bulak-{}", uuid::Uuid::new_v4().simple()));
        // Keys live here: nobody else may look in.
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|error| {
            Failure::new(
                "node.no_folder",
                format!("{} cannot be made ({error})", path.display()),
                "point TMPDIR at a folder that can be written",
            )
        })?;
        Ok(Folder(path))
    }

    fn remove(self) {
        drop(self);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "temporary folder stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_has_the_agreed_form() {
        let addresses = app::Addresses {
            proxy: vec!["127.0.0.1:3128".parse().expect("an address")],
            web: vec!["127.0.0.1:8080".parse().expect("an address")],
            ..app::Addresses::default()
        };
        assert_eq!(ready(&addresses, false), "ready proxy=127.0.0.1:3128 web=127.0.0.1:8080");
        let more = app::Addresses { tls: vec!["127.0.0.1:3129".parse().expect("an address")], ..addresses.clone() };
        assert_eq!(ready(&more, false), "ready proxy=127.0.0.1:3128 web=127.0.0.1:8080 tls=127.0.0.1:3129");
        let document: Value = serde_json::from_str(&ready(&addresses, true)).expect("JSON");
        assert_eq!(
            (&document["ready"], &document["proxy"], &document["web"]),
            (&json!(true), &json!("127.0.0.1:3128"), &json!("127.0.0.1:8080"))
        );
    }

    #[test]
    fn an_ephemeral_node_leaves_nothing_behind_and_minds_what_was_set() {
        let set = [("BULAK_PROXY__LISTEN".to_owned(), "[\"127.0.0.1:4000\"]".to_owned())];
        let mut config = config::parse("[store]\nquota = \"1 GiB\"\n", set.into_iter(), "x").expect("right");
        let folder = Folder::make().expect("a folder");
        let path = folder.0.clone();
        ephemeral(&mut config, &path);
        assert_eq!(config.proxy.listen, ["127.0.0.1:4000".parse().expect("an address")]);
        assert_eq!(config.web.listen, ["127.0.0.1:0".parse().expect("an address")]);
        assert_eq!(config.store.quota, Bytes::gib(1));
        assert!(config.node.state.starts_with(&path) && config.store.path.starts_with(&path) && config.node.socket.starts_with(&path));
        assert!(config.packs.paths.is_empty());
        std::fs::write(path.join("left"), "over").expect("writes");
        folder.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_taken_port_and_a_used_store_say_what_to_do() {
        let taken = std::io::Error::from(ErrorKind::AddrInUse);
        let failure = explain(&anyhow::Error::from(taken).context("web.listen 127.0.0.1:80"));
        assert_eq!((failure.id.as_str(), failure.exit), ("listen.taken", Exit::Failed));
        assert!(failure.message.contains("web.listen 127.0.0.1:80"), "{}", failure.message);
        assert_eq!(explain(&anyhow::Error::from(store::Error::Unusable("in use by process 7".into()))).id, "store.unusable");
    }
}
