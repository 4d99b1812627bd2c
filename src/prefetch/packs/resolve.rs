//! What packs say of each other: parts, successors; and what an operator refuses of them. Pure.

use crate::prefetch::packs::{Held, Refused, Shelf};
use crate::site::pack::Pack;
use crate::site::pack::version;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Most packs that are part of one, those within its parts included.
const MOST_PARTS: usize = 100;

/// Takes out what the operator refuses, tells what leads into the school's own network, and puts parts together.
pub(super) fn resolve(shelf: &mut Shelf, refused: &[String]) {
    for held in &mut shelf.held {
        let (pack, named) = Pack::clone(&held.pack).without(refused);
        if !named.is_empty() {
            held.notes.push(format!("{} is refused here (intercept.refused); left out", named.join(", ")));
        }
        if !pack.near().is_empty() {
            let names = pack.near().join(", ");
            held.notes.push(format!("names the school's own network ({names}): fetched only where proxy.allow_private_targets allows it"));
        }
        held.pack = Arc::new(pack);
    }
    let all: BTreeMap<String, Arc<Pack>> = shelf.held.iter().map(|held| (held.pack.id.clone(), Arc::clone(&held.pack))).collect();
    for held in &mut shelf.held {
        if !held.pack.includes.is_empty() {
            let parts = parts(&held.pack, &all, &mut held.notes);
            held.pack = Arc::new(Pack::clone(&held.pack).with(parts));
        }
    }
    for held in &mut shelf.held {
        if let Some(note) = successor_note(&held.pack, &all) {
            held.notes.push(note);
        }
    }
    let (kept, empty) = std::mem::take(&mut shelf.held).into_iter().partition(|held| !held.pack.seeds.is_empty());
    shelf.held = kept;
    for Held { file, mut notes, .. } in empty {
        notes.push(String::from("nothing of it is left to fetch"));
        shelf.refused.push(Refused { file: file.display().to_string(), why: notes });
    }
}

/// The parts of a pack and theirs, each once, in order: a loop ends where it began.
fn parts(pack: &Pack, all: &BTreeMap<String, Arc<Pack>>, notes: &mut Vec<String>) -> Vec<Arc<Pack>> {
    let (mut seen, mut found) = (HashSet::from([pack.id.clone()]), Vec::new());
    let mut open: Vec<_> = pack.includes.iter().rev().cloned().collect();
    while let Some(wanted) = open.pop() {
        if !seen.insert(wanted.id.clone()) {
            continue;
        }
        let Some(part) = all.get(&wanted.id) else {
            notes.push(format!("its part \"{}\" is not here: left out until that pack is in packs.paths", wanted.id));
            continue;
        };
        if let Some(least) = wanted.version.filter(|least| version::compare(&part.version, least) == Ordering::Less) {
            notes.push(format!("its part \"{}\" is here in version {} and wanted from {least}: left out", part.id, part.version));
            continue;
        }
        if found.len() >= MOST_PARTS {
            notes.push(format!("has more than {MOST_PARTS} parts; the rest is left out"));
            break;
        }
        found.push(Arc::clone(part));
        open.extend(part.includes.iter().rev().cloned());
    }
    found
}

/// Whether a pack may take the place that it wants: not when the other one, or one that it leads to, wants the same of it.
pub(super) fn may_replace(pack: &Pack, all: &BTreeMap<String, Arc<Pack>>) -> bool {
    let mut seen = HashSet::from([pack.id.as_str()]);
    let mut next = pack.replaces.as_deref();
    while let Some(id) = next {
        if !seen.insert(id) {
            return false;
        }
        next = all.get(id).and_then(|other| other.replaces.as_deref());
    }
    pack.replaces.is_some()
}

