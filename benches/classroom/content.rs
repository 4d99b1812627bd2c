//! What an origin of a scenario has, made from its seed: pages that name style, scripts, fonts and pictures, or one large file.
//!
//! Bodies can be made again from any offset, so that both ends know every byte without keeping it. Pages and style sheets are real HTML
//! and CSS: a proxy that reads what passes by finds the same links as a browser. Pictures do not compress.

use super::origin::{DATE, OK};
use super::random::Random;
use super::scenario::{Caching, Pages, Scenario, Work};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

/// Up to so many bytes are kept ready in memory, all objects together: comparing is faster than making.
const READY: u64 = 64 << 20;

/// The host of everything.
pub(crate) const HOST: &str = "class.school.test";

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The page itself.
    Page,
    /// A style sheet.
    Style,
    /// A script.
    Script,
    /// A font.
    Font,
    /// What a script asks for.
    Data,
    /// A picture.
    Picture,
    /// A large file.
    File,
}

/// One object of the origin.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Object {
    /// Its address on [`HOST`].
    pub(crate) path: String,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its length.
    pub(crate) length: u64,
    /// What it names: asked for once it is there.
    pub(crate) names: Vec<usize>,
    /// What the origin says of how long it keeps.
    pub(crate) cache_control: &'static str,
    #[serde(skip)]
    seed: u64,
    #[serde(skip)]
    text: Option<Arc<[u8]>>,
}

/// Everything the origin has.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Content {
    /// All objects.
    pub(crate) objects: Vec<Object>,
    /// The pages among them, the most popular first.
    pub(crate) pages: Vec<usize>,
    /// Objects for warming up.
    pub(crate) warm_up: Vec<usize>,
    #[serde(skip)]
    by_path: HashMap<String, usize>,
}

impl Object {
    /// Its entity tag.
    pub(crate) fn tag(&self) -> String {
        format!("\"{:016x}\"", self.seed)
    }

    /// Its media type.
    pub(crate) fn media(&self) -> &'static str {
        match self.kind {
            Kind::Page => "text/html; charset=utf-8",
            Kind::Style => "text/css",
            Kind::Script => "text/javascript",
            Kind::Font => "font/woff2",
            Kind::Data => "application/json",
            Kind::Picture => "image/png",
            Kind::File => "application/octet-stream",
        }
    }

    /// Writes a part of its body behind what is there.
    pub(crate) fn write(&self, part: Range<u64>, into: &mut Vec<u8>) {
        if let Some(text) = &self.text {
            into.extend_from_slice(&text[index(part.start)..index(part.end)]);
            return;
        }
        let mut at = part.start;
        while at < part.end {
            let bytes = word(self.seed, at / 8).to_le_bytes();
            let from = index(at % 8);
            let taken = (8 - from).min(index(part.end - at));
            into.extend_from_slice(&bytes[from..from + taken]);
            at += taken as u64;
        }
    }

    /// Whether these are its bytes from an offset on.
    pub(crate) fn is_at(&self, at: u64, bytes: &[u8]) -> bool {
        let end = at + bytes.len() as u64;
        if end > self.length {
            return false;
        }
        if let Some(text) = &self.text {
            return text[index(at)..index(end)] == *bytes;
        }
        let lead = index((8 - at % 8) % 8).min(bytes.len());
        let (lead, rest) = bytes.split_at(lead);
        let mut first = Vec::with_capacity(8);
        self.write(at..at + lead.len() as u64, &mut first);
        let mut number = at.div_ceil(8);
        let words = rest.chunks_exact(8);
        let tail = words.remainder();
        let mut good = first == lead;
        for bytes in words {
            good &= word(self.seed, number).to_le_bytes() == *bytes;
            number += 1;
        }
        good && word(self.seed, number).to_le_bytes().starts_with(tail)
    }

    /// The head of the origin's 200, without an end.
    pub(crate) fn head(&self) -> String {
        format!(
            "Content-Type: {}\r\nContent-Length: {}\r\nETag: {}\r\nCache-Control: {}\r\nLast-Modified: Mon, 02 Nov 2026 08:00:00 GMT\r\nAccept-Ranges: bytes\r\n",
            self.media(),
            self.length,
            self.tag(),
            self.cache_control
        )
    }
}

impl Content {
    /// What a scenario's origin has in a round.
    pub(crate) fn of(scenario: &Scenario, round: u64) -> Content {
        let mut random = Random::new(scenario.seed.wrapping_add(round), "content");
        let mut content = Content { objects: Vec::new(), pages: Vec::new(), warm_up: Vec::new(), by_path: HashMap::new() };
        match scenario.work() {
            Work::Pages(pages) => content.add_pages(pages, &mut random),
            Work::Ranges(ranges) => content.add_file("/file.bin", ranges.file.0, &mut random),
            Work::Idle(_) => content.add_file("/small.bin", 1_000, &mut random),
            Work::Readers(readers) => content.add_file("/file.bin", readers.file.0, &mut random),
        }
        for number in 0..scenario.warm_up {
            content.warm_up.push(content.objects.len());
            content.objects.push(object(format!("/warm-up/{number}.png"), Kind::Picture, 2_000, FRESH, &mut random));
        }
        content.write_texts(&mut random);
        content.by_path = content.objects.iter().enumerate().map(|(at, object)| (object.path.clone(), at)).collect();
        content
    }

