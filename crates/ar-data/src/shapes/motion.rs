//! Event-driven motion of discs in the unit square: between events every disc
//! moves uniformly, and every event happens at its exact time.

/// A disc of mass `radius^2`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Disc {
    /// Below one half, so that there is room between the walls.
    pub radius: f64,
    /// `[x, y]` in the unit square.
    pub position: [f64; 2],
    /// In units of length per unit of time.
    pub velocity: [f64; 2],
}

impl Disc {
    fn mass(&self) -> f64 {
        self.radius * self.radius
    }
}

/// More events than this within one unit of time happen only if rounding keeps discs in contact;
/// discs then pass through each other until its end.
const MAX_EVENTS: usize = 1000;

#[derive(Clone, Copy, Debug)]
enum Event {
    Wall { disc: usize, axis: usize },
    Pair { first: usize, second: usize },
}

/// Moves the discs by one unit of time. They reflect elastically at the walls of the unit square
/// and, with `collide`, at each other.
pub(super) fn advance(discs: &mut [Disc], collide: bool) {
    let mut left = 1.0;
    for count in 0.. {
        let next = next_event(discs, collide && count < MAX_EVENTS);
        let step = next.map_or(left, |(time, _)| time.min(left));
        for disc in discs.iter_mut() {
            for axis in 0..2 {
                // The clamp only removes rounding errors.
                let moved = disc.position[axis] + disc.velocity[axis] * step;
                disc.position[axis] = moved.clamp(disc.radius, 1.0 - disc.radius);
            }
        }
        match next {
            Some((time, event)) if time <= left => resolve(discs, event),
            _ => return,
        }
        left -= step;
    }
}

/// The earliest event and the time until it.
fn next_event(discs: &[Disc], collide: bool) -> Option<(f64, Event)> {
    let mut next: Option<(f64, Event)> = None;
    let mut consider = |time: f64, event| {
        if next.is_none_or(|(earliest, _)| time < earliest) {
            next = Some((time, event));
        }
    };
    for (i, disc) in discs.iter().enumerate() {
        for axis in 0..2 {
            if let Some(time) = wall_time(disc, axis) {
                consider(time, Event::Wall { disc: i, axis });
            }
        }
        if collide {
            for (j, other) in discs[..i].iter().enumerate() {
                if let Some(time) = contact_time(other, disc) {
                    consider(
                        time,
                        Event::Pair {
                            first: j,
                            second: i,
                        },
                    );
                }
            }
        }
    }
    next
}

/// Time until the disc touches the wall that it moves towards.
fn wall_time(disc: &Disc, axis: usize) -> Option<f64> {
    let (x, v) = (disc.position[axis], disc.velocity[axis]);
    if v > 0.0 {
        Some((1.0 - disc.radius - x) / v)
    } else if v < 0.0 {
        Some((disc.radius - x) / v)
    } else {
        None
    }
}

/// Time until two approaching discs touch: the smaller root of
/// `|d + w t| = r1 + r2` for the distance `d` and the relative velocity `w`.
fn contact_time(a: &Disc, b: &Disc) -> Option<f64> {
    let d = [b.position[0] - a.position[0], b.position[1] - a.position[1]];
    let w = [b.velocity[0] - a.velocity[0], b.velocity[1] - a.velocity[1]];
    let approach = -dot(d, w);
    if approach <= 0.0 {
        return None;
    }
    let reach = a.radius + b.radius;
    let gap = dot(d, d) - reach * reach;
    let discriminant = approach * approach - dot(w, w) * gap;
    if discriminant < 0.0 {
        return None;
    }
    // This form of the root does not cancel when the discs are close. A negative gap is a rounding
    // error from an earlier contact.
    Some((gap / (approach + discriminant.sqrt())).max(0.0))
}

fn resolve(discs: &mut [Disc], event: Event) {
    match event {
        Event::Wall { disc, axis } => {
            let disc = &mut discs[disc];
            let wall = if disc.velocity[axis] > 0.0 {
                1.0 - disc.radius
            } else {
                disc.radius
            };
            disc.position[axis] = wall;
            disc.velocity[axis] = -disc.velocity[axis];
        }
        Event::Pair { first, second } => {
            let (a, b) = (&discs[first], &discs[second]);
            let d = [b.position[0] - a.position[0], b.position[1] - a.position[1]];
            let w = [b.velocity[0] - a.velocity[0], b.velocity[1] - a.velocity[1]];
            let total = a.mass() + b.mass();
            let (to_first, to_second) = (b.mass() / total, a.mass() / total);
            // The relative velocity along the line of the centres is reversed.
            let change = 2.0 * dot(d, w) / dot(d, d);
            for (axis, along) in d.into_iter().enumerate() {
                discs[first].velocity[axis] += to_first * change * along;
                discs[second].velocity[axis] -= to_second * change * along;
            }
        }
    }
}

