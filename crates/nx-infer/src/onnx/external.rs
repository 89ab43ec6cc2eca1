//! Tensor data beside the model's file. It is taken in only from the file's own directory, and only so much of it.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Component, Path},
};

use bytes::Bytes;

use super::{
    Limits,
    proto::{GraphProto, ModelProto, NodeProto, TensorProto},
};
use crate::Error;

/// Replaces each reference to data beside the file by the data.
pub(super) fn take_in(model: &mut ModelProto, directory: &Path, limits: &Limits) -> Result<(), Error> {
    let mut reader = Reader { directory, left: limits.external_bytes, limits };
    if let Some(graph) = &mut model.graph {
        reader.graph(graph)?;
    }
    for function in &mut model.functions {
        reader.nodes(&mut function.node)?;
    }
    Ok(())
}

struct Reader<'a> {
    directory: &'a Path,
    left: u64,
    limits: &'a Limits,
}

impl Reader<'_> {
    fn graph(&mut self, graph: &mut GraphProto) -> Result<(), Error> {
        for tensor in &mut graph.initializer {
            self.tensor(tensor)?;
        }
        for sparse in &mut graph.sparse_initializer {
            for tensor in sparse.values.iter_mut().chain(&mut sparse.indices) {
                self.tensor(tensor)?;
            }
        }
        self.nodes(&mut graph.node)
    }

    // the walk before decoding has bounded how deep graphs nest
    fn nodes(&mut self, nodes: &mut [NodeProto]) -> Result<(), Error> {
        for attribute in nodes.iter_mut().flat_map(|node| &mut node.attribute) {
            for tensor in attribute.t.as_deref_mut().into_iter().chain(&mut attribute.tensors) {
                self.tensor(tensor)?;
            }
            for graph in attribute.g.as_deref_mut().into_iter().chain(&mut attribute.graphs) {
                self.graph(graph)?;
            }
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: &mut TensorProto) -> Result<(), Error> {
        if tensor.data_location != Some(1) {
            return Ok(());
        }
        let name = tensor.name.clone().unwrap_or_default();
        let refuse = |reason: String| Error::External { tensor: name.clone(), reason };
        let entry = |key: &str| {
            let found = tensor.external_data.iter().find(|entry| entry.key.as_deref() == Some(key));
            found.and_then(|entry| entry.value.clone())
        };
        let number = |key: &str| {
            let text = entry(key);
            text.map(|text| text.parse::<u64>().map_err(|why| refuse(format!("`{key}` is no number: `{text}`: {why}"))))
                .transpose()
        };
        let location = entry("location").ok_or_else(|| refuse("it names no file".to_owned()))?;
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        let relative = Path::new(&location);
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if location.is_empty() || !plain {
            return Err(refuse(format!("`{location}` does not stay in the model's own directory")));
        }
        let path = self.directory.join(relative);
        let failed = |error: std::io::Error| refuse(format!("`{location}` cannot be read: {error}"));
        // a symbolic link must not lead out either
        let (real, root) = (path.canonicalize().map_err(failed)?, self.directory.canonicalize().map_err(failed)?);
        if !real.starts_with(&root) || !real.is_file() {
            return Err(refuse(format!("`{location}` is no file in the model's own directory")));
        }
        let mut file = fs::File::open(&real).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let length = length.unwrap_or_else(|| size.saturating_sub(offset));
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(refuse(format!("it asks for bytes {offset} to {offset} + {length} of a file of {size}")));
        }
        if length > self.left {
            return Err(Error::limit("bytes of external data", length, self.limits.external_bytes));
        }
        self.left -= length;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        file.take(length).read_to_end(&mut bytes).map_err(failed)?;
        tensor.raw_data = Some(Bytes::from(bytes));
        tensor.external_data.clear();
        tensor.data_location = None;
        Ok(())
    }
}
