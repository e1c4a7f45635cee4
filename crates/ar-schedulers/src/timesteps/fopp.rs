//! Frame-oriented probability propagation (FoPP) in closed form.

use std::collections::BTreeSet;

/// Draws the timesteps of one clip, `[frames]`, non-decreasing.
///
/// The paper extends the sequence frame by frame from the given one, with transition probabilities from two tables of
/// completion counts. That makes every completion equally likely, so the earlier frames are a uniform multiset of
/// `0..=t`, sorted, and the later ones a uniform multiset of `t..timesteps`, sorted. This needs no tables, whose counts
/// overflow f64 near 300 frames.
pub(super) fn sample(
    frames: usize,
    timesteps: usize,
    draw: &mut impl FnMut(usize) -> usize,
) -> Vec<usize> {
    let frame = draw(frames);
    let t = draw(timesteps);
    let mut sequence = Vec::with_capacity(frames);
    sequence.extend(sorted_multiset(frame, t + 1, draw));
    sequence.push(t);
    let later = sorted_multiset(frames - 1 - frame, timesteps - t, draw);
    sequence.extend(later.into_iter().map(|above| t + above));
    sequence
}

/// A uniformly random multiset of `size` from `0..values`, in non-decreasing order.
///
/// Stars and bars: adding `0, 1, .., size - 1` to a non-decreasing sequence makes it strictly
/// increasing, which maps the multisets one to one onto the `size`-subsets of
/// `0..values + size - 1`.
pub(super) fn sorted_multiset(
    size: usize,
    values: usize,
    draw: &mut impl FnMut(usize) -> usize,
) -> Vec<usize> {
    let universe = values
        .checked_add(size)
        .unwrap_or_else(|| panic!("{size} frames and {values} timesteps overflow"))
        - 1;
    let subset = random_subset(size, universe, draw);
    subset
        .into_iter()
        .enumerate()
        .map(|(i, value)| value - i)
        .collect()
}

/// A uniformly random `size`-subset of `0..universe`, by Floyd's algorithm: O(size log size), however large the
/// universe is. (Bentley and Floyd, "A sample of brilliance", CACM 1987.)
fn random_subset(
    size: usize,
    universe: usize,
    draw: &mut impl FnMut(usize) -> usize,
) -> BTreeSet<usize> {
    let mut subset = BTreeSet::new();
    for last in universe - size..universe {
        if !subset.insert(draw(last + 1)) {
            subset.insert(last);
        }
    }
    subset
}
