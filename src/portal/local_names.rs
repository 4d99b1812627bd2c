//! `bulak.local`, the school's own `<school>.local`, and the web port as `_http._tcp`, by mDNS (RFC 6762, RFC 6763): a class finds
//! the pages without a DNS server. The answering is `mdns-sd`'s, in a thread of its own; here is what is announced, where, and what
//! happens when a name is taken. Nothing of it is needed: a failure is told, and the node goes on.

use crate::life::Life;
use crate::portal::school;
use arc_swap::ArcSwap;
use mdns_sd::{DaemonEvent, IfKind, IfPredicate, Receiver, ServiceDaemon, ServiceInfo};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The kind of service: pages over HTTP.
const KIND: &str = "_http._tcp.local.";

/// The name that every node has.
const COMMON: &str = "bulak";

/// How long the goodbyes may take; the node's own grace is 10 s.
const GOODBYE: Duration = Duration::from_secs(2);

/// The highest number that a taken name gets: more nodes than that do not stand in one school.
const MOST: usize = 9;

/// What is announced on the LAN. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct LocalNames(Arc<ArcSwap<Announced>>);

/// Names that are announced right now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// The school's own first; without the final dot.
    pub names: Vec<String>,
    /// Whether one of them is another than was wished, since somebody else has that.
    pub renamed: bool,
}

impl LocalNames {
    /// The name to tell a person: the school's own; `None` while nothing is announced.
    pub fn best(&self) -> Option<String> {
        self.0.load().names.first().cloned()
    }

    /// That name, when it is not the one that was wished.
    pub fn renamed(&self) -> Option<String> {
        let announced = self.0.load();
        announced.renamed.then(|| announced.names.first().cloned()).flatten()
    }

    /// All of it.
    pub fn announced(&self) -> Announced {
        Announced::clone(&self.0.load())
    }
}

/// The wished names for a school, its own first; one where both are the same.
pub fn wished(title: &str) -> Vec<String> {
    let own = school::label(title);
    let mut labels = vec![own];
    if labels[0] != COMMON {
        labels.push(COMMON.to_owned());
    }
    labels.into_iter().map(|label| format!("{label}.local")).collect()
}

/// Every name under which devices may reach the node, those with a number included: the web port answers to no other.
pub fn possible(title: &str) -> Vec<String> {
    let mut all = wished(title);
    for name in wished(title) {
        all.extend((2..=MOST).map(|number| Label { wish: stem(&name).to_owned(), number }.name()));
    }
    all
}

/// Why nothing is announced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The responder.
    #[error("names on the LAN cannot be announced ({0}); devices reach the node by its address")]
    Responder(#[from] mdns_sd::Error),
}

/// Announces the names of a node whose web port listens at `web`, until the node stops; then says goodbye. Returns at once.
/// Without a listener that the LAN reaches (loopback, ephemeral nodes) nothing is announced.
///
/// # Errors
/// When the responder cannot start.
pub fn announce(life: &Life, names: &LocalNames, title: &str, web: &[SocketAddr]) -> Result<(), Error> {
    let Some(listener) = web.iter().find(|addr| !addr.ip().is_loopback()) else { return Ok(()) };
    let responder = ServiceDaemon::new()?;
    let news = responder.monitor()?;
    responder.disable_interface(IfKind::All)?;
    responder.enable_interface(house(web))?;
    let labels: Vec<Label> = wished(title).iter().map(|name| Label { wish: stem(name).to_owned(), number: 1 }).collect();
    let crier = Crier { responder, names: names.clone(), title: title.to_owned(), web: web.to_vec(), port: listener.port() };
    for at in 0..labels.len() {
        crier.register(&labels, at)?;
    }
    crier.publish(&labels);
    let watch = life.clone();
    life.spawn(async move {
        tokio::select! {
            () = watch.stopping() => {}
            () = crier.listen(&news, labels) => tracing::warn!("names on the LAN are no longer announced"),
        }
        crier.names.0.store(Arc::default());
        // The responder takes back what it said before it ends (RFC 6762 section 10.1).
        let gone = async { crier.responder.shutdown().ok()?.recv_async().await.ok() };
        if tokio::time::timeout(GOODBYE, gone).await.ok().flatten().is_none() {
            tracing::debug!("the names on the LAN were not taken back in time");
        }
    });
    Ok(())
}

/// A name as it is announced: the wished one, or that with a number when it is taken.
struct Label {
    wish: String,
    /// 1: as wished.
    number: usize,
}

impl Label {
    fn name(&self) -> String {
        if self.number == 1 { format!("{}.local", self.wish) } else { format!("{}-{}.local", self.wish, self.number) }
    }
}

/// Announces, and hears what comes of it.
struct Crier {
    responder: ServiceDaemon,
    names: LocalNames,
    title: String,
    web: Vec<SocketAddr>,
    port: u16,
}

impl Crier {
    /// One service for each name: the list of a phone shows the school, and a second line for the common name.
    fn service(&self, labels: &[Label], at: usize) -> Result<ServiceInfo, mdns_sd::Error> {
        let instance = if at == 0 { instance(&self.title) } else { "Bulak".to_owned() };
        let host = format!("{}.", labels[at].name());
        let mut service = ServiceInfo::new(KIND, &instance, &host, (), self.port, &[("path", "/")][..])?.enable_addr_auto();
        service.set_interfaces(vec![house(&self.web)]);
        Ok(service)
    }

    fn register(&self, labels: &[Label], at: usize) -> Result<(), mdns_sd::Error> {
        self.responder.register(self.service(labels, at)?)
    }

