//! A decode step of linear attention for several heads in one call.

use pulp::{Simd as Vectors, WithSimd};

use super::linear::Step;
use crate::kernels::{Simd, linear::Denominators};

/// What one token of several heads is: features of the queries (heads, group, m) and of the keys (heads, m), values
/// (heads, d_v), and the factors (heads) that the sums take first; none where they do not decay.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a> {
    /// (heads, group, m).
    pub phi_q: &'a [f32],
    /// (heads, m).
    pub phi_k: &'a [f32],
    /// (heads, d_v).
    pub v: &'a [f32],
    /// (heads), or empty.
    pub decay: &'a [f32],
}

/// [`step`](super::linear::step) of one head after another: `sums` holds for each S (m, d_v), z (m) and perhaps more, `out` is
/// (heads, group, d_v), and so are denominators that stand apart (heads, group). A state of small heads is gone through in less than a tenth of a microsecond, of which a call a head
/// would be a good part.
///
/// # Panics
/// If the lengths do not fit together.
pub fn steps<'a>(
    simd: Simd,
    heads: usize,
    tokens: Tokens<'_>,
    sums: &mut [f32],
    denominators: impl Into<Denominators<&'a mut [f32]>>,
    out: &mut [f32],
) {
    if heads == 0 {
        return;
    }
    let Tokens { phi_q, phi_k, v, decay } = tokens;
    let (m, d, width) = (phi_k.len() / heads, v.len() / heads, sums.len() / heads);
    let group = phi_q.len() / phi_k.len();
    assert!(phi_k.len() == heads * m && v.len() == heads * d && phi_q.len() == heads * group * m && m > 0 && d > 0);
    assert!(sums.len() == heads * width && width >= m * (d + 1) && out.len() == heads * group * d);
    assert!(decay.is_empty() || decay.len() == heads);
    let denominators = denominators.into();
    assert!(denominators.fit(heads * group));
    simd.run(Steps { heads, group, tokens, sums, denominators, out });
}

struct Steps<'a> {
    heads: usize,
    group: usize,
    tokens: Tokens<'a>,
    sums: &'a mut [f32],
    denominators: Denominators<&'a mut [f32]>,
    out: &'a mut [f32],
}

impl WithSimd for Steps<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let Self { heads, group, tokens, sums, mut denominators, out } = self;
        let (m, d, width) = (tokens.phi_k.len() / heads, tokens.v.len() / heads, sums.len() / heads);
        for (i, (sums, out)) in sums.chunks_exact_mut(width).zip(out.chunks_exact_mut(group * d)).enumerate() {
            let (s, rest) = sums.split_at_mut(m * d);
            Step {
                first: i * group,
                group,
                phi_q: &tokens.phi_q[i * group * m..][..group * m],
                phi_k: &tokens.phi_k[i * m..][..m],
                v: &tokens.v[i * d..][..d],
                decay: tokens.decay.get(i).copied().unwrap_or(1.0),
                s,
                z: &mut rest[..m],
                denominators: &mut denominators,
                out,
            }
            .with_simd(simd);
        }
    }
}
