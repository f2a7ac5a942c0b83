//! Counting the elements of a message while it is still bytes, along its schema: without it, text cannot be told from
//! fields. One pass, nothing is allocated.

use std::{collections::HashMap, sync::LazyLock};

use prost::Message as _;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

use crate::{Violation, limits::ELEMENTS_MAX, proto::DESCRIPTORS};

/// Why a message is not decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// A field has more elements than [`ELEMENTS_MAX`] allows.
    #[error("{0}")]
    TooMany(Violation),
    /// It is not what protobuf would write.
    #[error("malformed")]
    Malformed,
}

type Result<T> = std::result::Result<T, Fault>;
/// By the places of [`ELEMENTS_MAX`].
type Counts = [usize; ELEMENTS_MAX.len()];

/// Counts the elements of `bytes`, a message of the type with this full name.
///
/// # Errors
/// See [`Fault`].
pub(crate) fn check(full_name: &str, bytes: &[u8]) -> Result<()> {
    let message = SCHEMA.message(full_name).ok_or(Fault::Malformed)?;
    SCHEMA.count(message, bytes, &mut [0; ELEMENTS_MAX.len()])
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(Schema::ours);

/// All message types of the interface.
struct Schema {
    messages: Vec<Message>,
    places: HashMap<String, usize>,
}

/// Its fields, each at its number, which are small: a look-up for every field that is counted must cost nothing.
type Message = Vec<Option<Field>>;

struct Field {
    name: String,
    content: Content,
    /// Its place in [`ELEMENTS_MAX`], where it is repeated.
    counter: Option<usize>,
}

enum Content {
    /// The place of its type.
    Message(usize),
    Text,
    /// Where it is repeated, many may stand behind one length.
    Number,
}

impl Schema {
    fn ours() -> Self {
        // The bytes are our own: a test reads them.
        let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default();
        let mut all = Vec::new();
        for file in &set.file {
            file.message_type.iter().for_each(|message| gather(file.package(), message, &mut all));
        }
        let places: HashMap<_, _> = all.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect();
        let fields = |(name, message): &(String, &DescriptorProto)| {
            let mut fields = Message::new();
            for it in &message.field {
                let number = it.number().unsigned_abs() as usize;
                fields.resize_with(fields.len().max(number + 1), || None);
                fields[number] = Some(field(name, it, &places));
            }
            fields
        };
        Self { messages: all.iter().map(fields).collect(), places }
    }

    fn message(&self, full_name: &str) -> Option<&Message> {
        self.messages.get(*self.places.get(full_name)?)
    }

    /// Goes as deep as the types do, not as the bytes would.
    fn count(&self, message: &Message, mut rest: &[u8], counts: &mut Counts) -> Result<()> {
        while !rest.is_empty() {
            let key = u32::try_from(varint(&mut rest)?).map_err(|_| Fault::Malformed)?;
            let value = value(key & 7, &mut rest)?;
            let number = key >> 3;
            if number == 0 {
                return Err(Fault::Malformed);
            }
            let Some(Some(field)) = message.get(number as usize) else { continue };
            field.take(value, counts)?;
            if let (Content::Message(place), Some(bytes)) = (&field.content, value) {
                self.count(&self.messages[*place], bytes, counts).map_err(|fault| fault.within(&field.name))?;
            }
        }
        Ok(())
    }
}

impl Field {
    fn take(&self, value: Option<&[u8]>, counts: &mut Counts) -> Result<()> {
        let Some(counter) = self.counter else { return Ok(()) };
        let max = ELEMENTS_MAX[counter].1;
        counts[counter] += match (&self.content, value) {
            // Each takes a byte at least.
            (Content::Number, Some(packed)) => packed.len(),
            _ => 1,
        };
        if counts[counter] > max {
            let description = format!("more than {max} in one message, allowed are at most {max}");
            return Err(Fault::TooMany(Violation::new(&self.name, description)));
        }
        Ok(())
    }
}

impl Fault {
    fn within(self, place: &str) -> Self {
        match self {
            Self::TooMany(violation) => Self::TooMany(violation.within(place)),
            Self::Malformed => Self::Malformed,
        }
    }
}

fn gather<'a>(scope: &str, message: &'a DescriptorProto, all: &mut Vec<(String, &'a DescriptorProto)>) {
    let name = format!("{scope}.{}", message.name());
    message.nested_type.iter().for_each(|nested| gather(&name, nested, all));
    all.push((name, message));
}

fn field(message: &str, field: &FieldDescriptorProto, places: &HashMap<String, usize>) -> Field {
    let content = match field.r#type() {
        Type::Message => {
            places.get(field.type_name().trim_start_matches('.')).map_or(Content::Text, |it| Content::Message(*it))
        }
        Type::String | Type::Bytes => Content::Text,
        _ => Content::Number,
    };
    let name = field.name().to_owned();
    let full_name = format!("{message}.{name}");
    let counter = ELEMENTS_MAX.iter().position(|(known, _)| *known == full_name);
    Field { name, content, counter: counter.filter(|_| field.label() == Label::Repeated) }
}

