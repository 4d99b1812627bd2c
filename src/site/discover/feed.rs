//! Feeds: RSS 2.0 (and 0.9x, 1.0) and Atom (RFC 4287). Entries name pages; what an entry encloses (a lesson's sound or film) is fetched
//! by the school's policy on media.
//!
//! Read as a stream, so that a feed of any length costs the memory of one entry. Entities that it declares are never expanded.

use crate::base::clock::Time;
use crate::base::target::Target;
use crate::site::discover::sitemap::moment;
use crate::site::discover::xml::predefined;
use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use std::io::{BufReader, Read};

/// Most bytes of a feed that are read: podcasts of twenty years with their notes have about 8 MB.
pub const MAX_BYTES: u64 = 16 << 20;
/// Most entries: what is older is no news, and the pack's sitemap knows it.
pub const MAX_ENTRIES: usize = 5_000;
/// Most enclosures of one entry.
const MAX_ENCLOSED: usize = 20;
/// Longest text that is kept of a field.
const MAX_TEXT: usize = 4096;

/// What a feed names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    /// Pages of entries, with the time of their last change where the feed tells it (Atom's `updated`; the date of an RSS entry is
    /// that of its first day).
    pub pages: Vec<(Target, Option<Time>)>,
    /// What entries enclose.
    pub enclosed: Vec<Target>,
}

/// Reads a feed; damage ends it, what was found until then counts.
pub fn read(base: &Target, bytes: &[u8]) -> Feed {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return walk(base, flate2::read::MultiGzDecoder::new(bytes));
    }
    walk(base, bytes)
}

/// What is collected of one entry.
#[derive(Default)]
struct Entry {
    base: Option<Target>,
    link: Option<String>,
    guid: Option<String>,
    updated: String,
    enclosed: Vec<String>,
}

/// Where the text that comes belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Link,
    Guid,
    Updated,
}

fn walk(base: &Target, source: impl Read) -> Feed {
    let mut reader = Reader::from_reader(BufReader::new(source.take(MAX_BYTES)));
    reader.config_mut().check_end_names = false;
    let (mut feed, mut entry, mut field): (Feed, Option<Entry>, Option<(Field, String)>) = (Feed::default(), None, None);
    let mut base = base.clone();
    let mut buffer = Vec::new();
    while feed.pages.len() < MAX_ENTRIES {
        buffer.clear();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(tag)) => {
                let name = tag.local_name().as_ref().to_ascii_lowercase();
                match (&mut entry, name.as_str()) {
                    (None, "item" | "entry") => entry = Some(Entry { base: own_base(&base, &tag), ..Entry::default() }),
                    (None, "feed" | "channel" | "rss") => base = own_base(&base, &tag).unwrap_or(base),
                    (Some(entry), name) => field = entry.open(name, &tag).map(|field| (field, String::new())),
                    (None, _) => {}
                }
            }
            Ok(Event::Empty(tag)) => {
                let name = tag.local_name().as_ref().to_ascii_lowercase();
                if let Some(entry) = &mut entry {
                    entry.open(&name, &tag);
                }
            }
            Ok(Event::Text(text)) => push(&mut field, &text.xml10_content()),
            Ok(Event::CData(text)) => push(&mut field, &text.xml10_content()),
            Ok(Event::GeneralRef(name)) => {
                let letter = match name.resolve_char_ref() {
                    Ok(Some(letter)) => Some(letter),
                    _ => predefined(name.as_ref()),
                };
                push(&mut field, &letter.map(String::from).unwrap_or_default());
            }
            Ok(Event::End(tag)) => {
                if let (Some((field, text)), Some(entry)) = (field.take(), &mut entry) {
                    entry.close(field, text.trim());
                }
                if matches!(tag.local_name().as_ref().to_ascii_lowercase().as_str(), "item" | "entry")
                    && let Some(entry) = entry.take()
                {
                    entry.finish(&base, &mut feed);
                }
            }
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    feed
}

fn push(field: &mut Option<(Field, String)>, more: &str) {
    if let Some((_, text)) = field
        && text.len() + more.len() <= MAX_TEXT
    {
        text.push_str(more);
    }
}

fn value(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = tag.attributes();
    let attribute =
        attributes.with_checks(false).filter_map(Result::ok).find(|attribute| attribute.key.as_ref().eq_ignore_ascii_case(name))?;
    attribute.normalized_value(XmlVersion::default()).ok().map(|text| text.trim().to_owned()).filter(|text| text.len() <= MAX_TEXT)
}

/// `xml:base`.
fn own_base(base: &Target, tag: &BytesStart<'_>) -> Option<Target> {
    base.join(&value(tag, "xml:base")?)
}

impl Entry {
    /// An element within the entry; `Some` when its text is wanted.
    fn open(&mut self, name: &str, tag: &BytesStart<'_>) -> Option<Field> {
        match name {
            // Atom's has an address, RSS's holds one.
            "link" => {
                let Some(address) = value(tag, "href") else { return Some(Field::Link) };
                match value(tag, "rel").as_deref() {
                    None | Some("" | "alternate") => self.link = self.link.take().or(Some(address)),
                    Some("enclosure") => self.enclose(address),
                    Some(_) => {}
                }
                None
            }
            "guid" if value(tag, "isPermaLink").as_deref() != Some("false") => Some(Field::Guid),
            "updated" => Some(Field::Updated),
            "enclosure" => {
                if let Some(address) = value(tag, "url") {
                    self.enclose(address);
                }
                None
            }
            // Media RSS: `media:content`, not Atom's `content`.
            "content" if tag.name().prefix().is_some() => {
                if let Some(address) = value(tag, "url") {
                    self.enclose(address);
                }
                None
            }
            _ => None,
        }
    }

