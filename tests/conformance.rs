//! The public cache-tests suite (npm `http-cache-tests` 0.4.5) against a node as forward proxy, under both policies.
//!
//! Its server and client run under Node.js as they are; a gateway of ours turns request lines into absolute form. What
//! passed once must pass for ever: `conformance/rfc9111.txt` and `school.txt` hold it, and name the exceptions with reasons.
//! `BULAK_CONFORMANCE_UPDATE=1` adds newly passing tests to the lists.

#[path = "kit/mod.rs"]
mod kit;

#[path = "conformance/gateway.rs"]
mod gateway;

#[path = "conformance/list.rs"]
mod list;

#[path = "conformance/suite.rs"]
mod suite;

use kit::node::Setup;
use kit::squid::Squid;
use list::List;
use suite::{Case, Kind};

/// What the issue asks of policy `rfc9111` on this cut: all required tests, and this many optimal ones.
const OPTIMAL: usize = 80;

#[test]
fn rfc9111() {
    let node = Setup::plain().start();
    let cases = suite::run(node.proxy, "rfc9111");
    let list = List::read("rfc9111");
    list.hold(&cases);
    assert!(count(&cases, Kind::Optimal) >= OPTIMAL, "fewer than {OPTIMAL} optimal tests passed");
    let missing = cases.iter().filter(|case| case.kind == Kind::Required && !case.passed && !list.excepts(&case.id)).count();
    assert_eq!(missing, 0, "required tests failed that the list does not except");
}

#[test]
fn school() {
    let node = Setup::new().set("cache.policy", "\"school\"").start();
    let cases = suite::run(node.proxy, "school");
    let list = List::read("school");
    list.hold(&cases);
    let missing = cases.iter().filter(|case| case.kind == Kind::Required && !case.passed && !list.excepts(&case.id)).count();
    assert_eq!(missing, 0, "required tests failed that the list does not except");
}

/// The harness is proved on a proxy that is not ours: figures near those that are published for squid.
#[test]
#[ignore = "two minutes, and about squid; scripts/test --full runs it"]
fn the_harness_measures_squid() {
    let squid = Squid::start(None);
    let cases = suite::run(squid.addr, "squid");
    assert_eq!(cases.iter().filter(|case| case.kind == Kind::Required).count(), 157, "required tests in this cut");
    assert_eq!(cases.iter().filter(|case| case.kind == Kind::Optimal).count(), 86, "optimal tests in this cut");
    // squid 5.7 of Debian 12 passed 135 and 52; far fewer would mean that the gateway gets in the way.
    assert!(count(&cases, Kind::Required) >= 110, "squid passes {} required tests through the gateway", count(&cases, Kind::Required));
}

fn count(cases: &[Case], kind: Kind) -> usize {
    cases.iter().filter(|case| case.kind == kind && case.passed).count()
}
