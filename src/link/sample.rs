//! What whoever uses the line tells it. Pure.

use crate::link::passive::Segments;
use crate::link::reach::Reach;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What traffic is for; interactive goes before background.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A person waits.
    Interactive,
    /// Nobody waits.
    Background,
    /// Reports.
    Report,
    /// Measurements.
    Measure,
}

impl Class {
    /// The label value of metrics: foreground, prefetch, report, measure.
    pub fn label(self) -> &'static str {
        match self {
            Class::Interactive => "foreground",
            Class::Background => "prefetch",
            Class::Report => "report",
            Class::Measure => "measure",
        }
    }

    /// Whether it makes way for everything else, on connections of its own. A measurement does not: it would measure its own manners.
    pub fn is_background(self) -> bool {
        matches!(self, Class::Background | Class::Report)
    }
}

/// One observation from a real fetch.
#[derive(Clone, Debug)]
pub enum Sample {
    /// A TCP connection came about.
    Connected {
        /// Whose it is.
        host: Box<str>,
        /// Where it went; probed while the line is down.
        addr: SocketAddr,
        /// How long it took: one round trip.
        took: Duration,
    },
    /// It did not (a refusal from afar counts as reached: the line works).
    Failed {
        /// Whose it would have been.
        host: Box<str>,
        /// Where it would have gone; of several the first. `None`: it came to no address.
        addr: Option<IpAddr>,
    },
    /// No DNS server answered (NXDOMAIN is an answer).
    NameFailed {
        /// What was asked.
        host: Box<str>,
    },
    /// A name was answered for (NXDOMAIN is an answer).
    Named {
        /// How long that took.
        took: Duration,
    },
    /// How the DNS servers are: one gives answers (NXDOMAIN is one), or all of them are silent or fail whatever is asked for.
    Names {
        /// One gives answers.
        heard: bool,
    },
    /// A TLS handshake with an origin was done.
    Secured {
        /// How long that took.
        took: Duration,
    },
    /// First byte of an answer.
    FirstByte {
        /// Whose it is.
        host: Box<str>,
        /// After the request was sent.
        took: Duration,
    },
    /// These many body bytes came in (called often; cheap).
    Received {
        /// What for.
        class: Class,
        /// How many.
        bytes: u64,
    },
    /// These many body bytes went out.
    Sent {
        /// What for.
        class: Class,
        /// How many.
        bytes: u64,
    },
    /// These many bytes came in on connections to hosts of this reach, what is around bodies included (called often; cheap).
    Came {
        /// Where the host is.
        reach: Reach,
        /// How many.
        bytes: u64,
    },
    /// What the kernel has counted of a connection since this was told last.
    Segments {
        /// What.
        segments: Segments,
        /// The smoothed round trip, where something of ours was acknowledged meanwhile.
        rtt: Option<Duration>,
    },
}
