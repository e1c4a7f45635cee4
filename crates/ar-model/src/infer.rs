//! Configurations of published networks, inferred from the names and shapes of their tensors.

use std::collections::BTreeMap;
use std::ops::Range;

use ar_dit::{DitConfig, PositionEmbedding};
use ar_vae::{ArVaeConfig, PixelDecoderConfig};

/// Shapes of tensors by their names in a file.
pub(crate) type Shapes = BTreeMap<String, Vec<usize>>;

/// The prefix of the transformer's tensors in a diffusion model.
const DIT: &str = "diffusion_model.model.";

/// Channels per head of the published transformer, and of other networks of its kind.
const DIT_HEADS: [usize; 2] = [72, 64];

/// Channels per head of the published VAE, in all its sizes.
const VAE_HEADS: usize = 64;

/// A tensor is missing, or has a shape that fits no network of this kind; with what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotInferred(pub String);

type Result<T> = std::result::Result<T, NotInferred>;

/// What can be inferred from the tensors of a diffusion model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InferredTransformer {
    pub dit: DitConfig,
    /// Rows of the class table; none in an unconditional model.
    pub class_rows: Option<usize>,
    /// Timesteps of the noise schedule, if the file has its tables.
    pub timesteps: Option<usize>,
}

/// What is known about a diffusion model besides its tensors.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known<'a> {
    /// The file of its VAE, and the shape of the latent tokens in it: number and width.
    pub vae: Option<(&'a str, [usize; 2])>,
    /// Frames of the clips that it was trained on, if the user has set them.
    pub frames: Option<usize>,
    /// Attention heads, if the user has set them.
    pub heads: Option<usize>,
}

/// Infers the sizes of a diffusion model from its tensors.
pub(crate) fn transformer(shapes: &Shapes, known: Known<'_>) -> Result<InferredTransformer> {
    let published = DitConfig::published();
    let of = |key: &str| format!("{DIT}{key}");
    let [hidden_size, in_channels] = dims(shapes, &of("x_embedder.weight"))?;
    let [_, context_dim] = dims(shapes, &of("c_embedder.weight"))?;
    let block = of("blocks.0.");
    let [mlp_hidden, _] = dims(shapes, &format!("{block}mlp.fc1.weight"))?;
    let (class_rows, context_tokens) = if shapes.contains_key("class_emb") {
        let [rows, tokens, _] = dims(shapes, "class_emb")?;
        if rows < 2 {
            return Err(NotInferred(format!(
                "class_emb has {rows} rows; a table has a row for the null class and one for each \
                 class"
            )));
        }
        (Some(rows), tokens)
    } else if shapes.contains_key("context_emb") {
        let [tokens, _] = dims(shapes, "context_emb")?;
        (None, tokens)
    } else {
        return Err(NotInferred(format!(
            "there is no tensor context_emb [tokens, {context_dim}], as an unconditional model has, and \
             no class_emb [classes + 1, tokens, {context_dim}], as one with classes has: give the \
             whole checkpoint, which holds one of them"
        )));
    };

    let head_dim = optional::<1>(shapes, &format!("{block}attn.q_norm.weight"))?;
    let rotary = optional::<1>(shapes, &of("rotary_emb.freqs"))?;
    let head_size = head_dim
        .map(|[size]| size)
        .or(rotary.map(|[pairs]| 2 * pairs));
    let num_heads = match (known.heads, head_size) {
        (Some(heads), _) => heads,
        (None, Some(size)) => count_heads(hidden_size, &[size])?,
        (None, None) => count_heads(hidden_size, &DIT_HEADS)?,
    };

    let [num_frames, tokens_per_frame] = clip(shapes, known)?;
    Ok(InferredTransformer {
        dit: DitConfig {
            num_frames,
            tokens_per_frame,
            in_channels,
            hidden_size,
            depth: count(shapes, &of("blocks.")),
            num_heads,
            mlp_ratio: mlp_hidden as f64 / hidden_size as f64,
            positions: match rotary {
                Some(_) => PositionEmbedding::Rotary,
                None => PositionEmbedding::SinCos,
            },
            qk_norm: head_dim.is_some(),
            context_tokens,
            context_dim,
            ..published
        },
        class_rows,
        timesteps: optional::<1>(shapes, "diffusion_model.betas")?.map(|[steps]| steps),
    })
}

