//! Delegations, and the roles that one of them names.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::succinct::SuccinctRoles;
use crate::{
    Error, HashPrefix, PathPattern, RoleKeys, RoleName, TargetPath,
    fields::Fields,
    key::{self, Keys},
};

/// Whom a targets document trusts with which targets (TUF specification, section 4.5, and TAP 15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegations {
    keys: Keys,
    roles: Roles,
    unknown: Map<String, Value>,
}

/// Roles one by one, or many equal ones in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Roles {
    List(RoleList),
    Succinct(SuccinctRoles),
}

impl Delegations {
    /// Delegations to `roles`; of those that cover a path, earlier ones count before later ones.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that stands there twice or is top-level, or a key id without a key.
    pub fn list(keys: Keys, roles: Vec<DelegatedRole>) -> Result<Self, Error> {
        Self { keys, roles: Roles::List(RoleList::new(roles)?), unknown: Map::new() }.checked()
    }

    /// Delegations to succinct hash bins (TAP 15).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a key id without a key.
    pub fn succinct(keys: Keys, roles: SuccinctRoles) -> Result<Self, Error> {
        Self { keys, roles: Roles::Succinct(roles), unknown: Map::new() }.checked()
    }

    fn checked(self) -> Result<Self, Error> {
        let mut checked = None;
        for role in self.each_role_keys() {
            // Thousands of bins have the same keys: checked once.
            if checked != Some(role) {
                role.check_known(&self.keys)?;
                checked = Some(role);
            }
        }
        Ok(self)
    }

    /// The keys of each listed role, or of all bins at once.
    pub fn each_role_keys(&self) -> impl Iterator<Item = &RoleKeys> {
        let list = self.as_list().iter().map(|role| &role.keys);
        list.chain(self.as_succinct().map(SuccinctRoles::keys))
    }

    /// All keys, each under its own id.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The roles that are listed one by one, in their order; none if the bins are succinct.
    fn as_list(&self) -> &[DelegatedRole] {
        match &self.roles {
            Roles::List(list) => &list.roles,
            Roles::Succinct(_) => &[],
        }
    }

    /// The succinct bins, if these are.
    #[must_use]
    pub fn as_succinct(&self) -> Option<&SuccinctRoles> {
        match &self.roles {
            Roles::List(_) => None,
            Roles::Succinct(roles) => Some(roles),
        }
    }

    /// The first role that is trusted with `path`.
    #[must_use]
    pub fn role_for(&self, path: &TargetPath) -> Option<RoleName> {
        self.matching(path).into_iter().next().map(|(name, _)| name)
    }

    /// All roles that are trusted with `path`, in the order in which a client asks them, up to and including the first
    /// terminating one; with each, whether it is terminating.
    #[must_use]
    pub fn matching(&self, path: &TargetPath) -> Vec<(RoleName, bool)> {
        match &self.roles {
            Roles::Succinct(roles) => vec![(roles.role_for(path), false)],
            Roles::List(list) => list.matching(path),
        }
    }

    /// Whether `role` is delegated to and trusted with `path`.
    #[must_use]
    pub fn covers(&self, role: &RoleName, path: &TargetPath) -> bool {
        match &self.roles {
            Roles::Succinct(roles) => roles.covers(role, path),
            Roles::List(list) => list.get(role).is_some_and(|role| role.paths.covers(path)),
        }
    }

    /// Whether `role` is the first that is trusted with `path`.
    #[must_use]
    pub fn is_role_for(&self, role: &RoleName, path: &TargetPath) -> bool {
        match &self.roles {
            Roles::Succinct(roles) => roles.covers(role, path),
            Roles::List(list) => list.matching(path).first().is_some_and(|(first, _)| first == role),
        }
    }

    /// The keys of a role, if it is delegated to.
    #[must_use]
    pub fn role_keys(&self, role: &RoleName) -> Option<&RoleKeys> {
        match &self.roles {
            Roles::Succinct(roles) => roles.bin_of_name(role).map(|_| roles.keys()),
            Roles::List(list) => list.get(role).map(|role| &role.keys),
        }
    }

