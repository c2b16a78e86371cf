//! Attention variants behind one trait.

mod catalogue;

pub use catalogue::{ResolveRequest, Resolved, resolve, variants};
