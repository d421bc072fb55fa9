//! What central offers: a plain directory as the embedded registry.
