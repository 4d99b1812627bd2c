//! A new CA: what it may vouch for, and its certificate (RFC 5280 section 4.2; name constraints in section 4.2.1.10).

use super::Error;
use crate::base::clock::Time;
use crate::site::refuse;
use ed25519_dalek::pkcs8::spki::der::pem;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair,
    KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// Five years: a school's generation of devices.
const LIFETIME: Duration = Duration::from_hours(24 * (5 * 365 + 1));

/// Valid since before it was made: for devices whose clock lags, and for a box whose clock was ahead when it was made.
const SLACK: Duration = Duration::from_hours(24 * 30);

/// Most hosts of one CA: each costs 30 bytes of a certificate that old devices read, and a list beyond this is no longer reviewed.
const HOSTS: usize = 256;

/// Most bytes of names that are excluded by a label alone: with those permitted and listed, old devices still read the whole.
const LABELLED: usize = 16 << 10;

/// Longest name of a school in the certificate (ub-organization-name, RFC 5280 appendix A).
const SCHOOL: usize = 64;

/// What a new CA is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Names the CA on devices and paper.
    pub school: String,
    /// The school's own zone: the names of its listeners and of mirrored hosts.
    pub zone: String,
    /// The hosts that are opened, exact names.
    pub hosts: Vec<String>,
}

impl Wish {
    /// The names, each with all below it, that the CA will be bound to: the zone first, then the hosts.
    ///
    /// # Errors
    /// When a name is none, or a host is never opened.
    pub fn subtrees(&self) -> Result<Vec<String>, Error> {
        let wrong = |value: &str, what, remedy| Err(Error::Wish { value: value.to_owned(), what, remedy });
        let school = self.school.trim();
        if school.is_empty() || school.chars().count() > SCHOOL || school.chars().any(char::is_control) {
            return wrong(&self.school, "name of a school", "write 1 to 64 characters on one line");
        }
        if !is_host(&self.zone) {
            return wrong(&self.zone, "DNS zone", "set node.zone to a name with a dot such as \"abay-12.internal\"");
        }
        if refuse::is_no_zone(&self.zone) {
            return wrong(&self.zone, "zone of a school's own", "leave node.zone empty, or set it to one that the school owns");
        }
        if self.hosts.len() > HOSTS {
            return wrong(
                &self.hosts.len().to_string(),
                "number of hosts that one CA can vouch for",
                "list at most 256 in intercept.hosts",
            );
        }
        let mut subtrees = vec![self.zone.clone()];
        for host in &self.hosts {
            if !is_host(host) {
                return wrong(host, "host name", "write an exact name in lower case such as \"kk.wikipedia.org\"");
            }
            if refuse::is_personal(host) {
                return Err(Error::Personal { host: host.clone() });
            }
            if refuse::is_shared(host) {
                return wrong(host, "host of one owner", "write the exact name that is asked for, such as \"phet.colorado.edu\"");
            }
            if !subtrees.contains(host) && !is_below(host, &self.zone) {
                subtrees.push(host.clone());
            }
        }
        Ok(subtrees)
    }
}

/// Key and certificate in one PEM text: one file, so that one rename changes both.
pub(super) fn make(wish: &Wish, now: Time) -> Result<String, Error> {
    let subtrees = wish.subtrees()?;
    let failed = |error: rcgen::Error| Error::Make(error.to_string());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(wish.school.trim(), &key);
    valid(&mut params, now.minus(SLACK), now.plus(LIFETIME));
    params.serial_number = Some(serial());
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.name_constraints = Some(NameConstraints {
        excluded_subtrees: [
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([0; 4], 0)),
            GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix([0; 16], 0)),
        ]
        .into_iter()
        .chain(excluded(&subtrees).into_iter().map(GeneralSubtree::DnsName))
        .collect(),
        permitted_subtrees: subtrees.into_iter().map(GeneralSubtree::DnsName).collect(),
    });
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(format!("{}\n{}", key.serialize_pem().trim_end(), pem(certificate.der())))
}

