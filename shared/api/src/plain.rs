//! How nearly every change looks while it is bytes: the addition of an ordinary path with its length and its SHA-256
//! alone, or the removal of one, each as protobuf writes it. What is recognised is known to be sound without making
//! objects of it, which is most of the work of checking it. Whatever is not recognised goes the long way, through
//! [`convert`], which alone decides what is refused.

use rstuf_tuf::{Change, Sha256, Target, TargetPath, json};

/// Fields of a change, with their wire type: both have a length.
const ADD: u8 = 1 << 3 | 2;
const REMOVE_PATH: u8 = 2 << 3 | 2;
/// Fields of an artifact.
const PATH: u8 = 1 << 3 | 2;
const LENGTH: u8 = 2 << 3;
/// The field of an artifact with one hash, and what stands before its digest: algorithm and length.
const SHA256: [u8; 6] = [3 << 3 | 2, 36, 1 << 3, 1, 2 << 3 | 2, 32];

/// A change that was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plain<'a> {
    Add { path: &'a str, length: u64, sha256: Sha256 },
    Remove { path: &'a str },
}

impl<'a> Plain<'a> {
    /// Recognises a change that is sound, and encoded as it is once it is checked.
    pub(crate) fn of(encoded: &'a [u8]) -> Option<Self> {
        let mut rest = encoded;
        let plain = match *rest.first()? {
            ADD => Self::artifact(delimited(&mut rest, ADD)?)?,
            _ => Self::Remove { path: path(delimited(&mut rest, REMOVE_PATH)?)? },
        };
        rest.is_empty().then_some(plain)
    }

    fn artifact(mut rest: &'a [u8]) -> Option<Self> {
        let path = path(delimited(&mut rest, PATH)?)?;
        let length = match rest.strip_prefix(&[LENGTH]) {
            // What is 0 is not written.
            None => 0,
            Some(more) => {
                rest = more;
                varint(&mut rest).filter(|length| (1..=json::INTEGER_MAX).contains(length))?
            }
        };
        let digest = rest.strip_prefix(&SHA256)?;
        Some(Self::Add { path, length, sha256: Sha256::try_from(digest).ok()? })
    }

    /// Its path.
    pub(crate) fn path(self) -> &'a str {
        match self {
            Self::Add { path, .. } | Self::Remove { path } => path,
        }
    }

    /// The change.
    pub(crate) fn change(self) -> Option<Change> {
        let path = TargetPath::try_from(self.path()).ok()?;
        Some(match self {
            Self::Add { length, sha256, .. } => {
                Change::Add { path, target: Target::new(length, sha256.into(), None).ok()? }
            }
            Self::Remove { .. } => Change::Remove { path },
        })
    }
}

/// Passes over a field with this key; gives what is in it.
fn delimited<'a>(rest: &mut &'a [u8], key: u8) -> Option<&'a [u8]> {
    if *rest.split_off_first()? != key {
        return None;
    }
    let length = varint(rest)?;
    rest.split_off(..usize::try_from(length).ok()?)
}

/// A number as protobuf writes it: not with more bytes than it needs.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    // More would be beyond any length.
    for shift in (0..63).step_by(7) {
        let byte = *rest.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return (byte > 0 || shift == 0).then_some(number);
        }
    }
    None
}

