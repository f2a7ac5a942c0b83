//! What the tests of the handle share.

use std::{fs, path::Path};

use rstuf_store::Options;

pub(crate) fn options(dir: &Path) -> Options {
    Options::new(dir, "coordinator").free_bytes_min(0)
}

pub(crate) fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for file in walk(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
    fs::create_dir_all(to.join("blobs")).unwrap();
}
