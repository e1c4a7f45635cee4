use std::f64::consts::SQRT_2;

use ar_ops::position::Rotation;
use burn::tensor::Tensor;

/// How queries and keys turn with positions before they are compared.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one in a pass, and blocks borrow it"
)]
pub enum Rotations {
    /// Not at all: positions are in the tokens.
    None,
    /// Context and video stand in one row.
    All {
        /// The rotation of the context tokens.
        context: Rotation,
        /// The rotation of the video tokens.
        video: Rotation,
    },
    /// Video queries turn for video keys alone; scores with context are those of queries and keys
    /// as they are, since a turned query would tell its absolute frame.
    ///
    /// One dot product does both, over twice the channels: `[turned, plain]` queries meet
    /// `[turned, 0]` video keys and `[0, plain]` context keys.
    Video(Rotation),
}

impl Rotations {
    /// The queries and keys of a sequence of context and video.
    ///
    /// # Shapes
    /// - `q`, `k`: `[batch, heads, sequence, head_dim]`
    /// - output: the same, or twice the channels
    pub fn apply(&self, q: Tensor<4>, k: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let video = match self {
            Self::None => return (q, k),
            Self::All { video, .. } | Self::Video(video) => video.positions(),
        };
        let context = q.dims()[2] - video;
        let split = |x: Tensor<4>| (x.clone().narrow(2, 0, context), x.narrow(2, context, video));
        let (context_q, video_q) = split(q);
        let (context_k, video_k) = split(k);
        let q = vec![self.context_queries(context_q), self.video_queries(video_q)];
        let k = vec![self.context_keys(context_k), self.video_keys(video_k)];
        (Tensor::cat(q, 2), Tensor::cat(k, 2))
    }

    pub(crate) fn context_queries(&self, q: Tensor<4>) -> Tensor<4> {
        match self {
            Self::None => q,
            Self::All { context, .. } => context.rotate(q),
            // Attention divides scores by the root of twice the channels.
            Self::Video(_) => Tensor::cat(vec![q.zeros_like(), q * SQRT_2], 3),
        }
    }

    pub(crate) fn context_keys(&self, k: Tensor<4>) -> Tensor<4> {
        match self {
            Self::None => k,
            Self::All { context, .. } => context.rotate(k),
            Self::Video(_) => Tensor::cat(vec![k.zeros_like(), k], 3),
        }
    }

    pub(crate) fn video_queries(&self, q: Tensor<4>) -> Tensor<4> {
        match self {
            Self::None => q,
            Self::All { video, .. } => video.rotate(q),
            Self::Video(video) => {
                let q = q * SQRT_2;
                Tensor::cat(vec![video.rotate(q.clone()), q], 3)
            }
        }
    }

    pub(crate) fn video_keys(&self, k: Tensor<4>) -> Tensor<4> {
        match self {
            Self::None => k,
            Self::All { video, .. } => video.rotate(k),
            Self::Video(video) => Tensor::cat(vec![video.rotate(k.clone()), k.zeros_like()], 3),
        }
    }
}
