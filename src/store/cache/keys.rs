//! Keys that sign what lies in caches (`nix-store --generate-binary-cache-key`): ed25519, written as `<name>:<base64>`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

/// Why a text is no key or signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No colon, or no name before it.
    #[error("a key or signature has the form NAME:BASE64")]
    Form,
    /// What stands after the colon.
    #[error("'{0}': what stands after the colon is no base64 of {1} bytes")]
    Bytes(String, usize),
    /// The bytes are no point of the curve, or the halves of a secret key don't belong together.
    #[error("'{0}' is no valid key")]
    Invalid(String),
}

/// The name that a key was given, `cache.example.org-1`, and its bytes.
fn parts<const N: usize>(text: &str) -> Result<(String, Zeroizing<[u8; N]>), KeyError> {
    let (name, rest) = text.trim().split_once(':').ok_or(KeyError::Form)?;
    if name.is_empty() || name.chars().any(char::is_whitespace) {
        return Err(KeyError::Form);
    }
    let bad = || KeyError::Bytes(name.chars().take(100).collect(), N);
    let bytes = Zeroizing::new(STANDARD.decode(rest.trim()).map_err(|_| bad())?);
    let bytes = <[u8; N]>::try_from(bytes.as_slice()).map_err(|_| bad())?;
    Ok((name.to_owned(), Zeroizing::new(bytes)))
}

/// A key that signatures are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

impl PublicKey {
    /// What signatures name it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `signature` (`<name>:<base64>`) is one of `text` by this key.
    pub fn verifies(&self, text: &str, signature: &str) -> bool {
        let Ok((name, bytes)) = parts::<64>(signature) else {
            return false;
        };
        name == self.name
            && self
                .key
                .verify_strict(text.as_bytes(), &Signature::from_bytes(&bytes))
                .is_ok()
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, bytes) = parts::<32>(text)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Invalid(name.clone()))?;
        Ok(Self { name, key })
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, STANDARD.encode(self.key.as_bytes()))
    }
}

/// A key that signs.
pub struct SecretKey {
    name: String,
    key: SigningKey,
}

impl SecretKey {
    /// A new one, of the kernel's randomness.
    ///
    /// # Errors
    /// A name with a colon or a space in it; a kernel that gives no randomness.
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        if name.is_empty() || name.contains(|c: char| c == ':' || c.is_whitespace()) {
            return Err(KeyError::Form);
        }
        let mut seed = Zeroizing::new([0u8; 32]);
        crate::sys::random::fill(&mut *seed).map_err(|_| KeyError::Invalid(name.to_owned()))?;
        Ok(Self {
            name: name.to_owned(),
            key: SigningKey::from_bytes(&seed),
        })
    }

    /// The one that checks its signatures.
    pub fn public(&self) -> PublicKey {
        PublicKey {
            name: self.name.clone(),
            key: self.key.verifying_key(),
        }
    }

    /// `<name>:<base64>`, the signature of `text`.
    pub fn sign(&self, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes());
        format!("{}:{}", self.name, STANDARD.encode(signature.to_bytes()))
    }

    /// As it's kept in a file.
    pub fn text(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new(self.key.to_keypair_bytes());
        Zeroizing::new(format!("{}:{}", self.name, STANDARD.encode(*bytes)))
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, bytes) = parts::<64>(text)?;
        let key = SigningKey::from_keypair_bytes(&bytes).map_err(|_| KeyError::Invalid(name.clone()))?;
        Ok(Self { name, key })
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({})", self.name)
    }
}
