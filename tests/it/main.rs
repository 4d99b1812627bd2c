//! Tales of one node: an origin says, a client asks, we expect, counters agree. Real sockets on loopback, the real binary.
//!
//! One binary, so that it links once. Nothing here asserts a time; counts, bytes and order tell.

#[path = "../kit/mod.rs"]
mod kit;

#[path = "../../benches/line/mod.rs"]
mod line;

/// The kit's own parts, without a node: a tale is only as good as its props.
mod parts;

/// The kit's parts that speak TLS.
mod props;

/// The emulated line.
mod emulated;

/// What comes out of the store.
mod hit;

/// What goes to the origin, and how.
mod miss;

/// Many asking, one fetching.
mod collapse;

/// Asking before a browser does.
mod ahead;

/// Parts of bodies.
mod ranges;

/// In which form bodies go out.
mod forms;

/// What must not be shared, kept or lost by mistake.
mod careful;

/// The line is cut.
mod offline;

/// What commands advise.
mod advice;

/// Ways in which a line fails, told apart.
mod outages;

/// What a line loses, as the kernel counts it.
mod loss;

/// CONNECT, upgrades, interim answers.
mod tunnel;

/// https of listed hosts on enrolled devices.
mod intercept;

/// What is said on opened connections, and on the proxy's own over TLS.
mod opened;

/// The statement of service.
mod statement;

/// A Giga Meter server.
mod giga;

/// Dashboards and alert rules.
mod grafana;

/// Remote-write.
mod remote;

/// Malformed and hostile bytes, from clients and from origins.
mod hostile;

/// Full and read-only disks, wrong clocks, taken ports, mistaken configurations.
mod days;

/// `kill -9`, damaged indexes, draining.
mod restart;

/// What systemd gives, takes and hears; what the installer puts down.
mod service;

/// The store's commands: figures, check, purge, export, import.
mod storekeeping;

/// Other proxies before and behind.
mod chain;

/// Chromium.
mod browser;

/// What is one pupil's alone.
mod privacy;

/// What is wrong is told.
mod told;

/// Packs and reports.
mod night;

/// Films in pieces.
mod film;
/// The night gives way to whoever waits.
mod gives_way;

/// ZIM files.
mod library;

/// The API over the web port: tokens, roles, jobs, live events, the document.
mod api;

/// When the night works: windows, caps, pauses, a metered line.
mod calendar;

/// A night among bad hosts.
mod crawl;

/// Wishes, recordings, proposals, renewals.
mod wishes;

/// The school's own CA: its commands, its files, what openssl makes of them.
mod authority;

/// People who sign in at the hub.
mod people;

/// Packs' content under the school's own names.
mod mirror;

/// Commands, pages and metrics.
mod surface;

/// Speed tests.
mod meter;

/// Devices: PAC, pages, self-check, certificate.
mod devices;

/// Names on the LAN.
mod local_names;

/// Speed tests, both ends.
mod ndt7;

/// Reports: bad answers, ninety days at once.
mod uploads;

/// What may leave a school, and what never does.
mod allowed;
