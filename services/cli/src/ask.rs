//! Questions to whoever sits at the terminal.

use std::io::IsTerminal as _;

use dialoguer::Confirm;

use crate::context::Context;
use crate::error::Error;
use crate::output::Format;

/// Goes on only after a yes. `untouched` says what a no means, `unasked` what to do where there is nobody to ask.
///
/// # Errors
/// [`crate::error::Exit::Usage`] where there is nobody to ask, [`crate::error::Exit::Failed`] after a no.
pub(crate) fn confirm(context: &Context, question: &str, untouched: &str, unasked: &str) -> Result<(), Error> {
    if context.settings.output.value == Format::Json || !std::io::stdin().is_terminal() {
        return Err(Error::usage(format!("there is no terminal to ask on: {question}")).next(unasked));
    }
    match Confirm::new().with_prompt(question).default(false).interact() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::failed(format!("not confirmed: {untouched}"))),
        Err(error) => Err(Error::failed(format!("not confirmed: {untouched} ({error})"))),
    }
}
