//! Latency per call as an HdrHistogram: nanoseconds, three significant digits, mergeable without loss.

use base64::{Engine, engine::general_purpose::STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{Deserializer, Serializer, V2DeflateSerializer},
};

/// One hour; a longer call is recorded as one hour.
const HIGHEST_NS: u64 = 3_600_000_000_000;

/// Counts of latencies from 1 ns to one hour; values outside are recorded at the nearer end.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencyHistogram(Histogram<u64>);

/// Why a written histogram cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistogramError {
    /// The text is not base64.
    #[error("histogram is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// The bytes are not an HdrHistogram.
    #[error("histogram is not in HdrHistogram's V2 format: {0}")]
    Decode(#[from] hdrhistogram::serialization::DeserializeError),
    /// The histogram could not be written.
    #[error("histogram cannot be written: {0}")]
    Encode(#[from] hdrhistogram::serialization::V2DeflateSerializeError),
    /// Another program's histogram reaches beyond one hour.
    #[error("histograms of unlike range cannot be merged: {0}")]
    Merge(#[from] hdrhistogram::errors::AdditionError),
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, HIGHEST_NS, 3).expect("1 ns to one hour at three digits is a valid range"))
    }
}

impl LatencyHistogram {
    /// A histogram of the values, in ns.
    #[must_use]
    pub fn of(values_ns: &[f64]) -> Self {
        let mut histogram = Self::default();
        for value in values_ns {
            histogram.record(*value);
        }
        histogram
    }

    /// Counts one latency in ns, rounded to whole nanoseconds.
    pub fn record(&mut self, ns: f64) {
        // `as` saturates, and turns NaN into 0, which is recorded as 1 ns.
        self.0.saturating_record((ns.round() as u64).max(1));
    }

    /// Adds all counts of another histogram.
    ///
    /// # Errors
    /// When the other one was read from a file and holds values beyond the range of this one.
    pub fn merge(&mut self, other: &Self) -> Result<(), HistogramError> {
        Ok(self.0.add(&other.0)?)
    }

    /// Number of latencies recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value in ns that a share `p` (0..=1) of the latencies does not exceed, to three digits; `None` when empty.
    #[must_use]
    pub fn quantile_ns(&self, p: f64) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(p))
    }

    /// The standard V2-deflate form in base64, which HdrHistogram's implementations in other languages read.
    ///
    /// # Errors
    /// When compressing fails, which memory alone can cause.
    pub fn to_base64(&self) -> Result<String, HistogramError> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.0, &mut bytes)?;
        Ok(STANDARD.encode(bytes))
    }

    /// Reads what [`Self::to_base64`], or another implementation of the format, wrote.
    ///
    /// # Errors
    /// When the text is not base64 or not a V2 histogram.
    pub fn from_base64(text: &str) -> Result<Self, HistogramError> {
        let bytes = STANDARD.decode(text.trim())?;
        Ok(Self(Deserializer::new().deserialize(&mut bytes.as_slice())?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quantiles_hold_three_digits() {
        let values: Vec<f64> = (1..=1000).map(|i| f64::from(i) * 1000.0).collect();
        let histogram = LatencyHistogram::of(&values);
        assert_eq!(histogram.count(), 1000);
        for (p, exact) in [(0.5, 500_000.0), (0.99, 990_000.0), (1.0, 1_000_000.0)] {
            let got = histogram.quantile_ns(p).unwrap() as f64;
            assert!((got / exact - 1.0).abs() < 1e-3, "{p}: {got}");
        }
        assert_eq!(LatencyHistogram::default().quantile_ns(0.5), None);
    }

    #[test]
    fn values_out_of_range_are_kept_at_the_ends() {
        let histogram = LatencyHistogram::of(&[-5.0, 0.0, f64::NAN, 1e30]);
        assert_eq!(histogram.count(), 4);
        assert_eq!(histogram.quantile_ns(0.5), Some(1));
        assert!(histogram.quantile_ns(1.0).unwrap() >= HIGHEST_NS);
    }

    #[test]
    fn the_written_form_opens_as_the_format_says() {
        // HdrHistogram's V2 specification: cookie 0x1c849304 with word-size bit 0x10, then the compressed length.
        let empty = LatencyHistogram::default().to_base64().unwrap();
        let bytes = STANDARD.decode(&empty).unwrap();
        assert_eq!(bytes[..4], [0x1c, 0x84, 0x93, 0x14]);
        assert_eq!(u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize, bytes.len() - 8);
        assert_eq!(LatencyHistogram::from_base64(&empty).unwrap().count(), 0);
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        let base64 = LatencyHistogram::from_base64("not base64!").unwrap_err();
        assert!(base64.to_string().contains("base64"), "{base64}");
        let format = LatencyHistogram::from_base64("AAAAAAAAAAA=").unwrap_err();
        assert!(format.to_string().contains("V2"), "{format}");
    }

    proptest! {
        #[test]
        fn merging_written_shards_is_recording_at_once(
            left in prop::collection::vec(1.0..1e12f64, 0..50),
            right in prop::collection::vec(1.0..1e12f64, 0..50),
        ) {
            let mut merged = LatencyHistogram::from_base64(&LatencyHistogram::of(&left).to_base64().unwrap()).unwrap();
            merged.merge(&LatencyHistogram::of(&right)).unwrap();
            prop_assert_eq!(merged, LatencyHistogram::of(&[left, right].concat()));
        }
    }
}
