//! The online signers, as the coordinator names them.

use rstuf_tuf::{KeyId, PublicKey, TopLevel, ceremony::Signers};

use crate::{error::Error, view::Signer};

/// The keys of all signers, by group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Online {
    pub(crate) targets: Signers,
    pub(crate) snapshot: Signers,
    pub(crate) timestamp: Signers,
}

impl Online {
    /// Checks that every signer answers with a key that is what it says.
    ///
    /// # Errors
    /// [`crate::error::Exit::TryAgain`] while a signer does not answer; else what is wrong with which one.
    pub(crate) fn new(signers: &[Signer]) -> Result<Self, Error> {
        if let Some(silent) = signers.iter().find(|signer| !signer.reachable) {
            let message = format!(
                "the {} signer at {} does not answer: {}",
                silent.group,
                silent.endpoint,
                silent.message.as_deref().unwrap_or_default()
            );
            return Err(Error::try_again(message).next("start it, then run the same again"));
        }
        Ok(Self {
            targets: group(signers, TopLevel::Targets)?,
            snapshot: group(signers, TopLevel::Snapshot)?,
            timestamp: group(signers, TopLevel::Timestamp)?,
        })
    }
}

/// More than half of a group's keys must sign, so that a version can't have two contents.
fn group(signers: &[Signer], role: TopLevel) -> Result<Signers, Error> {
    let members = signers.iter().filter(|signer| signer.group == role.as_str());
    let keys = members.map(public_key).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        let message = format!("the coordinator knows no {role} signer");
        return Err(Error::failed(message).next("name one in the coordinator's configuration"));
    }
    let threshold = u32::try_from(keys.len() / 2 + 1).unwrap_or(u32::MAX);
    Ok(Signers { keys, threshold })
}

fn public_key(signer: &Signer) -> Result<PublicKey, Error> {
    let wrong = |reason: String| {
        let Signer { group, endpoint, .. } = signer;
        Error::failed(format!("the key of the {group} signer at {endpoint} is not usable: {reason}"))
    };
    let text = signer.key_json.as_ref().ok_or_else(|| wrong("it has none".to_owned()))?;
    let value = rstuf_tuf::json::parse(text.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    let key = PublicKey::from_value(&value).map_err(|error| wrong(error.to_string()))?;
    if signer.key_id != Some(key.key_id().to_string()) {
        return Err(wrong(format!("its id is {}, not what it says", key.key_id())));
    }
    Ok(key)
}

/// What the holders compare before they sign.
pub(crate) fn fingerprints(name: &str, signers: &Signers) -> Vec<[String; 4]> {
    let row = |key: &PublicKey| {
        let id: KeyId = key.key_id();
        let public = key.as_ed25519().map(hex::encode).unwrap_or_default();
        [name.to_owned(), format!("{} of {}", signers.threshold, signers.keys.len()), id.to_string(), public]
    };
    signers.keys.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    fn signer(role: TopLevel, seed: u8) -> Signer {
        let key = rstuf_keys::FileKey::generate(&mut Fixed(seed)).unwrap();
        let key = rstuf_keys::KeySource::public_key(&key).clone();
        Signer {
            group: role.to_string(),
            endpoint: "http://a:1".to_owned(),
            reachable: true,
            key_id: Some(key.key_id().to_string()),
            message: None,
            key_json: Some(key.to_value().to_string()),
        }
    }

    /// Randomness of which every byte is the same.
    struct Fixed(u8);

    impl rand::TryRng for Fixed {
        type Error = std::convert::Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Ok(u32::from_le_bytes([self.0; 4]))
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            Ok(u64::from_le_bytes([self.0; 8]))
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
            bytes.fill(self.0);
            Ok(())
        }
    }

    impl rand::TryCryptoRng for Fixed {}

    #[test]
    fn every_group_has_signers_that_answer_with_their_own_keys() {
        let all = [signer(TopLevel::Targets, 1), signer(TopLevel::Snapshot, 2), signer(TopLevel::Timestamp, 3)];
        let online = Online::new(&all).unwrap();
        assert_eq!((online.targets.keys.len(), online.targets.threshold), (1, 1));

        let missing = Online::new(&all[..2]).unwrap_err();
        assert!(missing.message.contains("no timestamp signer"), "{missing}");
        let mut silent = all.clone();
        silent[1].reachable = false;
        assert_eq!(Online::new(&silent).unwrap_err().exit, Exit::TryAgain);
        let mut false_id = all.clone();
        false_id[0].key_id = Some("00".repeat(32));
        assert!(Online::new(&false_id).unwrap_err().message.contains("not what it says"));
    }

    #[test]
    fn more_than_half_of_a_group_must_sign() {
        let threshold = |count: u8| {
            let mut all = vec![signer(TopLevel::Snapshot, 100), signer(TopLevel::Timestamp, 101)];
            all.extend((0..count).map(|seed| signer(TopLevel::Targets, seed)));
            Online::new(&all).unwrap().targets.threshold
        };
        assert_eq!([1, 2, 3, 4, 5].map(threshold), [1, 2, 2, 3, 3]);
    }
}
