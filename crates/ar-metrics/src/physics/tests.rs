use ar_video::Frame;

use super::*;

const SIDE: usize = 64;
const FRAMES: usize = 16;
const BACKGROUND: [u8; 3] = [16, 16, 24];
const RED: [u8; 3] = [235, 50, 50];
const BLUE: [u8; 3] = [50, 80, 245];
const GREEN: [u8; 3] = [50, 190, 70];

fn world() -> World {
    World {
        background: BACKGROUND,
        palette: vec![
            RED,
            GREEN,
            BLUE,
            [250, 215, 50],
            [220, 70, 225],
            [50, 225, 225],
        ],
        outlines: vec![ShapeKind::Circle, ShapeKind::Square, ShapeKind::Triangle],
        shapes: 1..=3,
        radius: 0.1..=0.18,
        min_speed: 0.02,
        collide: true,
    }
}

/// A shape in a frame, in frame widths.
#[derive(Clone, Copy)]
struct Shape {
    colour: [u8; 3],
    outline: ShapeKind,
    radius: f64,
    position: [f64; 2],
}

impl Shape {
    fn disc(colour: [u8; 3], radius: f64, position: [f64; 2]) -> Self {
        Self {
            colour,
            outline: ShapeKind::Circle,
            radius,
            position,
        }
    }

    fn contains(&self, point: [f64; 2]) -> bool {
        let [x, y] = minus(point, self.position);
        match self.outline {
            ShapeKind::Square => x.abs().max(y.abs()) < self.radius * 0.5_f64.sqrt(),
            _ => x.hypot(y) < self.radius,
        }
    }
}

/// Draws shapes over each other, each pixel the mean of 12 x 12 points.
fn draw(shapes: &[Shape]) -> Frame {
    const POINTS: usize = 12;
    let colour = |point: [f64; 2]| {
        let top = shapes.iter().rev().find(|shape| shape.contains(point));
        top.map_or(BACKGROUND, |shape| shape.colour)
    };
    let pixel = |i: usize| {
        let mut sum = [0; 3];
        for j in 0..POINTS * POINTS {
            let at = |pixel: usize, point: usize| {
                (pixel as f64 + (point as f64 + 0.5) / POINTS as f64) / SIDE as f64
            };
            let point = [at(i % SIDE, j % POINTS), at(i / SIDE, j / POINTS)];
            for (sum, value) in sum.iter_mut().zip(colour(point)) {
                *sum += usize::from(value);
            }
        }
        sum.map(|sum| (sum as f64 / (POINTS * POINTS) as f64).round() as u8)
    };
    Frame::new(SIDE, SIDE, (0..SIDE * SIDE).flat_map(pixel).collect())
}

fn clip(shapes: impl Fn(usize) -> Vec<Shape>) -> Vec<Frame> {
    (0..FRAMES).map(|t| draw(&shapes(t))).collect()
}

fn line(from: [f64; 2], velocity: [f64; 2], time: f64) -> [f64; 2] {
    [from[0] + velocity[0] * time, from[1] + velocity[1] * time]
}

/// Every pixel becomes the mean of its neighbourhood of 3 x 3.
fn blurred(frame: &Frame) -> Frame {
    let at = |x: i64, y: i64, c: usize| {
        let inside = |i: i64| i.clamp(0, SIDE as i64 - 1) as usize;
        f64::from(frame.rgb()[(inside(y) * SIDE + inside(x)) * 3 + c])
    };
    let value = |i: usize| {
        let (x, y) = ((i / 3 % SIDE) as i64, (i / 3 / SIDE) as i64);
        let sum: f64 = (0..9)
            .map(|j| at(x + j % 3 - 1, y + j / 3 - 1, i % 3))
            .sum();
        (sum / 9.0).round() as u8
    };
    Frame::new(SIDE, SIDE, (0..SIDE * SIDE * 3).map(value).collect())
}

fn report(frames: &[Frame]) -> PhysicsReport {
    PhysicsReport::new([&measure(&world(), frames, None)])
}

