use std::fmt::Display;

use crate::error::ConfigError;

/// Checks that the value of `key` is a finite number and not negative.
///
/// # Errors
/// Names the key.
pub(crate) fn not_negative(
    key: &str,
    value: impl Into<f64> + Display + Copy,
) -> Result<(), ConfigError> {
    if value.into().is_finite() && value.into() >= 0.0 {
        return Ok(());
    }
    let message = format!("{key} = {value}; it must be a finite number of at least 0");
    Err(ConfigError::new([key], message))
}
