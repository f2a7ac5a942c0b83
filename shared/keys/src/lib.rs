//! Key sources: where a private key lives, behind one trait. A file today; hardware tokens and key services fit the
//! trait.
//!
//! Private bytes are overwritten when they are dropped, and no `Debug` shows them.
//!
//! From bottom to top; a module uses only those before it in this list:
//!
//! 1. `error`: what can be wrong with a key
//! 2. `private`: files that only their owner reads
//! 3. `passphrase`: of encrypted keys
//! 4. `source`: what every source can do
//! 5. `file`: keys in files
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

mod error;
mod file;
mod passphrase;
mod private;
mod source;

pub use error::{Error, Result};
pub use file::FileKey;
pub use passphrase::Passphrase;
/// The operating system's randomness: what [`FileKey::generate`] and [`FileKey::save`] are given outside of tests.
pub use rand::rngs::SysRng;
pub use source::KeySource;
