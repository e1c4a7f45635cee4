use ar_video::Frame;
use burn::tensor::{Device, Tensor, TensorData};

/// Clips of frames as a tensor.
///
/// # Shapes
/// - output: `[batch, frames, 3, height, width]` in `[0, 1]`
///
/// # Panics
/// If there are no clips or frames, or lengths or sizes differ.
pub fn to_pixels(clips: &[&[Frame]], device: &Device) -> Tensor<5> {
    const CHANNELS: usize = 3;
    let first = clips.first().expect("a batch has at least one clip");
    let (width, height) = first.first().expect("a clip has at least one frame").size();
    let frames = first.len();
    let mut pixels = Vec::with_capacity(clips.len() * frames * CHANNELS * height * width);
    for clip in clips {
        assert!(
            clip.len() == frames && clip.iter().all(|frame| frame.size() == (width, height)),
            "the clips of a batch have one shape [frames, 3, height, width]"
        );
        for frame in *clip {
            for channel in 0..CHANNELS {
                let plane = frame.rgb()[channel..].iter().step_by(CHANNELS);
                pixels.extend(plane.map(|&value| f32::from(value) / 255.0));
            }
        }
    }
    let shape = [clips.len(), frames, CHANNELS, height, width];
    Tensor::from_data(TensorData::new(pixels, shape), device)
}

/// Pictures of a batch as frames, rounded to the nearest of 256 levels.
///
/// # Shapes
/// - `pixels`: `[frames, 3, height, width]`, clamped to `[0, 1]`
///
/// # Panics
/// If there are not three channels, or there are no pixels.
pub fn to_frames(pixels: Tensor<4>) -> Vec<Frame> {
    let [frames, channels, height, width] = pixels.dims();
    assert_eq!(channels, 3, "frames are RGB");
    if frames == 0 {
        return Vec::new();
    }
    let values: Vec<f32> = pixels
        .permute([0, 2, 3, 1])
        .into_data()
        .try_into_vec()
        .expect("pixels are 32-bit floats");
    values
        .chunks_exact(height * width * 3)
        .map(|frame| {
            // The cast saturates, which is the clamp; NaN becomes 0.
            let rgb = frame.iter().map(|value| (value * 255.0).round() as u8);
            Frame::new(width, height, rgb.collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn frames_survive_the_way_to_tensors_and_back() {
        // Every level from 0 to 255, three times.
        let rgb = |first: usize| (0..768).map(|i| ((i + first) % 256) as u8).collect();
        let frames = vec![Frame::new(16, 16, rgb(0)), Frame::new(16, 16, rgb(7))];
        let pixels = to_pixels(&[&frames], &Device::flex());
        assert_eq!(to_frames(pixels.squeeze_dim(0)), frames);
    }

    #[test]
    fn values_are_rounded_and_clamped() {
        let values = vec![-0.2_f32, 0.0019, 0.0021, 0.5, 0.998, 1.7];
        let pixels = TensorData::new(values, [1, 3, 1, 2]);
        let frames = to_frames(Tensor::from_data(pixels, &Device::flex()));
        // Channels first in the tensor, last in the frame.
        assert_eq!(frames[0].rgb(), [0, 1, 254, 0, 128, 255]);
    }
}
