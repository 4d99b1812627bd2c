//! What becomes of a wish that has landed: kept, tried again, given up; and what its host has to hear.

use super::{Crawl, Desk, End, Landed, ROOM, Room};
use crate::base::backoff::Backoff;
use crate::base::clock::Time;
use crate::base::target::Target;
use crate::base::unit;
use crate::prefetch::aim::{self, Aim, Named};
use crate::prefetch::robots::{Verdict, Wait};
use crate::prefetch::share::is_full;
use crate::prefetch::summary::reason;
use crate::prefetch::web::{Web, What};
use crate::site::discover::media::Policy;
use crate::site::pack::Pack;
use crate::state::Error;
use crate::state::frontier::{Ending, Fate, Wish};
use crate::state::summary::{CHANGED, NEW, SAME, Told};
use crate::store::Error as StoreError;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Why a host is left alone that asked for it.
pub(in crate::prefetch) const BUSY: &str = "it is too busy and asked for a pause";
/// Tries of one wish in one run; and of one that was given up in the runs before.
const TRIES: u32 = 4;
/// Runs in a row that gave a wish up, after which it is tried once in each.
const HOPELESS: u32 = 2;
/// A transfer that broke off is tried again this soon, and counts against nobody the first time: it was the line as likely as the
/// host, and after a power cut the line comes up later than the node.
const SOON: Duration = Duration::from_secs(3);
/// Waits between the tries of one wish.
const AGAIN: Backoff = Backoff { first: Duration::from_secs(30), most: Duration::from_hours(1) };
/// Redirects that one address may take.
const HOPS: u8 = 10;
/// Redirects that are remembered to see circles.
const TRAIL: usize = 10_000;
/// Days in a row on which a host failed, after which a run gives up what is left of it, so that the rest of the pack has its next run.
const DAYS: u32 = 3;
/// Why something is left out that is allowed but too long by now.
const NO_ROOM: &str = "longer than what is left of scope.max_bytes or scope.sites";
/// Why something is left out that no pack may keep.
pub(super) const CROWDED: &str = "packs keep as much as they may";
/// What is wrong with a host that fails too often ...
const FAILED: &str = "it failed too often today";
/// ... and with one that nobody knows.
const NAMELESS: &str = "there is no such name";
/// Times in a row that a robots.txt could not be had, after which a run gives up its origin.
const ROBOTS: u32 = 4;

