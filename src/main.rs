//! The `t2r` binary.
fn main() {}
