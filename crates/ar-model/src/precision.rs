use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

/// The precision that a network computes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ComputePrecision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits with the range of f32, so that the loss needs no scaling.
    Bf16,
}

impl ComputePrecision {
    /// The module with its parameters in this precision. The original keeps its parameters; the copies have the same
    /// ids, but their own gradients.
    pub fn of<M: Module>(self, module: M) -> M {
        match self {
            Self::F32 => module,
            Self::Bf16 => module.map(&mut Narrow(FloatDType::BF16)),
        }
    }

    /// Whether `device` supports this precision.
    pub fn is_supported(self, device: &Device) -> bool {
        self == Self::F32 || device.supports_dtype(FloatDType::BF16)
    }
}

/// Copies parameters in another precision.
struct Narrow(FloatDType);

impl ModuleMapper for Narrow {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|weights| {
            let trains = weights.is_require_grad();
            if !weights.device().is_autodiff() {
                return weights.cast(self.0);
            }
            Tensor::from_inner(weights.inner().cast(self.0)).set_require_grad(trains)
        })
    }
}
