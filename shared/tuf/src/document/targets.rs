//! Targets, and what is said of each.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value};

use super::{Document, delegations::Delegations, read_header, signed::Signed, write_header};
use crate::{
    Error, Hashes, RoleName, Sha256, TargetPath, TopLevel, Version,
    canonical::{self, Writer},
    fields::Fields,
    json,
    scan::Scanner,
};

/// The signed field that says of which delegated role a document is. TUF has none: with keys in common, one role's
/// document could be taken for another's. Clients keep fields that they don't know (TUF specification, section 4.1).
pub(crate) const ROLE_FIELD: &str = "x-rstuf-role";

/// What stands around the digest and the length of a target of which nothing else is said.
const PLAIN_BEGIN: &str = r#"{"hashes":{"sha256":""#;
const PLAIN_MIDDLE: &str = r#""},"length":"#;
const SHA256_DIGITS: usize = 64;

/// A targets document, top-level or of a delegated role (TUF specification, section 4.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Targets {
    /// Its version.
    pub version: Version,
    /// When it expires.
    pub expires: jiff::Timestamp,
    /// The delegated role it says it is of; what others signed need not say it.
    pub role: Option<RoleName>,
    /// The targets it lists.
    pub targets: BTreeMap<TargetPath, Target>,
    /// The roles it trusts with targets.
    pub delegations: Option<Delegations>,
    /// Fields not known here.
    pub unknown: Map<String, Value>,
}

/// What a targets document says of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    length: u64,
    hashes: Hashes,
    custom: Option<Custom>,
    unknown: Map<String, Value>,
}

impl Target {
    /// Checked: `length` in bytes, 0 to 2^53 - 1.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn new(length: u64, hashes: Hashes, custom: Option<Custom>) -> Result<Self, Error> {
        if length > json::INTEGER_MAX {
            return Err(Error::invalid("length", length, "0 to 2^53 - 1"));
        }
        Ok(Self { length, hashes, custom, unknown: Map::new() })
    }

    /// The target's length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Its digests.
    #[must_use]
    pub fn hashes(&self) -> &Hashes {
        &self.hashes
    }

    /// What the application says of it.
    #[must_use]
    pub fn custom(&self) -> Option<&Custom> {
        self.custom.as_ref()
    }

    /// What stands in a document, for whoever keeps one target by itself.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut writer = Writer::json();
        // What was checked, or parsed, can be written.
        self.write(&mut writer).map(|()| writer.into_bytes()).unwrap_or_default()
    }

    /// Reads what [`Target::to_json`] wrote.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Json`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        match Scanner::whole(bytes).and_then(Self::plain) {
            Some(plain) => Ok(plain),
            None => Self::from_value(&json::parse(bytes)?),
        }
    }

    /// How nearly every target looks, in canonical text.
    fn plain(text: &str) -> Option<Self> {
        let (digits, rest) = text.strip_prefix(PLAIN_BEGIN)?.split_at_checked(SHA256_DIGITS)?;
        let length: u64 = rest.strip_prefix(PLAIN_MIDDLE)?.strip_suffix('}')?.parse().ok()?;
        Self::new(length, digits.parse::<Sha256>().ok()?.into(), None).ok()
    }

    fn write(&self, writer: &mut Writer) -> Result<(), Error> {
        if self.custom.is_some() || !self.unknown.is_empty() || !self.hashes.is_sha256_alone() {
            return writer.value(&self.to_value());
        }
        writer.raw(PLAIN_BEGIN);
        writer.raw(&self.hashes.as_sha256().to_string());
        writer.raw(PLAIN_MIDDLE);
        writer.raw(&self.length.to_string());
        writer.raw("}");
        Ok(())
    }

    fn from_value(value: &Value) -> Result<Self, Error> {
        let mut fields = Fields::new(value, "target")?;
        let length = fields.integer("length")?;
        let hashes = Hashes::from_value(fields.require("hashes")?)?;
        let custom = fields.optional("custom").map(Custom::from_value).transpose()?;
        Ok(Self { unknown: fields.unknown(), ..Self::new(length, hashes, custom)? })
    }

    fn to_value(&self) -> Value {
        let mut object = self.unknown.clone();
        object.insert("length".to_owned(), self.length.into());
        object.insert("hashes".to_owned(), self.hashes.to_value());
        if let Some(custom) = &self.custom {
            object.insert("custom".to_owned(), custom.0.clone().into());
        }
        object.into()
    }
}