/// The names below listed hosts, each with all below it, for which the CA can never vouch, whoever holds its key. A permitted name
/// stands for all below it, and a constraint knows no wildcard: so these are the refused names that are known, and the commonest
/// labels of a sign-in, those of the shortest hosts first while there is room. The zone, the first, is the school's own.
fn excluded(subtrees: &[String]) -> Vec<String> {
    let hosts = subtrees.get(1..).unwrap_or_default();
    let mut names: BTreeSet<String> = hosts.iter().flat_map(|host| refuse::below(host)).map(str::to_owned).collect();
    let labels = |host: &str| refuse::labels_below(host).map(|label| format!("{label}.{host}")).collect::<Vec<_>>();
    let mut labelled: Vec<(usize, usize, String)> = hosts
        .iter()
        .flat_map(|host| labels(host).into_iter().enumerate().map(|(rank, name)| (rank, host.split('.').count(), name)))
        .filter(|(_, _, name)| is_host(name))
        .collect();
    labelled.sort();
    let mut room = LABELLED;
    for (_, _, name) in labelled {
        // Each has four bytes of its own around it.
        let Some(rest) = room.checked_sub(name.len() + 4) else { break };
        room = rest;
        names.insert(name);
    }
    // What was listed by its own name stays open; what lies below another that is excluded is so already.
    names.retain(|name| !subtrees.iter().any(|listed| is_below(listed, name)));
    let all = names.clone();
    names.retain(|name| !refuse::parents(name).skip(1).any(|parent| all.contains(parent)));
    names.into_iter().collect()
}

/// The school, and in the common name a few digits of the key: two CAs of one school are told apart in a device's list.
fn subject(school: &str, key: &KeyPair) -> DistinguishedName {
    let digits = blake3::hash(&key.subject_public_key_info()).to_hex();
    // 40 + 17 characters: a common name has at most 64 (ub-common-name).
    let short: String = school.chars().take(40).collect();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, school);
    name.push(DnType::CommonName, format!("{short} (Bulak {})", digits[..8].to_uppercase()));
    name
}

/// Random, positive and not zero, as RFC 5280 section 4.1.2.2 wants it; the same one twice is refused by some devices.
pub(in crate::tls) fn serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    bytes[0] = bytes[0] & 0x3f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// From when until when a certificate counts, in whole seconds between 1970 and 9999.
pub(in crate::tls) fn valid(params: &mut CertificateParams, from: Time, until: Time) {
    let since = |time: Time| Duration::from_secs(u64::try_from(time.secs()).unwrap_or(0).min(253_402_300_799));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since(from);
    params.not_after = epoch + since(until);
}

/// DER as PEM.
pub(in crate::tls) fn pem(der: &[u8]) -> String {
    pem::encode_string("CERTIFICATE", pem::LineEnding::LF, der).expect("a certificate is far shorter than what memory can hold")
}

/// Whether one of these names is the host or above it.
pub(super) fn covers(subtrees: &[String], host: &str) -> bool {
    is_host(host) && subtrees.iter().any(|name| is_below(host, name))
}

