//! A walk over the wire format before anything is decoded: how much memory the messages of a file would take, how deep
//! they nest, and whether lengths fit. A file of two-byte messages would otherwise decode to a hundred times its size.

use super::{Limits, proto};
use crate::Error;

/// The messages of which the walk knows what lies inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    ValueInfo,
    Type,
    TensorType,
    Element,
    Map,
    Shape,
    Training,
    Function,
    Annotation,
    Placement,
    Sharding,
    ShardedDim,
    Small,
}

/// What a field of length-delimited bytes is.
enum Field {
    Message(Kind),
    /// A string, or bytes that share the file's buffer.
    Bytes,
    /// Packed numbers: at most so many bytes in memory for each byte in the file.
    Packed(u64),
}

fn field(kind: Kind, number: u64) -> Field {
    use Field::{Bytes, Message, Packed};
    match (kind, number) {
        (Kind::Model, 7) => Message(Kind::Graph),
        (Kind::Model, 20) => Message(Kind::Training),
        (Kind::Model, 25) => Message(Kind::Function),
        (Kind::Model, 8 | 14 | 26) => Message(Kind::Small),
        (Kind::Graph, 1) | (Kind::Function, 7) => Message(Kind::Node),
        (Kind::Graph, 5) => Message(Kind::Tensor),
        (Kind::Graph, 11..=13) | (Kind::Function, 12) => Message(Kind::ValueInfo),
        (Kind::Graph, 14) => Message(Kind::Annotation),
        (Kind::Graph, 15) => Message(Kind::Sparse),
        (Kind::Node, 5) | (Kind::Function, 11) => Message(Kind::Attribute),
        (Kind::Node, 10) => Message(Kind::Placement),
        (Kind::Placement, 2) => Message(Kind::Sharding),
        (Kind::Sharding, 4) => Message(Kind::ShardedDim),
        (Kind::Sharding, 3) | (Kind::ShardedDim, 2) => Message(Kind::Small),
        (Kind::Attribute, 5 | 10) | (Kind::Sparse, 1 | 2) => Message(Kind::Tensor),
        (Kind::Attribute, 6 | 11) | (Kind::Training, 1 | 2) => Message(Kind::Graph),
        (Kind::Attribute, 14 | 15) | (Kind::ValueInfo | Kind::Map, 2) | (Kind::Element, 1) => Message(Kind::Type),
        (Kind::Attribute, 22 | 23) => Message(Kind::Sparse),
        (Kind::Type, 1 | 8) => Message(Kind::TensorType),
        (Kind::Type, 4 | 9) => Message(Kind::Element),
        (Kind::Type, 5) => Message(Kind::Map),
        (Kind::Type, 7) => Message(Kind::Small),
        (Kind::TensorType, 2) => Message(Kind::Shape),
        (Kind::Shape, 1) => Message(Kind::Small),
        (Kind::Tensor, 3 | 13 | 16) | (Kind::Training, 3 | 4) | (Kind::Function, 9 | 14) => Message(Kind::Small),
        (Kind::Graph, 16) | (Kind::Node, 9) | (Kind::ValueInfo, 4) | (Kind::Annotation, 2) => Message(Kind::Small),
        // an int32 or int64 may be one byte in the file
        (Kind::Tensor, 5) => Packed(4),
        (Kind::Tensor, 1 | 7 | 11) | (Kind::Attribute, 8) | (Kind::Sparse, 3) => Packed(8),
        (Kind::Small | Kind::Sharding, _) => Packed(8),
        (Kind::Tensor, 4 | 10) | (Kind::Attribute, 7) => Packed(1),
        _ => Bytes,
    }
}

/// Bytes that one such message takes in memory, itself alone.
fn size(kind: Kind) -> usize {
    match kind {
        Kind::Model => size_of::<proto::ModelProto>(),
        Kind::Graph => size_of::<proto::GraphProto>(),
        Kind::Node => size_of::<proto::NodeProto>(),
        Kind::Attribute => size_of::<proto::AttributeProto>(),
        Kind::Tensor => size_of::<proto::TensorProto>(),
        Kind::Sparse => size_of::<proto::SparseTensorProto>(),
        Kind::ValueInfo => size_of::<proto::ValueInfoProto>(),
        Kind::Training => size_of::<proto::TrainingInfoProto>(),
        Kind::Function => size_of::<proto::FunctionProto>(),
        _ => 96,
    }
}

/// Elements of a vector move when it grows, and it may then be twice as long as needed.
const GROWTH: u64 = 2;
/// A string or a shared slice: its handle, and what the allocator keeps beside it.
const HANDLE: u64 = 48;
/// Messages within messages; a graph in an attribute of a node is three deeper.
const DEPTH: usize = 60;

