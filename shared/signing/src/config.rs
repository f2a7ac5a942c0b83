//! The settings that all signers have.

use std::time::Duration;

use rstuf_keys::Passphrase;
use rstuf_runtime::config::{Common, CommonRaw, Defaults, Mistakes, Setting, parse};
use rstuf_tuf::Sha256;

use crate::times::Bounds;

/// Requests that a signer answers at the same time by default; it signs one by one, so others only wait.
pub const REQUESTS_MAX: &str = "32";

/// The settings of a signer as they are written; flatten them into its own.
#[derive(Debug, Clone, Default, clap::Args, serde::Serialize, serde::Deserialize)]
pub struct SignerConfigRaw {
    /// What every service has.
    #[command(flatten)]
    #[serde(flatten)]
    pub common: CommonRaw,
    /// Make a key if this state directory is fresh; never done once the signer is pinned
    #[arg(long, value_name = "BOOLEAN", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub create_key: Option<Setting>,
    /// A file with the passphrase of the key; without passphrase the key is stored unencrypted
    #[arg(long, value_name = "FILE")]
    pub key_passphrase_file: Option<Setting>,
    /// The passphrase of the key itself: for the environment, other users can see flags
    #[arg(long, value_name = "TEXT")]
    pub key_passphrase: Option<Setting>,
    /// SHA-256 of the only root 1 that the signer may be pinned to; without it, any that names its key, once
    #[arg(long, value_name = "HEX")]
    pub root_sha256: Option<Setting>,
    /// Longest time from now to the expiry of a document that it signs, 1 to 3650 days
    #[arg(long, value_name = "DAYS")]
    pub lifetime_days_max: Option<Setting>,
    /// How far the clock may be set forward while the machine runs, 60 to 31536000 seconds, default 300
    #[arg(long, value_name = "SECONDS")]
    pub clock_jump_seconds_max: Option<Setting>,
    /// How long the machine may be off before the clock has to be confirmed, 1 to 3650 days, default 30
    #[arg(long, value_name = "DAYS")]
    pub clock_off_days_max: Option<Setting>,
}

/// What differs between signers.
#[derive(Debug, Clone, Copy)]
pub struct SignerDefaults {
    /// Addresses.
    pub common: Defaults,
    /// Longest time to the expiry of a document.
    pub lifetime_days_max: &'static str,
}

/// The checked settings of a signer.
#[derive(Debug, Clone)]
pub struct SignerConfig {
    /// What every service has.
    pub common: Common,
    /// Whether a key may be made.
    pub create_key: bool,
    /// The passphrase of the key.
    pub key_passphrase: Option<Passphrase>,
    /// The only root 1 that the signer may be pinned to.
    pub root_sha256: Option<Sha256>,
    /// Longest time to the expiry of a document.
    pub lifetime_max: Duration,
    /// How far the clock may be set forward while the machine runs.
    pub clock_jump_max: Duration,
    /// How long the machine may be off before the clock has to be confirmed.
    pub clock_off_max: Duration,
}

impl SignerConfigRaw {
    /// Checks everything.
    pub fn check(&self, mistakes: &mut Mistakes, defaults: SignerDefaults) -> Option<SignerConfig> {
        let common = self.common.check(mistakes, defaults.common);
        let create_key = mistakes.or("create_key", &self.create_key, "false", parse::boolean);
        let from_file = mistakes.optional("key_passphrase_file", &self.key_passphrase_file, |text| {
            Passphrase::from_file(&parse::path(text)?).map_err(|error| error.to_string())
        });
        let direct = mistakes.secret("key_passphrase", &self.key_passphrase, |text| {
            Passphrase::new(text.to_owned(), "key_passphrase").map_err(|error| error.to_string())
        });
        if self.key_passphrase.is_some() && self.key_passphrase_file.is_some() {
            mistakes.push("key_passphrase", "set beside key_passphrase_file, allowed is one of them");
        }
        let root_sha256 = mistakes.optional("root_sha256", &self.root_sha256, parse::from_str::<Sha256>);
        let lifetime_max = mistakes.or(
            "lifetime_days_max",
            &self.lifetime_days_max,
            defaults.lifetime_days_max,
            parse::days(1..=3_650),
        );
        let clock_jump_max =
            mistakes.or("clock_jump_seconds_max", &self.clock_jump_seconds_max, "300", parse::seconds(60..=31_536_000));
        let clock_off_max = mistakes.or("clock_off_days_max", &self.clock_off_days_max, "30", parse::days(1..=3_650));
        Some(SignerConfig {
            common: common?,
            create_key: create_key?,
            key_passphrase: from_file?.or(direct?),
            root_sha256: root_sha256?,
            lifetime_max: lifetime_max?,
            clock_jump_max: clock_jump_max?,
            clock_off_max: clock_off_max?,
        })
    }
}

/// What of them a signer looks at when it signs.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The longest time from now to a document's expiry.
    pub lifetime_max: Duration,
    /// The only root 1 that the signer may be pinned to; any that names its key where none is configured.
    pub root_sha256: Option<Sha256>,
    /// How far the clock may go by itself.
    pub clock: Bounds,
}

impl From<&SignerConfig> for Settings {
    fn from(config: &SignerConfig) -> Self {
        let clock = Bounds { jump_max: config.clock_jump_max, off_max: config.clock_off_max };
        Self { lifetime_max: config.lifetime_max, root_sha256: config.root_sha256, clock }
    }
}
