//! What single hosts may hold of a pack (`[scope.sites]`): counted from the frontier at the beginning, then as bodies come.

use crate::base::target::Target;
use crate::base::unit::Bytes;
use crate::site::pack::Pack;
use crate::state::{Error, State};
use std::collections::HashMap;

/// Bytes by the names that a pack caps.
#[derive(Debug, Default)]
pub struct Shares(HashMap<String, u64>);

impl Shares {
    /// As the frontier has them. Costs a pass over the run, for packs that cap hosts only.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(state: &State, pack: &Pack, run: i64) -> Result<Shares, Error> {
        let mut shares = Shares::default();
        if pack.has_sites() {
            for (origin, bytes) in state.bytes_by_origin(&pack.id, run).await? {
                if let Ok(target) = Target::parse(&format!("{origin}/")) {
                    shares.add(pack, target.host(), bytes);
                }
            }
        }
        Ok(shares)
    }

    /// A body from this host has come.
    pub fn add(&mut self, pack: &Pack, host: &str, bytes: u64) {
        if let Some((name, _)) = pack.site(host) {
            *self.0.entry(name.to_owned()).or_default() += bytes;
        }
    }

    /// Bytes that may still come from this host.
    pub fn room(&self, pack: &Pack, host: &str) -> u64 {
        pack.site(host).map_or(u64::MAX, |(name, most)| most.saturating_sub(self.0.get(name).copied().unwrap_or(0)))
    }

    /// Why nothing more is fetched from this host, if so.
    pub fn full(&self, pack: &Pack, host: &str) -> Option<String> {
        let (name, most) = pack.site(host)?;
        is_full(most - self.room(pack, host).min(most), most).then(|| format!("{name} holds its {} (scope.sites)", Bytes(most).human()))
    }
}

/// A cap is reached when no more than this part of it is left: what fits to the byte hardly ever comes, and all that is left would be
/// asked for in vain.
const CRUMBS: u64 = 256;

/// Whether so many bytes fill a cap.
pub fn is_full(bytes: u64, most: u64) -> bool {
    most.saturating_sub(bytes) <= most / CRUMBS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Time;
    use crate::state::frontier::{Ending, Fate, Wish};

    const PACK: &str = "id = \"p\"\nversion = \"1\"\nlicence = \"CC0\"\n[title]\nen = \"T\"\n[[seed]]\nurl = \"http://a.kz/\"\n\
        [scope]\nhosts = [\"a.kz\", \"*.b.kz\"]\n[scope.sites]\n\"*.b.kz\" = 100\n";

    #[tokio::test]
    async fn hosts_of_one_name_share_a_cap_that_a_restart_remembers() {
        let (state, pack) = (State::open(None).await.expect("opens"), Pack::parse(PACK).expect("good"));
        let now = Time::from_secs(1_800_000_000);
        let wishes = ["http://x.b.kz/1", "http://a.kz/1"].map(|url| Wish::new(url, "page", 0));
        let run = state.begin_run("p", "d", now, &wishes).await.expect("begins").run;
        for wish in state.next_wishes("p", run, now, 9).await.expect("reads") {
            state.end_wishes("p", run, now, &[Ending::new(wish, Fate::Done { bytes: 60, at: now })]).await.expect("writes");
        }
        let mut shares = Shares::open(&state, &pack, run).await.expect("reads");
        assert_eq!((shares.room(&pack, "y.b.kz"), shares.room(&pack, "a.kz")), (40, u64::MAX));
        assert_eq!(shares.full(&pack, "y.b.kz"), None);
        shares.add(&pack, "y.b.kz", 40);
        assert_eq!(shares.full(&pack, "x.b.kz").as_deref(), Some("*.b.kz holds its 100 B (scope.sites)"));
        assert_eq!(shares.full(&pack, "a.kz"), None);
        let caps = [(0, 100), (99, 100), (100, 100), (120, 100), (10_199, 10_240), (10_200, 10_240)];
        assert_eq!(caps.map(|(bytes, most)| is_full(bytes, most)), [false, false, true, true, false, true]);
    }
}
