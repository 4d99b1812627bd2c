//! Pages for the class. SKELETON.
