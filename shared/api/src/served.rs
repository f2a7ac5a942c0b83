//! What one port serves, for reflection: each names its own services and no others.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use crate::proto::DESCRIPTORS;

/// An encoded `FileDescriptorSet` of the services with these full names, and of nothing that they don't use.
#[must_use]
pub fn descriptors(services: &[&str]) -> Vec<u8> {
    // The bytes are our own: a test reads them.
    let mut set = FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default();
    for file in &mut set.file {
        let package = file.package().to_owned();
        file.service.retain(|service| services.contains(&format!("{package}.{}", service.name()).as_str()));
    }
    let mut needed = BTreeSet::new();
    let mut open: Vec<String> = set.file.iter().filter(|file| !file.service.is_empty()).map(name).collect();
    while let Some(next) = open.pop() {
        if needed.insert(next.clone()) {
            let file = set.file.iter().find(|file| file.name() == next);
            open.extend(file.into_iter().flat_map(|file| file.dependency.iter().cloned()));
        }
    }
    set.file.retain(|file| needed.contains(file.name()));
    set.encode_to_vec()
}

fn name(file: &FileDescriptorProto) -> String {
    file.name().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_port_names_its_own_services_and_what_they_use() {
        let own = ["rstuf.signer.v1.SignerService", "rstuf.signer.v1.TimestampSignerService"];
        let set = FileDescriptorSet::decode(descriptors(&own).as_slice()).unwrap();
        let services =
            set.file.iter().flat_map(|file| file.service.iter().map(|it| format!("{}.{}", file.package(), it.name())));
        assert_eq!(services.collect::<Vec<_>>(), own);
        let files: BTreeSet<_> = set.file.iter().map(|file| file.name()).collect();
        assert!(
            files.contains("rstuf/metadata/v1/metadata.proto")
                && !files.contains("rstuf/repository/v1/repository.proto")
        );
        let used: Vec<_> = set.file.iter().flat_map(|file| file.dependency.iter()).collect();
        assert!(used.iter().all(|file| files.contains(file.as_str())), "{used:?}");
    }

    #[test]
    fn all_that_there_is_can_be_served() {
        let all = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
        let names: Vec<String> = all
            .file
            .iter()
            .flat_map(|file| file.service.iter().map(|it| format!("{}.{}", file.package(), it.name())))
            .collect();
        assert!(names.len() >= 7);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let set = FileDescriptorSet::decode(descriptors(&names).as_slice()).unwrap();
        assert_eq!(set.file.iter().map(|file| file.service.len()).sum::<usize>(), names.len());
    }
}
