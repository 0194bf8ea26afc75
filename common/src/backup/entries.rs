//! The entries of a backup, in the order of the log.
//!
//! ```text
//! u32 length || leaf        once for each entry, the length big-endian
//! ```

use std::io::{self, Read, Write};

use crate::leaf::MAX_LEAF_BYTES;

/// Why the next entry can't be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The file ends within it.
    #[error("the file ends in the middle of it")]
    Truncated,
    /// No leaf is that long.
    #[error("it is said to have {0} bytes")]
    TooLong(u32),
    /// The file can't be read.
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
}

/// Writes one entry.
pub(super) fn write(to: &mut impl Write, leaf: &[u8]) -> io::Result<()> {
    let length = u32::try_from(leaf.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(leaf)
}

/// Reads one entry; `None` at the end of the file.
pub(super) fn read(from: &mut impl Read) -> Result<Option<Vec<u8>>, FrameError> {
    let mut length = [0; 4];
    if from.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    fill(from, &mut length[1..])?;
    let length = u32::from_be_bytes(length);
    let fits = usize::try_from(length).ok().filter(|length| *length <= MAX_LEAF_BYTES);
    let mut leaf = vec![0; fits.ok_or(FrameError::TooLong(length))?];
    fill(from, &mut leaf)?;
    Ok(Some(leaf))
}

fn fill(from: &mut impl Read, bytes: &mut [u8]) -> Result<(), FrameError> {
    from.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => FrameError::Truncated,
        _ => FrameError::Io(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_were_written() {
        let mut file = Vec::new();
        for leaf in [&b"one"[..], b"", &vec![7; MAX_LEAF_BYTES]] {
            write(&mut file, leaf).unwrap();
        }
        let mut rest = &file[..];

        assert_eq!(read(&mut rest).unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(read(&mut rest).unwrap().as_deref(), Some(&b""[..]));
        assert_eq!(read(&mut rest).unwrap().map(|leaf| leaf.len()), Some(MAX_LEAF_BYTES));
        assert_eq!(read(&mut rest).unwrap(), None);
    }

    #[test]
    fn a_file_that_ends_early_is_told_from_one_that_ends() {
        let mut file = Vec::new();
        write(&mut file, b"leaf").unwrap();
        for length in 1..file.len() {
            let cut = read(&mut &file[..length]);
            assert!(matches!(cut, Err(FrameError::Truncated)), "{length}: {cut:?}");
        }
    }

    #[test]
    fn no_length_makes_the_reader_take_more_memory_than_a_leaf_needs() {
        let file = [0xff; 64];

        assert!(matches!(read(&mut &file[..]), Err(FrameError::TooLong(u32::MAX))));
    }
}
