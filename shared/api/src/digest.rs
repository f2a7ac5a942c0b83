//! The digest of changes, whatever the messages they came in; `Import.digest` in the proto states it for callers.

use prost::Message as _;
use rstuf_tuf::Sha256;

use crate::proto::artifacts::v1::Change;

/// Of no changes.
pub const OF_NOTHING: Sha256 = Sha256([0; 32]);

/// Of changes whose digest is `before`, followed by one that is encoded already.
#[must_use]
pub fn followed_by(before: Sha256, encoded: &[u8]) -> Sha256 {
    Sha256::of_all(&[before.as_bytes(), encoded])
}

/// Of changes whose digest is `before`, followed by one.
#[must_use]
pub fn followed_by_change(before: Sha256, change: &Change) -> Sha256 {
    followed_by(before, &change.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        convert,
        proto::artifacts::v1::{Artifact, Hash, HashAlgorithm, change::Kind},
    };

    /// Made by hand from the words of the proto alone, as another language would.
    #[test]
    fn it_is_what_the_proto_says() {
        let hash =
            |algorithm: HashAlgorithm, length| Hash { algorithm: algorithm.into(), digest: vec![7; length].into() };
        let artifact = |hashes: Vec<Hash>, custom_json: &str| {
            let artifact = Artifact { path: "a/b".into(), length: 0, hashes, custom_json: custom_json.into() };
            Change { kind: Some(Kind::Add(artifact)) }
        };
        let (sha256, sha512) = (hash(HashAlgorithm::Sha256, 32), hash(HashAlgorithm::Sha512, 64));
        let sent = vec![
            artifact(vec![sha512, sha256], "{\"b\": 2, \"a\": [true, null]}"),
            Change { kind: Some(Kind::RemovePath("c".into())) },
        ];
        let kept = convert::changes(sent, true).unwrap();
        let digest = kept.iter().map(Change::from).fold(OF_NOTHING, |before, it| followed_by_change(before, &it));

        let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat();
        let hash = |algorithm: u8, length| field(3, &[vec![1 << 3, algorithm], field(2, &vec![7; length])].concat());
        let json = b"{\"a\":[true,null],\"b\":2}";
        let artifact = [field(1, b"a/b"), hash(1, 32), hash(2, 64), field(4, json)].concat();
        // Longer than 127 bytes, so its length takes two.
        let length = artifact.len();
        let added = [vec![1 << 3 | 2, (length % 128 + 128) as u8, (length / 128) as u8], artifact].concat();
        let first = Sha256::of(&[vec![0; 32], added].concat());
        assert_eq!(digest, Sha256::of(&[&first.as_bytes()[..], &field(2, b"c")].concat()));
    }
}
