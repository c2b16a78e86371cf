//! The swap of a pretrained model's attention: which layers, into what, and what that does to the state. Everything else of
//! the model stays as it is; what the new attention adds is drawn (Kasai et al. 2021, §3).

use std::{collections::BTreeSet, fmt, str::FromStr};

use crate::{
    attention::{ResolveRequest, Resolved, memory_bytes, resolve, state_bytes},
    model::{LayerAttention, Setup},
    spec::{DType, VariantSpec},
};

/// Which decoder layers are swapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerChoice {
    /// A share in percent. What is left out is spread evenly, the top layer first: at 75 % the top layer and every fourth
    /// below it stay as they are (T2R-75%).
    Percent(u8),
    /// These, counted from 0 at the bottom.
    These(BTreeSet<usize>),
}

impl LayerChoice {
    /// Whether layer `i` of `n`, counted from the bottom, is swapped.
    #[must_use]
    pub fn has(&self, i: usize, n: usize) -> bool {
        match self {
            Self::These(layers) => layers.contains(&i),
            Self::Percent(100) => true,
            Self::Percent(percent) => {
                let kept = 100 - usize::from(*percent);
                let from_top = n - 1 - i;
                // As many are kept up to here as the share comes to; one more is kept where that number rises.
                from_top != 0 && from_top * kept / 100 == (from_top - 1) * kept / 100
            }
        }
    }
}

impl FromStr for LayerChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected all, a share such as 75%, or layers counted from 0 at the bottom such as 0-5,9";
        if text == "all" {
            return Ok(Self::Percent(100));
        }
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.trim().parse::<u8>().ok().filter(|p| (1..=100).contains(p));
            return percent.map(Self::Percent).ok_or_else(|| format!("'{text}' is no share of layers; {expected}"));
        }
        let number = |part: &str| part.trim().parse::<usize>().ok().filter(|n| *n < 4096);
        let mut layers = BTreeSet::new();
        for part in text.split(',') {
            let range = match part.split_once('-') {
                None => number(part).map(|n| n..=n),
                Some((first, last)) => number(first).zip(number(last)).map(|(first, last)| first..=last),
            };
            match range {
                Some(range) if !range.is_empty() => layers.extend(range),
                _ => return Err(format!("'{part}' in '{text}' is no layer; {expected}")),
            }
        }
        Ok(Self::These(layers))
    }
}

impl fmt::Display for LayerChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(100) => f.pad("all"),
            Self::Percent(percent) => f.pad(&format!("{percent}%")),
            Self::These(layers) => f.pad(&layers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
        }
    }
}

/// A swap as it is asked for.
#[derive(Debug, Clone)]
pub struct Conversion {
    /// The variant to swap to.
    pub to: VariantSpec,
    /// Length of φ; the variant's own where it is not given.
    pub feature_dim: Option<usize>,
    /// Length of φ in cross-attention; as in self-attention where it is not given.
    pub cross_feature_dim: Option<usize>,
    /// In which layers.
    pub layers: LayerChoice,
}

impl Conversion {
    /// The model with its attention swapped; cross-attention with it.
    ///
    /// # Errors
    /// A message for people: an unknown variant, an impossible size, a layer that is not there.
    pub fn apply(&self, setup: &Setup) -> Result<Setup, String> {
        let n = setup.layers.len();
        if let LayerChoice::These(layers) = &self.layers
            && let Some(beyond) = layers.iter().find(|i| **i >= n)
        {
            return Err(format!("there is no layer {beyond}: the model has {n}, counted from 0"));
        }
        let head_dim = setup.heads.head_dim;
        let request = ResolveRequest { head_dim, feature_dim: self.feature_dim, can_merge: false, causal: true };
        let own = resolve(&self.to, request)?;
        must_be("--feature-dim", self.feature_dim, &own)?;
        let cross = if setup.has_encoder() { Some(self.across(request)?) } else { None };
        let mut setup = setup.unmerged();
        for (i, layer) in setup.layers.iter_mut().enumerate() {
            if self.layers.has(i, n) {
                *layer = LayerAttention { own: own.clone(), cross: cross.clone() };
            }
        }
        Ok(setup)
    }