impl<W: Web> Crawl<'_, W> {
    /// Takes down what came; `Some` when the crawl must end.
    pub(super) async fn land(&self, desk: &mut Desk, landed: Landed) -> Result<Option<End>, Error> {
        let Landed { wish, target, verdict, reply, transferred, began, room } = landed;
        let now = self.clock.now();
        self.book.settle(self.state).await?;
        desk.gate.leave(target.host());
        desk.gate.took(target.host(), now.since(began));
        desk.urls.remove(&wish.url);
        desk.claims.drop(wish.id);
        desk.recent.push_back((now, transferred));
        self.tally.ledger.bring(&self.pack.id, &target, transferred);
        self.transferred.inc_by(transferred);
        let what = match (verdict, reply) {
            (Verdict::Unknown(wait), _) => {
                let fate = self.no_robots(desk, &wish, &target, wait, now).await?;
                self.end(desk, Ending::new(wish, fate), transferred);
                return Ok(None);
            }
            (_, Some(reply)) => reply.what,
            (_, None) => {
                self.end(desk, Ending::new(wish, Fate::Skipped("robots.txt forbids it".into())), transferred);
                return Ok(None);
            }
        };
        if matches!(
            what,
            What::Here { .. }
                | What::Partly(_)
                | What::Moved { .. }
                | What::Gone
                | What::Refused(_)
                | What::Unkept(_)
                | What::TooLong
                | What::Oversized(_)
        ) {
            desk.gate.answered(target.host());
            // Not what was under way when the host asked for a pause.
            if !desk.gate.is_shut(target.host(), now) && desk.paused.remove(target.host()) {
                self.state.forgive_host(target.host()).await?;
            }
        }
        let ending = match what {
            // Others have come meanwhile of which nobody knew how long they are.
            What::Here { length, .. } if length > self.left(desk, target.host()) => Ending::new(wish, Fate::Skipped(NO_ROOM.into())),
            What::Here { ref content_type, ref body, .. } => {
                let named = found_beside(self.pack, self.media, &wish, &target, content_type.as_deref(), body).await;
                if named.wishes.is_empty() && Aim::parse(&wish.kind).is_list() && is_html(content_type.as_deref(), body) {
                    // A site that is being mended, a portal in between: what it named before stays wanted.
                    Ending::new(wish, Fate::Failed("a page came where a list was to be".into()))
                } else if let Some(why) = named.objection {
                    Ending::new(wish, Fate::Skipped(why))
                } else if let Some(why) = named.broken {
                    Ending::new(wish, Fate::Failed(why))
                } else {
                    match self.pin(&wish, &target).await {
                        Ok(()) => self.here(desk, wish, &target, &what, named, now),
                        Err(StoreError::Full) => crowded(desk, wish),
                        Err(error) => return Ok(Some(full(&error))),
                    }
                }
            }
            What::Moved { to, kept } => match if kept { self.pin(&wish, &target).await } else { Ok(()) } {
                Ok(()) => self.moved(desk, wish, &to, now),
                Err(StoreError::Full) => crowded(desk, wish),
                Err(error) => return Ok(Some(full(&error))),
            },
            What::Full(why) => return Ok(Some(End::Full(why))),
            what => {
                let fate = self.fate(desk, &wish, &target, what, room, now).await?;
                Ending::new(wish, fate)
            }
        };
        self.end(desk, ending, transferred);
        if is_full(desk.count.done_bytes, self.pack.scope.max_bytes) {
            desk.queues.flush(self.state, now).await?;
            let why = "scope.max_bytes is reached";
            let told = Told { why, counted: self.counted(reason::skipped(why)) };
            self.state.skip_open(&self.pack.id, desk.run.run, told).await?;
            desk.queues.reread();
        }
        Ok(None)
    }

    /// It is in the store: what it names in turn, and what its coming says about how often it changes.
    fn here(&self, desk: &mut Desk, wish: Wish, target: &Target, what: &What, named: Named, now: Time) -> Ending {
        let What::Here { length, unchanged, asked, print, .. } = *what else {
            return Ending::new(wish, Fate::Gone);
        };
        let Named { wishes: found, note, .. } = named;
        let word = Some(came(&wish, print, unchanged));
        desk.count.done_bytes += length;
        desk.shares.add(self.pack, target.host(), length);
        let counter = if unchanged { &self.tally.unchanged } else { &self.tally.fetched };
        counter.fetch_add(1, Ordering::Relaxed);
        let same = unchanged || (print.is_some() && print == wish.print);
        let print = print.or(wish.print);
        let still = match (asked, same && wish.fetched.is_some()) {
            (false, _) => wish.still,
            (true, true) => wish.still.saturating_add(1),
            (true, false) => 0,
        };
        // What was not asked about was last confirmed when it was.
        let at = wish.fetched.filter(|_| !asked).unwrap_or(now);
        Ending { found, note, still, print, word, ..Ending::new(wish, Fate::Done { bytes: length, at }) }
    }

    /// It lies elsewhere: a redirect is followed under its own address, within the scope, and not in circles.
    fn moved(&self, desk: &mut Desk, wish: Wish, to: &Target, now: Time) -> Ending {
        if let Some(why) = circle(desk, &wish, to) {
            return Ending::new(wish, Fate::Failed(why.into()));
        }
        if !self.pack.covers(to, false) {
            return Ending::new(wish, Fate::Skipped("moved out of the pack's hosts".into()));
        }
        let found = vec![aim::moved(&wish, to)];
        Ending { found, ..Ending::new(wish, Fate::Done { bytes: 0, at: now }) }
    }

    /// Bytes that may still be here, of the pack's and of a host's.
    fn left(&self, desk: &Desk, host: &str) -> u64 {
        self.pack.scope.max_bytes.saturating_sub(desk.count.done_bytes).min(desk.shares.room(self.pack, host))
    }

    async fn fate(&self, desk: &mut Desk, wish: &Wish, target: &Target, what: What, room: Room, now: Time) -> Result<Fate, Error> {
        Ok(match what {
            What::Refused(why) => Fate::Failed(why),
            What::Unkept(why) => Fate::Failed(format!("may not be kept: {why}")),
            What::TooLong if Aim::parse(&wish.kind).most() < room.bytes => Fate::Skipped("longer than a list or playlist may be".into()),
            What::TooLong if room.bytes > crate::cache::MAX_PAGE && Aim::parse(&wish.kind).is_page() => {
                Fate::Skipped("longer than a page may be, or than what is left of scope.max_bytes".into())
            }
            // When what was on its way has landed, there may be room; a few times, as the length may only show when it is all here.
            What::TooLong if room.shared && wish.tries + 1 < TRIES => Fate::Later { at: now.plus(ROOM), failed: true },
            What::TooLong => Fate::Skipped(NO_ROOM.into()),
            What::Oversized(most) => Fate::Skipped(format!("longer than the store takes in one piece ({})", unit::Bytes(most))),
            What::Busy(wait) => self.busy(desk, wish, target, wait, now).await?,
            What::Broken(_) | What::Nameless(_) | What::Lost(_) if self.web.is_down() => Fate::Later { at: now, failed: false },
            // Nobody was asked, so it counts against nobody.
            What::Ours(_) => Fate::Later { at: now.plus(AGAIN.first), failed: false },
            // Piece by piece it gets through, whatever the line does.
            What::Partly(_) => Fate::Later { at: now.plus(SOON), failed: false },
            What::Lost(_) if wish.tries == 0 && wish.strikes < HOPELESS => Fate::Later { at: now.plus(SOON), failed: true },
            // Counted once for each wish: the first failure of a host that answered, the second of one that was lost.
            What::Lost(why) => self.broken(desk, wish, target, (why, FAILED), wish.tries == 1, now).await?,
            What::Broken(why) => self.broken(desk, wish, target, (why, FAILED), wish.tries == 0, now).await?,
            What::Nameless(why) => self.broken(desk, wish, target, (why, NAMELESS), wish.tries == 0, now).await?,
            What::Gone | What::Here { .. } | What::Moved { .. } | What::Full(_) => Fate::Gone,
        })
    }

    /// Keeps it for the pack, where it is something to keep.
    async fn pin(&self, wish: &Wish, target: &Target) -> Result<(), StoreError> {
        if Aim::parse(&wish.kind).is_content() { self.web.pin(&self.pack.id, target).await } else { Ok(()) }
    }

    /// The origin's robots.txt cannot be had, so nothing of it may be fetched: its whole queue waits, not wish by wish.
    async fn no_robots(&self, desk: &mut Desk, wish: &Wish, target: &Target, wait: Wait, now: Time) -> Result<Fate, Error> {
        if wait.blame {
            self.blame(desk, target.host(), "its robots.txt cannot be had", now).await?;
        }
        if !wait.passing && wait.fails >= ROBOTS {
            let why = "robots.txt cannot be had, so nothing here may be fetched";
            let told = Told { why, counted: self.counted(reason::failed(why)) };
            desk.queues.give_up(self.state, wish, told, now).await?;
            return Ok(Fate::Failed(why.into()));
        }
        desk.queues.hold(self.state, wish, wait.until).await?;
        Ok(Fate::Later { at: now, failed: false })
    }

    /// The host asked for a pause. Whether the one address is the trouble or the whole host shows by what it answers else.
    async fn busy(&self, desk: &mut Desk, wish: &Wish, target: &Target, wait: Option<Duration>, now: Time) -> Result<Fate, Error> {
        let refusal = desk.gate.refused(target.host(), wait, now);
        self.state.pause_host(target.host(), refusal.until, false, BUSY).await?;
        desk.paused.insert(target.host().to_owned());
        if refusal.counts {
            self.blame(desk, target.host(), "it was too busy all day", now).await?;
        }
        if refusal.first { Ok(tried(wish, now, "the host is busy".into())) } else { Ok(Fate::Later { at: now, failed: false }) }
    }

    /// `host`: what that means for the host, should it happen too often.
    async fn broken(
        &self,
        desk: &mut Desk,
        wish: &Wish,
        target: &Target,
        (why, host): (String, &str),
        counts: bool,
        now: Time,
    ) -> Result<Fate, Error> {
        tracing::debug!(host = target.host(), tries = wish.tries, why, "a fetch failed");
        if counts {
            self.blame(desk, target.host(), host, now).await?;
        }
        // At least half of the wait is kept: full jitter would sometimes ask again at once.
        Ok(tried(wish, now.plus(AGAIN.wait(wish.tries, 0.5 + self.web.share() / 2.0)), why))
    }

    /// One error more of a host; at the limit it is left alone for the day, and after some such days given up in this run.
    async fn blame(&self, desk: &mut Desk, host: &str, why: &str, now: Time) -> Result<(), Error> {
        let errors = self.state.host_error(host, &self.windows.day(now)).await?;
        if errors < self.manners.errors || !desk.stopped.insert(host.to_owned()) {
            return Ok(());
        }
        let until = self.windows.next_day(now);
        desk.gate.shut(host, until);
        desk.paused.insert(host.to_owned());
        let days = self.state.pause_host(host, until, true, why).await?;
        tracing::warn!(host, errors, days, pack = self.pack.id, "host failed too often today, left alone until tomorrow");
        if days >= DAYS {
            let why = if why == NAMELESS {
                format!("{NAMELESS}: see how it is written in the pack; it is tried again in later nights")
            } else {
                format!("the host has failed for {days} days; it is tried again in later nights")
            };
            let told = Told { why: &why, counted: self.counted(reason::failed(&why)) };
            desk.queues.give_up_host(self.state, host, told, now).await?;
        }
        Ok(())
    }
}

