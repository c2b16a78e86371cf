//! Functions of one number that stand between products, and their slopes.

use super::dense::{GELU_CUBE, GELU_SCALE};

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))` (Hendrycks and Gimpel 2016).
    Gelu,
    /// `x + 1` above zero, `exp x` below (Katharopoulos et al. 2020, eq. 7).
    EluPlusOne,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Relu, Self::Gelu, Self::EluPlusOne];

    /// f(x).
    #[must_use]
    pub fn of(self, x: f32) -> f32 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Gelu => 0.5 * x * (1.0 + (GELU_SCALE * x * (1.0 + GELU_CUBE * x * x)).tanh()),
            Self::EluPlusOne if x > 0.0 => x + 1.0,
            Self::EluPlusOne => x.exp(),
        }
    }

    /// f′(x); that of relu is 0 at 0.
    #[must_use]
    pub fn slope(self, x: f32) -> f32 {
        match self {
            Self::Relu => f32::from(x > 0.0),
            Self::Gelu => {
                let tanh = (GELU_SCALE * x * (1.0 + GELU_CUBE * x * x)).tanh();
                let inner = GELU_SCALE * (1.0 + 3.0 * GELU_CUBE * x * x);
                let steep = 1.0 - tanh * tanh;
                // Where the curve is straight, what is beside its slope may be beyond f32.
                0.5 * (1.0 + tanh) + if steep > 0.0 { 0.5 * x * steep * inner } else { 0.0 }
            }
            Self::EluPlusOne if x > 0.0 => 1.0,
            Self::EluPlusOne => x.exp(),
        }
    }
}
