use ar_ops::{
    activation::gelu,
    linear::{self, linear},
};
use burn::module::Module;
use burn::nn::{Initializer, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Device, Tensor};

use crate::{ArVaeConfig, MultiheadAttention};

/// Hidden width of the MLP divided by the transformer's width.
const MLP_RATIO: usize = 4;

/// Two linear layers around an exact GELU. Checkpoint keys `mlp.c_fc`, `mlp.c_proj`.
#[derive(Module, Debug)]
pub struct TransformerMlp {
    c_fc: Linear,
    c_proj: Linear,
}

/// A pre-norm transformer layer. Checkpoint keys `ln_1`, `attn`, `ln_2`, `mlp`.
#[derive(Module, Debug)]
pub struct ResidualAttentionBlock {
    ln_1: LayerNorm,
    attn: MultiheadAttention,
    ln_2: LayerNorm,
    mlp: TransformerMlp,
}

impl ResidualAttentionBlock {
    /// A freshly initialised layer with the configured width and heads.
    pub fn new(config: &ArVaeConfig, device: &Device) -> Self {
        let width = config.width;
        let hidden = MLP_RATIO * width;
        let normal = |std| Initializer::Normal { mean: 0.0, std };
        let unit = (width as f64).powf(-0.5);
        Self {
            ln_1: LayerNormConfig::new(width).init(device),
            attn: MultiheadAttention::new(config, device),
            ln_2: LayerNormConfig::new(width).init(device),
            mlp: TransformerMlp {
                c_fc: linear([width, hidden], normal(unit / 2f64.sqrt()), device),
                c_proj: linear([hidden, width], normal(unit), device),
            },
        }
    }

    /// # Shapes
    /// - `x` and output: `[batch, sequence, width]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.attn.forward(self.ln_1.forward(x), None);
        let hidden = gelu(linear::apply(&self.mlp.c_fc, self.ln_2.forward(x.clone())));
        x + linear::apply(&self.mlp.c_proj, hidden)
    }
}
