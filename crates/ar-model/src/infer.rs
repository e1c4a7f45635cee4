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

/// Infers the sizes of a diffusion model from its tensors. `tokens` is the number of tokens per frame, if the VAE is
/// known, and `heads` the number of attention heads, if the user has set it.
pub(crate) fn transformer(
    shapes: &Shapes,
    tokens: Option<usize>,
    heads: Option<usize>,
) -> Result<InferredTransformer> {
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
    } else {
        let [tokens, _] = dims(shapes, "context_emb")?;
        (None, tokens)
    };

    let head_dim = optional::<1>(shapes, &format!("{block}attn.q_norm.weight"))?;
    let rotary = optional::<1>(shapes, &of("rotary_emb.freqs"))?;
    let known = head_dim
        .map(|[size]| size)
        .or(rotary.map(|[pairs]| 2 * pairs));
    let num_heads = match (heads, known) {
        (Some(heads), _) => heads,
        (None, Some(size)) => count_heads(hidden_size, &[size])?,
        (None, None) => count_heads(hidden_size, &DIT_HEADS)?,
    };

    let tokens_per_frame = tokens.unwrap_or(published.tokens_per_frame);
    let num_frames = match optional::<3>(shapes, &of("pos_embed"))? {
        None => published.num_frames,
        Some([_, positions, _]) if positions.is_multiple_of(tokens_per_frame) => {
            positions / tokens_per_frame
        }
        Some(shape @ [_, positions, _]) => {
            let source = match tokens {
                Some(_) => "the VAE makes",
                None => "the published VAE makes",
            };
            return Err(NotInferred(format!(
                "{DIT}pos_embed has shape {shape:?}, {positions} positions, which are no whole \
                 number of frames of the {tokens_per_frame} tokens that {source}: give the VAE that \
                 the transformer was trained with, or describe both with --config"
            )));
        }
    };
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
    let [z_channels, codebook_channels, ..] = dims::<4>(shapes, "pixel_quantize_conv.weight")
        .map_err(|error| {
            if shapes.contains_key("pixel_quantize.embedding.weight") {
                let what = "this is an image tokenizer with a codebook: train a VAE from it, with \
                            start_from of `ar-train vae`";
                NotInferred(what.into())
            } else {
                error
            }
        })?;
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
    optional(shapes, key)?.ok_or_else(|| NotInferred(format!("there is no tensor {key}")))
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
            "a width of {width} is no whole number of heads of {} channels, as the published \
             networks have: say how many there are with --heads, or --vae-heads for the VAE",
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
