//! The perceptual part of the reconstruction loss.

use ar_metrics::networks::Lpips;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::config::{LpipsRange, VaeLossConfig};
use crate::error::{BoxError, ConfigError};

/// LPIPS on VGG16, weighted. Its own parameters are frozen.
#[derive(Debug)]
pub struct Perceptual {
    network: Lpips,
    range: LpipsRange,
    weight: f64,
}

impl Perceptual {
    /// Reads the weights that `config` names, for images on `device`. None if LPIPS has no weight.
    ///
    /// # Errors
    /// If a file cannot be read, or contains another network.
    pub fn load(config: &VaeLossConfig, device: &Device) -> Result<Option<Self>, ConfigError> {
        let files = match &config.lpips_weights {
            Some(files) if config.lpips > 0.0 => files,
            _ => return Ok(None),
        };
        let load = || {
            Ok::<_, BoxError>(Lpips::vgg16(
                &files.vgg.path()?,
                &files.linear.path()?,
                device,
            )?)
        };
        Ok(Some(Self {
            network: load().map_err(|error| {
                ConfigError::new(["loss.lpips_weights"], "[loss.lpips_weights]").because(error)
            })?,
            range: config.lpips_range,
            weight: config.lpips,
        }))
    }

    /// The same on another device.
    pub fn on(&self, device: &Device) -> Self {
        Self {
            network: self.network.clone().to_device(device),
            ..*self
        }
    }

    /// The same without autodiff.
    pub fn valid(&self) -> Self {
        Self {
            network: self.network.valid(),
            ..*self
        }
    }

