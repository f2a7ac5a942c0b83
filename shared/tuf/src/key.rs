//! Keys, their ids, signatures, and which keys a role has.

use std::{collections::BTreeMap, fmt, num::NonZeroU32};

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde_json::{Map, Value};

use crate::{Error, Sha256, canonical, digest::parse_hex, fields::Fields, macros::text_type};

/// The id of a key: the SHA-256 of its canonical form (TUF specification, section 4.2, KEYID).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 32]);

impl KeyId {
    /// The id's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, Error> {
        parse_hex(text).map(Self).ok_or_else(|| Error::invalid("key id", text, "64 lower-case hexadecimal digits"))
    }
}

impl TryFrom<&[u8]> for KeyId {
    type Error = Error;

    fn try_from(bytes: &[u8]) -> Result<Self, Error> {
        let checked = <[u8; 32]>::try_from(bytes);
        checked.map(Self).map_err(|_| Error::invalid("key id", format!("{} bytes", bytes.len()), "32 bytes"))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        Sha256(self.0).fmt(formatter)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

text_type!(KeyId);

/// A public key as metadata holds it, fields not known here included.
///
/// Keys of every type are read, kept and counted, but only `ed25519` ones verify: a signature by another is not valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    object: Value,
    ed25519: Option<VerifyingKey>,
}

impl PublicKey {
    /// An ed25519 key.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bytes that are no point of the curve, or one of small order, for which signatures can be
    /// made up.
    pub fn ed25519(bytes: [u8; 32]) -> Result<Self, Error> {
        let digits = hex::encode(bytes);
        verifying_key(&digits).map(|key| Self::from(&key))
    }

    /// Reads the key object of a document.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Invalid`], naming the field.
    pub fn from_value(value: &Value) -> Result<Self, Error> {
        let mut fields = Fields::new(value, "key")?;
        let keytype = fields.text("keytype")?;
        let scheme = fields.text("scheme")?;
        let mut keyval = Fields::new(fields.require("keyval")?, "keyval")?;
        let ed25519 = match (keytype, scheme) {
            ("ed25519", "ed25519") => Some(verifying_key(keyval.text("public")?)?),
            ("ed25519", other) => return Err(Error::invalid("scheme", other, "ed25519 for keys of type ed25519")),
            _ => None,
        };
        Ok(Self { id: KeyId(Sha256::of(&canonical::to_vec(value)?).0), object: value.clone(), ed25519 })
    }

    /// The key's id.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.id
    }

    /// The type of the key, such as `ed25519`.
    #[must_use]
    pub fn keytype(&self) -> &str {
        self.object.get("keytype").and_then(Value::as_str).unwrap_or_default()
    }

    /// The bytes of an ed25519 key.
    #[must_use]
    pub fn as_ed25519(&self) -> Option<&[u8; 32]> {
        self.ed25519.as_ref().map(VerifyingKey::as_bytes)
    }

    /// Whether `signature` is this key's over `message`; never for keys other than ed25519.
    ///
    /// Strict, as RFC 8032 allows: no malleable signatures, no points of small order.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let (Some(key), Ok(signature)) = (&self.ed25519, ed25519_dalek::Signature::from_slice(signature)) else {
            return false;
        };
        key.verify_strict(message, &signature).is_ok()
    }

    /// The key object as it stands in documents.
    #[must_use]
    pub fn to_value(&self) -> Value {
        self.object.clone()
    }
}

