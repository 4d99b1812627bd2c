//! A school that opens https of some hosts: its CA is made and agreed to as a school does it, by `bulak ca`; a device enrols by
//! the page that proves it.

use crate::kit;
use crate::kit::device::Device;
use crate::kit::line::Line;
use crate::kit::node::{Node, Setup, binary};
use crate::kit::program;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

/// The school's zone.
pub(crate) const ZONE: &str = "school-test.internal";

/// A school and its node.
pub(crate) struct School {
    /// The node.
    pub(crate) node: Node,
    /// The proxy's door for devices that speak TLS with it.
    pub(crate) door: SocketAddr,
}

impl School {
    /// Starts a node that opens these hosts on enrolled devices.
    pub(crate) fn start(setup: Setup, hosts: &[&str]) -> School {
        let folder = tempfile::tempdir().expect("a folder");
        let hosts: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
        let door = kit::loopback(kit::free_port());
        let setup = setup
            .set("node.zone", &format!("\"{ZONE}\""))
            .set("intercept.enabled", "true")
            .set("intercept.hosts", &format!("[{}]", hosts.join(", ")))
            .set("proxy.tls_listen", &format!("[\"{door}\"]"));
        let file = folder.path().join("school.toml");
        fs::write(&file, setup.render(folder.path())).expect("a file");
        let mut make = Command::new(binary());
        make.args(["ca", "create", "--school", "Test", "--by", "A. Test", "--role", "head", "--agree"]).arg("--config").arg(&file);
        let made = program::run(&make, 60);
        assert!(made.status.success(), "{}{}", String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
        School { node: setup.start_in(folder), door }
    }

    /// The CA's certificate, PEM.
    pub(crate) fn ca(&self) -> PathBuf {
        self.node.folder.path().join("state/ca/ca.pem")
    }

    /// The name by which devices speak with the proxy itself.
    pub(crate) fn name() -> String {
        format!("proxy.{ZONE}")
    }

    /// Another device than this machine: its way to the proxy.
    pub(crate) fn seat(&self, number: u8) -> Line {
        Line::from(Ipv4Addr::new(127, 0, 0, number), self.node.proxy)
    }

    /// A device that trusts the school's CA, and the node knows it.
    pub(crate) fn enrol(&self, proxy: SocketAddr) -> Device {
        let device = Device::behind(proxy).trusting(&self.ca());
        let page = device.get(&format!("https://{}/enrolled", School::name()));
        assert_eq!(page.status, 200, "{} {} {}", page.exit, page.error, page.text());
        device
    }
}
