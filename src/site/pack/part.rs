//! What a pack may fetch: by its own scope and classes, or by those of a pack that is part of it.
//!
//! A pack that includes others is a shelf ("grade 5"): each part keeps its own rules, for the prefixes of one mean nothing on the hosts
//! of another. Only caps are the shelf's own.

use crate::base::digest::Digest;
use crate::base::target::Target;
use crate::site::pack::{Archive, Pack, same_host};
use crate::site::refuse;
use std::net::IpAddr;
use std::sync::Arc;

impl Pack {
    /// The pack with others as its parts: their seeds are fetched with its own, and it counts as changed when one of them changes.
    #[must_use]
    pub fn with(mut self, parts: Vec<Arc<Pack>>) -> Pack {
        let digests: String = parts.iter().map(|part| part.digest.to_string()).collect();
        if !parts.is_empty() {
            self.digest = Digest::of(format!("{}{digests}", self.digest).as_bytes());
        }
        for seed in parts.iter().flat_map(|part| &part.seeds) {
            if !self.seeds.contains(seed) {
                self.seeds.push(seed.clone());
            }
        }
        self.parts = parts;
        self
    }

    /// The pack without hosts that the operator refuses (and everything below them), and which of its own names that concerns.
    #[must_use]
    pub fn without(mut self, refused: &[String]) -> (Pack, Vec<String>) {
        let bare = |name: &str| name.strip_prefix("*.").unwrap_or(name).to_owned();
        let is_refused = |host: &str| refuse::parents(host).any(|name| refused.iter().any(|refused| refused == name));
        let named: Vec<String> = self.scope.hosts.iter().filter(|name| is_refused(&bare(name))).cloned().collect();
        self.scope.hosts.retain(|name| !is_refused(&bare(name)));
        self.seeds.retain(|seed| !is_refused(seed.target.host()));
        refused.clone_into(&mut self.shunned);
        (self, named)
    }

    /// Whether the pack may fetch this: `page` for pages that are followed, else for what a page needs.
    ///
    /// Personal hosts never, those that the operator refuses neither; hosts with accounts only where one of the pack's own classes
    /// names the path.
    pub fn covers(&self, target: &Target, page: bool) -> bool {
        self.fetches(target, page) || self.parts.iter().any(|part| part.fetches(target, page) && !self.shuns(target.host()))
    }

    fn fetches(&self, target: &Target, page: bool) -> bool {
        let host = target.host();
        let named = (self.scope.has_host(host) && (!page || self.scope.has_page(target))) || (self.scope.any_requisites && !page);
        if !named || refuse::is_personal(host) || self.shuns(host) {
            return false;
        }
        !self.has_accounts(host) || self.classes.iter().any(|class| same_host(&class.host, host) && class.path.fits(target.path()))
    }

    fn shuns(&self, host: &str) -> bool {
        refuse::parents(host).any(|name| self.shunned.iter().any(|shunned| shunned == name))
    }

    /// Whether this host has accounts by the compiled-in list or by the pack's own word.
    fn has_accounts(&self, host: &str) -> bool {
        refuse::is_account(host) || self.classes.iter().any(|class| class.accounts && same_host(&class.host, host))
    }

    /// Names that lead into the school's own network: such hosts answer only where the operator allows it.
    pub fn near(&self) -> Vec<&str> {
        self.scope.hosts.iter().map(String::as_str).filter(|host| is_near(host)).collect()
    }

    /// How many links away from a seed pages may be that a page on this host names; the seed itself may lie outside the prefixes.
    pub fn depth_at(&self, page: &Target) -> u8 {
        let own = self.fetches(page, false).then_some(self.scope.depth);
        let parts = self.parts.iter().filter(|part| part.fetches(page, false)).map(|part| part.scope.depth);
        own.into_iter().chain(parts).max().unwrap_or(0)
    }

    /// Whether somebody allowed the node to fetch from this host without holding back.
    pub fn permits(&self, host: &str) -> bool {
        let permits = |pack: &Pack| pack.permission.is_some() && pack.scope.has_host(host);
        permits(self) || self.parts.iter().any(|part| permits(part))
    }

    /// The cap on what comes from this host, its own or a part's, and the name that it goes by.
    pub fn site(&self, host: &str) -> Option<(&str, u64)> {
        self.scope.site(host).or_else(|| self.parts.iter().find_map(|part| part.scope.site(host)))
    }

    /// Its own ZIM files and those of its parts.
    pub fn all_archives(&self) -> impl Iterator<Item = &Archive> {
        self.archives.iter().chain(self.parts.iter().flat_map(|part| &part.archives))
    }

    /// Whether single hosts are capped at all.
    pub fn has_sites(&self) -> bool {
        !self.scope.sites.is_empty() || self.parts.iter().any(|part| !part.scope.sites.is_empty())
    }
}

