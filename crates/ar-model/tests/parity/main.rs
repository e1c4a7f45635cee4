//! Compares imported checkpoints with the method's reference implementation: the objective and
//! whole sampling runs. (The networks by themselves are compared in their own crates.)
//!
//! Tolerances are for f32: a relative error `|a - b| / |b|` of 1e-5 for one forward pass, of
//! 1e-4 for gradients and for a whole sampling run.

mod published;
mod transformer;

const FORWARD: f64 = 1e-5;
const GRADIENT: f64 = 1e-4;
const SAMPLING: f64 = 1e-4;
