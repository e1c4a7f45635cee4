//! Where the clips that are measured come from.

use std::ops::Range;

use anyhow::Context;
use ar_data::VideoFolder;
use ar_pipeline::{Classes, GenerateOptions, Pipeline, Prefix};
use ar_video::Frame;
use burn_dataset::Dataset;

use super::data::Data;
use super::settings::Settings;
use super::source::Source;

/// Makes or reads the clips of every source.
pub(super) struct Sources<'a> {
    pipeline: &'a Pipeline,
    settings: &'a Settings,
    data: &'a Data,
    videos: Option<&'a VideoFolder>,
}

impl<'a> Sources<'a> {
    /// The clips of a model and of `videos`, if those are measured.
    pub(super) fn new(
        pipeline: &'a Pipeline,
        settings: &'a Settings,
        data: &'a Data,
        videos: Option<&'a VideoFolder>,
    ) -> Self {
        Self {
            pipeline,
            settings,
            data,
            videos,
        }
    }

    /// The clips of these numbers.
    pub(super) fn videos(
        &self,
        source: &Source,
        clips: Range<usize>,
    ) -> anyhow::Result<Vec<Vec<Frame>>> {
        match source {
            Source::Truth => clips.map(|clip| self.data.clip(clip)).collect(),
            Source::Reconstruction => clips.map(|clip| self.reconstruction(clip)).collect(),
            Source::Videos => clips.map(|clip| self.video(clip)).collect(),
            Source::Samples { ar_step, prefix } => self.samples(*ar_step, *prefix, clips),
        }
    }

    fn video(&self, clip: usize) -> anyhow::Result<Vec<Frame>> {
        let videos = self.videos.expect("videos that are measured");
        let item = videos.get(clip);
        Ok(item.context("the videos")?.clip.into_frames())
    }

    fn reconstruction(&self, clip: usize) -> anyhow::Result<Vec<Frame>> {
        Ok(self.pipeline.reconstruct(&self.data.clip(clip)?)?)
    }

    fn samples(
        &self,
        ar_step: usize,
        prefix: usize,
        clips: Range<usize>,
    ) -> anyhow::Result<Vec<Vec<Frame>>> {
        let protocol = &self.settings.protocol;
        let given = |clip| {
            let mut frames = self.data.clip(clip)?;
            frames.truncate(prefix);
            anyhow::Ok(frames)
        };
        let prefix = if prefix > 0 {
            let given = clips.clone().map(given);
            Some(Prefix::Each(given.collect::<anyhow::Result<_>>()?))
        } else {
            None
        };
        let options = GenerateOptions {
            frames: Some(protocol.frames),
            count: Some(clips.end),
            videos: Some(clips.clone()),
            batch: Some(clips.len()),
            steps: Some(protocol.steps),
            ar_step: Some(ar_step),
            guidance: Some(protocol.guidance),
            eta: Some(protocol.eta),
            classes: self.classes(clips)?.map_or(Classes::None, Classes::Each),
            seed: protocol.seed,
            prefix,
            ..GenerateOptions::default()
        };
        Ok(self.pipeline.generate(&options)?.videos()?)
    }

    /// The classes that samples are of.
    fn classes(&self, clips: Range<usize>) -> anyhow::Result<Option<Vec<usize>>> {
        let classes: Vec<Option<usize>> = clips
            .map(|clip| self.settings.class(clip, self.data))
            .collect::<anyhow::Result<_>>()?;
        Ok(classes.into_iter().collect())
    }
}
