//! Documents: what the four types share, their envelope, and each of them.

pub(crate) mod delegations;
pub(crate) mod envelope;
pub(crate) mod root;
pub(crate) mod signed;
pub(crate) mod snapshot;
pub(crate) mod succinct;
pub(crate) mod targets;
pub(crate) mod timestamp;

use serde_json::{Map, Value};

use self::signed::Signed;
use crate::{Error, TopLevel, Version, canonical::Writer, fields::Fields, version};

/// `spec_version` as written: some clients take nothing else.
const SPEC_VERSION: &str = "1.0.0";

/// What every type of document has (TUF specification, section 4.3).
pub trait Document: Sized {
    /// The type, `_type`.
    const TYPE: TopLevel;

    /// Reads the `signed` part of a document, strictly.
    ///
    /// # Errors
    /// [`Error`] naming the field, its value and what is allowed.
    fn from_signed(signed: &Signed) -> Result<Self, Error>;

    /// Writes the `signed` part; fields that were not known when it was read are in it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a number out of bounds.
    fn write_signed(&self, writer: &mut Writer) -> Result<(), Error>;

    /// The document's version.
    fn version(&self) -> Version;

    /// When it expires, in whole seconds.
    fn expires(&self) -> jiff::Timestamp;
}

/// Version and expiry, after checking type and `spec_version`.
pub(crate) fn read_header(fields: &mut Fields<'_>, expected: TopLevel) -> Result<(Version, jiff::Timestamp), Error> {
    let found: TopLevel = fields.text("_type")?.parse().map_err(|error: Error| error.within("_type"))?;
    if found != expected {
        return Err(Error::WrongType { expected, found });
    }
    let spec_version = fields.text("spec_version")?;
    if !is_spec_version(spec_version) {
        return Err(Error::invalid("spec_version", spec_version, "1.x"));
    }
    Ok((fields.integer("version")?.try_into()?, version::parse_time(fields.text("expires")?)?))
}

fn is_spec_version(text: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.strip_prefix("1.").is_some_and(|rest| rest.splitn(2, '.').all(number))
}

/// A `signed` part with its header, over the fields kept from the document it was read from.
pub(crate) fn write_header(
    unknown: &Map<String, Value>,
    kind: TopLevel,
    version: Version,
    expires: jiff::Timestamp,
) -> Map<String, Value> {
    let mut signed = unknown.clone();
    signed.insert("_type".to_owned(), kind.as_str().into());
    signed.insert("spec_version".to_owned(), SPEC_VERSION.into());
    signed.insert("version".to_owned(), version.get().into());
    signed.insert("expires".to_owned(), version::format_time(expires).into());
    signed
}