fn path(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| TargetPath::is_plain(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::{
        convert,
        proto::artifacts::v1::{self as proto, change::Kind},
    };

    /// What the long way makes of encoded bytes: the checked change, and its bytes.
    fn the_long_way(encoded: &[u8]) -> Option<(Change, Vec<u8>)> {
        let message = proto::Change::decode(encoded).ok()?;
        let [change] = convert::changes(vec![message], true).ok()?.try_into().ok()?;
        let encoded = proto::Change::from(&change).encode_to_vec();
        Some((change, encoded))
    }

    fn path_text() -> impl Strategy<Value = String> {
        prop_oneof![4 => "[a-z]{1,3}(/[a-z0-9_.-]{0,9}[a-z]){0,3}", 1 => "[a/.% \u{ad}é]{0,8}", 1 => "[a-z]{120,140}"]
    }

    fn hash() -> impl Strategy<Value = proto::Hash> {
        let bytes = prop_oneof![4 => Just(32_usize), 1 => 0..70_usize];
        (prop_oneof![4 => Just(1), 1 => -1..5_i32], bytes)
            .prop_map(|(algorithm, bytes)| proto::Hash { algorithm, digest: vec![7; bytes].into() })
    }

    fn message() -> impl Strategy<Value = proto::Change> {
        let length = prop_oneof![Just(0), 1..1_000_u64, any::<u64>(), (1_u64 << 53) - 2..=(1 << 53) + 1];
        let hashes = prop_oneof![4 => prop::collection::vec(hash(), 1..2), 1 => prop::collection::vec(hash(), 0..3)];
        let custom = prop_oneof![9 => Just(""), 1 => Just("{\"a\":1}"), 1 => Just("no JSON")];
        let artifact = (path_text(), length, hashes, custom).prop_map(|(path, length, hashes, custom)| {
            Kind::Add(proto::Artifact { path, length, hashes, custom_json: custom.to_owned() })
        });
        let kind = prop_oneof![4 => artifact, 1 => path_text().prop_map(Kind::RemovePath)];
        prop_oneof![9 => kind.prop_map(Some), 1 => Just(None)].prop_map(|kind| proto::Change { kind })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Whatever is done to an encoded change, what is recognised is what the long way takes, with these bytes.
        #[test]
        fn recognises_only_what_the_long_way_takes(
            message in message(),
            at in any::<prop::sample::Index>(),
            put in prop::option::of(prop::collection::vec(any::<u8>(), 0..3)),
            cut in 0..3_usize,
        ) {
            let mut encoded = message.encode_to_vec();
            if let Some(put) = put {
                let at = at.index(encoded.len() + 1);
                let end = (at + cut).min(encoded.len());
                encoded.splice(at..end, put);
            }
            let (recognised, taken) = (Plain::of(&encoded), the_long_way(&encoded));
            if let Some(plain) = recognised {
                let (change, written) = taken.clone().expect("taken the long way too");
                prop_assert_eq!(plain.path(), change.path().as_str());
                prop_assert_eq!(plain.change(), Some(change));
                prop_assert_eq!(&written, &encoded);
            }
            // Nothing else is left to the long way.
            if let Some((change, written)) = taken
                && written == encoded
                && TargetPath::is_plain(change.path().as_str())
            {
                let alone = match &change {
                    Change::Add { target, .. } => target.custom().is_none() && target.hashes().iter().count() == 1,
                    Change::Remove { .. } => true,
                };
                prop_assert_eq!(recognised.is_some(), alone);
            }
        }
    }

    /// What decodes to the same, but is written otherwise than protobuf does, has other bytes once it is checked.
    #[test]
    fn what_is_written_otherwise_is_left_to_the_long_way() {
        let field = |key: u8, bytes: &[u8]| [&[key, bytes.len() as u8], bytes].concat();
        let artifact = |length: &[u8]| [&field(PATH, b"a")[..], length, &SHA256, &[7; 32]].concat();
        for (length, recognised) in [
            (&[][..], true),
            (&[LENGTH, 1], true),
            (&[LENGTH, 0x80, 1], true),
            (&[LENGTH, 0], false),
            (&[LENGTH, 0x81, 0], false),
            (&[LENGTH, 1, LENGTH, 2], false),
            (&[LENGTH, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], false),
        ] {
            let encoded = field(ADD, &artifact(length));
            let written = the_long_way(&encoded).map(|(_, written)| written);
            assert_eq!(Plain::of(&encoded).is_some(), recognised, "{length:?}");
            assert_eq!(written == Some(encoded), recognised, "{length:?}");
        }
        for removal in [&[REMOVE_PATH, 0x81, 0, b'a'][..], &[REMOVE_PATH, 1, b'b', REMOVE_PATH, 1, b'a']] {
            assert!(the_long_way(removal).is_some() && Plain::of(removal).is_none(), "{removal:?}");
        }
    }
}
