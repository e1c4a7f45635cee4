//! Network weights in safetensors files, in the key layout of the published checkpoints.

use std::path::Path;

use burn::module::Module;
use burn::store::{
    ApplyError, BurnToPyTorchAdapter, FloatCastAdapter, KeyRemapper, ModuleAdapter, ModuleSnapshot,
    ModuleStore, PyTorchToBurnAdapter, SafetensorsStore,
};
use burn::tensor::DType;

use crate::ModelError;

/// How module paths and the keys of a file correspond: pairs of path fragments that end in a
/// separator, `(module, file)`. A fragment matches at the start of a path or after a dot.
#[derive(Clone, Copy, Debug)]
pub struct KeyMap {
    fragments: &'static [(&'static str, &'static str)],
    /// Keys that files hold and networks do not need, by prefix: buffers that are recomputed.
    recomputed: &'static [&'static str],
}

/// The layout of published transformer checkpoints.
pub const TRANSFORMER_KEYS: KeyMap = KeyMap {
    fragments: &[
        ("context.context_emb", "context_emb"),
        ("context.class_emb", "class_emb"),
        ("dit.", "diffusion_model.model."),
        ("t_embedder.mlp_in.", "t_embedder.mlp.0."),
        ("t_embedder.mlp_out.", "t_embedder.mlp.2."),
        ("ada_ln_modulation.", "adaLN_modulation.1."),
        ("final_layer.", "final_layer.1."),
    ],
    recomputed: &[
        "diffusion_model.betas",
        "diffusion_model.alphas_cumprod",
        "diffusion_model.sqrt_",
        "diffusion_model.log_one_minus_alphas_cumprod",
        "diffusion_model.posterior_",
        "diffusion_model.lvlb_weights",
        "diffusion_model.logvar",
        "diffusion_model.model.pos_embed",
        "rotary_emb.freqs",
    ],
};

/// The layout of published VAE checkpoints.
pub const VAE_KEYS: KeyMap = KeyMap {
    fragments: &[
        ("in_proj.", "in_proj_"),
        ("decoder.ffn_in.", "decoder.ffn.0."),
        ("decoder.ffn_out.", "decoder.ffn.2."),
    ],
    recomputed: &[],
};

impl KeyMap {
    fn remapper(self, from: fn(&Fragments) -> &str, to: fn(&Fragments) -> &str) -> KeyRemapper {
        self.fragments.iter().fold(KeyRemapper::new(), |map, pair| {
            let pattern = format!(r"(^|\.){}", from(pair).replace('.', r"\."));
            map.add_pattern(pattern, format!("${{1}}{}", to(pair)))
                .expect("fragments are literal")
        })
    }

    fn to_module(self) -> KeyRemapper {
        self.remapper(|(_, file)| file, |(module, _)| module)
    }

    fn to_file(self) -> KeyRemapper {
        self.remapper(|(module, _)| module, |(_, file)| file)
    }

    /// The key in a file of a module path, for messages.
    fn file_key(self, path: &str) -> String {
        let mut key = format!(".{path}");
        for (module, file) in self.fragments {
            key = key.replace(&format!(".{module}"), &format!(".{file}"));
        }
        let key = key.trim_start_matches('.');
        match key.rsplit_once('.') {
            Some((layer, "gamma")) => format!("{layer}.weight"),
            Some((layer, "beta")) => format!("{layer}.bias"),
            _ => key.to_owned(),
        }
    }

    fn is_recomputed(self, path: &str) -> bool {
        let key = self.file_key(path);
        self.recomputed
            .iter()
            .any(|prefix| key.starts_with(prefix) || key.contains(&format!(".{prefix}")))
    }
}

type Fragments = (&'static str, &'static str);

/// Where weights are read from.
#[derive(Clone, Copy, Debug)]
pub enum WeightsSource<'a> {
    /// A file.
    File(&'a Path),
    /// The bytes of a file, with the name to use in messages.
    Bytes(&'a str, &'a [u8]),
}

/// Floating-point format of saved weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    #[default]
    Full,
    /// 16 bits: half the size, for shipping.
    Half,
}

