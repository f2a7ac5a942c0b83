//! From paths on the command line to files and the paths of their artifacts.
//!
//! A file's artifact path is its base name, or what `--as` says. A directory is walked in the order of the names, and
//! the artifact path of a file in it is relative to it. What is hidden inside a directory is left out, and said so,
//! unless it is asked for; so are links, unless they are to be followed, and what is neither file nor directory. What
//! is named on the command line is taken: somebody asked for it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use rstuf_tuf::TargetPath;
use serde::Serialize;
use walkdir::{DirEntry, WalkDir};

use crate::{
    error::{Error, Violation},
    output::Output,
};

/// What to look for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    /// Files and directories.
    pub(crate) paths: Vec<PathBuf>,
    /// Goes before each artifact path.
    pub(crate) prefix: Option<String>,
    /// The artifact path of the only file.
    pub(crate) name: Option<String>,
    /// Follow links inside directories.
    pub(crate) follow_links: bool,
    /// Take what is hidden inside directories: whatever has a name that begins with a dot.
    pub(crate) hidden: bool,
}

/// A file to make an artifact of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where it is.
    pub(crate) source: PathBuf,
    /// What the artifact is called.
    pub(crate) path: TargetPath,
    /// Bytes, when it was found.
    pub(crate) length: u64,
}

/// Something that was found and left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Skipped {
    /// Where it is.
    pub(crate) source: String,
    pub(crate) reason: Reason,
}

/// Why something was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// Its name begins with a dot; a directory is left out with all that is in it.
    Hidden,
    Link,
    /// Neither a file nor a directory.
    Special,
}

impl Reason {
    fn words(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Link => "a link",
            Self::Special => "neither a file nor a directory",
        }
    }

    /// The flag that takes it.
    fn flag(self) -> Option<&'static str> {
        match self {
            Self::Hidden => Some("--hidden"),
            Self::Link => Some("--follow-links"),
            Self::Special => None,
        }
    }
}

/// Names that are told one by one; the rest is counted, and JSON has them all.
const SKIPPED_SHOWN_MAX: usize = 10;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Files, each artifact path once.
    pub(crate) files: Vec<Found>,
    /// What was left out.
    pub(crate) skipped: Vec<Skipped>,
    /// Files whose names no artifact can have.
    impossible: Vec<Violation>,
}

/// Walks what is to be searched.
///
/// # Errors
/// Where a path is absent or unreadable, a name can't be an artifact's path, two files would be one artifact, or there
/// is no file at all.
pub(crate) fn collect(search: &Search) -> Result<Collected, Error> {
    let mut collected = Collected::default();
    for path in &search.paths {
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if metadata.is_dir() {
            if search.name.is_some() {
                return Err(Error::usage(format!("--as names one file, but {} is a directory", path.display())));
            }
            walk(search, path, &mut collected)?;
        } else if metadata.is_file() {
            let base_name = || path.file_name().map(Path::new);
            let name = search.name.as_deref().map(Path::new).or_else(base_name).unwrap_or(path);
            collected.add(search, path.clone(), name, metadata.len());
        } else {
            return Err(Error::failed(format!("{} is neither a file nor a directory", path.display())));
        }
    }
    refuse_impossible(search, &collected.impossible)?;
    if collected.files.is_empty() {
        return Err(Error::failed(nothing(search, &collected.skipped)));
    }
    refuse_twins(&collected.files)?;
    Ok(collected)
}

impl Collected {
    /// Tells what was left out; `flags` where the verb has those that would take it.
    pub(crate) fn tell(&self, output: Output, flags: bool) {
        for one in self.skipped.iter().take(SKIPPED_SHOWN_MAX) {
            let flag = one.reason.flag().filter(|_| flags).map(|flag| format!(" ({flag} takes it)"));
            output.note(&format!("left out: {} is {}{}", one.source, one.reason.words(), flag.unwrap_or_default()));
        }
        if self.skipped.len() > SKIPPED_SHOWN_MAX {
            output.note(&format!("left out: {} more", self.skipped.len() - SKIPPED_SHOWN_MAX));
        }
    }

    fn skip(&mut self, entry: &DirEntry, reason: Reason) {
        self.skipped.push(Skipped { source: entry.path().display().to_string(), reason });
    }

