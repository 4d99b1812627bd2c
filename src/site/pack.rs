//! A pack. SKELETON.

/// A pack (product.md section 13.9).
#[derive(Clone, Debug)]
pub struct Pack {}
