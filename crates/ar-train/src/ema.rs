//! The exponential moving average of weights.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// `decay * average + (1 - decay) * model`, parameter by parameter.
pub(crate) fn average<M: Module>(average: M, model: &M, decay: f64) -> M {
    // The container of gradients, which holds tensors by parameter.
    struct Collect(GradientsParams);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.register(param.id, param.val().inner());
        }
    }
    struct Mix {
        weights: GradientsParams,
        decay: f64,
    }
    impl ModuleMapper for Mix {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let weights = self
                .weights
                .remove::<D>(param.id)
                .expect("average and model have the same parameters");
            param.map(|mean| {
                let step = (weights - mean.clone()).mul_scalar(1.0 - self.decay);
                mean + step
            })
        }
    }
    let mut weights = Collect(GradientsParams::new());
    model.visit(&mut weights);
    average.map(&mut Mix {
        weights: weights.0,
        decay,
    })
}
