//! Keys in files: ed25519, PKCS#8 in PEM.

use std::{fmt, fs, io, path::Path};

use ed25519_dalek::{SigningKey, pkcs8::KeypairBytes};
use pkcs8::{
    DecodePrivateKey as _, EncodePrivateKey as _, EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef,
    der::pem::PemLabel as _, pkcs5::pbes2,
};
use rand::TryCryptoRng;
use rstuf_tuf::{PublicKey, Signature};
use zeroize::Zeroizing;

use crate::{
    Error, KeySource, Passphrase, Result,
    private::{name_new, read_private, remove_temporary, sync_parent, temporary, write_new},
};

/// An ed25519 key that was read from a file, or is to be saved to one.
pub struct FileKey {
    key: SigningKey,
    public_key: PublicKey,
}

impl FileKey {
    /// A new key, in memory only. `rng` is [`crate::SysRng`] outside of tests.
    ///
    /// # Errors
    /// [`Error::Randomness`].
    pub fn generate(rng: &mut impl TryCryptoRng) -> Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        fill(rng, seed.as_mut())?;
        Ok(Self::from_seed(&seed))
    }

    /// Reads a key file: PKCS#8, version 1 or 2, encrypted or not.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Exposed`], [`Error::NotAKey`], [`Error::PassphraseMissing`],
    /// [`Error::PassphraseWrong`], [`Error::Io`].
    pub fn open(path: &Path, passphrase: Option<&Passphrase>) -> Result<Self> {
        let bytes = read_private(path)?;
        let not_a_key = |reason: String| Error::NotAKey { path: path.to_owned(), reason };
        let pem = std::str::from_utf8(&bytes).map_err(|_| not_a_key("it is not text".to_owned()))?;
        let label = |label| format!("-----BEGIN {label}-----");
        let pair = if pem.contains(&label(EncryptedPrivateKeyInfoRef::PEM_LABEL)) {
            let passphrase = passphrase.ok_or_else(|| Error::PassphraseMissing { path: path.to_owned() })?;
            KeypairBytes::from_pkcs8_encrypted_pem(pem, passphrase.as_bytes())
                .map_err(|_| Error::PassphraseWrong { path: path.to_owned() })?
        } else if pem.contains(&label(PrivateKeyInfoRef::PEM_LABEL)) {
            KeypairBytes::from_pkcs8_pem(pem).map_err(|error| not_a_key(error.to_string()))?
        } else {
            return Err(not_a_key("there is no `BEGIN PRIVATE KEY` line".to_owned()));
        };
        let key = Self::from_seed(&pair.secret_key);
        // Version 2 repeats the public key; a wrong one would make every signature invalid.
        match &pair.public_key {
            Some(public) if Some(&public.0) != key.public_key.as_ed25519() => {
                Err(not_a_key("its public half belongs to another key".to_owned()))
            }
            _ => Ok(key),
        }
    }

    /// Writes the key to a new file that only its owner may use (mode 0600), durably: a crash leaves all of it or
    /// nothing under this name. With a passphrase it is encrypted by PBKDF2 and AES-256, which OpenSSL and Python read
    /// (scrypt at a strength worth having is beyond OpenSSL's default memory limit).
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Randomness`], [`Error::Io`].
    pub fn save(&self, path: &Path, passphrase: Option<&Passphrase>, rng: &mut impl TryCryptoRng) -> Result<()> {
        let pem = self.to_pem(path, passphrase, rng)?;
        let mut suffix = [0; 8];
        fill(rng, &mut suffix)?;
        let temporary = temporary(path, u64::from_be_bytes(suffix));
        let written = write_new(&temporary, pem.as_bytes()).and_then(|()| name_new(&temporary, path));
        if written.is_err() {
            fs::remove_file(&temporary).map_err(Error::io("remove", &temporary))?;
        }
        written?;
        sync_parent(path)
    }

    /// Deletes what a crash left of keys that were about to be saved to `path`, and answers how many there were. Nobody
    /// may save one there meanwhile.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_unsaved(path: &Path) -> Result<usize> {
        remove_temporary(path)
    }

    /// Version 1 of PKCS#8, without the public key: version 2 is refused by OpenSSL 3.0 and by Python's cryptography.
    fn to_pem(
        &self,
        path: &Path,
        passphrase: Option<&Passphrase>,
        rng: &mut impl TryCryptoRng,
    ) -> Result<Zeroizing<String>> {
        let pair = KeypairBytes { secret_key: self.key.to_bytes(), public_key: None };
        let failed = |error: pkcs8::Error| Error::Io {
            action: "encode the key for",
            path: path.to_owned(),
            source: io::Error::other(error.to_string()),
        };
        let Some(passphrase) = passphrase else { return pair.to_pkcs8_pem(LineEnding::LF).map_err(failed) };
        let der = pair.to_pkcs8_der().map_err(failed)?;
        let parameters =
            pbes2::Parameters::generate_pbkdf2(rng).map_err(|error| Error::Randomness { reason: error.to_string() })?;
        let info = PrivateKeyInfoRef::try_from(der.as_bytes()).map_err(failed)?;
        let encrypted = info.encrypt_with_params(parameters, passphrase.as_bytes()).map_err(failed)?;
        encrypted.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).map_err(|error| failed(error.into()))
    }

    fn from_seed(seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        Self { public_key: PublicKey::from(&key.verifying_key()), key }
    }
}

impl KeySource for FileKey {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Signature> {
        Ok(Signature::ed25519(&self.key, message))
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "FileKey({})", self.public_key.key_id())
    }
}

fn fill(rng: &mut impl TryCryptoRng, bytes: &mut [u8]) -> Result<()> {
    rng.try_fill_bytes(bytes).map_err(|error| Error::Randomness { reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::{mem::MaybeUninit, os::unix::fs::PermissionsExt as _, process::Command};

    use ed25519_dalek::pkcs8::EncodePrivateKey as _;
    use rand::{SeedableRng as _, rngs::StdRng};
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

    use super::*;

    fn passphrase() -> Passphrase {
        Passphrase::new("correct horse".to_owned(), "test").unwrap()
    }

    fn write(path: &Path, content: &str, mode: u32) {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn saved_keys_are_read_again_and_by_openssl() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let key = FileKey::generate(&mut rng).unwrap();
        for (name, passphrase) in [("plain.pem", None), ("encrypted.pem", Some(passphrase()))] {
            let path = dir.path().join(name);
            key.save(&path, passphrase.as_ref(), &mut rng).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
            let again = FileKey::open(&path, passphrase.as_ref()).unwrap();
            let signature = again.sign(b"message").unwrap();
            assert!(key.public_key().verify(b"message", &signature.sig));
            // OpenSSL is a judge that is not ours; where it is not installed there is none.
            let arguments = ["pkey", "-noout", "-passin", "pass:correct horse", "-in"];
            let openssl = Command::new("openssl").args(arguments).arg(&path).output();
            assert!(openssl.map_or_else(|_| true, |output| output.status.success()), "{name} refused by openssl");
            assert!(matches!(key.save(&path, None, &mut rng), Err(Error::Exists { .. })));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file is left");
        assert!(!format!("{key:?}{:?}", passphrase()).contains("correct"));
    }

    /// A crash at any instant would find one file with the key at most: none is made beside the one that is written.
    #[test]
    fn a_key_never_has_a_second_copy() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(3);
        let events = inotify::init(CreateFlags::NONBLOCK).unwrap();
        inotify::add_watch(&events, dir.path(), WatchFlags::CREATE | WatchFlags::MOVED_TO).unwrap();
        FileKey::generate(&mut rng).unwrap().save(&dir.path().join("key.pem"), None, &mut rng).unwrap();
        let mut buffer = [MaybeUninit::uninit(); 4_096];
        let mut reader = inotify::Reader::new(&events, &mut buffer);
        let seen: Vec<_> = std::iter::from_fn(|| {
            let event = reader.next().ok()?;
            Some((event.events(), event.file_name()?.to_str().ok()?.ends_with(".new")))
        })
        .collect();
        assert_eq!(seen, [(ReadFlags::CREATE, true), (ReadFlags::MOVED_TO, false)]);
    }

    #[test]
    fn version_2_of_pkcs8_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v2.pem");
        let key = SigningKey::from_bytes(&[7; 32]);
        write(&path, &key.to_pkcs8_pem(LineEnding::LF).unwrap(), 0o640);
        assert_eq!(FileKey::open(&path, None).unwrap().public_key.as_ed25519(), Some(key.verifying_key().as_bytes()));
    }

    #[test]
    fn each_unusable_file_has_its_own_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(2);
        let path = |name: &str| dir.path().join(name);
        let key = FileKey::generate(&mut rng).unwrap();
        key.save(&path("encrypted"), Some(&passphrase()), &mut rng).unwrap();
        key.save(&path("plain"), None, &mut rng).unwrap();
        let plain = fs::read_to_string(path("plain")).unwrap();
        for mode in [0o644, 0o604, 0o660, 0o602] {
            write(&path("exposed"), &plain, mode);
            assert!(matches!(FileKey::open(&path("exposed"), None), Err(Error::Exposed { mode: m, .. }) if m == mode));
        }
        write(&path("text"), "hello", 0o600);
        write(&path("cut"), &plain[..plain.len() / 2], 0o600);
        write(&path("public"), "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", 0o600);
        for name in ["text", "cut", "public"] {
            assert!(matches!(FileKey::open(&path(name), None), Err(Error::NotAKey { .. })), "{name}");
        }
        assert!(matches!(FileKey::open(dir.path(), None), Err(Error::NotAKey { .. })));
        assert!(matches!(FileKey::open(&path("absent"), None), Err(Error::Missing { .. })));
        assert!(matches!(FileKey::open(&path("encrypted"), None), Err(Error::PassphraseMissing { .. })));
        let wrong = Passphrase::new("wrong".to_owned(), "test").unwrap();
        assert!(matches!(FileKey::open(&path("encrypted"), Some(&wrong)), Err(Error::PassphraseWrong { .. })));
        write(&path("empty passphrase"), "\n", 0o600);
        assert!(matches!(Passphrase::from_file(&path("empty passphrase")), Err(Error::PassphraseInvalid { .. })));
        write(&path("passphrase"), "correct horse\r\n", 0o600);
        let from_file = Passphrase::from_file(&path("passphrase")).unwrap();
        assert!(FileKey::open(&path("encrypted"), Some(&from_file)).is_ok());
    }
}
