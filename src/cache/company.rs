//! How a request meets others that ask for the same: together, a second time together, or alone.

use crate::base::digest::Digest;
use crate::cache::Asked;
use crate::cache::flight::{Ground, Stage};
use crate::policy;
use crate::store::Meta;
use http::header::COOKIE;

/// How a request meets others that ask for the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// May share one fetch.
    Shared,
    /// May share one fetch once more: the first one turned out to be for somebody who has a cookie.
    Again,
    /// May share one fetch with those who ask with the same fields; the first one was not for them.
    Kin(Digest),
    /// Must ask for itself.
    Alone,
    /// Must ask for itself, in the codings that this client named.
    OwnCoding,
}

impl Company {
    /// Whether others may come along.
    pub(crate) fn is_shared(self) -> bool {
        matches!(self, Company::Shared | Company::Again | Company::Kin(_))
    }

    /// With whom to ask once more when this answer was not for the request.
    pub(crate) fn after(self, asked: &Asked, meta: &Meta) -> Company {
        match policy::kin(&asked.ask(), &meta.vary) {
            Some(kin) if matches!(self, Company::Shared | Company::Again) => Company::Kin(kin),
            _ => Company::Alone,
        }
    }

    /// With whom to ask once more when another's answer was his alone.
    pub(crate) fn apart(self, asked: &Asked, stage: &Stage) -> Company {
        let his = matches!(stage, Stage::Apart(Ground::Asker)) && !asked.headers.contains_key(COOKIE);
        if his && self == Company::Shared { Company::Again } else { Company::Alone }
    }
}
