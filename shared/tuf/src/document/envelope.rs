//! Signed documents as they travel: `{"signatures": [...], "signed": {...}}` (TUF specification, section 4.2).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Document, read_header, signed::Signed, targets::ROLE_FIELD};
use crate::{
    Error, KeyId, RoleKeys, Sha256, Signature, TopLevel, Version, canonical::Writer, fields::Fields, json, key::Keys,
};

/// Largest document that is read or made, in bytes: 16 MiB.
pub const DOCUMENT_BYTES_MAX: usize = 16 << 20;

/// Room kept for the signatures of a document that is made.
const SIGNATURES_BYTES_MAX: usize = 64 << 10;

/// A received document, parsed once. Its signatures are over the bytes received, whatever this crate understands of
/// them.
#[derive(Debug, Clone)]
pub struct Envelope {
    signed: Signed,
    signatures: Vec<Signature>,
    role_type: TopLevel,
    version: Version,
    expires: jiff::Timestamp,
    sha256: Sha256,
    length: u64,
}

impl Envelope {
    /// Parses a document strictly; its contents are checked by [`Envelope::decode`], its signatures by
    /// [`Envelope::verify`].
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Json`], or the field at fault; so for a key id that signs twice.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(Error::TooLarge { bytes: bytes.len(), allowed: DOCUMENT_BYTES_MAX });
        }
        let (signatures, signed) = match Signed::scan(bytes) {
            Some((signatures, signed)) => (read_signatures(&signatures)?, signed),
            None => parse_any(bytes)?,
        };
        let role_type = signed.fields("signed")?.text("_type")?.parse();
        let role_type = role_type.map_err(|error: Error| error.within("_type"))?;
        let (version, expires) = read_header(&mut signed.fields("signed")?, role_type)?;
        Ok(Self {
            signed,
            signatures,
            role_type,
            version,
            expires,
            sha256: Sha256::of(bytes),
            length: bytes.len() as u64,
        })
    }

    /// Checks the document's type.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn check_type(&self, expected: TopLevel) -> Result<(), Error> {
        let found = self.role_type;
        if found == expected { Ok(()) } else { Err(Error::WrongType { expected, found }) }
    }

    /// Checks that keys of `role` signed, as many as its threshold asks for, and says which.
    ///
    /// A key counts once, even if it stood under two ids. Signatures of other keys are not looked at.
    ///
    /// # Errors
    /// [`Error::Threshold`].
    pub fn verify(&self, keys: &Keys, role: &RoleKeys) -> Result<BTreeSet<KeyId>, Error> {
        let mut valid = BTreeSet::new();
        let mut counted = BTreeSet::new();
        for signature in &self.signatures {
            let key = keys.get(&signature.keyid).filter(|_| role.contains(&signature.keyid));
            if let Some(key) = key.filter(|key| key.verify(self.canonical(), &signature.sig))
                && counted.insert(key.as_ed25519())
            {
                valid.insert(signature.keyid);
            }
        }
        let count = u32::try_from(valid.len()).unwrap_or(u32::MAX);
        if count < role.threshold() {
            return Err(Error::Threshold { document: self.role_type, valid: count, threshold: role.threshold() });
        }
        Ok(valid)
    }

    /// Reads the contents, which need not be verified yet.
    ///
    /// # Errors
    /// [`Error::WrongType`], or the field at fault.
    pub fn decode<T: Document>(&self) -> Result<T, Error> {
        T::from_signed(&self.signed)
    }

    /// The document's type.
    #[must_use]
    pub fn role_type(&self) -> TopLevel {
        self.role_type
    }

    /// The delegated role it says it is of; others' documents need not say it.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.signed.text_of(ROLE_FIELD)
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// When it expires.
    #[must_use]
    pub fn expires(&self) -> jiff::Timestamp {
        self.expires
    }

    /// The SHA-256 of the bytes received, signatures included.
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// How many bytes were received.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The paths that a targets document lists, as it names them.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &str> {
        self.signed.entries().map(|(path, _)| path)
    }

    /// The bytes that the signatures are over.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        self.signed.canonical()
    }

    /// All signatures, valid or not.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }
}

/// Reads a document that is not canonical as it came.
fn parse_any(bytes: &[u8]) -> Result<(Vec<Signature>, Signed), Error> {
    let Value::Object(mut object) = json::parse(bytes)? else {
        return Err(Error::invalid("document", "no object", "an object of signatures and signed"));
    };
    let mut take = |field: &str| object.remove(field).ok_or_else(|| Error::Missing { field: field.to_owned() });
    let signatures = read_signatures(&take("signatures")?)?;
    Ok((signatures, Signed::of(take("signed")?)?))
}

fn read_signatures(list: &Value) -> Result<Vec<Signature>, Error> {
    let list = list.as_array().ok_or_else(|| Error::invalid("signatures", list, "an array"))?;
    let mut signed_by = BTreeSet::new();
    let signatures = list.iter().map(|value| {
        let mut fields = Fields::new(value, "signature")?;
        let (keyid, digits) = (fields.text("keyid")?.parse()?, fields.text("sig")?);
        let sig = hex::decode(digits).map_err(|_| Error::invalid("sig", digits, "hexadecimal digits"))?;
        if !signed_by.insert(keyid) {
            return Err(Error::invalid("keyid", keyid, "every key id once"));
        }
        Ok(Signature { keyid, sig })
    });
    signatures.collect::<Result<_, _>>().map_err(|error| error.within("signatures"))
}

/// A document that is to be signed: what to sign, and how it becomes the bytes that are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    canonical: Vec<u8>,
    /// The same as JSON, where that is different: canonical JSON leaves control characters as they are.
    json: Option<Vec<u8>>,
}

impl Unsigned {
    /// Writes `document` down.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a number out of bounds, [`Error::TooLarge`].
    pub fn new(document: &impl Document) -> Result<Self, Error> {
        let write = |mut writer: Writer| document.write_signed(&mut writer).map(|()| writer.into_bytes());
        let canonical = write(Writer::canonical())?;
        let json = canonical.iter().any(|byte| *byte < b' ').then(|| write(Writer::json())).transpose()?;
        let (bytes, allowed) = (json.as_ref().unwrap_or(&canonical).len(), DOCUMENT_BYTES_MAX - SIGNATURES_BYTES_MAX);
        if bytes > allowed {
            return Err(Error::TooLarge { bytes, allowed });
        }
        Ok(Self { canonical, json })
    }

    /// The bytes to sign.
    #[must_use]
    pub fn to_sign(&self) -> &[u8] {
        &self.canonical
    }

    /// The exact bytes to publish: compact JSON, signatures sorted by key id, one of each key.
    #[must_use]
    pub fn seal(&self, signatures: Vec<Signature>) -> Vec<u8> {
        let signatures: BTreeMap<KeyId, Vec<u8>> = signatures.into_iter().map(|one| (one.keyid, one.sig)).collect();
        let signed = self.json.as_ref().unwrap_or(&self.canonical);
        let mut bytes = Vec::with_capacity(signed.len() + 40 + 232 * signatures.len());
        bytes.extend_from_slice(b"{\"signatures\":[");
        for (index, (keyid, sig)) in signatures.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            bytes.extend_from_slice(format!(r#"{comma}{{"keyid":"{keyid}","sig":"{}"}}"#, hex::encode(sig)).as_bytes());
        }
        bytes.extend_from_slice(b"],\"signed\":");
        bytes.extend_from_slice(signed);
        bytes.push(b'}');
        bytes
    }
}
