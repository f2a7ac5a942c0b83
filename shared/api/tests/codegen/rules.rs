//! How the interface is written, as `buf lint` has it: names, packages, comments, a request and a response of its own
//! for each call.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};

/// Numbers of fields in `descriptor.proto`, of which the paths of comments are made.
const FILE_MESSAGE: i32 = 4;
const FILE_ENUM: i32 = 5;
const FILE_SERVICE: i32 = 6;
const SERVICE_METHOD: i32 = 2;
const MESSAGE_NESTED: i32 = 3;
const MESSAGE_ENUM: i32 = 4;

#[test]
fn the_interface_keeps_its_rules() {
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let set = super::descriptors(&protos);
    let ours: Vec<_> = set.file.iter().filter(|file| file.package().starts_with("rstuf.")).collect();
    assert_eq!(ours.len(), super::AREAS.len());
    let mut faults: Vec<String> = ours.iter().flat_map(|file| File::new(file).faults()).collect();
    faults.extend(circles(&ours));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What the rules say of a file that breaks each of them.
#[test]
fn every_rule_can_be_broken() {
    let text = r#"
        syntax = "proto3";
        package rstuf.other.v1;
        service Things { rpc Get(Thing) returns (GetResponse); }
        message Thing { string camelCase = 1; uint64 age_seconds = 2; Kind kind = 3; }
        message GetResponse {}
        message Loose {}
        enum Kind { NONE = 0; KIND_ONE = 1; }
    "#;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("rstuf/things/v1")).unwrap();
    let path = folder.path().join("rstuf/things/v1/things.proto");
    std::fs::write(&path, text).unwrap();
    let mut compiler = protox::Compiler::new([folder.path()]).unwrap();
    let set = compiler.include_source_info(true).open_files([path]).unwrap().file_descriptor_set();
    let faults = File::new(&set.file[0]).faults().join("\n");
    let expected = [
        "package is rstuf.other.v1",
        "service Things: its name ends in Service",
        "service Things: no comment",
        "Get: no comment",
        "Get: its request is GetRequest",
        "message Loose: no comment",
        "field Thing.camelCase: snake_case",
        "field Thing.age_seconds: a google.protobuf.Duration",
        "enum Kind: no comment",
        "NONE: begins with KIND_",
        "NONE: is KIND_UNSPECIFIED",
    ];
    for fault in expected {
        assert!(faults.contains(fault), "{fault} in\n{faults}");
    }
}

struct File<'a> {
    file: &'a FileDescriptorProto,
    comments: BTreeMap<&'a [i32], &'a str>,
    /// Messages that are requests or answers: the comment of their call is theirs.
    of_calls: BTreeSet<String>,
}

impl<'a> File<'a> {
    fn new(file: &'a FileDescriptorProto) -> Self {
        let places = file.source_code_info.iter().flat_map(|info| &info.location);
        let comments = places.map(|place| (&place.path[..], place.leading_comments())).collect();
        let methods = file.service.iter().flat_map(|service| &service.method);
        let of_calls = methods.flat_map(|method| [method.input_type(), method.output_type()]);
        let of_calls = of_calls.map(|name| name.rsplit('.').next().unwrap_or_default().to_owned()).collect();
        Self { file, comments, of_calls }
    }

    fn faults(&self) -> Vec<String> {
        let name = self.file.name();
        let mut faults = Vec::new();
        let package = name.rsplit_once('/').map(|(folder, _)| folder.replace('/', ".")).unwrap_or_default();
        if self.file.package() != package {
            faults.push(format!("package is {}, that of its folder is {package}", self.file.package()));
        }
        if self.file.syntax() != "proto3" || !self.file.public_dependency.is_empty() {
            faults.push("written in proto3, without public imports".to_owned());
        }
        self.services(&mut faults);
        for (index, message) in (0..).zip(&self.file.message_type) {
            self.message(message, message.name(), vec![FILE_MESSAGE, index], &mut faults);
        }
        for (index, it) in (0..).zip(&self.file.enum_type) {
            self.enumeration(it, &[FILE_ENUM, index], &mut faults);
        }
        faults.into_iter().map(|fault| format!("{name}: {fault}")).collect()
    }

    fn comment(&self, path: &[i32]) -> &str {
        self.comments.get(path).copied().unwrap_or_default().trim()
    }

