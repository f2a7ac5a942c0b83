//! Canonical text, recognised as it came: what signers write, so nearly all that is read. No values are made of it,
//! which is most of the work of reading a large document. Whatever is not recognised goes the long way, through
//! [`json`], which alone decides what is refused.

use std::ops::Range;

use crate::json;

/// Where something stands in a text.
pub(crate) type Place = Range<usize>;

/// Walks over a text that is both strict JSON and its own canonical form; every step answers none where it is not.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Arrays and objects around the place that is looked at.
    depth: usize,
}

impl<'a> Scanner<'a> {
    /// At the beginning of a text.
    pub(crate) fn new(bytes: &'a [u8]) -> Option<Self> {
        Some(Self { text: std::str::from_utf8(bytes).ok()?, at: 0, depth: 0 })
    }

    /// A text that is one value and nothing else.
    pub(crate) fn whole(bytes: &'a [u8]) -> Option<&'a str> {
        let mut scanner = Self::new(bytes)?;
        scanner.value()?;
        scanner.end()
    }

    /// What stands at a place.
    pub(crate) fn text(&self, place: Place) -> &'a str {
        self.text.get(place).unwrap_or_default()
    }

    /// Passes over a value.
    pub(crate) fn value(&mut self) -> Option<Place> {
        let begin = self.at;
        match self.peek()? {
            b'{' => self.object(|scanner, _| scanner.value().map(drop))?,
            b'[' => self.array()?,
            b'"' => self.string().map(|_| ())?,
            b'n' => self.literal("null")?,
            b't' => self.literal("true")?,
            b'f' => self.literal("false")?,
            _ => self.integer()?,
        }
        Some(begin..self.at)
    }

    /// Passes over an object; `member` gets the place of each key and passes over its value.
    pub(crate) fn object(&mut self, mut member: impl FnMut(&mut Self, Place) -> Option<()>) -> Option<()> {
        self.open(b'{')?;
        let mut last: Option<&str> = None;
        if self.peek()? != b'}' {
            loop {
                let key = self.string()?;
                let name = self.text(key.clone());
                // Canonical order is that of what an escape stands for; nobody has such keys.
                let in_order = last.is_none_or(|last| last < name);
                if !in_order || name.contains('\\') || json::is_reserved(name) {
                    return None;
                }
                last = Some(name);
                self.take(b':')?;
                member(self, key)?;
                if !self.comma() {
                    break;
                }
            }
        }
        self.close(b'}')
    }

