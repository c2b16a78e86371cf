//! Labels at the ends of lines: next to where a line ends, and not upon each other.

/// Heights nearest to the wanted ones, in their order, that lie at least `gap` apart and within `low..=high` where there
/// is room for all.
pub(super) fn spread(wanted: &[f64], gap: f64, (low, high): (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    // Neighbours that would touch form a block around the mean of what they want, inside the bounds; blocks that touch join.
    let centre = |(sum, n): (f64, usize)| {
        let half = gap * (n - 1) as f64 / 2.0;
        (sum / n as f64).min(high - half).max(low + half)
    };
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    for index in order.iter().copied() {
        blocks.push((wanted[index], 1));
        while let [.., above, below] = blocks[..] {
            if centre(below) - centre(above) >= gap * (above.1 + below.1) as f64 / 2.0 {
                break;
            }
            blocks.truncate(blocks.len() - 2);
            blocks.push((above.0 + below.0, above.1 + below.1));
        }
    }
    let mut heights = vec![0.0; wanted.len()];
    let mut next = order.into_iter();
    for block in blocks {
        let top = centre(block) - gap * (block.1 - 1) as f64 / 2.0;
        for (i, index) in next.by_ref().take(block.1).enumerate() {
            heights[index] = top + gap * i as f64;
        }
    }
    heights
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_that_have_room_stay_where_they_are() {
        assert_eq!(spread(&[50.0, 10.0, 90.0], 14.0, (0.0, 100.0)), [50.0, 10.0, 90.0]);
    }

    #[test]
    fn labels_that_touch_share_the_room_around_them() {
        assert_eq!(spread(&[50.0, 52.0], 14.0, (0.0, 100.0)), [44.0, 58.0]);
        assert_eq!(spread(&[99.0, 100.0], 14.0, (0.0, 100.0)), [86.0, 100.0]);
        assert_eq!(spread(&[], 14.0, (0.0, 100.0)), [] as [f64; 0]);
    }

    proptest! {
        #[test]
        fn none_touch_and_all_stay_inside(wanted in prop::collection::vec(0.0..300.0f64, 0..15)) {
            let mut heights = spread(&wanted, 15.0, (0.0, 300.0));
            prop_assert!(heights.iter().all(|h| (-1e-9..=300.0 + 1e-9).contains(h)), "{heights:?}");
            heights.sort_by(f64::total_cmp);
            prop_assert!(heights.windows(2).all(|w| w[1] - w[0] >= 15.0 - 1e-9), "{heights:?}");
        }
    }
}