    /// The weighted distance, averaged over the frames.
    ///
    /// # Shapes
    /// - `output`, `pixels`: `[batch, frames, 3, height, width]` in `[0, 1]`, sides of at least 16
    /// - output: `[1]`
    pub fn loss(&self, output: Tensor<5>, pixels: Tensor<5>) -> Tensor<1> {
        let images = |pixels: Tensor<5>| {
            let images = pixels.flatten::<4>(0, 1);
            match self.range {
                LpipsRange::Symmetric => images * 2.0 - 1.0,
                LpipsRange::Unit => images,
            }
        };
        let distances = self.network.forward(images(output), images(pixels));
        distances.mean() * self.weight
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{LpipsWeights, OptimizerConfig, WeightsLocation};
    use crate::trainer::Trainer;
    use crate::vae::testing::{pixels, small_conv};
    use crate::vae::{PosteriorNoise, VaeObjective};
    use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

    /// Convolutions of VGG16: position among `torchvision`'s layers, channels in and out.
    const CONVS: [(usize, usize, usize); 13] = [
        (0, 3, 64),
        (2, 64, 64),
        (5, 64, 128),
        (7, 128, 128),
        (10, 128, 256),
        (12, 256, 256),
        (14, 256, 256),
        (17, 256, 512),
        (19, 512, 512),
        (21, 512, 512),
        (24, 512, 512),
        (26, 512, 512),
        (28, 512, 512),
    ];

    /// Writes tensors of numbers that look random, in `offset - scale..offset + scale`.
    fn write(path: &Path, tensors: Vec<(String, Vec<usize>, [f32; 2])>) {
        let tensors: Vec<_> = tensors
            .into_iter()
            .map(|(key, shape, [scale, offset])| {
                let count: usize = shape.iter().product();
                let value = |i: usize| ((i + 1) as f32 * 12.9898).sin() * scale + offset;
                let bytes: Vec<u8> = (0..count).flat_map(|i| value(i).to_le_bytes()).collect();
                (key, shape, bytes)
            })
            .collect();
        let views = tensors.iter().map(|(key, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            (key, view.expect("bytes of the shape"))
        });
        serialize_to_file(views, None, path).expect("written");
    }

    fn config(folder: &Path) -> VaeLossConfig {
        let files = ["vgg", "linear"].map(|name| folder.join(format!("{name}.safetensors")));
        let [vgg, linear] = &files;
        let convs = CONVS.iter().flat_map(|&(place, from, to)| {
            let scale = (6.0 / (9 * from) as f32).sqrt();
            let weight = (vec![to, from, 3, 3], [scale, 0.0]);
            let bias = (vec![to], [0.1, 0.0]);
            [("weight", weight), ("bias", bias)]
                .map(|(name, (shape, range))| (format!("features.{place}.{name}"), shape, range))
        });
        write(vgg, convs.collect());
        let channels = [64, 128, 256, 512, 512];
        let linears = channels.iter().enumerate().map(|(stage, &channels)| {
            let key = format!("lin{stage}.model.1.weight");
            (key, vec![1, channels, 1, 1], [0.5, 0.5])
        });
        write(linear, linears.collect());
        let [vgg, linear] = files.map(WeightsLocation::Local);
        VaeLossConfig {
            lpips: 0.7,
            lpips_weights: Some(LpipsWeights { vgg, linear }),
            ..VaeLossConfig::default()
        }
    }

    fn scalar(tensor: Tensor<1>) -> f32 {
        tensor.into_scalar()
    }

    #[test]
    fn lpips_is_added_and_reaches_the_vae_but_stays_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let device = Device::flex().autodiff();
        let mut objective = VaeObjective::load(&config, &device).expect("fitting weights");
        let perceptual = objective.perceptual.as_ref().expect("weights are named");
        let [a, b] = [(); 2].map(|()| pixels([2, 1], 16, &device));
        let distances = || {
            let images = |pixels: &Tensor<5>| pixels.clone().flatten::<4>(0, 1) * 2.0 - 1.0;
            let distances = perceptual.network.forward(images(&a), images(&b));
            distances.into_data().iter::<f32>().collect::<Vec<_>>()
        };
        let before = distances();
        let plain = VaeObjective {
            config: &config,
            perceptual: None,
        };
        let [with, without] = [&objective, &plain]
            .map(|objective| scalar(objective.pixel_loss(a.clone(), b.clone())));
        let expected = without + 0.7 * (before[0] + before[1]) / 2.0;
        assert!(before[0] > 0.01 && before[1] > 0.01, "{before:?}");
        assert!(
            (with - expected).abs() < 1e-5 * expected,
            "{with} {expected}"
        );
        assert_eq!(scalar(perceptual.loss(a.clone(), a.clone())), 0.0);
        let [whole, valid] = [
            scalar(perceptual.loss(a.clone(), b.clone())),
            scalar(
                perceptual
                    .valid()
                    .loss(a.clone().inner(), b.clone().inner()),
            ),
        ];
        assert!((whole - valid).abs() < 1e-5 * whole, "{whole} {valid}");

        // The published tokenizers were trained on distances of frames in [0, 1].
        let as_they_are = Perceptual {
            range: LpipsRange::Unit,
            ..perceptual.valid()
        };
        let images = |pixels: &Tensor<5>| pixels.clone().inner().flatten::<4>(0, 1);
        let expected = as_they_are.network.forward(images(&a), images(&b)).mean() * 0.7;
        let found = scalar(as_they_are.loss(a.clone().inner(), b.clone().inner()));
        let expected = scalar(expected);
        assert!(
            (found - expected).abs() < 1e-5 * expected,
            "{found} {expected}"
        );
        assert!((found - whole).abs() > 1e-3 * whole, "{found} {whole}");

        // Only LPIPS changes the VAE, and nothing changes LPIPS.
        let only_lpips = VaeLossConfig {
            l1: 0.0,
            ..config.clone()
        };
        objective.config = &only_lpips;
        let vae = small_conv().init(&device).expect("a network");
        let mut trainer = Trainer::new(vae, &OptimizerConfig::default(), 10);
        let noise = PosteriorNoise {
            seed: 0,
            step: 0,
            first_clip: 0,
        };
        for _ in 0..2 {
            let loss = objective.loss(trainer.model(), a.clone(), noise);
            trainer.accumulate(loss, 1.0);
            let norm = trainer.update().gradient_norm;
            assert!(norm.is_finite() && norm > 1e-4, "{norm}");
        }
        assert_eq!(distances(), before);
    }

    #[test]
    fn weights_are_read_where_lpips_counts() {
        let device = Device::flex();
        let mut config = VaeLossConfig {
            lpips: 1.0,
            ..VaeLossConfig::default()
        };
        let error = config.validate().expect_err("no weights").to_string();
        assert!(error.contains("loss.lpips = 0"), "{error}");
        let gone = WeightsLocation::Local("gone.pth".into());
        config.lpips_weights = Some(LpipsWeights {
            vgg: gone.clone(),
            linear: gone,
        });
        let error = Perceptual::load(&config, &device).expect_err("no such file");
        let cause = std::error::Error::source(&error)
            .expect("a cause")
            .to_string();
        assert!(cause.contains("gone.pth"), "{cause}");
        config.lpips = 0.0;
        assert!(
            Perceptual::load(&config, &device)
                .expect("nothing to read")
                .is_none()
        );
    }
}
