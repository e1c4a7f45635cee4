//! Processes that train a network together, each with its share of the clips of a step.

#[cfg(feature = "mpi")]
mod mpi;
#[cfg(test)]
pub(crate) mod testing;

#[cfg(feature = "mpi")]
pub use mpi::MpiGroup;

/// A group of processes. All of them call the same methods in the same order; each call waits for
/// the others.
pub trait Group {
    /// Number of this process, from 0.
    fn rank(&self) -> usize;

    /// Number of processes.
    fn size(&self) -> usize;

    /// Replaces `values` by their sums over all processes.
    fn sum_f32(&self, values: &mut [f32]);

    /// Replaces `values` by their sums over all processes.
    fn sum_f64(&self, values: &mut [f64]);

    /// Whether this process is the one that logs, evaluates and writes checkpoints.
    fn is_leader(&self) -> bool {
        self.rank() == 0
    }

    /// The mean of `value` over all processes; not finite if it is not finite in one of them.
    fn mean(&self, value: f64) -> f64 {
        let mut sum = [value];
        self.sum_f64(&mut sum);
        sum[0] / self.size() as f64
    }

    /// Whether `value` is true in any process.
    fn any(&self, value: bool) -> bool {
        self.mean(f64::from(u8::from(value))) > 0.0
    }

    /// The leader's `value`, which is below 2^53.
    fn of_leader(&self, value: u64) -> u64 {
        let mut sum = [if self.is_leader() { value as f64 } else { 0.0 }];
        self.sum_f64(&mut sum);
        sum[0] as u64
    }
}

/// A single process.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Group for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum_f32(&self, _: &mut [f32]) {}

    fn sum_f64(&self, _: &mut [f64]) {}
}

#[cfg(test)]
mod tests {
    use super::testing::together;

    #[test]
    fn a_group_agrees() {
        let outcomes = together(3, |group| {
            let rank = group.rank();
            let mut values = [rank as f32, 1.0];
            group.sum_f32(&mut values);
            (
                values,
                group.mean(rank as f64),
                [group.any(rank == 2), group.any(false)],
                group.of_leader(40 + rank as u64),
                group.mean(if rank == 1 { f64::NAN } else { 0.0 }).is_nan(),
            )
        });
        for outcome in outcomes {
            assert_eq!(outcome, ([3.0, 3.0], 1.0, [true, false], 40, true));
        }
    }
}
