//! What the school tells the region. SKELETON.
