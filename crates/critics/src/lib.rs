//! rescore-critics