    /// The object at a path.
    pub(crate) fn at(&self, path: &str) -> Option<&Object> {
        self.by_path.get(path).map(|&at| &self.objects[at])
    }

    /// Bytes of these objects as the origin would send each once, heads included.
    pub(crate) fn one_copy(&self, objects: impl Iterator<Item = usize>) -> u64 {
        objects.map(|at| self.objects[at].length + (self.objects[at].head().len() + OK.len() + DATE) as u64 + 2).sum()
    }

    fn add_file(&mut self, path: &str, length: u64, random: &mut Random) {
        self.pages.push(0);
        self.objects.push(object(path.to_owned(), Kind::File, length, FRESH, random));
    }

    fn add_pages(&mut self, pages: &Pages, random: &mut Random) {
        let slots = slots(pages, random);
        // Shared slots are made once; their bytes are those of the first page.
        let mut shared: Vec<Option<usize>> = vec![None; slots.len()];
        for page in 0..pages.count {
            let weights: Vec<f64> = slots.iter().map(|slot| slot.kind.weight(random)).collect();
            let lengths = lengths(&slots, &weights, &shared, &self.objects, pages);
            let mut mine = Vec::with_capacity(slots.len());
            for (at, slot) in slots.iter().enumerate() {
                if let Some(known) = shared[at] {
                    mine.push(known);
                    continue;
                }
                let folder = if slot.shared { String::from("/shared") } else { format!("/page-{page}") };
                let path = format!("{folder}/{at}.{}", slot.kind.ending());
                let number = self.objects.len();
                self.objects.push(object(path, slot.kind, lengths[at], pages.caching.of(slot.kind), random));
                if slot.shared {
                    shared[at] = Some(number);
                }
                mine.push(number);
            }
            for (at, slot) in slots.iter().enumerate().skip(1) {
                let (parent, child) = (mine[slot.parent], mine[at]);
                if !self.objects[parent].names.contains(&child) {
                    self.objects[parent].names.push(child);
                }
            }
            self.pages.push(mine[0]);
        }
    }

    /// Gives pages, style sheets and scripts their text, and what is small enough its bytes.
    fn write_texts(&mut self, random: &mut Random) {
        let all: u64 = self.objects.iter().map(|object| object.length).sum();
        for at in 0..self.objects.len() {
            let object = &self.objects[at];
            let named: Vec<&Object> = object.names.iter().map(|&child| &self.objects[child]).collect();
            let text = match object.kind {
                Kind::Page => Some(fill(html(&object.path, &named), "<p>", "</p>\n</body></html>\n", object.length, random)),
                Kind::Style => Some(fill(css(&named), "/* ", " */\n", object.length, random)),
                Kind::Script => Some(fill(String::from("\"use strict\";\n"), "/* ", " */\n", object.length, random)),
                _ if all <= READY => {
                    let mut bytes = Vec::new();
                    object.write(0..object.length, &mut bytes);
                    Some(bytes)
                }
                _ => None,
            };
            let object = &mut self.objects[at];
            if let Some(text) = text {
                // A page that names more than it has room for is longer than was asked.
                object.length = text.len() as u64;
                object.text = Some(text.into());
            }
        }
    }
}

const FRESH: &str = "public, max-age=604800";

impl Caching {
    fn of(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Caching::Fresh, _) => FRESH,
            (Caching::Mixed, Kind::Page) | (Caching::Revalidate, _) => "no-cache",
            (Caching::Mixed, _) => "public, max-age=31536000, immutable",
        }
    }
}

impl Kind {
    fn ending(self) -> &'static str {
        match self {
            Kind::Page => "html",
            Kind::Style => "css",
            Kind::Script => "js",
            Kind::Font => "woff2",
            Kind::Data => "json",
            Kind::Picture => "png",
            Kind::File => "bin",
        }
    }

    /// How large it is beside others; pictures are spread as on the web (log-normal, sigma 0.8).
    fn weight(self, random: &mut Random) -> f64 {
        match self {
            Kind::Page | Kind::Data => 0.6,
            Kind::Style => 0.8,
            Kind::Script => 2.0,
            Kind::Font => 1.2,
            Kind::Picture | Kind::File => (random.normal() * 0.8).exp(),
        }
    }
}

/// A place of a page.
struct Slot {
    kind: Kind,
    parent: usize,
    shared: bool,
}