/// Packs keep as much as they may: what they have is still renewed, and what they no longer name is found out and makes room. A run that
/// ended here would never come so far.
fn crowded(desk: &mut Desk, wish: Wish) -> Ending {
    desk.crowded = true;
    Ending::new(wish, Fate::Skipped(CROWDED.into()))
}

/// The store takes nothing.
fn full(error: &StoreError) -> End {
    End::Full(match error {
        StoreError::Disk(error) if error.kind() == std::io::ErrorKind::NotFound => {
            String::from("the store is so full that what came made way at once; let a pack go, or raise store.quota")
        }
        other => other.to_string(),
    })
}

/// Bodies from here on are read beside what else is to be done: pages come in megabytes and sitemaps in fifty of them, and a thread that
/// reads one answers nobody meanwhile.
const LARGE: usize = 128 << 10;

/// What a body names, where a large body keeps nobody waiting.
async fn found_beside(pack: &Arc<Pack>, media: &Policy, wish: &Wish, base: &Target, content_type: Option<&str>, body: &Bytes) -> Named {
    if body.len() < LARGE {
        return aim::found(pack, media, wish, base, content_type, body);
    }
    let (pack, media, wish, base, body) = (Arc::clone(pack), media.clone(), wish.clone(), base.clone(), body.clone());
    let content_type = content_type.map(str::to_owned);
    let reads = move || aim::found(&pack, &media, &wish, &base, content_type.as_deref(), &body);
    // One that panics, or that the end of the program cuts short: what it names is not known, so nothing may be let go for it.
    let broken = |_| Named { broken: Some(String::from("it could not be read")), ..Named::default() };
    tokio::task::spawn_blocking(reads).await.unwrap_or_else(broken)
}

