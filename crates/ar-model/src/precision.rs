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
    /// f32, except that linear layers multiply in bf16 and add in f32. Only for the CPU, where it is faster if the
    /// processor has AMX or AVX512-BF16; elsewhere only the weights are rounded.
    Bf16Products,
}

impl ComputePrecision {
    /// The module with its parameters in this precision. The original keeps its parameters; the copies have the same
    /// ids, but their own gradients.
    pub fn of<M: Module>(self, module: M) -> M {
        match self {
            Self::F32 => module,
            Self::Bf16 => module.map(&mut Narrow(FloatDType::BF16)),
            Self::Bf16Products => module.map(&mut NarrowProducts::default()),
        }
    }

    /// Whether `device` supports this precision.
    pub fn is_supported(self, device: &Device) -> bool {
        match self {
            Self::F32 => true,
            Self::Bf16 => device.supports_dtype(FloatDType::BF16),
            Self::Bf16Products => ar_ops::linear::multiplies_bf16(device),
        }
    }
}

/// Copies parameters in another precision.
struct Narrow(FloatDType);

impl ModuleMapper for Narrow {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|weights| narrow(weights, self.0))
    }
}

/// Copies the weights of linear layers in bf16.
#[derive(Default)]
struct NarrowProducts {
    /// Types and names of the modules around the parameter.
    path: Vec<[String; 2]>,
}

impl ModuleMapper for NarrowProducts {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.push([container_type.to_owned(), name.to_owned()]);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.path.last() {
            Some([container, name]) if container == "Struct:Linear" && name == "weight" => {
                param.map(|weights| narrow(weights, FloatDType::BF16))
            }
            _ => param,
        }
    }
}

/// A copy in another precision, which trains if the original does.
fn narrow<const D: usize>(weights: Tensor<D>, dtype: FloatDType) -> Tensor<D> {
    let trains = weights.is_require_grad();
    if !weights.device().is_autodiff() {
        return weights.cast(dtype);
    }
    Tensor::from_inner(weights.inner().cast(dtype)).set_require_grad(trains)
}
