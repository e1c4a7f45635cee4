//! Evaluations that are recorded once and replayed as a whole.
//!
//! A GPU finishes each operation of a small network before the host can launch the next one. If it can record
//! operations (as CUDA graphs, for instance), all operations of an evaluation are launched at once. A recording reads
//! and writes the memory locations that it was made with.

use burn::backend::{Backend, Dispatch};
use burn::tensor::{Device, Graph, Tensor, TensorData, capture};

use std::cell::RefCell;
use std::rc::Rc;

use crate::Denoiser;

/// Evaluations of a whole window, all with the same shape and context.
pub(crate) struct ReplayedWindow<'a> {
    x: Rc<Place>,
    timesteps: Rc<Place>,
    shape: [usize; 4],
    graph: Graph<Tensor<4>, Box<dyn FnMut() -> Tensor<4> + 'a>>,
}

/// Whether a device may record. Backends without device memory cannot record, and cannot say so before they are asked
/// to.
pub(crate) fn records(device: &Device) -> bool {
    device.memory_pool_usage().is_some() && Dispatch::graph_prepare(device.as_dispatch()).is_ok()
}

impl<'a> ReplayedWindow<'a> {
    /// Records the evaluation of `denoiser`; None if the device refuses.
    ///
    /// # Shapes
    /// - `shape`: of the latents, `[batch, frames, tokens, channels]`
    /// - `context`: `[batch, context_tokens, context_dim]`
    pub(crate) fn record<D: Denoiser + ?Sized>(
        denoiser: &'a D,
        shape: [usize; 4],
        context: Tensor<3>,
    ) -> Option<Self> {
        let device = context.device();
        let [batch, frames, ..] = shape;
        let x = Rc::new(Place::new(shape.iter().product(), &device));
        let timesteps = Rc::new(Place::new(batch * frames, &device));
        let evaluate: Box<dyn FnMut() -> Tensor<4> + 'a> = {
            let (x, timesteps) = (Rc::clone(&x), Rc::clone(&timesteps));
            Box::new(move || {
                let timesteps = timesteps.read().reshape([batch, frames]).int();
                denoiser.predict(x.read().reshape(shape), timesteps, context.clone())
            })
        };
        let graph = capture(&device, evaluate);
        let replayed = Self {
            x,
            timesteps,
            shape,
            graph,
        };
        replayed.graph.is_hardware().then_some(replayed)
    }

    /// Whether latents of `shape` are what was recorded.
    pub(crate) fn fits(&self, shape: [usize; 4]) -> bool {
        self.shape == shape
    }

    /// The prediction, which the next one overwrites.
    ///
    /// # Shapes
    /// - `x` and output: as recorded
    /// - `timesteps`: one per frame, the same in every sample
    pub(crate) fn predict(&mut self, x: Tensor<4>, timesteps: &[usize]) -> Tensor<4> {
        let device = x.device();
        self.x.write(x.flatten(0, 3));
        let timesteps: Vec<f32> = timesteps.iter().map(|&t| t as f32).collect();
        let timesteps = timesteps.repeat(self.shape[0]);
        let len = timesteps.len();
        self.timesteps.write(Tensor::from_data(
            TensorData::new(timesteps, [len]),
            &device,
        ));
        // SAFETY: everything that the recording reads and writes is alive: its inputs belong to `self`, its context and
        // output to the recording, and the network's own tensors to the denoiser, which is borrowed and guarantees that
        // it keeps them (`Denoiser::is_replayable`). A sampling run stays on one thread, which writes the inputs,
        // replays, and uses the output.
        unsafe { self.graph.replay() }.clone()
    }
}

/// Values at a fixed location on the device.
///
/// Its last element is unused: writing a whole tensor could return another tensor.
struct Place(RefCell<Option<Tensor<1>>>);

impl Place {
    fn new(len: usize, device: &Device) -> Self {
        Self(RefCell::new(Some(Tensor::zeros([len + 1], device))))
    }

    fn read(&self) -> Tensor<1> {
        let values = self.0.borrow();
        let values = values
            .as_ref()
            .expect("only `write` takes it, and puts it back");
        let [len] = values.dims();
        values.clone().narrow(0, 0, len - 1)
    }

    fn write(&self, values: Tensor<1>) {
        let mut place = self.0.borrow_mut();
        // Nobody else holds the tensor, so it is written in place.
        let old = place.take().expect("put back by every `write`");
        let [len] = values.dims();
        *place = Some(old.slice_assign(0..len, values));
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Int;

    use super::*;

    #[test]
    fn a_place_holds_what_was_written_last() {
        let place = Place::new(3, &Device::flex());
        for values in [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]] {
            place.write(Tensor::from_floats(values, &Device::flex()));
            let read: Vec<f32> = place.read().into_data().iter().collect();
            assert_eq!(read, values);
        }
    }

    #[test]
    fn a_device_that_does_not_record_refuses() {
        assert!(!records(&Device::flex()));
        let denoiser = |x: Tensor<4>, _: Tensor<2, Int>, _: Tensor<3>| x;
        let context = Tensor::zeros([1, 1, 1], &Device::flex());
        assert!(ReplayedWindow::record(&denoiser, [1, 2, 1, 1], context).is_none());
    }
}