#[track_caller]
fn assert_near(actual: Option<f64>, expected: f64, tolerance: f64) {
    let actual = actual.expect("a value");
    assert!(
        (actual - expected).abs() <= tolerance,
        "{actual} is not {expected} +- {tolerance}"
    );
}

/// Two shapes that touch nothing.
fn undisturbed(t: usize) -> Vec<Shape> {
    let time = t as f64;
    vec![
        Shape::disc(RED, 0.12, line([0.2, 0.25], [0.03, 0.004], time)),
        Shape {
            outline: ShapeKind::Square,
            ..Shape::disc(BLUE, 0.15, line([0.75, 0.7], [-0.025, 0.002], time))
        },
    ]
}

#[test]
fn positions_areas_and_outlines() {
    for blur in [false, true] {
        let mut frame = draw(&undisturbed(3));
        if blur {
            frame = blurred(&frame);
        }
        let objects = segment::segment(&world(), &frame);
        assert_eq!(objects.len(), 2);
        for (object, shape) in objects.iter().zip(undisturbed(3)) {
            assert_eq!(world().palette[object.colour], shape.colour);
            // A twentieth of a pixel.
            assert!(length(minus(object.position, shape.position)) < 0.05 / SIDE as f64);
            let outline = ShapeKind::nearest(&world().outlines, object.moments);
            assert_eq!(outline, shape.outline);
            let radius = (object.area / outline.fill()).sqrt();
            assert!((radius / shape.radius - 1.0).abs() < 0.01, "{radius}");
        }
    }
}

#[test]
fn a_lawful_clip_has_no_errors() {
    let report = report(&clip(undisturbed));
    assert_eq!(report.object_count.mean, Some(1.0));
    assert_near(report.radius_drift.mean, 0.0, 0.003);
    // With twelve points per pixel, edges are accurate to a 24th of a pixel, and shapes move by two pixels.
    assert_near(report.velocity_error.mean, 0.0, 0.03);
    assert_near(report.energy_drift.mean, 0.0, 0.02);
    assert_eq!(report.reflection_error, None);
    assert_eq!(report.failures, Failures::default());
}

#[test]
fn growth_is_radius_drift() {
    let frames = clip(|t| {
        let radius = 0.12 * (1.0 + 0.1 * t as f64 / 15.0);
        vec![Shape::disc(
            RED,
            radius,
            line([0.3, 0.5], [0.02, 0.0], t as f64),
        )]
    });
    let report = report(&frames);
    for (t, drift) in report.radius_drift.by_frame.iter().enumerate() {
        assert_near(*drift, 0.1 * t as f64 / 15.0, 0.003);
    }
    assert_eq!(report.object_count.mean, Some(1.0));
}

#[test]
fn a_turn_on_the_way_is_a_velocity_error() {
    // Between frames 7 and 8 the velocity turns by 90 degrees: |v' - v| / |v| = sqrt(2).
    let frames = clip(|t| {
        let time = t as f64;
        let turned = line([0.41, 0.3], [0.0, 0.03], time - 7.0);
        let straight = line([0.2, 0.3], [0.03, 0.0], time);
        vec![Shape::disc(
            RED,
            0.12,
            if t > 7 { turned } else { straight },
        )]
    });
    let report = report(&frames);
    assert_near(report.velocity_error.by_frame[7], 2.0_f64.sqrt(), 0.03);
    assert_near(report.velocity_error.by_frame[5], 0.0, 0.03);
    assert_near(report.energy_drift.mean, 0.0, 0.02);
    assert_eq!(report.reflections, 0);
}

/// A disc that meets the right wall at time 6.5 and leaves it turned by `angle` from the reflection.
fn bouncing(angle: f64, t: usize) -> Vec<Shape> {
    let (radius, velocity) = (0.12, [0.04_f64, 0.02]);
    let wall = [1.0 - radius, 0.5];
    let (sin, cos) = angle.to_radians().sin_cos();
    let after = [
        -velocity[0] * cos - velocity[1] * sin,
        -velocity[0] * sin + velocity[1] * cos,
    ];
    let time = t as f64 - 6.5;
    let velocity = if time < 0.0 { velocity } else { after };
    vec![Shape::disc(GREEN, radius, line(wall, velocity, time))]
}

