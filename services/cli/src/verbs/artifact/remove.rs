//! `rstuf artifact remove`

use std::{collections::BTreeSet, path::PathBuf, str::FromStr};

use clap::builder::NonEmptyStringValueParser;
use rstuf_tuf::{Change, TargetPath};
use serde::Serialize;

use super::path_list;
use crate::{
    ask,
    client::Client,
    context::Context,
    error::Error,
    output::Output,
    published::{self, Wanted},
    submit::{self, Before, SubmitArgs},
};

const EXAMPLES: &str = "\
In a pattern, `*` stands for any characters and `?` for one, neither for a `/`. What a pattern or a prefix finds in the
newest publication is shown, and removed after a yes. A path with `*` or `?` in it is taken as it stands from a list
only.

To remove what is not there is no error, unless --strict is given: then exit code 1 after the rest was removed.

Examples:
  rstuf artifact remove releases/1.0/app.tar.gz
  rstuf artifact rm 'nightly/2024-*'
  rstuf artifact remove --prefix dist/ --yes
  rstuf artifact list --all --json old/ | jq -r '.artifacts[].path' | rstuf artifact remove --from - --strict";

/// Remove artifacts by their paths
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RemoveArgs {
    /// Artifact paths, as `rstuf artifact list` shows them, or patterns
    #[arg(value_name = "PATH|PATTERN", required_unless_present_any = ["from", "prefix"])]
    named: Vec<Named>,
    /// A file with a path on each line, or - for standard input
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// All whose paths begin with this
    #[arg(long, value_name = "PREFIX", value_parser = NonEmptyStringValueParser::new())]
    prefix: Option<String>,
    /// Do not ask before what a pattern or a prefix finds is removed
    #[arg(long)]
    yes: bool,
    /// Exit 1 where something was not there
    #[arg(long, conflicts_with_all = ["no_wait", "hold"])]
    strict: bool,
    #[command(flatten)]
    submit: SubmitArgs,
}

/// What stands on the command line.
#[derive(Debug, Clone)]
enum Named {
    Path(TargetPath),
    /// As it was written, and what it means.
    Pattern(String, Wanted),
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<Wanted>()? {
            wanted if wanted.is_pattern() => Ok(Self::Pattern(text.to_owned(), wanted)),
            _ => text.parse().map(Named::Path).map_err(|error: rstuf_tuf::Error| error.to_string()),
        }
    }
}

/// The answer where nothing was found, so that there is no task.
#[derive(Debug, Serialize)]
struct Nothing {
    task: Option<()>,
    not_found: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: RemoveArgs) -> Result<(), Error> {
    let client = context.client()?;
    // A path may stand in a submission once; to name it twice means the same.
    let mut paths = BTreeSet::new();
    let mut searches = Vec::new();
    for named in args.named {
        match named {
            Named::Path(path) => drop(paths.insert(path)),
            Named::Pattern(text, wanted) => searches.push((text, wanted)),
        }
    }
    if let Some(file) = &args.from {
        paths.extend(path_list::read(file)?);
    }
    searches.extend(args.prefix.map(|prefix| (format!("{prefix}..."), Wanted::with_prefix(prefix))));
    let (found, not_found) = search(&client, context.output, &searches).await?;
    if !found.is_empty() && !args.yes {
        confirm(context, &found)?;
    }
    paths.extend(found);
    let changes: Vec<_> = paths.into_iter().map(|path| Change::Remove { path }).collect();
    let mut missing = u64::try_from(not_found.len()).unwrap_or(u64::MAX);
    if changes.is_empty() {
        let nothing = |nothing: &Nothing| format!("nothing to remove: there is no {}", nothing.not_found.join(", no "));
        context.output.answer(&Nothing { task: None, not_found }, nothing)?;
    } else {
        not_found.iter().for_each(|text| context.output.note(&format!("not found: {text}")));
        let task = submit::run(context, &client, &changes, Before::default(), &args.submit).await?;
        missing += task.counts.map_or(0, |counts| counts.not_found);
    }
    if args.strict && missing > 0 {
        return Err(Error::failed(format!("{missing} not found, which --strict does not allow")));
    }
    Ok(())
}

/// What the searches find, and those that find nothing.
async fn search(
    client: &Client,
    output: Output,
    searches: &[(String, Wanted)],
) -> Result<(BTreeSet<TargetPath>, Vec<String>), Error> {
    let mut found = BTreeSet::new();
    let mut not_found = Vec::new();
    for (text, wanted) in searches {
        let artifacts = published::list(client, output, wanted).await?;
        if artifacts.is_empty() {
            not_found.push(text.clone());
        }
        for artifact in artifacts {
            let path = artifact.path.parse().map_err(|error: rstuf_tuf::Error| Error::failed(error.to_string()))?;
            found.insert(path);
        }
    }
    Ok((found, not_found))
}

/// Paths that are shown before the question.
const PATHS_SHOWN_MAX: usize = 20;

fn confirm(context: &Context, found: &BTreeSet<TargetPath>) -> Result<(), Error> {
    for path in found.iter().take(PATHS_SHOWN_MAX) {
        context.output.note(&format!("  {path}"));
    }
    if found.len() > PATHS_SHOWN_MAX {
        context.output.note(&format!("  and {} more", found.len() - PATHS_SHOWN_MAX));
    }
    let question = match found.len() {
        1 => "Remove this artifact?".to_owned(),
        count => format!("Remove these {count} artifacts?"),
    };
    let unasked = "look at them with `rstuf artifact list`, then add --yes";
    ask::confirm(context.asker, &question, "nothing was removed", unasked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ask::Asker,
        error::Exit,
        output::{Format, Output},
        settings::{Flags, Settings},
    };

    /// Whoever says yes has read how many there are.
    #[test]
    fn a_person_is_asked_with_the_number_and_a_no_removes_nothing() {
        let answer = |count: usize, asker: Option<Asker>| {
            let settings = Settings::load(&Flags::default(), |_| None, []).unwrap();
            let (output, clock) = (Output::new(Format::Json), rstuf_runtime::Clock::system());
            let found = (0..count).map(|at| format!("a/{at}").parse().unwrap()).collect();
            confirm(&Context { settings, output, clock, asker }, &found)
        };
        let yes: Asker = |question| Ok(["Remove this artifact?", "Remove these 30 artifacts?"].contains(&question));
        assert_eq!((answer(1, Some(yes)), answer(30, Some(yes))), (Ok(()), Ok(())));
        for no in [|_: &str| Ok(false), |_: &str| Err(std::io::Error::other("gone"))] as [Asker; 2] {
            let refused = answer(30, Some(no)).unwrap_err();
            assert!(refused.exit == Exit::Failed && refused.message.contains("nothing was removed"), "{refused}");
        }
        assert_eq!(answer(30, None).unwrap_err().exit, Exit::Usage);
    }
}
