//! Host and path to what is known of them, from the compiled-in lists and the packs in force.
//!
//! Asked for every request. Everything but path classes depends on the host alone and is remembered by host: two look-ups for each
//! label and those of the compiled-in lists were 6 % of the CPU of a hit.

use crate::base::digest::Digest;
use crate::base::target::{Scheme, Target};
use crate::site::glob::Glob;
use crate::site::pack::Pack;
use crate::site::refuse;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;

/// Hosts that are remembered: more than a school meets in a day, and some hundred kilobytes. Then they are found anew.
const REMEMBERED: usize = 4096;

/// What is known of a URL, from packs and the compiled-in lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The host has accounts, or is personal: by whatever way a device comes, nothing of it is stored for others.
    pub account: bool,
    /// A pack's path class names the URL.
    pub class: bool,
    /// A pack states permission to fetch from this host (manners).
    pub permitted: bool,
    /// By the compiled-in list or an operator's: never opened, mirrored or fetched.
    pub refused: bool,
}

/// All rules in force, built from the packs. Swapped as a whole when packs change.
#[derive(Debug)]
pub struct Sites {
    hosts: HashMap<Box<str>, Rule>,
    lately: RwLock<HashMap<Box<str>, Standing>>,
}

/// What is known of a host, whatever the path.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    account: bool,
    refused: bool,
    permitted: bool,
    /// Nothing of it is stored, and no class changes that.
    personal: bool,
    /// It has path classes.
    classed: bool,
}

/// What is stated of one name.
#[derive(Debug, Default)]
struct Rule {
    /// Accounts, here and on every subdomain.
    account: bool,
    /// Refused by the operator, with every subdomain.
    refused: bool,
    /// Permission, for this very host and for its subdomains.
    permitted: (bool, bool),
    /// Mirrored, and the scheme that its packs fetch it by: this very host, and its subdomains.
    home: (Option<Scheme>, Option<Scheme>),
    /// Path classes of this very host.
    exact: Vec<Glob>,
    /// Path classes of its subdomains.
    below: Vec<Glob>,
}

impl Default for Sites {
    /// The compiled-in lists alone.
    fn default() -> Sites {
        Sites::new(&[])
    }
}

impl Sites {
    /// From verified packs.
    pub fn new(packs: &[Arc<Pack>]) -> Sites {
        Sites::with_refused(packs, &[])
    }

    /// From verified packs, and names that the operator refuses beside the compiled-in ones (`intercept.refused`).
    pub fn with_refused(packs: &[Arc<Pack>], refused: &[String]) -> Sites {
        let mut hosts: HashMap<Box<str>, Rule> = HashMap::new();
        for host in refuse::accounts() {
            hosts.entry(host.into()).or_default().account = true;
        }
        for host in refused {
            let rule = hosts.entry(host.as_str().into()).or_default();
            // Whoever looks for accounts alone keeps off, too.
            (rule.refused, rule.account) = (true, true);
        }
        for pack in packs {
            for class in &pack.classes {
                let (name, below) = split(&class.host);
                let rule = hosts.entry(name.into()).or_default();
                // A pack may add accounts to a host, never take them away.
                rule.account |= class.accounts;
                if below { rule.below.push(class.path.clone()) } else { rule.exact.push(class.path.clone()) }
            }
            for host in &pack.scope.hosts {
                let (name, below) = split(host);
                let rule = hosts.entry(name.into()).or_default();
                let (permitted, home) =
                    if below { (&mut rule.permitted.1, &mut rule.home.1) } else { (&mut rule.permitted.0, &mut rule.home.0) };
                *permitted |= pack.permission.is_some();
                // Where packs differ, the secure one counts.
                *home = (*home).max(Some(home_scheme(pack, host)));
            }
        }
        Sites { hosts, lately: RwLock::default() }
    }

    /// What is known of a target. Called for every request: a host that was met lately costs one look-up.
    pub fn look(&self, target: &Target) -> Known {
        let Standing { account, refused, permitted, personal, classed } = self.standing(target.host());
        let class = classed && !personal && is_straight(target.path()) && self.is_classed(target);
        Known { account, class, permitted, refused }
    }

    fn standing(&self, host: &str) -> Standing {
        if let Some(known) = self.lately.read().get(host) {
            return *known;
        }
        let found = self.find(host);
        let mut lately = self.lately.write();
        if lately.len() >= REMEMBERED {
            lately.clear();
        }
        lately.insert(host.into(), found);
        found
    }

