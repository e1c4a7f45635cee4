//! `cargo xtask tidy`: checks the rules of the architecture that a compiler does not check.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::workspace::{Package, Workspace};
use crate::{cycles, examples, links, packages, sources};

#[derive(Args)]
pub(crate) struct Options {
    /// Only lists modules that use each other
    #[arg(long)]
    cycles: bool,
    /// Copies the licences into the crates' folders
    #[arg(long)]
    fix: bool,
}

/// The layers, the lowest first. A crate depends only on crates of lower layers, tests included.
const LAYERS: &[&[&str]] = &[
    &[
        "ar-files",
        "ar-noise",
        "ar-schedulers",
        "ar-autodiff",
        "ar-golden",
    ],
    &[
        "ar-video",
        "ar-weights",
        "ar-gpu-kernels",
        "ar-kernels",
        "ar-activation-checkpointing",
        "ar-cli",
    ],
    &["ar-ops", "ar-diffusion"],
    &["ar-device"],
    &["ar-vae", "ar-dit", "ar-data"],
    &["ar-model", "ar-metrics"],
    &["ar-pipeline"],
    &["ar-eval"],
    &["ar-train", "ar-sample", "ar-serve"],
    &["ar-benches", "xtask"],
];

/// What a crate must not depend on, directly or through others, and why.
const STRANGERS: &[(&str, &[&str], &str)] = &[
    ("ar-schedulers", &["burn"], "anyone can use it"),
    ("ar-noise", &["burn"], "anyone can use it"),
    ("ar-video", &["burn"], "anyone can use it"),
    (
        "ar-diffusion",
        &["ar-dit", "ar-vae"],
        "it takes any denoiser and any latents",
    ),
];

/// Crates that extend one backend and therefore build it. Other crates depend on them only through
/// a feature.
const EXTENSIONS: &[(&str, &str)] = &[("ar-kernels", "flex")];

/// Features of Burn that choose the backend.
const BACKENDS: &[&str] = &[
    "cpu", "cuda", "flex", "metal", "ndarray", "rocm", "vulkan", "webgpu", "wgpu",
];

/// Prints all findings; exit code 1 if there are any.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    if options.cycles {
        return Ok(print(&cycles::check(workspace)?, "cycles: none"));
    }
    if options.fix {
        packages::fix(workspace)?;
    }
    let files = workspace.files()?;
    let packages = &workspace.packages;
    let findings = [
        layers(packages),
        strangers(workspace),
        backends(packages),
        packages::check(workspace, &files)?,
        sources::check(workspace)?,
        cycles::check(workspace)?,
        links::check(&workspace.root, &files)?,
        examples::check(&workspace.root, &files)?,
        links::machine_paths(&workspace.root, &files)?,
    ]
    .concat();
    let summary = format!("tidy: {} packages, {} files", packages.len(), files.len());
    Ok(print(&findings, &summary))
}

/// Prints the findings, or `summary` if there are none.
fn print(findings: &[String], summary: &str) -> ExitCode {
    for finding in findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("{summary}"),
        count => println!("tidy: {count} findings"),
    }
    ExitCode::from(u8::from(!findings.is_empty()))
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

/// Every crate has a layer and depends only on lower ones.
fn layers(packages: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        let name = &package.name;
        let Some(of_package) = layer(name) else {
            findings.push(format!(
                "{name}: has no layer; give it one in xtask's LAYERS"
            ));
            continue;
        };
        let siblings = package.dependencies.iter().map(|sibling| &sibling.name);
        for sibling in siblings.collect::<BTreeSet<_>>() {
            if layer(sibling).is_some_and(|of_sibling| of_sibling >= of_package) {
                findings.push(format!(
                    "{name}: depends on {sibling}, which is not of a lower layer"
                ));
            }
        }
    }
    findings
}

/// No crate depends on what it must not depend on.
fn strangers(workspace: &Workspace) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, strangers, why) in STRANGERS {
        let Some(package) = workspace.package(name) else {
            findings.push(format!("{name}: is no crate; see xtask's STRANGERS"));
            continue;
        };
        let known = known(workspace, package);
        for stranger in *strangers {
            let parts = format!("{stranger}-");
            if let Some(found) = known
                .iter()
                .find(|known| *known == stranger || known.starts_with(&parts))
            {
                findings.push(format!("{name}: must not know {found}: {why}"));
            }
        }
    }
    findings
}

/// Everything that `package` depends on, directly or through crates of the workspace.
fn known<'a>(workspace: &'a Workspace, package: &'a Package) -> BTreeSet<&'a str> {
    let mut known = BTreeSet::new();
    let mut packages = vec![package];
    while let Some(package) = packages.pop() {
        for dependency in &package.dependencies {
            if known.insert(dependency.name.as_str()) {
                packages.extend(workspace.package(&dependency.name));
            }
        }
    }
    known
}

/// Backends are features of ar-device: no crate enables one for everybody, except in its tests.
fn backends(packages: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        for dependency in package.dependencies.iter().filter(|other| !other.dev) {
            let is_backend = |feature: &&String| {
                let feature = feature.as_str();
                BACKENDS.contains(&feature)
                    && !EXTENSIONS.contains(&(package.name.as_str(), feature))
            };
            if let Some(feature) = dependency.features.iter().find(is_backend) {
                findings.push(format!(
                    "{}: always builds the backend {feature} of {}; binaries choose backends, \
                     through the features of ar-device",
                    package.name, dependency.name
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.into(),
            dependencies: dependencies
                .iter()
                .map(|&name| Dependency {
                    name: name.into(),
                    ..Dependency::default()
                })
                .collect(),
            ..Package::default()
        }
    }

    #[test]
    fn lower_layers_do_not_know_upper_ones() {
        assert!(layers(&[package("ar-model", &["ar-dit", "serde"])]).is_empty());
        assert_eq!(
            layers(&[
                package("ar-ops", &["ar-model"]),
                package("ar-dit", &["ar-vae"]),
                package("ar-new", &[])
            ]),
            [
                "ar-ops: depends on ar-model, which is not of a lower layer",
                "ar-dit: depends on ar-vae, which is not of a lower layer",
                "ar-new: has no layer; give it one in xtask's LAYERS",
            ]
        );
    }

    #[test]
    fn strangers_are_found_through_others() {
        let workspace = Workspace {
            root: "".into(),
            target: "".into(),
            packages: vec![
                package("ar-files", &["burn-dataset"]),
                package("ar-schedulers", &["rand"]),
                package("ar-noise", &["rand"]),
                package("ar-video", &["ar-files"]),
                package("ar-diffusion", &["ar-schedulers", "burn"]),
            ],
        };
        assert_eq!(
            strangers(&workspace),
            ["ar-video: must not know burn-dataset: anyone can use it"]
        );
    }

    #[test]
    fn backends_are_chosen_by_binaries() {
        let mut package = package("ar-ops", &["burn"]);
        package.dependencies[0].features = vec!["std".into(), "flex".into()];
        assert_eq!(backends(std::slice::from_ref(&package)).len(), 1);
        package.dependencies[0].dev = true;
        assert!(backends(&[package]).is_empty());
    }
}