/// The application's own words on a target: an object, never empty, at most [`Custom::BYTES_MAX`] bytes of canonical
/// JSON, nested at most [`Custom::DEPTH_MAX`] levels, no floats.
#[derive(Clone, PartialEq, Eq)]
pub struct Custom(Map<String, Value>);

impl Custom {
    /// Largest size, in bytes of canonical JSON: 16 KiB.
    pub const BYTES_MAX: usize = 16 << 10;
    /// Deepest nesting, the object itself being the first level.
    pub const DEPTH_MAX: usize = 8;

    /// A checked object.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn new(object: Map<String, Value>) -> Result<Self, Error> {
        let value = Value::Object(object);
        Self::check(&value)?;
        match value {
            Value::Object(object) => Ok(Self(object)),
            _ => Err(Error::invalid("custom", "no object", "an object")),
        }
    }

    /// Reads it from JSON text, strictly.
    ///
    /// # Errors
    /// [`Error::Json`] or [`Error::Invalid`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_value(&json::parse(bytes)?)
    }

    /// The object.
    #[must_use]
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Compact JSON with sorted keys, the same for equal objects.
    #[must_use]
    pub fn to_json(&self) -> String {
        let bytes = canonical::to_json(&Value::Object(self.0.clone())).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    }

    fn from_value(value: &Value) -> Result<Self, Error> {
        Self::check(value)?;
        Ok(Self(value.as_object().cloned().unwrap_or_default()))
    }

    fn check(value: &Value) -> Result<(), Error> {
        match value.as_object() {
            Some(object) if !object.is_empty() => {}
            _ => return Err(Error::invalid("custom", value, "an object that is not empty")),
        }
        // Depth first: the size is found by a walk that would follow any depth.
        if deeper_than(value, Self::DEPTH_MAX) {
            return Err(Error::invalid("custom", "nested deeper", format!("at most {} levels", Self::DEPTH_MAX)));
        }
        let bytes = canonical::to_vec(value).map_err(|error| error.within("custom"))?.len();
        if bytes > Self::BYTES_MAX {
            return Err(Error::invalid(
                "custom",
                format!("{bytes} bytes"),
                format!("at most {} bytes", Self::BYTES_MAX),
            ));
        }
        Ok(())
    }
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(|item| deeper_than(item, levels - 1)),
        Value::Object(map) => levels == 0 || map.values().any(|item| deeper_than(item, levels - 1)),
        _ => false,
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_json())
    }
}

impl Document for Targets {
    const TYPE: TopLevel = TopLevel::Targets;

    fn from_signed(signed: &Signed) -> Result<Self, Error> {
        let mut fields = signed.fields("targets")?;
        let (version, expires) = read_header(&mut fields, Self::TYPE)?;
        let targets = signed.require_entries("targets")?.map(|(path, entry)| {
            // The path first: an error names it.
            let checked = TargetPath::try_from(path).map_err(|error| error.within("targets"))?;
            let target =
                entry.read(Target::plain, Target::from_value).map_err(|error| error.within(path).within("targets"))?;
            Ok((checked, target))
        });
        let targets = targets.collect::<Result<_, Error>>()?;
        let role = fields
            .optional_text(ROLE_FIELD)?
            .map(RoleName::delegated)
            .transpose()
            .map_err(|error| error.within(ROLE_FIELD))?;
        let delegations = fields.optional("delegations").map(Delegations::from_value).transpose();
        let delegations = delegations.map_err(|error| error.within("delegations"))?;
        Ok(Self { version, expires, role, targets, delegations, unknown: fields.unknown() })
    }

    fn write_signed(&self, writer: &mut Writer) -> Result<(), Error> {
        let mut fields = write_header(&self.unknown, Self::TYPE, self.version, self.expires);
        if let Some(role) = &self.role {
            fields.insert(ROLE_FIELD.to_owned(), role.as_str().into());
        }
        if let Some(delegations) = &self.delegations {
            fields.insert("delegations".to_owned(), delegations.to_value());
        }
        let targets = || self.targets.iter().map(|(path, target)| (path.as_str(), target));
        writer.object_with(fields, "targets", |writer| writer.object(targets(), |writer, target| target.write(writer)))
    }

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> jiff::Timestamp {
        self.expires
    }
}
