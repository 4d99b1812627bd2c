//! The subcommands. SKELETON.
