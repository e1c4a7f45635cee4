use std::fmt;

/// One RGB picture, 8 bits per channel, rows from the top.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Frame {
    /// A frame with the pixels `rgb`, `[height, width, 3]` bytes.
    ///
    /// # Panics
    /// If `rgb` has another length, or there are no pixels.
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Self {
        assert!(width > 0 && height > 0, "a frame has at least one pixel");
        assert_eq!(
            rgb.len(),
            height * width * 3,
            "a {width}x{height} RGB frame"
        );
        Self { width, height, rgb }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The pixels, `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Converts the frame into its pixels, `[height, width, 3]`.
    pub fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({}x{})", self.width, self.height)
    }
}

/// Consecutive frames of the same size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    frames: Vec<Frame>,
}

impl Clip {
    /// A clip of at least one frame.
    ///
    /// # Panics
    /// If there are no frames or the sizes differ.
    pub fn new(frames: Vec<Frame>) -> Self {
        let size = frames
            .first()
            .expect("a clip has at least one frame")
            .size();
        assert!(
            frames.iter().all(|f| f.size() == size),
            "the frames of a clip have one size"
        );
        Self { frames }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.frames[0].width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.frames[0].height
    }

    /// The frames in order.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Converts the clip into its frames, in order.
    pub fn into_frames(self) -> Vec<Frame> {
        self.frames
    }
}
