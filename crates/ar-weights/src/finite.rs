use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// The path of a parameter of `module` that is NaN or infinity, if there is one. Waits for the device.
pub fn not_finite<M: Module>(module: &M) -> Option<String> {
    let mut search = Search::default();
    module.visit(&mut search);
    search.found
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
        if self.found.is_none() && !is_finite(param.val()) {
            self.found = Some(self.path.join("."));
        }
    }
}

fn is_finite<const D: usize>(tensor: Tensor<D>) -> bool {
    tensor.is_finite().all().into_scalar::<bool>()
}
