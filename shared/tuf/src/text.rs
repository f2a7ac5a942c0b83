//! Text that people read: a name must look like what it is.

/// Characters that nobody sees or that turn the direction of others, first and last of each range: General_Category
/// `Cf`, `Zl` and `Zp` (UnicodeData.txt) and Default_Ignorable_Code_Point (DerivedCoreProperties.txt) of the Unicode
/// Character Database; spaces that look like the plain one (`Zs` but for U+0020, and U+3000, which is plainly wider),
/// the blank braille pattern; and what looks like something only by private agreement (`Co`).
const HIDDEN: [(char, char); 30] = [
    ('\u{a0}', '\u{a0}'),
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{2000}', '\u{200f}'),
    ('\u{2028}', '\u{202f}'),
    ('\u{205f}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{e000}', '\u{f8ff}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
    ('\u{f0000}', '\u{10ffff}'),
];

/// Whether nobody sees the character, it turns the direction of others, or is none (the non-characters of Unicode).
/// Control characters are not meant.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    let code = u32::from(character);
    let is_none = (0xfdd0..=0xfdef).contains(&code) || code & 0xfffe == 0xfffe;
    is_none || !character.is_ascii() && HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&character))
}

/// How people name a character: `U+202E`.
pub(crate) fn code_point(character: char) -> String {
    format!("U+{:04X}", u32::from(character))
}

/// The text in quotes, as `{:?}` has it, with what is hidden written as escapes too.
#[must_use]
pub fn quoted(text: &str) -> String {
    let escape = |character: char| match is_hidden(character) {
        true => character.escape_unicode().to_string(),
        false => character.to_string(),
    };
    format!("{text:?}").chars().map(escape).collect()
}
