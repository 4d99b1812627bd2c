//! What only libc can say.
