//! Text that people read: a name must look like what it is.

/// Characters that nobody sees or that turn the direction of others, first and last of each range: General_Category
/// `Cf`, `Zl` and `Zp` (UnicodeData.txt) and Default_Ignorable_Code_Point (DerivedCoreProperties.txt) of the Unicode
/// Character Database.
const HIDDEN: [(char, char); 25] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
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
];

/// Whether nobody sees the character, or it turns the direction of others. Control characters are not meant.
#[must_use]
pub fn is_hidden(character: char) -> bool {
    !character.is_ascii() && HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&character))
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
