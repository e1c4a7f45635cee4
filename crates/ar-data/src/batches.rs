//! Batches that are prefetched during training.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use burn_dataset::DatasetError;
use rand::RngExt;

use crate::order::{EpochShuffle, addressed_rng};
use crate::video_folder::is_environment;

/// Number of replacements for an unreadable item that are tried before the dataset counts as broken.
const REPLACEMENTS: usize = 16;

/// How far items are prefetched, and on how many threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAhead {
    /// Threads that read.
    pub workers: usize,
    /// The most batches in the queue; each worker holds one more item.
    pub batches: usize,
}

/// Where a process reads in the order of items, and which batches it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataCursor {
    /// The position of the first batch.
    pub first: u64,
    /// Number of this process, from 0.
    pub process: usize,
    /// Number of processes, which take batches in turn.
    pub processes: usize,
}

impl Default for ReadAhead {
    /// Two threads and a queue of four batches.
    fn default() -> Self {
        Self {
            workers: 2,
            batches: 4,
        }
    }
}

impl DataCursor {
    /// Everything from `first` on.
    pub fn from(first: u64) -> Self {
        Self {
            first,
            process: 0,
            processes: 1,
        }
    }

    /// The position of item number `number` of this process, with batches of `batch_size`.
    fn position(self, number: u64, batch_size: usize) -> u64 {
        let batch_size = batch_size as u64;
        let batch = number / batch_size * self.processes as u64 + self.process as u64;
        self.first + batch * batch_size + number % batch_size
    }
}

/// How batches are chosen and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// Seed of the order of items.
    pub seed: u64,
    /// Items per batch.
    pub batch_size: usize,
    /// Where in that order the process starts.
    pub cursor: DataCursor,
    /// How far items are prefetched.
    pub ahead: ReadAhead,
}

impl Default for BatchOptions {
    /// Batches of 8 items from the first one on, for one process.
    fn default() -> Self {
        Self {
            seed: 0,
            batch_size: 8,
            cursor: DataCursor::from(0),
            ahead: ReadAhead::default(),
        }
    }
}

/// Which item to read, and in which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochItem {
    /// Number of the epoch, from 0.
    pub epoch: u64,
    /// The item.
    pub index: usize,
}

/// An item that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The item.
    pub index: usize,
    /// Why.
    pub reason: String,
}

/// Why there is no next batch.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// Neither an item nor any of its replacements could be read.
    #[error(
        "{count} items drawn one after another cannot be read; the last is item {index}: {reason}"
    )]
    Unreadable {
        /// Number of items that were tried.
        count: usize,
        /// The last of them.
        index: usize,
        /// Why it cannot be read.
        reason: String,
    },
    /// An item cannot be read because of the environment. Replacing it would mean training on other data. See
    /// [`is_environment`].
    #[error("item {index} cannot be read here: {reason}")]
    Environment {
        /// The item.
        index: usize,
        /// Why.
        reason: String,
    },
    /// The system has no threads left for reading.
    #[error(
        "cannot start a thread that reads data ({0}): raise the limits on processes and memory (`ulimit -u`, `-v`)"
    )]
    NoThread(io::Error),
    /// The code that reads items panicked.
    #[error("a thread that reads the data has died")]
    Died,
}

/// Endless batches of a dataset, prefetched by worker threads in bounded memory.
///
/// Batches follow only from the items, the seed and the position. The number of workers does not matter, and batches
/// from a position on are the same as in an uninterrupted sequence: worker `w` of `W` reads the items at positions `w`,
/// `w + W`, `w + 2 W`, .. of this process, and the workers are asked in turn. (Burn's own loader returns batches as its
/// workers finish them, and always starts at the beginning.)
///
/// An item that cannot be read is replaced by another one, the same one every time, unless the
/// [environment](is_environment) is the cause.
#[derive(Debug)]
pub struct Batches<I> {
    workers: Vec<Receiver<Read<I>>>,
    /// Why a worker could not be started.
    refused: Option<io::Error>,
    batch_size: usize,
    /// Number of items taken.
    taken: usize,
    reported: BTreeSet<usize>,
    skipped: Vec<Unreadable>,
}

/// What a worker read at one position, and which items it skipped.
struct Read<I> {
    item: Option<I>,
    unreadable: Vec<Unreadable>,
    /// Whether the environment is the cause of the last one.
    is_environment: bool,
}

