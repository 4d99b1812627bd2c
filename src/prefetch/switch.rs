//! From one pack to the one that takes its place (`replaces = "kundelik-static"`): a school that changes its diary has the old one's
//! content until the new one's is there whole.
//!
//! The step is one row in the database: before it the old pack is in force with all its pins, after it the new one. What follows
//! (letting the old pins go, forgetting its frontier) can be done again at any time, and is, at the next start after a power cut.

use crate::prefetch::web::Web;
use crate::prefetch::{Error, Night};
use crate::site::pack::Pack;

impl<W: Web> Night<W> {
    /// Switches over where a new pack has become complete, and finishes what a power cut interrupted. Whether packs have to be read anew.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn switch_over(&self) -> Result<bool, Error> {
        let (state, now) = (&self.0.state, self.0.clock.now());
        let shelf = self.0.board.lock().shelf.clone();
        let known = state.replaced_packs().await?;
        let mut switched = false;
        for held in &shelf.held {
            let Some(old) = held.pack.replaces.as_deref().filter(|_| shelf.may_replace(&held.pack)) else { continue };
            let done = known.iter().any(|row| row.id == old && row.by == held.pack.id);
            if !done && self.is_complete(&held.pack).await? {
                state.replace_pack(old, &held.pack.id, now).await?;
                tracing::info!(old, new = held.pack.id, "the new pack is complete and takes the old one's place");
                switched = true;
            }
        }
        for row in state.replaced_packs().await?.into_iter().filter(|row| !row.let_go) {
            if let Err(error) = self.0.web.let_go(&row.id).await {
                tracing::warn!(pack = row.id, error = error.to_string(), "its content could not be let go, will be tried again");
                continue;
            }
            state.forget_frontier(&row.id).await?;
            state.let_go_pack(&row.id).await?;
        }
        Ok(switched)
    }

    /// Through, as it is written now, with nothing that may come yet.
    async fn is_complete(&self, pack: &Pack) -> Result<bool, Error> {
        let Some(run) = self.0.state.run(&pack.id).await? else { return Ok(false) };
        let through = run.finished.is_some() && run.doubtful == 0 && run.digest == pack.digest.to_string();
        Ok(through && self.0.state.count(&pack.id, run.run).await?.done > 0)
    }
}
