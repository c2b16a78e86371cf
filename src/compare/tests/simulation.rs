//! Made-up results with known effects: how often a comparison claims what is not so, and how often it finds what is.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::*;

/// Rounds of a launch.
const ROUNDS: usize = 8;

/// How a machine behaves: standard deviations of the logarithm of times.
#[derive(Clone, Copy)]
struct Noise {
    /// From round to round; one round in ten is three times as far off, and always to the slow side.
    round: f64,
    /// From launch to launch, all cells together.
    common: f64,
    /// From launch to launch, each cell by itself.
    own: f64,
    /// From round to round by this share of the step before.
    persistence: f64,
}

const QUIET: Noise = Noise { round: 0.01, common: 0.003, own: 0.003, persistence: 0.0 };
const USUAL: Noise = Noise { round: 0.03, common: 0.01, own: 0.01, persistence: 0.0 };
const DRIFTING: Noise = Noise { round: 0.02, common: 0.05, own: 0.01, persistence: 0.7 };
const LOUD: Noise = Noise { round: 0.08, common: 0.03, own: 0.03, persistence: 0.3 };
const MACHINES: [(&str, Noise); 4] = [("quiet", QUIET), ("usual", USUAL), ("drifting", DRIFTING), ("loud", LOUD)];

fn normal(rng: &mut ChaCha8Rng) -> f64 {
    StandardNormal.sample(rng)
}

/// Figures of one launch of a cell whose median is `ns`.
fn figures(rng: &mut ChaCha8Rng, ns: f64, noise: Noise) -> Box<[f64]> {
    let mut last = 0.0;
    let one = |_| {
        let stray = if rng.random_bool(0.1) { 3.0 * noise.round * normal(rng).abs() } else { 0.0 };
        let fresh = (1.0 - noise.persistence * noise.persistence).sqrt();
        last = noise.persistence * last + fresh * noise.round * normal(rng);
        ns * (last + stray).exp()
    };
    (0..ROUNDS).map(one).collect()
}

fn keys() -> Vec<CellKey> {
    let lengths = [64, 256, 1024, 4096];
    let of_variant = |variant| lengths.map(|len| CellKey::of(&row("1", variant, len, 1.0)));
    ["softmax", "t2r", "elu"].into_iter().flat_map(of_variant).collect()
}

/// A side of that many launches, all of whose times are `effect` longer.
fn simulated(
    rng: &mut ChaCha8Rng,
    (name, keys): (&str, &[CellKey]),
    launches: usize,
    noise: Noise,
    effect: f64,
) -> Side {
    let mut side = Side::empty(name, Origin::of(&row("1", "t2r", 64, 1.0)));
    for run in 0..launches {
        let common = noise.common * normal(rng);
        for key in keys {
            let ns = 1000.0 * (1.0 + effect) * (common + noise.own * normal(rng)).exp();
            side.simulate(run, key, figures(rng, ns, noise));
        }
    }
    side
}

/// What became of many comparisons: those that claimed anything false, and the share of cells called as they are.
struct Came {
    false_claims: f64,
    found: f64,
}

fn came(
    (comparisons, seed): (usize, u64),
    noise: Noise,
    (base, candidate): (usize, usize),
    effect: f64,
    spread: usize,
) -> Came {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut wrong, mut right, keys) = (0, 0, keys());
    for _ in 0..comparisons {
        let base = simulated(&mut rng, ("b", &keys), base, noise, 0.0);
        let candidate = simulated(&mut rng, ("c", &keys), candidate, noise, effect);
        let same = simulated(&mut rng, ("s", &keys), spread, noise, 0.0);
        let spreads = Spreads::of([&base, &candidate, &same]);
        let c = compare(&base, &candidate, &Options::default(), &spreads).expect("compared");
        let is_false = |v: &Verdict| match v {
            Verdict::Faster => effect >= 0.0,
            Verdict::Slower => effect <= 0.0,
            Verdict::Same => effect.abs() > 0.05,
            _ => false,
        };
        let is_right = |v: &Verdict| !is_false(v) && matches!(v, Verdict::Faster | Verdict::Slower | Verdict::Same);
        wrong += usize::from(c.cells.iter().any(|c| is_false(&c.verdict)));
        right += c.cells.iter().filter(|c| is_right(&c.verdict)).count();
    }
    let of = |n: usize, all: usize| n as f64 / all as f64;
    Came { false_claims: of(wrong, comparisons), found: of(right, comparisons * keys.len()) }
}

