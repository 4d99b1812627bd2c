//! What the configuration says of tests.

use crate::meter::budget::Caps;
use crate::meter::ndt7::client::Target;
use crate::meter::schedule::Schedule;
use crate::meter::test::Reach;
use url::Url;

/// `[meter]`, and what of other sections it needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Servers of ndt7, in the order in which they are tried.
    pub servers: Vec<Server>,
    /// The hub, which is a server too: tried after them.
    pub hub: Option<Url>,
    /// Who agreed to M-Lab's publishing of results and addresses, and when; `None`: M-Lab is not asked.
    pub mlab: Option<String>,
    /// When tests run by themselves.
    pub schedule: Schedule,
    /// What they may cost.
    pub caps: Caps,
    /// What the provider has promised.
    pub contract: Contract,
    /// Origins whose pages may have their readers' browsers run tests against this node, beside its own.
    pub pages: Vec<String>,
}

/// What the provider has promised, bit/s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contract {
    /// Towards the school.
    pub down: Option<u64>,
    /// Towards the world.
    pub up: Option<u64>,
}

/// A server of ndt7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `ws`, `wss`, `http` or `https`; what it has of a path stands before that of the test.
    pub base: Url,
    /// Where it is.
    pub reach: Reach,
    /// Whether it may be asked for several streams: it is one of our own kind.
    pub several: bool,
    /// Whole addresses, where they were given so: with a token.
    pub exact: Option<Target>,
}

/// The path of a test of one stream.
const ONE: &str = "/ndt/v7/";
/// And of several (M-Lab's msak, `throughput1`).
const SEVERAL: &str = "/throughput/v1/";

impl Server {
    /// Reads `wss://speed.example.kz`, `wss://speed.example.kz domestic`, `ws://10.0.0.1:8090 foreign`.
    pub fn parse(text: &str) -> Option<Server> {
        let mut words = text.split_whitespace();
        let base = Url::parse(words.next()?).ok().filter(|url| matches!(url.scheme(), "ws" | "wss" | "http" | "https"))?;
        let reach = match words.next() {
            None => Reach::Unknown,
            Some("domestic") => Reach::Domestic,
            Some("foreign") => Reach::Foreign,
            Some(_) => return None,
        };
        let plain = base.host_str().is_some() && base.username().is_empty() && base.password().is_none() && base.query().is_none();
        (plain && words.next().is_none()).then_some(Server { base, reach, several: true, exact: None })
    }

    /// Where to go for a test of one stream, or of several.
    pub fn target(&self, streams: u16) -> Target {
        if let Some(target) = &self.exact {
            return target.clone();
        }
        let stem = if streams > 1 { SEVERAL } else { ONE };
        let way = |way: &str| {
            let mut url = self.base.clone();
            let path = format!("{}{stem}{way}", self.base.path().trim_end_matches('/'));
            url.set_path(&path);
            url
        };
        Target { download: way("download"), upload: way("upload") }
    }

    /// As people see it: without a path.
    pub fn name(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        let port = self.base.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{host}{port}", self.base.scheme())
    }
}

impl Settings {
    /// The servers that are known without asking anybody.
    pub fn known(&self) -> Vec<Server> {
        let hub = self.hub.iter().map(|url| Server { base: url.clone(), reach: Reach::Domestic, several: true, exact: None });
        self.servers.iter().cloned().chain(hub).collect()
    }

    /// Whether there is anybody to test with.
    pub fn has_server(&self) -> bool {
        !self.servers.is_empty() || self.hub.is_some() || self.mlab.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_as_they_are_written() {
        let server = Server::parse("wss://speed.example.kz/a/ domestic").expect("a server");
        assert_eq!((server.reach, server.name().as_str()), (Reach::Domestic, "wss://speed.example.kz"));
        let target = server.target(1);
        assert_eq!(target.download.as_str(), "wss://speed.example.kz/a/ndt/v7/download");
        assert_eq!(server.target(8).upload.as_str(), "wss://speed.example.kz/a/throughput/v1/upload");
        assert_eq!(Server::parse("ws://10.0.0.1:8090").expect("a server").name(), "ws://10.0.0.1:8090");
        for text in
            ["", "speed.example.kz", "ftp://a.kz", "wss://a.kz near", "wss://a.kz foreign 1", "wss://me:you@a.kz", "wss://a.kz/?token=1"]
        {
            assert_eq!(Server::parse(text), None, "{text}");
        }
    }
}
