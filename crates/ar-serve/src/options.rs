//! The options of a request.

use ar_model::ModelConfig;
use ar_pipeline::{Classes, GenerateOptions, Prefix, ResolvedOptions};
use ar_schedulers::AdPlan;
use ar_video::Frame;
use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::limits;

/// The options of a video, with the names of `ar-sample`. Options that are absent or null have the
/// model's defaults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct VideoOptions {
    /// Frames of the video, including the prefix.
    pub frames: Option<usize>,
    /// Whether to continue until the video is cancelled, or nobody watches it any more.
    pub endless: bool,
    /// Denoising steps per frame, S.
    pub steps: Option<usize>,
    /// Steps that each frame is behind the frame before it, s.
    pub ar_step: Option<usize>,
    /// Scale of classifier-free guidance; 1 is none.
    pub guidance: Option<f64>,
    /// Scale of the fresh noise in each step.
    pub eta: Option<f64>,
    /// Class to generate: its name, or its number.
    pub class: Option<String>,
    /// Seed of the noise.
    pub seed: u64,
    /// Number of frames to take from the end of the prefix.
    pub prefix_frames: Option<usize>,
    /// Frames per second at which the video is made, rather than as fast as possible. It waits for
    /// its watchers.
    pub pace: Option<f64>,
    /// Frames per second of the MP4 file.
    pub fps: Option<f64>,
    /// Factor by which the frames of the MP4 file are enlarged.
    pub scale: Option<usize>,
}

/// A video that the model can make.
pub(crate) struct Request {
    pub options: ResolvedOptions,
    pub chosen: ChosenOptions,
}

/// Options with all defaults filled in, as the API shows them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ChosenOptions {
    /// Frames of the video, including the prefix; none for an endless one.
    pub frames: Option<usize>,
    /// Whether it continues until it is cancelled.
    pub endless: bool,
    /// Denoising steps per frame.
    pub steps: usize,
    /// Steps that each frame is behind the frame before it.
    pub ar_step: usize,
    /// Frames of the plan's window.
    pub window: usize,
    /// Scale of classifier-free guidance.
    pub guidance: f64,
    /// Scale of the fresh noise in each step.
    pub eta: f64,
    /// The class, as a number.
    pub class: Option<usize>,
    /// Seed of the noise.
    pub seed: u64,
    /// Frames of the prefix.
    pub prefix_frames: usize,
    /// Frames per second at which it is made.
    pub pace: Option<f64>,
    /// Frames per second of the MP4 file.
    pub fps: f64,
    /// Enlargement of the MP4 file.
    pub scale: usize,
}

impl VideoOptions {
    /// Reads JSON.
    ///
    /// # Errors
    /// 400 for text that is not JSON, 422 for JSON that is not valid options.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, ApiError> {
        // Serde would accept a list as a struct, with values in the order of the fields.
        let first = json.iter().find(|byte| !byte.is_ascii_whitespace());
        if first == Some(&b'[') {
            return Err(ApiError::Unprocessable(
                "the options are wrong: a list is invalid, they are an object".into(),
            ));
        }
        serde_json::from_slice(json).map_err(|error| {
            let message = format!("the options are wrong: {error}");
            match error.classify() {
                serde_json::error::Category::Data => ApiError::Unprocessable(message),
                _ => ApiError::BadRequest(message),
            }
        })
    }

    /// Fills in the model's defaults; `prefix` is in the size of the model.
    ///
    /// # Errors
    /// 422 if the options do not fit the model, the server or each other.
    pub(crate) fn resolve(
        &self,
        model: &ModelConfig,
        prefix: Option<Vec<Frame>>,
    ) -> Result<Request, ApiError> {
        self.check(prefix.is_some())?;
        let given = prefix.as_ref().map_or(0, Vec::len);
        let asked = GenerateOptions {
            frames: if self.endless {
                Some(limits::ENDLESS_FRAMES)
            } else {
                self.frames
            },
            steps: self.steps,
            ar_step: self.ar_step,
            guidance: self.guidance,
            eta: self.eta,
            classes: self.class.clone().map_or(Classes::None, Classes::Named),
            seed: self.seed,
            prefix: prefix.map(Prefix::All),
            ..GenerateOptions::default()
        };
        let options = asked.resolve(model)?;
        check_at_work(&options)?;
        let size = model.vae.as_ref().map_or(0, |vae| vae.image_size());
        if !self.endless {
            check_bytes(options.frames, size)?;
        }
        let scale = match self.scale {
            Some(scale) if scale * size > limits::MP4_SIDE => {
                return Err(ApiError::Unprocessable(format!(
                    "`scale` {scale} makes frames of {side} pixels, but MP4 allows at most {most}",
                    side = scale * size,
                    most = limits::MP4_SIDE
                )));
            }
            Some(scale) => scale,
            None => model
                .sampling
                .scale
                .min(limits::MP4_SIDE / size.max(1))
                .max(1),
        };
        let chosen = ChosenOptions {
            frames: (!self.endless).then_some(options.frames),
            endless: self.endless,
            steps: options.config.steps,
            ar_step: options.config.ar_step,
            window: options.sampler.plan().config().window,
            guidance: options.guidance,
            eta: options.config.eta,
            class: options.classes.single(),
            seed: options.seed,
            prefix_frames: given,
            pace: self.pace,
            fps: self.fps.unwrap_or(options.fps),
            scale,
        };
        Ok(Request { options, chosen })
    }

    /// Fails if a number is out of range, or two options contradict each other.
    fn check(&self, has_prefix: bool) -> Result<(), ApiError> {
        let ranges = [
            ("frames", self.frames, 1..=limits::FRAMES),
            ("scale", self.scale, 1..=ar_video::Enlargement::MOST),
            ("prefix_frames", self.prefix_frames, 1..=limits::FRAMES),
        ];
        for (option, value, range) in ranges {
            if let Some(value) = value.filter(|value| !range.contains(value)) {
                return Err(ApiError::Unprocessable(format!(
                    "`{option}` is {value}, but has to be {} to {}",
                    range.start(),
                    range.end()
                )));
            }
        }
        for (option, value) in [("pace", self.pace), ("fps", self.fps)] {
            if let Some(value) = value.filter(|value| !limits::FPS.contains(value)) {
                return Err(ApiError::Unprocessable(format!(
                    "`{option}` is {value}, but has to be {} to {} frames per second",
                    limits::FPS.start(),
                    limits::FPS.end()
                )));
            }
        }
        if self.endless && self.frames.is_some() {
            return Err(ApiError::Unprocessable(
                "`frames` is given, and an `endless` video has no number of frames".into(),
            ));
        }
        if self.prefix_frames.is_some() && !has_prefix {
            return Err(ApiError::Unprocessable(
                "`prefix_frames` is given, and no `prefix` to take them of".into(),
            ));
        }
        Ok(())
    }
}