impl<I: Send + 'static> Batches<I> {
    /// Starts reading batches from the cursor of `options` on. Items `0..len` are taken in the order of
    /// [`EpochShuffle`] and read by `read`.
    ///
    /// # Panics
    /// If there are no items, batches are empty, `options.ahead` has a zero in it, or the cursor
    /// names a process that does not exist.
    pub fn start(
        len: usize,
        read: impl Fn(EpochItem) -> Result<I, DatasetError> + Send + Sync + 'static,
        options: BatchOptions,
    ) -> Self {
        let BatchOptions {
            seed,
            batch_size,
            cursor: positions,
            ahead: ReadAhead { workers, batches },
        } = options;
        assert!(
            batch_size > 0 && workers > 0 && batches > 0,
            "batches of {batch_size}, {batches} ahead on {workers} workers"
        );
        assert!(positions.process < positions.processes, "{positions:?}");
        let read = Arc::new(read);
        let mut refused = None;
        let mut start = |worker: usize| {
            let (sender, receiver) = sync_channel((batches * batch_size).div_ceil(workers));
            let read = read.clone();
            let order = EpochShuffle::new(len, seed);
            let work = move || {
                for number in (worker as u64..).step_by(workers) {
                    let position = positions.position(number, batch_size);
                    // There is no receiver any more when training has stopped.
                    if sender
                        .send(read_at(position, &order, seed, &*read))
                        .is_err()
                    {
                        break;
                    }
                }
            };
            if let Err(error) = thread::Builder::new().spawn(work) {
                refused = Some(error);
            }
            receiver
        };
        Self {
            workers: (0..workers).map(&mut start).collect(),
            refused,
            batch_size,
            taken: 0,
            reported: BTreeSet::new(),
            skipped: Vec::new(),
        }
    }

    /// The next batch.
    ///
    /// # Errors
    /// If too many items cannot be read, or a worker has died.
    pub fn next_batch(&mut self) -> Result<Vec<I>, BatchError> {
        (0..self.batch_size).map(|_| self.next_item()).collect()
    }

    fn next_item(&mut self) -> Result<I, BatchError> {
        if let Some(error) = self.refused.take() {
            return Err(BatchError::NoThread(error));
        }
        let worker = &self.workers[self.taken % self.workers.len()];
        let Read {
            item,
            unreadable,
            is_environment,
        } = worker.recv().map_err(|_| BatchError::Died)?;
        self.taken += 1;
        let count = unreadable.len();
        let last = unreadable.last().cloned();
        // A failure of the environment is not recorded for an item.
        let noted = count - usize::from(is_environment);
        for unreadable in unreadable.into_iter().take(noted) {
            if self.reported.insert(unreadable.index) {
                self.skipped.push(unreadable);
            }
        }
        item.ok_or_else(|| {
            let Unreadable { index, reason } = last.expect("an item is missing for a reason");
            if is_environment {
                BatchError::Environment { index, reason }
            } else {
                BatchError::Unreadable {
                    count,
                    index,
                    reason,
                }
            }
        })
    }

    /// The items that were found unreadable since the last call, each of them once.
    pub fn take_skipped(&mut self) -> Vec<Unreadable> {
        std::mem::take(&mut self.skipped)
    }
}

