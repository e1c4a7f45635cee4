use std::io;

/// Whether a read error is not caused by the file: the system is out of open files or memory, or
/// the disk fails. The same file may be readable at another time.
pub fn is_environment(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_system_without_open_files_left_is_no_fault_of_a_file() {
        // EMFILE, ENFILE, ENOMEM, EIO.
        for code in [24, 23, 12, 5] {
            assert!(
                is_environment(&io::Error::from_raw_os_error(code)),
                "{code}"
            );
        }
        // ENOENT, EACCES, EISDIR.
        for code in [2, 13, 21] {
            assert!(
                !is_environment(&io::Error::from_raw_os_error(code)),
                "{code}"
            );
        }
        assert!(!is_environment(&io::ErrorKind::UnexpectedEof.into()));
    }
}
