//! Which of several forms of the same film is fetched: one picture, the default sound, the subtitles that the school reads.
//!
//! A film comes in up to ten forms; a class on a thin line needs one of them, and the pack's place on disk is small.

use crate::base::target::Target;

/// What a school takes of films and sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Most bits per second of the form that is taken.
    pub bitrate: u64,
    /// Most lines of its picture.
    pub height: u64,
    /// Languages whose subtitles are taken, as primary subtags (`kk`).
    pub languages: Vec<String>,
    /// Whether what a feed encloses (sound, films, files) is fetched.
    pub enclosures: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            // 480 lines of a filmed blackboard need about 1 Mbit/s in H.264; half an hour is 270 MB.
            bitrate: 1_200_000,
            height: 480,
            languages: ["kk", "ru", "en"].map(String::from).into(),
            enclosures: true,
        }
    }
}

impl Policy {
    /// Whether subtitles in this language (RFC 5646) are wanted.
    pub fn reads(&self, language: &str) -> bool {
        let primary = primary(language);
        self.languages
            .iter()
            .any(|wanted| wanted.eq_ignore_ascii_case(primary) || iso639(wanted) == Some(primary.to_ascii_lowercase().as_str()))
    }
}

/// Longest address that is taken out of a list, bytes. Real ones, tokens and all, have at most 2,000, and a list may name 50,000.
pub(super) const MAX_ADDRESS: usize = 4096;
/// Most forms of one film: real ones have at most thirty.
pub(super) const MAX_FORMS: usize = 500;

/// What a title needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Title {
    /// These playlists, then what they name.
    Playlists(Vec<Target>),
    /// These pieces, in the order in which they are played.
    Pieces(Vec<Target>),
    /// Nothing of it is fetched, and why, for people.
    Refused(&'static str),
}

/// One form of a picture, as far as the choice goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    /// Bits per second.
    pub(super) bandwidth: u64,
    /// Lines; 0: not told.
    pub(super) height: u64,
    /// Codecs as they are written (RFC 6381); empty: not told.
    pub(super) codecs: String,
    /// Brighter than most screens.
    pub(super) hdr: bool,
}

impl Form {
    /// Sound alone, as radio forms of a film are.
    pub(super) fn is_sound(&self) -> bool {
        let sound = |codec: &str| ["mp4a", "ac-3", "ec-3", "opus", "flac", "mp3", "vorbis"].iter().any(|name| codec.starts_with(name));
        self.height == 0 && !self.codecs.is_empty() && self.codecs.split(',').all(|codec| sound(codec.trim().to_ascii_lowercase().as_str()))
    }

    /// What old tablets play: H.264, plain brightness.
    fn is_common(&self) -> bool {
        let rare = ["hvc1", "hev1", "av01", "dvh1", "dvhe", "vvc1", "vp09", "vp9", "ac-3", "ec-3"];
        !self.hdr && !self.codecs.split(',').any(|codec| rare.iter().any(|name| codec.trim().to_ascii_lowercase().starts_with(name)))
    }

    fn fits(&self, policy: &Policy) -> bool {
        self.bandwidth <= policy.bitrate && self.height <= policy.height
    }
}

/// The form to take: the best that fits, of codecs that everything plays where there are some; when none fits, the smallest, for a
/// person asked for this very film. The first of equal ones: later ones are spare hosts.
pub(super) fn choose(forms: &[Form], policy: &Policy) -> Option<usize> {
    let pictures = forms.iter().any(|form| !form.is_sound());
    let mut chosen: Option<usize> = None;
    for (at, form) in forms.iter().enumerate().filter(|(_, form)| !pictures || !form.is_sound()) {
        let rank =
            |form: &Form| (form.fits(policy), form.is_common(), if form.fits(policy) { form.bandwidth } else { u64::MAX - form.bandwidth });
        if chosen.is_none_or(|best| rank(form) > rank(&forms[best])) {
            chosen = Some(at);
        }
    }
    chosen
}

/// `kk-Cyrl` is `kk`.
fn primary(language: &str) -> &str {
    language.split('-').next().unwrap_or_default().trim()
}

/// Packagers write three letters, too (ISO 639-2).
fn iso639(two: &str) -> Option<&'static str> {
    let table = [("kk", "kaz"), ("ru", "rus"), ("en", "eng"), ("uz", "uzb"), ("ug", "uig"), ("tr", "tur"), ("de", "deu"), ("fr", "fra")];
    table.iter().find(|(short, _)| two.eq_ignore_ascii_case(short)).map(|(_, long)| *long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_that_fits_else_the_smallest() {
        let form = |bandwidth, height, codecs: &str| Form { bandwidth, height, codecs: codecs.into(), hdr: false };
        let policy = Policy::default();
        let table: [(&[Form], Option<usize>); 7] = [
            (&[], None),
            (&[form(400_000, 240, ""), form(1_100_000, 480, ""), form(3_000_000, 720, "")], Some(1)),
            // Few bits, but too many lines.
            (&[form(400_000, 240, ""), form(1_100_000, 720, "")], Some(0)),
            (&[form(3_000_000, 720, ""), form(2_000_000, 720, "")], Some(1)),
            // A radio form fits, but it is no film.
            (&[form(64_000, 0, "mp4a.40.2"), form(2_000_000, 720, "avc1.4d401f,mp4a.40.2")], Some(1)),
            (&[form(64_000, 0, "mp4a.40.2"), form(128_000, 0, "mp4a.40.2")], Some(1)),
            (&[form(1_000_000, 480, "hvc1.1.6.L90"), form(900_000, 480, "avc1.4d401f"), form(900_000, 480, "avc1.4d401f")], Some(1)),
        ];
        for (forms, wanted) in table {
            assert_eq!(choose(forms, &policy), wanted, "{forms:?}");
        }
    }

    #[test]
    fn languages_by_their_first_subtag() {
        let policy = Policy::default();
        for (language, wanted) in [("kk", true), ("kk-Cyrl-KZ", true), ("KAZ", true), ("rus", true), ("fr", false), ("", false)] {
            assert_eq!(policy.reads(language), wanted, "{language}");
        }
    }
}
