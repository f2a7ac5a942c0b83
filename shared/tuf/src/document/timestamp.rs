//! Timestamps.

use serde_json::{Map, Value};

use super::{Document, read_header, signed::Signed, snapshot::MetaEntry, write_header};
use crate::{Error, RoleName, TopLevel, Version, canonical::Writer, file};

/// A timestamp: which snapshot is the latest (TUF specification, section 4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// Its version.
    pub version: Version,
    /// When it expires.
    pub expires: jiff::Timestamp,
    /// The latest snapshot.
    pub snapshot: MetaEntry,
    /// Fields not known here.
    pub unknown: Map<String, Value>,
}

impl Document for Timestamp {
    const TYPE: TopLevel = TopLevel::Timestamp;

    fn from_signed(signed: &Signed) -> Result<Self, Error> {
        let mut fields = signed.fields("timestamp")?;
        let (version, expires) = read_header(&mut fields, Self::TYPE)?;
        let meta = fields.object("meta")?;
        let only = file::listed(&RoleName::snapshot());
        if let Some(other) = meta.keys().find(|file| **file != only) {
            return Err(Error::invalid("meta", other, format!("{only} alone")));
        }
        let field = format!("meta.{only}");
        let entry = meta.get(&only).ok_or_else(|| Error::Missing { field: field.clone() })?;
        let snapshot = MetaEntry::from_value(entry).map_err(|error| error.within(&field))?;
        Ok(Self { version, expires, snapshot, unknown: fields.unknown() })
    }

    fn write_signed(&self, writer: &mut Writer) -> Result<(), Error> {
        let mut signed = write_header(&self.unknown, Self::TYPE, self.version, self.expires);
        let meta = Map::from_iter([(file::listed(&RoleName::snapshot()), self.snapshot.to_value())]);
        signed.insert("meta".to_owned(), meta.into());
        writer.value(&signed.into())
    }

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> jiff::Timestamp {
        self.expires
    }
}
