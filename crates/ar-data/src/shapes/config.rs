use serde::{Deserialize, Serialize};

/// The colours of the shapes. No two shapes of a clip have the same, so that a shape can be tracked
/// by its colour.
pub const PALETTE: [[u8; 3]; 6] = [
    [235, 50, 50],  // red
    [50, 190, 70],  // green
    [50, 80, 245],  // blue
    [250, 215, 50], // yellow
    [220, 70, 225], // magenta
    [50, 225, 225], // cyan
];

/// A background that is closer than this to a colour of [`PALETTE`], in Euclidean distance of 8-bit
/// values, hides shapes of that colour.
const MIN_CONTRAST: f64 = 100.0;

/// The outline of a shape. Every outline is upright and touches the circle of
/// the shape's radius from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShapeKind {
    /// A disc.
    Circle,
    /// A square standing on a side.
    Square,
    /// An equilateral triangle pointing up.
    Triangle,
    /// A square standing on a corner.
    Diamond,
    /// A plus sign whose arms are a third as wide as it is long.
    Cross,
}

impl ShapeKind {
    /// The name, as in a configuration file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
            Self::Diamond => "diamond",
            Self::Cross => "cross",
        }
    }
}

/// The meaning of a clip's label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelMode {
    /// Clips have no label.
    #[default]
    Off,
    /// All shapes of a clip are of one kind; the label is its index in
    /// [`ShapesConfig::shapes`].
    Kind,
    /// The label is the number of shapes minus [`ShapesConfig::min_shapes`].
    Count,
}

/// Configuration of the world of bouncing shapes.
///
/// Lengths are fractions of the frame's width and times are in frames, so that `size` and `frames`
/// only change the resolution and the length of the same scenes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShapesConfig {
    /// Width and height in pixels.
    pub size: usize,
    /// Frames per clip.
    pub frames: usize,
    /// Fewest shapes in a clip.
    pub min_shapes: usize,
    /// Most shapes in a clip.
    pub max_shapes: usize,
    /// Smallest radius, as a fraction of the frame's width.
    pub min_radius: f64,
    /// Largest radius, as a fraction of the frame's width.
    pub max_radius: f64,
    /// Lowest starting speed, in frame widths per frame.
    pub min_speed: f64,
    /// Highest starting speed, in frame widths per frame.
    pub max_speed: f64,
    /// Whether shapes bounce off each other instead of passing over each other.
    pub collide: bool,
    /// The kinds that occur, equally often.
    pub shapes: Vec<ShapeKind>,
    /// The meaning of a clip's label.
    pub labels: LabelMode,
    /// Colour of the background, `[red, green, blue]`.
    pub background: [u8; 3],
}

impl Default for ShapesConfig {
    fn default() -> Self {
        Self {
            size: 64,
            frames: 16,
            min_shapes: 1,
            max_shapes: 3,
            min_radius: 0.10,
            max_radius: 0.18,
            min_speed: 0.02,
            max_speed: 0.06,
            collide: true,
            shapes: vec![ShapeKind::Circle, ShapeKind::Square, ShapeKind::Triangle],
            labels: LabelMode::Off,
            background: [16, 16, 24],
        }
    }
}

