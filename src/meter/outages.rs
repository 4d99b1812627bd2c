//! The log of outages, by cause.

use crate::base::clock::Time;
use crate::link::outage::Event;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An outage as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Outage)]
pub struct Kept {
    /// Grows with every change: an outage that is over is told once more.
    pub number: i64,
    /// From (RFC 3339).
    #[schema(value_type = String)]
    pub start: Time,
    /// Until, as far as it is known.
    #[schema(value_type = String)]
    pub end: Time,
    /// What happened: what leaves the school of it.
    pub event: Event,
    /// How many further outages were joined to it.
    pub joined: u32,
}
