//! Questions to whoever sits at the terminal.

use std::io::{self, IsTerminal as _};

use dialoguer::Confirm;

use crate::{error::Error, output::Format};

/// Puts a question, and answers whether it was met with a yes.
pub(crate) type Asker = fn(&str) -> io::Result<bool>;

/// Whoever can be asked: nobody where a program reads the answers, or where standard input is no terminal.
pub(crate) fn asker(format: Format) -> Option<Asker> {
    let ask: Asker = |question| {
        let answer = Confirm::new().with_prompt(question).default(false).interact();
        answer.map_err(|dialoguer::Error::IO(error)| error)
    };
    (format == Format::Human && io::stdin().is_terminal()).then_some(ask)
}

/// Goes on only after a yes. `untouched` says what a no means, `unasked` what to do where there is nobody to ask.
///
/// # Errors
/// [`crate::error::Exit::Usage`] where there is nobody to ask, [`crate::error::Exit::Failed`] after a no.
pub(crate) fn confirm(asker: Option<Asker>, question: &str, untouched: &str, unasked: &str) -> Result<(), Error> {
    let Some(ask) = asker else {
        return Err(Error::usage(format!("there is no terminal to ask on: {question}")).next(unasked));
    };
    match ask(question) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::failed(format!("not confirmed: {untouched}"))),
        Err(error) => Err(Error::failed(format!("not confirmed: {untouched} ({error})"))),
    }
}