fn dot(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[0] + a[1] * b[1]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn disc(radius: f64, position: [f64; 2], velocity: [f64; 2]) -> Disc {
        Disc {
            radius,
            position,
            velocity,
        }
    }

    /// Position of a point that reflects between `low` and `high`: a triangle
    /// wave.
    fn fold(x: f64, low: f64, high: f64) -> f64 {
        let span = high - low;
        let phase = (x - low).rem_euclid(2.0 * span);
        low + if phase <= span {
            phase
        } else {
            2.0 * span - phase
        }
    }

    fn energy(discs: &[Disc]) -> f64 {
        discs
            .iter()
            .map(|d| 0.5 * d.mass() * dot(d.velocity, d.velocity))
            .sum()
    }

    fn momentum(discs: &[Disc]) -> [f64; 2] {
        [0, 1].map(|axis| discs.iter().map(|d| d.mass() * d.velocity[axis]).sum())
    }

    proptest! {
        /// A single disc, slow or crossing the square many times per unit of
        /// time, against the closed form.
        #[test]
        fn walls_reflect_exactly(
            radius in 0.02..0.4_f64,
            x in 0.0..1.0_f64,
            y in 0.0..1.0_f64,
            vx in -3.0..3.0_f64,
            vy in -3.0..3.0_f64,
        ) {
            let start = [x, y].map(|u| radius + u * (1.0 - 2.0 * radius));
            let mut discs = [disc(radius, start, [vx, vy])];
            for time in 1..=20 {
                advance(&mut discs, true);
                for axis in 0..2 {
                    let free = start[axis] + [vx, vy][axis] * f64::from(time);
                    let expected = fold(free, radius, 1.0 - radius);
                    // Rounding grows with the number of reflections.
                    prop_assert!((discs[0].position[axis] - expected).abs() < 1e-9);
                }
                prop_assert_eq!(discs[0].velocity[0].abs(), vx.abs());
                prop_assert_eq!(discs[0].velocity[1].abs(), vy.abs());
            }
        }

        /// Four discs, started apart in the quarters of the square.
        #[test]
        fn collisions_keep_energy_and_distance(
            radii in prop::array::uniform4(0.05..0.2_f64),
            velocities in prop::array::uniform8(-0.3..0.3_f64),
        ) {
            let mut discs: Vec<Disc> = (0..4)
                .map(|i| {
                    let position = [0.25 + 0.5 * (i % 2) as f64, 0.25 + 0.5 * (i / 2) as f64];
                    disc(radii[i], position, [velocities[2 * i], velocities[2 * i + 1]])
                })
                .collect();
            let before = energy(&discs);
            for _ in 0..100 {
                advance(&mut discs, true);
                prop_assert!((energy(&discs) / before - 1.0).abs() < 1e-9);
                for (i, a) in discs.iter().enumerate() {
                    for axis in 0..2 {
                        prop_assert!(a.position[axis] >= a.radius);
                        prop_assert!(a.position[axis] <= 1.0 - a.radius);
                    }
                    for b in &discs[..i] {
                        let d = [0, 1].map(|axis| a.position[axis] - b.position[axis]);
                        prop_assert!(dot(d, d).sqrt() >= a.radius + b.radius - 1e-9);
                    }
                }
            }
        }
    }

    /// A head-on collision of masses 1 and 4: v1' = (m1 - m2) / (m1 + m2) v1,
    /// v2' = 2 m1 / (m1 + m2) v1.
    #[test]
    fn head_on_collision() {
        let mut discs = [
            disc(0.05, [0.2, 0.5], [0.4, 0.0]),
            disc(0.1, [0.55, 0.5], [0.0, 0.0]),
        ];
        // They touch after 0.2 / 0.4 = half a unit of time at x = 0.4.
        advance(&mut discs, true);
        for (actual, expected) in [
            (discs[0].velocity[0], -0.24),
            (discs[1].velocity[0], 0.16),
            (discs[0].position[0], 0.4 - 0.24 * 0.5),
            (discs[1].position[0], 0.55 + 0.16 * 0.5),
        ] {
            assert!((actual - expected).abs() < 1e-12, "{actual} {expected}");
        }
    }

    /// Away from the walls an oblique collision keeps the momentum.
    #[test]
    fn momentum_is_kept() {
        let mut discs = [
            disc(0.08, [0.3, 0.45], [0.2, 0.02]),
            disc(0.1, [0.6, 0.5], [-0.15, 0.01]),
        ];
        let (before, old) = (momentum(&discs), discs.clone());
        advance(&mut discs, true);
        assert_ne!(discs[0].velocity, old[0].velocity, "they met");
        for (a, b) in momentum(&discs).into_iter().zip(before) {
            assert!((a - b).abs() < 1e-15);
        }
    }

    #[test]
    fn without_collisions_discs_pass() {
        let mut discs = [
            disc(0.1, [0.3, 0.5], [0.2, 0.0]),
            disc(0.1, [0.7, 0.5], [-0.2, 0.0]),
        ];
        advance(&mut discs, false);
        assert_eq!(discs[0].velocity, [0.2, 0.0]);
        assert_eq!(discs[0].position[0], 0.5);
        assert_eq!(discs[1].position[0], 0.7 - 0.2);
    }
}