    fn find(&self, host: &str) -> Standing {
        let mut found = Standing::default();
        for (rule, is_itself) in self.rules(host) {
            let classes = if is_itself { &rule.exact } else { &rule.below };
            found.account |= rule.account;
            found.refused |= rule.refused;
            found.permitted |= if is_itself { rule.permitted.0 } else { rule.permitted.1 };
            found.classed |= !classes.is_empty();
        }
        // The lists stand above every pack: what is personal is not stored over plain HTTP either.
        found.personal = found.refused;
        if let Some(kind) = refuse::category(host) {
            found.refused = true;
            found.personal |= !kind.stores_plain();
        }
        found.account |= found.personal;
        found
    }

    fn is_classed(&self, target: &Target) -> bool {
        let mut classes = self.rules(target.host()).flat_map(|(rule, is_itself)| if is_itself { &rule.exact } else { &rule.below });
        classes.any(|path| path.fits(target.path()))
    }

    /// The rules of a host and of the names above it, and whether they are its own.
    fn rules<'s>(&'s self, host: &'s str) -> impl Iterator<Item = (&'s Rule, bool)> {
        refuse::parents(host).enumerate().filter_map(|(up, name)| Some((self.hosts.get(name)?, up == 0)))
    }

    /// The scheme by which a host's mirror is fetched; `None` when no pack names the host, or it is personal. Addresses by the
    /// other scheme are mirrored too, under a marked name.
    pub fn home(&self, host: &str) -> Option<Scheme> {
        let mut parents = refuse::parents(host).enumerate();
        let found = parents.find_map(|(up, name)| self.hosts.get(name).and_then(|rule| if up == 0 { rule.home.0 } else { rule.home.1 }));
        found.filter(|_| !refuse::is_personal(host))
    }

    /// Whether the mirror shows this address: a host of a pack and, where there are accounts, an address that a path class names.
    pub fn is_mirrored(&self, target: &Target) -> bool {
        self.home(target.host()).is_some() && {
            let known = self.look(target);
            !known.account || known.class
        }
    }

    /// Another one where other addresses are mirrored, or by another scheme.
    pub fn edition(&self) -> Digest {
        let mut all: Vec<String> = self.hosts.iter().map(|(name, rule)| format!("{name} {rule:?}")).collect();
        all.sort_unstable();
        Digest::of(all.join("\n").as_bytes())
    }

    /// The mirrored names without accounts (exact, or `*.name`) with their schemes, in order.
    pub fn mirrored(&self) -> Vec<(String, Scheme)> {
        let mut all = Vec::new();
        for (name, rule) in &self.hosts {
            let open = !rule.account && !refuse::is_account(name) && !refuse::is_personal(name);
            all.extend(rule.home.0.filter(|_| open).map(|scheme| (name.to_string(), scheme)));
            all.extend(rule.home.1.filter(|_| open).map(|scheme| (format!("*.{name}"), scheme)));
        }
        all.sort_unstable();
        all
    }
}

