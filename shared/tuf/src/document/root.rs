//! Root.

use serde_json::{Map, Value};

use super::{Document, read_header, signed::Signed, write_header};
use crate::{
    Error, RoleKeys, TopLevel, Version,
    canonical::Writer,
    fields::Fields,
    key::{self, Keys},
};

/// The root document: the keys of the top-level roles (TUF specification, section 4.3).
///
/// `consistent_snapshot` is always present and true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Its version.
    pub version: Version,
    /// When it expires.
    pub expires: jiff::Timestamp,
    /// All keys, each under its own id.
    pub keys: Keys,
    /// Which of them sign for which role.
    pub roles: RootRoles,
    /// Fields not known here.
    pub unknown: Map<String, Value>,
}

/// The keys of each top-level role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootRoles {
    /// Of root.
    pub root: RoleKeys,
    /// Of the top-level targets.
    pub targets: RoleKeys,
    /// Of snapshot.
    pub snapshot: RoleKeys,
    /// Of timestamp.
    pub timestamp: RoleKeys,
    /// Roles not known here, such as `mirrors`.
    pub unknown: Map<String, Value>,
}

impl RootRoles {
    /// The keys of one role.
    #[must_use]
    pub fn get(&self, role: TopLevel) -> &RoleKeys {
        match role {
            TopLevel::Root => &self.root,
            TopLevel::Targets => &self.targets,
            TopLevel::Snapshot => &self.snapshot,
            TopLevel::Timestamp => &self.timestamp,
        }
    }
}

impl Root {
    /// The key ids and threshold of one role.
    #[must_use]
    pub fn role(&self, role: TopLevel) -> &RoleKeys {
        self.roles.get(role)
    }

    /// Checks what the types can't hold: every key id of a role stands for a key of this document.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<(), Error> {
        TopLevel::ALL
            .into_iter()
            .try_for_each(|role| self.role(role).check_known(&self.keys).map_err(|error| error.within(role.as_str())))
    }
}

impl Document for Root {
    const TYPE: TopLevel = TopLevel::Root;

    fn from_signed(signed: &Signed) -> Result<Self, Error> {
        let mut fields = signed.fields("root")?;
        let (version, expires) = read_header(&mut fields, Self::TYPE)?;
        if !fields.boolean("consistent_snapshot")? {
            return Err(Error::invalid("consistent_snapshot", false, "true"));
        }
        let keys = key::keys_from_object("keys", fields.object("keys")?)?;
        let roles = read_roles(fields.require("roles")?).map_err(|error| error.within("roles"))?;
        let root = Self { version, expires, keys, roles, unknown: fields.unknown() };
        root.check()?;
        Ok(root)
    }

    fn write_signed(&self, writer: &mut Writer) -> Result<(), Error> {
        let mut signed = write_header(&self.unknown, Self::TYPE, self.version, self.expires);
        let mut roles = self.roles.unknown.clone();
        for role in TopLevel::ALL {
            let mut keys = Map::new();
            self.role(role).write(&mut keys);
            roles.insert(role.as_str().to_owned(), keys.into());
        }
        signed.insert("consistent_snapshot".to_owned(), true.into());
        signed.insert("keys".to_owned(), key::keys_to_value(&self.keys));
        signed.insert("roles".to_owned(), roles.into());
        writer.value(&signed.into())
    }

    fn version(&self) -> Version {
        self.version
    }

    fn expires(&self) -> jiff::Timestamp {
        self.expires
    }
}

fn read_roles(value: &Value) -> Result<RootRoles, Error> {
    let mut fields = Fields::new(value, "roles")?;
    let mut read = |role: TopLevel| {
        let value = fields.require(role.as_str())?;
        let keys = Fields::new(value, role.as_str()).and_then(|mut fields| RoleKeys::read(&mut fields));
        keys.map_err(|error| error.within(role.as_str()))
    };
    let (root, targets) = (read(TopLevel::Root)?, read(TopLevel::Targets)?);
    let (snapshot, timestamp) = (read(TopLevel::Snapshot)?, read(TopLevel::Timestamp)?);
    Ok(RootRoles { root, targets, snapshot, timestamp, unknown: fields.unknown() })
}
