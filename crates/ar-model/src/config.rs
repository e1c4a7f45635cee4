use std::str::FromStr;

use ar_diffusion::{DiffusionConfig, SamplerConfig};
use ar_dit::DitConfig;
use ar_vae::VaeConfig;
use serde::{Deserialize, Serialize};

use crate::{LatentStatistics, ModelError};

/// The contents of `config.toml` in a model directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Name of the model.
    pub name: String,
    /// Defaults for sampling.
    pub sampling: SamplingConfig,
    /// The diffusion process.
    pub diffusion: DiffusionConfig,
    /// What the transformer is conditioned on.
    pub conditioning: ConditioningConfig,
    /// How latents are standardised between the VAE and diffusion; if absent, they are not.
    pub latent_statistics: Option<LatentStatistics>,
    /// The transformer; a model without one can only encode and decode.
    pub transformer: Option<DitConfig>,
    /// The VAE; a model without one can only sample latents.
    pub vae: Option<VaeConfig>,
}

/// Defaults for sampling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// DDIM steps per frame.
    pub steps: usize,
    /// Step difference between neighbouring frames.
    pub ar_step: usize,
    /// Scale of the fresh noise in each step.
    pub eta: f64,
    /// Scale of classifier-free guidance; 1 is none.
    pub guidance: f64,
    /// Frames per second of the videos that the model was trained on.
    pub fps: f64,
    /// Factor by which frames are enlarged in videos for watching, MP4 and GIF.
    pub scale: usize,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        let SamplerConfig {
            steps,
            ar_step,
            eta,
        } = SamplerConfig::default();
        Self {
            steps,
            ar_step,
            eta,
            guidance: 1.0,
            fps: 8.0,
            scale: 1,
        }
    }
}

impl SamplingConfig {
    fn validate(&self) -> Result<(), ModelError> {
        let scale = self.scale as f64;
        let checks = [
            (
                "eta",
                self.eta,
                self.eta.is_finite() && self.eta >= 0.0,
                "a finite number of at least 0",
            ),
            (
                "guidance",
                self.guidance,
                self.guidance.is_finite(),
                "a finite number; 1 is none",
            ),
            (
                "fps",
                self.fps,
                (0.01..=1000.0).contains(&self.fps),
                "between 0.01 and 1000",
            ),
            (
                "scale",
                scale,
                (1.0..=64.0).contains(&scale),
                "between 1 and 64",
            ),
        ];
        for (key, value, is_right, expected) in checks {
            if !is_right {
                return Err(ModelError::Sampling {
                    key,
                    value,
                    expected,
                });
            }
        }
        Ok(())
    }
}

/// What the transformer is conditioned on besides the timesteps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConditioningConfig {
    /// Number of classes; 0 is unconditional generation.
    pub classes: usize,
    /// Which row of the class table belongs to a class.
    pub class_rows: ClassRows,
    /// Whether the context vectors are trained. The published models keep them as initialised.
    pub trainable: bool,
    /// Standard deviation of freshly initialised context vectors (published: 0.1).
    pub initial_deviation: f64,
    /// Names of the classes by number, as far as they are known. Training takes them from labelled
    /// data.
    pub class_names: Vec<String>,
}

/// Which row of the class table belongs to a class. The table has one row more than there are classes, and row 0 is the
/// null class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClassRows {
    /// The row after the class's number, so that each class has its own row.
    #[default]
    AfterNull,
    /// The row of the class's number, so that class 0 shares the row of the null class and the last row is never read
    /// (the published UCF-101 model).
    Published,
}

impl ConditioningConfig {
    /// The class called `text`, or else the class number `text`, from 0. If classes have numbers as names, a number is
    /// only a name.
    ///
    /// # Errors
    /// If there is none; the message lists the classes.
    pub fn class(&self, text: &str) -> Result<usize, ModelError> {
        let named = self.class_names.iter().position(|name| name == text);
        let number = || {
            let number = text.parse().ok().filter(|&class| class < self.classes);
            number.filter(|_| !self.has_numbers_for_names())
        };
        named.or_else(number).ok_or_else(|| ModelError::Class {
            class: text.to_owned(),
            known: self.known(),
        })
    }

    fn has_numbers_for_names(&self) -> bool {
        let mut names = self.class_names.iter();
        names.any(|name| name.parse::<usize>().is_ok())
    }

