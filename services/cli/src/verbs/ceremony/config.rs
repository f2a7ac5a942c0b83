//! The file that says what a ceremony is to make.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rstuf_runtime::config::Setting;
use rstuf_tuf::Layout;
use serde::Deserialize;

use crate::{error::Error, view, wait::duration};

/// The longest lifetime that makes sense.
const LIFETIME_MAX: Duration = Duration::from_secs(10 * 366 * DAY_SECONDS);

const DAY_SECONDS: u64 = 86_400;

/// What a ceremony is to make; checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) layout: Layout,
    /// At least one, and at least the threshold.
    pub(crate) root_keys: Vec<KeyFile>,
    pub(crate) root_threshold: u32,
    pub(crate) lifetimes: Lifetimes,
}

/// Where a root key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyFile {
    pub(crate) file: PathBuf,
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// From signing to expiry, in whole seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    pub(crate) root: Duration,
    pub(crate) targets: Duration,
    pub(crate) bins: Duration,
    pub(crate) snapshot: Duration,
    pub(crate) timestamp: Duration,
}

impl Lifetimes {
    /// Of what is signed online, or may be.
    pub(crate) fn online(&self) -> view::Lifetimes {
        view::Lifetimes {
            bins_seconds: self.bins.as_secs(),
            snapshot_seconds: self.snapshot.as_secs(),
            timestamp_seconds: self.timestamp.as_secs(),
            targets_seconds: self.targets.as_secs(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    layout: Option<String>,
    root: RawRoot,
    #[serde(default)]
    lifetimes: RawLifetimes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoot {
    keys: Vec<RawKey>,
    threshold: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawKey {
    File(PathBuf),
    Encrypted(RawEncrypted),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEncrypted {
    file: PathBuf,
    passphrase_file: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLifetimes {
    root: Option<Setting>,
    targets: Option<Setting>,
    bins: Option<Setting>,
    snapshot: Option<Setting>,
    timestamp: Option<Setting>,
}

impl Config {
    /// Reads and checks the file; the paths in it are relative to it.
    ///
    /// # Errors
    /// [`crate::error::Exit::Config`]: what is no TOML or has an unknown key with its line, else all mistakes at once.
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let place = path.display();
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| Error::config(format!("{place}: cannot be read: {error}")))?;
        let base = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, base).map_err(|mistakes| {
            let lines: Vec<_> = mistakes.iter().map(|mistake| format!("{place}: {mistake}")).collect();
            Error::config(lines.join("\n")).next("`rstuf ceremony --help` shows a whole file")
        })
    }

    fn parse(text: &str, base: &Path) -> Result<Self, Vec<String>> {
        let raw: Raw = toml::from_str(text).map_err(|error| vec![error.to_string().trim_end().to_owned()])?;
        let mut mistakes = Vec::new();
        let layout = raw.layout.as_deref().unwrap_or("succinct:256").parse::<Layout>();
        let layout = layout.map_err(|error| mistakes.push(error.to_string())).ok();
        let root_keys: Vec<_> = raw.root.keys.into_iter().map(|key| KeyFile::new(key, base)).collect();
        let root_threshold = raw.root.threshold.unwrap_or(1);
        if root_keys.is_empty() {
            mistakes.push("root.keys is empty, allowed: at least one key file".to_owned());
        } else if root_threshold == 0 || root_threshold as usize > root_keys.len() {
            let most = root_keys.len();
            mistakes.push(format!("root.threshold is {root_threshold}, allowed: 1 to {most}, the number of keys"));
        }
        let lifetimes = raw.lifetimes.check(&mut mistakes);
        match layout {
            Some(layout) if mistakes.is_empty() => Ok(Self { layout, root_keys, root_threshold, lifetimes }),
            _ => Err(mistakes),
        }
    }
}

impl KeyFile {
    fn new(raw: RawKey, base: &Path) -> Self {
        match raw {
            RawKey::File(file) => Self { file: base.join(file), passphrase_file: None },
            RawKey::Encrypted(RawEncrypted { file, passphrase_file }) => {
                Self { file: base.join(file), passphrase_file: Some(base.join(passphrase_file)) }
            }
        }
    }
}

impl RawLifetimes {
    fn check(&self, mistakes: &mut Vec<String>) -> Lifetimes {
        let mut read = |name: &str, text: &Option<Setting>, days: u64| {
            let default = Duration::from_secs(days * DAY_SECONDS);
            let Some(text) = text.as_ref().map(Setting::as_str) else { return default };
            let whole = |lifetime: &Duration| lifetime.subsec_nanos() == 0 && !lifetime.is_zero();
            let parsed = duration(text).ok().filter(whole).filter(|it| *it <= LIFETIME_MAX);
            parsed.unwrap_or_else(|| {
                let allowed = "whole seconds up to 10 years, such as 86400, \"7d\" or \"36h\"";
                mistakes.push(format!("lifetimes.{name} is {text:?}, allowed: {allowed}"));
                default
            })
        };
        Lifetimes {
            root: read("root", &self.root, 365),
            targets: read("targets", &self.targets, 365),
            bins: read("bins", &self.bins, 30),
            snapshot: read("snapshot", &self.snapshot, 7),
            timestamp: read("timestamp", &self.timestamp, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    /// The file that the help shows and the one that is delivered say the same as the defaults, where they say
    /// anything.
    #[test]
    fn the_samples_are_well_formed() {
        let sample = include_str!("../../../../../deploy/config/ceremony.toml");
        let config = Config::parse(sample, Path::new("/keys")).unwrap();
        let plain =
            Config::parse("root.keys = ['root-1.pem', 'root-2.pem', 'root-3.pem']", Path::new("/keys")).unwrap();
        assert_eq!(config.layout, plain.layout);
        assert_eq!(config.lifetimes, plain.lifetimes);
        assert_eq!((config.root_threshold, config.root_keys), (2, plain.root_keys));
    }

    #[test]
    fn keys_are_found_beside_the_file() {
        let text = "layout = 'flat'\n[root]\nkeys = ['/abs/a.pem', {file = 'b.pem', passphrase_file = 'b.pass'}]\n\
                    [lifetimes]\ntimestamp = '90s'";
        let config = Config::parse(text, Path::new("dir")).unwrap();
        let encrypted = KeyFile { file: "dir/b.pem".into(), passphrase_file: Some("dir/b.pass".into()) };
        assert_eq!(config.root_keys, [KeyFile { file: "/abs/a.pem".into(), passphrase_file: None }, encrypted]);
        assert_eq!(config.lifetimes.online().timestamp_seconds, 90);
        assert_eq!(config.layout, Layout::Flat);
    }

    #[test]
    fn a_number_alone_is_seconds() {
        let text = "root.keys = ['a']\nlifetimes = {root = 3600, bins = '3600', snapshot = '1h'}";
        let Lifetimes { root, bins, snapshot, .. } = Config::parse(text, Path::new("")).unwrap().lifetimes;
        assert_eq!([root, bins, snapshot], [Duration::from_secs(3_600); 3]);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text =
            "layout = 'succinct:3'\n[root]\nkeys = ['a']\nthreshold = 2\n[lifetimes]\nbins = '0s'\nroot = '99years'";
        let mistakes = Config::parse(text, Path::new("")).unwrap_err();
        assert_eq!(mistakes.len(), 4, "{mistakes:?}");
        for part in ["succinct:3", "root.threshold is 2", "lifetimes.bins", "lifetimes.root"] {
            assert!(mistakes.iter().any(|mistake| mistake.contains(part)), "{part} in {mistakes:?}");
        }
        assert!(Config::parse("[root]\nkeys = []", Path::new("")).unwrap_err()[0].contains("empty"));
        assert!(
            Config::parse("[root]\nkeys = ['a']\nthreshhold = 1", Path::new("")).unwrap_err()[0].contains("threshhold")
        );
        assert_eq!(Config::load(Path::new("/nowhere/c.toml")).unwrap_err().exit, Exit::Config);
    }
}
