//! The configuration profile for iPhone, iPad and Mac: the school's CA as a root (Apple, "Configuration Profile Reference",
//! payload `com.apple.security.root`). A proxy for a single Wi-Fi network needs that network's name, which we do not know, and a
//! global one needs supervision; so the profile says in words where the address goes. Pure.

use crate::base::language::Language;
use crate::portal::words;
use crate::tls::authority::Authority;
use uuid::Uuid;

/// The media type by which Safari offers to install it.
pub const CONTENT_TYPE: &str = "application/x-apple-aspen-config";

/// The profile. Its ids come from the CA: installed again it takes its own place, and another CA gets another profile.
pub fn text(authority: &Authority, school: &str, pac: Option<&str>, language: Language) -> String {
    let words = words::of(language);
    let bytes = authority.fingerprint().bytes();
    let id = |half: usize| {
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[half * 16..half * 16 + 16]);
        // Version 8: a name of our own making (RFC 9562 section 5.8).
        uuid::Builder::from_custom_bytes(id).into_uuid()
    };
    let (payload, profile): (Uuid, Uuid) = (id(0), id(1));
    let pem = authority.certificate_pem();
    let data: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let data = data.join("\n");
    let (school, title) = (escape(school), escape(words.ca));
    let note = escape(&format!("{} {}", words.profile_note, pac.unwrap_or(words.unknown)));
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
<key>PayloadType</key><string>Configuration</string>
<key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>internal.bulak.{profile}</string>
<key>PayloadUUID</key><string>{profile}</string>
<key>PayloadDisplayName</key><string>{title}: {school}</string>
<key>PayloadOrganization</key><string>{school}</string>
<key>PayloadDescription</key><string>{note}</string>
<key>PayloadRemovalDisallowed</key><false/>
<key>PayloadContent</key>
<array>
<dict>
<key>PayloadType</key><string>com.apple.security.root</string>
<key>PayloadVersion</key><integer>1</integer>
<key>PayloadIdentifier</key><string>internal.bulak.{profile}.ca</string>
<key>PayloadUUID</key><string>{payload}</string>
<key>PayloadDisplayName</key><string>{title}: {school}</string>
<key>PayloadCertificateFileName</key><string>bulak-ca.crt</string>
<key>PayloadContent</key>
<data>
{data}
</data>
</dict>
</array>
</dict>
</plist>
"#
    )
}

/// Text within XML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_does_not_break_the_profile() {
        assert_eq!(super::escape("Ы < & > 12"), "Ы &lt; &amp; &gt; 12");
    }
}
