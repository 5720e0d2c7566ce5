//! rescore-objectives
