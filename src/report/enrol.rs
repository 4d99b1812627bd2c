//! What a node says to be enrolled, and what the hub answers; both ends use it. Pure but for randomness in tests.
//!
//! The signature covers code and key, so that nobody can use a code that he overheard for a key of his own without the hub seeing the
//! school's own attempt fail, and nobody can enrol a key that is not his.

use crate::report::sign::{self, Key};
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use utoipa::ToSchema;

/// Before what is signed: a signature under a record can never be one under this.
const MARK: &str = "bulak enrol 1";

/// A node asks to be enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EnrolOrder)]
pub struct Asks {
    /// The code that a person was given.
    pub code: String,
    /// The node's public key, 64 hex digits.
    pub key: String,
    /// Its signature under mark, code and key, each on a line: 128 hex digits.
    pub signature: String,
}

/// The hub's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Enrolled)]
pub struct Told {
    /// The node's id.
    pub node: String,
    /// The school for which it reports now.
    pub school: String,
    /// Its name for people.
    #[serde(default)]
    pub name: String,
}

impl Asks {
    /// By a node with this key.
    pub fn new(code: &str, key: &Key) -> Asks {
        let (code, public) = (code.trim().to_owned(), key.public());
        let sealed = key.seal(text(&code, &public).as_bytes());
        let signature = sealed[..sign::SIGNATURE].iter().fold(String::new(), |mut text, byte| {
            // Writing to memory cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        Asks { code, key: public, signature }
    }

    /// The key, when it is one and has signed this.
    pub fn key(&self) -> Option<VerifyingKey> {
        let key = sign::public(&self.key)?;
        let mut sealed: Vec<u8> = Vec::with_capacity(sign::SIGNATURE + 128);
        if self.signature.len() != 2 * sign::SIGNATURE || !self.signature.is_ascii() {
            return None;
        }
        for at in (0..self.signature.len()).step_by(2) {
            sealed.push(u8::from_str_radix(&self.signature[at..at + 2], 16).ok()?);
        }
        sealed.extend_from_slice(text(&self.code, &self.key).as_bytes());
        sign::open(&sealed, &key).map(|_| key)
    }
}

fn text(code: &str, key: &str) -> String {
    format!("{MARK}\n{code}\n{key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_holder_of_a_key_asks_for_it() {
        let key = Key::make();
        let asks = Asks::new(" 7KQ2MPX4 ", &key);
        assert_eq!(asks.key().map(|key| sign::node_of(&key)), Some(key.node()));
        let other = Key::make().public();
        for broken in [
            Asks { code: "7KQ2MPX5".into(), ..asks.clone() },
            Asks { key: other, ..asks.clone() },
            Asks { key: "x".into(), ..asks.clone() },
            Asks { signature: "0".repeat(128), ..asks.clone() },
            Asks { signature: "é".repeat(64), ..asks.clone() },
            Asks { signature: String::new(), ..asks.clone() },
            Asks { signature: "+1".repeat(64), ..asks.clone() },
        ] {
            assert_eq!(broken.key(), None, "{broken:?}");
        }
    }
}
