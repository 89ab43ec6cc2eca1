//! Networks as bytes: safetensors, with the network's declaration as the header's one entry `neuraxis.network`.
//!
//! Tensors are named `LAYER.NAME`, layers counted from 0. The same network gives the same bytes, and the bytes give the same
//! network.

use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{
    error::Error,
    network::{Network, Spec},
};

const ENTRY: &str = "neuraxis.network";

/// The network as bytes.
pub fn write(network: &Network) -> Result<Vec<u8>, Error> {
    let fail = |reason: String| Error::Stored { reason };
    let spec = serde_json::to_string(&network.spec()).map_err(|error| fail(error.to_string()))?;
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = named(network)
        .map(|(name, tensor)| (name, tensor.shape, tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views: Result<Vec<_>, _> = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect();
    let header = HashMap::from([(ENTRY.to_owned(), spec)]);
    views.and_then(|views| safetensors::serialize(views, Some(header))).map_err(|error| fail(error.to_string()))
}

/// The network that the bytes hold.
pub fn read(bytes: &[u8]) -> Result<Network, Error> {
    let fail = |reason: String| Error::Stored { reason };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| fail(error.to_string()))?;
    let spec = header.metadata().as_ref().and_then(|entries| entries.get(ENTRY));
    let spec = spec.ok_or_else(|| fail(format!("the header has no entry `{ENTRY}`")))?;
    let spec: Spec = serde_json::from_str(spec).map_err(|error| fail(error.to_string()))?;
    let stored = SafeTensors::deserialize(bytes).map_err(|error| fail(error.to_string()))?;
    let mut network = Network::blank(&spec)?;
    let wanted: Vec<(String, Vec<usize>)> = named(&network).map(|(name, tensor)| (name, tensor.shape)).collect();
    if stored.len() != wanted.len() {
        return Err(fail(format!("there are {} tensors, and the layers have {}", stored.len(), wanted.len())));
    }
    let values = network.layers_mut().iter_mut().flat_map(|layer| layer.values_mut());
    for (values, (name, shape)) in values.zip(wanted) {
        let tensor = stored.tensor(&name).map_err(|error| fail(error.to_string()))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
            let (found, kind) = (tensor.shape(), tensor.dtype());
            return Err(fail(format!("tensor `{name}` is {kind:?} {found:?}, and the layer wants F32 {shape:?}")));
        }
        let (numbers, _) = tensor.data().as_chunks();
        values.clear();
        values.extend(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        if values.iter().any(|value| !value.is_finite()) {
            return Err(fail(format!("tensor `{name}` holds what is no number")));
        }
    }
    Ok(network)
}

/// The network's tensors and their names.
pub(crate) fn named(network: &Network) -> impl Iterator<Item = (String, crate::network::Tensor<'_>)> {
    network.layers().iter().enumerate().flat_map(|(index, layer)| {
        layer.tensors().into_iter().map(move |tensor| (format!("{index}.{}", tensor.name), tensor))
    })
}
