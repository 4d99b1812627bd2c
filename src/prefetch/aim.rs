//! What a wish is wanted as: a page, one of its requisites, or a list that names others.

use crate::base::digest::Digest;
use crate::base::target::Target;
use crate::site::canonical;
use crate::site::discover::media::{Policy, Title};
use crate::site::discover::{self, Kind, Need, dash, feed, hls};
use crate::site::pack::{Pack, Seed, SeedKind};
use crate::site::trap::{self, Bound};
use crate::state::frontier::{Alike, Wish};

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

    /// Whether it is wanted for what it names alone.
    pub fn is_list(self) -> bool {
        matches!(self, Aim::Sitemap | Aim::List | Aim::Feed)
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
            Aim::Content(Kind::Manifest) => discover::MAX_TEXT,
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

/// What a fetched body names.
#[derive(Debug, Default)]
pub struct Named {
    /// As far as the pack's scope goes.
    pub wishes: Vec<Wish>,
    /// What people should know of what was left out.
    pub note: Option<String>,
    /// Why a film is left alone, where it is: it would not play, or may not be kept.
    pub objection: Option<String>,
    /// Why what it names is not known.
    pub broken: Option<String>,
}

/// What a fetched body names, as far as the pack's scope goes. Pure.
pub fn found(pack: &Pack, media: &Policy, wish: &Wish, base: &Target, content_type: Option<&str>, body: &[u8]) -> Named {
    let page = Aim::Content(Kind::Page).as_str();
    let fits = |target: &Target, as_page| pack.covers(target, as_page) && !trap::is_hopeless(target);
    let wishes = match Aim::parse(&wish.kind) {
        Aim::Sitemap => {
            let map = discover::sitemap::read(base, body);
            let pages = map.pages.into_iter().map(|(target, changed)| (canonical::or_same(target), changed));
            let pages = pages.filter(|(target, _)| fits(target, true));
            let pages = pages.map(|(target, changed)| Wish { changed, ..Wish::new(target.url(), page, 0) });
            let maps = map.sitemaps.into_iter().filter(|target| wish.depth < MAPS && fits(target, false));
            let maps = maps.take(if wish.depth == 0 { usize::MAX } else { MAPS_BELOW });
            let maps = maps.map(|target| Wish::new(target.url(), Aim::Sitemap.as_str(), wish.depth + 1));
            pages.chain(maps).collect()
        }
        Aim::List => {
            let targets = discover::list::read(base, content_type, body).into_iter().map(canonical::or_same);
            let targets = targets.filter(|target| fits(target, true));
            targets.map(|target| Wish::new(target.url(), page, 0)).collect()
        }
        Aim::Feed => {
            let feed = feed::read(base, body);
            let pages = feed
                .pages
                .into_iter()
                .map(|(target, changed)| (canonical::or_same(target), changed))
                .filter(|(target, _)| fits(target, true));
            let pages = pages.map(|(target, changed)| Wish { changed, ..Wish::new(target.url(), page, 0) });
            let enclosed = feed.enclosed.into_iter().filter(|target| media.enclosures && fits(target, false));
            pages.chain(enclosed.map(|target| Wish::new(target.url(), Kind::Media.as_str(), 0))).collect()
        }
        Aim::Robots => Vec::new(),
        aim if let Some(title) = title(media, aim, base, content_type, body) => {
            let (targets, word) = match title {
                Title::Playlists(targets) => (targets, Aim::Hls.as_str()),
                Title::Pieces(targets) => (targets, Kind::Media.as_str()),
                Title::Refused(why) => return Named { objection: Some(why.to_owned()), ..Named::default() },
            };
            if let Some(outside) = targets.iter().find(|target| !pack.covers(target, false)) {
                let why = format!("parts of it lie on {}, which the pack does not name: add it to scope.hosts", outside.host());
                return Named { objection: Some(why), ..Named::default() };
            }
            let targets = targets.into_iter().filter(|target| wish.depth < NEST && fits(target, false));
            targets.map(|target| Wish::new(target.url(), word, wish.depth + 1)).collect()
        }
        Aim::Hls | Aim::Dash => Vec::new(),
        Aim::Content(kind) => return content(pack, wish, kind, base, content_type, body),
    };
    Named { wishes, ..Named::default() }
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

fn content(pack: &Pack, wish: &Wish, kind: Kind, base: &Target, content_type: Option<&str>, body: &[u8]) -> Named {
    let page = Aim::Content(Kind::Page).as_str();
    let fits = |target: &Target, as_page| pack.covers(target, as_page) && !trap::is_hopeless(target);
    let found = discover::of(kind, content_type, base, body);
    let note = (found.more > 0).then(|| {
        format!("names more than {} addresses: {} were left out; a sitemap or list may name them", discover::MAX_FOUND, found.more)
    });
    let level = if kind == Kind::Page { 0 } else { wish.depth + 1 };
    let need = |need: Need| {
        let alike = trap::of_need(&need.target).into_iter().map(alike).collect();
        Wish { alike, ..Wish::new(need.target.url(), need.kind.as_str(), level) }
    };
    let mut wishes: Vec<Wish> = found.needs.into_iter().filter(|need| level <= NEST && fits(&need.target, false)).map(need).collect();
    if kind == Kind::Page {
        // A page that says that it is a form of another is not followed further: the other one is.
        let itself = found.canonical.map(canonical::or_same).filter(|own| is_form(base, own) && fits(own, true));
        match itself {
            Some(own) => wishes.push(linked(&own, page, wish.depth)),
            None if wish.depth < pack.depth_at(base) => {
                let links = found.links.into_iter().map(canonical::or_same).filter(|target| fits(target, true));
                wishes.extend(links.map(|target| linked(&target, page, wish.depth + 1)));
            }
            None => {}
        }
    }
    Named { wishes, note, ..Named::default() }
}

/// Whether `base` is a form of `own`: the same path with other parameters, or with a slash more or less. Many sites call their front
/// page the canonical address of all their pages by mistake; those are followed all the same.
fn is_form(base: &Target, own: &Target) -> bool {
    base != own && base.host() == own.host() && base.path().trim_end_matches('/') == own.path().trim_end_matches('/')
}

/// Where a redirect leads: its own address, byte for byte, for that is what a browser will ask.
pub fn moved(wish: &Wish, to: &Target) -> Wish {
    Wish { hops: wish.hops.saturating_add(1), ..linked(to, &wish.kind, wish.depth) }
}

/// A page that a link names, with the bounds of what looks like it.
fn linked(target: &Target, kind: &str, depth: u8) -> Wish {
    Wish { alike: trap::of_page(target, depth).into_iter().map(alike).collect(), ..Wish::new(target.url(), kind, depth) }
}

fn alike(bound: Bound) -> Alike {
    let mut key = [0; 8];
    key.copy_from_slice(&Digest::of(bound.pattern.as_bytes()).0[..8]);
    Alike { key: i64::from_le_bytes(key), most: bound.most, pattern: bound.pattern }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_back() {
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
        (found.wishes.into_iter().map(|wish| (wish.kind, wish.url)).collect(), found.objection)
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
            found(&pack, &Policy::default(), &wish, &base, None, index.as_bytes()).wishes.len()
        };
        assert_eq!([below(0), below(1), below(2)], [discover::sitemap::MAX_MAPS, MAPS_BELOW, 0]);
    }

    #[test]
    fn links_lose_their_marks_and_forms_are_not_followed() {
        let text = "id = \"p\"\nversion = \"1\"\nlicence = \"CC0\"\n[title]\nen = \"T\"\n[[seed]]\nurl = \"http://a.kz/\"\n[scope]\nhosts = [\"a.kz\"]\ndepth = 2\n";
        let pack = Pack::parse(text).expect("a pack");
        let named = |url: &str, body: &str| {
            let named = found(
                &pack,
                &Policy::default(),
                &Wish::new(url, "page", 0),
                &Target::parse(url).expect(url),
                Some("text/html"),
                body.as_bytes(),
            );
            named.wishes.into_iter().map(|wish| wish.url).collect::<Vec<_>>()
        };
        let body = "<link rel=stylesheet href='/s.css?utm_source=x'><a href='/p?utm_source=menu'>1</a><a href='/p'>2</a>";
        // Requisites stay as they are: a browser asks for them so.
        assert_eq!(named("http://a.kz/", body), ["http://a.kz/s.css?utm_source=x", "http://a.kz/p", "http://a.kz/p"]);
        let own = |href: &str| format!("<link rel=canonical href='{href}'><a href=/next>n</a>");
        assert_eq!(named("http://a.kz/p?sort=1", &own("/p")), ["http://a.kz/p"]);
        assert_eq!(named("http://a.kz/p", &own("/p")), ["http://a.kz/next"]);
        assert_eq!(named("http://a.kz/p?sort=1", &own("/")), ["http://a.kz/next"], "a mistake of many sites");
        assert_eq!(named("http://a.kz/p?sort=1", &own("http://b.kz/p")), ["http://a.kz/next"]);
    }
}
