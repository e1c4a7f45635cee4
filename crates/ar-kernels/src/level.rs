//! Which vector instructions the kernels use.

use std::sync::OnceLock;

use pulp::WithSimd;

/// The environment variable that restricts the kernels to older instructions.
const VARIABLE: &str = "AR_SIMD";

/// Vector instructions, and their name in [`VARIABLE`].
#[derive(Clone, Copy, Debug)]
enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
    Portable,
}

impl Level {
    /// All levels that this processor supports, best first.
    fn available() -> Vec<Self> {
        let levels = [
            #[cfg(target_arch = "x86_64")]
            pulp::x86::V4::try_new().map(Self::Avx512),
            #[cfg(target_arch = "x86_64")]
            pulp::x86::V3::try_new().map(Self::Avx2),
            #[cfg(target_arch = "aarch64")]
            pulp::aarch64::Neon::try_new().map(Self::Neon),
            Some(Self::Portable),
        ];
        levels.into_iter().flatten().collect()
    }

    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "neon",
            Self::Portable => "portable",
        }
    }

    /// The level of this name, or else the best one.
    fn choose(name: Option<&str>) -> Self {
        let levels = Self::available();
        let chosen = levels.iter().find(|level| Some(level.name()) == name);
        *chosen.unwrap_or(&levels[0])
    }
}

fn level() -> Level {
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| Level::choose(std::env::var(VARIABLE).ok().as_deref()))
}

/// The vector instructions that the kernels of this process use: `avx512`, `avx2`, `neon` or `portable`. The
/// environment variable `AR_SIMD` chooses one by these names; a name that is unknown or not supported by this processor
/// is ignored. AMX, which only products in bf16 use, is left out whenever the variable chooses a level.
///
/// Matrix products by the crate `gemm` always use the best instructions of the processor.
pub fn simd_level() -> &'static str {
    level().name()
}

/// Whether [`VARIABLE`] leaves the choice to us, so that instructions that are no [level](Level) may be used too.
#[cfg(target_arch = "x86_64")]
pub(crate) fn is_unrestricted() -> bool {
    static UNRESTRICTED: OnceLock<bool> = OnceLock::new();
    *UNRESTRICTED.get_or_init(|| {
        let chosen = std::env::var(VARIABLE).ok();
        let levels = Level::available();
        !levels
            .iter()
            .any(|level| Some(level.name()) == chosen.as_deref())
    })
}

/// Whether the kernels use AVX-512.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_avx512() -> bool {
    matches!(level(), Level::Avx512(_))
}

/// Runs `kernel` with the vectors of these instructions.
#[inline(always)]
pub(crate) fn dispatch<K: WithSimd>(kernel: K) -> K::Output {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(simd) => pulp::Simd::vectorize(simd, kernel),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(simd) => pulp::Simd::vectorize(simd, kernel),
        #[cfg(target_arch = "aarch64")]
        Level::Neon(simd) => pulp::Simd::vectorize(simd, kernel),
        Level::Portable => kernel.with_simd(pulp::Scalar::new()),
    }
}

/// Runs `kernel` compiled for these instructions.
///
/// `kernel` and everything that it calls must be inlined (`#[inline(always)]`).
#[inline(always)]
pub(crate) fn vectorized<R>(kernel: impl FnOnce() -> R) -> R {
    match level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(simd) => simd.vectorize(kernel),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(simd) => simd.vectorize(kernel),
        // The target's baseline, for which everything is compiled anyway.
        #[cfg(target_arch = "aarch64")]
        Level::Neon(_) => kernel(),
        Level::Portable => kernel(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_chosen_by_its_name() {
        let levels = Level::available();
        for &level in &levels {
            assert_eq!(Level::choose(Some(level.name())).name(), level.name());
        }
        for name in [None, Some(""), Some("AVX2 "), Some("sse9")] {
            assert_eq!(Level::choose(name).name(), levels[0].name(), "{name:?}");
        }
    }
}
