//! Does this device use the cache, and does it trust the school's certificate? Seen without script: two pictures that only the
//! proxy and only our own TLS can answer, and a page that looks again by itself, a number of times, and then rests.

use crate::base::language::Language;
use crate::portal::Door;
use crate::portal::enrol::Signs;
use crate::portal::frame::Frame;
use crate::portal::words::{self, Words};
use askama::Template;

/// How often the page looks by itself: two minutes. One that never rests would reload under a screen reader for good
/// (WCAG 2.2, 2.2.2).
const LOOKS: u8 = 30;

/// What the page shows.
#[derive(Clone, Copy)]
pub struct Check<'p> {
    /// The frame.
    pub frame: Frame<'p>,
    /// This page's random number.
    pub page: u64,
    /// How often it has looked.
    pub looks: u8,
    /// What is known of the device.
    pub signs: Signs,
    /// A device at this address has proven its trust before. That is memory: another may have the address now, and a certificate can
    /// be removed, so it is no "yes".
    pub known: bool,
    /// The school's zone, where it has a CA.
    pub trust_zone: Option<&'p str>,
}

#[derive(Template)]
#[template(path = "check.html", config = ".askama.toml")]
struct Page<'p> {
    frame: Frame<'p>,
    words: &'static Words,
    number: String,
    next: Option<u8>,
    signs: Signs,
    known: bool,
    trust_zone: Option<&'p str>,
}

impl Check<'_> {
    /// The page.
    ///
    /// # Errors
    /// Only when memory for the text cannot be had.
    pub fn render(&self) -> Result<String, askama::Error> {
        let done = self.signs.proxy && (self.signs.trusted || self.trust_zone.is_none());
        let page = Page {
            frame: self.frame,
            words: self.frame.words,
            number: format!("{:016x}", self.page),
            next: (!done && self.looks < LOOKS).then_some(self.looks + 1),
            signs: self.signs,
            known: self.known,
            trust_zone: self.trust_zone,
        };
        page.render()
    }

    /// From where the page takes its pictures (Content Security Policy, `img-src`).
    pub fn pictures(&self) -> String {
        let trust = self.trust_zone.map(|zone| format!(" https://proxy.{zone}")).unwrap_or_default();
        format!("'self' data: http://bulak.internal{trust}")
    }
}

/// `/enrolled`: the proof in words.
#[derive(Clone, Copy)]
pub struct Enrolled<'p> {
    /// The frame.
    pub frame: Frame<'p>,
    /// Whether it came under our CA.
    pub trusted: bool,
}

#[derive(Template)]
#[template(path = "enrolled.html", config = ".askama.toml")]
struct Proof<'p> {
    frame: Frame<'p>,
    words: &'static Words,
    trusted: bool,
}

impl Enrolled<'_> {
    /// The page.
    ///
    /// # Errors
    /// Only when memory for the text cannot be had.
    pub fn render(&self) -> Result<String, askama::Error> {
        Proof { frame: self.frame, words: self.frame.words, trusted: self.trusted }.render()
    }
}

/// The picture of the cache, as it looks by this door.
pub fn cache_sign(door: Door, language: Language) -> String {
    let words = words::of(language);
    if door == Door::Web { sign(false, words.sign_no) } else { sign(true, words.sign_yes) }
}

/// The picture of the certificate, as it looks by this door.
pub fn trust_sign(door: Door, language: Language) -> String {
    let words = words::of(language);
    if door == Door::Trusted { sign(true, words.sign_trusted) } else { sign(false, words.sign_untrusted) }
}

/// A tick or a cross beside words: never by colour alone. White on either ground has a contrast of at least 6:1.
fn sign(good: bool, words: &str) -> String {
    let (ground, mark) = if good { ("#0b6b35", "M14 29l9 9 17-20") } else { ("#5a6268", "M16 18l20 20M36 18L16 38") };
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 56" role="img" aria-label="{words}"><rect width="300" height="56" rx="8" fill="{ground}"/><path d="{mark}" fill="none" stroke="#fff" stroke-width="5"/><text x="56" y="36" fill="#fff" font-family="sans-serif" font-size="21">{words}</text></svg>
"##
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(signs: Signs, looks: u8, trust_zone: Option<&str>) -> String {
        let frame = Frame::new(Language::En, "/check", "Abay");
        Check { frame, page: 0xab, looks, signs, known: false, trust_zone }.render().expect("renders")
    }

    #[test]
    fn the_page_looks_again_until_it_knows_and_then_rests() {
        let again = "<meta http-equiv=\"refresh\"";
        let table = [
            (Signs::default(), 0, None, true, "Not yet"),
            (Signs::default(), LOOKS, None, false, "has stopped looking"),
            (Signs { proxy: true, trusted: false }, 0, None, false, "Yes: this device uses the cache"),
            (Signs { proxy: true, trusted: false }, 0, Some("a.internal"), true, "No: this device does not trust"),
            (Signs { proxy: true, trusted: true }, 0, Some("a.internal"), false, "Yes: this device trusts"),
        ];
        for (signs, looks, zone, refreshes, text) in table {
            let page = check(signs, looks, zone);
            assert_eq!(page.contains(again), refreshes, "{signs:?} {looks}");
            assert!(page.contains(text), "{text}");
            assert_eq!(page.contains("https://proxy.a.internal/enrolled.svg?v=00000000000000ab"), zone.is_some());
            assert!(page.contains("http://bulak.internal/check.svg?v=00000000000000ab"));
        }
        let frame = Frame::new(Language::En, "/check", "Abay");
        let signs = Signs { proxy: true, trusted: false };
        let page = Check { frame, page: 1, looks: 0, signs, known: true, trust_zone: Some("a.internal") }.render().expect("renders");
        assert!(page.contains("was enrolled earlier") && page.contains(again) && !page.contains("this device trusts"), "{page}");
        assert!(check(Signs::default(), 0, None).contains("url=/check?v=00000000000000ab&#38;n=1"));
    }

    #[test]
    fn signs_say_in_words_by_which_door_they_came() {
        for language in Language::ALL {
            let words = words::of(language);
            for (door, cache, trust) in [
                (Door::Web, words.sign_no, words.sign_untrusted),
                (Door::Proxy, words.sign_yes, words.sign_untrusted),
                (Door::Trusted, words.sign_yes, words.sign_trusted),
            ] {
                assert!(cache_sign(door, language).contains(cache) && trust_sign(door, language).contains(trust), "{door:?}");
            }
            for text in [words.sign_no, words.sign_yes, words.sign_trusted, words.sign_untrusted] {
                // 12 units a letter at 21: the words stay within the frame, and need no escaping.
                assert!(text.chars().count() <= 22 && !text.contains(['<', '&', '"']), "{text}");
            }
        }
    }
}