/// The places of every page, in a browser's order: style, scripts, pictures, fonts, data.
fn slots(pages: &Pages, random: &mut Random) -> Vec<Slot> {
    let rest = pages.objects - 1;
    let part = |share: usize| if rest >= 4 { (rest / share).max(1) } else { 0 };
    let (style, script, font) = (part(20), part(10), part(20));
    let data = if pages.depth == 3 { part(20) } else { 0 };
    let mut kinds = vec![Kind::Page];
    kinds.extend(std::iter::repeat_n(Kind::Style, style));
    kinds.extend(std::iter::repeat_n(Kind::Script, script));
    let mut last = vec![Kind::Font; font];
    last.extend(std::iter::repeat_n(Kind::Data, data));
    let pictures = pages.objects.saturating_sub(kinds.len() + last.len());
    kinds.extend(std::iter::repeat_n(Kind::Picture, pictures));
    kinds.extend(last);
    kinds.truncate(pages.objects);
    // Shared are style, scripts, fonts and data before pictures.
    let mut order: Vec<usize> = (1..kinds.len()).collect();
    order.sort_by_key(|&at| kinds[at] == Kind::Picture);
    let mut shared = vec![false; kinds.len()];
    order.iter().take(pages.shared).for_each(|&at| shared[at] = true);
    let mut slots: Vec<Slot> = Vec::new();
    for (at, &kind) in kinds.iter().enumerate() {
        let natural = match kind {
            Kind::Font if pages.depth > 1 && style > 0 => 1 + at % style,
            // A fifth of the pictures are backgrounds.
            Kind::Picture if pages.depth > 1 && style > 0 && random.below(5) == 0 => 1 + at % style,
            Kind::Data if script > 0 => 1 + style + at % script,
            _ => 0,
        };
        // What all pages share cannot name what one page has.
        let parent = if shared[natural] && !shared[at] { 0 } else { natural };
        slots.push(Slot { kind, parent, shared: shared[at] });
    }
    slots
}

/// Lengths that together are what a page should have.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of a page")]
fn lengths(slots: &[Slot], weights: &[f64], shared: &[Option<usize>], objects: &[Object], pages: &Pages) -> Vec<u64> {
    const LEAST: u64 = 200;
    let known: u64 = shared.iter().flatten().map(|&at| objects[at].length).sum();
    let own: Vec<usize> = (0..slots.len()).filter(|&at| shared[at].is_none()).collect();
    let whole: f64 = own.iter().map(|&at| weights[at]).sum();
    let room = pages.bytes.0.saturating_sub(known).saturating_sub(LEAST * own.len() as u64);
    let mut lengths = vec![0; slots.len()];
    for &at in &own {
        lengths[at] = LEAST + (room as f64 * weights[at] / whole) as u64;
    }
    lengths
}

fn object(path: String, kind: Kind, length: u64, cache_control: &'static str, random: &mut Random) -> Object {
    Object { path, kind, length, names: Vec::new(), cache_control, seed: random.next(), text: None }
}

fn html(path: &str, named: &[&Object]) -> String {
    let mut head = format!("<!DOCTYPE html>\n<html lang=\"kk\"><head><meta charset=\"utf-8\"><title>{path}</title>\n");
    let mut body = String::from("</head><body>\n");
    for object in named {
        let path = &object.path;
        match object.kind {
            Kind::Style => writeln!(head, "<link rel=\"stylesheet\" href=\"{path}\">"),
            Kind::Script => writeln!(head, "<script src=\"{path}\" defer></script>"),
            Kind::Font => writeln!(head, "<link rel=\"preload\" as=\"font\" href=\"{path}\" crossorigin>"),
            Kind::Data => writeln!(head, "<link rel=\"preload\" as=\"fetch\" href=\"{path}\" crossorigin>"),
            _ => writeln!(body, "<img src=\"{path}\" alt=\"\">"),
        }
        .expect("a string grows");
    }
    head + &body
}

fn css(named: &[&Object]) -> String {
    let mut text = String::from("body { margin: 1em }\n");
    for (number, object) in named.iter().enumerate() {
        let path = &object.path;
        match object.kind {
            Kind::Font => writeln!(text, "@font-face {{ font-family: f{number}; src: url(\"{path}\") format(\"woff2\") }}"),
            _ => writeln!(text, ".b{number} {{ background: url({path}) }}"),
        }
        .expect("a string grows");
    }
    text
}

/// Prose between two marks until a text has its length.
fn fill(start: String, open: &str, close: &str, length: u64, random: &mut Random) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "water", "school", "river", "letter", "mountain", "number", "steppe", "story", "apple", "winter", "horse", "teacher", "question",
        "bridge", "light", "village",
    ];
    let mut text = start + open;
    let end = index(length).saturating_sub(close.len());
    while text.len() < end {
        text.push_str(WORDS[random.below(WORDS.len())]);
        text.push(' ');
    }
    // Only prose is cut off: what stands before it is shorter.
    let prose = text.len() - end.min(text.len());
    if prose < 10 {
        text.truncate(text.len() - prose);
    }
    text.push_str(close);
    text.into_bytes()
}

/// Eight bytes of what does not compress (the finaliser of splitmix64).
fn word(seed: u64, number: u64) -> u64 {
    let mut mixed = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn index(at: u64) -> usize {
    usize::try_from(at).expect("a length of this machine")
}
