//! Layer normalisation without parameters, its adaptive modulation, and gated residuals.

use std::ops::Range;

#[cfg(feature = "flex")]
use burn::backend::Dispatch;
use burn::tensor::{Tensor, module};

#[cfg(feature = "flex")]
use ar_kernels::{gated_residual::GateOps, norm::NormOps};

/// Layer normalisation over the last axis, without scale or bias.
pub fn layer_norm<const D: usize>(x: Tensor<D>, epsilon: f64) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if ar_kernels::covers(&x) {
        let output = Dispatch::layer_norm_plain(x.into_dispatch(), epsilon);
        return Tensor::from_dispatch(output);
    }
    #[cfg(feature = "gpu")]
    if ar_gpu_kernels::covers(&x) {
        return ar_gpu_kernels::norm::layer_norm(x, epsilon);
    }
    layer_norm_plain(x, epsilon)
}

fn layer_norm_plain<const D: usize>(x: Tensor<D>, epsilon: f64) -> Tensor<D> {
    let width = x.dims()[D - 1];
    let ones = Tensor::ones([width], (&x.device(), x.dtype()));
    module::layer_norm(x, ones, None, epsilon)
}

/// Adaptive modulation `x (1 + scale) + shift` with one shift and scale per frame.
///
/// # Shapes
/// - `x` and output: `[batch, frames, tokens, width]`
/// - `shift`, `scale`: `[batch, frames, 1, width]`; a size of 1 broadcasts over `batch` or `frames`
pub fn modulate(x: Tensor<4>, shift: Tensor<4>, scale: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if ar_kernels::covers(&x) {
        let [x, shift, scale] = [x, shift, scale].map(Tensor::into_dispatch);
        return Tensor::from_dispatch(Dispatch::modulate(x, shift, scale));
    }
    modulate_plain(x, shift, scale)
}

fn modulate_plain(x: Tensor<4>, shift: Tensor<4>, scale: Tensor<4>) -> Tensor<4> {
    x * scale.add_scalar(1.0) + shift
}

/// [`modulate`] applied to the output of [`layer_norm`].
///
/// # Shapes
/// As [`modulate`].
pub fn layer_norm_modulate(
    x: Tensor<4>,
    shift: Tensor<4>,
    scale: Tensor<4>,
    epsilon: f64,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if ar_kernels::covers(&x) {
        let [x, shift, scale] = [x, shift, scale].map(Tensor::into_dispatch);
        let output = Dispatch::layer_norm_modulate(x, shift, scale, epsilon);
        return Tensor::from_dispatch(output);
    }
    #[cfg(feature = "gpu")]
    if ar_gpu_kernels::covers(&x) {
        return ar_gpu_kernels::norm::layer_norm_modulate(x, shift, scale, epsilon);
    }
    modulate_plain(layer_norm_plain(x, epsilon), shift, scale)
}

/// Adaptive layer norm (adaLN) around a sub-layer of a block, attention or MLP: how the sub-layer
/// depends on the timestep of every frame.
///
/// ```text
/// output = residual + gate * sublayer(layer_norm(x) (1 + scale) + shift)
/// ```
#[derive(Clone, Debug)]
pub struct AdaptiveNorm {
    /// `n` concatenated vectors, shifts, scales and gates of this sub-layer and of others:
    /// `[batch, frames, n * width]`; a size of 1 broadcasts over `batch` or `frames`.
    pub modulation: Tensor<3>,
    /// Which of the `n` are this sub-layer's shift, scale and gate.
    pub chunks: [usize; 3],
    /// What the output is added to.
    pub residual: Residual,
    /// Added to the variance.
    pub epsilon: f64,
}

/// What a sub-layer adds its gated output to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// The input of the sub-layer.
    Input,
    /// The input after its layer norm, before the modulation.
    Normed,
}

impl AdaptiveNorm {
    /// The residual, and the input of the sub-layer: normalised and modulated.
    ///
    /// # Shapes
    /// - `x` and outputs: `[batch, frames, tokens, width]`
    pub fn modulated_input(&self, x: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let [shift, scale, _] = self.vectors(x.dims()[3]);
        match self.residual {
            Residual::Input => {
                let input = layer_norm_modulate(x.clone(), shift, scale, self.epsilon);
                (x, input)
            }
            Residual::Normed => {
                let normed = layer_norm(x, self.epsilon);
                (normed.clone(), modulate(normed, shift, scale))
            }
        }
    }

    /// `residual + gate * output` for the output of the sub-layer.
    ///
    /// # Shapes
    /// - `residual`, `output` and result: `[batch, frames, tokens, width]`
    pub fn gated_residual(&self, residual: Tensor<4>, output: Tensor<4>) -> Tensor<4> {
        let [.., gate] = self.vectors(residual.dims()[3]);
        gated_residual(residual, gate, output)
    }

    /// The same for only some of the frames.
    pub fn narrow_frames(&self, frames: Range<usize>) -> Self {
        let modulation = self.modulation.clone();
        Self {
            modulation: match modulation.dims()[1] {
                1 => modulation,
                _ => modulation.narrow(1, frames.start, frames.len()),
            },
            ..self.clone()
        }
    }