#[test]
fn reflections_are_measured_in_degrees() {
    for angle in [0.0, 20.0, -35.0_f64] {
        let report = report(&clip(|t| bouncing(angle, t)));
        assert_eq!(report.reflections, 1);
        assert_near(report.reflection_error, angle.abs(), 1.0);
        // The bounce is not a velocity error, whatever its angle.
        assert_near(report.velocity_error.mean, 0.0, 0.02);
        assert_eq!(report.failures, Failures::default());
    }
}

#[test]
fn collisions_exchange_velocities() {
    // Equal discs head on meet at time 5; elastic discs turn back, these go on turned by `angle`.
    let frames = |angle: f64| {
        clip(move |t| {
            let (sin, cos) = f64::sin_cos(angle.to_radians());
            let time = t as f64 - 5.0;
            let speed = 0.03;
            let way = |sign: f64| {
                if time < 0.0 {
                    [sign * speed, 0.0]
                } else {
                    [-sign * speed * cos, -sign * speed * sin]
                }
            };
            vec![
                Shape::disc(RED, 0.11, line([0.39, 0.5], way(1.0), time)),
                Shape::disc(BLUE, 0.11, line([0.61, 0.5], way(-1.0), time)),
            ]
        })
    };
    for angle in [0.0, 25.0] {
        let report = report(&frames(angle));
        assert_eq!((report.collisions, report.reflections), (2, 0));
        assert_near(report.collision_error, angle, 1.0);
        assert_near(report.energy_drift.mean, 0.0, 0.02);
        assert_eq!(report.failures, Failures::default());
    }
}

#[test]
fn speed_is_energy() {
    // 1.2 times as fast from frame 8 on: 1.44 times the energy.
    let frames = clip(|t| {
        let time = t as f64;
        let way = if t < 8 {
            time
        } else {
            8.0 + 1.2 * (time - 8.0)
        };
        vec![Shape::disc(RED, 0.12, line([0.2, 0.5], [0.03, 0.0], way))]
    });
    let report = report(&frames);
    assert_eq!(report.energy_drift.by_frame[0], None);
    assert_near(report.energy_drift.by_frame[8], 0.0, 0.02);
    assert_near(report.energy_drift.by_frame[12], 0.44, 0.02);
    assert_near(report.velocity_error.by_frame[8], 0.2, 0.02);
}

#[test]
fn frozen_clips_are_still() {
    let measures = measure(&world(), &clip(|_| undisturbed(4)), None);
    assert!(measures.stillness);
    assert!(!measures.disappearance && !measures.duplication);
    // A clip that is frozen from the middle on is still too; one with a pause is not.
    let stops_at = |end: usize| clip(move |t| undisturbed(t.min(end)));
    assert!(measure(&world(), &stops_at(7), None).stillness);
    assert!(!measure(&world(), &stops_at(11), None).stillness);
}

#[test]
fn lost_shapes_disappear() {
    let frames = clip(|t| undisturbed(t).split_off(usize::from(t >= 8)));
    let measures = measure(&world(), &frames, None);
    assert!(measures.disappearance && !measures.duplication && !measures.stillness);
    let report = PhysicsReport::new([&measures]);
    assert_eq!(report.object_count.mean, Some(0.5));
    assert_eq!(report.object_count.by_frame[7..9], [Some(1.0), Some(0.0)]);

    // One frame is a flicker, which shows only in the count.
    let frames = clip(|t| undisturbed(t).split_off(usize::from(t == 8)));
    let measures = measure(&world(), &frames, None);
    assert!(!measures.disappearance);
    assert_eq!(measures.object_count[8], Some(0.0));

    // A shape that changes its colour has disappeared, although the number is the same.
    let frames = clip(|t| {
        let mut shapes = undisturbed(t);
        if t >= 8 {
            shapes[0].colour = GREEN;
        }
        shapes
    });
    let measures = measure(&world(), &frames, None);
    assert!(measures.disappearance && !measures.duplication);

    let nothing = measure(&world(), &clip(|_| Vec::new()), None);
    assert!(nothing.disappearance && !nothing.stillness);
    assert_eq!(nothing.object_count, [Some(0.0); FRAMES]);
    // A picture that has only one colour is not a shape either.
    let flood = measure(
        &world(),
        &clip(|_| vec![Shape::disc(RED, 2.0, [0.5; 2])]),
        None,
    );
    assert_eq!(flood, nothing);
}