fn read_at<I>(
    position: u64,
    order: &EpochShuffle,
    seed: u64,
    read: impl Fn(EpochItem) -> Result<I, DatasetError>,
) -> Read<I> {
    let epoch = order.epoch(position);
    let mut index = order.index(position);
    let mut unreadable = Vec::new();
    let mut others = addressed_rng(seed, b"replaced", position);
    loop {
        let error = match read(EpochItem { epoch, index }) {
            Ok(item) => {
                return Read {
                    item: Some(item),
                    unreadable,
                    is_environment: false,
                };
            }
            Err(error) => error,
        };
        let (reason, is_environment) = (error.to_string(), is_environment(&error));
        unreadable.push(Unreadable { index, reason });
        if is_environment || unreadable.len() > REPLACEMENTS {
            return Read {
                item: None,
                unreadable,
                is_environment,
            };
        }
        index = others.random_range(0..order.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    const LEN: usize = 23;
    const SEED: u64 = 9;

    /// Reads the index and the epoch; multiples of 7 are broken.
    fn read(item: EpochItem) -> Result<EpochItem, DatasetError> {
        match item.index % 7 {
            0 => Err(DatasetError::new(std::io::Error::other("broken"))),
            _ => Ok(item),
        }
    }

    fn options(batch_size: usize, cursor: DataCursor, ahead: ReadAhead) -> BatchOptions {
        BatchOptions {
            seed: SEED,
            batch_size,
            cursor,
            ahead,
        }
    }

    fn batches(workers: usize, first_batch: usize) -> Batches<EpochItem> {
        let ahead = ReadAhead {
            workers,
            batches: 2,
        };
        let positions = DataCursor::from(4 * first_batch as u64);
        Batches::start(LEN, read, options(4, positions, ahead))
    }

    fn take(batches: &mut Batches<EpochItem>, count: usize) -> Vec<Vec<EpochItem>> {
        let batch = |_| batches.next_batch().expect("most items read");
        (0..count).map(batch).collect()
    }

    #[test]
    fn batches_do_not_depend_on_workers_or_where_they_start() {
        let whole = take(&mut batches(1, 0), 30);
        for workers in [2, 3, 5, 40] {
            assert_eq!(take(&mut batches(workers, 0), 30), whole, "{workers}");
            for first in [1, 6, 29] {
                assert_eq!(
                    take(&mut batches(workers, first), 30 - first),
                    whole[first..]
                );
            }
        }
    }

    #[test]
    fn processes_share_the_batches_out() {
        let ahead = ReadAhead {
            workers: 3,
            batches: 2,
        };
        let first = 5;
        let batches = |size, process, processes| {
            let positions = DataCursor {
                first,
                process,
                processes,
            };
            take(
                &mut Batches::start(LEN, read, options(size, positions, ahead)),
                20,
            )
        };
        let whole = batches(6, 0, 1);
        let parts = [0, 1, 2].map(|process| batches(2, process, 3));
        for (step, whole) in whole.iter().enumerate() {
            let parts = parts.each_ref().map(|batches| batches[step].clone());
            assert_eq!(parts.concat(), *whole, "{step}");
        }
    }

    #[test]
    fn readable_items_come_in_the_order_of_the_shuffle() {
        let order = EpochShuffle::new(LEN, SEED);
        let drawn = take(&mut batches(3, 0), 30).concat();
        for (position, item) in drawn.into_iter().enumerate() {
            let position = position as u64;
            assert_eq!(item.epoch, order.epoch(position));
            let index = order.index(position);
            match index % 7 {
                0 => assert_ne!(item.index % 7, 0),
                _ => assert_eq!(item.index, index),
            }
        }
    }

    #[test]
    fn what_was_skipped_is_told_once() {
        let mut batches = batches(2, 0);
        take(&mut batches, 30);
        let mut skipped = batches.take_skipped();
        skipped.sort_by_key(|skipped| skipped.index);
        let expected = [0, 7, 14, 21].map(|index| Unreadable {
            index,
            reason: "broken".to_string(),
        });
        assert_eq!(skipped, expected);
        take(&mut batches, 30);
        assert_eq!(batches.take_skipped(), []);
    }

    #[test]
    fn a_dataset_that_does_not_read_is_an_error() {
        let nothing = |_| Err::<(), _>(DatasetError::new(std::io::Error::other("gone")));
        let ahead = ReadAhead {
            workers: 2,
            batches: 1,
        };
        let mut batches = Batches::start(LEN, nothing, options(4, DataCursor::from(0), ahead));
        let error = batches.next_batch().expect_err("nothing reads").to_string();
        assert!(error.starts_with("17 items drawn"), "{error}");
        assert!(error.ends_with(": gone"), "{error}");

        let missing = |_| {
            let path = "a.mp4".into();
            Err::<(), _>(DatasetError::new(ar_video::VideoError::Interrupted {
                path,
            }))
        };
        let mut batches = Batches::start(LEN, missing, options(4, DataCursor::from(0), ahead));
        let error = batches.next_batch().expect_err("no ffmpeg");
        assert!(matches!(error, BatchError::Environment { .. }), "{error}");
        assert_eq!(batches.take_skipped(), []);

        let panics = |_: EpochItem| -> Result<(), DatasetError> { panic!("on purpose") };
        let mut batches = Batches::start(LEN, panics, options(4, DataCursor::from(0), ahead));
        let error = batches.next_batch().expect_err("no worker is left");
        assert!(matches!(error, BatchError::Died), "{error}");
    }

    /// A worker stops when its queue is full, and then holds one more item.
    #[test]
    fn memory_is_bounded() {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = {
            let count = count.clone();
            move |_: EpochItem| {
                count.fetch_add(1, Ordering::SeqCst);
                Ok::<_, DatasetError>(())
            }
        };
        let ahead = ReadAhead {
            workers: 2,
            batches: 3,
        };
        let mut batches = Batches::start(LEN, counted, options(4, DataCursor::from(0), ahead));
        batches.next_batch().expect("a batch");
        // 4 taken, 12 in queues, and one held by each worker.
        let most = 4 + 12 + 2;
        while count.load(Ordering::SeqCst) < most {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(20));
        assert_eq!(count.load(Ordering::SeqCst), most);
    }
}
