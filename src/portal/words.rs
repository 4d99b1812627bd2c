//! The words of the pages in three languages. A struct, so that a missing translation does not compile; tests see that none is
//! empty, left in another language, or shorter by a step.

/// Kazakh.
mod kk;

/// Russian.
mod ru;

/// English.
mod en;

use crate::portal::Language;
use crate::portal::system::System;

/// Declares the words; the listing for tests comes along, so that none can be left out of it.
macro_rules! words {
    (texts: $($text:ident)*; lists: $($list:ident)*) => {
        /// One language's words.
        pub(crate) struct Words {
            $(pub(crate) $text: &'static str,)*
            $(pub(crate) $list: &'static [&'static str],)*
        }

        #[cfg(test)]
        impl Words {
            /// Every text with its key.
            fn all(&self) -> Vec<(String, &'static str)> {
                let mut all = vec![$((stringify!($text).to_owned(), self.$text)),*];
                $(all.extend(self.$list.iter().enumerate().map(|(at, text)| (format!("{} {at}", stringify!($list)), *text)));)*
                all
            }
        }
    };
}

words! {
    texts:
        // every page
        skip languages home unknown menu
        // the home page
        title lead line_up line_slow line_down line_unknown here nothing pages size connect connect_how pac proxy port
        connect_steps connect_safe privacy kept never sealed seen privacy_more
        // the last night, on the home page
        morning_all morning_some
        // connecting
        connect_lead undetected others steps type_this by_name by_camera camera_how qr by_number manual name_taken
        then_check undo undo_how
        // the certificate
        ca ca_who ca_what ca_name fingerprint compare ca_for_devices download_der download_pem download_profile ca_install ca_works ca_remove
        windows_works chromeos_works android_works ios_works macos_works linux_works profile_note
        // the check
        check check_yes check_no check_how check_image check_looks check_rests check_again trust trust_yes trust_known trust_no
        trust_none trust_how trust_image sign_yes sign_no sign_trusted sign_untrusted enrolled enrolled_yes enrolled_no
        // the sheet on the wall
        sheet sheet_title sheet_address sheet_print
        // many devices at once
        fleet fleet_lead fleet_policy fleet_policy_how fleet_powershell fleet_powershell_how fleet_environment fleet_environment_how
        fleet_wpad fleet_wpad_how fleet_wpad_care fleet_download
        // privacy
        kept_title opened_title opened_off opened_on opened_rest who opt_out
        // wishes, and a lesson that is being recorded
        wish_title wish_added wish_known wish_refused wish_full wish_off wish_again wish_who
        record_title record_how record_waits record_start record_on record_none
        // an address that leads nowhere
        lost lost_how
        // what is slow?
        slow slow_how slow_ask slow_begin slow_looking slow_show slow_wifi slow_line slow_used slow_trip slow_silent slow_nameless slow_mbit slow_millis
        slow_comma slow_is_wifi slow_is_line slow_is_used slow_is_site slow_is_nothing slow_is_unknown
        ;
    lists:
        windows_steps chromeos_steps android_steps ios_steps macos_steps linux_steps
        windows_ca chromeos_ca android_ca ios_ca macos_ca linux_ca
        windows_remove chromeos_remove android_remove ios_remove macos_remove linux_remove
        sheet_steps who_list opt_out_list
}

pub(crate) const fn of(language: Language) -> &'static Words {
    match language {
        Language::Kk => &kk::KK,
        Language::Ru => &ru::RU,
        Language::En => &en::EN,
    }
}

/// What one system needs to be told.
#[derive(Clone, Copy)]
pub(crate) struct Steps {
    /// To use the cache.
    pub(crate) connect: &'static [&'static str],
    /// To trust the school's CA.
    pub(crate) install: &'static [&'static str],
    /// What then works.
    pub(crate) works: &'static str,
    /// To trust it no more.
    pub(crate) remove: &'static [&'static str],
}

impl Words {
    /// The words for a system.
    pub(crate) const fn steps(&self, system: System) -> Steps {
        let (connect, install, works, remove) = match system {
            System::Windows => (self.windows_steps, self.windows_ca, self.windows_works, self.windows_remove),
            System::ChromeOs => (self.chromeos_steps, self.chromeos_ca, self.chromeos_works, self.chromeos_remove),
            System::Android => (self.android_steps, self.android_ca, self.android_works, self.android_remove),
            System::Ios => (self.ios_steps, self.ios_ca, self.ios_works, self.ios_remove),
            System::MacOs => (self.macos_steps, self.macos_ca, self.macos_works, self.macos_remove),
            System::Linux => (self.linux_steps, self.linux_ca, self.linux_works, self.linux_remove),
        };
        Steps { connect, install, works, remove }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts that are one and the same in two languages, and rightly so.
    const SAME: [&str; 3] = ["port", "linux_remove 0", "slow_comma"];

    #[test]
    fn no_text_is_missing_or_left_in_another_language() {
        let [kk, ru, en] = Language::ALL.map(|language| of(language).all());
        assert!(kk.len() > 150);
        let keys = |all: &[(String, &str)]| all.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
        assert_eq!(keys(&kk), keys(&ru), "a step more or less");
        assert_eq!(keys(&kk), keys(&en), "a step more or less");
        for ((key, kk), ((_, ru), (_, en))) in kk.iter().zip(ru.iter().zip(&en)) {
            for text in [kk, ru, en] {
                assert!(!text.trim().is_empty() && text.trim() == *text, "{key}: {text:?}");
            }
            if !SAME.contains(&key.as_str()) {
                assert!(kk != ru && ru != en && kk != en, "{key} is the same in two languages: {kk}");
            }
        }
    }

    #[test]
    fn each_language_is_written_in_its_letters() {
        let kazakh = "әғқңөұүһіӘҒҚҢӨҰҮҺІ";
        let cyrillic = |letter: char| ('\u{400}'..='\u{4ff}').contains(&letter);
        // Russian has none of the Kazakh letters; long Kazakh texts have some; English has no Cyrillic at all.
        for (key, text) in of(Language::Ru).all() {
            assert!(key == "title" || !text.chars().any(|letter| kazakh.contains(letter)), "{key}: {text}");
            assert!(text.chars().any(cyrillic) || SAME.contains(&key.as_str()), "{key}: {text}");
        }
        for (key, text) in of(Language::Kk).all() {
            let long = text.chars().filter(|letter| cyrillic(*letter)).count() > 24;
            assert!(!long || text.chars().any(|letter| kazakh.contains(letter)), "{key}: {text}");
        }
        for (key, text) in of(Language::En).all() {
            assert!(!text.chars().any(cyrillic), "{key}: {text}");
        }
    }
}
