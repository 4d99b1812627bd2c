//! Rewriting: a hook that gives bodies another form while they are copied.

use crate::base::digest::Digest;
use crate::store::record::Line;
use crate::store::segment::New;
use crate::store::{Error, Inner};

/// Gives bodies another form while they are copied.
pub(crate) trait Recode {
    /// The body `object` of the record `line` in a better form; `None`: copy it as it is.
    fn recode(&mut self, line: &Line, object: &Digest, inner: &Inner) -> Result<Option<New>, Error>;
}
