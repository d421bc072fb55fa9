//! Passwords, kept only as argon2id hashes.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

/// Shortest password that a new account may have.
pub(crate) const SHORTEST: usize = 8;
/// Longest password looked at, in bytes: hashing a megabyte is work that a stranger must not be able to ask for.
pub(crate) const LONGEST: usize = 256;

/// A password could not be hashed: no memory or no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed: {0}")]
pub(crate) struct HashError(String);

/// The argon2id hash in PHC form, with a fresh salt.
///
/// Parameters are the crate's defaults, OWASP's second recommendation (19 MiB, 2 passes, 1 lane): some tens of
/// milliseconds on a gateway, and little enough memory for one.
pub(crate) fn hash(password: &str) -> Result<String, HashError> {
    let hash = Argon2::default().hash_password(password.as_bytes()).map_err(|error| HashError(error.to_string()))?;
    Ok(hash.to_string())
}

/// Whether `password` is the one that was hashed. A hash that does not parse fits no password.
pub(crate) fn verify(password: &str, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    password.len() <= LONGEST && Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_password_fits_its_hash() {
        let hashed = hash("correct horse").unwrap();
        assert!(hashed.starts_with("$argon2id$"), "{hashed}");
        assert!(verify("correct horse", &hashed));
        assert!(!verify("correct horsf", &hashed));
        assert!(!verify("", &hashed));
        assert!(!verify("correct horse", "not a hash"));
    }

    #[test]
    fn two_hashes_of_one_password_differ() {
        assert_ne!(hash("correct horse").unwrap(), hash("correct horse").unwrap());
    }
}