/// Whether `host` is `name` or ends in it, label by label.
pub(super) fn is_below(host: &str, name: &str) -> bool {
    host.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// A name with a dot as DNS takes it (RFC 1123 section 2.1), in lower case; no address.
fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.contains('.') && name.split('.').all(label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(hosts: &[&str]) -> Wish {
        Wish {
            school: "№12 Абай мектебі".to_owned(),
            zone: "abay-12.internal".to_owned(),
            hosts: hosts.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_wish_becomes_subtrees_or_a_reason() {
        let good = wish(&["kk.wikipedia.org", "kk.wikipedia.org", "x.abay-12.internal"]).subtrees().unwrap();
        assert_eq!(good, ["abay-12.internal", "kk.wikipedia.org"]);
        for host in ["login.example.kz", "egov.kz", "kaspi.kz", "web.whatsapp.com"] {
            assert!(matches!(wish(&["a.kz", host]).subtrees(), Err(Error::Personal { host: told }) if told == host), "{host}");
        }
        for host in ["", "kz", "*.a.kz", "10.0.0.1", "a..kz", "-a.kz", "A.kz", "a.kz:443", "a_b.kz", "::1"] {
            assert!(matches!(wish(&[host]).subtrees(), Err(Error::Wish { .. })), "{host}");
        }
        for school in ["", "  ", "a\nb", &"ш".repeat(65)] {
            assert!(matches!(Wish { school: school.to_owned(), ..wish(&[]) }.subtrees(), Err(Error::Wish { .. })), "{school}");
        }
        for zone in ["kz", "edu.kz", "mail.ru", "egov.kz", "kundelik.kz", "google.com", "login.abay.kz"] {
            assert!(matches!(Wish { zone: zone.to_owned(), ..wish(&[]) }.subtrees(), Err(Error::Wish { .. })), "{zone}");
        }
        for host in ["com.kz", "github.io"] {
            assert!(matches!(wish(&[host]).subtrees(), Err(Error::Wish { .. })), "{host}");
        }
        let many: Vec<String> = (0..=HOSTS).map(|number| format!("h{number}.kz")).collect();
        assert!(matches!(Wish { hosts: many, ..wish(&[]) }.subtrees(), Err(Error::Wish { .. })));
    }

    #[test]
    fn refused_names_below_listed_hosts_are_excluded() {
        let names = |hosts: &[&str]| excluded(&wish(hosts).subtrees().unwrap());
        assert!(names(&[]).is_empty(), "the school may have an id of its own");
        let found = names(&["google.com", "kundelik.kz", "classroom.google.com"]);
        for name in ["accounts.google.com", "mail.google.com", "login.kundelik.kz", "api.kundelik.kz", "messages.kundelik.kz"] {
            assert!(found.iter().any(|found| found == name), "{name}: {found:?}");
        }
        for name in ["classroom.google.com", "www.google.com", "static.kundelik.kz", "id.abay-12.internal"] {
            assert!(!found.iter().any(|found| is_below(name, found)), "{name}");
        }
        let nested = names(&["microsoft.com"]);
        assert!(nested.iter().any(|name| name == "dsp.mp.microsoft.com"));
        assert!(!nested.iter().any(|name| name == "prod.do.dsp.mp.microsoft.com"), "excluded with the one above it");
    }

    #[test]
    fn the_largest_authority_can_be_read_back() {
        let hosts: Vec<String> = (0..HOSTS).map(|number| format!("lessons-{number}.some-school-site.edu.kz")).collect();
        let mut hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        hosts.truncate(HOSTS - 1);
        hosts.push("example.kz");
        let text = make(&wish(&hosts), Time::BUILT).unwrap();
        assert!(text.len() < 56 << 10, "{} bytes: the reader takes 64 KiB", text.len());
        let found = excluded(&wish(&hosts).subtrees().unwrap());
        assert!(found.len() < 600 && found.iter().any(|name| name == "accounts.example.kz"));
    }

    #[test]
    fn names_are_covered_label_by_label() {
        let subtrees = ["abay.internal".to_owned(), "kk.wikipedia.org".to_owned()];
        let table = [
            ("abay.internal", true),
            ("proxy.abay.internal", true),
            ("a.b.m.abay.internal", true),
            ("kk.wikipedia.org", true),
            ("m.kk.wikipedia.org", true),
            ("wikipedia.org", false),
            ("ru.wikipedia.org", false),
            ("notabay.internal", false),
            ("abay.internal.evil.kz", false),
            (".abay.internal", false),
            ("10.0.0.1", false),
            ("", false),
        ];
        for (host, covered) in table {
            assert_eq!(covers(&subtrees, host), covered, "{host}");
        }
    }

    #[test]
    fn serials_are_positive_and_never_the_same() {
        let (one, other) = (serial(), serial());
        assert_ne!(one.to_bytes(), other.to_bytes());
        assert!(one.to_bytes()[0] & 0x80 == 0 && one.to_bytes()[0] != 0 && one.to_bytes().len() == 16);
    }
}
