//! Key files of people, and the passphrases that open them.

use std::{io::IsTerminal as _, path::Path};

use dialoguer::Password;
use rstuf_keys::{FileKey, Passphrase};

use crate::error::Error;

/// Keeps key bytes out of core dumps.
///
/// # Errors
/// Where the system refuses.
pub(crate) fn harden() -> Result<(), Error> {
    rstuf_runtime::harden().map_err(|error| Error::failed(format!("core dumps can't be turned off: {error}")))
}

/// Reads a key file, and asks for its passphrase where it is encrypted and no file holds it.
///
/// # Errors
/// As `FileKey::open`; [`crate::error::Exit::Usage`] where there is nobody to ask.
pub(crate) fn open(path: &Path, passphrase_file: Option<&Path>) -> Result<FileKey, Error> {
    let passphrase = passphrase_file.map(Passphrase::from_file).transpose().map_err(failed)?;
    match FileKey::open(path, passphrase.as_ref()) {
        Err(rstuf_keys::Error::PassphraseMissing { .. }) => {
            FileKey::open(path, Some(&ask(Password::new().with_prompt(prompt(path)), path)?)).map_err(failed)
        }
        other => other.map_err(failed),
    }
}

/// Asks for a passphrase that is to be, twice.
///
/// # Errors
/// As [`open`].
pub(crate) fn ask_new(path: &Path) -> Result<Passphrase, Error> {
    let password = Password::new().with_prompt(prompt(path)).with_confirmation("Once more", "The two differ");
    ask(password, path)
}

fn ask(password: Password<'_>, path: &Path) -> Result<Passphrase, Error> {
    if !std::io::stdin().is_terminal() {
        let message = format!("{} needs a passphrase, and there is no terminal to ask on", path.display());
        return Err(Error::usage(message).next("name a file that holds it: --passphrase-file, or passphrase_file"));
    }
    let text = password.interact().map_err(|error| Error::failed(format!("no passphrase: {error}")))?;
    Passphrase::new(text, "the terminal").map_err(failed)
}

fn prompt(path: &Path) -> String {
    format!("Passphrase of {}", path.display())
}

/// What the library of keys says.
pub(crate) fn failed(error: rstuf_keys::Error) -> Error {
    Error::failed(error.to_string())
}
