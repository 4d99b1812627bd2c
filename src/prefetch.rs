//! What is fetched before anyone asks. SKELETON.
