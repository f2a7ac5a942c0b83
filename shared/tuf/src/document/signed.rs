//! The signed part of a document as it was received.

use serde_json::{Map, Value};

use crate::{
    Error, TopLevel, canonical,
    fields::Fields,
    json,
    scan::{Place, Scanner},
};

/// The signed part of a document, parsed once: what it says, and the exact bytes that its signatures are over.
#[derive(Debug, Clone)]
pub struct Signed {
    canonical: Vec<u8>,
    /// An object: all of its fields but for the entries.
    fields: Value,
    entries: Entries,
}

/// The entries of the one field that has a line for each target or role. There may be very many.
#[derive(Debug, Clone)]
enum Entries {
    /// There is no such field.
    None,
    /// Where each key and each value stands in the canonical bytes, which are JSON too.
    Places(Vec<(Place32, Place32)>),
    /// Of a document that was written otherwise.
    Values(Map<String, Value>),
}

/// Documents are far below 4 GiB.
type Place32 = std::ops::Range<u32>;

/// One entry's value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entry<'a> {
    /// Its canonical text, checked as a whole.
    Text(&'a str),
    /// The value.
    Value(&'a Value),
}

impl Entry<'_> {
    /// Reads it: `plain` the few forms that nearly all have, `read` any other.
    pub(crate) fn read<T>(
        self,
        plain: impl FnOnce(&str) -> Option<T>,
        read: impl FnOnce(&Value) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self {
            Self::Value(value) => read(value),
            Self::Text(text) => match plain(text) {
                Some(plain) => Ok(plain),
                None => read(&json::parse(text.as_bytes())?),
            },
        }
    }
}

/// The field with the entries, by the type of the document.
fn field_of_entries(role_type: &str) -> Option<&'static str> {
    match role_type.parse() {
        Ok(TopLevel::Targets) => Some("targets"),
        Ok(TopLevel::Snapshot) => Some("meta"),
        Ok(TopLevel::Root | TopLevel::Timestamp) | Err(_) => None,
    }
}

impl Signed {
    /// Of a whole document that is canonical as it came: its signatures, and this.
    pub(crate) fn scan(document: &[u8]) -> Option<(Value, Self)> {
        let mut scanner = Scanner::new(document)?;
        let (mut signatures, mut signed) = (None, None);
        scanner.object(|scanner, key| {
            match scanner.text(key) {
                "signed" => signed = Some(Self::scan_signed(scanner)?),
                name => {
                    let place = scanner.value()?;
                    if name == "signatures" {
                        signatures = json::parse(scanner.text(place).as_bytes()).ok();
                    }
                }
            }
            Some(())
        })?;
        scanner.end()?;
        Some((signatures?, signed?))
    }

    fn scan_signed(scanner: &mut Scanner<'_>) -> Option<Self> {
        let begin = scanner.position();
        let place32 = |place: Place| Some(narrow(place.start - begin)?..narrow(place.end - begin)?);
        let (mut fields, mut entries, mut listed) = (Map::new(), Entries::None, None);
        scanner.object(|scanner, key| {
            let name = scanner.text(key);
            // It stands before them, in the order of keys.
            if listed == Some(name) && scanner.peek() == Some(b'{') {
                let mut places = Vec::new();
                scanner.object(|scanner, key| {
                    places.push((place32(key)?, place32(scanner.value()?)?));
                    Some(())
                })?;
                entries = Entries::Places(places);
                return Some(());
            }
            let place = scanner.value()?;
            let value = json::parse(scanner.text(place).as_bytes()).ok()?;
            if name == "_type" {
                listed = value.as_str().and_then(field_of_entries);
            }
            fields.insert(name.to_owned(), value);
            Some(())
        })?;
        let canonical = scanner.text(begin..scanner.position()).as_bytes().to_vec();
        Some(Self { canonical, fields: fields.into(), entries })
    }

    /// Of a document that is written otherwise.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub(crate) fn of(mut signed: Value) -> Result<Self, Error> {
        let canonical = canonical::to_vec(&signed)?;
        let mut entries = Entries::None;
        if let Some(object) = signed.as_object_mut()
            && let Some(field) = object.get("_type").and_then(Value::as_str).and_then(field_of_entries)
        {
            entries = match object.remove(field) {
                Some(Value::Object(values)) => Entries::Values(values),
                Some(other) => {
                    object.insert(field.to_owned(), other);
                    Entries::None
                }
                None => Entries::None,
            };
        }
        Ok(Self { canonical, fields: signed, entries })
    }

    /// Its fields, without the one with entries where it has that.
    pub(crate) fn fields(&self, what: &str) -> Result<Fields<'_>, Error> {
        Fields::new(&self.fields, what)
    }

    /// The entries of field `name`, which is that of the document's type.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Invalid`].
    pub(crate) fn require_entries(&self, name: &'static str) -> Result<impl Iterator<Item = (&str, Entry<'_>)>, Error> {
        if matches!(self.entries, Entries::None) {
            // Says what is wrong: it is not there, or no object.
            self.fields("signed")?.object(name)?;
        }
        Ok(self.entries())
    }

    /// All entries; none where there is no such field.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, Entry<'_>)> {
        let (places, values) = match &self.entries {
            Entries::None => (None, None),
            Entries::Places(places) => (Some(places), None),
            Entries::Values(values) => (None, Some(values)),
        };
        let text = |place: &Place32| self.text(place);
        let places = places.into_iter().flatten().map(move |(key, value)| (text(key), Entry::Text(text(value))));
        places.chain(values.into_iter().flatten().map(|(key, value)| (key.as_str(), Entry::Value(value))))
    }

    /// One field that is a text.
    pub(crate) fn text_of(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }

    /// The bytes that the signatures are over.
    pub(crate) fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    fn text(&self, place: &Place32) -> &str {
        let bytes = self.canonical.get(place.start as usize..place.end as usize).unwrap_or_default();
        // It was when it was scanned.
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

fn narrow(at: usize) -> Option<u32> {
    u32::try_from(at).ok()
}
