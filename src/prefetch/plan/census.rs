//! What a survey meets, counted: each address once, in strata, with some of each stratum to ask about. Pure.
//!
//! Those asked about are the ones with the smallest hashes: the same at every survey, spread evenly over whatever order a list has, and
//! none twice. Which read page names what is remembered in a bit each, so that what many pages share counts once and what unread
//! pages will need can be reckoned.

use crate::base::digest::Digest;
use crate::base::target::Target;
use crate::prefetch::plan::findings::{Case, Findings, Stratum};
use crate::prefetch::plan::guess::{self, real, whole};
use crate::prefetch::plan::sort::Sort;
use crate::state::frontier::Wish;
use std::collections::{BTreeMap, HashMap};

/// Most addresses of a stratum that are asked about: with 64 of them a sum is known to a tenth, mostly.
pub const MOST_ASKED: usize = 64;
/// Most pages that are read: a bit each.
pub const MOST_READ: u32 = 64;
/// Most addresses that are told apart, some 40 bytes each. What is beyond is counted and nothing more.
const MOST_SEEN: usize = 300_000;
/// Chains of requisites that are followed when their pages are told.
const CHAIN: usize = 10;

/// Who names an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The pack, a list, the frontier.
    List,
    /// A page that was read, by its bit.
    Page(u32),
    /// Something that pages need, by its hash.
    Need(u64),
}

/// What a question brought to light about one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It would bring so many bytes.
    Length(u64),
    /// It was fetched, and is here now: its length, and the bytes over the line.
    Here {
        /// Length.
        length: u64,
        /// Over the line.
        sent: u64,
    },
    /// It is here and has not changed.
    Same,
    /// It is here, and nobody will ask about it.
    Fresh,
    /// It is no more, or lies elsewhere.
    Gone,
    /// robots.txt forbids it.
    Forbidden,
    /// The origin refuses it, or it may not be kept.
    Refused,
    /// Longer than may be fetched.
    TooLong,
    /// Nothing that counts.
    Silent,
}

/// A film, by the word of its playlists. It owns nothing: a course has hundreds, each of thousands of pieces, and the pieces themselves
/// are met like anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Film {
    /// Its first piece, by its hash: where it counts.
    first: u64,
    /// How many pieces.
    pieces: u64,
    /// Bytes of all of them.
    bytes: u64,
}

impl Film {
    /// Of these pieces; `None`: of none.
    pub fn of<'w>(mut pieces: impl Iterator<Item = &'w Wish>, bytes: u64) -> Option<Film> {
        let first = hash(&pieces.next()?.url);
        Some(Film { first, pieces: 1 + pieces.count() as u64, bytes })
    }
}

/// All that was met.
#[derive(Debug, Default)]
pub struct Census {
    tracts: Vec<Tract>,
    by: HashMap<(String, Sort, Case), usize>,
    seen: HashMap<u64, Seen>,
    /// Requisites that requisites name.
    chains: Vec<(u64, u64)>,
    /// Pages that were read, by their host, as bits.
    read: BTreeMap<String, u64>,
    /// Of them, those whose links are followed; and how many such pages there are.
    followed: BTreeMap<String, (u64, u64)>,
    bits: u32,
}

#[derive(Debug, Default)]
struct Tract {
    stratum: Stratum,
    /// The ones to ask about, by their hashes.
    sample: BTreeMap<u64, Wish>,
}

#[derive(Debug)]
struct Seen {
    tract: usize,
    mask: u64,
    listed: bool,
    /// A page that is followed further.
    followed: bool,
    is_page: bool,
}

/// Of an address.
pub fn hash(url: &str) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&Digest::of(url.as_bytes()).0[..8]);
    u64::from_le_bytes(first)
}

