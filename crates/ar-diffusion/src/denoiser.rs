use burn::tensor::{Int, Tensor};

/// A network that predicts the diffusion target of every frame.
pub trait Denoiser {
    /// # Shapes
    /// - `x` and output: `[batch, frames, tokens, channels]`
    /// - `timesteps`: `[batch, frames]`
    /// - `context`: `[batch, context_tokens, context_dim]`
    fn predict(&self, x: Tensor<4>, timesteps: Tensor<2, Int>, context: Tensor<3>) -> Tensor<4>;
}

impl<F: Fn(Tensor<4>, Tensor<2, Int>, Tensor<3>) -> Tensor<4>> Denoiser for F {
    fn predict(&self, x: Tensor<4>, timesteps: Tensor<2, Int>, context: Tensor<3>) -> Tensor<4> {
        self(x, timesteps, context)
    }
}

/// What a sample is conditioned on, with classifier-free guidance or without.
#[derive(Clone, Debug)]
pub struct Context {
    condition: Tensor<3>,
    guidance: Option<Guidance>,
}

#[derive(Clone, Debug)]
struct Guidance {
    null: Tensor<3>,
    scale: f64,
}

impl Context {
    /// Conditioning without guidance: one network evaluation an iteration.
    ///
    /// # Shapes
    /// - `condition`: `[batch, context_tokens, context_dim]`
    pub fn unguided(condition: Tensor<3>) -> Self {
        Self {
            condition,
            guidance: None,
        }
    }

    /// Classifier-free guidance `null + scale (condition - null)` of the network's outputs. A
    /// `scale` of 1 is no guidance and costs none.
    ///
    /// # Shapes
    /// - `condition`, `null`: `[batch, context_tokens, context_dim]`
    pub fn guided(condition: Tensor<3>, null: Tensor<3>, scale: f64) -> Self {
        Self {
            condition,
            guidance: (scale != 1.0).then_some(Guidance { null, scale }),
        }
    }

    /// How many times an iteration evaluates each frame: 2 with guidance, else 1.
    pub fn evaluations(&self) -> usize {
        1 + usize::from(self.guidance.is_some())
    }

    /// The (guided) prediction; null and condition go through the network as one batch.
    pub(crate) fn predict(
        &self,
        denoiser: &(impl Denoiser + ?Sized),
        x: Tensor<4>,
        timesteps: Tensor<2, Int>,
    ) -> Tensor<4> {
        let Some(Guidance { null, scale }) = &self.guidance else {
            return denoiser.predict(x, timesteps, self.condition.clone());
        };
        let twice = |x: Tensor<4>| Tensor::cat(vec![x.clone(), x], 0);
        let output = denoiser.predict(
            twice(x),
            Tensor::cat(vec![timesteps.clone(), timesteps], 0),
            Tensor::cat(vec![null.clone(), self.condition.clone()], 0),
        );
        let [null, condition] = output.chunk(2, 0).try_into().expect("two halves");
        null.clone() + (condition - null) * *scale
    }
}
