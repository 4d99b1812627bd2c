//! A statement that can be checked: what was signed, word by word, and how a file is held against it. Pure.
//!
//! Signed is one text of JSON with the figures, the node and the moment. The digest is that of the figures alone, so that whoever asks
//! the node again for a period that is over gets the same one, and can hold it against paper. A page carries the signed text in its
//! head; it is checked by making it again from that text: what a person reads is then what was signed.

use crate::base::language::Language;
use crate::report::sign;
use crate::report::statement::figures::Figures;
use crate::report::statement::page;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

/// The version of this layout.
const VERSION: u64 = 1;

/// The longest file that is looked at: a year's page has some 150 kB.
pub const LONGEST: usize = 4 << 20;

/// What is signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LineStatement)]
pub struct Statement {
    /// The version of this layout.
    pub v: u64,
    /// When it was made (RFC 3339).
    pub made: String,
    /// By which version of the program.
    pub program: String,
    /// The node's id.
    pub node: String,
    /// Its public key.
    pub key: String,
    /// What it says.
    pub figures: Figures,
}

/// A statement and its proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = SignedStatement)]
pub struct Document {
    /// What it says, for reading.
    pub statement: Statement,
    /// SHA-256 of the figures, 64 hex digits.
    pub digest: String,
    /// What was signed, word by word.
    pub signed: String,
    /// Ed25519 by the node's key, 128 hex digits.
    pub signature: String,
}

/// Why a file cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It is none.
    #[error("this is no statement; give the page or the JSON document that \"bulak link statement\" wrote")]
    Stranger,
    /// Of a newer program.
    #[error("this statement was made by a newer program (layout {0}); check it with that one")]
    Newer(u64),
    /// The signature is another one's.
    #[error("the signature is not that of the figures; ask the school for the file as it was made")]
    Forged,
    /// What is shown is not what was signed.
    #[error("the figures that were signed are not those that are shown; ask the school for the file as it was made")]
    Altered,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The statement.
    pub document: Document,
    /// Whether the page was compared as well: not when another version of the program made it.
    pub compared: bool,
}

impl Document {
    /// Signs figures.
    ///
    /// # Errors
    /// When they cannot be written as JSON, which they can.
    pub fn sign(key: &sign::Key, made: String, figures: Figures) -> serde_json::Result<Document> {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let statement = Statement { v: VERSION, made, program, node: key.node(), key: key.public(), figures };
        let signed = serde_json::to_string(&statement)?;
        let sealed = key.seal(signed.as_bytes());
        let signature = sign::hex(sealed.get(..sign::SIGNATURE).unwrap_or_default());
        Ok(Document { digest: digest(&statement.figures)?, statement, signed, signature })
    }

    /// Reads what was signed, and sees that it was.
    fn open(signed: &str, signature: &str) -> Result<Document, Doubt> {
        #[derive(Deserialize)]
        struct Layout {
            v: u64,
        }
        let layout: Layout = serde_json::from_str(signed).map_err(|_| Doubt::Stranger)?;
        if layout.v != VERSION {
            return Err(Doubt::Newer(layout.v));
        }
        let statement: Statement = serde_json::from_str(signed).map_err(|_| Doubt::Stranger)?;
        let key = sign::public(&statement.key).ok_or(Doubt::Forged)?;
        let mut sealed = unhex(signature).filter(|bytes| bytes.len() == sign::SIGNATURE).ok_or(Doubt::Forged)?;
        sealed.extend_from_slice(signed.as_bytes());
        sign::open(&sealed, &key).ok_or(Doubt::Forged)?;
        if sign::node_of(&key) != statement.node {
            return Err(Doubt::Forged);
        }
        let digest = digest(&statement.figures).map_err(|_| Doubt::Stranger)?;
        Ok(Document { statement, digest, signed: signed.to_owned(), signature: signature.to_owned() })
    }

    /// The digest as people compare it: sixteen groups of four.
    pub fn digest_in_groups(&self) -> String {
        let letters: Vec<char> = self.digest.chars().collect();
        letters.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
    }
}

/// Checks a page or a JSON document.
///
/// # Errors
/// Why it cannot be believed.
pub fn check(file: &str) -> Result<Checked, Doubt> {
    if file.len() > LONGEST {
        return Err(Doubt::Stranger);
    }
    if file.trim_start().starts_with('{') {
        let shown: Document = serde_json::from_str(file).map_err(|_| Doubt::Stranger)?;
        let document = Document::open(&shown.signed, &shown.signature)?;
        return if document == shown { Ok(Checked { document, compared: true }) } else { Err(Doubt::Altered) };
    }
    let (signed, signature) = meta(file, "bulak-statement").zip(meta(file, "bulak-signature")).ok_or(Doubt::Stranger)?;
    let document = Document::open(&signed, &signature)?;
    let tag = file.split_once("<html lang=\"").and_then(|(_, rest)| rest.split_once('"')).map(|(tag, _)| tag);
    let language = tag.and_then(Language::from_tag).ok_or(Doubt::Altered)?;
    let again = page::render(&document, language).map_err(|_| Doubt::Altered)?;
    // An editor or a mail programme may have changed the ends of lines.
    let same = again.trim_end().lines().eq(file.trim_start_matches('\u{feff}').trim_end().lines());
    match same {
        true => Ok(Checked { document, compared: true }),
        // Another version words its pages otherwise.
        false if document.statement.program != env!("CARGO_PKG_VERSION") => Ok(Checked { document, compared: false }),
        false => Err(Doubt::Altered),
    }
}

