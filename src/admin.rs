//! Web port and local socket. SKELETON.
