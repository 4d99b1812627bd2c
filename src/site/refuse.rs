//! The compiled-in lists that no pack and no configuration lifts: hosts with accounts, where only a path class makes a URL
//! storable, and personal hosts, which are tunnelled and never fetched (product rule: privacy 2 and 3).
//!
//! Host layouts come from public client code and press; a name that is listed without need costs a cache hit, a name that is
//! missing costs somebody's privacy, so in doubt a name is listed.

/// Whether this host keeps accounts of pupils and teachers: e-diaries and lesson platforms with a login, subdomains included.
pub fn is_account(host: &str) -> bool {
    parents(host).any(|name| ACCOUNT.contains(&name))
}

/// Whether this host is personal: government, bank, mail, messenger, identity, health, password and update hosts, and every
/// sign-in host by its first label. Such a host is tunnelled, whatever a pack says.
pub fn is_personal(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    let first = host.split('.').next().unwrap_or_default();
    let many = host.contains('.');
    (many && SIGN_IN.contains(&first))
        || (ACCOUNT_PERSONAL.contains(&first) && is_account(host))
        || parents(host).any(|name| PERSONAL.contains(&name))
}

/// The compiled-in account hosts, for the rule table.
pub fn accounts() -> impl Iterator<Item = &'static str> {
    ACCOUNT.iter().copied()
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

/// E-diaries and platforms with pupils' accounts, with all their subdomains.
const ACCOUNT: &[&str] = &[
    "kundelik.kz",
    "dnevnik.ru",
    "bilimclass.kz",
    "onlinemektep.org",
    "onlinemektep.net",
    "onlinemektep.kz",
    "bilimland.kz",
    "imektep.kz",
    "itest.kz",
    "twig-bilim.kz",
    "daryn.online",
    "opiq.kz",
    "topiq.kz",
    "edus.kz",
    "mektep.edu.kz",
    "sdo.kz",
    "classroom.google.com",
    "teams.microsoft.com",
];

/// First labels that are personal on account hosts: interfaces that answer by token.
const ACCOUNT_PERSONAL: &[&str] = &["api", "member", "my", "lk", "cabinet", "chat", "messages", "files", "avatars"];

/// First labels that mean a sign-in anywhere.
const SIGN_IN: &[&str] =
    &["login", "signin", "accounts", "account", "auth", "oauth", "oauth2", "sso", "passport", "id", "idp", "mail", "webmail"];

/// Personal hosts with all their subdomains.
const PERSONAL: &[&str] = &[
    // state and e-signature
    "gov.kz",
    "egov.kz",
    "pki.gov.kz",
    "ncalayer.kz",
    "iac.kz",
    "enpf.kz",
    "kgd.gov.kz",
    "sud.kz",
    "goszakup.gov.kz",
    "gosuslugi.ru",
    // banks and payment
    "kaspi.kz",
    "halykbank.kz",
    "homebank.kz",
    "jusan.kz",
    "jusanbank.kz",
    "forte.kz",
    "fortebank.com",
    "bcc.kz",
    "eubank.kz",
    "bankrbk.kz",
    "berekebank.kz",
    "sberbank.kz",
    "altynbank.kz",
    "freedombank.kz",
    "otbasybank.kz",
    "hcsbk.kz",
    "nurbank.kz",
    "epay.kz",
    "qiwi.com",
    "paypal.com",
    "stripe.com",
    "visa.com",
    "mastercard.com",
    // mail
    "mail.ru",
    "mail.kz",
    "gmail.com",
    "mail.google.com",
    "outlook.com",
    "outlook.live.com",
    "outlook.office.com",
    "outlook.office365.com",
    "mail.yahoo.com",
    "mail.yandex.ru",
    "mail.yandex.kz",
    "proton.me",
    "protonmail.com",
    "icloud.com",
    // messengers and private networks
    "telegram.org",
    "t.me",
    "web.telegram.org",
    "whatsapp.com",
    "whatsapp.net",
    "wa.me",
    "signal.org",
    "viber.com",
    "discord.com",
    "messenger.com",
    "facebook.com",
    "instagram.com",
    "vk.com",
    "vk.ru",
    "ok.ru",
    "tiktok.com",
    "skype.com",
    "zoom.us",
    // identity
    "accounts.google.com",
    "login.microsoftonline.com",
    "login.live.com",
    "live.com",
    "appleid.apple.com",
    "idmsa.apple.com",
    "passport.yandex.ru",
    "passport.yandex.kz",
    "oauth.telegram.org",
    "okta.com",
    "auth0.com",
    // health
    "damumed.kz",
    "dmed.kz",
    "medelement.com",
    "fms.kz",
    "eisz.kz",
    "med.kz",
    // password managers, VPN, encrypted names
    "bitwarden.com",
    "1password.com",
    "lastpass.com",
    "dashlane.com",
    "keepersecurity.com",
    "dns.google",
    "cloudflare-dns.com",
    "one.one.one.one",
    "quad9.net",
    "nextdns.io",
    "mullvad.net",
    "nordvpn.com",
    // operating-system and application updates and shops, which pin their own anchors
    "windowsupdate.com",
    "update.microsoft.com",
    "delivery.mp.microsoft.com",
    "apple.com",
    "mzstatic.com",
    "itunes.com",
    "android.clients.google.com",
    "play.googleapis.com",
    "update.googleapis.com",
    "clients2.google.com",
    "push.apple.com",
    // licence servers of protected media
    "license.widevine.com",
    "widevine.com",
    "playready.microsoft.com",
];

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
}
