//! Operations on the gradients of all parameters of a module.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{FloatDType, Tensor, TensorData};

use crate::group::Group;

/// The norm over all gradients.
pub(crate) fn global_norm<M: Module>(model: &M, gradients: &GradientsParams) -> f64 {
    struct SquareSum<'a> {
        gradients: &'a GradientsParams,
        sum: Option<Tensor<1>>,
    }
    impl ModuleVisitor for SquareSum<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                let square = gradient.square().sum();
                self.sum = Some(match self.sum.take() {
                    Some(sum) => sum + square,
                    None => square,
                });
            }
        }
    }
    let mut squares = SquareSum {
        gradients,
        sum: None,
    };
    model.visit(&mut squares);
    squares
        .sum
        .map_or(0.0, |sum| f64::from(sum.into_scalar::<f32>()).sqrt())
}

/// Multiplies all gradients by `factor`.
pub(crate) fn scale<M: Module>(model: &M, gradients: &mut GradientsParams, factor: f64) {
    struct Scale<'a> {
        gradients: &'a mut GradientsParams,
        factor: f64,
    }
    impl ModuleVisitor for Scale<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                self.gradients
                    .register(param.id, gradient.mul_scalar(self.factor));
            }
        }
    }
    model.visit(&mut Scale { gradients, factor });
}

/// Converts all gradients to f32.
pub(crate) fn widen<M: Module>(model: &M, gradients: &mut GradientsParams) {
    struct Widen<'a>(&'a mut GradientsParams);
    impl ModuleVisitor for Widen<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.remove::<D>(param.id) {
                self.0.register(param.id, gradient.cast(FloatDType::F32));
            }
        }
    }
    model.visit(&mut Widen(gradients));
}

/// Replaces all gradients, in f32, by their means over the processes of `group`, which have gradients of the same
/// parameters.
pub(crate) fn average<M: Module>(model: &M, gradients: &mut GradientsParams, group: &dyn Group) {
    struct Average<'a> {
        gradients: &'a mut GradientsParams,
        group: &'a dyn Group,
    }
    impl ModuleVisitor for Average<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.remove::<D>(param.id) {
                let (device, shape) = (gradient.device(), gradient.shape());
                let mut values: Vec<f32> = gradient.into_data().iter::<f32>().collect();
                self.group.sum_f32(&mut values);
                let sum = Tensor::<D>::from_data(TensorData::new(values, shape), &device);
                let mean = sum.div_scalar(self.group.size() as f64);
                self.gradients.register(param.id, mean);
            }
        }
    }
    model.visit(&mut Average { gradients, group });
}

/// Scales all gradients so that their joint norm is at most `largest` (0: no limit), and returns the norm before that.
/// Burn's own clipping works tensor by tensor.
pub(crate) fn clip_global_norm<M: Module>(
    model: &M,
    gradients: &mut GradientsParams,
    largest: f64,
) -> f64 {
    let norm = global_norm(model, gradients);
    if largest > 0.0 && norm > largest {
        scale(model, gradients, largest / norm);
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::LinearConfig;
    use burn::tensor::Device;

    #[test]
    fn clipping_is_by_the_joint_norm() {
        let device = Device::flex().autodiff();
        let model = LinearConfig::new(2, 1).init(&device);
        // d loss / d weight = [3, 0], d loss / d bias = 4: a joint norm of 5.
        let input = Tensor::<2>::from_floats([[0.75, 0.0]], &device);
        let loss = (model.forward(input) * 4.0).sum();
        let mut gradients = GradientsParams::from_grads(loss.backward(), &model);
        let norm = clip_global_norm(&model, &mut gradients, 1.0);
        assert!((norm - 5.0).abs() < 1e-6, "{norm}");
        assert!((global_norm(&model, &gradients) - 1.0).abs() < 1e-6);
        let weight = gradients.get::<2>(model.weight.id).expect("a gradient");
        let weight: Vec<f32> = weight.into_data().iter::<f32>().collect();
        assert!(
            (weight[0] - 0.6).abs() < 1e-6 && weight[1] == 0.0,
            "{weight:?}"
        );
    }
}
