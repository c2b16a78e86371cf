//! Statistics as pure functions of slices: summaries, intervals of medians, crossovers, scaling, histograms.
//! Knows no cell, no file and no clock.

mod crossover;
mod curve;
mod histogram;
mod holm;
mod interval;
mod ranks;
mod scaling;
mod student;
mod summary;

pub use crossover::{Crossover, crossover};
pub use curve::Curve;
pub use histogram::{HistogramError, LatencyHistogram};
pub use holm::holm;
pub use interval::{Interval, Ratio, median_interval, ratio_interval, relative_half_width};
pub use ranks::Ranks;
pub use scaling::{Scaling, scaling_exponent};
pub use student::{Shift, Squares, t_quantile};
pub use summary::{Summary, iqr, mad, mean, median, n_outliers, percentile, quantile, stddev};
