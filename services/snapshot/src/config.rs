//! The snapshot signer's settings.

use rstuf_runtime::config::{Defaults, Mistakes, Process, Raw, Setting, parse};
use rstuf_signing::{REQUESTS_MAX, SignerConfig, SignerConfigRaw, SignerDefaults};

const DEFAULTS: SignerDefaults = SignerDefaults {
    common: Defaults { listen: "127.0.0.1:50053", admin_listen: "127.0.0.1:9103", requests_max: REQUESTS_MAX },
    lifetime_days_max: "30",
};

/// Clients fetch the whole snapshot after every publication, and digests of thousands of bins treble it.
const HASHED_ROLES_MAX_DEFAULT: &str = "1024";
/// More roles than a repository can have.
const HASHED_ROLES_MAX_MAX: u64 = 65_536;

/// Signs snapshots, after verifying all that they name
#[derive(Debug, Clone, Default, clap::Args, serde::Serialize, serde::Deserialize)]
pub struct ConfigRaw {
    /// What every signer has.
    #[command(flatten)]
    #[serde(flatten)]
    pub signer: SignerConfigRaw,
    /// Snapshots list length and SHA-256 of delegated roles where there are at most so many, 0 to 65536
    #[arg(long, value_name = "NUMBER")]
    pub hashed_roles_max: Option<Setting>,
}

/// The checked settings of the snapshot signer.
#[derive(Debug, Clone)]
pub struct Config {
    /// What every signer has.
    pub signer: SignerConfig,
    /// Snapshots list length and SHA-256 of delegated roles where there are at most so many.
    pub hashed_roles_max: u64,
}

impl Raw for ConfigRaw {
    const SERVICE: &'static str = "snapshot";
    type Config = Config;

    fn check(&self, mistakes: &mut Mistakes) -> Option<Config> {
        let signer = self.signer.check(mistakes, DEFAULTS);
        let number = parse::integer(0..=HASHED_ROLES_MAX_MAX);
        let hashed = mistakes.or("hashed_roles_max", &self.hashed_roles_max, HASHED_ROLES_MAX_DEFAULT, number);
        Some(Config { signer: signer?, hashed_roles_max: hashed? })
    }

    fn process(config: &Config) -> &Process {
        &config.signer.common.process
    }
}
