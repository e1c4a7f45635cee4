//! The random start of a clip.

use rand::{Rng, RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::config::{LabelMode, PALETTE, ShapeKind, ShapesConfig};
use super::motion::Disc;

/// Shapes that are placed by rejection are at least this far from each other and from the walls.
const GAP: f64 = 0.01;

/// Number of attempts to place all shapes at random before a grid is used.
const ATTEMPTS: usize = 200;

/// What the seed determines. Shape `i` has `kinds[i]`, `colours[i]`, `discs[i]`.
pub(super) struct Scene {
    pub kinds: Vec<ShapeKind>,
    pub colours: Vec<[u8; 3]>,
    pub discs: Vec<Disc>,
    pub label: Option<usize>,
}

impl Scene {
    /// The scene of a seed. It does not depend on `size` and `frames`.
    pub(super) fn new(config: &ShapesConfig, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let count = rng.random_range(config.min_shapes..=config.max_shapes);

        let mut kinds: Vec<usize> = (0..count)
            .map(|_| rng.random_range(0..config.shapes.len()))
            .collect();
        let label = match config.labels {
            LabelMode::Off => None,
            LabelMode::Kind => {
                kinds = vec![kinds[0]; count];
                Some(kinds[0])
            }
            LabelMode::Count => Some(count - config.min_shapes),
        };

        let mut colours = PALETTE.to_vec();
        colours.shuffle(&mut rng);
        colours.truncate(count);

        let radii: Vec<f64> = (0..count)
            .map(|_| uniform(&mut rng, config.min_radius, config.max_radius))
            .collect();
        let positions = (0..ATTEMPTS)
            .find_map(|_| scatter(&mut rng, &radii))
            .unwrap_or_else(|| on_grid(&mut rng, config.grid_side(), count));
        let discs = radii
            .into_iter()
            .zip(positions)
            .map(|(radius, position)| {
                let speed = uniform(&mut rng, config.min_speed, config.max_speed);
                let velocity = direction(&mut rng).map(|v| v * speed);
                Disc {
                    radius,
                    position,
                    velocity,
                }
            })
            .collect();

        Self {
            kinds: kinds.into_iter().map(|k| config.shapes[k]).collect(),
            colours,
            discs,
            label,
        }
    }
}

/// One attempt to place discs of these radii apart from each other.
fn scatter(rng: &mut impl Rng, radii: &[f64]) -> Option<Vec<[f64; 2]>> {
    let mut positions: Vec<[f64; 2]> = Vec::with_capacity(radii.len());
    for (i, &radius) in radii.iter().enumerate() {
        let margin = radius + GAP;
        let position = [(); 2].map(|()| uniform(rng, margin, 1.0 - margin));
        let apart = positions.iter().zip(&radii[..i]).all(|(other, r)| {
            let d = [position[0] - other[0], position[1] - other[1]];
            let reach = radius + r + GAP;
            d[0] * d[0] + d[1] * d[1] >= reach * reach
        });
        if !apart {
            return None;
        }
        positions.push(position);
    }
    Some(positions)
}

/// Centres of `count` different cells of a grid of `side x side` cells.
fn on_grid(rng: &mut impl Rng, side: usize, count: usize) -> Vec<[f64; 2]> {
    let mut cells: Vec<usize> = (0..side * side).collect();
    cells.shuffle(rng);
    let centre = |i: usize| (i as f64 + 0.5) / side as f64;
    cells[..count]
        .iter()
        .map(|cell| [centre(cell % side), centre(cell / side)])
        .collect()
}

/// Uniform over directions, with nothing but arithmetic and a square root, so
/// that every platform gets the same bits.
fn direction(rng: &mut impl Rng) -> [f64; 2] {
    loop {
        let v = [(); 2].map(|()| uniform(rng, -1.0, 1.0));
        let square = v[0] * v[0] + v[1] * v[1];
        if (0.01..=1.0).contains(&square) {
            return v.map(|x| x / square.sqrt());
        }
    }
}

fn uniform(rng: &mut impl Rng, low: f64, high: f64) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_apart(discs: &[Disc]) {
        for (i, a) in discs.iter().enumerate() {
            for axis in 0..2 {
                assert!(a.position[axis] >= a.radius && a.position[axis] <= 1.0 - a.radius);
            }
            for b in &discs[..i] {
                let d = (a.position[0] - b.position[0]).hypot(a.position[1] - b.position[1]);
                assert!(d >= a.radius + b.radius, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn starts_are_disjoint_and_inside() {
        let config = ShapesConfig {
            max_shapes: 6,
            ..Default::default()
        };
        config.validate().unwrap_err(); // Only four of the largest surely fit.
        for (max_shapes, max_radius) in [(3, 0.18), (4, 0.25), (6, 0.16), (1, 0.4)] {
            let config = ShapesConfig {
                max_shapes,
                max_radius,
                ..Default::default()
            };
            config.validate().unwrap();
            for seed in 0..300 {
                assert_apart(&Scene::new(&config, seed).discs);
            }
        }
    }

    /// Four discs of radius 0.25 fit in only one way: the grid.
    #[test]
    fn the_tightest_scene_uses_the_grid() {
        let config = ShapesConfig {
            min_shapes: 4,
            max_shapes: 4,
            min_radius: 0.25,
            max_radius: 0.25,
            ..Default::default()
        };
        config.validate().unwrap();
        let scene = Scene::new(&config, 0);
        assert_apart(&scene.discs);
        for disc in scene.discs {
            assert!(disc.position.iter().all(|&x| x == 0.25 || x == 0.75));
        }
    }

    #[test]
    fn scenes_stay_in_their_ranges() {
        let config = ShapesConfig::default();
        let mut counts = [0; 4];
        for seed in 0..600 {
            let scene = Scene::new(&config, seed);
            counts[scene.discs.len()] += 1;
            for disc in &scene.discs {
                let speed = disc.velocity[0].hypot(disc.velocity[1]);
                assert!((0.02 - 1e-12..0.06 + 1e-12).contains(&speed));
                assert!((0.10..0.18).contains(&disc.radius));
            }
            let mut colours = scene.colours.clone();
            colours.sort_unstable();
            colours.dedup();
            assert_eq!(colours.len(), scene.discs.len());
        }
        // 200 each on average; five standard deviations are 58.
        assert!(
            counts[1..].iter().all(|c| (142..258).contains(c)),
            "{counts:?}"
        );
        assert_eq!(counts[0], 0);
    }

    #[test]
    fn labels() {
        let mut config = ShapesConfig {
            min_shapes: 2,
            max_shapes: 4,
            ..Default::default()
        };
        assert_eq!(Scene::new(&config, 5).label, None);
        config.labels = LabelMode::Count;
        let mut seen = [false; 3];
        for seed in 0..50 {
            let scene = Scene::new(&config, seed);
            assert_eq!(scene.label, Some(scene.discs.len() - 2));
            seen[scene.label.unwrap()] = true;
        }
        assert_eq!(seen, [true; 3]);
        config.labels = LabelMode::Kind;
        for seed in 0..50 {
            let scene = Scene::new(&config, seed);
            let kind = config.shapes[scene.label.unwrap()];
            assert!(scene.kinds.iter().all(|&k| k == kind));
        }
    }
}
