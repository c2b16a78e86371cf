//! Which vector instructions a kernel runs with: detected once, handed down, so that tests can run every level.

use pulp::Arch;

/// A level of vector instructions that this processor has.
#[derive(Debug, Clone, Copy)]
pub struct Simd(Arch);

impl Simd {
    /// The best level of this processor.
    #[must_use]
    pub fn detect() -> Self {
        Self(Arch::new())
    }

    /// No vector instructions beyond what every build has.
    #[must_use]
    pub fn scalar() -> Self {
        Self(Arch::Scalar)
    }

    /// Every level that can be had here, the best first: what tests go through.
    #[must_use]
    pub fn levels() -> Vec<Self> {
        #[allow(unused_mut, reason = "other processors have no level between")]
        let mut levels = vec![Self::detect()];
        #[cfg(target_arch = "x86_64")]
        if let (Arch::V4(_), Some(between)) = (levels[0].0, pulp::x86::V3::try_new()) {
            levels.push(Self(Arch::V3(between)));
        }
        levels.push(Self::scalar());
        levels
    }

    /// Runs `op` compiled for this level.
    pub fn run<Op: pulp::WithSimd>(self, op: Op) -> Op::Output {
        self.0.dispatch(op)
    }
}
