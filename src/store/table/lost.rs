//! A table from a snapshot takes in the records that the snapshot does not answer for: those that came later, and those in segments
//! that were open then or have been written since.
//!
//! # Why
//! A record that is not newer than the snapshot says nothing new, unless what the snapshot leads to is not where it was. So
//! everything that does not lie in a segment which is as it was is taken out first and named here; an older record is believed only
//! about these. Then the newest record of a key wins, as in a start without a snapshot, and what nobody finds again stays out.

use crate::base::digest::Digest;
use crate::base::target::UrlKey;
use crate::store::record::{Kind, Line, fingerprint};
use crate::store::table::answers::{Answer, Key};
use crate::store::table::bodies::Bodies;
use crate::store::table::{Place, Table};
use std::collections::{HashMap, HashSet};

/// What was taken out of a snapshot of this seq; of nothing and seq 0: there was none.
#[derive(Default)]
pub(crate) struct Lost {
    seq: u64,
    /// Whether an answer was used.
    answers: HashMap<Key, bool>,
    bodies: HashSet<u64>,
    /// Entry, offset and length of parts.
    parts: HashSet<([u8; 16], u64, u64)>,
    pins: HashSet<(UrlKey, u64)>,
    dicts: HashSet<u32>,
}

#[cfg(test)]
impl Lost {
    /// Whether nothing was.
    pub(crate) fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.bodies.is_empty() && self.parts.is_empty() && self.pins.is_empty() && self.dicts.is_empty()
    }
}

impl Table {
    /// Takes out what lies in segments that are `gone`; the snapshot was taken at `seq`.
    pub(crate) fn lose_where(&mut self, seq: u64, gone: impl Fn(u32) -> bool) -> Lost {
        let is_gone = |place: Place| gone(place.segment);
        let mut lost = Lost { seq, ..Lost::default() };
        self.answers.retain(|key, answer| {
            let stays = !is_gone(answer.place);
            if !stays {
                lost.answers.insert(key, answer.used);
            }
            stays
        });
        lost.bodies = self.bodies.lose_where(is_gone).into_iter().collect();
        for (entry, parts) in &mut self.parts {
            lost.parts.extend(parts.spans.extract_if(.., |span| is_gone(span.place)).map(|span| (*entry, span.offset, span.length)));
        }
        self.parts.retain(|_, parts| !parts.spans.is_empty());
        lost.pins = self.pins.lose_where(is_gone).into_iter().collect();
        lost.dicts = self.dicts.extract_if(.., |_, place| is_gone(*place)).map(|dict| dict.0).collect();
        lost
    }

    /// Takes in one record, as far as the snapshot does not answer for it. `false`: an answer whose body is not here; it was cut
    /// short and replaces nothing, or a power cut would take what had been promised.
    pub(crate) fn apply_after(&mut self, lost: &Lost, line: &Line, segment: u32) -> bool {
        if line.seq <= lost.seq {
            return self.find_again(lost, line, segment);
        }
        let whole = self.is_whole(line);
        if whole {
            self.apply(line, segment);
        }
        whole
    }

    fn is_whole(&self, line: &Line) -> bool {
        line.kind != Kind::Meta || line.link == 0 || self.has_blob(line.link)
    }

    fn find_again(&mut self, lost: &Lost, line: &Line, segment: u32) -> bool {
        let (url, number) = (line.url(), u32::try_from(line.link).unwrap_or(0));
        let key = Key::of(&url, &line.entry());
        let wanted = match line.kind {
            Kind::Blob => lost.bodies.contains(&Bodies::name(fingerprint(&line.key))) || self.blob(&Digest(line.key)).is_none(),
            Kind::Meta => lost.answers.contains_key(&key),
            Kind::Part => lost.parts.contains(&(line.entry(), line.link, line.length_of_part())),
            Kind::Pin => lost.pins.contains(&(url, line.link)),
            Kind::Dict => lost.dicts.contains(&number) || self.dict(number).is_none(),
            Kind::Tomb | Kind::Unpin => {
                self.forget_again(lost, line);
                false
            }
            Kind::Footer => false,
        };
        if !wanted {
            return true;
        }
        if !self.is_whole(line) {
            return false;
        }
        if line.kind != Kind::Meta {
            self.apply(line, segment);
            return true;
        }
        let place = Place { segment, at: line.at };
        if place.pack() != 0 {
            // The parts that are here came after it, if it replaced any: the snapshot had them.
            self.changes += 1;
            self.set_answer(line, place);
        }
        if lost.answers.get(&key) == Some(&true)
            && let Some(answer) = self.answers.get(key)
        {
            self.answers.set(key, Answer { used: true, ..answer });
        }
        true
    }

    /// A TOMB or UNPIN that is not newer than the snapshot: stands for something that has gone since, or is older than what is here.
    fn forget_again(&mut self, lost: &Lost, line: &Line) {
        let url = line.url();
        let all = line.entry() == [0; 16];
        if line.kind == Kind::Tomb {
            let own = Key::of(&url, &line.entry());
            for key in lost.answers.keys().filter(|key| if all { key.is_of(&url) } else { **key == own }) {
                self.remove(*key);
            }
        }
        for (pinned, set) in &lost.pins {
            let gone = match line.kind {
                Kind::Tomb => all && *pinned == url,
                _ => *set == line.link && (*pinned == url || url.0 == [0; 16]),
            };
            if gone {
                self.pins.remove(pinned, *set);
            }
        }
    }
}
