//! A VAE from a published file: another AR-VAE, or the image tokenizer (TiTok) that the published ones were started
//! from, which has a codebook.

use std::collections::BTreeMap;

use ar_weights::{Checkpoint, WeightsError};

use crate::error::BoxError;

/// The first layer, which says whether the file is of this kind.
const FIRST: &str = "encoder.patch_embed.weight";

/// One row for each latent token.
const TOKENS: [&str; 3] = [
    "latent_tokens",
    "encoder.latent_token_positional_embedding",
    "decoder.latent_token_positional_embedding",
];

const MOMENTS: [&str; 2] = ["encoder.conv_out.weight", "encoder.conv_out.bias"];
const LATENTS: &str = "decoder.decoder_embed.weight";
const CODES: [&str; 2] = ["pixel_quantize_conv.weight", "pixel_quantize_conv.bias"];
/// `[codes, channels]`
const CODEBOOK: &str = "pixel_quantize.embedding.weight";

/// Tensors of a file that were not used, and tensors of the network that the file does not have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Names and shapes of tensors of the file.
    pub not_taken: Vec<String>,
    /// Names and shapes of tensors of the network.
    pub fresh: Vec<String>,
}

/// Adapts `file` to a network whose tensors have the shapes `wanted`:
///
/// - Moments. A file without log-variances gets zeros for them; from a file with more latent channels, the first means
///   and log-variances are taken, and the decoder's first inputs.
/// - Codes. If the file has no convolution after the softmax, it is made from the file's codebook.
/// - Latent tokens and their positions are cut off, or padded with zeros.
///
/// # Errors
/// If the file is of another kind or width, or cannot be read.
pub(super) fn adapt(
    file: &mut Checkpoint,
    wanted: &BTreeMap<String, Vec<usize>>,
) -> Result<Difference, BoxError> {
    let shape = |key: &str| wanted.get(key).cloned();
    match (file.shape(FIRST), shape(FIRST)) {
        (None, _) => {
            return Err(format!("there is no tensor {FIRST}: this is not an AR-VAE").into());
        }
        (Some(_), None) => {
            return Err(
                "it holds an AR-VAE, but [vae] describes a convolutional one: set vae.kind = \
                 \"transformer\", with the sizes of the file's network"
                    .into(),
            );
        }
        (Some(found), Some(expected)) if found != expected => {
            return Err(misfit(FIRST, found, &expected).into());
        }
        _ => {}
    }
    let found = file.shapes();
    let channels = shape(LATENTS).and_then(|shape| shape.last().copied());
    if let Some(channels) = channels {
        for key in MOMENTS {
            change_rows(file, key, |rows| moments(rows, channels))?;
        }
        cut_columns(file, LATENTS, channels)?;
    }
    for key in TOKENS {
        if let Some(count) = shape(key).and_then(|shape| shape.first().copied()) {
            change_rows(file, key, |rows| {
                let places = 0..count;
                places.map(|row| (row < rows).then_some(row)).collect()
            })?;
        }
    }
    let reads_codebook = file.shape(CODES[0]).is_none() && codes(file)?;

    let mut difference = Difference::default();
    for (key, shape) in file.shapes() {
        let is_used = reads_codebook && key == CODEBOOK;
        match wanted.get(&key) {
            Some(expected) if *expected == shape => {}
            Some(expected) => {
                return Err(
                    match (found.get(&key), found.get(CODEBOOK), &expected[..]) {
                        // The shape in the file, not the adapted one.
                        (Some(found), ..) => misfit(&key, found, expected),
                        (None, Some(found), &[channels, codes, ..]) => {
                            misfit(CODEBOOK, found, &[codes, channels])
                        }
                        _ => misfit(&key, &shape, expected),
                    }
                    .into(),
                );
            }
            None if is_used => {}
            None => difference.not_taken.push(format!("{key} {shape:?}")),
        }
    }
    for (key, shape) in wanted {
        if file.shape(key) != Some(shape) {
            difference.fresh.push(format!("{key} {shape:?}"));
        }
    }
    let shapes = file.shapes();
    file.retain(|key| wanted.get(key) == shapes.get(key));
    Ok(difference)
}

/// For the moments of `channels` latent channels, which of the `rows` to take; None means zeros.
fn moments(rows: usize, channels: usize) -> Vec<Option<usize>> {
    if rows < 2 * channels {
        let means = (0..rows).map(Some);
        return means.chain((0..rows).map(|_| None)).collect();
    }
    let log_variances = rows / 2..rows / 2 + channels;
    (0..channels).chain(log_variances).map(Some).collect()
}

