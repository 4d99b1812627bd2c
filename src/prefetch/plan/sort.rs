//! What an address is to a plan: things of one sort on one host are of one size, more or less. Pure.

use serde::{Deserialize, Serialize};

/// A sort of things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PlanSort)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Sitemaps, lists, feeds, playlists: what names other things.
    List,
    /// Pages.
    #[default]
    Page,
    /// Style sheets.
    Style,
    /// Scripts.
    Script,
    /// Pictures.
    Image,
    /// Fonts.
    Font,
    /// Sound, films and their pieces.
    Media,
    /// Files to open elsewhere: documents, archives, programs.
    File,
    /// Anything else.
    Other,
}

impl Sort {
    /// By what a wish is wanted as, and for pages by how the address ends: a list of addresses may name films.
    pub fn of(kind: &str, url: &str) -> Sort {
        match kind {
            "sitemap" | "list" | "feed" | "hls" | "dash" | "robots" => Sort::List,
            "style" => Sort::Style,
            "script" => Sort::Script,
            "image" => Sort::Image,
            "font" => Sort::Font,
            "media" => match by_ending(url) {
                Some(sort @ Sort::File) => sort,
                _ => Sort::Media,
            },
            "page" | "frame" => by_ending(url).unwrap_or(Sort::Page),
            _ => by_ending(url).unwrap_or(Sort::Other),
        }
    }

    /// The mean length of such things on the web at large, and the factor within which it may lie: said before anything is known.
    pub(super) fn usual(self) -> (f64, f64) {
        match self {
            // Medians of what pages carry over the line, HTTP Archive 2024; a film's piece or a file may be anything.
            Sort::List => (100e3, 10.0),
            Sort::Page => (40e3, 4.0),
            Sort::Style => (20e3, 4.0),
            Sort::Script => (50e3, 4.0),
            Sort::Image => (60e3, 4.0),
            Sort::Font => (30e3, 3.0),
            Sort::Media => (2e6, 20.0),
            Sort::File => (2e6, 10.0),
            Sort::Other => (30e3, 10.0),
        }
    }

    /// For people.
    pub fn plural(self) -> &'static str {
        match self {
            Sort::List => "lists",
            Sort::Page => "pages",
            Sort::Style => "style sheets",
            Sort::Script => "scripts",
            Sort::Image => "pictures",
            Sort::Font => "fonts",
            Sort::Media => "films and sound",
            Sort::File => "files",
            Sort::Other => "other things",
        }
    }
}

fn by_ending(url: &str) -> Option<Sort> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let ending = name.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match ending.as_str() {
        "css" => Sort::Style,
        "js" | "mjs" | "cjs" => Sort::Script,
        "png" | "jpg" | "jpeg" | "gif" | "webp" | "avif" | "svg" | "ico" | "bmp" => Sort::Image,
        "woff2" | "woff" | "ttf" | "otf" | "eot" => Sort::Font,
        "mp4" | "m4v" | "m4s" | "ts" | "webm" | "ogv" | "ogg" | "oga" | "opus" | "mp3" | "m4a" | "aac" | "wav" | "vtt" => Sort::Media,
        "pdf" | "djvu" | "epub" | "fb2" | "doc" | "docx" | "odt" | "xls" | "xlsx" | "ppt" | "pptx" | "odp" | "zip" | "rar" | "7z"
        | "gz" | "xz" | "zst" | "tar" | "zim" | "apk" | "exe" | "msi" | "deb" | "iso" | "bin" => Sort::File,
        "json" | "wasm" | "map" | "webmanifest" | "xml" | "txt" => Sort::Other,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts() {
        for (kind, url, wanted) in [
            ("page", "http://a.kz/", Sort::Page),
            ("page", "http://a.kz/lesson.html?x=1.mp4", Sort::Page),
            ("page", "http://a.kz/v1.2/lesson", Sort::Page),
            ("page", "http://a.kz/film.MP4", Sort::Media),
            ("page", "http://a.kz/book.pdf", Sort::File),
            ("media", "http://a.kz/wiki.zim", Sort::File),
            ("media", "http://a.kz/1.ts?v=3", Sort::Media),
            ("image", "http://a.kz/picture", Sort::Image),
            ("other", "http://a.kz/data.json", Sort::Other),
            ("hls", "http://a.kz/m.m3u8", Sort::List),
        ] {
            assert_eq!(Sort::of(kind, url), wanted, "{kind} {url}");
        }
    }
}
