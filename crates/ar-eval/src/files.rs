//! The files in the folder of an evaluation that exist only once.

/// What the figures depend on.
pub(crate) const PROTOCOL: &str = "protocol.json";
/// The report.
pub(crate) const REPORT: &str = "report.json";
/// The report as a page.
pub(crate) const PAGE: &str = "report.html";
