//! Digests of files.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value};
use sha2::Digest as _;

use crate::{Error, macros::text_type};

/// A SHA-256 digest; as text, 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The digest of all of these, one after the other.
    #[must_use]
    pub fn of_all(parts: &[&[u8]]) -> Self {
        Self(parts.iter().fold(sha2::Sha256::new(), |digest, part| digest.chain_update(part)).finalize().into())
    }

    /// The digest's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, Error> {
        parse_hex(text).map(Self).ok_or_else(|| Error::invalid("sha256", text, "64 lower-case hexadecimal digits"))
    }
}

impl From<[u8; 32]> for Sha256 {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for Sha256 {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Self, Error> {
        let checked = <[u8; 32]>::try_from(bytes);
        checked.map(Self).map_err(|_| Error::invalid("sha256", format!("{} bytes", bytes.len()), "32 bytes"))
    }
}

/// Exactly `N` bytes of lower-case hexadecimal digits.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    (!text.bytes().any(|byte| byte.is_ascii_uppercase())).then_some(bytes)
}

impl fmt::Display for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 64];
        // The buffer has the right size, so this can't fail.
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        formatter.pad(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

text_type!(Sha256);

/// The hash algorithms whose digests are checked for their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// SHA-256, 32 bytes; always present.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
    /// BLAKE2b with a digest of 32 bytes.
    Blake2b256,
}

impl HashAlgorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha512, Self::Blake2b256];

    /// The name in metadata.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Blake2b256 => "blake2b-256",
        }
    }

    /// Bytes of a digest.
    #[must_use]
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Sha256 | Self::Blake2b256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
            .ok_or_else(|| Error::none_of("hash algorithm", text, Self::ALL.map(Self::as_str)))
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

text_type!(HashAlgorithm);

/// The digests of one file: SHA-256, and any others besides.
///
/// Digests of algorithms that are not known here are kept as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes {
    sha256: Sha256,
    /// By algorithm; hexadecimal digits if it is a known one.
    others: BTreeMap<String, String>,
}

impl Hashes {
    /// The SHA-256 alone.
    #[must_use]
    pub fn sha256(digest: Sha256) -> Self {
        Self { sha256: digest, others: BTreeMap::new() }
    }

    /// The same with one more digest, or another one of an algorithm that is there.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the digest has not the algorithm's size.
    pub fn with(mut self, algorithm: HashAlgorithm, digest: &[u8]) -> Result<Self, Error> {
        if algorithm == HashAlgorithm::Sha256 {
            self.sha256 = Sha256::try_from(digest)?;
        } else {
            self.insert(algorithm.as_str(), &hex::encode(digest))?;
        }
        Ok(self)
    }

    /// From pairs of algorithm and hexadecimal digits.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a digest that is malformed or an algorithm that comes twice, [`Error::Missing`] without
    /// `sha256`.
    pub fn from_hex<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Error> {
        let mut sha256 = None;
        let mut hashes = Self::sha256(Sha256([0; 32]));
        for (algorithm, digits) in pairs {
            let twice = if algorithm == HashAlgorithm::Sha256.as_str() {
                sha256.replace(Sha256::parse(digits)?).is_some()
            } else {
                hashes.insert(algorithm, digits)?.is_some()
            };
            if twice {
                return Err(Error::invalid("hashes", algorithm, "every algorithm once"));
            }
        }
        hashes.sha256 = sha256.ok_or_else(|| Error::Missing { field: "hashes.sha256".to_owned() })?;
        Ok(hashes)
    }

    /// The digest that stood there before, if one did.
    fn insert(&mut self, name: &str, digits: &str) -> Result<Option<String>, Error> {
        let well_formed = name.parse::<HashAlgorithm>().map_or(true, |algorithm| {
            let lower = !digits.bytes().any(|byte| byte.is_ascii_uppercase());
            lower && hex::decode(digits).is_ok_and(|digest| digest.len() == algorithm.digest_bytes())
        });
        if !well_formed {
            return Err(Error::invalid(name, digits, "as many lower-case hexadecimal digits as the algorithm has"));
        }
        Ok(self.others.insert(name.to_owned(), digits.to_owned()))
    }

    /// The SHA-256.
    #[must_use]
    pub fn as_sha256(&self) -> Sha256 {
        self.sha256
    }

    /// Whether there are no others.
    pub(crate) fn is_sha256_alone(&self) -> bool {
        self.others.is_empty()
    }

    /// The digest of a known algorithm, if it is there.
    #[must_use]
    pub fn get(&self, algorithm: HashAlgorithm) -> Option<Vec<u8>> {
        match algorithm {
            HashAlgorithm::Sha256 => Some(self.sha256.0.to_vec()),
            other => self.others.get(other.as_str()).and_then(|digits| hex::decode(digits).ok()),
        }
    }

    pub(crate) fn from_value(value: &Value) -> Result<Self, Error> {
        let object = value.as_object().ok_or_else(|| Error::invalid("hashes", value, "an object"))?;
        if let Some((name, _)) = object.iter().find(|(_, value)| !value.is_string()) {
            return Err(Error::invalid("hashes", name, "names of algorithms with strings"));
        }
        Self::from_hex(object.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default())))
    }

    pub(crate) fn to_value(&self) -> Value {
        self.iter().map(|(name, digits)| (name.to_owned(), digits.into())).collect::<Map<_, _>>().into()
    }

    /// All digests, by the algorithm's name in metadata, as hexadecimal digits.
    pub fn iter(&self) -> impl Iterator<Item = (&str, String)> {
        let others = self.others.iter().map(|(name, digits)| (name.as_str(), digits.clone()));
        std::iter::once((HashAlgorithm::Sha256.as_str(), self.sha256.to_string())).chain(others)
    }
}

impl From<Sha256> for Hashes {
    fn from(digest: Sha256) -> Self {
        Self::sha256(digest)
    }
}
