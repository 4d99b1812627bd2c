//! The line, measured on purpose: speed tests and what they rest on.

/// Speed tests as M-Lab's ndt7 has them: client and server.
pub mod ndt7;