#[test]
fn new_shapes_are_duplications() {
    for colour in [RED, GREEN] {
        let frames = clip(|t| {
            let mut shapes = undisturbed(t);
            if t >= 10 {
                shapes.push(Shape::disc(colour, 0.12, [0.3, 0.7]));
            }
            shapes
        });
        let measures = measure(&world(), &frames, None);
        assert!(measures.duplication && !measures.disappearance);
        assert_near(
            mean(measures.object_count.into_iter().flatten()),
            10.0 / 16.0,
            0.0,
        );
    }
}

#[test]
fn trajectory_error_is_the_distance_from_the_truth() {
    let truth = clip(undisturbed);
    let frames = clip(|t| {
        let mut shapes = undisturbed(t);
        // The red disc drifts up from frame 4 on; the other one is right.
        shapes[0].position[1] -= 0.01 * t.saturating_sub(4) as f64;
        shapes
    });
    let truth = Truth {
        frames: &truth,
        given: 4,
    };
    let measures = measure(&world(), &frames, Some(truth));
    for (t, error) in measures.trajectory_error.into_iter().enumerate() {
        match t {
            0..4 => assert_eq!(error, None),
            _ => assert_near(error, 0.01 * (t - 4) as f64 / 2.0, 0.001),
        }
    }
    let same = measure(&world(), truth.frames, Some(truth));
    assert_eq!(same.trajectory_error[4..], [Some(0.0); 12]);
}

#[test]
fn the_truth_says_how_many_there_are() {
    let truth = clip(undisturbed);
    let frames = clip(|t| undisturbed(t).split_off(1));
    let truth = Truth {
        frames: &truth,
        given: 0,
    };
    let measures = measure(&world(), &frames, Some(truth));
    assert_eq!(measures.object_count, [Some(0.0); FRAMES]);
    assert!(measures.disappearance);
    assert!(!measure(&world(), &frames, None).disappearance);
}

/// Measures of a clip whose first frames were given.
fn after(given: usize, frames: &[Frame]) -> ClipMeasures {
    measure(&world(), frames, Some(Truth { frames, given }))
}

#[test]
fn given_frames_are_not_measured() {
    // A disc that grows, turns at frame 7, and is faster after it.
    let frames = clip(|t| {
        let time = t as f64 - 7.0;
        let velocity = if t < 7 { [0.03, 0.0] } else { [0.0, 0.036] };
        let radius = 0.1 * (1.0 + 0.01 * t as f64);
        vec![Shape::disc(RED, radius, line([0.5, 0.4], velocity, time))]
    });
    let all = after(0, &frames);
    assert_eq!(
        measure(&world(), &frames, None).energy_drift,
        all.energy_drift
    );
    for given in [4, 8, 9] {
        let measures = after(given, &frames);
        let kept = |values: &[Option<f64>], all: &[Option<f64>], first: usize| {
            assert!(values[..first].iter().all(Option::is_none), "{values:?}");
            assert_eq!(values[first..], all[first..]);
            assert!(values.iter().any(Option::is_some));
        };
        kept(&measures.object_count, &all.object_count, given);
        kept(&measures.trajectory_error, &all.trajectory_error, given);
        // Against the first frame and the first velocities, which are given.
        kept(&measures.radius_drift, &all.radius_drift, given);
        kept(&measures.energy_drift, &all.energy_drift, given);
        // The turn is the fault of the model, which made frame 8.
        kept(&measures.velocity_error, &all.velocity_error, given - 1);
        let turn = measures.velocity_error[7];
        assert_eq!(turn.is_some_and(|error| error > 1.0), given <= 8);
    }

    // It meets the wall at time 6.5.
    let frames = clip(|t| bouncing(20.0, t));
    for (given, reflections) in [(0, 1), (5, 1), (12, 0)] {
        assert_eq!(after(given, &frames).reflection_errors.len(), reflections);
    }
    // At rest from frame 11 on.
    let frames = clip(|t| undisturbed(t.min(11)));
    assert!(!after(0, &frames).stillness && after(9, &frames).stillness);
    // One too many in frames 3 and 4, and one too few in frames 10 and 11.
    let frames = clip(|t| {
        let mut shapes = undisturbed(t);
        match t {
            3 | 4 => shapes.push(Shape::disc(GREEN, 0.12, [0.2, 0.8])),
            10 | 11 => drop(shapes.pop()),
            _ => {}
        }
        shapes
    });
    for (given, duplication, disappearance) in [
        (0, true, true),
        (3, true, true),
        (4, false, true),
        (11, false, false),
    ] {
        let measures = after(given, &frames);
        assert_eq!(measures.duplication, duplication, "{given}");
        assert_eq!(measures.disappearance, disappearance, "{given}");
    }
}

