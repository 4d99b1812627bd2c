//! What a wish is wanted as: a page, one of its requisites, or a list that names others.

use crate::base::target::Target;
use crate::site::discover::{self, Kind, Need};
use crate::site::pack::{Pack, Seed, SeedKind};
use crate::state::frontier::Wish;

/// What a wish is wanted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aim {
    /// Something for the class.
    Content(Kind),
    /// A sitemap.
    Sitemap,
    /// A plain list.
    List,
    /// A robots.txt.
    Robots,
}

/// Deepest chain of requisites (a style that imports a style that …).
const NEST: u8 = 8;
/// Longest address that a page may name; longer ones carry state.
const LONGEST: usize = 2048;
/// A path with the same segment so many times is a trap: a relative link that grows.
const SAME: usize = 4;

impl Aim {
    /// The word in the frontier.
    pub fn as_str(self) -> &'static str {
        match self {
            Aim::Content(kind) => kind.as_str(),
            Aim::Sitemap => "sitemap",
            Aim::List => "list",
            Aim::Robots => "robots",
        }
    }

    /// Back from the word.
    pub fn parse(word: &str) -> Aim {
        match word {
            "sitemap" => Aim::Sitemap,
            "list" => Aim::List,
            "robots" => Aim::Robots,
            word => Aim::Content(Kind::parse(word).unwrap_or(Kind::Other)),
        }
    }

    /// A page whose turn manners hold back, and whose stored copy is confirmed at each refresh.
    pub fn is_page(self) -> bool {
        matches!(self, Aim::Content(Kind::Page) | Aim::Sitemap | Aim::List)
    }

    /// Whether the class wants it (and it is pinned), or only the crawl.
    pub fn is_content(self) -> bool {
        matches!(self, Aim::Content(_))
    }

    /// What a browser would accept here.
    pub fn accept(self) -> &'static str {
        match self {
            Aim::Content(Kind::Page | Kind::Frame) => "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            Aim::Content(Kind::Style) => "text/css,*/*;q=0.1",
            Aim::Content(Kind::Image) => "image/avif,image/webp,image/svg+xml,image/*,*/*;q=0.8",
            _ => "*/*",
        }
    }

    /// How many bytes of a body with this media type are looked at.
    pub fn reads(self, content_type: Option<&str>) -> u64 {
        let mime = content_type.unwrap_or_default().to_ascii_lowercase();
        let opaque = ["video/", "audio/", "font/", "application/pdf", "application/zip", "application/octet-stream"];
        let picture = mime.starts_with("image/") && !mime.starts_with("image/svg");
        match self {
            Aim::Robots => crate::site::robots::MAX_BYTES,
            Aim::Sitemap | Aim::List => discover::sitemap::MAX_BYTES,
            Aim::Content(Kind::Manifest) => discover::MAX_TEXT,
            Aim::Content(_) if picture || opaque.iter().any(|kind| mime.starts_with(kind)) => 0,
            Aim::Content(_) if mime.contains("html") || mime.contains("svg") => discover::MAX_HTML,
            Aim::Content(Kind::Image | Kind::Font | Kind::Media) => 0,
            Aim::Content(_) => discover::MAX_TEXT,
        }
    }
}

/// The first wishes of a pack; kinds that this version does not fetch are left out.
pub fn seeds(pack: &Pack) -> Vec<Wish> {
    let wish = |seed: &Seed| {
        let aim = match seed.kind {
            SeedKind::Url => Aim::Content(Kind::Page),
            SeedKind::Sitemap => Aim::Sitemap,
            SeedKind::List => Aim::List,
            SeedKind::Feed | SeedKind::Hls | SeedKind::Dash | SeedKind::Zim => return None,
        };
        Some(Wish::new(seed.target.url(), aim.as_str(), 0))
    };
    pack.seeds.iter().filter_map(wish).collect()
}

/// What a fetched body names, as far as the pack's scope goes. Pure.
pub fn found(pack: &Pack, wish: &Wish, base: &Target, content_type: Option<&str>, body: &[u8]) -> Vec<Wish> {
    let page = Aim::Content(Kind::Page).as_str();
    let fits = |target: &Target, as_page| pack.covers(target, as_page) && !is_trap(target);
    match Aim::parse(&wish.kind) {
        Aim::Sitemap => {
            let map = discover::sitemap::read(base, body);
            let pages = map.pages.into_iter().filter(|(target, _)| fits(target, true));
            let pages = pages.map(|(target, changed)| Wish { changed, ..Wish::new(target.url(), page, 0) });
            // An index of indexes goes no deeper than NEST.
            let maps = map.sitemaps.into_iter().filter(|target| wish.depth < NEST && fits(target, false));
            let maps = maps.map(|target| Wish::new(target.url(), Aim::Sitemap.as_str(), wish.depth + 1));
            pages.chain(maps).collect()
        }
        Aim::List => {
            let targets = discover::list::read(base, body).into_iter().filter(|target| fits(target, true));
            targets.map(|target| Wish::new(target.url(), page, 0)).collect()
        }
        Aim::Robots => Vec::new(),
        Aim::Content(kind) => {
            let found = discover::of(kind, content_type, base, body);
            let level = if kind == Kind::Page { 0 } else { wish.depth + 1 };
            let need = |need: Need| Wish::new(need.target.url(), need.kind.as_str(), level);
            let needs = found.needs.into_iter().filter(|need| level <= NEST && fits(&need.target, false)).map(need);
            let follow = kind == Kind::Page && wish.depth < pack.scope.depth;
            let links = found.links.into_iter().filter(|target| follow && fits(target, true));
            needs.chain(links.map(|target| Wish::new(target.url(), page, wish.depth + 1))).collect()
        }
    }
}

fn is_trap(target: &Target) -> bool {
    if target.url().len() > LONGEST {
        return true;
    }
    let segments: Vec<&str> = target.path().split('/').filter(|segment| !segment.is_empty()).collect();
    segments.iter().any(|one| segments.iter().filter(|other| *other == one).count() >= SAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_are_seen() {
        let long = format!("http://a/{}", "x".repeat(3000));
        for (url, trap) in [("http://a/b/b/b/c", false), ("http://a/b/c/b/c/b/c/b/c", true), (long.as_str(), true)] {
            assert_eq!(is_trap(&Target::parse(url).expect(url)), trap, "{url}");
        }
        for word in ["page", "style", "sitemap", "list", "robots"] {
            assert_eq!(Aim::parse(word).as_str(), word);
        }
    }
}