impl From<&VerifyingKey> for PublicKey {
    fn from(key: &VerifyingKey) -> Self {
        let public = hex::encode(key.as_bytes());
        let canonical = format!(r#"{{"keytype":"ed25519","keyval":{{"public":"{public}"}},"scheme":"ed25519"}}"#);
        let object = serde_json::json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": public } });
        Self { id: KeyId(Sha256::of(canonical.as_bytes()).0), object, ed25519: Some(*key) }
    }
}

fn verifying_key(digits: &str) -> Result<VerifyingKey, Error> {
    let key = parse_hex::<32>(digits).and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
    key.filter(|key| !key.is_weak()).ok_or_else(|| {
        Error::invalid("keyval.public", digits, "64 lower-case hexadecimal digits of a strong ed25519 key")
    })
}

/// The keys of a document, each under its own id.
pub type Keys = BTreeMap<KeyId, PublicKey>;

/// Collects keys under their ids.
#[must_use]
pub fn keys_by_id(keys: impl IntoIterator<Item = PublicKey>) -> Keys {
    keys.into_iter().map(|key| (key.key_id(), key)).collect()
}

pub(crate) fn keys_from_object(name: &str, map: &Map<String, Value>) -> Result<Keys, Error> {
    let mut keys = Keys::new();
    for (listed, value) in map {
        let key_id: KeyId = listed.parse().map_err(|error: Error| error.within(name))?;
        let key = PublicKey::from_value(value).map_err(|error| error.within(listed).within(name))?;
        if key_id != key.key_id() {
            return Err(Error::KeyIdMismatch { listed: key_id, computed: key.key_id() });
        }
        keys.insert(key_id, key);
    }
    Ok(keys)
}

pub(crate) fn keys_to_value(keys: &Keys) -> Value {
    keys.iter().map(|(id, key)| (id.to_string(), key.to_value())).collect::<Map<_, _>>().into()
}

/// Which keys sign for a role, and how many of them must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKeys {
    keyids: Vec<KeyId>,
    threshold: NonZeroU32,
}

impl RoleKeys {
    /// Checked: every key id once, the threshold 1 to the number of keys.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn new(keyids: Vec<KeyId>, threshold: u32) -> Result<Self, Error> {
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = keyids.iter().find(|keyid| !seen.insert(**keyid)) {
            return Err(Error::invalid("keyids", twice, "every key id once"));
        }
        let most = u32::try_from(keyids.len()).unwrap_or(u32::MAX);
        match NonZeroU32::new(threshold) {
            Some(threshold) if threshold.get() <= most => Ok(Self { keyids, threshold }),
            _ => Err(Error::invalid("threshold", threshold, format!("1 to the number of keys, {most}"))),
        }
    }

    /// The ids, in the document's order.
    #[must_use]
    pub fn keyids(&self) -> &[KeyId] {
        &self.keyids
    }

    /// How many of the keys must sign.
    #[must_use]
    pub fn threshold(&self) -> u32 {
        self.threshold.get()
    }

    /// Whether the key is one of the role's.
    #[must_use]
    pub fn contains(&self, keyid: &KeyId) -> bool {
        self.keyids.contains(keyid)
    }

    pub(crate) fn read(fields: &mut Fields<'_>) -> Result<Self, Error> {
        let ids = fields.array("keyids")?;
        let ids = ids.iter().map(|id| id.as_str().unwrap_or_default().parse()).collect::<Result<Vec<_>, _>>()?;
        let threshold = fields.integer("threshold")?;
        Self::new(ids, u32::try_from(threshold).unwrap_or(u32::MAX))
    }

    pub(crate) fn write(&self, object: &mut Map<String, Value>) {
        let ids: Vec<Value> = self.keyids.iter().map(|id| id.to_string().into()).collect();
        object.insert("keyids".to_owned(), ids.into());
        object.insert("threshold".to_owned(), self.threshold.get().into());
    }

    /// Every key id must stand for a key, else the threshold promises what can't be met.
    pub(crate) fn check_known(&self, keys: &Keys) -> Result<(), Error> {
        match self.keyids.iter().find(|id| !keys.contains_key(*id)) {
            Some(unknown) => Err(Error::invalid("keyids", unknown, "ids of keys listed in the same document")),
            None => Ok(()),
        }
    }
}

/// One key's signature over the canonical form of a document.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    /// The key.
    pub keyid: KeyId,
    /// The signature's bytes, 64 for ed25519.
    pub sig: Vec<u8>,
}

impl Signature {
    /// Signs `message` (the canonical form, see [`crate::Unsigned::to_sign`]) with ed25519; the same every time.
    #[must_use]
    pub fn ed25519(key: &SigningKey, message: &[u8]) -> Self {
        let keyid = PublicKey::from(&key.verifying_key()).key_id();
        Self { keyid, sig: key.sign(message).to_vec() }
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Signature({}, {} bytes)", self.keyid, self.sig.len())
    }
}
