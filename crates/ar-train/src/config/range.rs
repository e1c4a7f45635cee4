use std::fmt::Display;

use anyhow::{Result, ensure};

/// Checks that the value of `key` is a finite number and not negative.
///
/// # Errors
/// Names the key.
pub fn not_negative(key: &str, value: impl Into<f64> + Display + Copy) -> Result<()> {
    ensure!(
        value.into().is_finite() && value.into() >= 0.0,
        "{key} = {value}; it must be a finite number of at least 0"
    );
    Ok(())
}
