//! What goes to an origin for a part of a body.

use crate::base::body::Body;
use crate::cache::pieces::strong_validator;
use crate::cache::voyage::{bare, outgoing};
use crate::cache::{Asked, Found, stream};
use http::header::{ACCEPT_ENCODING, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Request};
use std::ops::Range;

/// The request for the first gap; `None` without a strong validator.
pub(super) fn rest_request(request: Request<Body>, found: &Found, wanted: &Range<u64>) -> Option<(Request<Body>, Range<u64>)> {
    let strong = strong_validator(&found.entry.meta.headers)?;
    let gap = stream::gaps(&found.entry.have, wanted).into_iter().next()?;
    Some((range_request(request, &gap, &strong), gap))
}

/// The request for one part of the version with this validator.
pub(super) fn range_request(request: Request<Body>, gap: &Range<u64>, strong: &HeaderValue) -> Request<Body> {
    let mut extra = HeaderMap::new();
    let range = format!("bytes={}-{}", gap.start, gap.end - 1);
    extra.insert(RANGE, HeaderValue::from_str(&range).expect("digits are visible ASCII"));
    extra.insert(IF_RANGE, strong.clone());
    let mut request = outgoing(request, Some(&extra), false, false);
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    request
}

/// The request once more, for bytes as they are.
pub(super) fn request_again(asked: &Asked) -> Request<Body> {
    let mut request = bare(asked);
    request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    request
}
