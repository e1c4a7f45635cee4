use ar_diffusion::{Context, Denoiser};
use ar_dit::Dit;
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

use crate::{ConditioningConfig, ContextEmbedding, ModelError};

/// A transformer checkpoint: the network and its context vectors.
#[derive(Module, Debug)]
pub struct Transformer {
    dit: Dit,
    context: ContextEmbedding,
}

impl Transformer {
    /// A freshly initialised transformer.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(
        dit: &ar_dit::DitConfig,
        conditioning: &ConditioningConfig,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let shape = [dit.context_tokens, dit.context_dim];
        Ok(Self {
            dit: dit.init(device)?,
            context: ContextEmbedding::new(conditioning, shape, device),
        })
    }

    /// The network.
    pub fn dit(&self) -> &Dit {
        &self.dit
    }

    /// The context vectors.
    pub fn context(&self) -> &ContextEmbedding {
        &self.context
    }

    /// The conditioning of a batch of samples: one class for all, or none.
    ///
    /// # Errors
    /// If the model does not know the class.
    pub fn sampling_context(
        &self,
        class: Option<usize>,
        batch: usize,
        guidance: f64,
    ) -> Result<Context, ModelError> {
        let condition = self.context.of(class, batch)?;
        Ok(Context::guided(
            condition,
            self.context.null(batch),
            guidance,
        ))
    }

    /// The conditioning of a batch of samples, with a class for each.
    ///
    /// # Errors
    /// If the model does not know a class.
    pub fn context_of_classes(
        &self,
        classes: &[usize],
        guidance: f64,
    ) -> Result<Context, ModelError> {
        let batch = classes.len();
        let condition = self.context.training(Some(classes), &vec![false; batch])?;
        Ok(Context::guided(
            condition,
            self.context.null(batch),
            guidance,
        ))
    }
}

impl Denoiser for Transformer {
    fn predict(&self, x: Tensor<4>, timesteps: Tensor<2, Int>, context: Tensor<3>) -> Tensor<4> {
        self.dit.forward(x, timesteps, context)
    }

    fn is_replayable(&self) -> bool {
        !self.context.null(1).is_autodiff()
    }
}
