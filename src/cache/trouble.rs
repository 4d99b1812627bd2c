//! Why the cache has no answer, for the page that says so.

use crate::upstream::Error;

/// Sits in the extensions of an error answer (502, 503, 504, 416 ...) that the cache made; `proxy` renders the page from it.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// One sentence in English: whose side, what.
    pub detail: String,
    /// What it comes of.
    pub cause: Cause,
    /// The line is down.
    pub offline: bool,
}

/// What a trouble comes of.
#[derive(Clone, Debug)]
pub enum Cause {
    /// The origin was asked, or was to be.
    Origin(Error),
    /// Only a stored copy was asked for.
    Unstored,
    /// Whatever the status says.
    Status,
}

impl Trouble {
    /// Whether the origin is merely out of reach, so that the night may bring what was asked for. `status`: that of the answer.
    pub fn is_out_of_reach(&self, status: http::StatusCode) -> bool {
        match &self.cause {
            Cause::Origin(error) => error.is_out_of_reach(),
            Cause::Unstored => false,
            Cause::Status => matches!(status.as_u16(), 502..=504),
        }
    }
}
