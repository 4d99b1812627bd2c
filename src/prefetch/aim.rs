//! What a wish is wanted as: a page, one of its requisites, or a list that names others.

use crate::base::target::Target;
use crate::site::discover::media::{Policy, Title};
use crate::site::discover::{self, Kind, Need, dash, feed, hls};
use crate::site::pack::{Pack, Seed, SeedKind};
use crate::state::frontier::Wish;

/// What a wish is wanted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aim {
    /// Something for the class.
    Content(Kind),
    /// A sitemap.
    Sitemap,
    /// A list.
    List,
    /// A feed.
    Feed,
    /// An HLS playlist, of forms or of pieces.
    Hls,
    /// A DASH manifest.
    Dash,
    /// A robots.txt.
    Robots,
}

/// Deepest chain of requisites (a style that imports a style that …).
const NEST: u8 = 8;
/// Longest address that a page may name; longer ones carry state.
const LONGEST: usize = 2048;
/// A path with the same segment so many times is a trap: a relative link that grows.
const SAME: usize = 4;
/// Indexes of sitemaps within indexes: the protocol knows none, some sites have one.
const MAPS: u8 = 2;
/// Sitemaps that an index within an index names: what is wider than deep is a bomb.
const MAPS_BELOW: usize = 50;

impl Aim {
    /// The word in the frontier.
    pub fn as_str(self) -> &'static str {
        match self {
            Aim::Content(kind) => kind.as_str(),
            Aim::Sitemap => "sitemap",
            Aim::List => "list",
            Aim::Feed => "feed",
            Aim::Hls => "hls",
            Aim::Dash => "dash",
            Aim::Robots => "robots",
        }
    }

    /// Back from the word.
    pub fn parse(word: &str) -> Aim {
        match word {
            "sitemap" => Aim::Sitemap,
            "list" => Aim::List,
            "feed" => Aim::Feed,
            "hls" => Aim::Hls,
            "dash" => Aim::Dash,
            "robots" => Aim::Robots,
            word => Aim::Content(Kind::parse(word).unwrap_or(Kind::Other)),
        }
    }

    /// A page whose turn manners hold back, and whose stored copy is confirmed at each refresh.
    pub fn is_page(self) -> bool {
        matches!(self, Aim::Content(Kind::Page) | Aim::Sitemap | Aim::List | Aim::Feed | Aim::Hls | Aim::Dash)
    }

    /// Whether the class wants it (and it is pinned), or only the crawl.
    pub fn is_content(self) -> bool {
        matches!(self, Aim::Content(_) | Aim::Hls | Aim::Dash)
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
            Aim::Feed => feed::MAX_BYTES,
            Aim::Hls | Aim::Dash => hls::MAX_BYTES,
            Aim::Content(_) if is_hls(&mime) || is_dash(&mime) => hls::MAX_BYTES,
            Aim::Content(_) if picture || opaque.iter().any(|kind| mime.starts_with(kind)) => 0,
            Aim::Content(_) if mime.contains("html") || mime.contains("svg") => discover::MAX_HTML,
            Aim::Content(Kind::Image | Kind::Font | Kind::Media) => 0,
            Aim::Content(_) => discover::MAX_TEXT,
        }
    }
}

impl Aim {
    /// Longest body that is fetched at all, where more would never be read: a list without end must not fill the pack's place.
    pub fn most(self) -> u64 {
        match self {
            Aim::Sitemap | Aim::List => discover::sitemap::MAX_BYTES,
            Aim::Feed => feed::MAX_BYTES,
            Aim::Hls | Aim::Dash => hls::MAX_BYTES,
            Aim::Content(_) | Aim::Robots => u64::MAX,
        }
    }
}

fn is_hls(mime: &str) -> bool {
    mime.split(';').next().is_some_and(|mime| mime.trim_end().ends_with("mpegurl"))
}

fn is_dash(mime: &str) -> bool {
    mime.starts_with("application/dash+xml")
}

