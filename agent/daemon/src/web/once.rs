//! Does once what is asked for twice: a form that was pressed twice, or sent again because its answer was lost.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::problem::Problem;

/// Forms remembered. Whoever sends one again does so within minutes.
const MOST: usize = 1000;
/// The field that tells one filling-in of a form from the next.
const KEY: &str = "key";

/// One filling-in of a form by one person: a digest of all that it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark([u8; 32]);

impl Mark {
    /// `None` where the form carries no key: then every time is another.
    pub(crate) fn of(author: &str, about: &str, fields: &[(String, String)]) -> Option<Self> {
        fields.iter().find(|(name, value)| name == KEY && !value.is_empty())?;
        let mut digest = Sha256::new();
        let said = fields.iter().filter(|(name, _)| name != "csrf").flat_map(|(name, value)| [name.as_str(), value]);
        for text in [author, about].into_iter().chain(said) {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
        Some(Self(digest.finalize().into()))
    }
}

/// The forms that were taken in lately.
#[derive(Default)]
pub(crate) struct Once(Mutex<VecDeque<Mark>>);

impl Once {
    /// Does the work, unless it was done for this form already. Others wait meanwhile, so that of two that come at once
    /// the second finds what the first has done.
    pub(crate) fn each(&self, mark: Option<Mark>, work: impl FnOnce() -> Result<(), Problem>) -> Result<(), Problem> {
        let Some(mark) = mark else { return work() };
        let mut done = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if done.contains(&mark) {
            return Ok(());
        }
        work()?;
        done.push_back(mark);
        if done.len() > MOST {
            done.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_form_is_the_same_when_all_it_says_is_and_it_has_a_key() {
        let mark = |who: &str, about: &str, pairs: &[(&str, &str)]| Mark::of(who, about, &form(pairs));
        let first = mark("anna", "alert 1", &[("csrf", "x"), ("key", "1"), ("verdict", "confirm")]);
        assert!(first.is_some());
        assert_eq!(first, mark("anna", "alert 1", &[("csrf", "y"), ("key", "1"), ("verdict", "confirm")]));
        for other in [
            mark("ben", "alert 1", &[("key", "1"), ("verdict", "confirm")]),
            mark("anna", "alert 2", &[("key", "1"), ("verdict", "confirm")]),
            mark("anna", "alert 1", &[("key", "2"), ("verdict", "confirm")]),
            mark("anna", "alert 1", &[("key", "1"), ("verdict", "reject")]),
            mark("anna", "alert 1", &[("key", "1verdict"), ("", "confirm")]),
            mark("anna", "alert 1", &[("key", ""), ("verdict", "confirm")]),
            mark("anna", "alert 1", &[("verdict", "confirm")]),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn work_is_done_once_per_form_and_again_after_it_failed() {
        let once = Once::default();
        let mark = Mark::of("anna", "alert 1", &form(&[("key", "1")]));
        let mut count = 0;
        assert!(once.each(mark, || Err(Problem::busy("not now"))).is_err());
        for _ in 0..3 {
            once.each(mark, || {
                count += 1;
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(count, 1);
        once.each(None, || {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count, 2);
        for n in 0..MOST + 5 {
            let mark = Mark::of("anna", "alert 1", &form(&[("key", &n.to_string())]));
            once.each(mark, || Ok(())).unwrap();
        }
        assert_eq!(once.0.lock().unwrap().len(), MOST);
    }
}
