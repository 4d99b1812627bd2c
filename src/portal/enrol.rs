//! What a device is told of trust. Handed in by `app`: the portal itself opens nothing and remembers no device; that one has proven
//! its trust is seen where its TLS connection is served, for only there it is known under which CA.

use crate::tls::authority::Authority;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Whether this device has proven that it trusts the school's CA.
pub type Enrolled = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// The school's CA as the pages know it; changes when a CA is made or retired.
#[derive(Clone)]
pub struct Enrol {
    /// The CA under which devices enrol; `None`: none was made.
    pub authority: Option<Arc<Authority>>,
    /// Name and port of the proxy over TLS; `None`: it does not listen, or has no CA.
    pub tls_proxy: Option<(String, u16)>,
    /// The hosts that are opened for enrolled devices; empty while nothing is opened.
    pub opened: Vec<String>,
    /// Who has enrolled.
    pub enrolled: Enrolled,
}

impl Default for Enrol {
    fn default() -> Enrol {
        Enrol { authority: None, tls_proxy: None, opened: Vec::new(), enrolled: Arc::new(|_| false) }
    }
}

impl fmt::Debug for Enrol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Enrol({:?}, {:?}, {} opened)", self.authority, self.tls_proxy, self.opened.len())
    }
}

impl Enrol {
    /// The TLS proxy for a device, if it may be sent there: one that does not trust us would only see an error.
    pub fn secure_for(&self, client: Option<IpAddr>) -> Option<(&str, u16)> {
        let (name, port) = self.tls_proxy.as_ref()?;
        client.is_some_and(|client| (self.enrolled)(client.to_canonical())).then_some((name.as_str(), *port))
    }
}

/// Pages of the check that are remembered: two lessons of a school that all look at once.
const PAGES: usize = 4096;

/// What pictures were fetched for which page of the check. A page is known by a random number, not by its device: nobody is
/// remembered, and devices behind one address are not taken for one another. Lost at a restart.
#[derive(Debug, Default)]
pub struct Seen(Mutex<(HashMap<u64, Signs>, VecDeque<u64>)>);

/// The pictures of one page that came through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// The one that comes through the proxy.
    pub proxy: bool,
    /// The one that comes under the school's CA.
    pub trusted: bool,
}

impl Seen {
    /// Notes what came for a page.
    pub fn note(&self, page: u64, signs: Signs) {
        let (known, order) = &mut *self.0.lock();
        let before = known.entry(page).or_insert_with(|| {
            order.push_back(page);
            Signs::default()
        });
        *before = Signs { proxy: before.proxy || signs.proxy, trusted: before.trusted || signs.trusted };
        if order.len() > PAGES
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
    }

    /// What has come for a page.
    pub fn of(&self, page: u64) -> Signs {
        self.0.lock().0.get(&page).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_device_that_has_proven_its_trust_is_sent_to_the_tls_proxy() {
        let friend: IpAddr = "192.168.8.20".parse().expect("an address");
        let enrol = Enrol {
            tls_proxy: Some(("proxy.a.internal".into(), 3129)),
            enrolled: Arc::new(move |client| client == friend),
            ..Enrol::default()
        };
        assert_eq!(enrol.secure_for(Some(friend)), Some(("proxy.a.internal", 3129)));
        assert_eq!(enrol.secure_for("::ffff:192.168.8.20".parse().ok()), Some(("proxy.a.internal", 3129)));
        assert_eq!(enrol.secure_for("192.168.8.21".parse().ok()), None);
        assert_eq!(enrol.secure_for(None), None);
        assert_eq!(Enrol { tls_proxy: None, ..enrol }.secure_for(Some(friend)), None);
    }

    #[test]
    fn signs_add_up_and_the_oldest_page_goes_first() {
        let seen = Seen::default();
        seen.note(0, Signs { proxy: true, trusted: false });
        seen.note(0, Signs { proxy: false, trusted: true });
        assert_eq!(seen.of(0), Signs { proxy: true, trusted: true });
        for page in 1..=PAGES as u64 {
            seen.note(page, Signs { proxy: true, trusted: false });
        }
        assert_eq!(seen.of(0), Signs::default());
        assert_eq!((seen.of(1).proxy, seen.0.lock().0.len()), (true, PAGES));
    }
}
