//! What the checked types refuse: every kind of bad input gets an error that names the field, its value and what is
//! allowed.
use std::{fmt::Debug, str::FromStr};

use proptest::prelude::*;
use rstuf_tuf::{
    Bins, Custom, Error, HashAlgorithm, HashPrefix, Hashes, KeyId, Layout, PathPattern, PublicKey, RoleKeys, RoleName,
    Sha256, SuccinctRoles, Target, TargetPath, Version,
};
use serde_json::json;

fn refused<T: FromStr<Err = Error> + Debug>(texts: &[&str]) {
    for text in texts {
        let error = text.parse::<T>().expect_err(text).to_string();
        assert!(error.contains("allowed"), "{error}");
        assert!(!error.contains(char::is_control), "no control characters in {error:?}");
    }
}

#[test]
fn paths_that_could_name_something_else_are_refused() {
    refused::<TargetPath>(&[
        "",
        "/",
        "/etc/passwd",
        "a/",
        "a//b",
        ".",
        "..",
        "./a",
        "a/.",
        "../a",
        "a/../b",
        "a/..",
        "a\\b",
        "\\",
        "a\0b",
        "a\nb",
        "a\u{7f}b",
        "a\u{85}b",
        "%2e%2e/a",
        "a%2Fb",
        "a%2fb",
        "a/%2E",
        "a%5cb",
        "a%5Cb",
        "a%00b",
        "e\u{301}",
        "\u{212b}",
        &"x".repeat(1025),
        &"é".repeat(513),
    ]);
    for allowed in
        ["a", "...", "a/..b", ".a", "1.root.json", "root", "a b", "100%", "%41", "a%2", "é", "A/a", &"x".repeat(1024)]
    {
        assert_eq!(allowed.parse::<TargetPath>().unwrap().as_str(), allowed);
    }
    let hidden = [
        '\u{ad}',
        '\u{61c}',
        '\u{115f}',
        '\u{180e}',
        '\u{200b}',
        '\u{200d}',
        '\u{200f}',
        '\u{2028}',
        '\u{202a}',
        '\u{202e}',
        '\u{2066}',
        '\u{2069}',
        '\u{3164}',
        '\u{fe0f}',
        '\u{feff}',
        '\u{e0041}',
        '\u{a0}',
        '\u{2800}',
        '\u{e000}',
        '\u{fdd0}',
        '\u{1ffff}',
    ];
    for character in hidden {
        // Documents from elsewhere may hold it, and what holds it may be removed.
        let path: TargetPath = format!("a{character}b").parse().unwrap();
        let error = path.check_visible().unwrap_err().to_string();
        assert!(error.contains(&format!("U+{:04X}", u32::from(character))), "{error}");
        assert!(!error.contains(character), "{error:?}");
    }
    for visible in ["a b", "é/ß", "日本語", "नमस्ते", "😀", "שלום", "一\u{3000}二"] {
        visible.parse::<TargetPath>().unwrap().check_visible().unwrap();
    }
    for spaced in [" a", "a ", "a /b", "a/ b"] {
        let error = spaced.parse::<TargetPath>().unwrap().check_visible().unwrap_err().to_string();
        assert!(error.contains("no space at the beginning or the end"), "{error}");
    }
    refused::<PathPattern>(&["", "/*", "a//*", "../*", "[ab]", "a]", "a\\*", "%2e/*"]);
}

#[test]
fn role_names_that_could_be_taken_for_others_are_refused() {
    refused::<RoleName>(&[
        "",
        "Root",
        "ROOT",
        "a.b",
        "1.root",
        "1",
        "007",
        "a/b",
        "a b",
        "é",
        "a\r\nb",
        &"x".repeat(65),
    ]);
    for top_level in ["root", "targets", "snapshot", "timestamp"] {
        assert!(top_level.parse::<RoleName>().unwrap().top_level().is_some());
        assert!(RoleName::delegated(top_level).is_err());
    }
    for allowed in ["a", "bins-0f", "1-a", "_", "rooted", &"x".repeat(64)] {
        assert_eq!(RoleName::delegated(allowed).unwrap().as_str(), allowed);
    }
}

#[test]
fn numbers_are_bounded() {
    assert_eq!(Version::new(2_147_483_647).unwrap(), Version::MAX);
    assert!(Version::new(0).is_err() && Version::new(2_147_483_648).is_err());
    assert!(Version::MAX.next().is_none());
    refused::<Version>(&["", "0", "01", "+1", "-1", "1.0", "2147483648", "99999999999999999999"]);
    let hashes = || Hashes::sha256(Sha256([0; 32]));
    assert!(Target::new((1 << 53) - 1, hashes(), None).is_ok());
    assert!(Target::new(1 << 53, hashes(), None).is_err());
    for count in [0, 1, 3, 255, 32_768] {
        assert!(Bins::new(count).is_err(), "{count} bins");
    }
    refused::<Layout>(&["", "Flat", "flat:2", "succinct", "succinct:", "succinct:3", "prefix:32768", "prefix:+2 "]);
    let keys = RoleKeys::new(vec![KeyId([1; 32])], 1).unwrap();
    assert!(RoleKeys::new(vec![KeyId([1; 32])], 0).is_err() && RoleKeys::new(vec![KeyId([1; 32])], 2).is_err());
    assert!(RoleKeys::new(vec![KeyId([1; 32]); 2], 1).is_err(), "a key id twice");
    assert!(
        SuccinctRoles::new(keys.clone(), 0, "bins").is_err() && SuccinctRoles::new(keys.clone(), 33, "bins").is_err()
    );
    assert!(SuccinctRoles::new(keys, 8, "Bins").is_err());
}

