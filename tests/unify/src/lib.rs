//! Nothing: this package exists for its list of dependencies.
//!
//! Cargo unites the features of the packages that one command names. `cargo test -p rescore-critics`
//! alone would give some fifteen small crates below Burn fewer features than a build of the whole
//! workspace, and so compile all of Burn once more. As a development dependency of every crate that
//! uses Burn, this package brings the features of the whole workspace along: whatever a command
//! names, Burn is compiled once. Packages on a registry know nothing of it, because Cargo leaves out
//! development dependencies that have no version.