/// Replaces a tensor by some of its rows; None is a row of zeros. `choose` gets the number of rows.
fn change_rows(
    file: &mut Checkpoint,
    key: &str,
    choose: impl FnOnce(usize) -> Vec<Option<usize>>,
) -> Result<(), WeightsError> {
    let Some(&[count, ref rest @ ..]) = file.shape(key) else {
        return Ok(());
    };
    let (width, rest) = (rest.iter().product::<usize>(), rest.to_vec());
    let rows = choose(count);
    if rows.len() == count
        && rows
            .iter()
            .enumerate()
            .all(|(row, from)| *from == Some(row))
    {
        return Ok(());
    }
    let Some(values) = file.values(key)? else {
        return Ok(());
    };
    let mut changed = vec![0.0; rows.len() * width];
    for (row, changed) in rows.iter().zip(changed.chunks_exact_mut(width.max(1))) {
        if let Some(row) = row {
            changed.copy_from_slice(&values[row * width..][..width]);
        }
    }
    let shape = [&[rows.len()][..], &rest].concat();
    file.insert(key, shape, changed);
    Ok(())
}

/// Keeps only the first `count` columns of a matrix, if it has more.
fn cut_columns(file: &mut Checkpoint, key: &str, count: usize) -> Result<(), WeightsError> {
    let Some(&[rows, columns]) = file.shape(key) else {
        return Ok(());
    };
    if columns <= count {
        return Ok(());
    }
    if let Some(values) = file.values(key)? {
        let first = values.chunks_exact(columns).flat_map(|row| &row[..count]);
        file.insert(key, vec![rows, count], first.copied().collect());
    }
    Ok(())
}

/// Makes the convolution that reads codes from the codebook, and returns whether there is a codebook.
fn codes(file: &mut Checkpoint) -> Result<bool, WeightsError> {
    let Some(&[codes, channels]) = file.shape(CODEBOOK) else {
        return Ok(false);
    };
    if let Some(values) = file.values(CODEBOOK)? {
        let entry = |index: usize| values[index % codes * channels + index / codes];
        let transposed = (0..codes * channels).map(entry).collect();
        let [weight, bias] = CODES;
        file.insert(weight, vec![channels, codes, 1, 1], transposed);
        file.insert(bias, vec![channels], vec![0.0; channels]);
    }
    Ok(true)
}

/// The message about a tensor that has different shapes in the file and in the network.
fn misfit(key: &str, found: &[usize], expected: &[usize]) -> String {
    format!(
        "{key} has shape {found:?} and should have {expected:?}: describe the file's network in [vae], \
         first of all its {}",
        key_of(key)
    )
}

