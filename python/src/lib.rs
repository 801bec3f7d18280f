//! The extension module of the Python package `leadspan`: the program, and a reader of caches.
//!
//! It translates between Python and the crates, and reads nothing itself: what is read comes from `leadspan_cache`, with its
//! checks, and without the interpreter's lock. The classes are in Python (`leadspan/_cache.py`); here are plain functions, which
//! return numbers as bytes that numpy looks at.

mod arguments;
mod errors;
mod module;
mod numbers;
mod open_cache;
mod program;
mod rectangles;
mod threads;
