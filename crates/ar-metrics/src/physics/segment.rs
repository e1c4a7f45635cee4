//! Shapes in a frame.

use ar_video::Frame;

use super::World;

/// The core of a shape has pixels of which its colour covers at least this share.
const CORE: f64 = 0.5;
/// Width of the border around a core, in pixels, in which the shape's edge is expected.
const EDGE: usize = 2;
/// Largest distance of a pixel in a core from the mixtures of background and colour, in 8-bit values.
const MAX_RESIDUAL: f64 = 80.0;
/// A core is not a shape if it is smaller than this share of the smallest shape's area.
const MIN_SHARE: f64 = 0.25;
/// A core is not a shape if it is larger than this many times the largest shape's area.
const MAX_SHARE: f64 = 4.0;

/// A shape in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Object {
    /// Its colour's index in the palette.
    pub colour: usize,
    /// Its centroid, in frame widths.
    pub position: [f64; 2],
    /// Its area, in squares of the frame's width.
    pub area: f64,
    /// See [`super::Outline::moments`].
    pub moments: [f64; 2],
}

/// The shapes in a square frame.
pub(super) fn segment(world: &World, frame: &Frame) -> Vec<Object> {
    let side = frame.width();
    let colours = Colours::new(world);
    let labels: Vec<Option<usize>> = pixels(frame)
        .map(|pixel| colours.label(colours.relative(pixel)))
        .collect();
    let area = |fill: f64, radius: f64| fill * (radius * side as f64).powi(2);
    let sizes = MIN_SHARE * area(world.least_fill(), *world.radius.start())
        ..=MAX_SHARE * area(std::f64::consts::PI, *world.radius.end());
    let mut cores = cores(&labels, side);
    if !world.collide {
        cores = joined(cores, 2.0 * world.radius.end(), side);
    }
    let cores: Vec<Core> = cores
        .into_iter()
        .filter(|core| sizes.contains(&(core.pixels.len() as f64)) && core.is_thick(side))
        .collect();

    // The shapes that may cover a part of each pixel, as indices into `cores`.
    let mut near = vec![Vec::new(); side * side];
    for (index, core) in cores.iter().enumerate() {
        for pixel in core.surroundings(side) {
            near[pixel].push(index);
        }
    }
    let mut parts = vec![Vec::new(); cores.len()];
    for (at, pixel) in pixels(frame).enumerate() {
        let (Some(&first), relative) = (near[at].first(), colours.relative(pixel)) else {
            continue;
        };
        let colour = cores[first].colour;
        let second = near[at].iter().find(|i| cores[**i].colour != colour);
        match second {
            None => parts[first].push((at, colours.share(relative, colour))),
            Some(&second) => {
                let shares = colours.shares(relative, [colour, cores[second].colour]);
                parts[first].push((at, shares[0]));
                parts[second].push((at, shares[1]));
            }
        }
    }
    let objects = cores.iter().zip(&parts);
    objects
        .filter_map(|(core, parts)| object(core.colour, parts, side))
        .collect()
}

fn pixels(frame: &Frame) -> impl Iterator<Item = &[u8]> {
    frame.rgb().chunks_exact(3)
}

/// The shape that covers the shares `parts` of pixels; none if they cancel out.
fn object(colour: usize, parts: &[(usize, f64)], side: usize) -> Option<Object> {
    let at = |pixel: usize| [pixel % side, pixel / side].map(|i| i as f64 + 0.5);
    let (mut area, mut sum) = (0.0, [0.0; 2]);
    for &(pixel, share) in parts {
        let [x, y] = at(pixel);
        area += share;
        sum = [sum[0] + share * x, sum[1] + share * y];
    }
    if area < 1.0 {
        return None;
    }
    let centre = sum.map(|sum| sum / area);
    let [mut third, mut fourth] = [0.0; 2];
    for &(pixel, share) in parts {
        let [x, y] = super::minus(at(pixel), centre);
        third += share * (3.0 * x * x * y - y.powi(3));
        fourth += share * (x.powi(4) - 6.0 * x * x * y * y + y.powi(4));
    }
    Some(Object {
        colour,
        position: centre.map(|x| x / side as f64),
        area: area / (side * side) as f64,
        moments: [third / area.powf(2.5), fourth / area.powi(3)],
    })
}

/// The palette relative to the background.
struct Colours {
    background: [f64; 3],
    directions: Vec<[f64; 3]>,
}

impl Colours {
    fn new(world: &World) -> Self {
        let background = world.background.map(f64::from);
        let relative = |colour: &[u8; 3]| -> [f64; 3] {
            std::array::from_fn(|i| f64::from(colour[i]) - background[i])
        };
        Self {
            directions: world.palette.iter().map(relative).collect(),
            background,
        }
    }

    fn relative(&self, pixel: &[u8]) -> [f64; 3] {
        std::array::from_fn(|i| f64::from(pixel[i]) - self.background[i])
    }

