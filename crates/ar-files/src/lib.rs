//! Files that appear complete or not at all, and are read back exactly as they were written.
//!
//! - [`OutputFile`] and [`OutputFolder`] are outputs that are being written; [`check_writable`]
//!   checks in advance whether one can be written, [`is_same_file`] and [`lies_in`] whether it
//!   would replace another.
//! - [`seal_folder`], [`write_sealed`] and their counterparts write and verify checksums, so that
//!   damage is noticed.
//! - [`remove_unfinished`] is for a process that ends before they are complete.
//! - [`FolderLock`] keeps two processes from working in one folder.
//! - [`read`] limits how much is read.
//!
//! ```
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("new/report.txt");
//! ar_files::write_atomically(&path, b"all of it")?;
//! assert_eq!(std::fs::read(&path)?, b"all of it");
//! # Ok::<(), std::io::Error>(())
//! ```
#![warn(missing_docs)]

mod checksums;
mod content_hash;
mod environment;
mod folder;
mod home;
mod identity;
mod lock;
mod output;
mod place;
mod read;
mod temporary;

pub use checksums::{
    CHECKSUMS, Integrity, checksum, seal_folder, verify_file, verify_folder, verify_in_folder,
    write_sealed,
};
pub use content_hash::ContentHash;
pub use environment::is_environment;
pub use folder::{OutputFolder, remove_folder};
pub use home::{expand_home, home_of_another, not_a_home};
pub use identity::{is_same_file, is_stdout, lies_in, name_of};
pub use lock::FolderLock;
pub use output::{OutputFile, check_writable, write_atomically};
pub use place::is_stream;
pub use read::{MOST_TEXT, check_regular, on_wait, read, read_text};
pub use temporary::{NoneUnfinished, TEMPORARY_PREFIX, remove_unfinished, wait_if_ending};

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
