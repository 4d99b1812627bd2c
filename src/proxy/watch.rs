//! Who looks on: told of pages that are not answered from memory, and of everything while a lesson is recorded; and asked whether a
//! page that is missing may be wished for. The proxy keeps nothing of it.

use crate::base::body::Body;
use crate::base::target::Target;
use crate::cache::trouble::Trouble;
use crate::cache::{Seen, Way, Why};
use crate::policy::header;
use crate::proxy::Inner;
use crate::proxy::respond::Offer;
use http::{Method, Request, Response};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Who looks on; handed in by `app`. Must not block.
pub trait Watch: Send + Sync + 'static {
    /// Whether hits and tunnels are of interest too. Asked for every request.
    fn is_recording(&self) -> bool;
    /// A page, or while something is recorded anything, has been answered.
    fn saw(&self, seen: &Seen<'_>);
    /// A connection was passed on unopened; told only while something is recorded.
    fn sealed(&self, client: IpAddr, host: &str);
    /// What proves that the form about this address is ours; none where it may not be wished for.
    fn offer(&self, url: &str) -> Option<String>;
}

/// A request that is looked at.
pub(crate) struct Glance {
    watch: Arc<dyn Watch>,
    client: IpAddr,
    target: Target,
    page: bool,
    reads: bool,
}

impl Inner {
    /// Takes down what matters of a request, before it goes on: everything while something is recorded, else pages alone, and those
    /// only once memory has no answer (`slow`).
    pub(crate) fn glance(&self, request: &Request<Body>, target: &Target, client: IpAddr, slow: bool) -> Option<Glance> {
        let watch = self.watch.get()?;
        let reads = *request.method() == Method::GET;
        let page = || reads && header::is_navigation(request.headers());
        if !(watch.is_recording() || (slow && page())) {
            return None;
        }
        Some(Glance { watch: Arc::clone(watch), client, target: target.clone(), page: page(), reads })
    }

    /// A connection is passed on unopened.
    pub(crate) fn glance_at_tunnel(&self, client: IpAddr, host: &str) {
        if let Some(watch) = self.watch.get().filter(|watch| watch.is_recording()) {
            watch.sealed(client, host);
        }
    }

    /// Where a form of ours is sent by a device on this way.
    pub(crate) fn wish_door(&self, way: Way) -> String {
        match way {
            // No page of https may send a form to where it can be read on the way.
            Way::Intercept => format!("https://{}/tonight", self.secure_name),
            Way::Http | Way::Mirror => String::from("http://bulak.internal/tonight"),
        }
    }
}

impl Glance {
    /// Tells how it ended. A page that is missing and may be wished for gets the form for it, to be sent to `door`.
    pub(crate) fn end(&self, response: &Response<Body>, hit: bool, door: impl FnOnce() -> String) -> Option<Offer> {
        let why = if hit { Some(Why::Fresh) } else { response.extensions().get::<Why>().copied() };
        let missing = response.extensions().get::<Trouble>().is_some_and(|trouble| trouble.is_out_of_reach(response.status()));
        // No night brings a page of a library that cannot be read.
        let missing = missing && why != Some(Why::Library);
        let Glance { client, page, reads, .. } = *self;
        self.watch.saw(&Seen { client, target: &self.target, page, reads, why, status: response.status(), missing });
        if !(missing && page && reads) {
            return None;
        }
        let token = self.watch.offer(self.target.url())?;
        Some(Offer { door: door(), url: self.target.url().to_owned(), token })
    }
}

/// The web port's address for a form, where a device reached it straight.
pub(crate) fn straight(web: SocketAddr) -> String {
    format!("http://{web}/tonight")
}
