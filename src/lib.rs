//! `t2r` measures what linear attention with a learned feature map (T2R) buys over softmax attention on this machine,
//! and what it costs.

pub mod attention;
pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod compare;
pub mod inference;
pub mod kernels;
pub mod measure;
pub mod model;
pub mod ops;
pub mod params;
pub mod progress;
pub mod report;
pub mod spec;
pub mod stats;
pub mod store;
pub mod sweep;
pub mod text;
pub mod tradeoff;
pub mod train;
pub mod tui;