impl ChosenOptions {
    /// Whether it waits for its watchers.
    pub(crate) fn is_live(&self) -> bool {
        self.endless || self.pace.is_some()
    }

    /// Seconds per iteration of `plan`, if the video has a pace: making it takes as long as playing
    /// it.
    pub(crate) fn seconds_an_iteration(&self, plan: &AdPlan) -> Option<f64> {
        let frames = plan.config().frames as f64;
        Some(frames / (self.pace? * plan.iterations() as f64))
    }
}

/// Fails if more frames would be denoised at the same time than the server has memory for.
fn check_at_work(options: &ResolvedOptions) -> Result<(), ApiError> {
    let (steps, ar_step) = (options.config.steps, options.config.ar_step);
    let at_work = match ar_step {
        0 => options.sampled_frames(),
        _ => steps.div_ceil(ar_step).min(options.sampled_frames()),
    };
    let most = options.window.max(limits::AT_WORK);
    if at_work <= most {
        return Ok(());
    }
    Err(ApiError::Unprocessable(format!(
        "`ar_step` {ar_step} denoises {at_work} frames at the same time, and the server takes at \
         most {most}: it has to be at least {}",
        steps.div_ceil(most)
    )))
}

/// Fails if the frames of a video would take more memory than allowed.
fn check_bytes(frames: usize, size: usize) -> Result<(), ApiError> {
    let most = (limits::VIDEO_BYTES / (size * size * 3).max(1)).max(1);
    if frames <= most {
        return Ok(());
    }
    Err(ApiError::Unprocessable(format!(
        "`frames` is {frames}, and the server keeps at most {most} frames of {size}x{size}; an \
         `endless` video has no such limit"
    )))
}

#[cfg(test)]
mod tests {
    use ar_pipeline::ModelSource;

    use super::*;

    fn chosen(json: &str) -> Result<ChosenOptions, (u16, String)> {
        let model = ModelSource::BuiltIn.config().expect("in the box");
        VideoOptions::parse(json.as_bytes())
            .and_then(|options| options.resolve(&model, None))
            .map(|request| request.chosen)
            .map_err(|error| (error.status().as_u16(), error.to_string()))
    }

    #[test]
    fn what_is_open_is_the_models_choice() {
        let options = chosen("{}").expect("all open");
        assert_eq!(
            (options.frames, options.steps, options.ar_step),
            (Some(16), 50, 10)
        );
        assert_eq!((options.fps, options.scale, options.pace), (8.0, 6, None));
        assert!(!options.is_live());
        let options = chosen(r#"{"endless": true, "ar_step": 50, "seed": 18446744073709551615}"#);
        let options = options.expect("endless");
        assert_eq!((options.frames, options.seed), (None, u64::MAX));
        assert!(options.is_live());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (json, status, message) in [
            ("{", 400, "EOF"),
            ("[1]", 422, "invalid"),
            (r#"{"framez": 1}"#, 422, "unknown field `framez`"),
            (r#"{"frames": -1}"#, 422, "invalid value"),
            (r#"{"frames": 0}"#, 422, "`frames` is 0"),
            (r#"{"frames": 99999999999}"#, 422, "1 to 100000"),
            (r#"{"frames": 100000}"#, 422, "at most 21845 frames"),
            (
                r#"{"frames": 4, "endless": true}"#,
                422,
                "no number of frames",
            ),
            (r#"{"endless": true, "ar_step": 0}"#, 422, "ar_step"),
            (
                r#"{"frames": 99, "ar_step": 1, "steps": 300}"#,
                422,
                "at least 5",
            ),
            (r#"{"ar_step": 51}"#, 422, "ar_step 51"),
            (r#"{"steps": 1000000}"#, 422, "steps"),
            (r#"{"class": "cat"}"#, 422, "no classes"),
            (r#"{"pace": 0}"#, 422, "`pace` is 0"),
            (r#"{"fps": 1e9}"#, 422, "`fps`"),
            (r#"{"guidance": 1e999}"#, 400, "out of range"),
            (r#"{"scale": 64}"#, 422, "at most 2160"),
            (r#"{"prefix_frames": 2}"#, 422, "no `prefix`"),
        ] {
            let (found, text) = chosen(json).expect_err(json);
            assert!(
                found == status && text.contains(message),
                "{json}: {found} {text}"
            );
        }
    }
}
