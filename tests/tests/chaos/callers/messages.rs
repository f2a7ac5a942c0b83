//! Messages by their descriptors: any of a type, and one with a field that is another.

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value};
use rand::{
    RngExt as _,
    rngs::StdRng,
    seq::{IndexedMutRandom as _, IndexedRandom as _, IteratorRandom as _},
};
use rstuf_api::limits;
use rstuf_tuf::Sha256;

use super::known::Known;

/// Of a list that is as long as a message may have, and one longer.
const LONG: [usize; 3] = [1_024, limits::CHANGES_PER_SUBMISSION_MAX, limits::CHANGES_PER_SUBMISSION_MAX + 1];
/// Every so manieth list is a long one.
const LONG_EVERY: u32 = 200;

/// A message of a type, of what is known and of what is odd.
pub(crate) fn any(of: &MessageDescriptor, known: &Known, random: &mut StdRng) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    if of.full_name() == "rstuf.metadata.v1.Document" {
        let document = known.document(random);
        message.set_field_by_name("role", Value::String(document.role));
        message.set_field_by_name("envelope", Value::Bytes(document.envelope));
        return message;
    }
    for field in of.fields() {
        if random.random_bool(0.85) {
            set(&mut message, &field, known, random);
        }
    }
    message
}

/// Makes one field of the message another, wherever in it that stands.
pub(crate) fn alter(message: &mut DynamicMessage, known: &Known, random: &mut StdRng) {
    let Some(field) = message.descriptor().fields().choose(random) else { return };
    let deeper = random.random_bool(0.7);
    match message.has_field(&field).then(|| message.get_field_mut(&field)) {
        Some(Value::Message(part)) if deeper => alter(part, known, random),
        Some(Value::List(parts)) if deeper => match parts.choose_mut(random) {
            Some(Value::Message(part)) => alter(part, known, random),
            _ => set(message, &field, known, random),
        },
        _ => set(message, &field, known, random),
    }
}

fn set(message: &mut DynamicMessage, field: &FieldDescriptor, known: &Known, random: &mut StdRng) {
    if !field.is_list() {
        return message.set_field(field, value(field, known, random));
    }
    let count = random.random_range(0..4);
    let mut parts: Vec<_> = (0..count).map(|_| value(field, known, random)).collect();
    if random.random_ratio(1, LONG_EVERY) {
        // All the same: what is long is cheap to make, and to send.
        let part = value(field, known, random);
        let bytes = if let Value::Message(part) = &part { part.encode_to_vec().len() } else { 64 };
        let most = limits::REQUEST_BYTES_MAX / (bytes + 8);
        parts = vec![part; LONG.choose(random).map_or(0, |count| most.min(*count))];
    }
    message.set_field(field, Value::List(parts));
}

fn value(field: &FieldDescriptor, known: &Known, random: &mut StdRng) -> Value {
    match field.kind() {
        Kind::Message(of) => Value::Message(any(&of, known, random)),
        Kind::Enum(of) => {
            let numbers = of.values().map(|value| value.number()).chain([99]);
            Value::EnumNumber(numbers.choose(random).unwrap_or_default())
        }
        Kind::Bool => Value::Bool(random.random()),
        Kind::String => Value::String(text(field.name(), known, random)),
        Kind::Bytes => Value::Bytes(bytes(field.name(), known, random)),
        Kind::Uint32 => Value::U32(*[0, 1, 7, 1_000, 1 << 31, u32::MAX].choose(random).unwrap_or(&0)),
        Kind::Uint64 => Value::U64(*[0, 1, 4_096, 1 << 53, u64::MAX].choose(random).unwrap_or(&0)),
        Kind::Int32 => Value::I32(*[0, 999_999_999, -1, i32::MAX].choose(random).unwrap_or(&0)),
        Kind::Int64 => Value::I64(*[0, 4_000_000_000, -1, i64::MAX].choose(random).unwrap_or(&0)),
        kind => unreachable!("a field of kind {kind:?}: make a value of it here"),
    }
}

fn text(name: &str, known: &Known, random: &mut StdRng) -> String {
    if random.random_bool(0.1) {
        let odd = ["", "\0", "../..", "e\u{301}", "\u{202e}txt.exe", "%2e%2e", &"x".repeat(2_000)];
        return odd.choose(random).map_or_else(String::new, |text| (*text).to_owned());
    }
    match name {
        "role" | "roles" => known.role(random),
        "path" | "remove_path" | "path_prefix" => path(random),
        "page_token" => known.tokens.choose(random).cloned().unwrap_or_default(),
        "custom_json" => ["", "{\"a\":[1]}", "[]", "{"].choose(random).unwrap_or(&"").to_string(),
        "id" if random.random_bool(0.3) => known.imports.choose(random).map_or_else(String::new, |it| it.id.clone()),
        "id" => known.task(&[], random),
        _ => format!("caller-{}", random.random_range(0..1_000)),
    }
}

/// Nobody else's: what is honest is only looked at.
pub(crate) fn path(random: &mut StdRng) -> String {
    format!("foreign/{}", random.random_range(0..200))
}

fn bytes(name: &str, known: &Known, random: &mut StdRng) -> Bytes {
    match name {
        "repository_id" if random.random_bool(0.7) => known.repository.clone(),
        "envelope" | "root" | "targets" | "roots" => known.document(random).envelope,
        _ if random.random_bool(0.1) => Bytes::from(vec![7; random.random_range(0..100)]),
        _ if random.random_bool(0.3) => sha256(&known.document(random).envelope),
        _ => Bytes::copy_from_slice(&random.random::<[u8; 32]>()),
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(Sha256::of(bytes).as_bytes())
}
