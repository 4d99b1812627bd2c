//! The home page: plain values in, HTML out. Works without script; state is told in words, never by colour alone.

use crate::base::unit::Bytes;
use crate::link;
use crate::portal::Language;
use crate::portal::frame::{Frame, Place};
use crate::portal::words::{self, Words};
use askama::Template;

/// One pack on the shelf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shelf {
    /// The pack's id.
    pub id: String,
    /// Its title in Kazakh, Russian, English; an empty one falls back in this order.
    pub title: [String; 3],
    /// Where to begin reading; empty when unknown.
    pub link: String,
    /// Stored answers; `None`: not counted yet.
    pub entries: Option<u64>,
    /// Their bytes; `None`: not counted yet.
    pub bytes: Option<u64>,
}

impl Shelf {
    fn title(&self, language: Language) -> &str {
        let own = match language {
            Language::Kk => 0,
            Language::Ru => 1,
            Language::En => 2,
        };
        [own, 0, 1, 2].into_iter().map(|at| self.title[at].as_str()).find(|title| !title.is_empty()).unwrap_or(&self.id)
    }
}

/// What the page shows.
#[derive(Clone, Debug)]
pub struct Home {
    /// The school as people call it.
    pub name: String,
    /// What is here.
    pub shelves: Vec<Shelf>,
    /// The line's verdict.
    pub line: link::State,
    /// Packs that the last night left complete, and all; `None`: no night has been told lately.
    pub morning: Option<(u64, u64)>,
    /// Where this device reaches us.
    pub place: Place,
    /// Whether https of some hosts is opened on enrolled devices.
    pub opens: bool,
}

#[derive(Template)]
#[template(path = "home.html", config = ".askama.toml")]
struct Page<'p> {
    frame: Frame<'p>,
    words: &'static Words,
    line: &'p str,
    morning: Option<String>,
    rows: Vec<Row<'p>>,
    pac: Option<String>,
    proxy: Option<(String, u16)>,
    opens: bool,
}

struct Row<'p> {
    title: &'p str,
    link: &'p str,
    entries: String,
    bytes: String,
}

impl Home {
    /// The page in a language.
    ///
    /// # Errors
    /// Only when memory for the text cannot be had.
    pub fn render(&self, language: Language) -> Result<String, askama::Error> {
        let words = words::of(language);
        let rows = self.shelves.iter().map(|shelf| Row {
            title: shelf.title(language),
            // Only http addresses become links: a pack is data.
            link: if shelf.link.starts_with("http://") || shelf.link.starts_with("https://") { &shelf.link } else { "" },
            entries: shelf.entries.map_or_else(|| words.unknown.to_owned(), |count| count.to_string()),
            bytes: shelf.bytes.map_or_else(|| words.unknown.to_owned(), |bytes| size(Bytes(bytes), language)),
        });
        let line = match self.line {
            link::State::Up => words.line_up,
            link::State::Slow => words.line_slow,
            link::State::Down => words.line_down,
            link::State::Unknown => words.line_unknown,
        };
        let page = Page {
            frame: Frame::new(language, "/", &self.name),
            words,
            line,
            morning: self.morning.and_then(|(here, all)| morning(words, here, all)),
            rows: rows.collect(),
            pac: self.place.by_number("/proxy.pac"),
            proxy: self.place.by_hand(),
            opens: self.opens,
        };
        page.render()
    }
}

/// Whether everything is ready for today, in one line.
fn morning(words: &Words, here: u64, all: u64) -> Option<String> {
    match (here, all) {
        (_, 0) => None,
        _ if here == all => Some(words.morning_all.to_owned()),
        _ => Some(words.morning_some.replace("{here}", &here.to_string()).replace("{all}", &all.to_string())),
    }
}

