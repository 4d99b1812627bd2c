//! "Fetch tonight": what came of a wish, in the reader's language; and the start page of a lesson that is being recorded.

use crate::portal::frame::Frame;
use crate::portal::words::Words;
use crate::prefetch::wish::Answer;
use askama::Template;

/// What came of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The wish was judged.
    Judged(Answer),
    /// The form was not ours, or too old.
    NotOurs,
}

/// `/tonight`.
#[derive(Clone, Copy)]
pub struct Tonight<'p> {
    /// The frame.
    pub frame: Frame<'p>,
    /// What came of it.
    pub outcome: Outcome,
}

#[derive(Template)]
#[template(path = "tonight.html", config = ".askama.toml")]
struct Page<'p> {
    frame: Frame<'p>,
    words: &'static Words,
    told: &'static str,
}

impl Tonight<'_> {
    /// The page.
    ///
    /// # Errors
    /// Only when memory for the text cannot be had.
    pub fn render(&self) -> Result<String, askama::Error> {
        let words = self.frame.words;
        let told = match self.outcome {
            Outcome::Judged(Answer::Added) => words.wish_added,
            Outcome::Judged(Answer::Known) => words.wish_known,
            Outcome::Judged(Answer::Off) => words.wish_off,
            Outcome::Judged(Answer::ClientFull | Answer::DayFull) => words.wish_full,
            Outcome::Judged(Answer::NoAddress | Answer::Private | Answer::Personal | Answer::Secret) => words.wish_refused,
            Outcome::NotOurs => words.wish_again,
        };
        Page { frame: self.frame, words, told }.render()
    }
}

/// `/record`: where a lesson's recording begins.
#[derive(Clone, Copy)]
pub struct Record<'p> {
    /// The frame.
    pub frame: Frame<'p>,
    /// A recording waits for its device; then what proves that the form is ours.
    pub token: Option<&'p str>,
    /// This device is being recorded.
    pub on: bool,
}

#[derive(Template)]
#[template(path = "record.html", config = ".askama.toml")]
struct Start<'p> {
    frame: Frame<'p>,
    words: &'static Words,
    token: Option<&'p str>,
    on: bool,
}

impl Record<'_> {
    /// The page.
    ///
    /// # Errors
    /// Only when memory for the text cannot be had.
    pub fn render(&self) -> Result<String, askama::Error> {
        Start { frame: self.frame, words: self.frame.words, token: self.token, on: self.on }.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portal::Language;

    #[test]
    fn each_outcome_has_its_sentence() {
        let page = |outcome| {
            let frame = Frame::new(Language::En, "/tonight", "abay-12");
            Tonight { frame, outcome }.render().expect("renders")
        };
        let table = [
            (Outcome::Judged(Answer::Added), "will be fetched"),
            (Outcome::Judged(Answer::Known), "on the list already"),
            (Outcome::Judged(Answer::ClientFull), "Enough"),
            (Outcome::Judged(Answer::Personal), "Only open pages"),
            (Outcome::Judged(Answer::Off), "does not take"),
            (Outcome::NotOurs, "Open the page again"),
        ];
        for (outcome, told) in table {
            assert!(page(outcome).contains(told), "{outcome:?}");
        }
    }

    #[test]
    fn the_start_page_offers_its_button_only_while_a_recording_waits() {
        let page = |token, on| Record { frame: Frame::new(Language::Kk, "/record", "abay-12"), token, on }.render().expect("renders");
        assert!(
            page(Some("00ff"), false).contains("<form method=\"post\" action=\"/record\">")
                && page(Some("00ff"), false).contains("value=\"00ff\"")
        );
        for (token, on) in [(None, true), (None, false)] {
            assert!(!page(token, on).contains("<form"), "{on}");
        }
        assert!(!page(Some("1"), false).contains("<script"));
    }
}
