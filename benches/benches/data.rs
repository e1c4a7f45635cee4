//! Only reading data: batches of clips from worker threads, not yet on a device.

use std::sync::Arc;

use ar_data::{
    BatchOptions, Batches, DataSource, ReadAhead, Selection, ShapesDataset, ShapesWorld,
    VideoBatch, VideoFolder, VideoFolderConfig, VideoItem,
};
use ar_train::config::{LatentsRun, read_config};
use ar_video::{VideoFormat, write_clip};
use burn_dataset::Dataset;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group};

const BATCH: usize = 8;
const FRAMES: usize = 16;

/// Batches of `dataset` from one worker and from two.
fn batches(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    dataset: impl Dataset<VideoItem> + 'static,
) {
    let len = dataset.len();
    let dataset = Arc::new(dataset);
    for workers in [1, 2] {
        let dataset = dataset.clone();
        let options = BatchOptions {
            batch_size: BATCH,
            ahead: ReadAhead {
                workers,
                batches: 1,
            },
            ..BatchOptions::default()
        };
        let read = move |item: ar_data::EpochItem| dataset.get(item.index);
        let mut batches = Batches::start(len, read, options);
        group.bench_function(format!("{name}/workers_{workers}"), |bencher| {
            bencher.iter(|| batches.next_batch().expect("a batch"));
        });
    }
}

fn data(criterion: &mut Criterion) {
    let text = include_str!("../../crates/ar-train/configs/shapes/latents.toml");
    let config: LatentsRun = read_config(text, &[]).expect("a configuration of the repository");
    let Some(DataSource::Shapes(shapes)) = config.data.source else {
        panic!("a world of shapes");
    };
    assert_eq!(shapes.frames, FRAMES);
    let world = ShapesWorld::new(shapes).expect("a world");

    // Twice as large as the clips, as long as four of them.
    let folder = tempfile::tempdir().expect("a folder");
    let mut large = world.config().clone();
    (large.size, large.frames) = (128, 4 * FRAMES);
    let large = ShapesWorld::new(large).expect("a world");
    for seed in 0..8_u64 {
        let clip = large.clip(seed).clip;
        for (kind, format) in [("gif", VideoFormat::Gif), ("png", VideoFormat::Png)] {
            let video = match format {
                VideoFormat::Gif => format!("{seed}.gif"),
                _ => seed.to_string(),
            };
            let path = folder.path().join(kind).join(video);
            write_clip(&path, &clip, format, 10.0).expect("a video");
        }
    }
    let open = |kind: &str, max_memory_mib| {
        let config = VideoFolderConfig {
            size: 64,
            frames: FRAMES,
            max_memory_mib,
            ..VideoFolderConfig::default()
        };
        let root = folder.path().join(kind);
        VideoFolder::open(&root, config, Selection::default(), 2, |_, _| ()).expect("a dataset")
    };

    let mut group = criterion.benchmark_group(format!("data_batch_{BATCH}_of_{FRAMES}_frames"));
    group.throughput(Throughput::Elements(BATCH as u64));
    batches(&mut group, "shapes", ShapesDataset::new(world, 1000, 0));
    batches(&mut group, "videos_in_memory", open("png", 1024));
    batches(&mut group, "png_folders", open("png", 0));
    batches(&mut group, "gif", open("gif", 0));

    let dataset = open("png", 1024);
    let items: Vec<VideoItem> = (0..BATCH)
        .map(|i| dataset.get(i).expect("a clip"))
        .collect();
    let device = ar_benches::device();
    group.bench_function("to_tensor", |bencher| {
        bencher.iter(|| {
            let batch = VideoBatch::new(&items, &device);
            ar_benches::wait(&device);
            batch
        });
    });
}

criterion_group! {
    name = benches;
    config = ar_benches::criterion();
    targets = data
}

fn main() {
    ar_benches::run(benches);
}
