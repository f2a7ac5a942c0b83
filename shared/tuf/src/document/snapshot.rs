//! Snapshots, and what they say of other documents.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Document,
    envelope::Envelope,
    read_header,
    signed::{Entry, Signed},
    write_header,
};
use crate::{Error, Hashes, RoleName, Sha256, TopLevel, Version, canonical::Writer, fields::Fields, file};

/// What stands before the version in an entry that has nothing else.
const PLAIN_BEGIN: &str = r#"{"version":"#;

/// A snapshot: the versions of all targets roles at one time (TUF specification, section 4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its version.
    pub version: Version,
    /// When it expires.
    pub expires: jiff::Timestamp,
    /// The top-level targets and every delegated role, by name (in metadata with `.json` after it).
    pub meta: BTreeMap<RoleName, MetaEntry>,
    /// Fields not known here.
    pub unknown: Map<String, Value>,
}

/// What a snapshot or a timestamp says of another document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaEntry {
    /// Its version.
    pub version: Version,
    /// Its length in bytes.
    pub length: Option<u64>,
    /// The digests of its bytes, signatures included.
    pub hashes: Option<Hashes>,
    /// Fields not known here.
    pub unknown: Map<String, Value>,
}

impl MetaEntry {
    /// The version alone, which keeps a snapshot of many bins small.
    #[must_use]
    pub fn version_only(version: Version) -> Self {
        Self { version, length: None, hashes: None, unknown: Map::new() }
    }

    /// Version, length in bytes and SHA-256.
    #[must_use]
    pub fn new(version: Version, length: u64, sha256: Sha256) -> Self {
        Self { version, length: Some(length), hashes: Some(sha256.into()), unknown: Map::new() }
    }

    /// Version, length and SHA-256 of a received document.
    #[must_use]
    pub fn of(envelope: &Envelope) -> Self {
        Self::new(envelope.version(), envelope.length(), envelope.sha256())
    }

    /// Checks a received document against length and SHA-256, where they are stated.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`], [`Error::DigestMismatch`] with `role` as the name.
    pub fn check(&self, role: &RoleName, envelope: &Envelope) -> Result<(), Error> {
        let (role, found) = (|| role.clone(), envelope.length());
        if let Some(expected) = self.length.filter(|length| *length != found) {
            return Err(Error::LengthMismatch { role: role(), expected, found });
        }
        let found = envelope.sha256();
        match self.hashes.as_ref().map(Hashes::as_sha256) {
            Some(expected) if expected != found => Err(Error::DigestMismatch { role: role(), expected, found }),
            _ => Ok(()),
        }
    }

    pub(super) fn from_value(value: &Value) -> Result<Self, Error> {
        let mut fields = Fields::new(value, "meta")?;
        let version = fields.integer("version")?.try_into()?;
        let hashes = fields.optional("hashes").map(Hashes::from_value).transpose()?;
        let length = match fields.optional("length") {
            Some(value) => Some(value.as_u64().ok_or_else(|| Error::invalid("length", value, "0 to 2^53 - 1"))?),
            None => None,
        };
        Ok(Self { version, length, hashes, unknown: fields.unknown() })
    }

    fn read(entry: Entry<'_>) -> Result<Self, Error> {
        entry.read(Self::plain, Self::from_value)
    }

    /// How nearly every entry of a large snapshot looks.
    fn plain(text: &str) -> Option<Self> {
        let version: u64 = text.strip_prefix(PLAIN_BEGIN)?.strip_suffix('}')?.parse().ok()?;
        Some(Self::version_only(version.try_into().ok()?))
    }

    fn write(&self, writer: &mut Writer) -> Result<(), Error> {
        if self.length.is_none() && self.hashes.is_none() && self.unknown.is_empty() {
            writer.raw(PLAIN_BEGIN);
            writer.raw(&self.version.to_string());
            writer.raw("}");
            return Ok(());
        }
        writer.value(&self.to_value())
    }

    pub(super) fn to_value(&self) -> Value {
        let mut object = self.unknown.clone();
        object.insert("version".to_owned(), self.version.get().into());
        if let Some(length) = self.length {
            object.insert("length".to_owned(), length.into());
        }
        if let Some(hashes) = &self.hashes {
            object.insert("hashes".to_owned(), hashes.to_value());
        }
        object.into()
    }
}

impl Document for Snapshot {
    const TYPE: TopLevel = TopLevel::Snapshot;

    fn from_signed(signed: &Signed) -> Result<Self, Error> {
        let mut fields = signed.fields("snapshot")?;
        let (version, expires) = read_header(&mut fields, Self::TYPE)?;
        let meta = signed.require_entries("meta")?.map(|(file, entry)| {
            let role = file::listed_role(file)?;
            let entry = MetaEntry::read(entry).map_err(|error| error.within(file).within("meta"))?;
            Ok((role, entry))
        });
        let meta = meta.collect::<Result<BTreeMap<_, _>, Error>>()?;
        if !meta.contains_key(TopLevel::Targets.as_str()) {
            return Err(Error::Missing { field: format!("meta.{}", file::listed(&RoleName::targets())) });
        }
        Ok(Self { version, expires, meta, unknown: fields.unknown() })
    }

    fn write_signed(&self, writer: &mut Writer) -> Result<(), Error> {
        let fields = write_header(&self.unknown, Self::TYPE, self.version, self.expires);
        // With `.json` after them names have another order.
        let mut meta: Vec<_> = self.meta.iter().map(|(role, entry)| (file::listed(role), entry)).collect();
        meta.sort_by(|(one, _), (other, _)| one.cmp(other));
        let meta = || meta.iter().map(|(file, entry)| (file.as_str(), *entry));
        writer.object_with(fields, "meta", |writer| writer.object(meta(), |writer, entry| entry.write(writer)))
    }

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> jiff::Timestamp {
        self.expires
    }
}
