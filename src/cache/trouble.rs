//! Why the cache has no answer, for the page that says so.

/// Sits in the extensions of an error answer (502, 503, 504, 416 ...) that the cache made; `proxy` renders the page from it.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// One sentence in English: whose side, what.
    pub detail: String,
    /// The line is down.
    pub offline: bool,
}
