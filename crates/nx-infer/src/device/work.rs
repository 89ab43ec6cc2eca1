//! What a run of a model has to do, counted: products, and bytes of weights.

use serde::{Deserialize, Serialize};

use crate::{
    DType, Error, Tensor,
    engine::{Engine, Options, Session},
    onnx::{Model, Value, graph},
};

/// The work of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    /// Multiplications with an addition each, in convolutions and matrix products.
    pub products: u64,
    /// Of them those whose weights are of eight bits.
    pub products_int8: u64,
    /// Bytes of weights, which are read once a run.
    pub weight_bytes: u64,
    /// Bytes of inner values, which are written and read.
    pub inner_bytes: u64,
    /// Nodes that have products and could not be counted: their shapes are not seen.
    pub uncounted: usize,
}

impl Work {
    /// Runs a model once and looks at the shapes of what its products give.
    ///
    /// # Errors
    /// Of loading and running the model.
    pub fn of(engine: &dyn Engine, model: &Model, inputs: &[(&str, &Tensor)]) -> Result<Self, Error> {
        let has_products =
            |operator: &str| matches!(operator, "Conv" | "ConvTranspose" | "Gemm" | "MatMul" | "LSTM" | "GRU");
        let nodes: Vec<_> = model.graph().node.iter().filter(|node| has_products(&graph::operator(node))).collect();
        let names: Vec<&String> = nodes.iter().filter_map(|node| node.output.first()).collect();
        let (header, mut shown) = model.clone().into_parts();
        let own: Vec<Option<String>> = shown.output.iter().map(|output| output.name.clone()).collect();
        for name in names.iter().filter(|name| !own.contains(&Some((**name).clone()))) {
            shown.output.push(Value { name: (*name).clone(), dtype: DType::F32, shape: None }.to_proto());
        }
        let shown = Model::new(
            crate::onnx::proto::ModelProto { graph: Some(shown), ..header },
            &crate::onnx::Limits::default(),
        )?;
        let mut session = Session::load_model(engine, &shown, &Options::default())?;
        let outputs = session.run(inputs)?;
        let shape = |name: &str| {
            session
                .outputs()
                .iter()
                .zip(&outputs)
                .find(|(value, _)| value.name == name)
                .map(|(_, tensor)| tensor.shape())
        };
        let mut work = Self { weight_bytes: model.parameter_bytes(), ..Self::default() };
        for node in nodes {
            let (Some(output), operator) = (node.output.first().and_then(|name| shape(name)), graph::operator(node))
            else {
                work.uncounted += 1;
                continue;
            };
            let elements: usize = output.iter().product();
            work.inner_bytes += 4 * elements as u64;
            let weights = node.input.get(1).and_then(|name| weight(model, name));
            let each = match (operator.as_str(), weights.as_ref().map(|(shape, _)| shape.as_slice())) {
                // output channels, input channels of a group, and the kernel
                ("Conv", Some([_, rest @ ..])) => rest.iter().product::<usize>(),
                // input channels, output channels of a group, and the kernel: each input element meets all of the latter, of
                // which there are as many fewer as strides make more outputs
                ("ConvTranspose", Some([input, _, kernel @ ..])) => {
                    let strides = graph::ints(node, "strides").unwrap_or_default().iter().product::<i64>().max(1);
                    let groups = graph::int(node, "group").unwrap_or(1).max(1);
                    input * kernel.iter().product::<usize>() / (strides as usize).max(1) / groups as usize
                }
                ("Gemm", Some([_, columns])) if graph::int(node, "transB") == Some(1) => *columns,
                ("Gemm", Some([rows, _])) => *rows,
                ("MatMul", Some(shape)) => shape.iter().rev().nth(1).copied().unwrap_or(1),
                _ => {
                    work.uncounted += 1;
                    continue;
                }
            };
            let products = elements as u64 * each as u64;
            work.products += products;
            if weights.is_some_and(|(_, int8)| int8) {
                work.products_int8 += products;
            }
        }
        Ok(work)
    }
}

/// The shape of a weight, and whether it is of eight bits: an initialiser, or what `DequantizeLinear` makes of one.
fn weight(model: &Model, name: &str) -> Option<(Vec<usize>, bool)> {
    let graph = model.graph();
    let made = graph.node.iter().find(|node| node.output.iter().any(|output| output == name));
    let int8 = made.is_some_and(|node| graph::is(node, "DequantizeLinear"));
    let from = if int8 { made?.input.first()?.as_str() } else { name };
    let tensor = graph.initializer.iter().find(|tensor| tensor.name.as_deref() == Some(from))?;
    Some((tensor.dims.iter().map(|side| usize::try_from(*side).unwrap_or(0)).collect(), int8))
}
