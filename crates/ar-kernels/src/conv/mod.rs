//! Convolutions of images, fused with the operations around them in a residual block: group norm and activation of the
//! input, nearest upsampling, bias and residual. Without backward passes.
//!
//! Images are channels-last in memory, whatever the order of their axes: the output is a view
//! `[images, channels, height, width]` of `[images, height, width, channels]`, and an input that is such a view is not
//! copied.

mod band;
mod channels_last;
mod direct;
mod group_norm;
mod patch;
mod shape;
mod winograd;

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use self::band::{Band, Buffers, Rest};
use self::channels_last::Images;
use self::direct::Direct;
use self::patch::Source;
use self::shape::Shape;
use self::winograd::Winograd;
use crate::buffer::{contiguous, dims, tensor, values};

pub use self::group_norm::GroupNorm;
pub use self::patch::Activation;

/// A convolution, with the operations on its input before it and on its output after it.
///
/// `output = weight * upsample(activation(norm(x))) + bias + residual`
pub struct Convolution {
    /// The norm of the input.
    pub norm: Option<GroupNorm>,
    /// Applied after the norm.
    pub activation: Activation,
    /// Whether every pixel of the input, after norm and activation, becomes a square of four.
    pub upsample: bool,
    /// `[channels out, channels in, kernel, kernel]`
    pub weight: FlexTensor,
    /// `[channels out]`
    pub bias: Option<FlexTensor>,
    /// Stride along both axes, in pixels.
    pub stride: usize,
    /// Width of the zero padding around the input.
    pub padding: usize,
    /// Added to the output, in its shape.
    pub residual: Option<FlexTensor>,
}

impl Convolution {
    /// The output for one input.
    ///
    /// # Shapes
    /// - `x`: `[images, channels in, height, width]`
    /// - output: `[images, channels out, output height, output width]`
    ///
    /// # Panics
    /// If the kernel is not square, or larger than the padded input.
    pub fn forward(self, x: FlexTensor) -> FlexTensor {
        let [channels_out, channels_in, kernel, kernel_width] = dims(&self.weight);
        assert_eq!(kernel, kernel_width, "a square kernel");
        let x = Images::new(x);
        assert_eq!(x.channels, channels_in, "channels of the input");
        let residual = self.residual.map(Images::new);
        let bias = self.bias.map(contiguous);
        let weight = contiguous(self.weight);
        let norm = self.norm.map(|norm| group_norm::affine(&x, &norm));

        let scale = if self.upsample { 2 } else { 1 };
        let shape = Shape {
            channels_in,
            channels_out,
            kernel,
            stride: self.stride,
            padding: self.padding,
            input: [x.height * scale, x.width * scale],
        };
        let [height, width] = shape.output();
        let algorithm = if Winograd::suits(&shape) {
            Algorithm::Winograd(Winograd::new(shape, values(&weight)))
        } else {
            Algorithm::Direct(Direct::new(shape, values(&weight)))
        };
        let band_rows = match &algorithm {
            Algorithm::Winograd(convolution) => convolution.band_rows(),
            Algorithm::Direct(convolution) => convolution.band_rows(),
        };

        let row = width * channels_out;
        let image = height * row;
        let len = x.count * image;
        let mut output: Vec<f32> = Vec::with_capacity(len);
        output.spare_capacity_mut()[..len]
            .par_chunks_mut(image.max(1))
            .enumerate()
            .for_each(|(index, output)| {
                let source = Source {
                    values: x.image(index),
                    channels: channels_in,
                    input: shape.input,
                    scale,
                    affine: norm.as_ref().map(|norm| norm.of_image(index)),
                    activation: self.activation,
                };
                let bands = output.par_chunks_mut(band_rows * row).enumerate();
                bands.for_each_init(Buffers::default, |buffers, (band, output)| {
                    let first_row = band * band_rows;
                    let rest = Rest {
                        bias: bias.as_ref().map(values),
                        residual: residual
                            .as_ref()
                            .map(|images| &images.image(index)[first_row * row..][..output.len()]),
                    };
                    let band = Band {
                        source,
                        first_row,
                        rest,
                        output,
                    };
                    match &algorithm {
                        Algorithm::Winograd(convolution) => convolution.band(band, buffers),
                        Algorithm::Direct(convolution) => convolution.band(band, buffers),
                    }
                });
            });
        // SAFETY: the bands cover all of it, and each has been written.
        unsafe { output.set_len(len) };
        channels_last::view(tensor(output, [x.count, height, width, channels_out]))
    }
}

enum Algorithm {
    Direct(Direct),
    Winograd(Winograd),
}