/// An invalid [`ShapesConfig`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapesError {
    /// A number is outside its range.
    #[error("shapes: {field} is {value}, but has to be {expected}")]
    OutOfRange {
        /// The field of [`ShapesConfig`].
        field: &'static str,
        /// Its value.
        value: String,
        /// The valid values.
        expected: String,
    },
    /// A lower bound is above its upper bound.
    #[error("shapes: {min_field} is {min}, above {max_field}, which is {max}")]
    Reversed {
        /// The field of [`ShapesConfig`] with the lower bound.
        min_field: &'static str,
        /// The lower bound.
        min: String,
        /// The field with the upper bound.
        max_field: &'static str,
        /// The upper bound.
        max: String,
    },
    /// The smallest shapes would be specks.
    #[error(
        "shapes: a min_radius of {min_radius} is {pixels} pixels at size {size}; \
         raise min_radius or size until it is at least 2"
    )]
    TooSmall {
        /// The radius as a string, as a fraction of the frame's width.
        min_radius: String,
        /// The same in pixels.
        pixels: String,
        /// The side in pixels.
        size: usize,
    },
    /// This many shapes of this radius may not fit side by side.
    #[error(
        "shapes: {max_shapes} shapes of radius {max_radius} may not fit side by side; \
         max_shapes can be at most {fit} at this max_radius"
    )]
    TooCrowded {
        /// The requested number of shapes.
        max_shapes: usize,
        /// The largest radius as a string, as a fraction of the frame's width.
        max_radius: String,
        /// The number that always fits.
        fit: usize,
    },
    /// There is no kind of shape to draw.
    #[error(
        "shapes: shapes is empty; name at least one of circle, square, triangle, diamond, cross"
    )]
    NoKinds,
    /// A kind is listed twice.
    #[error("shapes: shapes lists {0} more than once")]
    RepeatedKind(&'static str),
    /// Shapes of some colour could not be distinguished from the background.
    #[error(
        "shapes: the background {background:?} is too close to the shape colour {colour:?}; \
         choose a darker or a lighter one"
    )]
    NoContrast {
        /// The background.
        background: [u8; 3],
        /// The colour of [`PALETTE`] nearest to it.
        colour: [u8; 3],
    },
}

impl ShapesError {
    /// The fields of [`ShapesConfig`] that caused the error.
    pub fn keys(&self) -> Vec<&'static str> {
        match self {
            Self::OutOfRange { field, .. } => vec![field],
            Self::Reversed {
                min_field,
                max_field,
                ..
            } => vec![min_field, max_field],
            Self::TooSmall { .. } => vec!["min_radius", "size"],
            Self::TooCrowded { .. } => vec!["max_shapes", "max_radius"],
            Self::NoKinds | Self::RepeatedKind(_) => vec!["shapes"],
            Self::NoContrast { .. } => vec!["background"],
        }
    }
}

impl ShapesConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// Names the first field that is out of range or does not fit the others.
    pub fn validate(&self) -> Result<(), ShapesError> {
        at_least("size", self.size, 8)?;
        at_least("frames", self.frames, 1)?;
        at_least("min_shapes", self.min_shapes, 1)?;
        if self.max_shapes > PALETTE.len() {
            return Err(ShapesError::OutOfRange {
                field: "max_shapes",
                value: self.max_shapes.to_string(),
                expected: format!("at most {}, the number of colours", PALETTE.len()),
            });
        }
        ordered("min_shapes", self.min_shapes, "max_shapes", self.max_shapes)?;

        between("min_radius", self.min_radius, 0.01, 0.4)?;
        between("max_radius", self.max_radius, 0.01, 0.4)?;
        ordered("min_radius", self.min_radius, "max_radius", self.max_radius)?;
        let pixels = self.min_radius * self.size as f64;
        if pixels < 2.0 {
            return Err(ShapesError::TooSmall {
                min_radius: self.min_radius.to_string(),
                pixels: format!("{pixels:.1}"),
                size: self.size,
            });
        }
        let side = self.grid_side();
        if self.max_shapes > side * side {
            return Err(ShapesError::TooCrowded {
                max_shapes: self.max_shapes,
                max_radius: self.max_radius.to_string(),
                fit: side * side,
            });
        }

        between("min_speed", self.min_speed, 0.0, 1.0)?;
        between("max_speed", self.max_speed, 0.0, 1.0)?;
        ordered("min_speed", self.min_speed, "max_speed", self.max_speed)?;

        if self.shapes.is_empty() {
            return Err(ShapesError::NoKinds);
        }
        for (i, kind) in self.shapes.iter().enumerate() {
            if self.shapes[..i].contains(kind) {
                return Err(ShapesError::RepeatedKind(kind.name()));
            }
        }
        for colour in PALETTE {
            if distance(self.background, colour) < MIN_CONTRAST {
                return Err(ShapesError::NoContrast {
                    background: self.background,
                    colour,
                });
            }
        }
        Ok(())
    }

    /// Cells along a side of the grid in which the largest shapes fit, one per cell.
    pub(super) fn grid_side(&self) -> usize {
        (0.5 / self.max_radius).floor() as usize
    }
}

