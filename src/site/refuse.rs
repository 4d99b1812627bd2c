//! The compiled-in lists that no pack and no configuration lifts: hosts with accounts, where only a path class makes a URL
//! storable, and personal hosts, which are tunnelled and never opened, mirrored or fetched (product rule: privacy 2 and 3).
//!
//! Host layouts come from public client code and press; a name that is listed without need costs a cache hit, a name that is
//! missing costs somebody's privacy, so in doubt a name is listed. An operator may add names (`intercept.refused`), never take
//! one away.

/// The names.
mod list;

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Why a host is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    /// Sign-in and personal hosts of e-diaries.
    Diary,
    /// Government, courts, e-signature, staff reporting.
    State,
    /// Banks, payment, purses.
    Bank,
    /// Mail.
    Mail,
    /// Messengers and private networks.
    Messenger,
    /// Health, and lines for children in trouble.
    Health,
    /// Identity providers, and every host that signs people in.
    Identity,
    /// Password managers.
    Passwords,
    /// Updates and shops of systems, browsers and guards, most of which pin their own anchors.
    Updates,
    /// Licences of protected media.
    Licences,
    /// VPN, encrypted names, remote control.
    Tunnels,
}

impl Category {
    /// All of them.
    pub const ALL: [Category; 11] = [
        Category::Diary,
        Category::State,
        Category::Bank,
        Category::Mail,
        Category::Messenger,
        Category::Health,
        Category::Identity,
        Category::Passwords,
        Category::Updates,
        Category::Licences,
        Category::Tunnels,
    ];

    /// Whether what such hosts say over plain HTTP may be stored by the ordinary rules. Updates are the same signed bytes for
    /// everybody, and the largest part of what a school fetches over plain HTTP.
    pub const fn stores_plain(self) -> bool {
        matches!(self, Category::Updates)
    }
}

/// What the lists say, ready to be asked.
struct Known {
    personal: HashMap<&'static str, Category>,
    accounts: HashSet<&'static str>,
    sign_in: HashSet<&'static str>,
    account_personal: HashSet<&'static str>,
    second: HashSet<&'static str>,
    shared: HashSet<&'static str>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| Known {
    personal: list::PERSONAL.iter().flat_map(|(kind, names)| names.split_whitespace().map(|name| (name, *kind))).collect(),
    accounts: list::ACCOUNT.split_whitespace().collect(),
    sign_in: list::SIGN_IN.split_whitespace().collect(),
    account_personal: list::ACCOUNT_PERSONAL.split_whitespace().collect(),
    second: list::SECOND.split_whitespace().collect(),
    shared: list::SHARED.split_whitespace().collect(),
});

/// Whether this host keeps accounts of pupils and teachers: e-diaries and lesson platforms with a login, subdomains included.
pub fn is_account(host: &str) -> bool {
    parents(host).any(|name| KNOWN.accounts.contains(name))
}

/// Whether this host is personal, whatever a pack or a configuration says.
pub fn is_personal(host: &str) -> bool {
    category(host).is_some()
}

/// Whether a name of the lists, personal or with accounts, is this host or above it; labels that mean a sign-in are not asked.
pub fn is_listed(host: &str) -> bool {
    is_account(host) || parents(host).any(|name| KNOWN.personal.contains_key(name))
}

/// Whether strangers have names of their own below this one: a country, `edu.kz`, `github.io`. Expects lower case.
pub fn is_shared(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    match name.split_once('.') {
        None => true,
        // Two labels, the last one of a country.
        Some((second, country)) => (country.len() == 2 && KNOWN.second.contains(second)) || KNOWN.shared.contains(name),
    }
}

/// Whether this can be no school's own zone, whoever wrote it: strangers' names lie below it, or those of the lists do, or it is
/// one of them. Below `.internal`, which nobody can buy, the school may call itself as it likes.
pub fn is_no_zone(zone: &str) -> bool {
    let ours = zone.ends_with(".internal");
    is_shared(zone) || is_listed(zone) || below(zone).next().is_some() || (is_personal(zone) && !ours)
}