/// Frames per clip and tokens per frame. The position table has a row for each token of a clip, which does not
/// determine the tokens per frame. They come from the VAE; without it, a clip has as many frames as in the published
/// models.
fn clip(shapes: &Shapes, known: Known<'_>) -> Result<[usize; 2]> {
    let published = DitConfig::published();
    let key = format!("{DIT}pos_embed");
    let frames = known.frames.unwrap_or(published.num_frames);
    if frames == 0 {
        return Err(NotInferred(
            "--frames is 0; a clip has at least 1 frame".into(),
        ));
    }
    let Some(shape @ [_, positions, _]) = optional::<3>(shapes, &key)? else {
        let tokens = known.vae.map(|(_, [tokens, _])| tokens);
        return Ok([frames, tokens.unwrap_or(published.tokens_per_frame)]);
    };
    let of_whom = match known.frames {
        Some(frames) => format!("the {frames} frames of --frames"),
        None => format!("the {frames} frames of published models"),
    };
    let found = format!("{key} has shape {shape:?}, {positions} positions");
    match known.vae {
        Some((_, [tokens, _])) if frames.checked_mul(tokens) == Some(positions) => {
            Ok([frames, tokens])
        }
        Some((vae, shape @ [tokens, _])) => {
            let of_all = frames.saturating_mul(tokens);
            let frames = positions / tokens;
            let or_frames = if positions.is_multiple_of(tokens) {
                format!(", or say --frames {frames} if its clips have {frames} frames")
            } else {
                String::new()
            };
            Err(NotInferred(format!(
                "{found}, and {vae}: latent_tokens has shape {shape:?}, {tokens} tokens a frame, which \
                 are {of_all} for {of_whom}: give the VAE that the transformer was trained with{or_frames}"
            )))
        }
        None if positions.is_multiple_of(frames) => Ok([frames, positions / frames]),
        None => Err(NotInferred(format!(
            "{found}, which cannot be divided evenly among {of_whom}: set the number of frames in \
             its clips with --frames"
        ))),
    }
}

/// Infers the sizes of an AR-VAE from its tensors; `heads` is the number of attention heads, if the user has set it.
pub(crate) fn vae(shapes: &Shapes, heads: Option<usize>) -> Result<ArVaeConfig> {
    let published = ArVaeConfig::large();
    let [width, _, patch_size, _] = dims(shapes, "encoder.patch_embed.weight")?;
    let [positions, _] = dims(shapes, "encoder.positional_embedding")?;
    // One position belongs to the class token.
    let grid = positions.saturating_sub(1).isqrt();
    if grid * grid + 1 != positions {
        return Err(NotInferred(format!(
            "encoder.positional_embedding has {positions} rows, and a square grid of patches has one \
             more than a square number: describe the network with --config"
        )));
    }
    let [latent_tokens, _] = dims(shapes, "latent_tokens")?;
    let [_, latent_channels] = dims(shapes, "decoder.decoder_embed.weight")?;
    let [z_channels, codebook_channels, ..] = dims::<4>(shapes, "pixel_quantize_conv.weight")?;
    let levels = count(shapes, "pixel_decoder.up.");
    let channels: Vec<usize> = (0..levels)
        .map(|level| {
            let key = format!("pixel_decoder.up.{level}.block.0.conv2.weight");
            Ok(dims::<4>(shapes, &key)?[0])
        })
        .collect::<Result<_>>()?;
    let hidden_channels = channels.iter().copied().fold(0, greatest_common_divisor);
    Ok(ArVaeConfig {
        image_size: grid * patch_size,
        patch_size,
        width,
        layers: count(shapes, "encoder.transformer."),
        heads: match heads {
            Some(heads) => heads,
            None => count_heads(width, &[VAE_HEADS])?,
        },
        latent_tokens,
        latent_channels,
        codebook_channels,
        temporal: count(shapes, "decoder.fine_temporal_blocks.") > 0,
        pixel_decoder: PixelDecoderConfig {
            hidden_channels,
            channel_multipliers: channels
                .iter()
                .map(|channels| channels / hidden_channels.max(1))
                .collect(),
            res_blocks: count(shapes, "pixel_decoder.up.0.block."),
            z_channels,
            ..published.pixel_decoder
        },
    })
}

fn dims<const D: usize>(shapes: &Shapes, key: &str) -> Result<[usize; D]> {
    optional(shapes, key)?.ok_or_else(|| {
        NotInferred(format!(
            "there is no tensor {key}: give the whole checkpoint"
        ))
    })
}

fn optional<const D: usize>(shapes: &Shapes, key: &str) -> Result<Option<[usize; D]>> {
    let Some(shape) = shapes.get(key) else {
        return Ok(None);
    };
    match <[usize; D]>::try_from(&shape[..]) {
        Ok(shape) if !shape.contains(&0) => Ok(Some(shape)),
        _ => Err(NotInferred(format!(
            "{key} has shape {shape:?} and should have {D} axes of at least 1"
        ))),
    }
}

/// The number of heads, from the first of the head `sizes` that divides the width.
fn count_heads(width: usize, sizes: &[usize]) -> Result<usize> {
    let size = sizes.iter().find(|size| width.is_multiple_of(**size));
    size.map(|size| width / size).ok_or_else(|| {
        let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
        NotInferred(format!(
            "a width of {width} cannot be divided into heads of {} channels, as in the published \
             networks: set the number of heads with --heads, or with --vae-heads for the VAE",
            sizes.join(" or ")
        ))
    })
}

/// How many items are numbered from 0 after `prefix`.
fn count(shapes: &Shapes, prefix: &str) -> usize {
    let is_there = |number: usize| {
        let start = format!("{prefix}{number}.");
        let mut from = shapes.range(start.clone()..);
        from.next().is_some_and(|(key, _)| key.starts_with(&start))
    };
    let numbers: Range<usize> = 0..shapes.len();
    numbers.take_while(|&number| is_there(number)).count()
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        _ => greatest_common_divisor(b, a % b),
    }
}
