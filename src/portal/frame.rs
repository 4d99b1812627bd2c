//! What every page has: its language, the way to the other languages, the school's name; and where this device reaches us.

use crate::portal::Language;
use crate::portal::pac::http;
use crate::portal::words::{self, Words};
use qrcode::{Color, EcLevel, QrCode};
use std::fmt::Write;
use std::net::SocketAddr;

/// The frame of a page.
#[derive(Clone, Copy)]
pub struct Frame<'p> {
    pub(crate) words: &'static Words,
    pub(crate) language: Language,
    pub(crate) languages: [Language; 3],
    pub(crate) path: &'p str,
    pub(crate) name: &'p str,
}

impl<'p> Frame<'p> {
    /// The frame of the page at `path` with what of its query says what is shown, of the school called `name`.
    pub fn new(language: Language, path: &'p str, name: &'p str) -> Frame<'p> {
        Frame { words: words::of(language), language, languages: Language::ALL, path, name }
    }

    /// The address of the same page in another language; `path` may hold a query.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "a template lends what it loops over")]
    pub(crate) fn in_language(&self, other: &Language) -> String {
        let joint = if self.path.contains('?') { '&' } else { '?' };
        format!("{}{joint}lang={}", self.path, other.tag())
    }
}

/// Where a device reaches us; what is not known is told as unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The proxy.
    pub proxy: Option<SocketAddr>,
    /// The web port.
    pub web: Option<SocketAddr>,
    /// The name that is announced on the LAN.
    pub name: Option<String>,
}

impl Place {
    /// A page's address by number.
    pub(crate) fn by_number(&self, path: &str) -> Option<String> {
        self.web.map(|web| http(web, path))
    }

    /// The same by name.
    pub(crate) fn by_name(&self, path: &str) -> Option<String> {
        let port = match self.web?.port() {
            80 => String::new(),
            other => format!(":{other}"),
        };
        self.name.as_ref().map(|name| format!("http://{name}{port}{path}"))
    }

    /// Host and port of the proxy, as settings want them.
    pub(crate) fn by_hand(&self) -> Option<(String, u16)> {
        let host = |addr: SocketAddr| if addr.is_ipv6() { format!("[{}]", addr.ip()) } else { addr.ip().to_string() };
        self.proxy.map(|addr| (host(addr), addr.port()))
    }
}

/// A QR code as the path data of an SVG, and the width of its square, quiet zone included (ISO/IEC 18004: four modules).
pub(crate) fn qr(text: &str) -> Option<(String, usize)> {
    // M: a sheet on a wall gets stained.
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let (width, colors) = (code.width(), code.to_colors());
    let mut path = String::new();
    for (row, line) in colors.chunks(width).enumerate() {
        let mut column = 0;
        while column < width {
            let run = line[column..].iter().take_while(|color| **color == Color::Dark).count();
            if run > 0 {
                // Writing to a string cannot fail.
                let _ = write!(path, "M{} {}h{run}v1h-{run}z", column + 4, row + 4);
            }
            column += run.max(1);
        }
    }
    Some((path, width + 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_and_numbered() {
        let place = |web: &str, name: Option<&str>| Place {
            proxy: "192.168.8.1:3128".parse().ok(),
            web: web.parse().ok(),
            name: name.map(str::to_owned),
        };
        let table = [
            (place("192.168.8.1:80", Some("abay-12.local")), Some("http://abay-12.local/x"), Some("http://192.168.8.1/x")),
            (place("[fd00::1]:8080", Some("bulak.local")), Some("http://bulak.local:8080/x"), Some("http://[fd00::1]:8080/x")),
            (place("192.168.8.1:80", None), None, Some("http://192.168.8.1/x")),
            (place("", Some("bulak.local")), None, None),
        ];
        for (place, name, number) in table {
            assert_eq!((place.by_name("/x").as_deref(), place.by_number("/x").as_deref()), (name, number), "{place:?}");
        }
        assert_eq!(place("", None).by_hand(), Some(("192.168.8.1".into(), 3128)));
    }

    #[test]
    fn a_code_is_drawn_as_it_is() {
        let (path, width) = qr("http://192.168.8.1/connect").expect("short");
        let code = QrCode::with_error_correction_level("http://192.168.8.1/connect", EcLevel::M).expect("short");
        assert_eq!(width, code.width() + 8);
        let dark = code.to_colors().iter().filter(|color| **color == Color::Dark).count();
        let drawn: usize =
            path.split('h').skip(1).step_by(2).map(|run| run.split('v').next().expect("a run").parse::<usize>().expect("a number")).sum();
        assert_eq!(drawn, dark, "every dark module once");
        assert!(path.starts_with("M4 4h7v1h-7z"), "the finder's upper edge: {}", &path[..20]);
        assert!(qr(&"x".repeat(5000)).is_none(), "too long for a code");
    }
}
