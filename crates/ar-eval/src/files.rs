//! The files in the folder of an evaluation that there is one of.

/// What the figures depend on.
pub(crate) const PROTOCOL: &str = "protocol.json";
/// The report.
pub(crate) const REPORT: &str = "report.json";
/// The report to look at.
pub(crate) const PAGE: &str = "report.html";