    fn add(&mut self, search: &Search, source: PathBuf, name: &Path, length: u64) {
        match artifact_path(search, name) {
            Ok(path) => self.files.push(Found { source, path, length }),
            Err(description) => self.impossible.push(Violation { field: source.display().to_string(), description }),
        }
    }
}

fn artifact_path(search: &Search, name: &Path) -> Result<TargetPath, String> {
    let name = name.to_str().ok_or("the name is not UTF-8, as artifact paths are")?;
    let full = match search.prefix.as_deref().map(|prefix| prefix.strip_suffix('/').unwrap_or(prefix)) {
        None | Some("") => name.to_owned(),
        Some(prefix) => format!("{prefix}/{name}"),
    };
    // The coordinator refuses what looks like what it is not; so that is told before anything is hashed.
    let visible = |path: TargetPath| path.check_visible().map(|()| path);
    TargetPath::try_from(full.as_str()).and_then(visible).map_err(|error| error.to_string())
}

fn walk(search: &Search, root: &Path, collected: &mut Collected) -> Result<(), Error> {
    let walk = WalkDir::new(root).min_depth(1).follow_links(search.follow_links).sort_by_file_name();
    let mut entries = walk.into_iter();
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|error| walk_error(root, &error))?;
        let kind = entry.file_type();
        if !search.hidden && is_hidden(&entry) {
            collected.skip(&entry, Reason::Hidden);
            if kind.is_dir() {
                entries.skip_current_dir();
            }
        } else if kind.is_file() {
            let length = entry.metadata().map_err(|error| walk_error(root, &error))?.len();
            let name = entry.path().strip_prefix(root).unwrap_or(entry.path()).to_owned();
            collected.add(search, entry.into_path(), &name, length);
        } else if kind.is_symlink() {
            collected.skip(&entry, Reason::Link);
        } else if !kind.is_dir() {
            collected.skip(&entry, Reason::Special);
        }
    }
    Ok(())
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn refuse_impossible(search: &Search, impossible: &[Violation]) -> Result<(), Error> {
    let message = match impossible {
        [] => return Ok(()),
        [one] => format!("{}: {}, so it can't be an artifact", one.field, one.description),
        several => format!("{} files can't be artifacts, nothing was submitted", several.len()),
    };
    let next = match search.name {
        Some(_) => "give --as and --prefix a well formed path, such as releases/1.0/app.tar.gz",
        None => "rename such a file, or add it alone and name it with --as; a --prefix must be well formed too",
    };
    Err(Error::failed(message).next(next).violations(impossible.to_vec()))
}

fn refuse_twins(files: &[Found]) -> Result<(), Error> {
    let mut sources: HashMap<&TargetPath, &Path> = HashMap::with_capacity(files.len());
    for file in files {
        if let Some(first) = sources.insert(&file.path, &file.source) {
            let message =
                format!("{} and {} would both be the artifact {}", first.display(), file.source.display(), file.path);
            return Err(Error::usage(message).next("add them one by one, with --prefix or --as"));
        }
    }
    Ok(())
}

fn nothing(search: &Search, skipped: &[Skipped]) -> String {
    let places: Vec<_> = search.paths.iter().map(|path| path.display().to_string()).collect();
    let left_out = if skipped.is_empty() { String::new() } else { format!(", {} left out", skipped.len()) };
    format!("there is no file to add in {}{left_out}", places.join(", "))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::failed(format!("{} cannot be read: {error}", path.display()))
}

