//! Groups of threads, for tests.

use std::rc::Rc;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use super::Group;

/// The shared state of the threads of a group.
struct Table {
    sums: Mutex<Vec<f64>>,
    barrier: Barrier,
}

struct Member {
    rank: usize,
    size: usize,
    table: Arc<Table>,
}

impl Group for Member {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum_f32(&self, values: &mut [f32]) {
        let mut sums: Vec<f64> = values.iter().map(|&value| value.into()).collect();
        self.sum_f64(&mut sums);
        for (value, sum) in values.iter_mut().zip(sums) {
            *value = sum as f32;
        }
    }

    fn sum_f64(&self, values: &mut [f64]) {
        let Table { sums, barrier } = &*self.table;
        {
            let mut sums = sums.lock().expect("no thread has panicked");
            sums.resize(values.len(), 0.0);
            for (sum, value) in sums.iter_mut().zip(&*values) {
                *sum += value;
            }
        }
        barrier.wait();
        values.copy_from_slice(&sums.lock().expect("no thread has panicked"));
        if barrier.wait().is_leader() {
            sums.lock().expect("no thread has panicked").clear();
        }
        barrier.wait();
    }
}

/// Calls `work` in `size` threads, which are the members of a group, and returns their results in
/// the order of their ranks.
pub(crate) fn together<T: Send>(size: usize, work: impl Fn(Rc<dyn Group>) -> T + Sync) -> Vec<T> {
    let table = Arc::new(Table {
        sums: Mutex::default(),
        barrier: Barrier::new(size),
    });
    thread::scope(|scope| {
        let start = |rank| {
            let (table, work) = (table.clone(), &work);
            scope.spawn(move || work(Rc::new(Member { rank, size, table })))
        };
        let members: Vec<_> = (0..size).map(start).collect();
        let join = |member: thread::ScopedJoinHandle<'_, T>| member.join().expect("no panic");
        members.into_iter().map(join).collect()
    })
}
