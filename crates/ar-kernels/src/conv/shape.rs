//! Sizes of a convolution.

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) channels_in: usize,
    pub(super) channels_out: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
    /// Height and width of the input, upsampled.
    pub(super) input: [usize; 2],
}

impl Shape {
    /// Height and width of the output.
    pub(super) fn output(&self) -> [usize; 2] {
        self.input.map(|size| {
            let padded = size + 2 * self.padding;
            assert!(padded >= self.kernel, "a kernel within {padded} pixels");
            (padded - self.kernel) / self.stride + 1
        })
    }
}
