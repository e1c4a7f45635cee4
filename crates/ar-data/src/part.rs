use std::ops::Range;
use std::str::FromStr;

/// One of several equal parts of the work on clips, `i/n`, with `i` counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which part, from 0.
    pub index: usize,
    /// The number of parts.
    pub count: usize,
}

impl Part {
    /// All of the work.
    pub const ALL: Self = Self { index: 0, count: 1 };

    /// This part of `0..len`; the lengths of parts differ by at most one.
    pub fn range(self, len: usize) -> Range<usize> {
        let bound = |index: usize| (index as u128 * len as u128 / self.count as u128) as usize;
        bound(self.index)..bound(self.index + 1)
    }

    /// The suffix of the names of the part's own files: `-0-of-4`, or nothing for all of the work.
    pub fn suffix(self) -> String {
        match self {
            Self::ALL => String::new(),
            Self { index, count } => format!("-{index}-of-{count}"),
        }
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text
            .split_once('/')
            .and_then(|(index, count)| Some((index.parse().ok()?, count.parse().ok()?)));
        match numbers {
            Some((index, count)) if index < count => Ok(Self { index, count }),
            _ => Err("a part is i/n with i from 0 to n - 1: 0/4, 1/4, 2/4 and 3/4".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_everything_once() {
        for (len, count) in [(10, 3), (2, 5), (0, 2), (64, 1)] {
            let parts = (0..count).flat_map(|index| Part { index, count }.range(len));
            assert_eq!(parts.collect::<Vec<_>>(), (0..len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn files_of_parts_have_names_of_their_own() {
        assert_eq!(Part::ALL.suffix(), "");
        assert_eq!(Part { index: 0, count: 4 }.suffix(), "-0-of-4");
    }

    #[test]
    fn reads_i_of_n() {
        assert_eq!("1/4".parse(), Ok(Part { index: 1, count: 4 }));
        for wrong in ["4/4", "1", "a/b", "-1/2", "0/0"] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }
}
