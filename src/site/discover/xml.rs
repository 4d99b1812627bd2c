//! A small tree of an XML text, for manifests that are read twice: once for what they name, once to take something out.
//!
//! Bounded in elements and depth; entities that a text declares are never expanded, so a bomb of them stays as small as it is
//! written. Damage ends the reading: such a text is no tree.

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use std::ops::Range;

/// Most elements: the time-lines of a film of ten hours in eight forms have about 100,000.
const MAX_ELEMENTS: usize = 200_000;
/// Most attributes of an element that are read, the first ones; manifests have some fifteen.
const MAX_ATTRIBUTES: usize = 64;
/// Deepest nesting; manifests have six levels.
const MAX_DEPTH: usize = 32;

/// One element.
#[derive(Debug, Default)]
pub(super) struct Element {
    /// Without its prefix.
    pub(super) name: String,
    attributes: Vec<(String, String)>,
    /// The text directly within.
    text: String,
    /// What stands in it.
    pub(super) children: Vec<Element>,
    /// Where it stands in the text, its tags included.
    pub(super) place: Range<usize>,
}

impl Element {
    /// The root of a text.
    pub(super) fn parse(text: &str) -> Option<Element> {
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Element> = Vec::new();
        let mut count = 0;
        loop {
            let before = usize::try_from(reader.buffer_position()).ok()?;
            let event = reader.read_event().ok()?;
            let after = usize::try_from(reader.buffer_position()).ok()?;
            let done = match event {
                Event::Start(tag) => {
                    count += 1;
                    if count > MAX_ELEMENTS || open.len() >= MAX_DEPTH {
                        return None;
                    }
                    open.push(Element::of(&tag, before..after));
                    None
                }
                Event::Empty(tag) => {
                    count += 1;
                    if count > MAX_ELEMENTS {
                        return None;
                    }
                    Some(Element::of(&tag, before..after))
                }
                Event::End(_) => {
                    let mut element = open.pop()?;
                    element.place.end = after;
                    Some(element)
                }
                Event::Text(text) => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text.xml10_content());
                    }
                    None
                }
                Event::CData(text) => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(&text.xml10_content());
                    }
                    None
                }
                Event::GeneralRef(name) => {
                    let letter = match name.resolve_char_ref() {
                        Ok(Some(letter)) => Some(letter),
                        _ => predefined(name.as_ref()),
                    };
                    if let (Some(element), Some(letter)) = (open.last_mut(), letter) {
                        element.text.push(letter);
                    }
                    None
                }
                Event::Eof => return None,
                _ => None,
            };
            if let Some(element) = done {
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => return Some(element),
                }
            }
        }
    }

    fn of(tag: &BytesStart<'_>, place: Range<usize>) -> Element {
        let mut attributes = tag.attributes();
        let pairs = attributes.with_checks(false).filter_map(Result::ok).filter_map(|attribute| {
            let value = attribute.normalized_value(XmlVersion::default()).ok()?;
            Some((attribute.key.local_name().as_ref().to_owned(), value.into_owned()))
        });
        Element {
            name: tag.local_name().as_ref().to_owned(),
            attributes: pairs.take(MAX_ATTRIBUTES).collect(),
            place,
            ..Element::default()
        }
    }

    /// An attribute's value.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// An attribute that is a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.attribute(name)?.trim().parse().ok()
    }

    /// The text within, without blanks around it.
    pub(super) fn text(&self) -> &str {
        self.text.trim()
    }

    /// Its children of this name.
    pub(super) fn all<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// Its first child of this name.
    pub(super) fn first(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Whether this or anything within has this name.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.name == name || self.children.iter().any(|child| child.holds(name))
    }
}

/// The five entities that every XML text has.
pub(super) fn predefined(name: &str) -> Option<char> {
    let table = [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("apos", '\'')];
    table.iter().find(|(known, _)| *known == name).map(|(_, letter)| *letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_with_their_places() {
        let text = "<?xml version='1.0'?><!-- x --><a:m t=\"1 &amp; 2\"><b/> q<![CDATA[<]]>&#65;&lt; <c n='7'>z</c></a:m>";
        let root = Element::parse(text).expect("a tree");
        assert_eq!((root.name.as_str(), root.attribute("t"), root.text()), ("m", Some("1 & 2"), "q<A<"));
        let c = root.first("c").expect("a child");
        assert_eq!((c.number("n"), &text[c.place.clone()]), (Some(7), "<c n='7'>z</c>"));
        assert_eq!(&text[root.all("b").next().expect("a child").place.clone()], "<b/>");
        assert!(root.holds("c") && !root.holds("d"));
    }

    #[test]
    fn damage_depth_and_bombs_are_no_trees() {
        let deep = "<a>".repeat(MAX_DEPTH + 1);
        let many = format!("<a>{}</a>", "<b/>".repeat(MAX_ELEMENTS));
        for text in ["", "no xml", "<a><b></a>", "<a", "</a>", deep.as_str(), many.as_str()] {
            assert!(Element::parse(text).is_none(), "{text:.40}");
        }
        let bomb = "<!DOCTYPE a [<!ENTITY x \"ha\"><!ENTITY y \"&x;&x;&x;&x;\"><!ENTITY z \"&y;&y;&y;&y;\">]><a t=\"&z;\">&z;</a>";
        let root = Element::parse(bomb).expect("a tree");
        assert_eq!((root.text(), root.attribute("t")), ("", None));
    }
}