/// As what it counts that something is here. By its content and not by what came over the line: a pupil may have fetched it before, or
/// the power went between its coming and its end.
fn came(wish: &Wish, print: Option<i64>, unchanged: bool) -> &'static str {
    match (wish.fetched, print, wish.print) {
        (None, ..) => NEW,
        (_, Some(now), Some(before)) if now == before => SAME,
        (_, Some(_), Some(_)) => CHANGED,
        _ if unchanged => SAME,
        _ => CHANGED,
    }
}

/// Why a redirect is not followed further.
fn circle(desk: &mut Desk, wish: &Wish, to: &Target) -> Option<&'static str> {
    if to.url() == wish.url {
        return Some("it redirects to itself; it may want a cookie");
    }
    if wish.hops >= HOPS {
        return Some("it redirects too many times");
    }
    let mut from = Some(&wish.url);
    for _ in 0..=HOPS {
        from = from.and_then(|url| desk.moved.get(url));
        if from.is_some_and(|url| url == to.url()) {
            return Some("it redirects in a circle");
        }
    }
    if desk.moved.len() >= TRAIL {
        desk.moved.clear();
    }
    desk.moved.insert(to.url().to_owned(), wish.url.clone());
    None
}

/// Again later, or given up.
fn tried(wish: &Wish, at: Time, why: String) -> Fate {
    let tries = if wish.strikes >= HOPELESS { 1 } else { TRIES };
    if wish.tries + 1 >= tries { Fate::Failed(why) } else { Fate::Later { at, failed: true } }
}

/// Whether a body is a page for people, by what it is called or how it begins.
fn is_html(content_type: Option<&str>, body: &[u8]) -> bool {
    let begins = body.trim_ascii_start();
    let with = |mark: &[u8]| begins.get(..mark.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(mark));
    let called = content_type.is_some_and(|kind| kind.to_ascii_lowercase().contains("html"));
    !begins.is_empty() && (called || with(b"<!doctype html") || with(b"<html"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACK: &str = "id = \"p\"\nversion = \"1\"\nlicence = \"CC0\"\n[title]\nen = \"T\"\n[[seed]]\nurl = \"http://a.kz/\"\n\
        [scope]\nhosts = [\"a.kz\"]\n";

    #[tokio::test]
    async fn a_large_page_is_read_beside_what_else_is_to_be_done() {
        let (pack, media) = (Arc::new(Pack::parse(PACK).expect("good")), Policy::default());
        let (wish, base) = (Wish::new("http://a.kz/p/", "page", 0), Target::parse("http://a.kz/p/").expect("valid"));
        let page = Bytes::from("<img src=/i.png>".repeat(1 << 17));
        let other = std::cell::Cell::new(false);
        let reads = async {
            let named = found_beside(&pack, &media, &wish, &base, Some("text/html"), &page).await;
            (named.wishes.len(), other.get())
        };
        assert_eq!(tokio::join!(reads, async { other.set(true) }).0, (1, true));
    }
}
