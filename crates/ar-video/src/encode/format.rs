use std::fmt;
use std::path::Path;

/// The output formats of a [`VideoWriter`](crate::VideoWriter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VideoFormat {
    /// H.264 in an MP4 file: plays everywhere, lossy.
    Mp4,
    /// An animated GIF: shows everywhere, 256 colours per frame.
    Gif,
    /// An animated PNG: shows in browsers, lossless.
    Apng,
    /// A folder of PNG files: lossless, for other programs.
    Png,
    /// The RGB bytes of all frames, `[frames, height, width, 3]`: lossless, for pipes.
    Raw,
}

impl VideoFormat {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::Mp4, Self::Gif, Self::Apng, Self::Png, Self::Raw];

    /// The name, as [`FromStr`](std::str::FromStr) reads it: `mp4`, `gif`, `apng`, `png` or `raw`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Gif => "gif",
            Self::Apng => "apng",
            Self::Png => "png",
            Self::Raw => "raw",
        }
    }

    /// Whether it can be written [as a stream](crate::VideoWriter::stream).
    pub fn streams(self) -> bool {
        matches!(self, Self::Mp4 | Self::Raw)
    }

    /// The file name extension without the dot. It is `frames` for the folder of
    /// [`Png`](Self::Png), and `rgb` for the bytes of [`Raw`](Self::Raw).
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "frames",
            Self::Raw => "rgb",
            format => format.name(),
        }
    }

    /// The format for an output path by its extension: `mp4`, `gif`, `apng`, `png` (one file, so
    /// [`Apng`](Self::Apng), which is a PNG file), `frames` (a folder: [`Png`](Self::Png)) or `rgb`
    /// ([`Raw`](Self::Raw)).
    pub fn from_path(path: impl AsRef<Path>) -> Option<Self> {
        let path = path.as_ref();
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "png" => Some(Self::Apng),
            extension => Self::ALL
                .into_iter()
                .find(|format| format.extension() == extension),
        }
    }
}

impl fmt::Display for VideoFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_extensions_lead_back() {
        for format in VideoFormat::ALL {
            assert_eq!(format.to_string().parse::<VideoFormat>().unwrap(), format);
            let path = Path::new("a.b").with_extension(format.extension());
            assert_eq!(VideoFormat::from_path(&path), Some(format));
        }
        assert_eq!("GIF".parse::<VideoFormat>().unwrap(), VideoFormat::Gif);
        assert_eq!(
            VideoFormat::from_path(Path::new("x.PNG")),
            Some(VideoFormat::Apng)
        );
        assert_eq!(VideoFormat::from_path(Path::new("mp4")), None);
        let error = "webm".parse::<VideoFormat>().unwrap_err().to_string();
        assert_eq!(
            error,
            r#"unknown video format "webm", expected mp4, gif, apng, png or raw"#
        );
    }
}