impl Census {
    /// Meets an address; whether it is new. `followed`: a page whose own links will be followed.
    pub fn meet(&mut self, wish: &Wish, case: Case, by: By, followed: bool) -> bool {
        let hash = hash(&wish.url);
        let mask = match by {
            By::Page(bit) => 1_u64.checked_shl(bit).unwrap_or(0),
            By::List | By::Need(_) => 0,
        };
        if let By::Need(parent) = by {
            self.chains.push((parent, hash));
        }
        let listed = by == By::List;
        if let Some(seen) = self.seen.get_mut(&hash) {
            seen.mask |= mask;
            seen.listed |= listed;
            return false;
        }
        let Ok(target) = Target::parse(&wish.url) else { return false };
        let key = (target.host().to_owned(), Sort::of(&wish.kind, &wish.url), case);
        let at = *self.by.entry(key).or_insert_with_key(|key| {
            let stratum = Stratum { host: key.0.clone(), sort: key.1, case, ..Stratum::default() };
            self.tracts.push(Tract { stratum, ..Tract::default() });
            self.tracts.len() - 1
        });
        let tract = &mut self.tracts[at];
        tract.stratum.known += 1;
        tract.stratum.last_bytes += wish.bytes.unwrap_or(0);
        if self.seen.len() >= MOST_SEEN {
            return true;
        }
        tract.sample.insert(hash, wish.clone());
        if tract.sample.len() > MOST_ASKED {
            tract.sample.pop_last();
        }
        if followed {
            self.followed.entry(target.host().to_owned()).or_default().1 += 1;
        }
        self.seen.insert(hash, Seen { tract: at, mask, listed, followed, is_page: wish.kind == "page" });
        true
    }

    /// A bit for a page that was read; `None` when enough were.
    pub fn read(&mut self, wish: &Wish) -> Option<u32> {
        if self.bits >= MOST_READ {
            return None;
        }
        let bit = self.bits;
        self.bits += 1;
        let host = Target::parse(&wish.url).ok()?.host().to_owned();
        if self.seen.get(&hash(&wish.url)).is_some_and(|seen| seen.followed) {
            self.followed.entry(host.clone()).or_default().0 |= 1 << bit;
        }
        *self.read.entry(host).or_default() |= 1 << bit;
        Some(bit)
    }

    /// Takes down an answer. Once for each address.
    pub fn answer(&mut self, url: &str, answer: &Answer) {
        let hash = hash(url);
        let Some(at) = self.seen.get(&hash).map(|seen| seen.tract) else { return };
        let Tract { stratum, sample } = &mut self.tracts[at];
        sample.remove(&hash);
        let value = match answer {
            Answer::Silent => {
                stratum.silent += 1;
                return;
            }
            Answer::Length(length) => {
                stratum.coming = stratum.coming.saturating_add(*length);
                stratum.lengths = stratum.lengths.saturating_add(*length);
                *length
            }
            Answer::Here { length, sent } => {
                stratum.lengths = stratum.lengths.saturating_add(*length);
                stratum.sent = stratum.sent.saturating_add(*sent);
                stratum.plain = stratum.plain.saturating_add(if *sent > 0 { *length } else { 0 });
                *length
            }
            Answer::Same => 0,
            Answer::Fresh => {
                stratum.fresh += 1;
                0
            }
            Answer::Gone => {
                stratum.gone += 1;
                0
            }
            Answer::Forbidden => {
                stratum.forbidden += 1;
                0
            }
            Answer::Refused => {
                stratum.refused += 1;
                0
            }
            Answer::TooLong => {
                stratum.too_long += 1;
                0
            }
        };
        stratum.asked += 1;
        stratum.seen.add(value);
    }

    /// A film's pieces have so many bytes by the word of its playlists.
    pub fn claim(&mut self, film: &Film) {
        let Some(at) = self.seen.get(&film.first).map(|seen| seen.tract) else { return };
        let stratum = &mut self.tracts[at].stratum;
        stratum.claimed = stratum.claimed.saturating_add(film.bytes);
        stratum.claimed_of += film.pieces;
    }