/// Reads every parameter of `module`. Floats of any width are read as 32 bits.
///
/// # Errors
/// If the file is unreadable, or a tensor is missing, left over or of another shape; the message
/// names it.
pub fn load_weights<M: Module>(
    module: &mut M,
    source: WeightsSource<'_>,
    keys: KeyMap,
) -> Result<(), ModelError> {
    load_weights_but(module, source, keys, |_| false)
}

/// [`load_weights`], where tensors with a key that is `fresh` may be missing and then stay as they
/// are.
///
/// # Errors
/// Those of [`load_weights`].
pub fn load_weights_but<M: Module>(
    module: &mut M,
    source: WeightsSource<'_>,
    keys: KeyMap,
    fresh: impl Fn(&str) -> bool,
) -> Result<(), ModelError> {
    let (file, store) = match source {
        WeightsSource::File(path) => {
            // Asked first, for the system's own words on a missing or forbidden file.
            std::fs::File::open(path).map_err(ModelError::io(path))?;
            (
                path.display().to_string(),
                SafetensorsStore::from_file(path),
            )
        }
        WeightsSource::Bytes(name, bytes) => (
            name.to_owned(),
            SafetensorsStore::from_bytes(Some(bytes.to_vec())),
        ),
    };
    let mut store = store
        .with_from_adapter(PyTorchToBurnAdapter.chain(FloatCastAdapter::to(DType::F32)))
        .remap(keys.to_module())
        .validate(false)
        .skip_enum_variants(true)
        .allow_partial(true);
    let result = module
        .load_from(&mut store)
        .map_err(|error| ModelError::Unreadable {
            file: file.clone(),
            reason: error.to_string(),
        })?;

    let misshapen: Vec<String> = result
        .errors
        .iter()
        .map(|error| match error {
            ApplyError::ShapeMismatch {
                path,
                expected,
                found,
            } => format!(
                "{} has shape {:?} and should have {:?}",
                keys.file_key(path),
                found.as_slice(),
                expected.as_slice()
            ),
            other => other.to_string(),
        })
        .collect();
    // A tensor that failed to apply is reported once, as misshapen.
    let missing: Vec<String> = result
        .missing
        .iter()
        .map(|(path, _)| keys.file_key(path))
        .filter(|key| !fresh(key))
        .collect();
    let unused: Vec<String> = result
        .unused
        .iter()
        .filter(|path| !keys.is_recomputed(path))
        .map(|path| keys.file_key(path))
        .collect();
    let mismatch: Vec<String> = [
        ("misshapen", misshapen),
        ("missing", missing),
        ("not part of the network", unused),
    ]
    .into_iter()
    .filter(|(_, names)| !names.is_empty())
    .map(|(what, names)| describe(what, &names))
    .collect();
    if mismatch.is_empty() {
        Ok(())
    } else {
        Err(ModelError::Misfit {
            file,
            mismatch: mismatch.join("; "),
        })
    }
}

/// The first few of `names`, and how many there are.
fn describe(what: &str, names: &[String]) -> String {
    const SHOWN: usize = 4;
    let mut text = format!("{what}: {}", names[..names.len().min(SHOWN)].join(", "));
    if names.len() > SHOWN {
        text += &format!(" and {} more", names.len() - SHOWN);
    }
    text
}

/// Writes every parameter of `module`, atomically.
///
/// # Errors
/// If the file cannot be written; an older file at `path` is then untouched.
pub fn save_weights<M: Module>(
    module: &M,
    path: &Path,
    keys: KeyMap,
    precision: Precision,
) -> Result<(), ModelError> {
    let dtype = match precision {
        Precision::Full => DType::F32,
        Precision::Half => DType::F16,
    };
    let io = |message: String| ModelError::Io {
        path: path.to_owned(),
        source: std::io::Error::other(message),
    };
    let mut store = SafetensorsStore::from_bytes(None)
        .with_to_adapter(BurnToPyTorchAdapter.chain(FloatCastAdapter::to(dtype)))
        .remap(keys.to_file())
        // One entry, which PyTorch's readers look for: the order of several would be random.
        .clear_metadata()
        .metadata("format", "pt")
        .skip_enum_variants(true);
    store
        .collect_from(module)
        .map_err(|error| io(error.to_string()))?;
    let bytes = store.get_bytes().map_err(|error| io(error.to_string()))?;
    ar_files::write_atomically(path, &bytes).map_err(ModelError::io(path))
}