fn at_least(field: &'static str, value: usize, least: usize) -> Result<(), ShapesError> {
    if value >= least {
        return Ok(());
    }
    Err(ShapesError::OutOfRange {
        field,
        value: value.to_string(),
        expected: format!("at least {least}"),
    })
}

/// NaN is outside every range.
fn between(field: &'static str, value: f64, low: f64, high: f64) -> Result<(), ShapesError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(ShapesError::OutOfRange {
        field,
        value: value.to_string(),
        expected: format!("from {low} to {high}"),
    })
}

fn ordered<T: PartialOrd + ToString>(
    min_field: &'static str,
    min: T,
    max_field: &'static str,
    max: T,
) -> Result<(), ShapesError> {
    if min <= max {
        return Ok(());
    }
    Err(ShapesError::Reversed {
        min_field,
        min: min.to_string(),
        max_field,
        max: max.to_string(),
    })
}

fn distance(a: [u8; 3], b: [u8; 3]) -> f64 {
    let squares = (0..3).map(|i| (f64::from(a[i]) - f64::from(b[i])).powi(2));
    squares.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(change: impl FnOnce(&mut ShapesConfig)) -> String {
        let mut config = ShapesConfig::default();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    }

    #[test]
    fn default_is_valid() {
        assert_eq!(ShapesConfig::default().validate(), Ok(()));
        let white = ShapesConfig {
            background: [255; 3],
            ..Default::default()
        };
        assert_eq!(white.validate(), Ok(()));
    }

    #[test]
    fn messages_say_what_is_wrong_and_what_would_be_right() {
        assert_eq!(
            message(|c| c.size = 7),
            "shapes: size is 7, but has to be at least 8"
        );
        assert_eq!(
            message(|c| c.frames = 0),
            "shapes: frames is 0, but has to be at least 1"
        );
        assert_eq!(
            message(|c| c.max_shapes = 7),
            "shapes: max_shapes is 7, but has to be at most 6, the number of colours"
        );
        assert_eq!(
            message(|c| c.min_shapes = 4),
            "shapes: min_shapes is 4, above max_shapes, which is 3"
        );
        assert_eq!(
            message(|c| c.max_radius = 0.6),
            "shapes: max_radius is 0.6, but has to be from 0.01 to 0.4"
        );
        assert_eq!(
            message(|c| c.max_speed = f64::NAN),
            "shapes: max_speed is NaN, but has to be from 0 to 1"
        );
        assert_eq!(
            message(|c| c.max_speed = 0.01),
            "shapes: min_speed is 0.02, above max_speed, which is 0.01"
        );
        assert_eq!(
            message(|c| c.size = 16),
            "shapes: a min_radius of 0.1 is 1.6 pixels at size 16; \
             raise min_radius or size until it is at least 2"
        );
        assert_eq!(
            message(|c| (c.max_shapes, c.max_radius) = (5, 0.25)),
            "shapes: 5 shapes of radius 0.25 may not fit side by side; \
             max_shapes can be at most 4 at this max_radius"
        );
        assert!(message(|c| c.shapes.clear()).starts_with("shapes: shapes is empty"));
        assert_eq!(
            message(|c| c.shapes.push(ShapeKind::Circle)),
            "shapes: shapes lists circle more than once"
        );
        assert_eq!(
            message(|c| c.background = [200, 30, 60]),
            "shapes: the background [200, 30, 60] is too close to the shape colour \
             [235, 50, 50]; choose a darker or a lighter one"
        );
    }

    #[test]
    fn colours_are_distinct() {
        for (i, &a) in PALETTE.iter().enumerate() {
            for &b in &PALETTE[..i] {
                assert!(distance(a, b) > 140.0, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn reads_toml_and_refuses_unknown_fields() {
        let config: ShapesConfig =
            toml::from_str("size = 32\nshapes = [\"cross\"]\nlabels = \"count\"").unwrap();
        assert_eq!((config.size, config.frames), (32, 16));
        assert_eq!(config.shapes, [ShapeKind::Cross]);
        assert_eq!(config.labels, LabelMode::Count);
        let error = toml::from_str::<ShapesConfig>("sise = 32").unwrap_err();
        assert!(
            error.to_string().contains("unknown field `sise`"),
            "{error}"
        );
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<ShapesConfig>(&text).unwrap(), config);
    }
}
