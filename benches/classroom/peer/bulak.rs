//! bulak as it comes: the defaults of `config/school.toml`, no pack, no night; the banner on pages of a dead line is off, since devices here
//! compare every byte.

use super::{Life, Peer, Start};
use crate::classroom::content::HOST;
use crate::classroom::process::Family;
use crate::kit::node::Setup;

/// Starts it, with a key changed if one is given.
pub(super) fn start(here: Start<'_>, changed: Option<(&str, &str)>) -> Result<Peer, String> {
    let words = here.words();
    let setup = Setup::new()
        .host(HOST, here.near())
        .set("proxy.allow_private_targets", "[\"127.0.0.0/8\", \"198.18.0.0/15\"]")
        // The longest body that it takes of a class is a tenth of that; the others are told that 2 GB are not too long.
        .set("store.quota", "\"8 GB\"")
        .set("store.memory", "\"64 MiB\"")
        .set("night.windows", "[]")
        .set("node.log", "\"warn\"");
    let setup = changed.into_iter().fold(setup, |setup, (key, value)| setup.set(key, value));
    let setup = if words.is_empty() { setup } else { setup.under(&words.iter().map(String::as_str).collect::<Vec<_>>()) };
    let (node, started) = setup.try_start_in(here.folder);
    started?;
    let family = Some(Family(node.id()));
    Ok(Peer {
        addr: node.proxy,
        prefix: format!("http://{HOST}"),
        host: HOST.to_owned(),
        family,
        _life: Life::Node { _node: Box::new(node) },
    })
}