fn successor_note(pack: &Pack, all: &BTreeMap<String, Arc<Pack>>) -> Option<String> {
    if let Some(old) = &pack.replaces {
        return Some(match (may_replace(pack, all), all.contains_key(old)) {
            (false, _) => format!("wants to replace \"{old}\", which wants the same of it: both stay"),
            (true, true) => format!("takes the place of \"{old}\" once it is complete"),
            (true, false) => return None,
        });
    }
    let new = all.values().find(|other| other.replaces.as_deref() == Some(pack.id.as_str()) && may_replace(other, all))?;
    Some(format!("stays in force until \"{}\" is complete", new.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefetch::packs::Origin;

    fn shelf(texts: &[String]) -> Shelf {
        let held = |text: &String| Held {
            pack: Arc::new(Pack::parse(text).unwrap_or_else(|complaints| panic!("{complaints:?}"))),
            file: "x.toml".into(),
            origin: Origin::Own,
            notes: Vec::new(),
        };
        Shelf { held: texts.iter().map(held).collect(), ..Shelf::default() }
    }

    fn pack(id: &str, seeds: &str, more: &str) -> String {
        format!(
            "id = \"{id}\"\nversion = \"3\"\nlicence = \"CC0\"\n{more}\n[title]\nen = \"T\"\n{seeds}[scope]\nhosts = [\"a.kz\", \"10.0.0.5\"]\n"
        )
    }

    fn url(path: &str) -> String {
        format!("[[seed]]\nurl = \"http://a.kz/{path}\"\n")
    }

    fn part(id: &str) -> String {
        format!("[[seed]]\npack = \"{id}\"\n")
    }

    #[test]
    fn loops_of_parts_end_and_what_is_missing_is_told() {
        let mut shelf = shelf(&[
            pack("a", &(url("a") + &part("b") + &part("gone")), ""),
            pack("b", &(url("b") + &part("c")), ""),
            pack("c", &(url("c") + &part("a") + "[[seed]]\npack = \"d\"\nversion = \"4\"\n"), ""),
            pack("d", &url("d"), ""),
            pack("e", &part("gone"), ""),
        ]);
        resolve(&mut shelf, &[]);
        let urls = |at: usize| shelf.held[at].pack.seeds.iter().map(|seed| seed.target.path().to_owned()).collect::<Vec<_>>();
        assert_eq!(urls(0), ["/a", "/b", "/c"]);
        assert_eq!(urls(2), ["/c", "/a", "/b"]);
        assert!(shelf.held[0].notes.iter().any(|note| note.contains("\"gone\" is not here")), "{:?}", shelf.held[0].notes);
        assert!(shelf.held[2].notes.iter().any(|note| note.contains("version 3 and wanted from 4")), "{:?}", shelf.held[2].notes);
        assert!(shelf.held[3].notes.iter().any(|note| note.contains("10.0.0.5")));
        // Nothing but a part that is not here: no pack to be in force.
        assert_eq!((shelf.held.len(), shelf.refused.len()), (4, 1));
    }

    #[test]
    fn what_the_operator_refuses_is_told_and_left_out() {
        let mut shelf = shelf(&[pack("a", &url("a"), "")]);
        resolve(&mut shelf, &["a.kz".into()]);
        assert!(shelf.held.is_empty());
        assert!(shelf.refused[0].why[0].contains("a.kz is refused here"), "{:?}", shelf.refused);
    }

    #[test]
    fn successors_are_told_on_both_sides_and_loops_stay_as_they_are() {
        let mut shelf = shelf(&[
            pack("old", &url("o"), ""),
            pack("new", &url("n"), "replaces = \"old\""),
            pack("x", &url("x"), "replaces = \"y\""),
            pack("y", &url("y"), "replaces = \"x\""),
        ]);
        resolve(&mut shelf, &[]);
        let told = |at: usize| shelf.held[at].notes.last().cloned().unwrap_or_default();
        assert!(told(0).contains("until \"new\" is complete") && told(1).contains("takes the place of \"old\""));
        assert!(told(2).contains("both stay") && told(3).contains("both stay"));
    }
}
