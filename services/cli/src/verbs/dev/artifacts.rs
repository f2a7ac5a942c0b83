//! What a start is to publish.

use std::{fs, io, path::Path};

use rstuf_standalone::Options;

use crate::{
    collect::{self, Collected, Search},
    error::Error,
};

/// Under which directory the examples are published, apart from what people add.
const EXAMPLES_PREFIX: &str = "example";

/// The artifacts of a repository that was told of none.
const EXAMPLES: [(&str, &str); 2] = [
    ("hello.txt", include_str!("../../../example/hello.txt")),
    ("docs/about.txt", include_str!("../../../example/docs/about.txt")),
];

/// The files of a directory that somebody named.
///
/// # Errors
/// Where it is none, or as [`collect::collect`].
pub(crate) fn given(directory: &Path) -> Result<Collected, Error> {
    if !directory.is_dir() {
        return Err(Error::usage(format!("--artifacts: {} is no directory", directory.display())));
    }
    collect::collect(&Search { paths: vec![directory.to_owned()], ..Search::default() })
}

/// Examples, which are written first; for a repository that is new, or that is to prove itself.
///
/// # Errors
/// Where they can't be written.
pub(crate) fn examples(repository: &Options, prove: bool) -> Result<Collected, Error> {
    if repository.first_root_file().exists() && !prove {
        return Ok(Collected::default());
    }
    let directory = repository.data_dir.join(EXAMPLES_PREFIX);
    write_examples(&directory)
        .map_err(|error| Error::failed(format!("{} cannot be written: {error}", directory.display())))?;
    let prefix = Some(EXAMPLES_PREFIX.to_owned());
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