/// The names of the lists that lie below this one.
pub fn below(name: &str) -> impl Iterator<Item = &'static str> {
    let listed = KNOWN.personal.keys().chain(&KNOWN.accounts).copied();
    listed.filter(move |listed| listed.strip_suffix(name).is_some_and(|before| before.ends_with('.')))
}

/// First labels that are refused below a listed host, for the constraints of a CA: those of account hosts, where it is one, and
/// the commonest that mean a sign-in.
pub fn labels_below(host: &str) -> impl Iterator<Item = &'static str> {
    let account = if is_account(host) { list::ACCOUNT_PERSONAL } else { "" };
    list::SIGN_IN_KNOWN.split_whitespace().chain(account.split_whitespace())
}

/// The kind of a personal host, by its own name or the nearest above it; sign-in hosts anywhere by a label above their
/// domain. Expects lower case.
pub fn category(host: &str) -> Option<Category> {
    let host = host.trim_end_matches('.');
    if let Some(kind) = parents(host).find_map(|name| KNOWN.personal.get(name)) {
        return Some(*kind);
    }
    // The first label, and every other above the domain that somebody has bought.
    let many = host.split('.').count();
    let mut above = host.split('.').enumerate().filter(|(at, _)| many > 1 && (*at == 0 || at + 2 < many)).map(|(_, label)| label);
    if is_account(host) && above.clone().any(|label| KNOWN.account_personal.contains(label)) {
        return Some(Category::Diary);
    }
    above.any(|label| KNOWN.sign_in.contains(label)).then_some(Category::Identity)
}

/// The compiled-in account hosts, for the rule table.
pub fn accounts() -> impl Iterator<Item = &'static str> {
    KNOWN.accounts.iter().copied()
}

