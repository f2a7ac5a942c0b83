//! Product code as tokens: without comments, line breaks, and what is there for tests only.

use std::iter::Peekable;

use proc_macro2::{Delimiter, TokenStream, TokenTree, token_stream::IntoIter};

/// The tokens of a source file as they are written, groups opened and closed.
pub(crate) fn product(text: &str) -> Vec<String> {
    let mut flat = Vec::new();
    flatten(text.parse().unwrap(), &mut flat);
    flat
}

fn flatten(stream: TokenStream, flat: &mut Vec<String>) {
    let mut tokens = stream.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(mark) if mark.as_char() == '#' && tokens.peek().is_some_and(is_for_tests) => {
                skip_item(&mut tokens);
            }
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                flat.push(open.to_owned());
                flatten(group.stream(), flat);
                flat.push(close.to_owned());
            }
            token => flat.push(token.to_string()),
        }
    }
}

fn is_for_tests(attribute: &TokenTree) -> bool {
    attribute.to_string().replace(' ', "") == "[cfg(test)]"
}

/// From the end of the attribute's `#` to that of what it belongs to.
fn skip_item(tokens: &mut Peekable<IntoIter>) {
    for token in tokens {
        let ends = match token {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            TokenTree::Punct(mark) => [';', ','].contains(&mark.as_char()),
            TokenTree::Ident(_) | TokenTree::Literal(_) => false,
        };
        if ends {
            return;
        }
    }
}

#[test]
fn only_what_is_for_tests_is_left_out() {
    let text = "
        use a; // nothing
        #[cfg(test)]
        mod tests { fn f() { b } }
        fn g() { h!(\"}\", #[cfg(test)] b, c) }
    ";
    let expected = ["use", "a", ";", "fn", "g", "(", ")", "{", "h", "!", "(", "\"}\"", ",", "c", ")", "}"];
    assert_eq!(product(text), expected);
}