/// Passes over a value; gives its bytes where it has a length.
fn value<'a>(wire_type: u32, rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
    let length = match wire_type {
        0 => return varint(rest).map(|_| None),
        1 => 8,
        2 => usize::try_from(varint(rest)?).map_err(|_| Fault::Malformed)?,
        5 => 4,
        // Groups went with proto2.
        _ => return Err(Fault::Malformed),
    };
    let bytes = rest.split_off(..length).ok_or(Fault::Malformed)?;
    Ok((wire_type == 2).then_some(bytes))
}

fn varint(rest: &mut &[u8]) -> Result<u64> {
    prost::encoding::decode_varint(rest).map_err(|_| Fault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{SMALL_MESSAGE_BYTES_MAX, request_bytes_max};

    /// A field that is repeated has a limit, and no limit is about a field that there is not.
    #[test]
    fn every_repeated_field_has_a_limit() {
        let set = FileDescriptorSet::decode(DESCRIPTORS).expect("a descriptor set");
        let mut all = Vec::new();
        for file in &set.file {
            file.message_type.iter().for_each(|message| gather(file.package(), message, &mut all));
        }
        let repeated = all.iter().flat_map(|(name, message)| {
            let fields = message.field.iter().filter(|field| field.label() == Label::Repeated);
            fields.map(move |field| format!("{name}.{}", field.name()))
        });
        let mut repeated: Vec<_> = repeated.collect();
        let mut limited: Vec<_> = ELEMENTS_MAX.iter().map(|(name, _)| (*name).to_owned()).collect();
        repeated.sort();
        limited.sort();
        assert_eq!(repeated, limited);
    }

    /// What the counting relies on where it follows types into each other.
    #[test]
    fn no_message_holds_another_of_its_own_type() {
        fn depth(message: &Message, left: usize) -> usize {
            assert!(left > 0, "a message type within itself");
            let inner = message.iter().flatten().filter_map(|field| match field.content {
                Content::Message(place) => Some(depth(&SCHEMA.messages[place], left - 1)),
                _ => None,
            });
            1 + inner.max().unwrap_or_default()
        }
        let deepest = SCHEMA.messages.iter().map(|message| depth(message, 16)).max();
        assert_eq!(deepest, Some(6), "SignTargetsRequest down to its hashes");
    }

    /// The limits by method are about methods that there are.
    #[test]
    fn methods_have_their_limits() {
        let set = FileDescriptorSet::decode(DESCRIPTORS).expect("a descriptor set");
        let methods = set.file.iter().flat_map(|file| &file.service).flat_map(|service| &service.method);
        let large = methods.filter(|method| request_bytes_max(method.name()) > SMALL_MESSAGE_BYTES_MAX);
        assert_eq!(large.count(), 9);
        assert_eq!(request_bytes_max("/rstuf.repository.v1.RepositoryService/GetStatus"), SMALL_MESSAGE_BYTES_MAX);
    }
}
