//! The emulated line, for benches and tests: rate each way, delay, jitter, loss, a drop-tail queue, outages.
//!
//! With root, [`Cable::lay`] makes two network namespaces with a TUN device in each and carries packets between them: real TCP over
//! a slow line, on one machine, without `tc`. Programs and threads are started at either end:
//!
//! ```ignore
//! #[path = "../benches/line/mod.rs"] // from benches: "line/mod.rs"
//! mod line;
//!
//! let cable = line::Cable::lay(&"5/1 Mbit/s, 80 ms".parse()?)?;
//! cable.far.command("nginx")…;                    // listens on cable.far.addr
//! Setup::new().under(&cable.near.words())…;       // a node of the kit at the school's end
//! let stream = cable.near.enter(|| TcpStream::connect((cable.far.addr, 80)));
//! cable.cut(); cable.mend(); cable.carried(80); cable.trouble();
//! ```
//!
//! Without root, [`Relay`] is a TCP relay on loopback with the same [`Line`]: kinder than a real line, for want of a better.
#![allow(dead_code, reason = "each user takes its own part")]
#![allow(unused_imports, reason = "each user takes its own part")]

/// What a line is.
mod profile;

/// One direction, as arithmetic.
mod pipe;

/// Network namespaces.
mod space;

/// With root.
mod cable;

/// Without root.
mod relay;

/// Round trips and bulk rates.
pub(crate) mod gauge;

pub(crate) use cable::{Cable, Seen, congestion};
pub(crate) use pipe::{Fate, Pipe};
pub(crate) use profile::{Line, Outage};
pub(crate) use relay::{Relay, Way};
pub(crate) use space::Space;
