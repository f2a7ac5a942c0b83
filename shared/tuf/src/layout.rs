//! How the targets of a repository are spread over roles.

use std::fmt;

use crate::{
    DelegatedRole, Delegations, Error, HashPrefix, Paths, PublicKey, RoleKeys, RoleName, SuccinctRoles, TargetPath,
    document::succinct::{bin_digits, bin_name, bin_of},
    key,
    macros::text_type,
};

/// What stands before the `-` in the names of bins.
const NAME_PREFIX: &str = "bins";

/// How the targets of a repository are spread over roles; as text `flat`, `succinct:256`, `prefix:256`.
///
/// With bins, the top-level targets document only delegates, and each target belongs to the bin chosen by the SHA-256
/// of its path. Bins have the same names in both layouts, so that one can follow the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// All targets in the top-level targets document.
    Flat,
    /// Bins in one `succinct_roles` (TAP 15).
    Succinct(Bins),
    /// Bins with `path_hash_prefixes`, which more clients can read.
    Prefix(Bins),
}

/// A number of bins: a power of two, 2 to 16384.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bins {
    bits: u8,
}

impl Bins {
    /// The most bins.
    pub const MAX: u32 = 16_384;

    /// A checked number of bins.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn new(count: u32) -> Result<Self, Error> {
        if !count.is_power_of_two() || !(2..=Self::MAX).contains(&count) {
            return Err(Error::invalid("bins", count, "a power of two, 2 to 16384"));
        }
        let bits = u8::try_from(count.trailing_zeros()).unwrap_or_default();
        Ok(Self { bits })
    }

    /// How many there are.
    #[must_use]
    pub fn get(self) -> u32 {
        1 << self.bits
    }

    /// Bits of a path's digest that choose the bin.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.bits
    }

    fn name(self, bin: u32) -> RoleName {
        RoleName::from_checked(bin_name(NAME_PREFIX, bin, self.bits))
    }

    /// The prefixes of one bin: as many digits as its name has, so several where the number of bins is no power of 16.
    fn prefixes(self, bin: u32) -> Result<Vec<HashPrefix>, Error> {
        let digits = bin_digits(self.bits);
        let each = 1_u32 << (4 * digits - usize::from(self.bits));
        (bin * each..(bin + 1) * each).map(|prefix| format!("{prefix:0digits$x}").parse()).collect()
    }
}

impl Layout {
    /// The bins, if there are any.
    #[must_use]
    pub fn bins(self) -> Option<Bins> {
        match self {
            Self::Flat => None,
            Self::Succinct(bins) | Self::Prefix(bins) => Some(bins),
        }
    }

    /// The delegations of the top-level targets document to bins that `keys` sign; none in the flat layout.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a threshold that is not 1 to the number of keys.
    pub fn delegations(self, keys: Vec<PublicKey>, threshold: u32) -> Result<Option<Delegations>, Error> {
        let keys = key::keys_by_id(keys);
        let role = RoleKeys::new(keys.keys().copied().collect(), threshold)?;
        match self {
            Self::Flat => Ok(None),
            Self::Succinct(bins) => {
                let roles = SuccinctRoles::new(role, bins.bits.into(), NAME_PREFIX)?;
                Delegations::succinct(keys, roles).map(Some)
            }
            Self::Prefix(bins) => {
                let roles = (0..bins.get()).map(|bin| {
                    let paths = Paths::HashPrefixes(bins.prefixes(bin)?);
                    let (name, keys) = (bins.name(bin), role.clone());
                    Ok(DelegatedRole { name, keys, terminating: false, paths, unknown: serde_json::Map::new() })
                });
                Delegations::list(keys, roles.collect::<Result<_, Error>>()?).map(Some)
            }
        }
    }

    /// The roles whose documents the targets signer makes: `targets` in the flat layout, else the bins, in order.
    #[must_use]
    pub fn online_roles(self) -> Vec<RoleName> {
        match self.bins() {
            None => vec![RoleName::targets()],
            Some(bins) => (0..bins.get()).map(|bin| bins.name(bin)).collect(),
        }
    }

    /// The place, among the [`Layout::online_roles`], of the role to which `path` belongs: for whoever sorts many.
    #[must_use]
    pub fn place_for(self, path: &TargetPath) -> u32 {
        self.bins().map_or(0, |bins| bin_of(path, bins.bits))
    }

    /// The role to which `path` belongs.
    #[must_use]
    pub fn role_for(self, path: &TargetPath) -> RoleName {
        self.bins().map_or_else(RoleName::targets, |bins| bins.name(bin_of(path, bins.bits)))
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let bins = |count: &str| count.parse().ok().and_then(|count| Bins::new(count).ok());
        let layout = match text.split_once(':') {
            None if text == "flat" => Some(Self::Flat),
            Some(("succinct", count)) => bins(count).map(Self::Succinct),
            Some(("prefix", count)) => bins(count).map(Self::Prefix),
            _ => None,
        };
        let allowed = "flat, succinct:N or prefix:N, where N is a power of two, 2 to 16384";
        layout.ok_or_else(|| Error::invalid("layout", text, allowed))
    }
}

impl Default for Layout {
    /// `succinct:256`.
    fn default() -> Self {
        Self::Succinct(Bins { bits: 8 })
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flat => formatter.write_str("flat"),
            Self::Succinct(bins) => write!(formatter, "succinct:{}", bins.get()),
            Self::Prefix(bins) => write!(formatter, "prefix:{}", bins.get()),
        }
    }
}

text_type!(Layout);
