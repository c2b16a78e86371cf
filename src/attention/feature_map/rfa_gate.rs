//! Random features with a gate (Peng et al. 2021, §3.2): `S_i = g_i S_{i-1} + (1 − g_i) φ(k_i) v_iᵀ`, z likewise, with
//! g_i = sigmoid(w_g·x_i + b_g) from the layer's input. φ is that of `rfa`; the gate is the linear layer's business.

use super::{MapEntry, rfa};

/// `denominator=positive` is max(den, this): den is a decaying mean of similarities, each 1 at most, whatever the length.
const POSITIVE: f64 = 0.1;

pub(super) const ENTRY: MapEntry = MapEntry {
    name: "rfa-gate",
    summary: "random Fourier features with a learned gate that lets the past decay, causal only",
    build: |spec, shape, params, prefix| rfa::build(spec, shape, params, prefix, POSITIVE),
    gated: true,
    ..rfa::ENTRY
};
