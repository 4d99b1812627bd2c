//! An address that leads nowhere, told to a person: the framework's words are for programs.

use crate::portal::frame::Frame;
use crate::portal::words::Words;
use askama::Template;

/// The page.
#[derive(Clone, Copy)]
pub struct Lost<'p> {
    /// The frame.
    pub frame: Frame<'p>,
}

#[derive(Template)]
#[template(path = "lost.html", config = ".askama.toml")]
struct Page<'p> {
    frame: Frame<'p>,
    words: &'static Words,
}

impl Lost<'_> {
    /// The page.
    ///
    /// # Errors
    /// Only when memory for the text cannot be had.
    pub fn render(&self) -> Result<String, askama::Error> {
        Page { frame: self.frame, words: self.frame.words }.render()
    }
}