/// The scheme by which a pack fetches one of its hosts: that of its seeds there, else that of its seeds in general.
fn home_scheme(pack: &Pack, host: &str) -> Scheme {
    let (name, below) = split(host);
    let on = |found: &str| if below { found.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')) } else { found == name };
    let there = pack.seeds.iter().filter(|seed| on(seed.target.host())).map(|seed| seed.target.scheme()).max();
    there.or_else(|| pack.seeds.iter().map(|seed| seed.target.scheme()).max()).unwrap_or(Scheme::Https)
}

/// Whether a path means what a pattern reads: an origin may take dots, hidden slashes and parameters for another path, and then a
/// class of scripts would name somebody's file.
fn is_straight(path: &str) -> bool {
    let hidden = |at: usize| {
        let code = path.get(at + 1..at + 3).unwrap_or_default();
        ["2e", "2f", "5c", "3b", "00", "25"].iter().any(|bad| code.eq_ignore_ascii_case(bad))
    };
    !path.contains(['\\', ';'])
        && !path.split('/').any(|segment| segment == "." || segment == "..")
        && !path.bytes().enumerate().any(|(at, byte)| byte == b'%' && hidden(at))
}

/// `*.name` means the hosts below `name`.
fn split(host: &str) -> (&str, bool) {
    host.strip_prefix("*.").map_or((host, false), |name| (name, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_hosts_than_are_remembered_change_nothing() {
        let sites = Sites::default();
        let look = |host: &str| sites.look(&Target::parse(&format!("https://{host}/")).expect("a target"));
        let before = (look("schools.kundelik.kz"), look("login.example.kz"), look("example.kz"));
        for number in 0..=REMEMBERED {
            assert_eq!(look(&format!("h{number}.example.kz")), Known::default());
        }
        assert!(sites.lately.read().len() <= REMEMBERED, "the memory grows");
        assert_eq!((look("schools.kundelik.kz"), look("login.example.kz"), look("example.kz")), before);
        assert_ne!(before.0, before.2);
    }

    #[test]
    fn packs_add_classes_and_never_take_accounts_away() {
        let pack = Pack::parse(
            r#"
            id = "diary"
            version = "1"
            licence = "by agreement"
            permission = "letter of 2026-09-01"
            [title]
            en = "Diary"
            [[seed]]
            url = "https://static.kundelik.kz/v1/app.js"
            [scope]
            hosts = ["static.kundelik.kz", "*.lessons.example.kz"]
            [[class]]
            host = "static.kundelik.kz"
            path = "/v*/**.js"
            accounts = false
            [[class]]
            host = "*.lessons.example.kz"
            path = "/open/**"
            accounts = true
            "#,
        )
        .expect("a good pack");
        let sites = Sites::new(&[Arc::new(pack)]);
        let table = [
            ("https://static.kundelik.kz/v1/app.js", (true, true, true, false)),
            ("https://static.kundelik.kz/avatars/1.png", (true, false, true, false)),
            ("https://kundelik.kz/v1/app.js", (true, false, false, false)),
            ("https://a.lessons.example.kz/open/x", (true, true, true, false)),
            ("https://lessons.example.kz/open/x", (true, false, false, false)),
            ("https://example.kz/open/x", (false, false, false, false)),
            ("http://static.kundelik.kz../v1/app.js", (true, true, true, false)),
            ("http://kaspi.kz/logo.png", (true, false, false, true)),
            ("http://www.kaspi.kz./logo.png", (true, false, false, true)),
            ("http://mail.school.kz/", (true, false, false, true)),
            ("http://au.download.windowsupdate.com/c/msdownload/x.cab", (false, false, false, true)),
        ];
        for (url, (account, class, permitted, refused)) in table {
            let target = Target::parse(url).expect(url);
            assert_eq!(sites.look(&target), Known { account, class, permitted, refused }, "{url}");
        }
        let known = Sites::default().look(&Target::parse("https://x.bilimclass.kz/a.js").expect("valid"));
        assert_eq!(known, Known { account: true, ..Known::default() });
    }

    #[test]
    fn a_path_that_may_mean_another_is_in_no_class() {
        let pack = format!("{PACK}\n[[class]]\nhost = \"static.kundelik.kz\"\npath = \"/v1/**\"\naccounts = true\n");
        let sites = Sites::new(&[Arc::new(Pack::parse(&pack).expect("a good pack"))]);
        let class = |path: &str| sites.look(&Target::parse(&format!("http://static.kundelik.kz{path}")).expect(path)).class;
        for straight in ["/v1/app.js", "/v1/app.js?v=../2", "/v1/%D0%B0.js", "/v1/a..b.js", "/v1/...x"] {
            assert!(class(straight), "{straight}");
        }
        for other in [
            "/v1/../avatars/x.js",
            "/v1/%2e%2e/avatars/x.js",
            "/v1/..%2Favatars/x.js",
            "/v1/./x.js",
            "/v1/..\\x.js",
            "/v1/%5cx.js",
            "/v1/marks;x.js",
            "/v1/marks%3bx.js",
            "/v1/marks%00.js",
            "/v1/%252e%252e/x.js",
        ] {
            assert!(!class(other), "{other}");
        }
    }

    #[test]
    fn an_operator_adds_refusals_and_never_lifts_one() {
        let sites = Sites::with_refused(&[Arc::new(Pack::parse(PACK).expect("a good pack"))], &["kundelik.kz".into(), "forum.kz".into()]);
        for url in ["https://static.kundelik.kz/v1/app.js", "http://www.forum.kz/", "https://kaspi.kz/"] {
            let known = sites.look(&Target::parse(url).expect(url));
            assert!(known.refused && known.account && !known.class, "{url}");
        }
    }

    const PACK: &str = r#"
        id = "diary"
        version = "1"
        licence = "by agreement"
        [title]
        en = "Diary"
        [[seed]]
        url = "https://static.kundelik.kz/v1/app.js"
        [scope]
        hosts = ["static.kundelik.kz"]
        [[class]]
        host = "static.kundelik.kz"
        path = "/v*/**.js"
        accounts = true
        "#;
}
