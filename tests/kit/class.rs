//! A class whose https is opened: a node with a CA, the school's consent and a list of hosts; devices told apart by their address on
//! the loopback net (`127.0.0.N`); origins of nginx with TLS.

use crate::kit::device::{Device, Fetched};
use crate::kit::node::{Node, Setup};
use crate::kit::secure::{Secure, full};
use bulak::base::clock::Clock;
use bulak::tls::authority::{Wish, create};
use bulak::tls::consent::Consent;
use std::fs;
use std::path::{Path, PathBuf};

/// The proxy's own name over TLS: that of `node.name = "school-test"`.
pub(crate) const OWN: &str = "proxy.school-test.internal";

/// A node that opens https, and origins.
pub(crate) struct Class {
    /// The node.
    pub(crate) node: Node,
    /// The origins.
    pub(crate) origins: Secure,
}

impl Class {
    /// Opens these hosts (without `.school.test`).
    pub(crate) fn opening(hosts: &[&str]) -> Class {
        Class::with(hosts, |_, setup| setup)
    }

    /// The same with a changed configuration.
    pub(crate) fn with(hosts: &[&str], change: impl FnOnce(&Secure, Setup) -> Setup) -> Class {
        let origins = Secure::start();
        let folder = tempfile::tempdir().expect("a folder");
        let hosts: Vec<String> = hosts.iter().map(|host| full(host)).collect();
        authority(&folder.path().join("state/ca"), &hosts);
        let setup = origins.join(listing(Setup::new(), &hosts));
        let node = change(&origins, setup).start_in(folder);
        Class { node, origins }
    }

    /// The CA's PEM file.
    pub(crate) fn ca(&self) -> PathBuf {
        self.node.folder.path().join("state/ca/ca.pem")
    }

    /// The device at `127.0.0.N`: it trusts the school's CA and the origins' root, so who signed what it saw tells who answered.
    pub(crate) fn device(&self, number: u8) -> Device {
        self.stranger(number).trusting(&self.ca())
    }

    /// The same without the school's CA.
    pub(crate) fn stranger(&self, number: u8) -> Device {
        let address = format!("127.0.0.{number}");
        Device::behind(self.node.proxy).trusting(&self.origins.tls.root()).with(&["--interface", &address])
    }

    /// The device at `127.0.0.N`, enrolled.
    pub(crate) fn enrolled(&self, number: u8) -> Device {
        let device = self.device(number);
        let page = enrol(&device);
        assert!(page.exit == 0 && page.issuer.contains(SCHOOL), "{page:?}");
        device
    }

    /// How many connections were opened or passed on for this reason.
    pub(crate) fn count(&self, action: &str, reason: &str) -> f64 {
        let label = format!("action=\"{action}\",reason=\"{reason}\"");
        self.node.metric("bulak_tls_total", &label).unwrap_or(0.0)
    }
}

/// What the CA calls itself.
pub(crate) const SCHOOL: &str = "School of the test";

/// Fetches the page that proves that a device trusts the CA.
pub(crate) fn enrol(device: &Device) -> Fetched {
    device.get(&format!("https://{OWN}/enrolled"))
}

/// Makes a CA for these hosts, and records the school's consent.
pub(crate) fn authority(folder: &Path, hosts: &[String]) {
    fs::create_dir_all(folder.parent().expect("below a folder")).expect("a folder");
    let clock = Clock::system();
    let wish = Wish { school: SCHOOL.to_owned(), zone: "school-test.internal".to_owned(), hosts: hosts.to_vec() };
    let both = create(folder, &wish, &clock).expect("a CA");
    let consent = Consent::new("A. Test", "head", both.current.subtrees().to_vec(), clock.now()).expect("a consent");
    consent.record(folder).expect("recorded");
}

/// Switches interception of these hosts on.
pub(crate) fn listing(setup: Setup, hosts: &[String]) -> Setup {
    setup.set("intercept.enabled", "true").set("intercept.hosts", &format!("{hosts:?}"))
}