/// Launches of base and candidate, and of the same beside them for the machine's spread.
const DESIGNS: [((usize, usize), usize); 6] =
    [((1, 1), 0), ((1, 1), 4), ((3, 1), 0), ((2, 2), 0), ((3, 3), 0), ((5, 5), 0)];

#[test]
fn where_nothing_differs_at_most_one_comparison_in_twenty_claims_anything() {
    for (name, noise) in MACHINES {
        for (i, (launches, spread)) in DESIGNS.into_iter().enumerate() {
            let came = came((1000, 100 + i as u64), noise, launches, 0.0, spread);
            assert!(came.false_claims <= 0.05, "{name} {launches:?} + {spread}: {}", came.false_claims);
        }
    }
}

#[test]
fn nothing_that_differs_by_a_fifth_is_called_the_same_or_the_other_way_round() {
    for (name, noise) in MACHINES {
        for (i, (launches, spread)) in DESIGNS.into_iter().enumerate() {
            for effect in [-0.2, 0.2] {
                let came = came((60, 200 + i as u64), noise, launches, effect, spread);
                assert!(came.false_claims <= 0.05, "{name} {launches:?} {effect}: {}", came.false_claims);
            }
        }
    }
}

#[test]
fn one_percent_and_five_are_not_called_the_other_way_round() {
    for (name, noise) in MACHINES {
        for effect in [-0.05, -0.01, 0.01, 0.05] {
            let came = came((100, 300), noise, (3, 3), effect, 0);
            assert!(came.false_claims <= 0.05, "{name} {effect}: {}", came.false_claims);
        }
    }
}

/// The table of ARCHITECTURE.md: percent of cells that are called what they are where all times differ by so many percent:
/// `same` or the right direction at 0 and 1, the right direction alone at 5, 10 and 20.
const EFFECTS: [f64; 5] = [0.0, 0.01, 0.05, 0.1, 0.2];
const FOUND: [(&str, usize, [f64; 5]); 8] = [
    ("quiet", 3, [100.0, 93.0, 100.0, 100.0, 100.0]),
    ("quiet", 5, [100.0, 100.0, 100.0, 100.0, 100.0]),
    ("usual", 3, [0.0, 0.0, 13.0, 84.0, 100.0]),
    ("usual", 5, [18.0, 16.0, 67.0, 100.0, 100.0]),
    ("drifting", 3, [0.0, 0.0, 1.0, 8.0, 41.0]),
    ("drifting", 5, [0.0, 0.0, 5.0, 30.0, 93.0]),
    ("loud", 3, [0.0, 0.0, 1.0, 3.0, 22.0]),
    ("loud", 5, [0.0, 0.0, 2.0, 19.0, 94.0]),
];

#[test]
fn what_is_there_is_found_as_often_as_the_documents_say() {
    let text = include_str!("../../../ARCHITECTURE.md");
    let (mut wrong, mut all) = (Vec::new(), Vec::new());
    for (machine, launches, expected) in FOUND {
        let noise = MACHINES.iter().find(|(name, _)| *name == machine).expect("a machine").1;
        let found = EFFECTS.map(|effect| 100.0 * came((100, 500), noise, (launches, launches), effect, 0).found);
        all.push(format!("{machine}, {launches} launches: {found:.0?}"));
        if found.iter().zip(expected).any(|(found, expected)| (found - expected).abs() > 8.0) {
            wrong.push(format!("{machine}, {launches} launches: not {expected:?}"));
        }
        let cells: Vec<String> = expected.iter().map(|pct| format!(" {pct} % |")).collect();
        let row = format!("| {machine} | {launches} |{}", cells.concat());
        if !text.contains(&row) {
            wrong.push(format!("ARCHITECTURE.md lacks {row}"));
        }
    }
    assert!(wrong.is_empty(), "{}\nfound: {}", wrong.join("\n"), all.join("\n"));
}
