//! Pictures of at most 256 colours.
//!
//! The colours of a picture are split into boxes: the box with the largest squared error is split
//! next, along its widest axis, at its mean. So rare colours that are far from all others keep
//! their own entry, which neural quantisers lose in small pictures.

use std::collections::HashMap;

const COLOURS: usize = 256;
/// Bits per channel within which colours count as the same.
const CELL_BITS: u32 = 6;
/// How often the colours are moved to the means of their pixels.
const REFINEMENTS: usize = 1;

/// A palette of RGB colours and an index into it for each pixel.
pub(super) struct Indexed {
    pub palette: Vec<u8>,
    pub pixels: Vec<u8>,
}

/// The picture itself if it has at most 256 colours, a close one otherwise.
pub(super) fn quantise(rgb: &[u8]) -> Indexed {
    exact(rgb).unwrap_or_else(|| nearest(rgb))
}

fn pixels(rgb: &[u8]) -> impl Iterator<Item = [u8; 3]> + '_ {
    rgb.chunks_exact(3).map(|p| [p[0], p[1], p[2]])
}

fn exact(rgb: &[u8]) -> Option<Indexed> {
    let mut indices = HashMap::new();
    let mut indexed = Indexed {
        palette: Vec::new(),
        pixels: Vec::with_capacity(rgb.len() / 3),
    };
    for pixel in pixels(rgb) {
        let next = indices.len();
        let index = *indices.entry(pixel).or_insert(next);
        if index == COLOURS {
            return None;
        }
        if index == next {
            indexed.palette.extend(pixel);
        }
        indexed.pixels.push(index as u8);
    }
    Some(indexed)
}

/// Pixels of similar colour: how many and their sums of channels.
#[derive(Clone, Copy, Default)]
struct Cell {
    count: f64,
    sum: [f64; 3],
}

impl Cell {
    fn mean(&self) -> [f64; 3] {
        self.sum.map(|sum| sum / self.count)
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        for (sum, other) in self.sum.iter_mut().zip(other.sum) {
            *sum += other;
        }
    }
}

fn cell_of(pixel: [u8; 3]) -> usize {
    pixel.into_iter().fold(0, |cell, c| {
        cell << CELL_BITS | usize::from(c >> (8 - CELL_BITS))
    })
}

fn nearest(rgb: &[u8]) -> Indexed {
    let mut grid = vec![Cell::default(); 1 << (3 * CELL_BITS)];
    for pixel in pixels(rgb) {
        grid[cell_of(pixel)].add(&Cell {
            count: 1.0,
            sum: pixel.map(f64::from),
        });
    }
    let cells: Vec<Cell> = grid
        .iter()
        .filter(|cell| cell.count > 0.0)
        .copied()
        .collect();
    let mut palette = boxes(cells.clone());
    for _ in 0..REFINEMENTS {
        let mut means = vec![Cell::default(); palette.len()];
        for cell in &cells {
            means[index_of(cell.mean(), &palette)].add(cell);
        }
        for (colour, mean) in palette
            .iter_mut()
            .zip(&means)
            .filter(|(_, mean)| mean.count > 0.0)
        {
            *colour = mean.mean();
        }
    }
    let index_of_cell: Vec<u8> = grid
        .iter()
        .map(|cell| {
            if cell.count > 0.0 {
                index_of(cell.mean(), &palette) as u8
            } else {
                0
            }
        })
        .collect();
    Indexed {
        palette: palette
            .as_flattened()
            .iter()
            .map(|c| c.round() as u8)
            .collect(),
        pixels: pixels(rgb)
            .map(|pixel| index_of_cell[cell_of(pixel)])
            .collect(),
    }
}

fn index_of(colour: [f64; 3], palette: &[[f64; 3]]) -> usize {
    let distance = |other: &[f64; 3]| -> f64 {
        (0..3)
            .map(|channel| (colour[channel] - other[channel]).powi(2))
            .sum()
    };
    let nearest = palette
        .iter()
        .map(distance)
        .enumerate()
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .expect("a palette has colours");
    nearest.0
}

/// Some cells, where they are cut next, and how much that may gain.
struct ColourBox {
    cells: Vec<Cell>,
    total: Cell,
    axis: usize,
    /// The sum of squared distances from the mean along the axis.
    error: f64,
}