    fn enclose(&mut self, address: String) {
        if self.enclosed.len() < MAX_ENCLOSED {
            self.enclosed.push(address);
        }
    }

    fn close(&mut self, field: Field, text: &str) {
        if text.is_empty() {
            return;
        }
        match field {
            Field::Link => self.link = self.link.take().or_else(|| Some(text.to_owned())),
            Field::Guid => self.guid = Some(text.to_owned()),
            Field::Updated => text.clone_into(&mut self.updated),
        }
    }

    fn finish(self, base: &Target, feed: &mut Feed) {
        let base = self.base.as_ref().unwrap_or(base);
        // A guid is an address only when it looks like one.
        let guid = self.guid.filter(|guid| guid.starts_with("http://") || guid.starts_with("https://"));
        let page = self.link.or(guid).and_then(|address| base.join(&address));
        feed.pages.extend(page.map(|target| (target, moment(&self.updated))));
        feed.enclosed.extend(self.enclosed.iter().filter_map(|address| base.join(address)));
    }
}

/// For the fuzzing corpus: any bytes, no panic.
pub fn fuzz(bytes: &[u8]) {
    let base = Target::parse("http://a.kz/b/feed").expect("a valid address");
    std::hint::black_box(read(&base, bytes));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> (Vec<String>, Vec<String>) {
        let base = Target::parse("https://a.kz/blog/feed.xml").expect("valid");
        let feed = read(&base, text.as_bytes());
        let page = |(target, time): &(Target, Option<Time>)| format!("{} {}", target.url(), time.map(Time::to_rfc3339).unwrap_or_default());
        (feed.pages.iter().map(page).collect(), feed.enclosed.iter().map(|target| target.url().to_owned()).collect())
    }

    #[test]
    fn rss() {
        let (pages, enclosed) = told(
            "<rss version=\"2.0\" xmlns:media=\"m\"><channel><title>T</title><link>https://a.kz/</link>\
             <item><title>1 &amp; 2</title><link> https://a.kz/1?a=1&amp;b=2 </link><pubDate>Mon, 02 Nov 2026 10:00:00 GMT</pubDate>\
             <enclosure url=\"https://a.kz/1.mp3\" length=\"5\" type=\"audio/mpeg\"/><guid isPermaLink=\"false\">x</guid></item>\
             <item><guid>https://a.kz/2</guid><media:content url=\"2.mp4\"/><content:encoded><![CDATA[<a href=x>]]></content:encoded></item>\
             <item><link><![CDATA[/3]]></link></item><item><guid>urn:4</guid></item></channel></rss>",
        );
        assert_eq!(pages, ["https://a.kz/1?a=1&b=2 ", "https://a.kz/2 ", "https://a.kz/3 "]);
        assert_eq!(enclosed, ["https://a.kz/1.mp3", "https://a.kz/blog/2.mp4"]);
    }

    #[test]
    fn atom() {
        let (pages, enclosed) = told(
            "<feed xmlns=\"http://www.w3.org/2005/Atom\" xml:base=\"https://a.kz/n/\"><link rel=\"self\" href=\"feed\"/><updated>2020-01-01T00:00:00Z</updated>\
             <entry><link rel=\"edit\" href=\"edit/1\"/><link href=\"1\"/><updated>2026-11-02T10:00:00Z</updated>\
             <link rel=\"enclosure\" href=\"1.mp3\"/><content type=\"html\">&lt;b&gt;</content></entry>\
             <entry xml:base=\"two/\"><link rel=\"alternate\" href=\"2\"></link></entry></feed>",
        );
        assert_eq!(pages, ["https://a.kz/n/1 2026-11-02T10:00:00.000000Z", "https://a.kz/n/two/2 "]);
        assert_eq!(enclosed, ["https://a.kz/n/1.mp3"]);
    }

    #[test]
    fn bombs_and_damage_are_bounded() {
        let bomb = "<!DOCTYPE r [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;\"><!ENTITY c SYSTEM \"file:///etc/passwd\">]>\
            <rss><channel><item><link>/x&b;&c;</link></item></channel></rss>";
        assert_eq!(told(bomb).0, ["https://a.kz/x "]);
        let many = (0..MAX_ENTRIES + 9).fold(String::from("<rss>"), |text, n| text + &format!("<item><link>/{n}</link></item>"));
        assert_eq!(told(&many).0.len(), MAX_ENTRIES);
        let cut = "<rss><item><link>/1</link></item><item><link>/2";
        assert_eq!(told(cut).0.len(), 1);
        assert_eq!(told(&format!("<item><link>{}</link><link>/short</link></item>", "x".repeat(5000))).0, ["https://a.kz/short "]);
        fuzz(b"<item><link href=\xff>");
    }
}