/// The host and each of its parent domains: `a.b.c`, `b.c`, `c`.
pub fn parents(host: &str) -> impl Iterator<Item = &str> {
    // `a.kz.` and `a.kz..` are no other host: a resolver may take both.
    let mut rest = Some(host.trim_end_matches('.'));
    std::iter::from_fn(move || {
        let name = rest?;
        rest = name.split_once('.').map(|(_, parent)| parent);
        Some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_their_kind() {
        // host, account, personal
        let table = [
            ("kundelik.kz", true, false),
            ("static.kundelik.kz", true, false),
            ("login.kundelik.kz", true, true),
            ("schools.kundelik.kz", true, true),
            ("avatars.dnevnik.ru", true, true),
            ("api.bilimclass.kz", true, true),
            ("onlinemektep.net", true, false),
            ("notkundelik.kz", false, false),
            ("kundelik.kz.example.com", false, false),
            ("egov.kz", false, true),
            ("edu.gov.kz", false, true),
            ("web.whatsapp.com", false, true),
            ("accounts.example.com", false, true),
            ("mail.school.kz", false, true),
            ("kk.wikipedia.org", false, false),
            ("api.phet.colorado.edu", false, false),
            ("id", false, false),
            ("", false, false),
        ];
        for (host, account, personal) in table {
            assert_eq!((is_account(host), is_personal(host)), (account, personal), "{host}");
        }
        for dots in ["a.b.c", "a.b.c.", "a.b.c.."] {
            assert_eq!(parents(dots).collect::<Vec<_>>(), ["a.b.c", "b.c", "c"]);
        }
        assert!(is_personal("kaspi.kz..") && is_account("kundelik.kz..") && !is_personal("login."));
    }

    #[test]
    fn a_zone_is_the_schools_own_or_none() {
        for zone in [
            "kz",
            "com.kz",
            "org.kz",
            "edu.kz",
            "gov.kz",
            "mil.kz",
            "net.kz",
            "co.uk",
            "com",
            "github.io",
            "pages.dev",
            "msk.ru",
            "mail.ru",
            "my.mail.ru",
            "egov.kz",
            "kundelik.kz",
            "school.kundelik.kz",
            "onlinemektep.org",
            "google.com",
            "yandex.ru",
            "microsoft.com",
            "login.school.kz",
            "kz.",
            "edu.kz.",
        ] {
            assert!(is_no_zone(zone), "{zone}");
        }
        for zone in ["abay-12.internal", "id.internal", "abay.edu.kz", "school.abay.edu.kz", "abay.kz", "abay.com.kz", "abay.github.io"] {
            assert!(!is_no_zone(zone), "{zone}");
        }
        assert!(is_listed("e.mail.ru") && is_listed("classroom.google.com") && !is_listed("login.abay.kz") && !is_listed("google.com"));
    }

    #[test]
    fn names_below_a_host_are_all_refused_ones() {
        let google: Vec<_> = below("google.com").collect();
        for name in ["accounts.google.com", "mail.google.com", "classroom.google.com"] {
            assert!(google.contains(&name), "{name}");
        }
        assert!(below("accounts.google.com").next().is_none() && below("oogle.com").next().is_none());
        for host in ["example.kz", "kundelik.kz"] {
            for label in labels_below(host) {
                assert!(is_personal(&format!("{label}.{host}")), "{label}.{host}");
            }
        }
        assert!(labels_below("kundelik.kz").any(|label| label == "messages"));
    }

    #[test]
    fn every_kind_is_there() {
        let table: [(Category, &[&str]); 11] = [
            (Category::Diary, &["login.kundelik.kz", "schools.kundelik.kz", "member.daryn.online", "files.bilimclass.kz", "my.opiq.kz"]),
            (Category::State, &["egov.kz", "idp.egov.kz", "ncalayer.kz", "pki.gov.kz", "nobd.iac.kz", "kgd.gov.kz", "enpf.kz", "sud.kz"]),
            (Category::Bank, &["kaspi.kz", "online.kaspi.kz", "homebank.kz", "forte.kz", "bcc.kz", "post.kz", "stripe.com", "qiwi.com"]),
            (Category::Mail, &["e.mail.ru", "gmail.com", "mail.google.com", "outlook.live.com", "proton.me", "mail.yandex.kz"]),
            (Category::Messenger, &["web.telegram.org", "t.me", "web.whatsapp.com", "vk.com", "instagram.com", "discord.com", "zoom.us"]),
            (Category::Health, &["damumed.kz", "app.damumed.kz", "idoctor.kz", "telefon150.kz"]),
            (Category::Identity, &["accounts.google.com", "login.microsoftonline.com", "aadcdn.msauth.net", "okta.com", "sso.nowhere.kz"]),
            (Category::Passwords, &["vault.bitwarden.com", "my.1password.com", "lastpass.com", "passwords.google.com"]),
            (
                Category::Updates,
                &["download.windowsupdate.com", "swcdn.apple.com", "play.googleapis.com", "dl.gvt1.com", "aus5.mozilla.org"],
            ),
            (Category::Licences, &["license.widevine.com", "playready.microsoft.com", "lic.drmtoday.com"]),
            (Category::Tunnels, &["dns.google", "chrome.cloudflare-dns.com", "dns.quad9.net", "mullvad.net", "torproject.org"]),
        ];
        assert_eq!(table.map(|(kind, _)| kind), Category::ALL);
        for (kind, hosts) in table {
            for host in hosts {
                assert_eq!(category(host), Some(kind), "{host}");
                assert!(is_personal(&format!("deep.below.{host}")) && is_personal(&format!("{host}.")), "{host}");
            }
        }
    }

    #[test]
    fn names_are_written_as_hosts_come_and_stand_once() {
        let all = || list::PERSONAL.iter().flat_map(|(_, names)| names.split_whitespace());
        for name in all().chain(list::ACCOUNT.split_whitespace()) {
            let sound =
                name.contains('.') && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte));
            assert!(sound && !name.starts_with('.') && !name.ends_with('.'), "{name}");
        }
        assert_eq!(all().count(), KNOWN.personal.len(), "a name stands twice");
        assert_eq!(list::PERSONAL.len(), Category::ALL.len());
        // What the class learns from is not swept up with it.
        for open in [
            "kk.wikipedia.org",
            "upload.wikimedia.org",
            "phet.colorado.edu",
            "cdnjs.cloudflare.com",
            "cdn.jsdelivr.net",
            "fonts.gstatic.com",
            "fonts.googleapis.com",
            "ajax.googleapis.com",
            "free.atamura.kz",
            "deb.debian.org",
            "adilet.zan.kz",
        ] {
            assert!(!is_personal(open) && !is_account(open), "{open}");
        }
    }
}