#[test]
fn digests_have_one_form() {
    let digits = "0f".repeat(32);
    assert_eq!(digits.parse::<Sha256>().unwrap().to_string(), digits);
    refused::<Sha256>(&["", &"0f".repeat(31), &"0f".repeat(33), &"0F".repeat(32), &"zz".repeat(32), &digits[1..]]);
    refused::<KeyId>(&["", &"0F".repeat(32)]);
    refused::<HashPrefix>(&["", "F", "g", &"0".repeat(65)]);
    for bytes in [0, 31, 33, 64] {
        assert!(Sha256::try_from(vec![0; bytes].as_slice()).is_err(), "{bytes} bytes");
    }
    let hashes = Hashes::sha256(Sha256([0; 32]));
    assert!(hashes.clone().with(HashAlgorithm::Sha512, &[0; 32]).is_err());
    assert_eq!(hashes.with(HashAlgorithm::Sha512, &[7; 64]).unwrap().get(HashAlgorithm::Sha512).unwrap(), [7; 64]);
    assert!(matches!(Hashes::from_hex([("sha512", "00".repeat(64).as_str())]), Err(Error::Missing { .. })));
    assert!(Hashes::from_hex([("sha256", digits.as_str()), ("blake2b-256", "00")]).is_err());
    for twice in ["sha256", "md6"] {
        assert!(
            Hashes::from_hex([("sha256", digits.as_str()), (twice, digits.as_str()), (twice, digits.as_str())])
                .is_err()
        );
    }
    let kept = Hashes::from_hex([("sha256", digits.as_str()), ("md6", "whatever")]).unwrap();
    assert_eq!(kept.iter().last().unwrap(), ("md6", "whatever".to_owned()));
}

#[test]
fn keys_that_prove_nothing_are_refused() {
    let key = |public: &str| json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": public } });
    let weak = ["01".to_owned() + &"00".repeat(31), "00".repeat(32), "ff".repeat(31), "FF".repeat(32), String::new()];
    for public in weak {
        assert!(PublicKey::from_value(&key(&public)).is_err(), "{public}");
    }
    assert!(
        PublicKey::from_value(&json!({ "keytype": "ed25519", "scheme": "none", "keyval": { "public": "" } })).is_err()
    );
    let rsa = json!({ "keytype": "rsa", "scheme": "rsassa-pss-sha256", "keyval": { "public": "PEM" }, "x": [1] });
    let rsa = PublicKey::from_value(&rsa).unwrap();
    assert_eq!(rsa.to_value()["x"], json!([1]), "keys of other types are kept");
    assert!(!rsa.verify(b"", &[0; 64]), "but verify nothing");
}

#[test]
fn custom_is_an_object_never_empty_and_bounded() {
    let of_size = |bytes: usize| json!({ "a": "x".repeat(bytes - 8) }).as_object().unwrap().clone();
    assert!(Custom::new(of_size(Custom::BYTES_MAX)).is_ok());
    assert!(Custom::new(of_size(Custom::BYTES_MAX + 1)).is_err());
    let nested = |levels: usize| "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels);
    assert!(Custom::from_json(nested(Custom::DEPTH_MAX).as_bytes()).is_ok());
    for bad in [&nested(Custom::DEPTH_MAX + 1), "{}", "[]", "null", "1", "{\"a\":1.5}", "{\"a\":1,\"a\":1}"] {
        assert!(Custom::from_json(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(Custom::new(json!({ "a": 0.5 }).as_object().unwrap().clone()).is_err());
}

/// Bidirectional controls, as the Unicode standard (UAX #9) lists them, and characters of width zero.
fn has_named_control(text: &str) -> bool {
    let named = "\u{61c}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\
        \u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2060}\u{2066}\u{2067}\u{2068}\u{2069}\u{feff}";
    text.chars().any(|character| named.contains(character))
}

proptest! {
    /// Whatever is added shows each of its characters, as escaping for people agrees.
    #[test]
    fn what_passes_as_visible_is_seen(text in "[a-z]\\PC{0,8}\\p{Cf}?\\PC{0,4}") {
        if let Ok(path) = text.parse::<TargetPath>() {
            let spaced = |segment: &str| segment.starts_with(' ') || segment.ends_with(' ');
            let hidden = text.chars().any(rstuf_tuf::text::is_hidden) || text.split('/').any(spaced);
            prop_assert_eq!(path.check_visible().is_err(), hidden);
            let formats = has_named_control(&text);
            prop_assert!(!formats || hidden, "{:?}", text);
        }
    }

    #[test]
    fn a_pattern_matches_as_plain_recursion_does(glob in "[ab*?]{1,8}", text in "[ab]{1,10}") {
        fn plain(glob: &[u8], text: &[u8]) -> bool {
            match (glob.split_first(), text.split_first()) {
                (None, None) => true,
                (Some((b'*', rest)), _) if plain(rest, text) => true,
                (Some((b'*', _)), Some((_, text))) => plain(glob, text),
                (Some((wanted, glob)), Some((found, text))) => {
                    (wanted == found || *wanted == b'?') && plain(glob, text)
                }
                _ => false,
            }
        }
        let pattern: PathPattern = glob.parse().unwrap();
        prop_assert_eq!(pattern.matches(&text.parse().unwrap()), plain(glob.as_bytes(), text.as_bytes()));
        let deeper = [text.as_str(), &text].join("/").parse().unwrap();
        prop_assert!(!pattern.matches(&deeper), "no wildcard crosses a slash");
    }
}