fn walk_error(root: &Path, error: &walkdir::Error) -> Error {
    Error::failed(format!("{} cannot be read: {error}", root.display()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::ffi::OsStrExt as _};

    use super::*;
    use crate::error::Exit;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("lib/deep")).unwrap();
        fs::create_dir(dir.path().join(".git")).unwrap();
        let files = [("b.txt", "b"), ("a.txt", "aa"), ("lib/c", "ccc"), ("lib/deep/.hidden", ""), (".git/config", "")];
        for (name, text) in files {
            fs::write(dir.path().join(name), text).unwrap();
        }
        std::os::unix::fs::symlink("a.txt", dir.path().join("link")).unwrap();
        std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        dir
    }

    fn search(paths: impl IntoIterator<Item = PathBuf>) -> Search {
        Search { paths: paths.into_iter().collect(), ..Search::default() }
    }

    fn names(collected: &Collected) -> Vec<&str> {
        collected.files.iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn a_directory_is_walked_in_order_and_says_what_it_left_out() {
        let dir = tree();
        let collected = collect(&search([dir.path().to_owned()])).unwrap();
        assert_eq!(names(&collected), ["a.txt", "b.txt", "lib/c"]);
        assert_eq!(collected.files.iter().map(|file| file.length).collect::<Vec<_>>(), [2, 1, 3]);
        let base = |it: &Skipped| it.source.rsplit('/').next().unwrap().to_owned();
        let skipped: Vec<_> = collected.skipped.iter().map(|it| (base(it), it.reason)).collect();
        let expected = [(".git", Reason::Hidden), (".hidden", Reason::Hidden), ("link", Reason::Link)];
        assert_eq!(skipped[..3], expected.map(|(name, reason)| (name.to_owned(), reason)));
        assert_eq!(skipped[3..], [("socket".to_owned(), Reason::Special)]);

        let all = Search { follow_links: true, hidden: true, ..search([dir.path().to_owned()]) };
        let expected = [".git/config", "a.txt", "b.txt", "lib/c", "lib/deep/.hidden", "link"];
        assert_eq!(names(&collect(&all).unwrap()), expected);
        let named = search([dir.path().join(".git"), dir.path().join("lib/deep/.hidden")]);
        assert_eq!(names(&collect(&named).unwrap()), ["config", ".hidden"], "somebody asked for them");
    }

    #[test]
    fn a_file_is_called_by_its_base_name_or_as_told() {
        let dir = tree();
        let file = dir.path().join("lib/c");
        assert_eq!(names(&collect(&search([file.clone()])).unwrap()), ["c"]);
        assert_eq!(names(&collect(&search([dir.path().join("link")])).unwrap()), ["link"]);
        let told = |prefix: Option<&str>, name: Option<&str>| {
            let found = search([file.clone()]);
            collect(&Search { prefix: prefix.map(str::to_owned), name: name.map(str::to_owned), ..found })
        };
        assert_eq!(names(&told(Some("pkg/"), None).unwrap()), ["pkg/c"]);
        assert_eq!(names(&told(Some("pkg/x"), Some("y/z")).unwrap()), ["pkg/x/y/z"]);
        let error = told(Some("/pkg"), None).unwrap_err();
        assert!(error.message.contains("lib/c") && error.message.contains("/pkg/c"), "{error}");
        let error = told(None, Some("/abs")).unwrap_err();
        assert_eq!(error.exit, Exit::Failed);
        assert!(!error.next.unwrap().contains("name it with --as"), "it was named so already");
    }

    #[test]
    fn mistakes_are_named() {
        let dir = tree();
        let name = dir.path().join("gpj\u{202e}exe");
        fs::write(&name, "").unwrap();
        let hidden = collect(&search([name])).unwrap_err();
        assert!(hidden.exit == Exit::Failed && hidden.message.contains("202E"), "{hidden}");
        let unreadable = dir.path().join(std::ffi::OsStr::from_bytes(b"lib/\xff"));
        fs::write(&unreadable, "").unwrap();
        let both = collect(&search([dir.path().to_owned()])).unwrap_err();
        assert!(both.message.starts_with("2 files can't be artifacts"), "{both}");
        assert!(both.violations[0].description.contains("202E"), "{both}");
        assert!(both.violations[1].description.contains("not UTF-8"), "{both}");
        fs::remove_file(&unreadable).unwrap();
        let twice = collect(&search([dir.path().join("lib/c"), dir.path().join("lib")])).unwrap_err();
        assert!(twice.exit == Exit::Usage && twice.message.contains("artifact c"), "{twice}");
        let absent = collect(&search([dir.path().join("nope")])).unwrap_err();
        assert!(absent.exit == Exit::Failed && absent.message.contains("nope"), "{absent}");
        let named = Search { name: Some("x".into()), ..search([dir.path().to_owned()]) };
        assert_eq!(collect(&named).unwrap_err().exit, Exit::Usage);
        let empty = tempfile::tempdir().unwrap();
        assert!(collect(&search([empty.path().to_owned()])).unwrap_err().message.contains("no file"));
    }
}
