//! Which system a device runs, from its `User-Agent` or from the page it chose. Pure. What cannot be told is not guessed: then
//! the page lists all of them.

/// A system with steps of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Windows 10, 11.
    Windows,
    /// Chromebooks.
    ChromeOs,
    /// Android phones and tablets.
    Android,
    /// iPhone and iPad.
    Ios,
    /// Mac. An iPad calls itself one when it asks for desktop pages.
    MacOs,
    /// Linux on a desktop.
    Linux,
}

impl System {
    /// All, in the order of the menu: what stands in classrooms first.
    pub const ALL: [System; 6] = [System::Windows, System::ChromeOs, System::Android, System::Ios, System::MacOs, System::Linux];

    /// The last part of its page's address.
    pub const fn slug(self) -> &'static str {
        match self {
            System::Windows => "windows",
            System::ChromeOs => "chromeos",
            System::Android => "android",
            System::Ios => "ios",
            System::MacOs => "macos",
            System::Linux => "linux",
        }
    }

    /// Its name, the same in every language.
    pub const fn name(self) -> &'static str {
        match self {
            System::Windows => "Windows",
            System::ChromeOs => "ChromeOS",
            System::Android => "Android",
            System::Ios => "iPhone, iPad",
            System::MacOs => "macOS",
            System::Linux => "Linux",
        }
    }

    /// From the last part of a page's address.
    pub fn from_slug(slug: &str) -> Option<System> {
        System::ALL.into_iter().find(|system| system.slug() == slug)
    }

    /// From a `User-Agent` field. Televisions and phones of other makes say Android or Linux, too; they get no steps that do not fit.
    pub fn detect(agent: &str) -> Option<System> {
        let says = |word: &str| agent.contains(word);
        if ["Windows Phone", "SMART-TV", "SmartTV", "Tizen", "Web0S", "webOS", "KAIOS", "HarmonyOS"].into_iter().any(says) {
            return None;
        }
        // The order matters: Android and ChromeOS browsers name Linux or X11 as well, and iPhones "like Mac OS X".
        let table = [
            ("CrOS", System::ChromeOs),
            ("Android", System::Android),
            ("iPhone", System::Ios),
            ("iPad", System::Ios),
            ("iPod", System::Ios),
            ("Windows", System::Windows),
            ("Macintosh", System::MacOs),
            ("Linux", System::Linux),
            ("X11", System::Linux),
        ];
        table.into_iter().find(|(word, _)| says(word)).map(|(_, system)| system)
    }

    /// Whether names below `.local` can be counted on in its settings (RFC 6762): Android learned them with 12, and schools have
    /// older ones; ChromeOS and a plain Linux need an addition.
    pub const fn knows_local_names(self) -> bool {
        matches!(self, System::Windows | System::Ios | System::MacOs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_are_told_by_what_their_browsers_say() {
        let table = [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
                Some(System::Windows),
            ),
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0", Some(System::Windows)),
            (
                "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
                Some(System::ChromeOs),
            ),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36",
                Some(System::Android),
            ),
            ("Mozilla/5.0 (Android 15; Mobile; rv:145.0) Gecko/145.0 Firefox/145.0", Some(System::Android)),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
                Some(System::Ios),
            ),
            (
                "Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1 Mobile/15E148 Safari/604.1",
                Some(System::Ios),
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
                Some(System::MacOs),
            ),
            ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36", Some(System::Linux)),
            ("Mozilla/5.0 (SMART-TV; Linux; Tizen 7.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/94.0 TV Safari/537.36", None),
            ("Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1) AppleWebKit/537.36", None),
            ("curl/8.14.1", None),
            ("", None),
        ];
        for (agent, wanted) in table {
            assert_eq!(System::detect(agent), wanted, "{agent}");
        }
    }

    #[test]
    fn every_page_has_an_address_of_its_own() {
        for system in System::ALL {
            assert_eq!(System::from_slug(system.slug()), Some(system));
        }
        assert_eq!(System::from_slug("dos"), None);
    }
}
