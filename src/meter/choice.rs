//! Which servers are tried: those of the configuration, then the hub, then, where somebody agreed to that, M-Lab's nearest. The next one
//! only where the server is to blame: a line that is down is down for all of them.

use crate::meter::Meter;
use crate::meter::budget::Budget;
use crate::meter::course::{Course, Found, Sight};
use crate::meter::ndt7::nearest::{self, nearest};
use crate::meter::settings::{Server, Settings};
use crate::meter::test::{Reach, Trouble};
use parking_lot::Mutex;
use url::Url;

/// M-Lab's Locate service; the name of the program is asked for (its acceptable use policy).
const MLAB: &str = "https://locate.measurementlab.net/v2/nearest/ndt/ndt7?client_name=bulak";

/// The country that counts as home: the one that this is made for.
const HOME: &str = "KZ";

/// What is known of the line before a test, bit/s.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) down: Option<u64>,
    pub(super) up: Option<u64>,
    /// The payload of the best seconds of real fetches.
    pub(super) passive: Option<u64>,
}

impl Meter {
    /// Tries one server after the other; `used` is the one that the test was with. May be dropped at any await.
    pub(super) async fn try_servers(
        &self,
        settings: &Settings,
        budget: Budget,
        known: Known,
        tell: &(dyn Fn(&Sight) + Send + Sync),
        found: &Mutex<Found>,
        used: &mut Option<Server>,
    ) {
        let mut servers = settings.known();
        let mut asked = settings.mlab.is_none();
        let mut next = 0;
        loop {
            if next == servers.len() && !asked {
                asked = true;
                servers.extend(self.locate().await);
            }
            let Some(server) = servers.get(next) else {
                if servers.is_empty() {
                    found.lock().trouble = Trouble::BusyServer;
                }
                return;
            };
            next += 1;
            // What an earlier one could not do counts no more once another is asked.
            found.lock().trouble = Trouble::None;
            *used = Some(server.clone());
            let course = Course {
                carrier: &*self.0.carrier,
                link: &self.0.link,
                server,
                budget,
                known: known.down.zip(known.up),
                passive: known.passive,
                tell,
                found,
            };
            match course.run().await {
                Ok(()) => return,
                Err(error) => {
                    tracing::info!(server = server.name(), %error, "a test came to nothing");
                    let begun = found.lock().download.is_some();
                    let others = next < servers.len() || !asked;
                    if begun || !error.is_server() || !others {
                        return;
                    }
                }
            }
        }
    }

    /// M-Lab's nearest servers, as far as it may be asked now.
    async fn locate(&self) -> Vec<Server> {
        let inner = &self.0;
        let now = inner.clock.now();
        let Some(service) = Url::parse(MLAB).ok().filter(|_| *inner.not_before.lock() <= now) else { return Vec::new() };
        match nearest(&inner.upstream, &inner.clock, &service, true).await {
            Ok(nearest::Found::Servers(list, again)) => {
                if let Some(again) = again {
                    *inner.not_before.lock() = again;
                }
                list.into_iter().map(server).collect()
            }
            Ok(nearest::Found::Full) => Vec::new(),
            Ok(nearest::Found::Later(again)) => {
                *inner.not_before.lock() = again;
                Vec::new()
            }
            Err(error) => {
                tracing::info!(%error, "M-Lab names no server");
                Vec::new()
            }
        }
    }
}

/// One of M-Lab's: its addresses hold a token and are taken as they are; it is for one stream.
fn server(near: crate::meter::ndt7::locate::Nearest) -> Server {
    let reach = match near.country.as_str() {
        "" => Reach::Unknown,
        HOME => Reach::Domestic,
        _ => Reach::Foreign,
    };
    Server { base: near.target.download.clone(), reach, several: false, exact: Some(near.target) }
}

/// M-Lab, where none of its servers has been named yet.
pub(super) fn mlab() -> Server {
    let base = Url::parse(MLAB).expect("an address: a test reads it");
    Server { base, reach: Reach::Unknown, several: false, exact: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::ndt7::client::Target;
    use crate::meter::ndt7::locate::Nearest;

    #[test]
    fn servers_of_mlab_are_taken_as_they_are() {
        assert_eq!(mlab().name(), "https://locate.measurementlab.net");
        let url = |way: &str| Url::parse(&format!("wss://a.measurement-lab.org/ndt/v7/{way}?access_token=x")).expect("an address");
        let target = Target { download: url("download"), upload: url("upload") };
        for (country, reach) in [("KZ", Reach::Domestic), ("DE", Reach::Foreign), ("", Reach::Unknown)] {
            let near = Nearest { machine: String::new(), city: String::new(), country: country.into(), target: target.clone() };
            let server = server(near);
            assert_eq!((server.reach, server.several, server.target(1)), (reach, false, target.clone()));
            assert_eq!(server.name(), "wss://a.measurement-lab.org", "the token is nobody's business");
        }
    }
}