    /// The keys of this document, and which of them sign for a role; none if it is not delegated to.
    pub(crate) fn keys_of(&self, role: &RoleName) -> Option<(&Keys, &RoleKeys)> {
        Some((&self.keys, self.role_keys(role)?))
    }

    /// The names of all roles delegated to, in order.
    pub fn role_names(&self) -> impl Iterator<Item = RoleName> {
        let list = self.as_list().iter().map(|role| role.name.clone());
        list.chain(self.as_succinct().into_iter().flat_map(SuccinctRoles::names))
    }

    /// How many roles are delegated to.
    #[must_use]
    pub fn role_count(&self) -> u64 {
        self.as_succinct().map_or(self.as_list().len() as u64, SuccinctRoles::bins)
    }

    pub(crate) fn from_value(value: &Value) -> Result<Self, Error> {
        let mut fields = Fields::new(value, "delegations")?;
        let keys = key::keys_from_object("keys", fields.object("keys")?)?;
        let roles = match (fields.optional("roles"), fields.optional("succinct_roles")) {
            (Some(roles), None) => Roles::List(read_list(roles)?),
            (None, Some(roles)) => {
                Roles::Succinct(SuccinctRoles::from_value(roles).map_err(|error| error.within("succinct_roles"))?)
            }
            (Some(_), Some(_)) => {
                return Err(Error::invalid("succinct_roles", "beside roles", "one of roles and succinct_roles"));
            }
            (None, None) => return Err(Error::Missing { field: "roles".to_owned() }),
        };
        Self { keys, roles, unknown: fields.unknown() }.checked()
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut object = self.unknown.clone();
        object.insert("keys".to_owned(), key::keys_to_value(&self.keys));
        match &self.roles {
            Roles::List(list) => {
                let roles: Vec<Value> = list.roles.iter().map(DelegatedRole::to_value).collect();
                object.insert("roles".to_owned(), roles.into());
            }
            Roles::Succinct(roles) => {
                object.insert("succinct_roles".to_owned(), roles.to_value());
            }
        }
        object.into()
    }
}

fn read_list(roles: &Value) -> Result<RoleList, Error> {
    let roles = roles.as_array().ok_or_else(|| Error::invalid("roles", roles, "an array"))?;
    let roles = roles
        .iter()
        .enumerate()
        .map(|(index, role)| DelegatedRole::from_value(role).map_err(|error| error.within(&format!("roles[{index}]"))));
    RoleList::new(roles.collect::<Result<_, _>>()?)
}

/// A role that is trusted with some paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelegatedRole {
    /// Its name, not a top-level one.
    pub name: RoleName,
    /// Its keys.
    pub keys: RoleKeys,
    /// Whether no later role is asked for the paths that this one is trusted with.
    pub terminating: bool,
    /// The paths.
    pub paths: Paths,
    /// Fields not known here.
    pub unknown: Map<String, Value>,
}

/// By what a role's paths are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Paths {
    /// By patterns of the path.
    Patterns(Vec<PathPattern>),
    /// By how the path's SHA-256 begins.
    HashPrefixes(Vec<HashPrefix>),
}

impl Paths {
    fn covers(&self, path: &TargetPath) -> bool {
        match self {
            Self::Patterns(patterns) => patterns.iter().any(|pattern| pattern.matches(path)),
            Self::HashPrefixes(prefixes) => {
                let digest = path.digest().to_string();
                prefixes.iter().any(|prefix| digest.starts_with(prefix.as_str()))
            }
        }
    }
}

impl DelegatedRole {
    fn from_value(value: &Value) -> Result<Self, Error> {
        let mut fields = Fields::new(value, "role")?;
        let name = RoleName::delegated(fields.text("name")?)?;
        let keys = RoleKeys::read(&mut fields)?;
        let terminating = fields.boolean("terminating")?;
        let paths = match (fields.optional("paths"), fields.optional("path_hash_prefixes")) {
            (Some(patterns), None) => Paths::Patterns(read_texts("paths", patterns)?),
            (None, Some(prefixes)) => Paths::HashPrefixes(read_texts("path_hash_prefixes", prefixes)?),
            (Some(_), Some(_)) => {
                return Err(Error::invalid(
                    "path_hash_prefixes",
                    "beside paths",
                    "one of paths and path_hash_prefixes",
                ));
            }
            (None, None) => return Err(Error::Missing { field: "paths".to_owned() }),
        };
        Ok(Self { name, keys, terminating, paths, unknown: fields.unknown() })
    }

