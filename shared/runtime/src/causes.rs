//! What is said of an error that ends something.

/// The error with its causes, but none that the text before it ends with.
pub fn with_causes(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !message.ends_with(&cause) {
            message.push_str(if message.is_empty() { "" } else { ": " });
            message.push_str(&cause);
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context as _;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("can't read it: {source}")]
    struct Unread {
        source: io::Error,
    }

    #[test]
    fn each_cause_is_told_once() {
        let error = Err::<(), _>(Unread { source: io::Error::other("the disk is gone") });
        let error = error.context("opening the state directory").unwrap_err();
        assert_eq!(with_causes(&error), "opening the state directory: can't read it: the disk is gone");
        // Another cause may consist of words that stand there by chance.
        let error = Err::<(), _>(io::Error::other("disk")).context("the disk is gone").unwrap_err();
        assert_eq!(with_causes(&error), "the disk is gone: disk");
    }
}
