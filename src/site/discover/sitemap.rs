//! Sitemaps and indexes of sitemaps (sitemaps.org protocol 0.9), plain or gzipped: at most 50 MB unpacked and 50 000 addresses.
//! `lastmod` is kept, `priority` and `changefreq` are ignored. Read as a stream: what is packed is never unpacked whole, and entities
//! that a text declares are never expanded.

use crate::base::clock::Time;
use crate::base::target::Target;
use quick_xml::Reader;
use quick_xml::events::Event;
use std::io::{BufReader, Read};

/// Most bytes of a sitemap after unpacking, by the protocol.
pub const MAX_BYTES: u64 = 50 << 20;
/// Most addresses of a sitemap, by the protocol.
pub const MAX_URLS: usize = 50_000;
/// Most sitemaps that one index names for us: full ones name fifty times the wishes that a frontier holds.
pub const MAX_MAPS: usize = 1_000;

/// What a sitemap names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sitemap {
    /// Pages, with the time of their last change where it is told.
    pub pages: Vec<(Target, Option<Time>)>,
    /// Further sitemaps.
    pub sitemaps: Vec<Target>,
}

/// Reads a sitemap; damage ends it, what was found until then counts.
pub fn read(base: &Target, bytes: &[u8]) -> Sitemap {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return walk(base, flate2::read::MultiGzDecoder::new(bytes));
    }
    walk(base, bytes)
}

/// The texts that matter, and where they stand.
#[derive(Default)]
struct Row {
    is_sitemap: bool,
    field: Field,
    loc: String,
    lastmod: String,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Field {
    #[default]
    Other,
    Loc,
    Lastmod,
}

fn walk(base: &Target, source: impl Read) -> Sitemap {
    let mut reader = Reader::from_reader(BufReader::new(source.take(MAX_BYTES)));
    let mut map = Sitemap::default();
    let mut row = Row::default();
    let mut buffer = Vec::new();
    while map.pages.len() < MAX_URLS {
        buffer.clear();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(tag)) => match tag.local_name().as_ref() {
                name if is(name, "url") => row = Row::default(),
                name if is(name, "sitemap") => row = Row { is_sitemap: true, ..Row::default() },
                // `image:loc` and its kin are no pages: only the first `loc` of a row without prefix counts.
                name if is(name, "loc") && tag.name().prefix().is_none() => row.field = Field::Loc,
                name if is(name, "lastmod") => row.field = Field::Lastmod,
                _ => row.field = Field::Other,
            },
            Ok(Event::Text(text)) => row.push(&text.xml10_content()),
            Ok(Event::CData(text)) => row.push(&text.xml10_content()),
            Ok(Event::GeneralRef(name)) => {
                let letter = match name.resolve_char_ref() {
                    Ok(Some(letter)) => Some(letter),
                    _ if is(name.as_ref(), "amp") => Some('&'),
                    _ => None,
                };
                row.push(&letter.map(String::from).unwrap_or_default());
            }
            Ok(Event::End(tag)) => {
                row.field = Field::Other;
                let name = tag.local_name();
                if is(name.as_ref(), "url") || is(name.as_ref(), "sitemap") {
                    std::mem::take(&mut row).finish(base, &mut map);
                }
            }
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    map
}

fn is(name: impl AsRef<[u8]>, wanted: &str) -> bool {
    name.as_ref().eq_ignore_ascii_case(wanted.as_bytes())
}

impl Row {
    fn push(&mut self, text: &str) {
        let place = match self.field {
            Field::Loc => &mut self.loc,
            Field::Lastmod => &mut self.lastmod,
            Field::Other => return,
        };
        // 4 KiB: the protocol allows addresses of 2,048 letters.
        if place.len() + text.len() <= 4096 {
            place.push_str(text);
        }
    }

