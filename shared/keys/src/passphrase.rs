//! Passphrases of encrypted keys.

use std::{fmt, path::Path};

use zeroize::Zeroizing;

use crate::{Error, Result, private::read_private};

/// Longest passphrase in bytes.
const BYTES_MAX: usize = 1024;

/// A passphrase; overwritten when dropped, never shown.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// A checked passphrase; `origin` stands in the error, such as the name of a variable.
    ///
    /// # Errors
    /// [`Error::PassphraseInvalid`].
    pub fn new(text: impl Into<Zeroizing<String>>, origin: &str) -> Result<Self> {
        let text = text.into();
        if text.is_empty() || text.len() > BYTES_MAX || text.contains(['\n', '\r', '\0']) {
            return Err(Error::PassphraseInvalid { origin: origin.to_owned(), bytes: text.len() });
        }
        Ok(Self(text))
    }

    /// The content of a file, without one line end; the file must be as private as a key file.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Exposed`], [`Error::PassphraseInvalid`], [`Error::Io`].
    pub fn from_file(path: &Path) -> Result<Self> {
        let origin = path.display().to_string();
        let bytes = read_private(path)?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| Error::PassphraseInvalid { origin: origin.clone(), bytes: bytes.len() })?;
        let line = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
        Self::new(line.to_owned(), &origin)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passphrase(..)")
    }
}
