use super::*;

fn world(change: impl FnOnce(&mut ShapesConfig)) -> ShapesWorld {
    let mut config = ShapesConfig::default();
    change(&mut config);
    ShapesWorld::new(config).unwrap()
}

#[test]
fn a_seed_is_a_clip() {
    let world = world(|_| ());
    for seed in [0, 1, u64::MAX] {
        let (a, b) = (world.clip(seed), world.clip(seed));
        assert_eq!(a.clip, b.clip);
        assert_eq!(a.trajectories, b.trajectories);
    }
    assert_ne!(world.clip(0).clip, world.clip(1).clip);
}

/// Pinned: if this fails, old seeds would mean other clips, and every result measured on them would
/// be void.
#[test]
fn seeds_keep_their_meaning() {
    let world = world(|_| ());
    let clips = (0..8).flat_map(|seed| world.clip(seed).clip.into_frames());
    let hash = clips.flat_map(|frame| frame.into_rgb()).fold(
        0xcbf2_9ce4_8422_2325_u64, // FNV-1a
        |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3),
    );
    assert_eq!(hash, 0xe7e7_2515_9402_8192, "{hash:#x}");
}

#[test]
fn longer_clips_begin_like_shorter_ones() {
    for collide in [false, true] {
        let short = world(|c| c.collide = collide);
        let long = world(|c| (c.collide, c.frames) = (collide, 50));
        for seed in 0..5 {
            let (short, long) = (short.clip(seed), long.clip(seed));
            assert_eq!(long.clip.frames().len(), 50);
            assert_eq!(short.clip.frames(), &long.clip.frames()[..16]);
            for (a, b) in short.trajectories.iter().zip(&long.trajectories) {
                assert_eq!(a.positions, b.positions[..16]);
                assert_eq!(a.velocities, b.velocities[..16]);
            }
        }
    }
}

/// Centroid and area of what differs from the background, weighted by how
/// much, in pixels.
fn measure(frame: &Frame, colour: [u8; 3], background: [u8; 3]) -> ([f64; 2], f64) {
    let (mut area, mut moment) = (0.0, [0.0; 2]);
    for (i, pixel) in frame.rgb().chunks(3).enumerate() {
        // Position on the line from the background to the colour.
        let (mut along, mut length) = (0.0, 0.0);
        for c in 0..3 {
            let direction = f64::from(colour[c]) - f64::from(background[c]);
            along += (f64::from(pixel[c]) - f64::from(background[c])) * direction;
            length += direction * direction;
        }
        let weight = along / length;
        area += weight;
        moment[0] += weight * ((i % frame.width()) as f64 + 0.5);
        moment[1] += weight * ((i / frame.width()) as f64 + 0.5);
    }
    (moment.map(|m| m / area), area)
}

#[test]
fn pictures_show_the_trajectory_at_every_resolution() {
    for kind in [
        ShapeKind::Circle,
        ShapeKind::Square,
        ShapeKind::Triangle,
        ShapeKind::Diamond,
        ShapeKind::Cross,
    ] {
        let mut first = None;
        for size in [32, 64, 256] {
            let world = world(|c| (c.size, c.max_shapes, c.shapes) = (size, 1, vec![kind]));
            let ShapesClip {
                clip, trajectories, ..
            } = world.clip(3);
            let shape = &trajectories[0];
            for (frame, position) in clip.frames().iter().zip(&shape.positions) {
                assert_eq!((frame.width(), frame.height()), (size, size));
                let (centroid, _) = measure(frame, shape.colour, world.config().background);
                for axis in 0..2 {
                    let error = centroid[axis] - position[axis] * size as f64;
                    // Anti-aliasing leaves a small part of a pixel.
                    assert!(error.abs() < 0.1, "{kind:?} {size} {error}");
                }
            }
            assert_eq!(first.get_or_insert(trajectories.clone()), &trajectories);
        }
    }
}

#[test]
fn shapes_stay_inside_and_keep_their_energy() {
    for collide in [false, true] {
        let world = world(|c| {
            (c.collide, c.frames, c.min_shapes, c.max_shapes) = (collide, 300, 3, 4);
            c.max_radius = 0.2;
            c.max_speed = 0.2;
        });
        for seed in 0..20 {
            let (shapes, _) = world.trajectories(seed);
            let energy = |t: usize| -> f64 {
                let of = |s: &Trajectory| {
                    let [x, y] = s.velocities[t];
                    0.5 * s.radius.powi(2) * (x * x + y * y)
                };
                shapes.iter().map(of).sum()
            };
            for t in 0..300 {
                assert!((energy(t) / energy(0) - 1.0).abs() < 1e-9);
                for (i, a) in shapes.iter().enumerate() {
                    for x in a.positions[t] {
                        assert!(x >= a.radius && x <= 1.0 - a.radius);
                    }
                    if collide {
                        for b in &shapes[..i] {
                            let (p, q) = (a.positions[t], b.positions[t]);
                            let distance = (p[0] - q[0]).hypot(p[1] - q[1]);
                            assert!(distance >= a.radius + b.radius - 1e-9);
                        }
                    }
                }
            }
        }
    }
}

/// Between two frames without a contact a shape moves by its velocity.
#[test]
fn positions_follow_velocities() {
    let (shapes, _) = world(|c| c.frames = 100).trajectories(1);
    let mut free = 0;
    for shape in &shapes {
        for t in 1..100 {
            if shape.velocities[t] == shape.velocities[t - 1] {
                free += 1;
                for axis in 0..2 {
                    let moved = shape.positions[t][axis] - shape.positions[t - 1][axis];
                    assert!((moved - shape.velocities[t][axis]).abs() < 1e-12);
                }
            }
        }
    }
    assert!(free > 50 && free < 99 * shapes.len(), "{free}");
}

#[test]
fn label_names() {
    assert!(world(|_| ()).label_names().is_empty());
    assert_eq!(
        world(|c| c.labels = LabelMode::Count).label_names(),
        ["1", "2", "3"]
    );
    let kinds = world(|c| c.labels = LabelMode::Kind);
    assert_eq!(kinds.label_names(), ["circle", "square", "triangle"]);
}

#[test]
fn dataset_of_consecutive_seeds() {
    let world = world(|c| c.labels = LabelMode::Count);
    let dataset = ShapesDataset::new(world.clone(), 3, 40);
    assert_eq!(dataset.len(), 3);
    for index in 0..3 {
        let expected = world.clip(40 + index as u64);
        let item = dataset.get(index).unwrap();
        assert_eq!(item.clip, expected.clip);
        assert_eq!(item.label, expected.label);
    }
    assert_eq!(dataset.iter().count(), 3);
}

#[test]
#[should_panic(expected = "item 3 of 3")]
fn no_item_beyond_the_last() {
    let _ = ShapesDataset::new(world(|_| ()), 3, 0).get(3);
}