    /// Addresses to ask about, of strata that `wanted` gives a rank: the first eight of each, then the next eight, within each eight by rank.
    pub fn sample(&self, wanted: impl Fn(&Stratum) -> Option<u32>) -> Vec<(Stratum, Wish)> {
        let mut all = Vec::new();
        for Tract { stratum, sample } in &self.tracts {
            let Some(rank) = wanted(stratum) else { continue };
            all.extend(sample.values().enumerate().map(|(at, wish)| ((at / 8, rank), stratum, wish)));
        }
        all.sort_by_key(|(rank, ..)| *rank);
        all.into_iter()
            .map(|(_, stratum, wish)| {
                (Stratum { host: stratum.host.clone(), sort: stratum.sort, case: stratum.case, ..Stratum::default() }, wish.clone())
            })
            .collect()
    }

    /// How many pages are known, and how many were read.
    pub fn pages(&self) -> (u64, u64) {
        (self.seen.values().filter(|seen| seen.is_page).count() as u64, u64::from(self.bits))
    }

    /// What it all comes to.
    pub fn close(mut self) -> Findings {
        self.follow_chains();
        let (pages, read) = self.pages();
        // Links first: what pages need grows with the pages.
        let links = self.grow_links();
        let mut more_pages: BTreeMap<String, f64> = BTreeMap::new();
        for (at, more) in links {
            let stratum = &self.tracts[at].stratum;
            *more_pages.entry(stratum.host.clone()).or_default() += more.mid;
            self.add(at, more);
        }
        for (at, more) in self.grow_needs(&more_pages) {
            self.add(at, more);
        }
        let mut strata: Vec<Stratum> = self.tracts.into_iter().map(|tract| tract.stratum).collect();
        strata.sort_by_key(|one| (one.case, one.sort, one.host.clone()));
        Findings { strata, read, pages, ..Findings::default() }
    }

    fn add(&mut self, at: usize, more: guess::Span) {
        let stratum = &mut self.tracts[at].stratum;
        stratum.more += whole(more.mid);
        stratum.more_low += whole(more.low);
        stratum.more_high += whole(more.high);
    }

    /// What a script needs, its pages need.
    fn follow_chains(&mut self) {
        for _ in 0..CHAIN {
            let mut changed = false;
            for (parent, child) in &self.chains {
                let Some(mask) = self.seen.get(parent).map(|seen| seen.mask) else { continue };
                if let Some(seen) = self.seen.get_mut(child) {
                    changed |= seen.mask | mask != seen.mask;
                    seen.mask |= mask;
                }
            }
            if !changed {
                break;
            }
        }
    }

    /// What further pages link to: pages that only other pages name.
    fn grow_links(&self) -> Vec<(usize, guess::Span)> {
        let mut all = Vec::new();
        for (followed, known) in self.followed.values() {
            if followed.count_ones() > 0 {
                all.extend(self.grown(*followed, real(*known), |seen| seen.is_page));
            }
        }
        all
    }

    /// What further pages need.
    fn grow_needs(&self, more: &BTreeMap<String, f64>) -> Vec<(usize, guess::Span)> {
        let mut all = Vec::new();
        for (host, read) in &self.read {
            let known = |tract: &&Tract| tract.stratum.sort == Sort::Page && tract.stratum.host == *host && tract.stratum.case == Case::New;
            let known: u64 = self.tracts.iter().filter(known).map(|tract| tract.stratum.known).sum();
            let pages = real(known) + more.get(host).copied().unwrap_or(0.0);
            all.extend(self.grown(*read, pages, |seen| !seen.is_page));
        }
        all
    }

