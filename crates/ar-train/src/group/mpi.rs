use std::thread;

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::Equivalence;
use mpi::environment::{Universe, initialize_with_threading};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};

use super::Group;
use crate::error::{Error, Result};

/// The processes that `mpirun` started together; a process that was started in another way is
/// the only one.
pub struct MpiGroup {
    world: SimpleCommunicator,
    /// Dropped last: it ends MPI.
    _universe: Universe,
}

impl MpiGroup {
    /// Joins the group. A process can do so only once.
    ///
    /// # Errors
    /// If MPI has been joined before, or does not support threads that compute.
    pub fn join() -> Result<Self> {
        let (universe, threading) =
            initialize_with_threading(Threading::Funneled).ok_or_else(|| {
                Error::Group("MPI is in use already: a process joins its group once".into())
            })?;
        if threading < Threading::Funneled {
            let message = "this MPI library does not support threads: build it with thread support \
                 (MPI_THREAD_FUNNELED)";
            return Err(Error::Group(message.into()));
        }
        Ok(Self {
            world: universe.world(),
            _universe: universe,
        })
    }

    /// Ends all processes of the group with exit code `code`. Called by a process that cannot
    /// continue, because the others would wait for it forever.
    pub fn abort(&self, code: i32) -> ! {
        self.world.abort(code)
    }

    fn sum<T: Equivalence + Clone>(&self, values: &mut [T]) {
        let own = values.to_vec();
        self.world
            .all_reduce_into(&own[..], values, SystemOperation::sum());
    }
}

impl Drop for MpiGroup {
    fn drop(&mut self) {
        if thread::panicking() && self.size() > 1 {
            // The exit code of a panic.
            self.abort(101);
        }
    }
}

impl Group for MpiGroup {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn sum_f32(&self, values: &mut [f32]) {
        self.sum(values);
    }

    fn sum_f64(&self, values: &mut [f64]) {
        self.sum(values);
    }
}
