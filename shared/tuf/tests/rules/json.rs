//! JSON: what is read of it, and its canonical form.

use proptest::prelude::*;
use rstuf_tuf::{Error, TargetPath, canonical, json};
use serde_json::Value;

#[test]
fn json_that_two_readers_could_read_differently_is_refused() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let deep_objects = |levels: usize| "{\"a\":".repeat(levels - 1) + "{}" + &"}".repeat(levels - 1);
    for bad in [
        "",
        " ",
        "{",
        "{}{}",
        "{} x",
        "nul",
        "'a'",
        "{a:1}",
        "[1,]",
        "{\"a\":1,}",
        "\u{feff}{}",
        "NaN",
        "Infinity",
        "01",
        "+1",
        "-",
        "1.0",
        "1e3",
        "1E3",
        "-0",
        "0.0",
        "9007199254740992",
        "-9007199254740992",
        "18446744073709551616",
        "\"\\ud800\"",
        "\"\\x\"",
        "\"\n\"",
        "\"a",
        "// c\n1",
        "{\"a\":1,\"a\":1}",
        "{\"a\":1,\"\\u0061\":2}",
        "[{\"b\":{\"a\":1,\"c\":0,\"a\":2}}]",
        "{\"$serde_json::private::Number\":\"1\"}",
        "{\"$serde_json::private::RawValue\":\"1\"}",
        "{\"a\":1,\"$serde_json::private::Number\":\"1\"}",
        &deep(json::DEPTH_MAX + 1),
        &deep_objects(json::DEPTH_MAX + 1),
        &deep(100_000),
    ] {
        let shown: String = bad.chars().take(60).collect();
        assert!(matches!(json::parse(bad.as_bytes()), Err(Error::Json { .. })), "{shown}");
    }
    for bytes in [&b"\"\xff\""[..], b"\"\xc0\x80\"", b"\"\xed\xa0\x80\"", b"{\"a\xfe\":1}", b"\xfe\xff"] {
        assert!(json::parse(bytes).is_err(), "{bytes:?}");
    }
    for good in [
        &deep(json::DEPTH_MAX),
        &deep_objects(json::DEPTH_MAX),
        " [ 1 , 9007199254740991, -9007199254740991 ] ",
        "\"\\ud83d\\ude00\"",
    ] {
        assert!(json::parse(good.as_bytes()).is_ok(), "{good}");
    }
}

/// Any JSON that documents may hold.
fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![any::<String>(), "[ -~\u{0}-\u{1f}]{0,8}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..6)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// The definition, written as plainly as it can be: what `canonical` must equal.
fn plain_canonical(value: &Value) -> String {
    let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match value {
        Value::String(text) => quote(text),
        Value::Array(items) => format!("[{}]", items.iter().map(plain_canonical).collect::<Vec<_>>().join(",")),
        Value::Object(map) => {
            let mut keys: Vec<Vec<char>> = map.keys().map(|key| key.chars().collect()).collect();
            keys.sort();
            let keys = keys.into_iter().map(String::from_iter);
            let entries: Vec<_> = keys.map(|key| format!("{}:{}", quote(&key), plain_canonical(&map[&key]))).collect();
            format!("{{{}}}", entries.join(","))
        }
        other => other.to_string(),
    }
}

proptest! {
    #[test]
    fn canonical_form_follows_its_definition(value in value()) {
        prop_assert_eq!(String::from_utf8(canonical::to_vec(&value).unwrap()).unwrap(), plain_canonical(&value));
    }

    #[test]
    fn strict_parsing_reads_what_was_written(value in value(), pretty in any::<bool>()) {
        let text = if pretty { format!("{value:#}") } else { value.to_string() };
        prop_assert_eq!(json::parse(text.as_bytes()).unwrap(), value);
    }

    #[test]
    fn no_bytes_make_the_parser_or_the_types_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        text in any::<String>(),
    ) {
        if let Ok(value) = json::parse(&bytes) {
            prop_assert!(canonical::to_vec(&value).is_ok());
        }
        let _ = rstuf_tuf::Envelope::parse(&bytes);
        if let Ok(path) = text.parse::<TargetPath>() {
            prop_assert!(path.as_str() == text && !text.contains("..//") && !text.starts_with('/'));
            let back: TargetPath = serde_json::from_value(serde_json::to_value(&path).unwrap()).unwrap();
            prop_assert_eq!(back, path);
        }
    }
}
