//! Signed documents as they travel: `{"signatures": [...], "signed": {...}}` (TUF specification, section 4.2).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Document, read_header, targets::ROLE_FIELD};
use crate::{Error, KeyId, RoleKeys, Sha256, Signature, TopLevel, Version, canonical, fields::Fields, json, key::Keys};

/// Largest document that is read or made, in bytes: 16 MiB.
pub const DOCUMENT_BYTES_MAX: usize = 16 << 20;

/// Room kept for the signatures of a document that is made.
const SIGNATURES_BYTES_MAX: usize = 64 << 10;

/// A received document, parsed once. Its signatures are over the bytes received, whatever this crate understands of
/// them.
#[derive(Debug, Clone)]
pub struct Envelope {
    signed: Value,
    canonical: Vec<u8>,
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
        let Value::Object(mut object) = json::parse(bytes)? else {
            return Err(Error::invalid("document", "no object", "an object of signatures and signed"));
        };
        let signatures = read_signatures(&object)?;
        let signed = object.remove("signed").ok_or_else(|| Error::Missing { field: "signed".to_owned() })?;
        let mut fields = Fields::new(&signed, "signed")?;
        let role_type = fields.text("_type")?.parse().map_err(|error: Error| error.within("_type"))?;
        let (version, expires) = read_header(&mut Fields::new(&signed, "signed")?, role_type)?;
        Ok(Self {
            canonical: canonical::to_vec(&signed)?,
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
            if let Some(key) = key.filter(|key| key.verify(&self.canonical, &signature.sig))
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
        self.signed.get(ROLE_FIELD).and_then(Value::as_str)
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

    /// The signed part as it was received.
    #[must_use]
    pub fn signed(&self) -> &Value {
        &self.signed
    }

    /// The bytes that the signatures are over.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// All signatures, valid or not.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }
}

fn read_signatures(object: &Map<String, Value>) -> Result<Vec<Signature>, Error> {
    let list = object.get("signatures").ok_or_else(|| Error::Missing { field: "signatures".to_owned() })?;
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
        let signed = document.to_signed();
        let canonical = canonical::to_vec(&signed)?;
        let json = canonical.iter().any(|byte| *byte < b' ').then(|| canonical::to_json(&signed)).transpose()?;
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
