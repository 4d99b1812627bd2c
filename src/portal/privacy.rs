//! What is kept, what is opened, who sees it, and how to stay out: the page that the school shows to parents.

use crate::portal::frame::Frame;
use crate::portal::words::Words;
use askama::Template;

/// What the page shows.
#[derive(Clone, Copy)]
pub struct Privacy<'p> {
    /// The frame.
    pub frame: Frame<'p>,
    /// The hosts that are opened on enrolled devices; empty: none is.
    pub opened: &'p [String],
}

#[derive(Template)]
#[template(path = "privacy.html", config = ".askama.toml")]
struct Page<'p> {
    frame: Frame<'p>,
    words: &'static Words,
    opened: &'p [String],
}

impl Privacy<'_> {
    /// The page.
    ///
    /// # Errors
    /// Only when memory for the text cannot be had.
    pub fn render(&self) -> Result<String, askama::Error> {
        Page { frame: self.frame, words: self.frame.words, opened: self.opened }.render()
    }
}
