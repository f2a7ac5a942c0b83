//! `rstuf-coordinator`: takes submissions in and publishes them.

use std::process::ExitCode;

use rstuf_coordinator::{ConfigRaw, Coordinator, Parts};
use rstuf_runtime::{admin, listen};

fn main() -> ExitCode {
    rstuf_runtime::main::<ConfigRaw>(async |config, context| {
        let starting = context.readiness.hold("opening the state directory");
        // The admin port speaks plaintext on any address: what it shows is harmless and read-only.
        let _admin = admin::spawn(listen::bind(config.common.process.admin_listen, true).await?, &context);
        let listener = listen::bind(config.common.listen, config.common.insecure_plaintext).await?;
        let coordinator = Coordinator::build(config, Parts::new(context)).await?;
        tracing::info!(address = %listener.local_addr()?, "serving");
        starting.release();
        coordinator.run(listener).await
    })
}
