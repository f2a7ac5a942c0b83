//! What a URL path asks for. Nothing in here touches a disk, and what comes out can't name anything but one plain file.

use percent_encoding::percent_decode_str;
use rstuf_tuf::{MetadataFile, TargetPath};

/// The name of a metadata file as it stands in the URL and in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetadataName<'a> {
    pub(crate) file: &'a str,
    /// Whether the name carries a version, so that it means the same bytes for ever.
    pub(crate) versioned: bool,
}

impl<'a> MetadataName<'a> {
    /// Reads `timestamp.json` or `VERSION.ROLE.json`, exactly as published: such names need no percent-encoding, so one
    /// that has any is another name, and there is no other.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        let file: MetadataFile = name.parse().ok()?;
        Some(Self { file: name, versioned: file != MetadataFile::Timestamp })
    }
}

/// One reading of an artifact's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) path: TargetPath,
    /// The digest that the URL names, in lower-case hex; of any algorithm.
    pub(crate) hash: Option<String>,
}

/// The readings of the part of a URL path after `/targets/`, most specific first: `dir/HASH.name` (TUF specification,
/// 6.2), `HASH.dir/name` (tough sets the hash before the whole path) and the bare `dir/name`.
///
/// Percent-encoding is undone once, and the result obeys the grammar of target paths. Encoded separators and NUL are
/// refused whatever they would decode to, since they are not equivalent to plain ones (RFC 3986, 2.2).
pub(crate) fn readings(raw: &str) -> Vec<Wanted> {
    let lower = raw.to_ascii_lowercase();
    if ["%2f", "%5c", "%00"].iter().any(|escape| lower.contains(escape)) {
        return Vec::new();
    }
    let Ok(decoded) = percent_decode_str(raw).decode_utf8() else { return Vec::new() };
    let (directory, name) =
        decoded.rsplit_once('/').map_or(("", decoded.as_ref()), |(directory, name)| (directory, name));
    let in_name = split_hash(name).map(|(hash, name)| match directory {
        "" => (hash, name.to_owned()),
        directory => (hash, format!("{directory}/{name}")),
    });
    // Without a directory both forms are one.
    let in_front = split_hash(&decoded).filter(|_| !directory.is_empty()).map(|(hash, path)| (hash, path.to_owned()));

    let hashed = [in_name, in_front].into_iter().flatten();
    // The grammar counts for what is left without the hash: with it, the longest path would be too long.
    let readings = hashed.map(|(hash, path)| (Some(hash.to_owned()), path)).chain([(None, decoded.to_string())]);
    let wanted = |(hash, path): (_, String)| Some(Wanted { path: TargetPath::try_from(path).ok()?, hash });
    readings.filter_map(wanted).collect()
}

/// Splits `HASH.rest`, where `HASH` looks like a digest of 32 to 64 bytes in lower-case hex.
fn split_hash(text: &str) -> Option<(&str, &str)> {
    let (hash, rest) = text.split_once('.')?;
    let hex = hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (hex && (64..=128).contains(&hash.len()) && hash.len() % 2 == 0 && !rest.is_empty()).then_some((hash, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hashed_names_that_look_like_two_forms_are_read_as_both() {
        let hash = "0123456789abcdef".repeat(4);
        let read = |raw: &str| -> Vec<(String, bool)> {
            readings(raw).into_iter().map(|wanted| (wanted.path.to_string(), wanted.hash.is_some())).collect()
        };
        let both = format!("{hash}.dir/{hash}.name");
        let expected = [(format!("{hash}.dir/name"), true), (format!("dir/{hash}.name"), true), (both.clone(), false)];
        assert_eq!(read(&both), expected);
        assert_eq!(read(&format!("{hash}.name")), [("name".to_owned(), true), (format!("{hash}.name"), false)]);
        // The longest path has a hashed form too, though that is no path itself.
        let longest = "x".repeat(TargetPath::BYTES_MAX);
        assert_eq!(read(&format!("{hash}.{longest}")), [(longest, true)]);
        // Neither too short, nor of upper case, nor without a name.
        for bare in [format!("{}.name", &hash[2..]), format!("{}.name", hash.to_uppercase()), format!("{hash}.")] {
            assert_eq!(read(&bare), [(bare, false)]);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_a_safe_path(
            raw in "([a-zé%./\\\\\u{0}-]|%2e|%2F|%5c|%00|%c3%a9|[0-9a-f]{64}\\.){0,12}",
        ) {
            for Wanted { path, hash } in readings(&raw) {
                prop_assert!(!path.as_str().split('/').any(|segment| matches!(segment, "" | "." | "..")));
                prop_assert!(!path.as_str().contains(['\\', '\0']));
                let is_digest = |hash: &str| hash.len() >= 64 && hash.bytes().all(|it| it.is_ascii_hexdigit());
                prop_assert!(hash.is_none_or(|hash| is_digest(&hash)));
            }
        }

        #[test]
        fn metadata_names_are_single_plain_components(
            name in "([0-9]{1,3}|timestamp|root|\\.|/|%2e|json|[a-z-]{1,4}){1,6}(\\.json)?",
        ) {
            if let Some(found) = MetadataName::parse(&name) {
                prop_assert_eq!(found.file, &name);
                prop_assert!(!name.starts_with('.') && !name.contains(['/', '%']) && name.ends_with(".json"));
            }
        }

        #[test]
        fn every_path_is_found_in_its_encoded_forms(
            path in "[a-z ü+]{1,5}(/[a-z ü+]{1,5}){0,3}",
            hash in "[0-9a-f]{64}",
        ) {
            use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
            const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.');
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", path.as_str()));
            let separator = if directory.is_empty() { "" } else { "/" };
            for form in [format!("{directory}{separator}{hash}.{name}"), format!("{hash}.{path}"), path.clone()] {
                let found = readings(&utf8_percent_encode(&form, KEPT).to_string());
                let wanted = (form != path).then(|| hash.clone());
                prop_assert!(found.iter().any(|one| one.path.as_str() == path && one.hash == wanted), "{}", form);
            }
        }
    }
}
