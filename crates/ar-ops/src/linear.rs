//! Linear layers with the initialisation of the reference.

use burn::nn::{Initializer, Linear};
use burn::tensor::Device;

/// A linear layer whose weight is drawn from `initializer` and whose bias is zero.
pub fn linear(
    [d_input, d_output]: [usize; 2],
    initializer: Initializer,
    device: &Device,
) -> Linear {
    Linear {
        weight: initializer.init_with([d_input, d_output], Some(d_input), Some(d_output), device),
        bias: Some(Initializer::Zeros.init([d_output], device)),
    }
}
