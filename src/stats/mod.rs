//! Statistics as pure functions of slices: summaries, intervals of medians, crossovers, scaling, histograms.
//! Knows no cell, no file and no clock.

mod crossover;
mod histogram;
mod interval;
mod scaling;
mod series;
mod summary;

pub use crossover::{Crossover, crossover};
pub use histogram::{HistogramError, LatencyHistogram};
pub use interval::{Interval, Ratio, median_interval, ratio_interval, relative_half_width};
pub use scaling::{Scaling, scaling_exponent};
pub use series::Series;
pub use summary::{Summary, iqr, mad, mean, median, n_outliers, percentile, quantile, stddev};
