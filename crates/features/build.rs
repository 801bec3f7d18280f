//! Makes cargo consider the build dependencies, which procedural macros share.

fn main() {}
