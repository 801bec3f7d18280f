//! One set of features of every external package, whichever crate of the workspace is built.
//!
//! Cargo builds a package once for every set of features that is asked for. The crates here ask for different ones, so
//! testing one crate alone would build arrow, serde and others again. The manifest of this crate, written by `update.py`,
//! asks for what the whole workspace asks for. The program depends on it, and the tests and examples of every other crate;
//! it holds no code.