/// The first wishes of a pack.
pub fn seeds(pack: &Pack) -> Vec<Wish> {
    let wish = |seed: &Seed| {
        let aim = match seed.kind {
            SeedKind::Url => Aim::Content(Kind::Page),
            SeedKind::Sitemap => Aim::Sitemap,
            SeedKind::List => Aim::List,
            SeedKind::Feed => Aim::Feed,
            SeedKind::Hls => Aim::Hls,
            SeedKind::Dash => Aim::Dash,
            SeedKind::Zim => return None,
        };
        Some(Wish::new(seed.target.url(), aim.as_str(), 0))
    };
    // A file that lies on a disk of ours needs no fetching.
    let files = pack.all_archives().filter_map(|archive| archive.source.as_ref());
    let files = files.map(|target| Wish::new(target.url(), Kind::Media.as_str(), 0));
    pack.seeds.iter().filter_map(wish).chain(files).collect()
}

/// What a fetched body names, as far as the pack's scope goes. Pure.
pub fn found(pack: &Pack, media: &Policy, wish: &Wish, base: &Target, content_type: Option<&str>, body: &[u8]) -> Vec<Wish> {
    let page = Aim::Content(Kind::Page).as_str();
    let fits = |target: &Target, as_page| pack.covers(target, as_page) && !is_trap(target);
    match Aim::parse(&wish.kind) {
        Aim::Sitemap => {
            let map = discover::sitemap::read(base, body);
            let pages = map.pages.into_iter().filter(|(target, _)| fits(target, true));
            let pages = pages.map(|(target, changed)| Wish { changed, ..Wish::new(target.url(), page, 0) });
            let maps = map.sitemaps.into_iter().filter(|target| wish.depth < MAPS && fits(target, false));
            let maps = maps.take(if wish.depth == 0 { usize::MAX } else { MAPS_BELOW });
            let maps = maps.map(|target| Wish::new(target.url(), Aim::Sitemap.as_str(), wish.depth + 1));
            pages.chain(maps).collect()
        }
        Aim::List => {
            let targets = discover::list::read(base, content_type, body).into_iter().filter(|target| fits(target, true));
            targets.map(|target| Wish::new(target.url(), page, 0)).collect()
        }
        Aim::Feed => {
            let feed = feed::read(base, body);
            let pages = feed.pages.into_iter().filter(|(target, _)| fits(target, true));
            let pages = pages.map(|(target, changed)| Wish { changed, ..Wish::new(target.url(), page, 0) });
            let enclosed = feed.enclosed.into_iter().filter(|target| media.enclosures && fits(target, false));
            pages.chain(enclosed.map(|target| Wish::new(target.url(), Kind::Media.as_str(), 0))).collect()
        }
        Aim::Robots => Vec::new(),
        aim if let Some(title) = title(media, aim, base, content_type, body) => {
            let (targets, word) = match title {
                Title::Playlists(targets) => (targets, Aim::Hls.as_str()),
                Title::Pieces(targets) => (targets, Kind::Media.as_str()),
                Title::Refused(_) => return Vec::new(),
            };
            let targets = targets.into_iter().filter(|target| wish.depth < NEST && fits(target, false));
            targets.map(|target| Wish::new(target.url(), word, wish.depth + 1)).collect()
        }
        Aim::Hls | Aim::Dash => Vec::new(),
        Aim::Content(kind) => {
            let found = discover::of(kind, content_type, base, body);
            let level = if kind == Kind::Page { 0 } else { wish.depth + 1 };
            let need = |need: Need| Wish::new(need.target.url(), need.kind.as_str(), level);
            let needs = found.needs.into_iter().filter(|need| level <= NEST && fits(&need.target, false)).map(need);
            let follow = kind == Kind::Page && wish.depth < pack.depth_at(base);
            let links = found.links.into_iter().filter(|target| follow && fits(target, true));
            needs.chain(links.map(|target| Wish::new(target.url(), page, wish.depth + 1))).collect()
        }
    }
}

/// Why a film is left alone, where it is: it would not play, or may not be kept. Pure.
pub fn objection(pack: &Pack, media: &Policy, wish: &Wish, base: &Target, content_type: Option<&str>, body: &[u8]) -> Option<String> {
    let targets = match title(media, Aim::parse(&wish.kind), base, content_type, body)? {
        Title::Refused(why) => return Some(why.to_owned()),
        Title::Playlists(targets) | Title::Pieces(targets) => targets,
    };
    let outside = targets.iter().find(|target| !pack.covers(target, false))?;
    Some(format!("parts of it lie on {}, which the pack does not name: add it to scope.hosts", outside.host()))
}

