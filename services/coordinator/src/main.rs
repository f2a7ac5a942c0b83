//! `rstuf-coordinator`: takes submissions in and publishes them.

use std::process::ExitCode;

use rstuf_coordinator::{ConfigRaw, Coordinator, Parts};
use rstuf_runtime::{Verb, admin, listen};

fn main() -> ExitCode {
    let forget_damaged = Verb {
        name: "forget-damaged",
        about: "Forget the finished tasks whose files in the state directory are missing or damaged, and nothing else",
        run: |config, _| Box::pin(async move { Ok(rstuf_coordinator::forget_damaged(&config).await?) }),
    };
    rstuf_runtime::main_with::<ConfigRaw>(&[forget_damaged], async |config, context| {
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
