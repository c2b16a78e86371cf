//! Which parameters are trained.

use crate::spec::words;

words! {
    /// What `--train` says.
    Trained("choice of what to train") {
        /// Every parameter.
        All = "all",
        /// The decoder's attention layers: projections, gates and feature maps.
        Attention = "attention",
        /// What the feature maps and gates of the decoder learn, and nothing that the model had before its conversion.
        FeatureMaps = "feature-maps",
    }
}

/// Parts of an attention layer that a converted model has from the one it was made of.
const PROJECTIONS: [&str; 4] = ["q", "k", "v", "out"];

/// Parts that are new in it.
const NEW: [&str; 2] = ["attention", "gate"];

impl Trained {
    /// Whether the parameter of that name is trained: `blocks.3.cross.q.weight`.
    #[must_use]
    pub fn includes(self, name: &str) -> bool {
        let part = || -> Option<&str> {
            let (_, rest) = name.strip_prefix("blocks.")?.split_once('.')?;
            rest.strip_prefix("cross.").unwrap_or(rest).split('.').next()
        };
        let is_one_of = |parts: &[&str]| part().is_some_and(|part| parts.contains(&part));
        match self {
            Self::All => true,
            Self::Attention => is_one_of(&PROJECTIONS) || is_one_of(&NEW),
            Self::FeatureMaps => is_one_of(&NEW),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_model_fall_where_they_belong() {
        let of = |name: &str| Trained::ALL.iter().map(|t| u8::from(t.includes(name))).collect::<Vec<_>>();
        for name in ["blocks.0.attention.weight", "blocks.12.cross.attention.sigma", "blocks.1.gate.bias"] {
            assert_eq!(of(name), [1, 1, 1], "{name}");
        }
        for name in ["blocks.0.q.weight", "blocks.3.cross.out.bias"] {
            assert_eq!(of(name), [1, 1, 0], "{name}");
        }
        for name in ["embedding", "encoder.0.q.weight", "blocks.0.ffn.gate.weight", "blocks.0.attention_norm.weight"] {
            assert_eq!(of(name), [1, 0, 0], "{name}");
        }
    }
}