    /// Where it is.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The whole text, where this is its end.
    pub(crate) fn end(&self) -> Option<&'a str> {
        (self.at == self.text.len()).then_some(self.text)
    }

    /// The next byte.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn array(&mut self) -> Option<()> {
        self.open(b'[')?;
        if self.peek()? != b']' {
            loop {
                self.value()?;
                if !self.comma() {
                    break;
                }
            }
        }
        self.close(b']')
    }

    /// Passes over a string; answers the place of what is between its quotes.
    fn string(&mut self) -> Option<Place> {
        self.take(b'"')?;
        let begin = self.at;
        loop {
            let rest = self.text.as_bytes().get(self.at..)?;
            let (plain, rest) = rest.split_at(memchr::memchr2(b'"', b'\\', rest)?);
            // Canonical, but not JSON. Without a way out of the loop it is one over many bytes at a time.
            if plain.iter().fold(false, |found, byte| found | (*byte < b' ')) {
                return None;
            }
            self.at += plain.len();
            match rest {
                [b'"', ..] => {
                    let place = begin..self.at;
                    self.at += 1;
                    return Some(place);
                }
                [b'\\', b'"' | b'\\', ..] => self.at += 2,
                _ => return None,
            }
        }
    }

    fn integer(&mut self) -> Option<()> {
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let digits = self.text.as_bytes().get(self.at..)?;
        let digits = &digits[..digits.iter().take_while(|byte| byte.is_ascii_digit()).count()];
        let canonical = match digits {
            [] => false,
            [b'0'] => !negative,
            [b'0', ..] => false,
            _ => true,
        };
        self.at += digits.len();
        let value = std::str::from_utf8(digits).ok()?.parse::<u64>().ok()?;
        (canonical && value <= json::INTEGER_MAX).then_some(())
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        self.text.as_bytes().get(self.at..)?.starts_with(literal.as_bytes()).then(|| self.at += literal.len())
    }

    fn open(&mut self, bracket: u8) -> Option<()> {
        self.depth += 1;
        if self.depth > json::DEPTH_MAX { None } else { self.take(bracket) }
    }

    fn close(&mut self, bracket: u8) -> Option<()> {
        self.depth -= 1;
        self.take(bracket)
    }

    fn comma(&mut self) -> bool {
        self.take(b',').is_some()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::canonical;

    /// What the long way takes and would write alike.
    fn is_canonical(bytes: &[u8]) -> bool {
        json::parse(bytes).and_then(|value| canonical::to_vec(&value)).is_ok_and(|canonical| canonical == bytes)
    }

    /// Compact JSON, its keys in any order.
    fn text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-(1_i64 << 54)..1 << 54).prop_map(Value::from),
            (-20_i64..20).prop_map(Value::from),
            "[\"\\\\a\u{1}\u{7f}é]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_map(|leaf| leaf.to_string()).prop_recursive(4, 24, 4, |inner| {
            let key = "[\"\\\\abc\u{1}é]{0,3}".prop_map(|key| Value::from(key).to_string());
            let member = (key, inner.clone()).prop_map(|(key, value)| format!("{key}:{value}"));
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::vec(member, 0..4).prop_map(|members| format!("{{{}}}", members.join(","))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Whatever is done to a canonical text, what is recognised is what the long way takes, and writes alike.
        #[test]
        fn recognises_only_what_the_long_way_takes_and_writes_alike(
            text in text(),
            at in any::<prop::sample::Index>(),
            put in prop::option::of("[\\[\\]{}:,\"\\\\0-9.eE+\\- \ntn\u{1}]{0,2}"),
            cut in 0..3_usize,
        ) {
            let mut bytes = text.into_bytes();
            if let Some(put) = put {
                let at = at.index(bytes.len());
                let end = (at + cut).min(bytes.len());
                bytes.splice(at..end, put.into_bytes());
            }
            let recognised = Scanner::whole(&bytes).is_some();
            prop_assert!(!recognised || is_canonical(&bytes), "{}", String::from_utf8_lossy(&bytes));
            // Only escapes in keys are left to the long way.
            let text = String::from_utf8_lossy(&bytes);
            prop_assert!(recognised || !is_canonical(&bytes) || text.contains('\\'), "{text}");
        }
    }

    #[test]
    fn what_is_strict_is_not_recognised_where_it_is_not_canonical() {
        let nested = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat();
        for recognised in [
            "{}",
            "[]",
            r#"{"A":-1,"a":[null,true,false,0],"b":{"c":"\"\\ é"}}"#,
            "9007199254740991",
            "-9007199254740991",
            &nested(json::DEPTH_MAX),
        ] {
            assert!(Scanner::whole(recognised.as_bytes()).is_some() && is_canonical(recognised.as_bytes()));
        }
        for left in [
            "",
            "{",
            "[1",
            "\"",
            "nul",
            "-",
            "-0",
            "01",
            "1.0",
            "1e3",
            "9007199254740992",
            "99999999999999999999",
            " 1",
            "1 ",
            "1,",
            "[1,]",
            "[,1]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{1:1}",
            "{\"b\":1,\"a\":1}",
            "{\"a\":1,\"a\":1}",
            "\"\u{1}\"",
            "\"\\n\"",
            "\"\\u0041\"",
            "{\"$serde_json::private::Number\":\"1\"}",
            &nested(json::DEPTH_MAX + 1),
        ] {
            assert!(Scanner::whole(left.as_bytes()).is_none(), "{left}");
        }
        assert!(Scanner::whole(b"\"\xff\"").is_none());
    }
}
