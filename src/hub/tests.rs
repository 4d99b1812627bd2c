//! The hub on real sockets.
