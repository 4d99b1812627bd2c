//! Bearer tokens of every API (RFC 6750): their shape, their names, and the field in which they are shown. Pure: random bits come in.
//!
//! A token is a mark, eight digits by which people know it again, `_`, and 256 random bits; what cannot be guessed needs no slow hash.
//! Who may have one, and where its hash is kept, is for those who take it.

use crate::base::clock::Time;
use crate::base::problem::Problem;
use http::{HeaderMap, StatusCode, header};
use std::fmt::Write as _;

/// Letters of a token's name.
const NAME: usize = 64;

/// Digits of the visible part, and of the secret one.
const DIGITS: (usize, usize) = (8, 64);

/// What every token of one kind begins with, so that scanners and people know one when they see it.
#[derive(Clone, Copy, Debug)]
pub struct Mark(pub &'static str);

impl Mark {
    /// A new token of these random bits: its visible part, and the whole.
    pub fn mint(self, number: u32, secret: [u8; 32]) -> (String, String) {
        let id = format!("{}{number:08x}", self.0);
        let token = secret.iter().fold(format!("{id}_"), |mut text, byte| {
            // Writing to memory cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        (id, token)
    }

    /// The part by which a token is known; `None` when the text has not the shape of one.
    pub fn visible(self, token: &str) -> Option<&str> {
        let (id, secret) = token.strip_prefix(self.0)?.split_once('_')?;
        let is_hex = |text: &str, digits| text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (is_hex(id, DIGITS.0) && is_hex(secret, DIGITS.1)).then(|| &token[..self.0.len() + DIGITS.0])
    }

    /// A token's name without the blanks around it.
    ///
    /// # Errors
    /// When it is empty, too long, holds control characters, or looks like a token.
    pub fn named(self, name: &str) -> Result<String, Problem> {
        let name = name.trim();
        let good = !name.is_empty() && name.chars().count() <= NAME && !name.chars().any(char::is_control) && !name.starts_with(self.0);
        if good {
            return Ok(name.to_owned());
        }
        let (title, remedy) =
            (format!("{name:?} is no name for a token"), format!("write 1 to {NAME} letters, not beginning with {}", self.0));
        Err(Problem::new(StatusCode::BAD_REQUEST, "token.bad_name", title, remedy))
    }
}

/// From when on a token is not to count (RFC 3339).
///
/// # Errors
/// When it is no moment, or has passed.
pub fn expiry(text: &str, now: Time) -> Result<Time, Problem> {
    let bad = |title: String, remedy: &str| Problem::new(StatusCode::BAD_REQUEST, "token.bad_expiry", title, remedy);
    let stamp: jiff::Timestamp = text.parse().map_err(|_| bad(format!("{text:?} is no moment"), "write it as 2027-06-01T00:00:00Z"))?;
    let moment = Time::from_micros(stamp.as_microsecond());
    if moment <= now { Err(bad(format!("{text} has passed"), "choose a later one")) } else { Ok(moment) }
}

/// Whether a shown token is the one of this hash; takes the same time wherever the two differ.
pub fn is_same(hash: blake3::Hash, shown: &str) -> bool {
    hash == blake3::hash(shown.as_bytes())
}

/// Scheme and credentials in `Authorization` (RFC 9110 section 11.4); `None` without exactly one such field.
pub fn shown(headers: &HeaderMap) -> Option<(&str, &str)> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let only = fields.next().filter(|_| fields.next().is_none())?;
    let (scheme, credentials) = only.to_str().ok()?.trim().split_once(' ')?;
    Some((scheme, credentials.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark("bulak_");

    #[test]
    fn only_whole_tokens_have_a_visible_part() {
        let (id, token) = MARK.mint(0x5f3a_90c1, [0xab; 32]);
        assert_eq!((id.as_str(), token.len(), MARK.visible(&token)), ("bulak_5f3a90c1", 79, Some(id.as_str())));
        assert!(is_same(blake3::hash(token.as_bytes()), &token) && !is_same(blake3::hash(b"other"), &token));
        for bad in ["", "bulak_", "bulak_5f3a90c1", "bulak_5f3a90c1_", &token[..78], &token.to_uppercase(), &token.replace("bulak", "hub")]
        {
            assert_eq!(MARK.visible(bad), None, "{bad}");
        }
        assert_eq!(MARK.visible(&format!("{token}0")), None);
    }

    #[test]
    fn names_and_moments_are_looked_at() {
        assert_eq!(MARK.named(" Директор ").as_deref(), Ok("Директор"));
        for bad in ["", " ", "a\nb", "bulak_x", &"x".repeat(65)] {
            assert_eq!(MARK.named(bad).expect_err(bad).id, "token.bad_name");
        }
        let now = Time::BUILT;
        assert_eq!(expiry("2099-01-01T00:00:00Z", now).map(|moment| moment > now), Ok(true));
        for bad in ["tomorrow", "1999-01-01T00:00:00Z", &now.to_rfc3339()] {
            assert_eq!(expiry(bad, now).expect_err(bad).id, "token.bad_expiry");
        }
    }

    #[test]
    fn one_field_shows_one_token() {
        let fields = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().expect("a value"));
            }
            headers
        };
        assert_eq!(shown(&fields(&["Bearer  x y "])), Some(("Bearer", "x y")));
        for bad in [&[][..], &["Bearer"], &["Bearer a", "Bearer b"]] {
            assert_eq!(shown(&fields(bad)), None);
        }
    }
}