    /// The kernel's layer norm around a sub-layer whose input is `x`.
    #[cfg(feature = "flex")]
    pub(crate) fn kernel(self, x: Tensor<4>) -> ar_kernels::adaptive_norm::AdaptiveNorm {
        let modulation = ar_kernels::adaptive_norm::Modulation {
            vectors: ar_kernels::into_flex(self.modulation),
            chunks: self.chunks,
            normed_residual: self.residual == Residual::Normed,
            epsilon: self.epsilon,
        };
        ar_kernels::adaptive_norm::AdaptiveNorm::new(ar_kernels::into_flex(x), modulation)
    }

    /// Shift, scale and gate, `[batch or 1, frames or 1, 1, width]` each.
    pub fn vectors(&self, width: usize) -> [Tensor<4>; 3] {
        self.chunks.map(|chunk| {
            let vectors = self.modulation.clone().narrow(2, chunk * width, width);
            vectors.unsqueeze_dim(2)
        })
    }
}

/// `residual + gate * x` with one gate per frame.
///
/// # Shapes
/// - `residual`, `x` and output: `[batch, frames, tokens, width]`
/// - `gate`: `[batch, frames, 1, width]`; a size of 1 broadcasts over `batch` or `frames`
pub fn gated_residual(residual: Tensor<4>, gate: Tensor<4>, x: Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if ar_kernels::covers(&x) {
        let [residual, gate, x] = [residual, gate, x].map(Tensor::into_dispatch);
        return Tensor::from_dispatch(Dispatch::gated_residual(residual, gate, x));
    }
    gated_residual_plain(residual, gate, x)
}

fn gated_residual_plain(residual: Tensor<4>, gate: Tensor<4>, x: Tensor<4>) -> Tensor<4> {
    residual + x * gate
}

/// Scales every vector along `dim` to unit length; a zero vector stays zero.
pub fn l2_normalize<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    let norm = x.clone().square().sum_dim(dim).sqrt().clamp_min(1e-12);
    x / norm
}

#[cfg(all(test, feature = "flex"))]
pub(crate) mod testing {
    use super::*;

    /// One of each kind, with shifts, scales and gates among these five vectors.
    pub(crate) fn adaptive_norms(modulation: &Tensor<3>) -> [AdaptiveNorm; 2] {
        [Residual::Input, Residual::Normed].map(|residual| AdaptiveNorm {
            modulation: modulation.clone(),
            chunks: [1, 3, 4],
            residual,
            epsilon: 1e-6,
        })
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use crate::testing::agree;

    const EPSILON: f64 = 1e-6;
    const SHAPE: [usize; 4] = [2, 3, 5, 20];

    /// A vector for each frame, for all frames of a sample, for a frame of all samples, or for
    /// everything.
    const VECTORS: [[usize; 2]; 4] = [[2, 3], [2, 1], [1, 3], [1, 1]];

    /// Every other vector of twice as many, so they are not contiguous.
    fn vectors(values: Tensor<1>, [batch, frames]: [usize; 2]) -> Tensor<4> {
        values.reshape([batch, frames, 1, 40]).narrow(3, 0, 20)
    }

    #[test]
    fn layer_norm_agrees_with_plain_operations() {
        agree(
            [600],
            |[x]| layer_norm(x.reshape(SHAPE), EPSILON).flatten(0, 3),
            |[x]| layer_norm_plain(x.reshape(SHAPE), EPSILON).flatten(0, 3),
        );
    }

    #[test]
    fn modulation_agrees_with_plain_operations() {
        type Modulation = fn(Tensor<4>, Tensor<4>, Tensor<4>) -> Tensor<4>;
        let pairs: [[Modulation; 2]; 2] = [
            [modulate, modulate_plain],
            [
                |x, shift, scale| layer_norm_modulate(x, shift, scale, EPSILON),
                |x, shift, scale| modulate_plain(layer_norm_plain(x, EPSILON), shift, scale),
            ],
        ];
        for shape in VECTORS {
            let len = shape[0] * shape[1] * 40;
            for functions in pairs {
                let [fused, plain] = functions.map(|function| {
                    move |[x, shift, scale]: [Tensor<1>; 3]| {
                        let [shift, scale] = [shift, scale].map(|v| vectors(v, shape));
                        function(x.reshape(SHAPE), shift, scale).flatten(0, 3)
                    }
                });
                agree([600, len, len], fused, plain);
            }
        }
    }

    #[test]
    fn gated_residual_agrees_with_plain_operations() {
        for shape in VECTORS {
            let [fused, plain] = [gated_residual, gated_residual_plain].map(|function| {
                move |[residual, gate, x]: [Tensor<1>; 3]| {
                    let gate = vectors(gate, shape);
                    function(residual.reshape(SHAPE), gate, x.reshape(SHAPE)).flatten(0, 3)
                }
            });
            agree([600, shape[0] * shape[1] * 40, 600], fused, plain);
        }
    }
}
