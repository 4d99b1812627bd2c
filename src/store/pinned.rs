//! What packs keep, in bytes: at most their share of the quota, so that the cache is never squeezed out by them.

use crate::base::target::UrlKey;
use crate::store::{Error, Inner};
use parking_lot::Mutex;

/// The sum of pinned bodies: counted up as pins come, counted anew after anything else has changed.
#[derive(Default)]
pub(crate) struct Pinned(Mutex<Option<u64>>);

impl Pinned {
    /// Something pinned was replaced, forgotten or let go.
    pub(crate) fn changed(&self) {
        *self.0.lock() = None;
    }

    /// Bytes that packs may still keep.
    pub(crate) fn room(&self, inner: &Inner) -> u64 {
        let most = inner.settings.quota.0 / 100 * inner.settings.pinned_share;
        let mut sum = self.0.lock();
        let now = sum.unwrap_or_else(|| inner.log.table().read().pinned_bytes());
        *sum = Some(now);
        most.saturating_sub(now)
    }

    /// Whether a URL that is stored may be pinned too.
    ///
    /// # Errors
    /// `Full`.
    pub(crate) fn admit(&self, inner: &Inner, url: &UrlKey) -> Result<(), Error> {
        let most = inner.settings.quota.0 / 100 * inner.settings.pinned_share;
        let mut sum = self.0.lock();
        let table = inner.log.table().read();
        let more = if table.pinned(url) { 0 } else { table.bytes_of(url) };
        let now = sum.unwrap_or_else(|| table.pinned_bytes());
        let fits = more == 0 || now.saturating_add(more) <= most;
        *sum = Some(if fits { now + more } else { now });
        if fits { Ok(()) } else { Err(Error::Full) }
    }
}