/// What a film's playlist or manifest says, if the body is one: by what it is wanted as, else by its media type.
fn title(media: &Policy, aim: Aim, base: &Target, content_type: Option<&str>, body: &[u8]) -> Option<Title> {
    let mime = content_type.unwrap_or_default().to_ascii_lowercase();
    match aim {
        Aim::Hls => Some(hls::read(base, body, media)),
        Aim::Dash => Some(dash::read(base, body, media)),
        Aim::Content(_) if is_hls(&mime) => Some(hls::read(base, body, media)),
        Aim::Content(_) if is_dash(&mime) => Some(dash::read(base, body, media)),
        _ => None,
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
        for word in ["page", "style", "sitemap", "list", "feed", "hls", "dash", "robots"] {
            assert_eq!(Aim::parse(word).as_str(), word);
        }
    }

    const PACK: &str = "id = \"p\"\nversion = \"1\"\nlicence = \"CC0\"\n[title]\nen = \"T\"\n[[seed]]\nhls = \"http://a.kz/m.m3u8\"\n\
        [[seed]]\nfeed = \"http://a.kz/feed\"\n[scope]\nhosts = [\"a.kz\"]\nprefixes = [\"/p/\"]\n";

    fn named(kind: &str, content_type: Option<&str>, body: &str) -> (Vec<(String, String)>, Option<String>) {
        let (pack, media) = (Pack::parse(PACK).expect("good"), Policy::default());
        let (wish, base) = (Wish::new("http://a.kz/m", kind, 0), Target::parse("http://a.kz/m").expect("valid"));
        let found = found(&pack, &media, &wish, &base, content_type, body.as_bytes());
        let objection = objection(&pack, &media, &wish, &base, content_type, body.as_bytes());
        (found.into_iter().map(|wish| (wish.kind, wish.url)).collect(), objection)
    }

    #[test]
    fn a_film_goes_from_form_to_pieces_and_a_strange_one_nowhere() {
        let pair = |kind: &str, url: &str| (kind.to_owned(), url.to_owned());
        let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n";
        assert_eq!(named("hls", None, master), (vec![pair("hls", "http://a.kz/v.m3u8")], None));
        // A film within a page is known by its media type.
        assert_eq!(named("media", Some("application/vnd.apple.mpegurl"), master).0, [pair("hls", "http://a.kz/v.m3u8")]);
        assert_eq!(named("media", Some("video/mp4"), master), (Vec::new(), None));
        let film = "#EXTM3U\n#EXTINF:6,\n1.ts\n#EXT-X-ENDLIST\n";
        assert_eq!(named("hls", Some("text/plain"), film), (vec![pair("media", "http://a.kz/1.ts")], None));
        let locked = film.replace("#EXTINF", "#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXTINF");
        let (found, why) = named("hls", None, &locked);
        assert!(found.is_empty() && why.is_some_and(|why| why.contains("encrypted")));
        let (_, why) = named("hls", None, &film.replace("1.ts", "http://cdn.kz/1.ts"));
        assert!(why.is_some_and(|why| why.contains("cdn.kz")));
    }

    #[test]
    fn a_feed_names_pages_in_scope_and_what_they_enclose() {
        let feed = "<rss><item><link>/p/1</link><enclosure url='/1.mp3'/></item><item><link>/q/2</link></item></rss>";
        let (found, why) = named("feed", Some("application/rss+xml"), feed);
        let urls: Vec<&str> = found.iter().map(|(_, url)| url.as_str()).collect();
        assert_eq!((urls.as_slice(), why), (["http://a.kz/p/1", "http://a.kz/1.mp3"].as_slice(), None));
    }

    #[test]
    fn indexes_of_indexes_grow_no_tree() {
        let index = (0..2000).fold(String::from("<sitemapindex>"), |text, n| text + &format!("<sitemap><loc>/{n}.xml</loc></sitemap>"));
        let (pack, base) = (Pack::parse(PACK).expect("good"), Target::parse("http://a.kz/m").expect("valid"));
        let below = |depth| {
            let wish = Wish::new("http://a.kz/m", "sitemap", depth);
            found(&pack, &Policy::default(), &wish, &base, None, index.as_bytes()).len()
        };
        assert_eq!([below(0), below(1), below(2)], [discover::sitemap::MAX_MAPS, MAPS_BELOW, 0]);
    }
}
