//! How to connect a device: the steps of its system and no other's, the address by name, by camera, by number; and the school's
//! certificate where there is one. The printable sheet for the wall is the same in three languages at once.

use crate::base::language::Language;
use crate::portal::frame::{Frame, Place, qr};
use crate::portal::system::System;
use crate::portal::words::{self, Steps, Words};
use crate::tls::authority::Authority;
use askama::Template;

/// What the page shows.
#[derive(Clone, Copy)]
pub struct Connect<'p> {
    /// The frame.
    pub frame: Frame<'p>,
    /// The system of the device; `None`: not told, all are listed.
    pub system: Option<System>,
    /// Where it reaches us.
    pub place: &'p Place,
    /// The CA, if the school has one.
    pub authority: Option<&'p Authority>,
    /// The name that is announced instead of a taken one.
    pub renamed: Option<&'p str>,
}

#[derive(Template)]
#[template(path = "connect.html", config = ".askama.toml")]
struct Page<'p> {
    frame: Frame<'p>,
    words: &'static Words,
    system: Option<System>,
    /// Each with whether it is this page's.
    systems: [(System, bool); 6],
    steps: Option<Steps>,
    named: Option<String>,
    numbered: Option<String>,
    code: Option<(String, usize)>,
    manual: Option<(String, u16)>,
    fingerprint: Option<String>,
    /// The CA's own name.
    ca_name: &'p str,
    apple: bool,
    renamed: Option<&'p str>,
}

impl Connect<'_> {
    /// The page.
    ///
    /// # Errors
    /// Only when memory for the text cannot be had.
    pub fn render(&self) -> Result<String, askama::Error> {
        let words = self.frame.words;
        let names = self.system.is_none_or(System::knows_local_names);
        let page = Page {
            frame: self.frame,
            words,
            system: self.system,
            systems: System::ALL.map(|system| (system, self.system == Some(system))),
            steps: self.system.map(|system| words.steps(system)),
            named: if names { self.place.by_name("/proxy.pac") } else { None },
            numbered: self.place.by_number("/proxy.pac"),
            code: self.place.by_number("/connect").and_then(|url| qr(&url)),
            manual: self.place.by_hand(),
            fingerprint: self.authority.map(|authority| authority.fingerprint().to_string()),
            ca_name: self.authority.map_or("", Authority::name),
            apple: matches!(self.system, Some(System::Ios)),
            renamed: self.renamed,
        };
        page.render()
    }
}

/// The sheet.
#[derive(Clone, Copy)]
pub struct Sheet<'p> {
    /// The frame; its language is that of the words around the sheet.
    pub frame: Frame<'p>,
    /// Where devices reach us.
    pub place: &'p Place,
    /// The CA, if the school has one.
    pub authority: Option<&'p Authority>,
}

#[derive(Template)]
#[template(path = "sheet.html", config = ".askama.toml")]
struct Wall<'p> {
    frame: Frame<'p>,
    parts: [(Language, &'static Words); 3],
    named: Option<String>,
    numbered: Option<String>,
    pac: Option<String>,
    page_code: Option<(String, usize)>,
    pac_code: Option<(String, usize)>,
    fingerprint: Option<String>,
}

impl Sheet<'_> {
    /// The page.
    ///
    /// # Errors
    /// Only when memory for the text cannot be had.
    pub fn render(&self) -> Result<String, askama::Error> {
        let (numbered, pac) = (self.place.by_number("/connect"), self.place.by_number("/proxy.pac"));
        let wall = Wall {
            frame: self.frame,
            parts: Language::ALL.map(|language| (language, words::of(language))),
            named: self.place.by_name("/connect"),
            page_code: numbered.as_deref().and_then(qr),
            pac_code: pac.as_deref().and_then(qr),
            numbered,
            pac,
            fingerprint: self.authority.map(|authority| authority.fingerprint().to_string()),
        };
        wall.render()
    }
}
