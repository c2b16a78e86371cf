//! The vector instructions that dispatched code runs with here. Knows no kernel.

/// `avx512f`, `avx2+fma` or `sse2` on x86, `neon` on 64-bit ARM, else the architecture's name: what `pulp` dispatches
/// to, so that the word and the code agree.
#[must_use]
pub fn isa() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    return match pulp::Arch::new() {
        pulp::Arch::V4(_) => "avx512f",
        pulp::Arch::V3(_) => "avx2+fma",
        _ => "sse2",
    };
    #[cfg(target_arch = "aarch64")]
    return "neon";
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return std::env::consts::ARCH;
}

/// Whether a multiplication and an addition are one instruction in dispatched code; elsewhere `f32::mul_add` is a slow
/// library call.
pub(super) fn has_fma() -> bool {
    matches!(isa(), "avx512f" | "avx2+fma" | "neon")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_agrees_with_the_processor() {
        #[cfg(target_arch = "x86_64")]
        {
            assert_eq!(isa() == "avx512f", is_x86_feature_detected!("avx512f") && has_v4_rest());
            assert_eq!(has_fma(), is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"));
        }
        assert!(!isa().is_empty());
    }

    /// The x86-64-v4 level asks for more than the foundation.
    #[cfg(target_arch = "x86_64")]
    fn has_v4_rest() -> bool {
        is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
    }
}