struct Walk<'a> {
    limits: &'a Limits,
    memory: u64,
}

/// Refuses a file whose messages would take more memory, or nest deeper, than the limits allow.
pub(super) fn scan(bytes: &[u8], limits: &Limits) -> Result<(), Error> {
    let most = limits.file_bytes;
    if bytes.len() as u64 > most {
        return Err(Error::limit("bytes of the model's file", bytes.len() as u64, most));
    }
    Walk { limits, memory: 0 }.message(bytes, Kind::Model, 0)
}

/// Refuses a tensor's file for the same reasons.
pub(super) fn scan_tensor(bytes: &[u8], limits: &Limits) -> Result<(), Error> {
    if bytes.len() as u64 > limits.file_bytes {
        return Err(Error::limit("bytes of the tensor's file", bytes.len() as u64, limits.file_bytes));
    }
    Walk { limits, memory: 0 }.message(bytes, Kind::Tensor, 0)
}

impl Walk<'_> {
    fn charge(&mut self, bytes: u64) -> Result<(), Error> {
        self.memory = self.memory.saturating_add(bytes);
        if self.memory > self.limits.decoded_bytes {
            return Err(Error::limit("memory of the model's messages", self.memory, self.limits.decoded_bytes));
        }
        Ok(())
    }

    fn message(&mut self, mut bytes: &[u8], kind: Kind, depth: usize) -> Result<(), Error> {
        if depth > DEPTH {
            return Err(Error::limit("nesting of messages", depth as u64, DEPTH as u64));
        }
        self.charge(GROWTH * size(kind) as u64)?;
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            match key & 7 {
                0 => {
                    varint(&mut bytes)?;
                    self.charge(GROWTH * 8)?;
                }
                1 => {
                    take(&mut bytes, 8)?;
                    self.charge(GROWTH * 8)?;
                }
                2 => {
                    let length = varint(&mut bytes)?;
                    let inside = take(&mut bytes, length)?;
                    match field(kind, key >> 3) {
                        Field::Message(inner) => self.message(inside, inner, depth + 1)?,
                        Field::Packed(factor) => self.charge(GROWTH * factor * length + HANDLE)?,
                        Field::Bytes => self.charge(GROWTH * HANDLE)?,
                    }
                }
                5 => {
                    take(&mut bytes, 4)?;
                    self.charge(GROWTH * 4)?;
                }
                wire => return Err(Error::model("file", format!("wire type {wire} is not one of protobuf"))),
            }
        }
        Ok(())
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8], Error> {
    let cut = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
    let Some((head, rest)) = cut else {
        return Err(Error::model("file", format!("{length} bytes are announced, {} follow; is it cut?", bytes.len())));
    };
    *bytes = rest;
    Ok(head)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, Error> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let Some((&byte, rest)) = bytes.split_first() else {
            return Err(Error::model("file", "it ends within a number; is it cut?"));
        };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Error::model("file", "a number of more than ten bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_tiny_messages_are_refused_before_they_are_decoded() {
        // a graph of 4 million empty nodes: 8 MB in the file, 1.3 GB in memory
        let nodes: Vec<u8> = [0x0a, 0x00].repeat(4 << 20);
        let mut bytes = vec![0x3a];
        prost::encoding::encode_varint(nodes.len() as u64, &mut bytes);
        bytes.extend(nodes);
        let limits = Limits { decoded_bytes: 256 << 20, ..Limits::default() };
        assert!(matches!(scan(&bytes, &limits), Err(Error::Limit { .. })));
    }

    #[test]
    fn graphs_within_graphs_end_somewhere() {
        let mut bytes = Vec::new();
        for depth in 0..201 {
            let tag = match depth % 3 {
                0 => 0x32, // attribute.g
                1 => 0x2a, // node.attribute
                _ => 0x0a, // graph.node
            };
            let mut outer = vec![tag];
            prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
            outer.extend(bytes);
            bytes = outer;
        }
        let mut file = vec![0x3a];
        prost::encoding::encode_varint(bytes.len() as u64, &mut file);
        file.extend(bytes);
        assert!(scan(&file, &Limits::default()).is_err());
    }

    #[test]
    fn cut_files_are_named_so() {
        for bytes in [&[0x3a_u8, 0x7f][..], &[0x3a], &[0xff; 11], &[0x0b]] {
            assert!(matches!(scan(bytes, &Limits::default()), Err(Error::Model { .. })), "{bytes:?}");
        }
    }
}
