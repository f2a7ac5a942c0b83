//! What a start is to publish.

use std::path::Path;
use std::{fs, io};

use crate::collect::{self, Collected, Search};
use crate::error::Error;

/// Under which directory the examples are published, apart from what people add.
const EXAMPLES_PREFIX: &str = "example";

/// The artifacts of a repository that was told of none.
const EXAMPLES: [(&str, &str); 2] = [
    ("hello.txt", include_str!("../../../example/hello.txt")),
    ("docs/about.txt", include_str!("../../../example/docs/about.txt")),
];

/// What this start is to publish. Examples are for a repository that is new, or that is to prove itself.
pub(crate) fn collect_artifacts(data: &Path, artifacts: Option<&Path>, once: bool) -> Result<Collected, Error> {
    let held = data.join("published/metadata/1.root.json").exists();
    let directory = match artifacts {
        Some(directory) if directory.is_dir() => directory.to_owned(),
        Some(other) => return Err(Error::usage(format!("--artifacts: {} is no directory", other.display()))),
        None if held && !once => return Ok(Collected::default()),
        None => {
            let directory = data.join(EXAMPLES_PREFIX);
            write_examples(&directory)
                .map_err(|error| Error::failed(format!("{} cannot be written: {error}", directory.display())))?;
            directory
        }
    };
    let prefix = artifacts.is_none().then(|| EXAMPLES_PREFIX.to_owned());
    collect::collect(&Search { paths: vec![directory], prefix, ..Search::default() })
}

fn write_examples(directory: &Path) -> io::Result<()> {
    for (name, text) in EXAMPLES {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap_or(directory))?;
        if !path.exists() {
            fs::write(path, text)?;
        }
    }
    Ok(())
}
