//! Tokens of machines: long and random, so that one pass of SHA-256 hides them well enough.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::clock;

/// What each begins with, so that people and secret scanners know one when they see it.
const PREFIX: &str = "explaind_";

/// A token that nobody has.
pub(crate) fn fresh() -> String {
    let mut token = PREFIX.to_owned();
    for byte in (0..3).flat_map(|_| clock::random()) {
        // Writing to a string cannot fail.
        let _ = write!(token, "{byte:02x}");
    }
    token
}

/// How what is kept of a token begins.
const DIGEST: &str = "sha256:";

/// Whether this is what is kept of a token, and not of a password.
pub(crate) fn is_digest(kept: &str) -> bool {
    kept.starts_with(DIGEST)
}

/// What is kept of a token. It is no PHC string, so no password fits it.
pub(crate) fn digest(token: &str) -> String {
    let mut text = DIGEST.to_owned();
    for byte in Sha256::digest(token.as_bytes()) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::access::password;

    #[test]
    fn tokens_differ_and_their_digests_open_nothing() {
        let (one, two) = (fresh(), fresh());
        assert_ne!(one, two);
        assert_eq!(one.len(), PREFIX.len() + 60);
        assert_ne!(digest(&one), digest(&two));
        assert!(!password::verify(&one, &digest(&one)), "a token is no password");
        assert!(!password::verify(&digest(&one), &digest(&one)));
    }
}
