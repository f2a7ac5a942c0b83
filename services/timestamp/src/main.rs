//! `rstuf-timestamp`: signs timestamp metadata, by its rules and with its own key.

use std::process::ExitCode;

use rstuf_runtime::{Verb, admin, listen};
use rstuf_timestamp::{ConfigRaw, Service};

fn main() -> ExitCode {
    let reset_clock = Verb {
        name: "reset-clock",
        about: "Take this machine's clock for right, and set right what a wrong one left in the state directory",
        run: |config, clock| Box::pin(async move { Ok(rstuf_timestamp::reset_clock(&config, &clock).await?) }),
    };
    rstuf_runtime::main_with::<ConfigRaw>(&[reset_clock], async |config, context| {
        let common = &config.signer.common;
        // Before the admin port answers: it must not say "ready" while there is nothing yet.
        let starting = context.readiness.hold("starting");
        let _admin = admin::spawn(listen::bind(common.process.admin_listen, true).await?, &context);
        let service = Service::build(&config, context.clone()).await?;
        let listener = listen::bind(common.listen, common.insecure_plaintext).await?;
        starting.release();
        tracing::info!(address = %listener.local_addr()?, state_dir = %common.state_dir.display(), "serving");
        service.run(listener).await?;
        Ok(())
    })
}
