//! The parameters of a network, with their names and layouts in files.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use crate::KeyMap;

/// A parameter of a network.
pub(crate) struct Parameter {
    /// Where it is in the network.
    pub path: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// Whether a file has its transpose: Burn's linear layers are `[input, output]`.
    pub is_transposed: bool,
}

impl Parameter {
    /// Its shape in a file.
    pub(crate) fn file_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if self.is_transposed {
            shape.reverse();
        }
        shape
    }
}

/// All parameters by their keys in a file. Parameters that are not initialised yet stay so.
pub(crate) fn parameters<M: Module>(module: &M, keys: KeyMap) -> BTreeMap<String, Parameter> {
    let mut visitor = Visitor::default();
    module.visit(&mut visitor);
    let found = visitor.found.into_iter();
    found
        .map(|parameter| (keys.file_key(&parameter.path), parameter))
        .collect()
}

/// The shapes of a network's parameters in a file, by key.
pub fn file_shapes<M: Module>(module: &M, keys: KeyMap) -> BTreeMap<String, Vec<usize>> {
    let parameters = parameters(module, keys).into_iter();
    parameters
        .map(|(key, parameter)| (key, parameter.file_shape()))
        .collect()
}

#[derive(Default)]
struct Visitor {
    path: Vec<String>,
    containers: Vec<String>,
    found: Vec<Parameter>,
}

/// Variants of an enum do not appear in paths.
fn is_variant(container: &str) -> bool {
    container.starts_with("Enum:")
}

impl ModuleVisitor for Visitor {
    fn enter_module(&mut self, name: &str, container: &str) {
        if !is_variant(container) {
            self.path.push(name.to_owned());
        }
        self.containers.push(container.to_owned());
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.containers.pop();
        if !is_variant(container) {
            self.path.pop();
        }
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let is_linear = self.containers.last().is_some_and(|c| c == "Struct:Linear");
        let is_weight = self.path.last().is_some_and(|name| name == "weight");
        self.found.push(Parameter {
            path: self.path.join("."),
            shape: param.lazy_shape().to_vec(),
            is_transposed: is_linear && is_weight,
        });
    }
}