impl ColourBox {
    fn new(cells: Vec<Cell>) -> Self {
        let mut total = Cell::default();
        cells.iter().for_each(|cell| total.add(cell));
        let mean = total.mean();
        let error = |axis: usize| -> f64 {
            cells
                .iter()
                .map(|c| c.count * (c.mean()[axis] - mean[axis]).powi(2))
                .sum()
        };
        let (axis, error) = (0..3)
            .map(|axis| (axis, error(axis)))
            .max_by(|(_, a), (_, b)| a.total_cmp(b))
            .expect("there are three axes");
        Self {
            cells,
            total,
            axis,
            error,
        }
    }
}

/// At most 256 means of the cells.
fn boxes(cells: Vec<Cell>) -> Vec<[f64; 3]> {
    let mut boxes = vec![ColourBox::new(cells)];
    while boxes.len() < COLOURS {
        let worst = (0..boxes.len())
            .max_by(|&a, &b| boxes[a].error.total_cmp(&boxes[b].error))
            .expect("there is a box");
        let ColourBox {
            cells, total, axis, ..
        } = boxes.swap_remove(worst);
        let mean = total.mean()[axis];
        let (low, high): (Vec<_>, Vec<_>) =
            cells.into_iter().partition(|cell| cell.mean()[axis] < mean);
        // All boxes are single colours (up to rounding) if the worst one cannot be cut.
        let is_cut = !low.is_empty() && !high.is_empty();
        boxes.extend(
            [low, high]
                .into_iter()
                .filter(|c| !c.is_empty())
                .map(ColourBox::new),
        );
        if !is_cut {
            break;
        }
    }
    boxes.iter().map(|b| b.total.mean()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(rgb: &[u8], indexed: &Indexed) -> f64 {
        let restored = indexed.pixels.iter().flat_map(|&i| {
            let at = usize::from(i) * 3;
            indexed.palette[at..at + 3].to_vec()
        });
        let squares: f64 = rgb
            .iter()
            .zip(restored)
            .map(|(a, b)| f64::from(a.abs_diff(b)).powi(2))
            .sum();
        squares / rgb.len() as f64
    }

    #[test]
    fn few_colours_are_exact() {
        let rgb: Vec<u8> = (0..=255).flat_map(|i| [i, 255 - i, i / 2]).collect();
        let indexed = quantise(&rgb);
        assert_eq!(indexed.palette.len(), 256 * 3);
        assert_eq!(error(&rgb, &indexed), 0.0);
        let one = quantise(&[7, 8, 9].repeat(100));
        assert_eq!((one.palette, one.pixels), (vec![7, 8, 9], vec![0; 100]));
    }

    #[test]
    fn many_colours_are_close() {
        // All colours of a 16x16x16 grid: 256 boxes of 16 cells have an error of about 34^2 / 12.
        let rgb: Vec<u8> = (0..4096_u32)
            .flat_map(|i| [i >> 8, i >> 4 & 15, i & 15].map(|level| level as u8 * 17))
            .collect();
        let indexed = quantise(&rgb);
        assert_eq!(indexed.palette.len(), 256 * 3);
        let error = error(&rgb, &indexed);
        assert!(error < 34.0 * 34.0 / 3.0, "{error}");
    }

    #[test]
    fn a_rare_colour_keeps_its_place() {
        let mut rgb: Vec<u8> = (0..4096_u32)
            .flat_map(|i| [(i % 64) as u8, (i / 64) as u8, 0])
            .collect();
        rgb.extend([255, 0, 255]);
        let indexed = quantise(&rgb);
        let at = usize::from(indexed.pixels[4096]) * 3;
        assert_eq!(indexed.palette[at..at + 3], [255, 0, 255]);
    }

    #[test]
    fn more_colours_than_cells_end() {
        // 512 colours in 128 cells of the grid.
        let rgb: Vec<u8> = (0..512_u32)
            .flat_map(|i| [(i >> 6) as u8, (i >> 3 & 7) as u8 * 8, (i & 7) as u8 * 8])
            .collect();
        let indexed = quantise(&rgb);
        assert_eq!(indexed.pixels.len(), 512);
        assert!(error(&rgb, &indexed) < 8.0);
    }
}
