//! What a device asked for and how that ended, for whoever looks on: the proxy tells it, the night learns from it, and both stand on
//! the cache.

use crate::base::target::Target;
use crate::policy::Why;
use http::StatusCode;
use std::net::IpAddr;

/// What a device asked for, and how that ended.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The device.
    pub client: IpAddr,
    /// What it asked for.
    pub target: &'a Target,
    /// Whether a person opens it as a page.
    pub page: bool,
    /// Whether it only reads (GET).
    pub reads: bool,
    /// What the cache says; none when it took no part.
    pub why: Option<Why>,
    /// What the device got.
    pub status: StatusCode,
    /// It got a page of ours instead, since nothing is here and nothing could be had.
    pub missing: bool,
}