    fn across(&self, request: ResolveRequest) -> Result<Resolved, String> {
        let mut spec = self.to.clone();
        if self.cross_feature_dim.is_some() {
            // A length written with the variant is that of self-attention.
            spec.params.retain(|(key, _)| !key.is_empty() && key != "feature_dim");
        }
        let feature_dim = self.cross_feature_dim.or(request.feature_dim);
        let cross = resolve(&spec, ResolveRequest { feature_dim, causal: false, ..request })?;
        must_be("--cross-feature-dim", self.cross_feature_dim, &cross)?;
        Ok(cross)
    }
}

/// Refuses a length of φ that was asked for and is not the variant's: its map leaves none free, or it has no map.
fn must_be(option: &str, asked: Option<usize>, variant: &Resolved) -> Result<(), String> {
    let name = &variant.spec.name;
    match (asked, variant.feature_dim) {
        (Some(asked), Some(m)) if asked != m => {
            Err(format!("{option} {asked}: {name} has {m} features here; leave the option out"))
        }
        (Some(asked), None) => Err(format!("{option} {asked}: {name} has no feature map; leave the option out")),
        _ => Ok(()),
    }
}

/// Bytes that a model keeps of one sequence of `len` tokens in f32, over a source of as many where it looks at one; `None`
/// where that overflows.
#[must_use]
pub fn sequence_bytes(setup: &Setup, len: usize) -> Option<u64> {
    setup.layers.iter().try_fold(0u64, |sum, layer| {
        let own = state_bytes(&layer.own, setup.heads, 1, len, DType::F32)?.total()?;
        let cross = match &layer.cross {
            Some(cross) => memory_bytes(cross, setup.heads, 1, len, DType::F32)?.total()?,
            None => 0,
        };
        sum.checked_add(own)?.checked_add(cross)
    })
}

/// Longest sequence that a break-even is looked for in.
const FAR: usize = 1 << 30;

