//! Decodes a few frames at a time, so that memory does not grow with the number of frames.

use burn::tensor::Tensor;

/// The most values that one layer of a part may have: 64 MiB, two frames of the published size.
const VALUES: usize = 1 << 24;

/// The outputs of `decode`, which gets as many images at a time as [`VALUES`] allows. An image takes up `size` values
/// in the largest layer.
///
/// # Shapes
/// - `images`: `[images, ..]`
/// - output: the same number of images
pub(crate) fn in_parts(
    images: Tensor<4>,
    size: usize,
    decode: impl Fn(Tensor<4>) -> Tensor<4>,
) -> Tensor<4> {
    let count = images.dims()[0];
    let part = (VALUES / size.max(1)).max(1);
    if count <= part {
        return decode(images);
    }
    let parts = images.split(part, 0).into_iter().map(decode);
    Tensor::cat(parts.collect(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use std::cell::RefCell;

    #[test]
    fn images_come_back_in_order_and_in_small_parts() {
        let numbers = |count| {
            let numbers = Tensor::<1, burn::tensor::Int>::arange(0..count, &Device::flex());
            numbers.float().reshape([count, 1, 1, 1])
        };
        for (count, size, parts) in [
            (5, VALUES / 2, vec![2, 2, 1]),
            (3, 2 * VALUES, vec![1, 1, 1]),
            (4, VALUES / 4, vec![4]),
        ] {
            let seen = RefCell::new(Vec::new());
            let output = in_parts(numbers(count), size, |part| {
                seen.borrow_mut().push(part.dims()[0]);
                part.add_scalar(1.0)
            });
            let expected = numbers(count).add_scalar(1.0);
            assert_eq!(output.into_data(), expected.into_data());
            assert_eq!(seen.into_inner(), parts);
        }
    }
}