    fn known(&self) -> String {
        let (numbers, names) = (known_classes(self.classes), self.class_names.join(", "));
        if self.class_names.is_empty() {
            numbers
        } else if self.has_numbers_for_names() {
            format!("the classes of the model are called {names}")
        } else {
            format!("{numbers}: {names}")
        }
    }

    fn validate(&self) -> Result<(), ModelError> {
        if !(self.initial_deviation.is_finite() && self.initial_deviation >= 0.0) {
            return Err(ModelError::InitialDeviation(self.initial_deviation));
        }
        if self.class_names.len() > self.classes {
            return Err(ModelError::ClassNames {
                names: self.class_names.len(),
                classes: self.classes,
            });
        }
        Ok(())
    }
}

/// A description of the classes of a model with `classes` classes.
pub(crate) fn known_classes(classes: usize) -> String {
    match classes {
        0 => "the model has no classes".into(),
        _ => format!("the model knows classes 0 to {}", classes - 1),
    }
}

impl Default for ConditioningConfig {
    fn default() -> Self {
        Self {
            classes: 0,
            class_rows: ClassRows::AfterNull,
            trainable: true,
            initial_deviation: 1.0,
            class_names: Vec::new(),
        }
    }
}

impl ModelConfig {
    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// Names the first thing that does not fit.
    pub fn validate(&self) -> Result<(), ModelError> {
        if let Some(transformer) = &self.transformer {
            transformer.validate()?;
        }
        if let Some(vae) = &self.vae {
            vae.validate()?;
        }
        self.diffusion.init()?;
        self.conditioning.validate()?;
        self.sampling.validate()?;
        if let (Some(statistics), Some(dit)) = (&self.latent_statistics, &self.transformer)
            && !statistics.fits([dit.tokens_per_frame, dit.in_channels])
        {
            return Err(ModelError::Statistics {
                tokens: dit.tokens_per_frame,
                channels: dit.in_channels,
            });
        }
        match (&self.transformer, &self.vae) {
            (None, None) => return Err(ModelError::Empty),
            (Some(transformer), Some(vae)) => {
                let of_transformer = [transformer.tokens_per_frame, transformer.in_channels];
                let of_vae = vae.latents();
                if of_transformer != of_vae {
                    let show = |[tokens, channels]: [usize; 2]| format!("{tokens} x {channels}");
                    return Err(ModelError::Latents {
                        transformer: show(of_transformer),
                        vae: show(of_vae),
                    });
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Number of frames that the VAE must decode together: a temporal VAE attends between frames, and gets clips of the
    /// length that it was trained on. None if it decodes frame by frame, any number at once.
    pub fn decoded_together(&self) -> Option<usize> {
        let vae = self.vae.as_ref().filter(|vae| vae.is_temporal());
        let transformer = self.transformer.as_ref();
        vae.and_then(|_| Some(transformer?.num_frames))
    }

    /// The configuration as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration is plain tables and values")
    }
}

impl FromStr for ModelConfig {
    type Err = ModelError;

    /// Parses and validates TOML.
    fn from_str(text: &str) -> Result<Self, ModelError> {
        let config: Self = toml::from_str(text)?;
        // Numbers beyond 63 bits could be read but not be written again.
        let _: toml::Table = toml::from_str(text)?;
        config.validate()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_a_name_or_a_number_and_never_both() {
        let conditioning = |names: &[&str]| ConditioningConfig {
            classes: 3,
            class_names: names.iter().map(|&name| name.to_owned()).collect(),
            ..ConditioningConfig::default()
        };
        let class = |names: &[&str], text: &str| {
            let class = conditioning(names).class(text);
            class.map_err(|error| error.to_string())
        };
        let named = ["jump", "run", "walk"];
        assert_eq!(class(&named, "run"), Ok(1));
        assert_eq!(class(&named, "2"), Ok(2));
        assert_eq!(class(&[], "0"), Ok(0));
        // Folders with numbers as names, in the order of text.
        let numbers = ["1", "10", "2"];
        assert_eq!(class(&numbers, "10"), Ok(1));
        assert_eq!(class(&numbers, "2"), Ok(2));
        assert_eq!(
            class(&numbers, "0"),
            Err("there is no class 0: the classes of the model are called 1, 10, 2".into())
        );
        let error = class(&named, "fly").expect_err("no such class");
        assert!(error.ends_with("0 to 2: jump, run, walk"), "{error}");
    }
}