    /// Share of a pixel that `colour` covers, in the nearest mixture of it and the background.
    fn share(&self, pixel: [f64; 3], colour: usize) -> f64 {
        let direction = self.directions[colour];
        dot(pixel, direction) / dot(direction, direction)
    }

    /// Shares of a pixel that two colours cover, in the nearest mixture of them and the background.
    fn shares(&self, pixel: [f64; 3], colours: [usize; 2]) -> [f64; 2] {
        let [a, b] = colours.map(|colour| self.directions[colour]);
        let (aa, ab, bb) = (dot(a, a), dot(a, b), dot(b, b));
        let (pa, pb) = (dot(pixel, a), dot(pixel, b));
        let determinant = aa * bb - ab * ab;
        [
            (pa * bb - pb * ab) / determinant,
            (pb * aa - pa * ab) / determinant,
        ]
    }

    /// The colour that covers most of a pixel.
    fn label(&self, pixel: [f64; 3]) -> Option<usize> {
        let residual = |colour: usize| {
            let (direction, share) = (self.directions[colour], self.share(pixel, colour));
            let rest: [f64; 3] = std::array::from_fn(|i| pixel[i] - share * direction[i]);
            dot(rest, rest).sqrt()
        };
        (0..self.directions.len())
            .filter(|&colour| self.share(pixel, colour) >= CORE)
            .map(|colour| (colour, residual(colour)))
            .filter(|(_, residual)| *residual <= MAX_RESIDUAL)
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(colour, _)| colour)
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Connected pixels of one colour.
struct Core {
    colour: usize,
    pixels: Vec<usize>,
}

impl Core {
    /// The mean of its pixels' positions, in frame widths.
    fn centre(&self, side: usize) -> [f64; 2] {
        let mean = |coordinate: fn(usize, usize) -> usize| {
            let sum: usize = self.pixels.iter().map(|&at| coordinate(at, side)).sum();
            sum as f64 / (self.pixels.len() * side) as f64
        };
        [mean(|at, side| at % side), mean(|at, side| at / side)]
    }

    /// Whether some pixel has its four neighbours in the core.
    fn is_thick(&self, side: usize) -> bool {
        let pixels: std::collections::HashSet<usize> = self.pixels.iter().copied().collect();
        self.pixels.iter().any(|&pixel| {
            let neighbours: Vec<usize> = neighbours(pixel, side).collect();
            neighbours.len() == 4 && neighbours.iter().all(|at| pixels.contains(at))
        })
    }

    /// The core and the pixels up to [`EDGE`] away.
    fn surroundings(&self, side: usize) -> Vec<usize> {
        let mut pixels: Vec<usize> = self
            .pixels
            .iter()
            .flat_map(|pixel| {
                let range = |i: usize| i.saturating_sub(EDGE)..(i + EDGE + 1).min(side);
                let (columns, rows) = (range(pixel % side), range(pixel / side));
                rows.flat_map(move |row| columns.clone().map(move |column| row * side + column))
            })
            .collect();
        pixels.sort_unstable();
        pixels.dedup();
        pixels
    }
}

/// The pixels left, right, above and below of a pixel.
fn neighbours(pixel: usize, side: usize) -> impl Iterator<Item = usize> {
    let (column, row) = (pixel % side, pixel / side);
    [
        (column > 0).then(|| pixel - 1),
        (column + 1 < side).then(|| pixel + 1),
        (row > 0).then(|| pixel - side),
        (row + 1 < side).then(|| pixel + side),
    ]
    .into_iter()
    .flatten()
}

/// The connected components of equal labels.
fn cores(labels: &[Option<usize>], side: usize) -> Vec<Core> {
    let mut seen = vec![false; labels.len()];
    let mut cores = Vec::new();
    for start in 0..labels.len() {
        let Some(colour) = labels[start].filter(|_| !seen[start]) else {
            continue;
        };
        seen[start] = true;
        let mut pixels = vec![start];
        let mut next = 0;
        while let Some(&pixel) = pixels.get(next) {
            next += 1;
            for neighbour in neighbours(pixel, side) {
                if labels[neighbour] == Some(colour) && !seen[neighbour] {
                    seen[neighbour] = true;
                    pixels.push(neighbour);
                }
            }
        }
        cores.push(Core { colour, pixels });
    }
    cores
}

/// Joins cores of one colour that are near enough to be parts of one shape that another shape covers in part.
fn joined(cores: Vec<Core>, reach: f64, side: usize) -> Vec<Core> {
    let mut joined: Vec<Core> = Vec::new();
    for core in cores {
        let centre = core.centre(side);
        let whole = joined.iter_mut().find(|other| {
            let distance = super::length(super::minus(other.centre(side), centre));
            other.colour == core.colour && distance <= reach
        });
        match whole {
            Some(whole) => whole.pixels.extend(core.pixels),
            None => joined.push(core),
        }
    }
    joined
}