    fn publish(&self, labels: &[Label]) {
        let renamed = labels.iter().any(|label| label.number > 1);
        self.names.0.store(Arc::new(Announced { names: labels.iter().map(Label::name).collect(), renamed }));
    }

    /// Takes in what the responder tells, until it tells nothing more.
    async fn listen(&self, news: &Receiver<DaemonEvent>, mut labels: Vec<Label>) {
        let mut last = String::new();
        while let Ok(event) = news.recv_async().await {
            match event {
                DaemonEvent::NameChange(change) => {
                    let old = bare(&change.original);
                    if let Some(at) = labels.iter().position(|label| label.name().eq_ignore_ascii_case(old)) {
                        self.rename(&mut labels, at, bare(&change.new_name));
                    }
                }
                // The same trouble comes again with every packet.
                DaemonEvent::Error(error) if last != error.to_string() => {
                    tracing::warn!(%error, "names on the LAN may not be announced everywhere");
                    last = error.to_string();
                }
                _ => {}
            }
        }
    }

    /// The responder has chosen another name than the taken one. It counts on: `abay-13` for `abay-12`, which would be the school
    /// next door. Then the service is announced anew under a name of ours.
    fn rename(&self, labels: &mut [Label], at: usize, chosen: &str) {
        let taken = labels[at].name();
        if labels[at].number == MOST {
            tracing::warn!(taken, "a name is taken by another machine of the LAN, and so are all its numbers");
            return;
        }
        let again = self.service(labels, at);
        labels[at].number += 1;
        let now = labels[at].name();
        tracing::warn!(taken, now, "a name is taken by another machine of the LAN");
        if !now.eq_ignore_ascii_case(chosen) {
            let anew = again.and_then(|old| self.responder.unregister(old.get_fullname())).and_then(|_| self.register(labels, at));
            if let Err(error) = anew {
                tracing::warn!(%error, now, "a name on the LAN is not announced");
            }
        }
        self.publish(labels);
    }
}

/// The interfaces on which devices of the house reach a listener.
fn house(web: &[SocketAddr]) -> IfKind {
    let web = web.to_vec();
    IfKind::Predicate(IfPredicate::new(move |interface| reaches(&web, interface.ip())))
}

fn stem(name: &str) -> &str {
    name.trim_end_matches(".local")
}

fn bare(name: &str) -> &str {
    name.trim_end_matches('.')
}

/// Whether a device that is told `address` gets to a listener there. Addresses of the Internet are left out: whoever asks by mDNS
/// stands in the house.
fn reaches(listeners: &[SocketAddr], address: IpAddr) -> bool {
    let home = match address {
        IpAddr::V4(v4) => v4.is_private() || is_shared(v4),
        // Link-local addresses need a zone in the browser's address bar, which no browser takes.
        IpAddr::V6(v6) => v6.is_unique_local(),
    };
    let hears =
        |listener: &SocketAddr| listener.ip() == address || (listener.ip().is_unspecified() && (listener.is_ipv6() || address.is_ipv4()));
    home && listeners.iter().any(hears)
}

/// 100.64.0.0/10 (RFC 6598).
fn is_shared(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    first == 100 && second & 0xc0 == 64
}

/// The school's name as a DNS-SD instance: one label of at most 63 bytes (RFC 6763 section 4.1.1).
fn instance(title: &str) -> String {
    let mut name = String::new();
    for letter in title.chars() {
        if name.len() + letter.len_utf8() > 56 {
            break;
        }
        name.push(letter);
    }
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_school_has_two_names_and_their_numbers() {
        assert_eq!(wished("№12 Абай мектебі"), ["abay-12.local", "bulak.local"]);
        assert_eq!(wished("Бұлақ"), ["bulak.local"]);
        let all = possible("№12 Абай мектебі");
        for name in ["abay-12.local", "bulak.local", "abay-12-2.local", "bulak-9.local"] {
            assert!(all.iter().any(|own| own == name), "{name}");
        }
        assert_eq!(all.len(), 2 + 2 * (MOST - 1));
    }

    #[test]
    fn only_addresses_of_the_house_that_listen_are_told() {
        let table = [
            ("0.0.0.0:80", "192.168.8.1", true),
            ("0.0.0.0:80", "100.64.0.7", true),
            ("0.0.0.0:80", "8.8.8.8", false),
            ("0.0.0.0:80", "127.0.0.1", false),
            ("0.0.0.0:80", "169.254.3.4", false),
            ("0.0.0.0:80", "fd00::1", false),
            ("[::]:80", "fd00::1", true),
            ("[::]:80", "192.168.8.1", true),
            ("[::]:80", "fe80::1", false),
            ("192.168.8.1:80", "192.168.8.1", true),
            ("192.168.8.1:80", "10.0.0.1", false),
        ];
        for (listener, address, wanted) in table {
            let listener = listener.parse().expect("an address");
            assert_eq!(reaches(&[listener], address.parse().expect("an address")), wanted, "{listener} {address}");
        }
    }

    #[tokio::test]
    async fn nothing_is_announced_on_loopback() {
        let (life, names) = (Life::default(), LocalNames::default());
        announce(&life, &names, "Абай", &["127.0.0.1:80".parse().expect("an address")]).expect("nothing to do");
        assert_eq!((names.best(), names.announced()), (None, Announced::default()));
        assert!(life.end(Duration::from_secs(1)).await);
    }

    #[test]
    fn an_instance_fits_into_a_label() {
        let long = "Мектеп ".repeat(20);
        assert!(instance(&long).len() <= 56 && instance("Абай") == "Абай");
    }
}