/// Kazakh and Russian write a decimal comma, and units in their own letters.
fn size(bytes: Bytes, language: Language) -> String {
    const UNITS: [(&str, &str); 5] = [(" TB", " ТБ"), (" GB", " ГБ"), (" MB", " МБ"), (" kB", " кБ"), (" B", " Б")];
    let told = bytes.human();
    if language == Language::En {
        return told;
    }
    let comma = told.replace('.', ",");
    let own = UNITS.iter().find_map(|(unit, own)| Some(format!("{}{own}", comma.strip_suffix(unit)?)));
    own.unwrap_or(comma)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> Home {
        Home {
            name: "abay-12".into(),
            shelves: vec![
                Shelf {
                    id: "wiki".into(),
                    title: ["Уикипедия <b>".into(), String::new(), "Wikipedia".into()],
                    link: "https://kk.wikipedia.org/".into(),
                    entries: Some(1200),
                    bytes: Some(4_100_000_000),
                },
                Shelf { id: "phet".into(), link: "javascript:alert(1)".into(), ..Shelf::default() },
            ],
            line: link::State::Down,
            morning: Some((3, 4)),
            place: Place { proxy: "192.168.8.1:3128".parse().ok(), web: "192.168.8.1:80".parse().ok(), name: None },
            opens: false,
        }
    }

    #[test]
    fn sizes_are_written_as_each_language_does() {
        for (bytes, ru, en) in [
            (0, "0 Б", "0 B"),
            (1_500, "1,5 кБ", "1.5 kB"),
            (2_000_000, "2,0 МБ", "2.0 MB"),
            (4_100_000_000, "4,1 ГБ", "4.1 GB"),
            (2_000_000_000_000, "2,0 ТБ", "2.0 TB"),
        ] {
            for (language, wanted) in [(Language::Kk, ru), (Language::Ru, ru), (Language::En, en)] {
                assert_eq!(size(Bytes(bytes), language), wanted);
            }
        }
    }

    #[test]
    fn the_page_says_what_is_here_in_three_languages() {
        let table = [
            (Language::Kk, "<html lang=\"kk\">", "Уикипедия &#60;b&#62;", "4,1 ГБ", "Интернет жоқ."),
            (Language::Ru, "<html lang=\"ru\">", "Уикипедия &#60;b&#62;", "4,1 ГБ", "Интернета нет."),
            (Language::En, "<html lang=\"en\">", "Wikipedia", "4.1 GB", "There is no Internet."),
        ];
        for (language, tag, title, size, line) in table {
            let page = home().render(language).expect("renders");
            for piece in [tag, title, size, line, "1200", "http://192.168.8.1/proxy.pac", "192.168.8.1", "3128", "abay-12"] {
                assert!(page.contains(piece), "{piece} is missing in {}", language.tag());
            }
            assert!(!page.contains("javascript:") && !page.contains("<script"));
            // The portal stays below 60 kB.
            assert!(page.len() < 60_000);
        }
    }

    #[test]
    fn the_last_night_is_one_line() {
        for language in Language::ALL {
            let page = |morning| Home { morning, ..home() }.render(language).expect("renders");
            let words = words::of(language);
            for text in [words.morning_all, words.morning_some] {
                assert_eq!(text.matches('{').count(), if text == words.morning_some { 2 } else { 0 }, "{text}");
            }
            assert!(page(Some((4, 4))).contains(words.morning_all));
            let some = page(Some((3, 4)));
            let line = words.morning_some.replace("{here}", "3").replace("{all}", "4");
            assert!(some.contains(&line) && !some.contains('{'), "{line}");
            for none in [None, Some((0, 0))] {
                assert!(!page(none).contains(words.morning_all));
            }
        }
    }

    #[test]
    fn what_is_unknown_is_called_unknown() {
        let page = Home { place: Place::default(), line: link::State::Unknown, ..home() }.render(Language::En).expect("renders");
        assert!(page.contains("not known yet"));
        assert_eq!(page.matches("unknown").count(), 2 + 2, "entries and bytes of one pack, PAC and proxy address");
        let empty = Home { shelves: Vec::new(), ..home() }.render(Language::En).expect("renders");
        assert!(empty.contains("No pack is kept yet"));
    }
}
