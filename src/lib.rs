//! `t2r` measures what linear attention with a learned feature map (T2R) buys over softmax attention on this machine,
//! and what it costs.

pub mod attention;
pub mod bench;
pub mod cli;
pub mod compare;
pub mod kernels;
pub mod measure;
pub mod model;
pub mod params;
pub mod progress;
pub mod report;
pub mod spec;
pub mod stats;
pub mod store;
pub mod sweep;
pub mod train;