/// A field of the page's head, unescaped.
fn meta(page: &str, name: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("<meta name=\"{name}\" content=\""))?;
    let (text, _) = rest.split_once('"')?;
    Some(unescape(text))
}

/// Back from what a template made of a text.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let known = [("#34;", '"'), ("quot;", '"'), ("#39;", '\''), ("#x27;", '\''), ("#38;", '&'), ("amp;", '&')];
        let known = known.into_iter().chain([("#60;", '<'), ("lt;", '<'), ("#62;", '>'), ("gt;", '>')]);
        let found = known.into_iter().find_map(|(code, letter)| Some((letter, after.strip_prefix(code)?)));
        let (letter, after) = found.unwrap_or(('&', after));
        out.push(letter);
        rest = after;
    }
    out + rest
}

fn digest(figures: &Figures) -> serde_json::Result<String> {
    Ok(sign::hex(&Sha256::digest(serde_json::to_vec(figures)?)))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|letter| letter.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::report::statement::figures::tests::sample;

    pub(in crate::report::statement) fn document(figures: Figures) -> Document {
        Document::sign(&sign::Key::make(), "2026-11-01T05:00:00.000000Z".into(), figures).expect("signs")
    }

    #[test]
    fn what_was_signed_is_believed_and_nothing_else() {
        let mut figures = sample();
        figures.school = "№ 7 \"Абай\" <& 'co'>".into();
        let document = document(figures);
        let json = serde_json::to_string(&document).expect("writes");
        assert_eq!(check(&json), Ok(Checked { document: document.clone(), compared: true }));
        for language in Language::ALL {
            let page = page::render(&document, language).expect("renders");
            assert_eq!(check(&page), Ok(Checked { document: document.clone(), compared: true }));
            assert_eq!(check(&page.replace('\n', "\r\n")), Ok(Checked { document: document.clone(), compared: true }));
            // A better figure for readers, with the head as it was.
            let shown = page.replacen("<td>7", "<td>9", 1);
            assert_ne!(shown, page);
            assert_eq!(check(&shown), Err(Doubt::Altered));
            // The same in the head: the signature tells.
            assert_eq!(check(&page.replacen("&#34;tests&#34;:3", "&#34;tests&#34;:4", 1)), Err(Doubt::Forged));
            assert_eq!(check(&page.replacen("bulak-signature", "signature", 1)), Err(Doubt::Stranger));
        }
        let other = super::tests::document(sample());
        for (text, wanted) in [
            ("", Doubt::Stranger),
            ("{}", Doubt::Stranger),
            ("<html lang=\"kk\"><p>a page</p>", Doubt::Stranger),
            (&json.replacen(&document.signature, &other.signature, 1), Doubt::Forged),
            (&json.replacen(&document.signature, "zz", 1), Doubt::Forged),
            (&json.replacen("\"median_bps\":7800000", "\"median_bps\":9900000", 1), Doubt::Altered),
            (&json.replacen(&document.digest, &"0".repeat(64), 1), Doubt::Altered),
            (&json.replacen("{\\\"v\\\":1", "{\\\"v\\\":2", 1), Doubt::Newer(2)),
        ] {
            assert_eq!(check(text), Err(wanted), "{text}");
        }
    }

    #[test]
    fn the_same_figures_have_the_same_digest_whenever_they_are_signed() {
        let (one, two) = (document(sample()), document(sample()));
        assert_eq!((one.digest.len(), &one.digest), (64, &two.digest));
        assert_ne!(one.signature, two.signature, "another key");
        let mut figures = sample();
        figures.download.tests += 1;
        assert_ne!(document(figures).digest, one.digest);
        assert_eq!(one.digest_in_groups().len(), 64 + 15);
    }

    #[test]
    fn texts_come_back_from_a_template() {
        assert_eq!(unescape("&#34;a&#34; &lt;b&#62; &amp;&#39; &x &"), "\"a\" <b> &' &x &");
        assert_eq!((unhex("00ff"), unhex("0"), unhex("0g")), (Some(vec![0, 255]), None, None));
    }
}
