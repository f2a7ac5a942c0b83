//! The timestamp signer's settings.

use rstuf_runtime::config::{Defaults, Mistakes, Process, Raw};
use rstuf_signing::{REQUESTS_MAX, SignerConfig, SignerConfigRaw, SignerDefaults};

const DEFAULTS: SignerDefaults = SignerDefaults {
    common: Defaults { listen: "127.0.0.1:50054", admin_listen: "127.0.0.1:9104", requests_max: REQUESTS_MAX },
    lifetime_days_max: "7",
};

/// Signs timestamps, after verifying the snapshot that they name
#[derive(Debug, Clone, Default, clap::Args, serde::Serialize, serde::Deserialize)]
pub struct ConfigRaw {
    /// What every signer has.
    #[command(flatten)]
    #[serde(flatten)]
    pub signer: SignerConfigRaw,
}

/// The checked settings of the timestamp signer.
#[derive(Debug, Clone)]
pub struct Config {
    /// What every signer has.
    pub signer: SignerConfig,
}

impl Raw for ConfigRaw {
    const SERVICE: &'static str = "timestamp";
    type Config = Config;

    fn check(&self, mistakes: &mut Mistakes) -> Option<Config> {
        let signer = self.signer.check(mistakes, DEFAULTS);
        Some(Config { signer: signer? })
    }

    fn process(config: &Config) -> &Process {
        &config.signer.common.process
    }
}
