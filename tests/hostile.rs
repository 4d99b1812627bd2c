//! Hostile clients and hostile origins against the real program, and against any other proxy.
//!
//! `hostile/requests` and `hostile/answers` hold the cases as text (`hostile/script.rs` tells how to write one). A byte-exact client and
//! a byte-exact origin stand on either side, a strict reader judges: a proxy must be unsafe in none. `scripts/hostile` runs them
//! against Debian's squid, traffic server, apache, nginx and varnish, or against a proxy that runs somewhere already.
//! `BULAK_HOSTILE_ONLY=words` plays only the cases whose class, name or rule hold these words.

#[path = "kit/mod.rs"]
mod kit;

#[path = "hostile/careful.rs"]
mod careful;
#[path = "hostile/careless.rs"]
mod careless;
#[path = "hostile/client.rs"]
mod client;
#[path = "hostile/fill.rs"]
mod fill;
#[path = "hostile/judge.rs"]
mod judge;
#[path = "hostile/names.rs"]
mod names;
#[path = "hostile/origin.rs"]
mod origin;
#[path = "hostile/peers.rs"]
mod peers;
#[path = "hostile/script.rs"]
mod script;
#[path = "hostile/strict.rs"]
mod strict;
#[path = "hostile/table.rs"]
mod table;

use kit::node::{Node, Setup};
use origin::Origin;
use script::Case;
use table::{Outcome, table};

/// What the school's box may use while it is ill-treated: 32 MiB of hot objects, and work.
const MEMORY: u64 = 300 << 20;

fn node(policy: &str, origin: &Origin) -> Node {
    let port = origin.port;
    Setup::new()
        .set("cache.policy", &format!("\"{policy}\""))
        .set("proxy.allow_private_targets", &format!("[\"127.8.0.0/13:{port}\"]"))
        .set("proxy.connect_ports", &format!("[80, 443, {port}]"))
        .set("upstream.resolver", &format!("[\"{}\"]", names::start()))
        // Many origins fail here; the line does not.
        .set("link.check", &format!("[\"{}\"]", origin::healthy(port)))
        .start()
}

fn ours(policy: &str, cases: Vec<Case>) {
    let origin = Origin::start(0);
    let mut node = node(policy, &origin);
    let outcome = table::run(&format!("bulak-{policy}"), &node.proxy, &origin, cases);
    assert!(node.is_running(), "the node has ended");
    let peak = node.peak_memory();
    outcome.keep();
    print!("{}", table(&[&outcome]));
    let bad = outcome.complaints(false);
    assert!(bad.is_empty(), "{} of {} cases were unsafe:\n{bad}", outcome.count(None).1, outcome.count(None).0);
    assert_eq!(strangers(&origin), Vec::<String>::new(), "addresses out of bounds were connected to");
    assert!(peak < MEMORY, "{peak} bytes of memory at the peak");
}

/// Traps that belong to no case, since the address in it was not the case's own.
fn strangers(origin: &Origin) -> Vec<String> {
    origin.trapped().into_iter().filter(|(_, connections)| *connections > 0).map(|(at, _)| at.to_string()).collect()
}

#[test]
fn policy_school_is_unsafe_in_none() {
    ours("school", table::all());
}

/// The policy of laboratories. What a cookie means RFC 9111 leaves to the cache (section 7), and this policy takes it by the letter:
/// such cases are about `school` alone. Requests are read before any policy.
#[test]
fn policy_rfc9111_is_unsafe_in_none() {
    let mut cases = table::cases("answers");
    cases.retain(|case| !case.rule.starts_with("RFC 9111 7"));
    ours("rfc9111", cases);
}

#[test]
fn a_strict_pass_through_is_unsafe_in_none() {
    let origin = Origin::start(0);
    let outcome = table::run("careful", &careful::start(origin.port), &origin, table::nameless());
    outcome.keep();
    let bad = outcome.complaints(false);
    assert!(bad.is_empty(), "the suite asks for what a strict pass-through does not do:\n{bad}");
}

#[test]
fn a_bad_proxy_is_found_out_by_every_class() {
    let origin = Origin::start(0);
    let outcome = table::run("careless", &careless::start(), &origin, table::nameless());
    outcome.keep();
    for class in outcome.classes() {
        let (all, bad, _) = outcome.count(Some(&class));
        assert!(bad > 0, "none of the {all} cases of `{class}` finds anything");
    }
    let (all, bad, _) = outcome.count(None);
    assert!(bad * 3 > all, "only {bad} of {all} cases find out the worst proxy there is");
}

#[test]
fn there_are_cases_enough_each_with_its_rule() {
    for (side, enough) in [("requests", 300), ("answers", 250)] {
        let cases = table::cases(side);
        assert!(cases.len() >= enough || std::env::var_os("BULAK_HOSTILE_ONLY").is_some(), "{} {side}", cases.len());
        assert!(cases.iter().all(|case| case.rule.starts_with("RFC ") && !case.class.is_empty()), "a case without rule or class");
    }
}

/// Others: `BULAK_HOSTILE` names them (squid, trafficserver, apache, nginx, varnish), or a proxy's address.
#[test]
#[ignore = "about other proxies; scripts/hostile runs it"]
fn others() {
    let wanted = std::env::var("BULAK_HOSTILE").unwrap_or_else(|_| "squid,trafficserver,apache,nginx,varnish".into());
    let mut outcomes: Vec<Outcome> = Vec::new();
    for name in wanted.split(',').filter(|name| !name.is_empty()) {
        outcomes.push(peers::run(name));
        outcomes.last().expect("just pushed").keep();
    }
    let text = table(&outcomes.iter().collect::<Vec<_>>());
    std::fs::write(kit::root().join("target/hostile/others.md"), &text).expect("a file");
    print!("{text}");
}
