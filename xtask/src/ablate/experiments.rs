//! The comparisons.

/// A way to train: the base configuration with keys changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Variant {
    pub name: &'static str,
    pub set: &'static [&'static str],
}

/// FoPP, causal, x0: the published choices.
pub(super) const BASE: Variant = variant("base", &[]);

const DIFFUSION_FORCING: Variant = variant(
    "diffusion-forcing",
    &["timestep_sampler=\"diffusion_forcing\""],
);
const FULL_SEQUENCE: Variant = variant("full-sequence", &["timestep_sampler=\"full_sequence\""]);
const FORWARD_ONLY: Variant = variant("forward-only", &["timestep_sampler=\"forward_only\""]);
const SHORT_CLIPS: Variant = variant("short-clips", &["short_clips=0.5"]);
const FULL_ATTENTION: Variant = variant("full-attention", &["transformer.causal_mask=\"none\""]);
const EPS: Variant = variant("eps", &["diffusion.parameterization=\"eps\""]);
const V: Variant = variant("v", &["diffusion.parameterization=\"v\""]);
const CLASSES: Variant = variant(
    "classes",
    &["conditioning.classes=2", "context_dropout=0.1"],
);

const fn variant(name: &'static str, set: &'static [&'static str]) -> Variant {
    Variant { name, set }
}

/// Trained models, sampled in some way.
#[derive(Debug)]
pub(super) struct Case {
    pub label: String,
    pub variant: &'static Variant,
    pub ar_step: usize,
    pub guidance: f64,
}

/// The cases of one table.
#[derive(Debug)]
pub(super) struct Experiment {
    pub title: &'static str,
    pub cases: Vec<Case>,
}

/// All experiments.
pub(super) fn experiments() -> Vec<Experiment> {
    vec![
        Experiment {
            title: "Timesteps in training",
            cases: trained(&[
                ("FoPP", &BASE),
                ("FoPP, half of the clips cut", &SHORT_CLIPS),
                ("diffusion forcing", &DIFFUSION_FORCING),
                ("full sequence", &FULL_SEQUENCE),
                ("forward only", &FORWARD_ONLY),
            ]),
        },
        Experiment {
            title: "Attention",
            cases: trained(&[("causal", &BASE), ("full", &FULL_ATTENTION)]),
        },
        Experiment {
            title: "Prediction",
            cases: trained(&[("x0", &BASE), ("eps", &EPS), ("v", &V)]),
        },
        Experiment {
            title: "Step difference in sampling",
            cases: [0, 1, 2, 5, 10, 25, 50]
                .map(|ar_step| Case {
                    label: format!("s = {ar_step}"),
                    variant: &BASE,
                    ar_step,
                    guidance: 1.0,
                })
                .into(),
        },
        Experiment {
            title: "Guidance, by the number of shapes",
            cases: [1.0, 1.5, 2.0, 4.0]
                .map(|guidance| Case {
                    label: format!("guidance {guidance}, s = 5"),
                    variant: &CLASSES,
                    ar_step: 5,
                    guidance,
                })
                .into(),
        },
    ]
}

/// Ways to train, each sampled all at once, in between, and frame by frame.
fn trained(variants: &[(&str, &'static Variant)]) -> Vec<Case> {
    let sampled = |&(name, variant): &(&str, &'static Variant)| {
        [0, 5, 50].map(|ar_step| Case {
            label: format!("{name}, s = {ar_step}"),
            variant,
            ar_step,
            guidance: 1.0,
        })
    };
    variants.iter().flat_map(sampled).collect()
}
