//! Which language somebody reads.

use super::catalogue::{Catalogue, ENGLISH, GERMAN};

/// A language in which sentences can be had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// German.
    German,
}

impl Language {
    pub(super) fn catalogue(self) -> &'static Catalogue {
        match self {
            Self::English => &ENGLISH,
            Self::German => &GERMAN,
        }
    }

    /// The two letters that name it, as in HTML.
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// The language that a tag names, with or without a country: `de`, `de-AT`, `de_DE.UTF-8`.
    pub fn named(tag: &str) -> Option<Self> {
        let primary = tag.trim().split(['-', '_', '.', '@']).next().unwrap_or_default();
        [Self::English, Self::German].into_iter().find(|language| language.code().eq_ignore_ascii_case(primary))
    }

    /// The language that a browser's `Accept-Language` likes best among ours: `de-AT,de;q=0.9,en;q=0.5`.
    ///
    /// Of equally good ones the first; English where none is named.
    pub fn accepted(header: &str) -> Self {
        let mut best = (0.0, Self::default());
        for part in header.split(',') {
            let mut parts = part.split(';');
            let Some(language) = parts.next().and_then(Self::named) else { continue };
            let weight = parts.find_map(|part| part.trim().strip_prefix("q="));
            let weight = weight.map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0));
            if weight > best.0 {
                best = (weight, language);
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_liked_language_that_we_have_is_taken() {
        use Language::{English, German};
        for (header, expected) in [
            ("de-AT,de;q=0.9,en;q=0.5", German),
            ("en-US,en;q=0.9,de;q=0.8", English),
            ("fr,de;q=0.3", German),
            ("de;q=0.2, en;q=0.7", English),
            ("de;q=0", English),
            ("DE", German),
            ("zh", English),
            ("", English),
            ("de;q=much,;;,en;q=", English),
        ] {
            assert_eq!(Language::accepted(header), expected, "{header}");
        }
        assert_eq!(Language::named("de_DE.UTF-8"), Some(German));
        assert_eq!(Language::named("C.UTF-8"), None);
        assert_eq!(Language::named("deutsch"), None);
    }
}