/// Private, loopback and link-local addresses as they are written, and names that no public server has.
fn is_near(host: &str) -> bool {
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared
        }
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => !host.contains('.') || [".localhost", ".local", ".internal", ".lan", ".home.arpa"].iter().any(|end| host.ends_with(end)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::pack::tests::GOOD;

    fn target(url: &str) -> Target {
        Target::parse(url).expect(url)
    }

    const SHELF: &str = "id = \"grade-5\"\nversion = \"1\"\nlicence = \"as each part says\"\n[title]\nen = \"Grade 5\"\n\
        [[seed]]\npack = \"kk-wiki\"\nversion = \"2026-10-01\"\n[[seed]]\npack = \"phet\"\n";

    #[test]
    fn a_shelf_keeps_the_rules_of_each_part() {
        let shelf = Pack::parse(SHELF).expect("a shelf needs no scope of its own");
        assert_eq!(
            shelf.includes.iter().map(|part| (part.id.as_str(), part.version.as_deref())).collect::<Vec<_>>(),
            [("kk-wiki", Some("2026-10-01")), ("phet", None)]
        );
        let (wiki, digest) = (Arc::new(Pack::parse(GOOD).expect("good")), shelf.digest);
        let phet = GOOD
            .replace("kk-wiki", "phet")
            .replace("kk.wikipedia.org", "phet.org")
            .replace("/wiki/", "/")
            .replace("depth = 1", "depth = 0");
        let phet = Arc::new(Pack::parse(&phet).expect("good"));
        let shelf = shelf.with(vec![wiki, phet]);
        assert_eq!(shelf.seeds.len(), 4);
        assert_ne!(shelf.digest, digest);
        for (url, page, covered) in [
            ("https://kk.wikipedia.org/wiki/A", true, true),
            // The other part's prefix lets nothing in here.
            ("https://kk.wikipedia.org/w/index.php", true, false),
            ("https://phet.org/w/index.php", true, true),
            ("https://other.org/", false, false),
        ] {
            assert_eq!(shelf.covers(&target(url), page), covered, "{url}");
        }
        assert_eq!(shelf.depth_at(&target("https://kk.wikipedia.org/")), 1, "a seed outside the prefixes leads on");
        assert_eq!((shelf.depth_at(&target("https://kk.wikipedia.org/wiki/A")), shelf.depth_at(&target("https://phet.org/"))), (1, 0));
    }

    #[test]
    fn what_the_operator_refuses_is_left_out() {
        let pack = Pack::parse(&GOOD.replace("\"*.wikimedia.org\"", "\"*.wikimedia.org\", \"forum.kz\"")).expect("good");
        let (pack, named) = pack.without(&["forum.kz".into(), "upload.wikimedia.org".into()]);
        assert_eq!(named, ["forum.kz"]);
        let covers = |url: &str| pack.covers(&target(url), false);
        assert!(covers("https://kk.wikipedia.org/x") && covers("https://maps.wikimedia.org/x"));
        assert!(!covers("https://forum.kz/x") && !covers("https://upload.wikimedia.org/x"));
        let (pack, named) = pack.without(&["wikipedia.org".into()]);
        assert_eq!((named.as_slice(), pack.seeds.len()), (["kk.wikipedia.org".to_owned()].as_slice(), 0));
    }

    #[test]
    fn names_of_the_own_network_are_seen() {
        for (host, near) in [
            ("192.168.1.1", true),
            ("100.64.0.1", true),
            ("8.8.8.8", false),
            ("[::1]", true),
            ("[fd00::1]", true),
            ("localhost", true),
            ("bulak.internal", true),
            ("nas.local", true),
            ("kk.wikipedia.org", false),
        ] {
            assert_eq!(is_near(host), near, "{host}");
        }
    }

    #[test]
    fn hosts_have_caps_of_their_own() {
        let text = GOOD.to_owned() + "[scope.sites]\n\"kk.wikipedia.org\" = \"500 MB\"\n\"*.wikimedia.org\" = \"1 GB\"\n";
        let pack = Pack::parse(&text).expect("good");
        assert!(pack.has_sites());
        assert_eq!(pack.site("kk.wikipedia.org"), Some(("kk.wikipedia.org", 500_000_000)));
        assert_eq!(pack.site("upload.wikimedia.org"), Some(("*.wikimedia.org", 1_000_000_000)));
        assert_eq!(pack.site("wikimedia.org"), None);
        let complaints =
            Pack::parse(&text.replace("500 MB", "much").replace("\"*.wikimedia.org\" = ", "\"a b\" = ")).expect_err("two mistakes");
        assert!(complaints.iter().all(|one| one.key.starts_with("scope.sites")) && complaints.len() == 2, "{complaints:?}");
    }
}
