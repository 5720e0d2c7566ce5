//! Checkpoints: kept, found, refused.
