//! The clips of every source: read, reconstructed or sampled.

use std::ops::Range;

use ar_pipeline::{Classes, GenerateOptions, Pipeline, Prefix};
use ar_video::{Clip, Frame, VideoFormat, read_clip, write_clip};
use burn_dataset::Dataset;

use crate::EvaluationError;
use crate::reference::Reference;
use crate::settings::Settings;
use crate::source::Source;

/// Makes or reads clips.
pub(crate) struct ClipMaker<'a> {
    pub pipeline: &'a Pipeline,
    pub settings: &'a Settings,
    pub reference: &'a Reference,
}

impl ClipMaker<'_> {
    /// The clips with these numbers.
    ///
    /// # Errors
    /// If a clip cannot be read or made.
    pub(crate) fn clips(
        &self,
        source: &Source,
        clips: Range<usize>,
    ) -> Result<Vec<Vec<Frame>>, EvaluationError> {
        let clips: Vec<Vec<Frame>> = match source {
            Source::Truth => clips.map(|clip| self.reference.clip(clip)).collect(),
            Source::Reconstruction => clips.map(|clip| self.reconstruction(clip)).collect(),
            Source::Videos => clips.map(|clip| self.video(clip)).collect(),
            Source::Samples { ar_step, prefix } => self.samples(*ar_step, *prefix, clips),
        }?;
        if !self.settings.protocol.through_mp4 {
            return Ok(clips);
        }
        let folder = tempfile::tempdir().map_err(EvaluationError::write(&std::env::temp_dir()))?;
        let path = folder.path().join("clip.mp4");
        let pass = |frames| {
            write_clip(
                &path,
                &Clip::new(frames),
                VideoFormat::Mp4,
                self.settings.fps,
            )?;
            Ok(read_clip(&path)?.into_frames())
        };
        clips.into_iter().map(pass).collect()
    }

    fn video(&self, clip: usize) -> Result<Vec<Frame>, EvaluationError> {
        let videos = self.settings.videos.as_ref();
        let item = videos.expect("videos that are measured").get(clip);
        let item = item.map_err(|source| EvaluationError::Clip {
            clip,
            data: "the videos".into(),
            source,
        })?;
        Ok(item.clip.into_frames())
    }

    fn reconstruction(&self, clip: usize) -> Result<Vec<Frame>, EvaluationError> {
        Ok(self.pipeline.reconstruct(&self.reference.clip(clip)?)?)
    }

    fn samples(
        &self,
        ar_step: usize,
        prefix: usize,
        clips: Range<usize>,
    ) -> Result<Vec<Vec<Frame>>, EvaluationError> {
        let protocol = &self.settings.protocol;
        let given = |clip| {
            let mut frames = self.reference.clip(clip)?;
            frames.truncate(prefix);
            Ok::<_, EvaluationError>(frames)
        };
        let prefix = if prefix > 0 {
            let given = clips.clone().map(given);
            Some(Prefix::Each(given.collect::<Result<_, _>>()?))
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
            classes: self.classes(clips).map_or(Classes::None, Classes::Each),
            seed: protocol.seed,
            prefix,
            ..GenerateOptions::default()
        };
        Ok(self.pipeline.generate(&options)?.videos()?)
    }

    /// The classes of samples.
    fn classes(&self, clips: Range<usize>) -> Option<Vec<usize>> {
        clips
            .map(|clip| self.settings.class(clip, self.reference))
            .collect()
    }
}
