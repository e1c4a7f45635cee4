use std::fmt;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// The largest weight or latent of a network that computes anything: the largest 16-bit float.
/// In trained networks, they are smaller by orders of magnitude; training that diverges goes
/// beyond.
pub const LARGEST_WEIGHT: f32 = 65504.0;

/// What is wrong with a parameter of `module` that holds NaN, infinity, or more than
/// [`LARGEST_WEIGHT`], if there is one: its path and value. It waits for the device.
pub fn exploded<M: Module>(module: &M) -> Option<String> {
    let mut search = Search::default();
    module.visit(&mut search);
    search.found
}

/// What is wrong with values that no network computes with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// One is NaN or infinite.
    NotFinite,
    /// The largest, by its absolute value, is this, more than [`LARGEST_WEIGHT`].
    Large(f32),
}

impl Fault {
    /// The fault of a value, if it has one.
    pub fn of_value(value: f32) -> Option<Self> {
        let size = value.abs();
        if size <= LARGEST_WEIGHT {
            None
        } else if size.is_finite() {
            Some(Self::Large(size))
        } else {
            Some(Self::NotFinite)
        }
    }

    /// The fault of a tensor, if it has one. It waits for the device.
    pub fn of<const D: usize>(values: &Tensor<D>) -> Option<Self> {
        let sizes = values.clone().abs();
        // NaN is not lower or equal either.
        let is_small = sizes.clone().lower_equal_elem(LARGEST_WEIGHT).all();
        if is_small.into_scalar::<bool>() {
            None
        } else if sizes.clone().is_finite().all().into_scalar::<bool>() {
            Some(Self::Large(sizes.max().into_scalar::<f32>()))
        } else {
            Some(Self::NotFinite)
        }
    }
}

/// What the values are.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite => f.write_str("NaN or infinity"),
            Self::Large(largest) => write!(f, "{largest:e}, which is beyond {LARGEST_WEIGHT}"),
        }
    }
}

#[derive(Default)]
struct Search {
    path: Vec<String>,
    found: Option<String>,
}

impl ModuleVisitor for Search {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.found.is_some() {
            return;
        }
        let path = self.path.join(".");
        self.found = Fault::of(&param.val()).map(|fault| match fault {
            Fault::Large(largest) => {
                format!("{path} has grown to {largest:e}, and weights are at most {LARGEST_WEIGHT}")
            }
            Fault::NotFinite => format!("{path} is no longer finite"),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    #[test]
    fn weights_that_no_network_has_are_named() {
        let device = Device::flex();
        let network = |value: f32| Linear {
            weight: Param::from_tensor(Tensor::from_floats([[1.0], [value]], &device)),
            ..LinearConfig::new(2, 1).init(&device)
        };
        for sound in [0.0, -3.0, LARGEST_WEIGHT] {
            assert_eq!(exploded(&network(sound)), None);
        }
        for (value, what) in [
            (f32::NAN, "weight is no longer finite"),
            (f32::INFINITY, "weight is no longer finite"),
            (f32::NEG_INFINITY, "weight is no longer finite"),
            (8e29, "weight has grown to 8e29"),
            (-7e4, "weight has grown to 7e4"),
        ] {
            let found = exploded(&network(value)).expect("broken");
            assert!(found.contains(what), "{found}");
        }
    }
}
