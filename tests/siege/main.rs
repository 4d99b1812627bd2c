//! Sieges and bad days: thousands of connections that want nothing but to be held, one client that wants everything, `kill -9` in the
//! middle of fetching, disks, descriptors and threads that run out, files that somebody damaged. The real program, real sockets.
//!
//! What is told is counted: who was answered while the siege lasted, what the process held meanwhile, what it gave back. Where the promise
//! names a time, it is printed, and ten times as much is a failure: other tests share this machine.

#[path = "../kit/mod.rs"]
mod kit;

/// What a siege is made of: addresses, crowds of connections, an ordinary client, figures.
mod town;

/// Crowds at the proxy.
mod load;

/// One client that wants everything.
mod fair;

/// Crowds at the web port and at the hub.
mod web;

/// `kill -9` while bodies are being fetched.
mod fills;

/// Origins and name servers that fall silent; disks that fill up or turn read-only under a running node; clocks that jump.
mod trouble;

/// Descriptors, threads and memory run out.
mod scarce;

/// Files of the state and of the store, damaged each in turn.
mod damaged;

/// slowhttptest.
mod third;

/// An hour of everything at once.
mod soak;
