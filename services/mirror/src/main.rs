//! `rstuf-mirror`: serves published metadata and artifacts over plain HTTP.

use std::process::ExitCode;

use rstuf_mirror::{ConfigRaw, Mirror};
use rstuf_runtime::{admin, listen};

fn main() -> ExitCode {
    rstuf_runtime::main::<ConfigRaw>(async |config, context| {
        let mirror = Mirror::build(&config, context.clone())?;
        // Both ports speak plaintext on any address: what they show is public, or harmless and read-only.
        let _admin = admin::spawn(listen::bind(config.process.admin_listen, true).await?, &context);
        let listener = listen::bind(config.listen, true).await?;
        tracing::info!(address = %listener.local_addr()?, published_dir = %config.published_dir.display(), "serving");
        mirror.run(listener).await;
        Ok(())
    })
}
