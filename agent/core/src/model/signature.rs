//! Who vouches for a bundle: a minisign signature of its `SHA256SUMS`, which in turn has the digest of every other file.
//!
//! The format is minisign's own, so that its tool checks our signatures and we check those that it made. Only checking is
//! here: a gateway holds no secret key.

use super::bundle::{self, Files, SIGNATURE, SUMS};
use super::error::{BundleError, Place};

/// Somebody's public key, as minisign writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(minisign_verify::PublicKey);

impl PublicKey {
    /// Reads `minisign.pub`, or only its second line.
    ///
    /// # Errors
    /// A sentence, without the file's name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        minisign_verify::PublicKey::from_base64(line.trim())
            .map(Self)
            .map_err(|_| "this is no public key of minisign; name the .pub file that `minisign -G` wrote".to_owned())
    }
}

/// Checks that one of the keys signed the bundle's `SHA256SUMS`; gives the comment that was signed with it.
///
/// Whether `SHA256SUMS` is true to the other files is [`bundle::check`]'s question: ask both.
///
/// # Errors
/// [`BundleError::Unsigned`], [`BundleError::Signature`], or [`BundleError::Invalid`] for a signature that is none.
pub fn check(files: &Files, keys: &[PublicKey]) -> Result<String, BundleError> {
    let signed = bundle::file(files, SUMS)?;
    if !files.contains_key(SIGNATURE) {
        return Err(BundleError::Unsigned);
    }
    let text = bundle::text(files, SIGNATURE)?;
    let broken = || BundleError::at(Place::file(SIGNATURE), "this is no minisign signature; sign the bundle again");
    // What is not signed should not be there to be read.
    if text.lines().count() != 4 || !text.starts_with("untrusted comment: ") {
        return Err(broken());
    }
    let signature = minisign_verify::Signature::decode(text).map_err(|_| broken())?;
    match keys.iter().any(|key| key.0.verify(signed, &signature, true).is_ok()) {
        true => Ok(signature.trusted_comment().to_owned()),
        false => Err(BundleError::Signature { keys: keys.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with minisign 0.11: `minisign -G -W`, `minisign -S -m SHA256SUMS -t "for tests"`, and the same with -l.
    const KEY: &str = "untrusted comment: minisign public key 5CC4A323F4AD7628\n\
RWQodq30I6PEXKzzqS8Ew/yeZS/dlG9gaO6EsbU3kqlayG994DRXfOdN\n\
";
    const OTHER: &str = "untrusted comment: minisign public key B16BFA245FCB4231\n\
RWQxQstfJPprsVlpHYJWbwzUK0LcZCI5DoMgKYVen8TlQVUhEpDg/K73\n\
";
    const SIGNED: &str = "untrusted comment: signature from minisign secret key\n\
RUQodq30I6PEXNo0lukYSKgMnYPviDsAzwHebCVqjBsOithLvzSkPHkzlgvDDeDFjUQW9rbviQaGXUif48GyzbK5dUwLRahZwwI=\n\
trusted comment: for tests\n\
Zeun1QCUrQC7VHPeJCrJYVc77X8HMGE+k2Z94ddA1IGp7I4UdM7CTKQ4M9EyosbBshmITZiLx5bqsizXPqbkAg==\n\
";
    const LEGACY: &str = "untrusted comment: signature from minisign secret key\n\
RWQodq30I6PEXL7SS+02ARdv/rqO+Ni5bPyYzsbzKK5KCNb4ZrFCIyEgKvADUe0rYJ/QZCtybfPDyPPhu0zHMcL3PdE1rvuSUwE=\n\
trusted comment: for tests\n\
/F36MtOJr3rIjdVsKfdPYxT6BhkZ6QqE1hhqvyGX4dPcE23SMbpi2C9CrcNSjnl8S3LNg+irjXPUFT9V7HdyBg==\n\
";
    const TEXT: &str = "what is signed\n";

    fn files(sums: &str, signature: &str) -> Files {
        Files::from([(SUMS.to_owned(), sums.into()), (SIGNATURE.to_owned(), signature.into())])
    }

    #[test]
    fn what_minisign_signed_is_accepted_with_its_key_only() {
        let (key, other) = (PublicKey::parse(KEY).unwrap(), PublicKey::parse(OTHER).unwrap());
        for signature in [SIGNED, LEGACY] {
            let files = files(TEXT, signature);
            assert_eq!(check(&files, std::slice::from_ref(&key)).as_deref(), Ok("for tests"));
            assert!(check(&files, &[other.clone(), key.clone()]).is_ok());
            let refused = check(&files, std::slice::from_ref(&other)).unwrap_err();
            assert_eq!(refused, BundleError::Signature { keys: 1 });
        }
        assert!(check(&files("What is signed\n", SIGNED), std::slice::from_ref(&key)).is_err());
        let unsigned = Files::from([(SUMS.to_owned(), TEXT.into())]);
        assert_eq!(check(&unsigned, &[key]), Err(BundleError::Unsigned));
    }

    #[test]
    fn no_byte_of_what_is_signed_can_be_changed() {
        let key = [PublicKey::parse(KEY).unwrap()];
        let unsigned = SIGNED.find('\n').unwrap();
        for place in unsigned..SIGNED.len() - 1 {
            for change in [1, 2, 0x20, 0x80] {
                let mut bytes = SIGNED.as_bytes().to_vec();
                bytes[place] ^= change;
                let changed = Files::from([(SUMS.to_owned(), TEXT.into()), (SIGNATURE.to_owned(), bytes)]);
                assert!(check(&changed, &key).is_err(), "byte {place} with {change:#x}");
            }
        }
        for text in ["", "\n\n\n\n", &SIGNED[..SIGNED.len() / 2], &format!("{SIGNED}more\n")] {
            assert!(check(&files(TEXT, text), &key).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_is_read_with_or_without_its_comment() {
        let alone = KEY.lines().nth(1).unwrap();
        assert_eq!(PublicKey::parse(alone), PublicKey::parse(KEY));
        for text in ["", "untrusted comment: x\n", "RWQ", SIGNED, &KEY[..KEY.len() - 4]] {
            assert!(PublicKey::parse(text).is_err(), "{text}");
        }
    }
}