    /// The growth of each stratum whose things these pages name, and nobody else.
    fn grown(&self, pages: u64, of: f64, counts: impl Fn(&Seen) -> bool) -> Vec<(usize, guess::Span)> {
        let mut marks: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        // A thing belongs to the host of the first page that names it.
        let mine = |seen: &Seen| seen.mask & pages != 0 && pages >> seen.mask.trailing_zeros() & 1 == 1;
        for seen in self.seen.values().filter(|seen| !seen.listed && counts(seen) && mine(seen)) {
            marks.entry(seen.tract).or_default().push((seen.mask & pages).count_ones());
        }
        marks.into_iter().map(|(at, marks)| (at, guess::growth(&marks, pages.count_ones(), of))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(n: u32) -> Wish {
        Wish::new(format!("http://a.kz/{n}.html"), "page", 0)
    }

    fn of(findings: &Findings, sort: Sort) -> Stratum {
        findings.strata.iter().find(|one| one.sort == sort).cloned().unwrap_or_default()
    }

    #[test]
    fn what_pages_share_counts_once_and_what_each_has_grows_with_them() {
        let mut census = Census::default();
        for n in 0..100 {
            assert!(census.meet(&page(n), Case::New, By::List, false));
        }
        assert!(!census.meet(&page(3), Case::New, By::List, false), "each once");
        for (_, wish) in census.sample(|_| Some(0)).into_iter().take(10) {
            let bit = census.read(&wish).expect("a bit");
            census.answer(&wish.url, &Answer::Here { length: 1000, sent: 500 });
            let (style, own) = (Wish::new("http://a.kz/s.css", "style", 1), Wish::new(format!("{}.png", wish.url), "image", 1));
            census.meet(&style, Case::New, By::Page(bit), false);
            census.meet(&own, Case::New, By::Page(bit), false);
            census.meet(&Wish::new("http://a.kz/f.woff2", "font", 2), Case::New, By::Need(hash(&style.url)), false);
        }
        let findings = census.close();
        assert_eq!((findings.pages, findings.read), (100, 10));
        let counts = |sort| {
            let one = of(&findings, sort);
            (one.known, one.more)
        };
        assert_eq!(counts(Sort::Style), (1, 0));
        assert_eq!(counts(Sort::Font), (1, 0));
        assert_eq!(counts(Sort::Image), (10, 90));
        let pages = of(&findings, Sort::Page);
        assert_eq!((pages.known, pages.asked, pages.coming, pages.lengths, pages.ratio()), (100, 10, 0, 10_000, 0.5));
    }

    #[test]
    fn links_of_pages_that_are_followed_make_more_pages() {
        let mut census = Census::default();
        for n in 0..20 {
            census.meet(&page(n), Case::New, By::List, true);
        }
        for n in 0..4 {
            let bit = census.read(&page(n)).expect("a bit");
            census.answer(&page(n).url, &Answer::Here { length: 1000, sent: 1000 });
            census.meet(&page(1000 + n), Case::New, By::Page(bit), false);
            census.meet(&Wish::new(format!("http://a.kz/{n}.png"), "image", 1), Case::New, By::Page(bit), false);
        }
        let findings = census.close();
        let pages = of(&findings, Sort::Page);
        assert_eq!((pages.known, pages.more), (24, 16));
        // A picture on each of forty pages.
        assert_eq!((of(&findings, Sort::Image).known, of(&findings, Sort::Image).more), (4, 36));
    }

    #[test]
    fn few_are_asked_about_and_evenly() {
        let mut census = Census::default();
        for n in 0..50_000 {
            census.meet(&page(n), Case::New, By::List, false);
        }
        census.meet(&Wish::new("http://a.kz/film.mp4", "media", 0), Case::New, By::List, false);
        let sample = census.sample(|one| Some(u32::from(one.sort == Sort::Page)));
        assert_eq!((sample.len(), sample[0].1.kind.as_str()), (MOST_ASKED + 1, "media"));
        let low = sample.iter().filter(|(_, wish)| wish.url.len() < "http://a.kz/25000.html".len()).count();
        assert!((3..=30).contains(&low), "of 10,000 in 50,000: {low}");
    }

    #[test]
    fn a_film_s_claim_lies_where_its_pieces_do() {
        let mut census = Census::default();
        let pieces: Vec<Wish> = (0..5).map(|n| Wish::new(format!("http://a.kz/{n}.ts"), "media", 1)).collect();
        for piece in &pieces {
            census.meet(piece, Case::New, By::List, false);
        }
        census.claim(&Film::of(pieces.iter(), 5000).expect("it has pieces"));
        assert_eq!(Film::of([].iter(), 5000), None);
        let film = of(&census.close(), Sort::Media);
        assert_eq!((film.claimed, film.claimed_of, film.known), (5000, 5, 5));
    }
}
