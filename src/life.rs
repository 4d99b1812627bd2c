//! How tasks live and end: one `Life` per node; everything that runs beside a request is spawned here, sees the stop signal,
//! and is waited for within one grace period.

/// One stop signal, many watchers, one grace period.
pub mod drain;

/// Background work in small finished steps.
pub mod worker;

/// Long work that somebody may ask about and end.
pub mod job;

/// Something new.
mod news;

pub use drain::Life;
pub use job::Jobs;
pub use news::news;
pub use worker::{Next, Worker, keep_up, supervise};