/// A disc that passes behind a larger one is hidden, not lost; where shapes bounce it is lost.
#[test]
fn hidden_shapes_are_excused_where_shapes_pass() {
    let frames = clip(|t| {
        vec![
            Shape::disc(RED, 0.10, line([0.12, 0.5], [0.05, 0.0], t as f64)),
            Shape::disc(BLUE, 0.18, [0.5, 0.5]),
        ]
    });
    let passing = World {
        collide: false,
        ..world()
    };
    let measures = measure(&passing, &frames, None);
    assert!(!measures.disappearance && !measures.duplication);
    assert_eq!(measures.object_count, [Some(1.0); FRAMES]);
    let report = PhysicsReport::new([&measures]);
    assert_near(report.radius_drift.mean, 0.0, 0.01);
    assert_near(report.velocity_error.mean, 0.0, 0.02);
    assert!(measure(&world(), &frames, None).disappearance);

    // A shape that is hidden and does not reappear is lost.
    let frames = clip(|t| {
        let mut shapes = vec![Shape::disc(
            BLUE,
            0.18,
            line([0.5, 0.5], [0.0, 0.02], t as f64),
        )];
        if t < 4 {
            shapes.push(Shape::disc(
                RED,
                0.10,
                line([0.12, 0.5], [0.01, 0.0], t as f64),
            ));
        }
        shapes
    });
    assert!(measure(&passing, &frames, None).disappearance);
}

#[test]
fn blur_changes_little() {
    let frames: Vec<Frame> = clip(|t| bouncing(0.0, t)).iter().map(blurred).collect();
    let report = report(&frames);
    assert_eq!(report.object_count.mean, Some(1.0));
    // The wall cuts off a third of a column of pixels from the blurred disc where they touch.
    assert_near(report.radius_drift.mean, 0.0, 0.01);
    assert_near(report.velocity_error.mean, 0.0, 0.03);
    assert_near(report.reflection_error, 0.0, 1.5);
}

#[test]
fn reports_are_means_over_clips() {
    let measures = |error: Option<f64>, lost: bool| ClipMeasures {
        velocity_error: vec![None, error],
        reflection_errors: error.into_iter().collect(),
        disappearance: lost,
        ..Default::default()
    };
    let report = PhysicsReport::new([&measures(Some(0.1), true), &measures(Some(0.3), false)]);
    assert_eq!(report.clips, 2);
    assert_eq!(report.velocity_error.by_frame, [None, Some(0.2)]);
    assert_near(report.reflection_error, 0.2, 1e-12);
    assert_eq!(report.failures.disappearance, 0.5);
    assert_eq!(report.object_count, Curve::default());

    let json = serde_json::to_string(&measures(None, true)).unwrap();
    let again: ClipMeasures = serde_json::from_str(&json).unwrap();
    assert_eq!(again, measures(None, true));
}
