//! Kernels at the speed of the machine: each in one pass, in explicit vectors of the level it is given. Every one has
//! a plain twin beside this folder that does the same in the open.

#![allow(clippy::needless_range_loop, reason = "indices of small arrays of registers, which iterators would spill")]
#![allow(clippy::too_many_arguments, reason = "the operands of a formula and where it goes")]

mod dots;
pub mod features;
pub mod linear;
mod prefetch;
pub mod product;
pub mod rows;
pub mod softmax_forward;
pub mod softmax_step;
mod tile;
mod vector;