/// The keys of `[vae]` that determine the shape of a tensor.
fn key_of(tensor: &str) -> &'static str {
    match tensor {
        "encoder.positional_embedding" | "decoder.positional_embedding" => "image_size",
        FIRST => "width and patch_size",
        LATENTS => "latent_channels",
        _ if MOMENTS.contains(&tensor) => "latent_channels",
        CODEBOOK => "codebook_channels and pixel_decoder.z_channels",
        _ if CODES.contains(&tensor) => "codebook_channels and pixel_decoder.z_channels",
        _ if tensor.starts_with("pixel_decoder.") => "pixel_decoder",
        _ if tensor.starts_with("decoder.ffn.2.") => "codebook_channels",
        _ => "width",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ar_weights::WeightsSource;

    const WIDTH: usize = 3;

    /// A file of a tokenizer with `rows` rows of moments and `channels` latent channels, five tokens
    /// and four codes of two channels. Its values count up.
    fn file(rows: usize, channels: usize) -> Checkpoint {
        let mut file = Checkpoint::open(WeightsSource::Bytes("empty", &empty())).expect("a file");
        let mut insert = |key: &str, shape: &[usize]| {
            let count: usize = shape.iter().product();
            let values = (0..count).map(|i| 1.0 + i as f32).collect();
            file.insert(key, shape.to_vec(), values);
        };
        insert(FIRST, &[WIDTH, 3, 2, 2]);
        insert(MOMENTS[0], &[rows, WIDTH, 1, 1]);
        insert(MOMENTS[1], &[rows]);
        insert(LATENTS, &[WIDTH, channels]);
        for key in TOKENS {
            insert(key, &[5, WIDTH]);
        }
        insert(CODEBOOK, &[4, 2]);
        insert("quantize.embedding.weight", &[7, channels]);
        file
    }

    fn empty() -> Vec<u8> {
        [&2u64.to_le_bytes()[..], b"{}"].concat()
    }

    /// A network with two latent channels and `tokens` tokens.
    fn wanted(tokens: usize) -> BTreeMap<String, Vec<usize>> {
        let mut wanted = BTreeMap::from(
            [
                (FIRST, vec![WIDTH, 3, 2, 2]),
                (MOMENTS[0], vec![4, WIDTH, 1, 1]),
                (MOMENTS[1], vec![4]),
                (LATENTS, vec![WIDTH, 2]),
                (CODES[0], vec![2, 4, 1, 1]),
                (CODES[1], vec![2]),
                ("encoder.ln_pre.weight", vec![WIDTH]),
            ]
            .map(|(key, shape)| (key.to_owned(), shape)),
        );
        wanted.extend(TOKENS.map(|key| (key.to_owned(), vec![tokens, WIDTH])));
        wanted
    }

    fn values(file: &Checkpoint, key: &str) -> Vec<f32> {
        file.values(key).expect("readable").expect(key)
    }

    #[test]
    fn a_tokenizer_without_variances_gets_zeros() {
        let mut file = file(2, 2);
        let difference = adapt(&mut file, &wanted(6)).expect("adapted");
        assert_eq!(difference.fresh, ["encoder.ln_pre.weight [3]"]);
        assert_eq!(
            difference.not_taken,
            ["quantize.embedding.weight [7, 2]"],
            "the other codebook is what codes are read with"
        );
        assert_eq!(
            values(&file, MOMENTS[0]),
            [1., 2., 3., 4., 5., 6., 0., 0., 0., 0., 0., 0.]
        );
        assert_eq!(values(&file, MOMENTS[1]), [1., 2., 0., 0.]);
        assert_eq!(values(&file, LATENTS), [1., 2., 3., 4., 5., 6.]);
        // Transposed: by channel, then by code.
        assert_eq!(values(&file, CODES[0]), [1., 3., 5., 7., 2., 4., 6., 8.]);
        assert_eq!(values(&file, CODES[1]), [0., 0.]);
        for key in TOKENS {
            let rows: Vec<f32> = (1..=15).map(|i| i as f32).chain([0.; 3]).collect();
            assert_eq!(values(&file, key), rows);
        }
    }

    #[test]
    fn of_more_channels_the_first_are_taken() {
        // Six rows: means and log-variances of three channels.
        let mut file = file(6, 3);
        let difference = adapt(&mut file, &wanted(4)).expect("adapted");
        assert_eq!(difference.fresh, ["encoder.ln_pre.weight [3]"]);
        assert_eq!(values(&file, MOMENTS[1]), [1., 2., 4., 5.]);
        assert_eq!(
            values(&file, MOMENTS[0]),
            [1., 2., 3., 4., 5., 6., 10., 11., 12., 13., 14., 15.]
        );
        assert_eq!(values(&file, LATENTS), [1., 2., 4., 5., 7., 8.]);
        for key in TOKENS {
            let rows: Vec<f32> = (1..=12).map(|i| i as f32).collect();
            assert_eq!(values(&file, key), rows);
        }
    }

    #[test]
    fn another_network_is_refused() {
        let mut other = wanted(5);
        other.insert(FIRST.to_owned(), vec![8, 3, 2, 2]);
        let error = adapt(&mut file(4, 2), &other).expect_err("another width");
        let error = error.to_string();
        assert!(
            error.contains("[3, 3, 2, 2] and should have [8, 3, 2, 2]"),
            "{error}"
        );
        // The same width, but another layer in between: as it is in the file, with the key to set.
        for (key, shape, found, advice) in [
            ("encoder.ln_pre.weight", vec![5], "[5]", "its width"),
            (MOMENTS[1], vec![3], "[3]", "its latent_channels"),
            (
                "decoder.positional_embedding",
                vec![9, WIDTH],
                "[9, 3]",
                "its image_size",
            ),
            (
                "pixel_decoder.conv_in.weight",
                vec![8, 2, 3, 3],
                "[8, 2, 3, 3]",
                "its pixel_decoder",
            ),
            (
                CODEBOOK,
                vec![6, 2],
                "[6, 2] and should have [4, 2]",
                "its codebook_channels",
            ),
        ] {
            let mut other = file(4, 2);
            let count = shape.iter().product();
            other.insert(key, shape, vec![0.0; count]);
            let mut wanted = wanted(5);
            wanted.insert("decoder.positional_embedding".into(), vec![5, WIDTH]);
            wanted.insert("pixel_decoder.conv_in.weight".into(), vec![4, 2, 3, 3]);
            let error = adapt(&mut other, &wanted).expect_err(key).to_string();
            for part in [&format!("{key} has shape {found}"), "should have", advice] {
                assert!(error.contains(part), "{part}: {error}");
            }
        }
        let mut none = file(4, 2);
        none.retain(|key| key != FIRST);
        let error = adapt(&mut none, &wanted(5))
            .expect_err("no encoder")
            .to_string();
        assert!(error.contains("not an AR-VAE"), "{error}");
    }
}
