//! Which of two versions is the later one.
//!
//! Dotted numbers of any length (`1.4`, `1.4.0`, `2026.11.3`, `v7`), with pre-releases as Semantic Versioning 2.0.0, section 11,
//! orders them. What comes after `+` says nothing of order.

use std::cmp::Ordering;

/// Compares two versions; `None` where one of them is no version of this kind, unless they are the same text.
pub(crate) fn compare(a: &str, b: &str) -> Option<Ordering> {
    if a == b {
        return Some(Ordering::Equal);
    }
    Some(Version::parse(a)?.cmp(&Version::parse(b)?))
}

/// A part of a pre-release. Numbers come before words.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Number(Number<'a>),
    Word(&'a str),
}

/// Digits without leading zeros, of any length: the longer is the larger, and among equally long ones the text decides.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number<'a> {
    length: usize,
    digits: &'a str,
}

impl<'a> Number<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let whole = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let digits = text.trim_start_matches('0');
        whole.then_some(Self { length: digits.len(), digits })
    }

    fn is_zero(&self) -> bool {
        self.length == 0
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Version<'a> {
    /// Without zeros at the end: `1.4` is `1.4.0`.
    numbers: Vec<Number<'a>>,
    /// Empty for a release, which comes after all its pre-releases.
    before: Vec<Part<'a>>,
}

impl<'a> Version<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        let (numbers, before) = text.split_once('-').map_or((text, None), |(numbers, rest)| (numbers, Some(rest)));
        let word =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if build.is_some_and(|build| !build.split('.').all(word)) {
            return None;
        }
        let mut numbers = numbers.split('.').map(Number::parse).collect::<Option<Vec<_>>>()?;
        while numbers.last().is_some_and(Number::is_zero) {
            numbers.pop();
        }
        let part = |text: &'a str| match Number::parse(text) {
            Some(number) => Some(Part::Number(number)),
            None => word(text).then_some(Part::Word(text)),
        };
        let before = before.map_or(Some(Vec::new()), |before| before.split('.').map(part).collect())?;
        Some(Self { numbers, before })
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let release = |version: &Self| version.before.is_empty();
        self.numbers
            .cmp(&other.numbers)
            .then_with(|| release(self).cmp(&release(other)))
            .then_with(|| self.before.cmp(&other.before))
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_versions_come_later() {
        // Each line is in order, and no two of it are the same.
        let ordered: [&[&str]; 4] = [
            &["0", "0.0.1", "0.9", "0.10", "1.0.0-alpha", "1.0.0", "1.0.1", "1.2", "1.10", "2", "10.0"],
            // The example of the specification.
            &[
                "1.0.0-alpha",
                "1.0.0-alpha.1",
                "1.0.0-alpha.beta",
                "1.0.0-beta",
                "1.0.0-beta.2",
                "1.0.0-beta.11",
                "1.0.0-rc.1",
                "1.0.0",
            ],
            &["2026.09.30", "2026.11.3", "2026.11.03.1", "2027.1"],
            &["v1.9", "1.99999999999999999999999999", "1.100000000000000000000000000", "v2"],
        ];
        for line in ordered {
            for (place, earlier) in line.iter().enumerate() {
                assert_eq!(compare(earlier, earlier), Some(Ordering::Equal));
                for later in &line[place + 1..] {
                    assert_eq!(compare(earlier, later), Some(Ordering::Less), "{earlier} {later}");
                    assert_eq!(compare(later, earlier), Some(Ordering::Greater), "{later} {earlier}");
                }
            }
        }
    }

    #[test]
    fn some_are_the_same_written_otherwise() {
        for (a, b) in
            [("1.4", "1.4.0"), ("v1.4", "1.04"), ("1.4+linux", "1.4+arm.7"), ("0", "0.0"), ("nightly", "nightly")]
        {
            assert_eq!(compare(a, b), Some(Ordering::Equal), "{a} {b}");
        }
    }

    #[test]
    fn what_is_no_version_is_not_compared() {
        for text in ["", "nightly", "1..2", "1.x", "1.0-", "1.0-a..b", "1.0+", "-1", "1.0-ä", "v", "1 2"] {
            assert_eq!(compare(text, "1.0"), None, "{text}");
            assert_eq!(compare("1.0", text), None, "{text}");
        }
    }
}
