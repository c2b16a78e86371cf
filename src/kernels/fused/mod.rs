//! Kernels at the speed of the machine: each in one pass, in explicit vectors of the level it is given. Every one has
//! a plain twin beside this folder that does the same in the open.

#![allow(clippy::needless_range_loop, reason = "indices of small arrays of registers, which iterators would spill")]
#![allow(clippy::too_many_arguments, reason = "the operands of a formula and where it goes")]

pub mod activation;
pub mod affine;
mod dots;
pub mod features;
pub mod fourier;
pub mod hybrid;
pub mod linear;
pub mod linear_backward;
pub mod linear_source;
pub mod linear_steps;
pub mod loss;
pub mod norm;
pub mod opposite;
mod prefetch;
pub mod product;
pub mod rows;
pub mod softmax_backward;
pub mod softmax_forward;
pub mod softmax_step;
mod tile;
mod vector;
pub mod weight;
