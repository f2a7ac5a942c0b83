//! A signer's key lives and dies with its state directory.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rstuf_keys::{FileKey, KeySource, Passphrase, SysRng};
use rstuf_store::{Batch, Store};
use rstuf_tuf::KeyId;

use crate::rows::{self, ROOTS};

/// The key's file in the state directory.
pub(crate) const FILE: &str = "key.pem";

/// Why a signer does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No key yet, and none may be made.
    #[error("there is no key in {dir}: start once with --create-key to make one, then show it to the ceremony")]
    NoKey {
        /// The state directory.
        dir: PathBuf,
    },
    /// The key of a pinned signer is gone.
    #[error(
        "key {path} of a pinned signer is gone: bring the file back, or give the signer an empty state directory, \
         start it once with --create-key, and put the new key into the next root"
    )]
    KeyLost {
        /// Where it was.
        path: PathBuf,
    },
    /// A key without the state that says what it has signed.
    #[error(
        "key {path} has no state: it may have signed what this directory does not know, so it is not used. Bring the \
         whole directory back, or remove the key, start once with --create-key, and put the new key into the next root"
    )]
    KeyWithoutState {
        /// The key file.
        path: PathBuf,
    },
    /// Another key than the one made here.
    #[error("key {path} has id {found}, the key made in this state directory has id {made}: bring that key back")]
    OtherKey {
        /// The key file.
        path: PathBuf,
        /// The id of the key in it.
        found: KeyId,
        /// The id of the key made here.
        made: KeyId,
    },
    /// The configured root digest is not that of the pinned root.
    #[error("root_sha256 is {configured}, this state directory is pinned to {pinned}: check both")]
    OtherRoot {
        /// The configured digest.
        configured: rstuf_tuf::Sha256,
        /// The pinned one.
        pinned: rstuf_tuf::Sha256,
    },
    /// The key file can't be used.
    #[error(transparent)]
    Key(#[from] rstuf_keys::Error),
    /// The state directory can't be used.
    #[error(transparent)]
    Store(#[from] rstuf_store::Error),
    /// What the state says is not sound.
    #[error(transparent)]
    State(#[from] crate::Error),
}

/// Opens the key of a state directory, or makes it: only with `create`, and only while the state is fresh.
///
/// The row that names the key is durable before the file is there, so a file without a row is a stranger, and a row
/// without a file of a signer that was never pinned is a creation that was cut short. What that left is deleted as soon
/// as there is a key that counts, and not before: where a key is lost, whatever is there may help.
///
/// # Errors
/// See [`StartError`].
pub(crate) async fn open(
    store: &Store,
    dir: &Path,
    create: bool,
    passphrase: Option<&Passphrase>,
) -> Result<Arc<dyn KeySource>, StartError> {
    let path = dir.join(FILE);
    let made: Option<KeyId> = rows::row(store, rows::KEY)?;
    let pinned = store.repository()?.is_some() || !store.keys(ROOTS, None, 1)?.is_empty();
    match (made, path.exists()) {
        (None, true) => Err(StartError::KeyWithoutState { path }),
        (Some(_), false) if pinned => Err(StartError::KeyLost { path }),
        (_, false) if create => {
            let key = FileKey::generate(&mut SysRng)?;
            store.commit(Batch::new().put(rows::KEY, rows::encode(&key.public_key().key_id()))).await?;
            remove_unsaved(&path)?;
            key.save(&path, passphrase, &mut SysRng)?;
            tracing::info!(key_id = %key.public_key().key_id(), path = %path.display(), "made a key");
            Ok(Arc::new(key))
        }
        (_, false) => Err(StartError::NoKey { dir: dir.to_owned() }),
        (Some(made), true) => {
            let key = FileKey::open(&path, passphrase)?;
            let found = key.public_key().key_id();
            if found != made {
                return Err(StartError::OtherKey { path, found, made });
            }
            remove_unsaved(&path)?;
            Ok(Arc::new(key))
        }
    }
}

/// The state directory is locked: nobody saves one meanwhile.
fn remove_unsaved(path: &Path) -> Result<(), StartError> {
    let keys = FileKey::remove_unsaved(path)?;
    if keys > 0 {
        tracing::info!(keys, path = %path.display(), "deleted keys that were never used: a crash came before");
    }
    Ok(())
}