    fn services(&self, faults: &mut Vec<String>) {
        let mut used = BTreeSet::new();
        for (number, service) in (0..).zip(&self.file.service) {
            let name = service.name();
            if !name.ends_with("Service") {
                faults.push(format!("service {name}: its name ends in Service"));
            }
            if self.comment(&[FILE_SERVICE, number]).is_empty() {
                faults.push(format!("service {name}: no comment"));
            }
            for (index, method) in (0..).zip(&service.method) {
                let call = method.name();
                let comment = self.comment(&[FILE_SERVICE, number, SERVICE_METHOD, index]);
                if comment.is_empty() {
                    faults.push(format!("{call}: no comment"));
                } else if !comment.contains("Retry") {
                    faults.push(format!("{call}: its comment says what a retry does"));
                }
                for (what, found) in [("Request", method.input_type()), ("Response", method.output_type())] {
                    let own = format!(".{}.{call}{what}", self.file.package());
                    if found != own || !used.insert(found) {
                        faults.push(format!("{call}: its {} is {call}{what}, its own", what.to_lowercase()));
                    }
                }
            }
        }
    }

    fn message(&self, message: &DescriptorProto, name: &str, path: Vec<i32>, faults: &mut Vec<String>) {
        if !is_upper_camel(message.name()) {
            faults.push(format!("message {name}: UpperCamelCase"));
        }
        if self.comment(&path).is_empty() && !self.of_calls.contains(message.name()) {
            faults.push(format!("message {name}: no comment"));
        }
        for field in message.field.iter().map(|field| field.name()) {
            if !is_snake(field) {
                faults.push(format!("field {name}.{field}: snake_case"));
            }
            if field.ends_with("_seconds") || field.ends_with("_ms") {
                faults.push(format!("field {name}.{field}: a google.protobuf.Duration or Timestamp"));
            }
        }
        for (index, nested) in (0..).zip(&message.nested_type) {
            let path = [&path[..], &[MESSAGE_NESTED, index]].concat();
            self.message(nested, &format!("{name}.{}", nested.name()), path, faults);
        }
        for (index, it) in (0..).zip(&message.enum_type) {
            self.enumeration(it, &[&path[..], &[MESSAGE_ENUM, index]].concat(), faults);
        }
    }

    fn enumeration(&self, it: &EnumDescriptorProto, path: &[i32], faults: &mut Vec<String>) {
        let name = it.name();
        if !is_upper_camel(name) {
            faults.push(format!("enum {name}: UpperCamelCase"));
        }
        if self.comment(path).is_empty() {
            faults.push(format!("enum {name}: no comment"));
        }
        let prefix = screaming(name);
        for value in &it.value {
            if !value.name().starts_with(&prefix) {
                faults.push(format!("{}: begins with {prefix}", value.name()));
            }
            if value.number() == 0 && value.name() != format!("{prefix}UNSPECIFIED") {
                faults.push(format!("{}: is {prefix}UNSPECIFIED", value.name()));
            }
        }
    }
}

/// Packages that import each other, however long the way.
fn circles(files: &[&FileDescriptorProto]) -> Vec<String> {
    let package_of: BTreeMap<&str, &str> = files.iter().map(|file| (file.name(), file.package())).collect();
    let imports = |package: &str| -> BTreeSet<&str> {
        let own = files.iter().filter(|file| file.package() == package);
        own.flat_map(|file| &file.dependency).filter_map(|name| package_of.get(name.as_str()).copied()).collect()
    };
    let reaches_itself = |package: &&&str| {
        let (mut seen, mut open) = (BTreeSet::new(), imports(package));
        while let Some(next) = open.pop_first() {
            if seen.insert(next) {
                open.extend(imports(next));
            }
        }
        seen.contains(**package)
    };
    package_of.values().filter(reaches_itself).map(|package| format!("{package}: in a circle of imports")).collect()
}

fn is_snake(name: &str) -> bool {
    let inner = name.split('_').all(|word| !word.is_empty());
    inner && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

fn is_upper_camel(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// `TaskState` as `TASK_STATE_`.
fn screaming(name: &str) -> String {
    let mut prefix = String::new();
    for character in name.chars() {
        if character.is_ascii_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.push(character.to_ascii_uppercase());
    }
    prefix + "_"
}
