//! Succinct hash bins, and how bins are numbered and named.

use serde_json::{Map, Value};

use crate::{Error, RoleKeys, RoleName, TargetPath, fields::Fields};

/// `2^bit_length` bins with the same keys; a bin holds the paths whose SHA-256 begins with its number (TAP 15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuccinctRoles {
    keys: RoleKeys,
    /// Bits of the digest that choose the bin.
    bit_length: u8,
    /// What stands before the `-` in the bins' names.
    name_prefix: String,
    unknown: Map<String, Value>,
}

impl SuccinctRoles {
    /// Checked: `bit_length` 1 to 32, names of bins (`<name_prefix>-<hexadecimal number>`) that are role names.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn new(keys: RoleKeys, bit_length: u64, name_prefix: &str) -> Result<Self, Error> {
        let bits = u8::try_from(bit_length).ok().filter(|bits| (1..=32).contains(bits));
        let bit_length = bits.ok_or_else(|| Error::invalid("bit_length", bit_length, "1 to 32"))?;
        let roles = Self { keys, bit_length, name_prefix: name_prefix.to_owned(), unknown: Map::new() };
        // All names have the same length and differ in digits only.
        RoleName::delegated(&roles.name_text(0)).map_err(|error| error.within("name_prefix"))?;
        Ok(roles)
    }

    /// The keys of every bin.
    #[must_use]
    pub fn keys(&self) -> &RoleKeys {
        &self.keys
    }

    /// How many bins there are, 2 to 2^32.
    #[must_use]
    pub fn bins(&self) -> u64 {
        1 << self.bit_length
    }

    /// The bin that holds `path`.
    #[must_use]
    pub fn role_for(&self, path: &TargetPath) -> RoleName {
        self.name(bin_of(path, self.bit_length))
    }

    /// The names of all bins, in order.
    pub fn names(&self) -> impl Iterator<Item = RoleName> {
        (0..=self.last()).map(|bin| self.name(bin))
    }

    /// The number of the bin with this name.
    #[must_use]
    pub fn bin_of_name(&self, name: &RoleName) -> Option<u32> {
        let digits = name.as_str().strip_prefix(&self.name_prefix)?.strip_prefix('-')?;
        // Another way to write the number is another name.
        let bin = (digits.len() == bin_digits(self.bit_length)).then(|| u32::from_str_radix(digits, 16).ok());
        bin.flatten().filter(|bin| *bin <= self.last())
    }

    /// Whether the bin with this name is the one that holds `path`.
    pub(super) fn covers(&self, name: &RoleName, path: &TargetPath) -> bool {
        self.bin_of_name(name) == Some(bin_of(path, self.bit_length))
    }

    fn last(&self) -> u32 {
        u32::MAX >> (32 - self.bit_length)
    }

    fn name(&self, bin: u32) -> RoleName {
        RoleName::from_checked(self.name_text(bin))
    }

    fn name_text(&self, bin: u32) -> String {
        bin_name(&self.name_prefix, bin, self.bit_length)
    }

    pub(super) fn from_value(value: &Value) -> Result<Self, Error> {
        let mut fields = Fields::new(value, "succinct_roles")?;
        let keys = RoleKeys::read(&mut fields)?;
        let roles = Self::new(keys, fields.integer("bit_length")?, fields.text("name_prefix")?)?;
        Ok(Self { unknown: fields.unknown(), ..roles })
    }

    pub(super) fn to_value(&self) -> Value {
        let mut object = self.unknown.clone();
        self.keys.write(&mut object);
        object.insert("bit_length".to_owned(), self.bit_length.into());
        object.insert("name_prefix".to_owned(), self.name_prefix.clone().into());
        object.into()
    }
}

/// The name of one of `2^bits` bins.
pub(crate) fn bin_name(prefix: &str, bin: u32, bits: u8) -> String {
    let digits = bin_digits(bits);
    format!("{prefix}-{bin:0digits$x}")
}

/// Hexadecimal digits of a bin's number.
pub(crate) fn bin_digits(bits: u8) -> usize {
    usize::from(bits).div_ceil(4)
}

/// The first `bits` (1 to 32) of the path's SHA-256, as a number.
pub(crate) fn bin_of(path: &TargetPath, bits: u8) -> u32 {
    let [a, b, c, d, ..] = path.digest().0;
    u32::from_be_bytes([a, b, c, d]) >> (32 - u32::from(bits))
}
