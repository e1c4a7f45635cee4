//! The order of frames by the numbers in their names.

use std::cmp::Ordering;

/// The meaning of a point between digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// `1.9` comes before `1.10`.
    Separates,
    /// `0.25` comes before `0.5`.
    Decimal,
}

/// Runs of digits compare as numbers, everything else as text.
pub(super) fn natural_order(a: &str, b: &str, point: Point) -> Ordering {
    let (mut rest_a, mut rest_b) = (a, b);
    // Whether the common part before ends in digits, and then in a point.
    let (mut after_digits, mut after_point) = (false, false);
    while let (Some(x), Some(y)) = (rest_a.chars().next(), rest_b.chars().next()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (digits_a, digits_b) = (take_digits(&mut rest_a), take_digits(&mut rest_b));
            let is_fraction = after_point && point == Point::Decimal;
            (after_digits, after_point) = (true, false);
            if is_fraction {
                let value = |digits: &'_ str| digits.trim_end_matches('0').to_owned();
                value(digits_a).cmp(&value(digits_b))
            } else {
                let number = |digits: &'_ str| digits.trim_start_matches('0').to_owned();
                let (a, b) = (number(digits_a), number(digits_b));
                a.len().cmp(&b.len()).then(a.cmp(&b))
            }
        } else {
            rest_a = &rest_a[x.len_utf8()..];
            rest_b = &rest_b[y.len_utf8()..];
            (after_digits, after_point) = (false, after_digits && x == '.');
            x.cmp(&y)
        };
        if order.is_ne() {
            return order;
        }
    }
    // Names that differ only in leading zeros still have a definite order.
    rest_a.len().cmp(&rest_b.len()).then(a.cmp(b))
}

/// Takes the digits at the start of `text`.
fn take_digits<'a>(text: &mut &'a str) -> &'a str {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted<const N: usize>(mut names: [&str; N], point: Point) -> [&str; N] {
        names.sort_by(|a, b| natural_order(a, b, point));
        names
    }

    #[test]
    fn names_are_in_natural_order() {
        let names = [
            "a10.png", "a9.png", "b1.png", "a09.png", "a.png", "a9x.png", "A1.png",
        ];
        for point in [Point::Separates, Point::Decimal] {
            assert_eq!(
                sorted(names, point),
                [
                    "A1.png", "a.png", "a09.png", "a9.png", "a9x.png", "a10.png", "b1.png"
                ]
            );
            let long = ["99999999999999999999999", "100000000000000000000000"];
            assert_eq!(sorted(long, point), long);
        }
    }

    #[test]
    fn points_have_two_meanings() {
        let names = ["t0.5", "t0.25", "t1.0", "t0.75"];
        assert_eq!(
            sorted(names, Point::Decimal),
            ["t0.25", "t0.5", "t0.75", "t1.0"]
        );
        assert_eq!(
            sorted(names, Point::Separates),
            ["t0.5", "t0.25", "t0.75", "t1.0"]
        );
        // A point after a word is not a decimal point.
        assert_eq!(sorted(["x.10", "x.9"], Point::Decimal), ["x.9", "x.10"]);
    }
}