/// The shortest sequence of which `after` keeps less than `before`; `None` where there is none.
#[must_use]
pub fn break_even(before: &Setup, after: &Setup) -> Option<usize> {
    let is_less = |len: usize| Some(sequence_bytes(after, len)? < sequence_bytes(before, len)?);
    if !is_less(FAR)? {
        return None;
    }
    // What is kept of a sequence grows by at most one cache's tokens and then by less: once less, it stays less.
    let (mut more, mut less) = (0, FAR);
    while less - more > 1 {
        let middle = more + (less - more) / 2;
        if is_less(middle)? { less = middle } else { more = middle }
    }
    Some(less)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        attention::Heads,
        spec::{Activation, ModelShape, Norm, Positions},
    };

    fn setup(n_layers: usize) -> Setup {
        let shape = ModelShape {
            n_layers,
            d_model: 16,
            ffn_dim: 20,
            vocab_size: 23,
            norm: Norm::RmsNorm,
            positions: Positions::Rotary,
            activation: Activation::Swiglu,
            tied_output: true,
        };
        let softmax = Resolved { spec: VariantSpec::new("softmax"), feature_dim: None };
        Setup::uniform(shape, Heads { n_heads: 4, n_kv_heads: 2, head_dim: 8 }, softmax, None, 64)
    }

    fn converted(to: &str, layers: &str, n_layers: usize) -> Setup {
        let (to, layers): (VariantSpec, _) = (to.parse().unwrap(), layers.parse().unwrap());
        let feature_dim = (to.name == "t2r").then_some(4);
        Conversion { to, feature_dim, cross_feature_dim: None, layers }.apply(&setup(n_layers)).unwrap()
    }

    fn swapped(setup: &Setup) -> Vec<usize> {
        (0..setup.layers.len()).filter(|i| setup.layers[*i].own.spec.name != "softmax").collect()
    }

    #[test]
    fn at_75_percent_the_top_layer_and_every_fourth_below_it_keep_softmax() {
        let kept = |n: usize| (0..n).filter(|i| !swapped(&converted("t2r", "75%", n)).contains(i)).collect::<Vec<_>>();
        assert_eq!(kept(8), [3, 7]);
        assert_eq!(kept(6), [1, 5]);
        assert_eq!(kept(30), [1, 5, 9, 13, 17, 21, 25, 29]);
        assert_eq!(swapped(&converted("t2r", "50%", 6)), [0, 2, 4]);
        assert_eq!(swapped(&converted("elu", "all", 3)), [0, 1, 2]);
        assert_eq!(swapped(&converted("none", "0,2-3", 5)), [0, 2, 3]);
    }

    #[test]
    fn break_even_is_where_the_state_is_smaller_than_the_cache() {
        // m(d + 1) numbers against 2d a token: 4 · 9 / 16 = 2.25 tokens.
        assert_eq!(break_even(&setup(3), &converted("t2r", "all", 3)), Some(3));
        assert_eq!(break_even(&setup(4), &converted("t2r", "75%", 4)), Some(3));
        assert_eq!(break_even(&setup(3), &converted("none", "all", 3)), Some(1));
        assert_eq!(break_even(&setup(3), &setup(3)), None);
        assert_eq!(break_even(&setup(3), &converted("window:64", "all", 3)), Some(65));
        // 2 layers, 2 key heads, 5 tokens of 16 numbers; sums of 36 numbers whatever the length.
        assert_eq!(sequence_bytes(&setup(2), 5), Some(2 * 2 * 5 * 16 * 4));
        assert_eq!(sequence_bytes(&converted("t2r", "all", 2), 5), Some(2 * 2 * 36 * 4));
    }

    #[test]
    fn what_cannot_be_swapped_is_said() {
        let refused = |to: &str, layers: &str| {
            let (to, layers) = (to.parse().unwrap(), layers.parse().unwrap());
            Conversion { to, feature_dim: Some(3), cross_feature_dim: None, layers }.apply(&setup(2)).unwrap_err()
        };
        assert!(refused("t3r", "all").contains("did you mean 't2r'?"));
        assert!(refused("rfa", "all").contains("must be even"));
        assert!(refused("elu", "all").contains("elu has 8 features"), "{}", refused("elu", "all"));
        assert!(refused("t2r:4", "all").contains("t2r has 4 features"));
        assert!(refused("window:64", "all").contains("window has no feature map"));
        assert!(refused("t2r", "1,2").contains("no layer 2"));
        assert!(refused("t2r:merged=true", "all").contains("nothing merges"));
        let (to, layers) = ("performer".parse().unwrap(), "all".parse().unwrap());
        let empty = Conversion { to, feature_dim: Some(0), cross_feature_dim: None, layers };
        assert!(empty.apply(&setup(2)).unwrap_err().contains("feature_dim '0' is not a size"));
        for bad in ["", "0%", "101%", "5-3", "a", "1,,2", "-1", "99999999999999999999"] {
            assert!(bad.parse::<LayerChoice>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn choices_read_back_and_nothing_panics(text in "[0-9,%a-z-]{0,12}|\\PC{0,8}") {
            if let Ok(choice) = text.parse::<LayerChoice>() {
                prop_assert_eq!(choice.to_string().parse(), Ok(choice));
            }
        }

        #[test]
        fn a_share_swaps_about_as_many_layers(percent in 1u8..=100, n in 1usize..200) {
            let swapped = (0..n).filter(|i| LayerChoice::Percent(percent).has(*i, n)).count();
            let want = f64::from(percent) / 100.0 * n as f64;
            prop_assert!((swapped as f64 - want).abs() <= 1.0, "{} of {}", swapped, n);
        }
    }
}