    fn finish(self, base: &Target, map: &mut Sitemap) {
        let address = self.loc.trim();
        let Some(target) = (!address.is_empty()).then(|| base.join(address)).flatten() else { return };
        match self.is_sitemap {
            true if map.sitemaps.len() < MAX_MAPS => map.sitemaps.push(target),
            true => {}
            false => map.pages.push((target, moment(self.lastmod.trim()))),
        }
    }
}

/// A W3C date or date with time; a bare date means its end, so that a change during that day is not missed.
pub(super) fn moment(text: &str) -> Option<Time> {
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        return Some(Time::from_micros(stamp.as_microsecond()));
    }
    let day = text.parse::<jiff::civil::Date>().ok()?.tomorrow().ok()?;
    let stamp = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(Time::from_micros(stamp.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const MAP: &str = r#"<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:image="x">
        <url><loc> https://a.kz/1?x=1&amp;y=2 </loc><lastmod>2026-11-01T10:00:00+05:00</lastmod><priority>1</priority></url>
        <url><loc><![CDATA[https://a.kz/2]]></loc><image:image><image:loc>https://a.kz/2.png</image:loc></image:image></url>
        <url><loc>/3</loc><lastmod>2026-11-02</lastmod></url></urlset>"#;

    #[test]
    fn pages_with_their_changes_plain_and_gzipped() {
        let base = Target::parse("https://a.kz/sitemap.xml").expect("valid");
        let wanted = [
            ("https://a.kz/1?x=1&y=2", Some("2026-11-01T05:00:00.000000Z")),
            ("https://a.kz/2", None),
            ("https://a.kz/3", Some("2026-11-03T00:00:00.000000Z")),
        ];
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(MAP.as_bytes()).expect("memory");
        for bytes in [MAP.as_bytes(), &packed.finish().expect("memory")] {
            let map = read(&base, bytes);
            let told: Vec<_> = map.pages.iter().map(|(target, time)| (target.url(), time.map(Time::to_rfc3339))).collect();
            let wanted: Vec<_> = wanted.iter().map(|(url, time)| (*url, time.map(String::from))).collect();
            assert_eq!(told, wanted);
        }
    }

    #[test]
    fn indexes_and_damage() {
        let base = Target::parse("https://a.kz/").expect("valid");
        let map = read(&base, b"<sitemapindex><sitemap><loc>https://a.kz/s1.xml.gz</loc></sitemap><sitemap><loc>https://a.k");
        assert_eq!(map.sitemaps.iter().map(Target::url).collect::<Vec<_>>(), ["https://a.kz/s1.xml.gz"]);
        assert!(map.pages.is_empty());
    }

    #[test]
    fn no_more_than_the_protocol_allows() {
        let base = Target::parse("https://a.kz/").expect("valid");
        let text = (0..MAX_URLS + 5).fold(String::from("<urlset>"), |text, n| text + &format!("<url><loc>/{n}</loc></url>"));
        assert_eq!(read(&base, text.as_bytes()).pages.len(), MAX_URLS);
        let index = (0..MAX_MAPS + 5).fold(String::from("<sitemapindex>"), |text, n| text + &format!("<sitemap><loc>/{n}</loc></sitemap>"));
        assert_eq!(read(&base, index.as_bytes()).sitemaps.len(), MAX_MAPS);
    }

    #[test]
    fn bombs_stay_small() {
        let base = Target::parse("https://a.kz/sitemap.xml.gz").expect("valid");
        let pack = |bytes: &[u8]| {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            packed.write_all(bytes).expect("memory");
            packed.finish().expect("memory")
        };
        // What lies behind the protocol's 50 MB is not looked at, however well it is packed.
        let mut long = b"<urlset><url><loc>/1</loc></url><!--".to_vec();
        long.resize(usize::try_from(MAX_BYTES).expect("fits") + 100, b' ');
        long.extend_from_slice(b"--><url><loc>/2</loc></url></urlset>");
        let packed = pack(&long);
        assert!(packed.len() < 100_000);
        assert_eq!(read(&base, &packed).pages.len(), 1);
        // Packed twice, it is no sitemap.
        assert_eq!(read(&base, &pack(&packed)), Sitemap::default());
        // A text, a name, a nesting without end.
        for endless in
            ["<urlset><url><loc>".to_owned() + &"x".repeat(5 << 20), "<".to_owned() + &"a".repeat(5 << 20), "<url>".repeat(1 << 20)]
        {
            assert_eq!(read(&base, &pack(endless.as_bytes())), Sitemap::default());
        }
        let entities = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;&a;\"><!ENTITY c SYSTEM \"file:///etc/passwd\">]>\
            <urlset><url><loc>/1&b;&c;&amp;&#x31;</loc></url></urlset>";
        assert_eq!(read(&base, entities.as_bytes()).pages[0].0.url(), "https://a.kz/1&1");
    }

    #[test]
    fn any_cut_of_a_sitemap_gives_a_part_of_it() {
        let base = Target::parse("https://a.kz/sitemap.xml").expect("valid");
        let whole = read(&base, MAP.as_bytes());
        for end in 0..MAP.len() {
            let part = read(&base, &MAP.as_bytes()[..end]);
            assert!(whole.pages.starts_with(&part.pages), "{end}");
        }
    }
}
