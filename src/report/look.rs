//! How a variant looks wherever it is drawn: hue, marker and dash, by its name alone, so that it is the same in every
//! chart of every file. Knows no screen and no page.

use crate::attention::variants;

/// A colour as red, green and blue.
pub type Rgb = (u8, u8, u8);

/// Dots on and off along a line; all are on where the second is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dash(pub u16, pub u16);

/// How a variant looks in charts and tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Index into [`HUES`].
    pub hue: usize,
    /// At its points.
    pub marker: char,
    /// Of its lines.
    pub dash: Dash,
}

/// Okabe and Ito's palette without its vermilion, since red is for what is wrong: on dark ground, and darkened for light
/// ground to at least 4.5 : 1, so that text may have it too.
pub const HUES: [[Rgb; 2]; 6] = [
    [(230, 159, 0), (166, 104, 0)],
    [(0, 182, 132), (0, 112, 80)],
    [(222, 140, 184), (158, 58, 112)],
    [(86, 180, 233), (0, 96, 168)],
    [(240, 228, 66), (122, 112, 0)],
    [(140, 150, 255), (70, 70, 190)],
];
/// One for each variant that is no hybrid.
const MARKERS: [char; 11] = ['◆', '▲', '■', '●', '▼', '○', '△', '□', '◇', '▽', '✚'];
const DASHES: [Dash; 4] = [Dash(1, 0), Dash(5, 2), Dash(2, 2), Dash(8, 3)];

impl Look {
    /// The look of a variant, whatever parameters and sizes stand behind its name. `nth` counts the lines that a chart has
    /// of it: further ones get other markers and dashes.
    #[must_use]
    pub fn of(variant: &str, nth: usize) -> Self {
        let variant = variant.split([':', ' ']).next().unwrap_or(variant);
        let base = variant.split('+').next_back().unwrap_or(variant);
        let is_hybrid = variant.contains('+');
        // The four that the method is about come first, each with a hue of its own.
        let first = ["softmax", "elu", "rfa", "t2r"];
        let known = variants();
        let others = known.iter().map(|v| v.name.as_str()).filter(|name| !name.contains('+') && !first.contains(name));
        let mut places = first.into_iter().chain(others);
        let place = places.position(|name| name == base).unwrap_or(MARKERS.len());
        let shift = 5 * usize::from(is_hybrid) + nth;
        Self {
            // The others share the rest.
            hue: if place < first.len() { place } else { first.len() + place % (HUES.len() - first.len()) },
            marker: MARKERS[(place + shift) % MARKERS.len()],
            dash: DASHES[(usize::from(place > 3) + usize::from(is_hybrid) + nth) % DASHES.len()],
        }
    }

    /// Its colour on dark ground.
    #[must_use]
    pub fn on_dark(self) -> Rgb {
        HUES[self.hue][0]
    }

    /// Its colour on light ground.
    #[must_use]
    pub fn on_light(self) -> Rgb {
        HUES[self.hue][1]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_paper_s_variants_differ_in_hue_and_marker_and_all_others_in_something() {
        let four: Vec<Look> = ["softmax", "elu", "rfa", "t2r"].iter().map(|v| Look::of(v, 0)).collect();
        assert_eq!((Look::of("t2r:32", 0), Look::of("t2r m=32", 0)), (four[3], four[3]));
        assert_eq!(four.iter().map(|l| l.hue).collect::<HashSet<_>>().len(), 4);
        assert_eq!(four.iter().map(|l| l.marker).collect::<HashSet<_>>().len(), 4);
        let all: Vec<Look> = variants().iter().map(|v| Look::of(&v.name, 0)).collect();
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b), "{a:?}");
        }
        // The four keep theirs for themselves and their hybrids.
        let others =
            variants().into_iter().filter(|v| !["softmax", "elu", "rfa", "t2r"].iter().any(|f| v.name.ends_with(f)));
        assert!(others.map(|v| Look::of(&v.name, 0)).all(|look| look.hue > 3));
        let plain = variants().into_iter().filter(|v| !v.name.contains('+'));
        let markers: Vec<char> = plain.map(|v| Look::of(&v.name, 0).marker).collect();
        assert_eq!(markers.iter().collect::<HashSet<_>>().len(), markers.len(), "{markers:?}");
        assert_ne!(Look::of("t2r", 0), Look::of("t2r", 1));
        assert_ne!(Look::of("t2r", 0), Look::of("window+t2r", 0));
    }

    /// Relative luminance as WCAG 2 defines it.
    fn luminance((r, g, b): Rgb) -> f64 {
        let linear = |c: u8| {
            let c = f64::from(c) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    }

    #[test]
    fn every_hue_can_be_read_on_its_ground() {
        let contrast = |a: f64, b: f64| (a.max(b) + 0.05) / (a.min(b) + 0.05);
        for [dark, light] in HUES {
            assert!(contrast(luminance(light), luminance((255, 255, 255))) >= 4.5, "{light:?}");
            assert!(contrast(luminance(dark), luminance((21, 24, 29))) >= 4.5, "{dark:?}");
        }
    }
}
