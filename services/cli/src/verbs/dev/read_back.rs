//! The proof that a client gets what was published.

use std::fs;

use indicatif::ProgressBar;
use rstuf_standalone::Options;
use rstuf_tuf::Change;
use rstuf_updater::Updater;

use crate::{context::Context, error::Error};

/// Follows the metadata from the first root and downloads every artifact, as a client does, and compares.
pub(crate) async fn read_back(
    context: &Context,
    repository: &Options,
    mirror: &str,
    changes: &[Change],
) -> Result<usize, Error> {
    let root_file = repository.first_root_file();
    let root = fs::read(&root_file);
    let root = root.map_err(|error| Error::failed(format!("{} cannot be read: {error}", root_file.display())))?;
    let wrong = |error: rstuf_updater::Error| Error::failed(format!("reading back through the mirror: {error}"));
    let options = rstuf_updater::Options::new(format!("{mirror}/metadata"), format!("{mirror}/targets"), root);
    let mut updater = Updater::new(options).map_err(wrong)?;
    updater.refresh(context.clock.now()).await.map_err(wrong)?;
    let bar: ProgressBar = context.output.steps_bar(changes.len() as u64).with_message("reading back");
    let file = repository.data_dir.join("read-back");
    for change in changes {
        let Change::Add { path, target } = change else { continue };
        let found = updater.download_to(path, &file).await.map_err(wrong)?;
        if found.hashes().as_sha256() != target.hashes().as_sha256() || found.length() != target.length() {
            return Err(Error::failed(format!("{path} came back from the mirror with other contents")));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    // Absent where there was nothing to read back.
    let _ = fs::remove_file(&file);
    Ok(changes.len())
}
