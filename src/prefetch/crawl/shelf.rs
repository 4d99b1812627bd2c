//! What leaves the shelf at the end of a run.

use super::{Crawl, End};
use crate::base::target::Target;
use crate::prefetch::Progress;
use crate::prefetch::aim::Aim;
use crate::prefetch::summary::reason;
use crate::prefetch::web::Web;
use crate::prefetch::wish::TONIGHT;
use crate::state::Error;
use crate::state::frontier::Outdated;

/// Outdated wishes that are let go in one step.
const STEP: u32 = 256;

impl<W: Web> Crawl<'_, W> {
    /// Marks the run as through. After a complete one, what the pack no longer wants is let go. A run that brought nothing lets nothing
    /// go, and of what a page or an origin says it takes two complete runs: a site that is broken for a night must not empty the shelf.
    pub(super) async fn finish(&self, run: i64, tell: &(dyn Fn(Progress) + Sync)) -> Result<End, Error> {
        let id = &self.pack.id;
        let (failed, doubtful) = self.state.finish_run(id, run, self.clock.now()).await?;
        let no_room = |(why, _): &(String, u64)| reason::kind(reason::skipped(why)) == Some(reason::Kind::LeftOut);
        let no_room = self.state.skips(id, run).await?.into_iter().filter(no_room).map(|(_, many)| many).sum();
        self.state.note_no_room(id, run, no_room).await?;
        let count = self.state.count(id, run).await?;
        let goes = |one: &Outdated| self.has_no_place(one) || (doubtful == 0 && self.is_unwanted(one));
        let mut after = 0;
        loop {
            let outdated = if count.done > 0 { self.state.outdated(id, run, after, STEP).await? } else { Vec::new() };
            let Some(last) = outdated.last() else { break };
            after = last.id;
            let gone: Vec<Outdated> = outdated.into_iter().filter(goes).collect();
            for one in &gone {
                if let Ok(target) = Target::parse(&one.url)
                    && let Err(error) = self.web.unpin(id, &target).await
                {
                    return Ok(End::Full(error.to_string()));
                }
            }
            self.state.forget_wishes(run, &gone).await?;
        }
        let transferred = self.state.run(id).await?.map_or(0, |run| run.transferred);
        tell(Progress::of(self.pack, &count, transferred, None, None));
        Ok(End::Done(failed))
    }

    /// Whether something outdated goes after a complete run. What a person took off the list of wishes or out of the pack's hosts goes at
    /// once: no site that is broken says so. What a wished page needs is named by the page, so it stays for a second word.
    fn is_unwanted(&self, one: &Outdated) -> bool {
        let wish_taken_back = self.pack.id == TONIGHT && Aim::parse(&one.kind).is_page();
        one.twice || (one.unnamed && (wish_taken_back || self.is_outside(one)))
    }

    /// Whether it was left out because the pack holds as much as it may, or is outside by now: it would take room beyond the pack's cap,
    /// and more with each run.
    fn has_no_place(&self, one: &Outdated) -> bool {
        let Some(why) = &one.left_out else { return false };
        matches!(reason::skipped(why), reason::SIZE | reason::FULL) || self.is_outside(one)
    }

    fn is_outside(&self, one: &Outdated) -> bool {
        Target::parse(&one.url).is_ok_and(|target| !self.pack.covers(&target, false))
    }
}
