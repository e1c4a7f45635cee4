//! Folders of latents from the reference implementation.

use std::path::Path;

use ar_files::is_environment;

use super::{LatentDataset, LatentError, NpyError, npy};
use crate::labels::{Labels, Selected};
use crate::skipped::{SkipKind, SkippedFile};

impl LatentDataset {
    pub(super) fn load_npy(folder: &Path, labels: Option<&Labels>) -> Result<Self, LatentError> {
        let paths = npy::find(folder).map_err(LatentError::read(folder))?;
        if paths.is_empty() {
            return Err(LatentError::Nothing(folder.to_path_buf()));
        }
        let mut skipped = Vec::new();
        let Selected { classes, files } = Labels::select(labels, folder, paths, &mut skipped)?;
        let mut all: Option<Self> = None;
        for (path, label) in files {
            let item = match npy::read(&path) {
                Ok(item) => item,
                Err(NpyError::Read(error)) if is_environment(&error) => {
                    return Err(LatentError::read(&path)(error));
                }
                Err(error) => {
                    let reason = error.to_string();
                    let kind = SkipKind::Unusable;
                    skipped.push(SkippedFile { path, kind, reason });
                    continue;
                }
            };
            let [frames, tokens, channels] = item.shape;
            let shape = [1, frames, tokens, channels];
            let clip = Self::new(item.latents, shape, label.map(|label| vec![label]))?;
            match &mut all {
                Some(all) => all.append(clip, &path)?,
                None => all = Some(clip),
            }
        }
        match all {
            Some(all) => Ok(Self {
                classes,
                skipped,
                ..all
            }),
            None => Err(LatentError::NothingUsable {
                root: folder.to_path_buf(),
                skipped,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use burn_dataset::Dataset;

    use super::*;

    /// The memory of a process is a file that the system does not allow to be read from its start.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_the_system_does_not_read_is_not_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let clip = npy::tests::npy("<f4", "(1, 1, 1, 1)", &1_f32.to_le_bytes());
        fs::write(folder.path().join("a.npy"), clip).unwrap();
        std::os::unix::fs::symlink("/proc/self/mem", folder.path().join("b.npy")).unwrap();
        let error = LatentDataset::load(folder.path(), None).unwrap_err();
        assert!(error.is_environment(), "{error}");
        assert!(error.to_string().contains("b.npy"), "{error}");
    }

    #[test]
    fn files_of_the_reference_are_a_dataset() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let load = |labels: Option<&Labels>| LatentDataset::load(folder.path(), labels);
        let error = load(None).unwrap_err().to_string();
        assert!(error.starts_with("there are no latents in "), "{error}");

        write("walk/b.npy", b"broken");
        let error = load(None).unwrap_err().to_string();
        assert!(
            error.ends_with("b.npy: not an NPY file, or damaged"),
            "{error}"
        );
        let clip = |x: f32| npy::tests::npy("<f4", "(1, 1, 1, 1)", &x.to_le_bytes());
        write("walk/a.npy", &clip(2.0));
        write("run/z.npy", &clip(-3.0));
        write("run/z.txt", b"");
        let dataset = load(Some(&Labels::Folders)).unwrap();
        assert_eq!(dataset.shape(), [2, 1, 1, 1]);
        assert_eq!(dataset.class_names(), ["run", "walk"]);
        assert_eq!(dataset.labels(), Some(&[0, 1][..]));
        assert_eq!(dataset.get(0).unwrap().latents, [-1.0]);
        assert_eq!(dataset.get(1).unwrap().latents, [1.0]);
        assert_eq!(dataset.skipped().len(), 1);
        assert_eq!(load(None).unwrap().labels(), None);

        write(
            "walk/c.npy",
            &npy::tests::npy("<f4", "(2, 1, 1, 1)", &[0; 8]),
        );
        let error = load(None).unwrap_err().to_string();
        assert!(error.contains("c.npy has clips of 2 x 1 x 1"), "{error}");
    }
}
