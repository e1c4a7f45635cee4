//! The group of processes that this one was started in.

use std::rc::Rc;

use anyhow::Result;
use ar_train::group::Group;

/// Calls `work` with the group of processes that `mpirun` started. If one fails, all of them end.
#[cfg(feature = "mpi")]
pub(crate) fn together<T>(work: impl FnOnce(Rc<dyn Group>) -> Result<T>) -> Result<T> {
    let group = Rc::new(ar_train::group::MpiGroup::join()?);
    let outcome = work(group.clone());
    if let Err(error) = &outcome
        && group.size() > 1
    {
        let [number, count] = [group.rank() + 1, group.size()];
        let error = ar_cli::one_line(error.as_ref());
        ar_cli::tell(format_args!("error: process {number} of {count}: {error}"));
        group.abort(2);
    }
    outcome
}

/// Calls `work` with this process only.
///
/// # Errors
/// If it was started together with others.
#[cfg(not(feature = "mpi"))]
pub(super) fn together<T>(work: impl FnOnce(Rc<dyn Group>) -> Result<T>) -> Result<T> {
    // The variables that the launchers of Open MPI and MPICH set for their processes.
    for variable in ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"] {
        let count = std::env::var(variable).ok().and_then(|n| n.parse().ok());
        let count: usize = count.unwrap_or(1);
        anyhow::ensure!(
            count == 1,
            "{count} processes were started together, but this build does not support MPI: build \
             ar-train with `--features mpi`"
        );
    }
    work(Rc::new(ar_train::group::Alone))
}