    fn to_value(&self) -> Value {
        let mut object = self.unknown.clone();
        self.keys.write(&mut object);
        object.insert("name".to_owned(), self.name.as_str().into());
        object.insert("terminating".to_owned(), self.terminating.into());
        let (field, texts): (_, Vec<Value>) = match &self.paths {
            Paths::Patterns(patterns) => ("paths", patterns.iter().map(|pattern| pattern.as_str().into()).collect()),
            Paths::HashPrefixes(prefixes) => {
                ("path_hash_prefixes", prefixes.iter().map(|prefix| prefix.as_str().into()).collect())
            }
        };
        object.insert(field.to_owned(), texts.into());
        object.into()
    }
}

fn read_texts<'a, T: TryFrom<&'a str, Error = Error>>(field: &str, value: &'a Value) -> Result<Vec<T>, Error> {
    let items = value.as_array().ok_or_else(|| Error::invalid(field, value, "an array of strings"))?;
    let texts = items.iter().map(|item| {
        let text = item.as_str().ok_or_else(|| Error::invalid(field, item, "a string"))?;
        T::try_from(text).map_err(|error| error.within(field))
    });
    texts.collect()
}

/// Roles in order, with what finds one of 16,384 without looking at each.
#[derive(Debug, Clone)]
struct RoleList {
    roles: Vec<DelegatedRole>,
    by_name: HashMap<RoleName, usize>,
    /// Roles by each of their hash prefixes.
    by_prefix: BTreeMap<HashPrefix, Vec<usize>>,
    /// The lengths that those prefixes have.
    prefix_lengths: BTreeSet<usize>,
    /// Roles told by patterns, which must be tried one by one.
    by_pattern: Vec<usize>,
}

/// The rest is derived from the roles.
impl PartialEq for RoleList {
    fn eq(&self, other: &Self) -> bool {
        self.roles == other.roles
    }
}

impl Eq for RoleList {}

impl RoleList {
    fn new(roles: Vec<DelegatedRole>) -> Result<Self, Error> {
        let mut list = Self {
            by_name: HashMap::with_capacity(roles.len()),
            by_prefix: BTreeMap::new(),
            prefix_lengths: BTreeSet::new(),
            by_pattern: Vec::new(),
            roles,
        };
        for (index, role) in list.roles.iter().enumerate() {
            if role.name.top_level().is_some() {
                return Err(Error::invalid("name", &role.name, "not the name of a top-level role"));
            }
            if list.by_name.insert(role.name.clone(), index).is_some() {
                return Err(Error::invalid("name", &role.name, "every name once"));
            }
            match &role.paths {
                Paths::Patterns(_) => list.by_pattern.push(index),
                Paths::HashPrefixes(prefixes) => {
                    for prefix in prefixes {
                        list.prefix_lengths.insert(prefix.as_str().len());
                        list.by_prefix.entry(prefix.clone()).or_default().push(index);
                    }
                }
            }
        }
        Ok(list)
    }

    fn get(&self, name: &RoleName) -> Option<&DelegatedRole> {
        self.by_name.get(name).map(|index| &self.roles[*index])
    }

    fn matching(&self, path: &TargetPath) -> Vec<(RoleName, bool)> {
        let digest = path.digest().to_string();
        let prefixes = self.prefix_lengths.iter().filter_map(|length| self.by_prefix.get(&digest[..*length]));
        let patterns = self.by_pattern.iter().filter(|index| self.roles[**index].paths.covers(path));
        let indexes: BTreeSet<usize> = prefixes.flatten().chain(patterns).copied().collect();
        let mut matching = Vec::new();
        for role in indexes.into_iter().map(|index| &self.roles[index]) {
            matching.push((role.name.clone(), role.terminating));
            if role.terminating {
                break;
            }
        }
        matching
    }
}
