//! The step size over the course of a training: warm-up, then decay.

use serde::Serialize;

use crate::spec::words;

/// Share of the peak that a cosine ends at.
const FLOOR: f64 = 0.1;

words! {
    /// What follows the warm-up.
    Decay("decay") {
        /// Half a cosine from the peak to a tenth of it at the last update (Loshchilov and Hutter 2017).
        Cosine = "cosine",
        /// peak · √(warm-up / update) (Vaswani et al. 2017, §5.3).
        InverseSqrt = "inverse-sqrt",
        /// The peak.
        Constant = "constant",
    }
}

/// Step sizes by the number of the update.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Schedule {
    /// Largest step size, reached at the end of the warm-up.
    pub peak: f64,
    /// Updates over which it grows in proportion.
    pub warmup: u64,
    /// What follows.
    pub decay: Decay,
    /// Updates in all.
    pub steps: u64,
}

impl Schedule {
    /// Step size of update `step`, from 1.
    #[must_use]
    pub fn at(&self, step: u64) -> f64 {
        let (step, warmup) = (step as f64, self.warmup as f64);
        if step < warmup {
            return self.peak * step / warmup;
        }
        match self.decay {
            Decay::Constant => self.peak,
            Decay::InverseSqrt => self.peak * (warmup.max(1.0) / step.max(1.0)).sqrt(),
            Decay::Cosine => {
                let left = (self.steps as f64 - warmup).max(1.0);
                let done = ((step - warmup) / left).clamp(0.0, 1.0);
                self.peak * (FLOOR + (1.0 - FLOOR) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(decay: Decay, steps: &[u64]) -> Vec<f64> {
        let schedule = Schedule { peak: 2.0, warmup: 10, decay, steps: 110 };
        steps.iter().map(|s| schedule.at(*s)).collect()
    }

    #[test]
    fn each_form_by_hand() {
        for decay in Decay::ALL {
            assert_eq!(at(*decay, &[1, 5, 10]), [0.2, 1.0, 2.0], "{decay}");
        }
        let near = |got: Vec<f64>, want: &[f64]| got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-12);
        // Halfway cos = 0: 0.1 + 0.9/2 of the peak; at the end a tenth of it.
        assert!(near(at(Decay::Cosine, &[60, 110, 500]), &[1.1, 0.2, 0.2]));
        assert!(near(at(Decay::InverseSqrt, &[40, 90, 1000]), &[1.0, 2.0 / 3.0, 0.2]));
        assert_eq!(at(Decay::Constant, &[11, 1000]), [2.0, 2.0]);
    }

    #[test]
    fn without_warm_up_the_first_update_has_the_peak() {
        for decay in Decay::ALL {
            let schedule = Schedule { peak: 3.0, warmup: 0, decay: *decay, steps: 1_000_000 };
            assert!((schedule.at(1) - 3.0).abs() < 1e-6, "{decay}: {}", schedule.at(1));
        }
    }
}
