//! A model's manifest: what goes in, what comes out, what stands before and after, where it is from. Plain serde types,
//! written as YAML or JSON. Unknown fields are errors.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    DType, Error, Tensor,
    engine::State,
    onnx::{Dim, Model, Value},
    process::{
        bytes::Excerpt,
        detect::Yolox,
        image::{Channels, Filter},
        raster::{Anchor, Layout},
    },
};

/// What is said about a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The model's name.
    pub name: String,
    /// What it does, in a line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its licence, as an SPDX expression.
    pub licence: String,
    /// The file's digest: `sha256:` and 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// What goes in.
    pub inputs: Vec<Input>,
    /// What comes out.
    pub outputs: Vec<Output>,
    /// What is carried from one run to the next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<Carried>,
    /// Where it is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<Lineage>,
}

/// An input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Input {
    /// Its name in the graph.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Its dimensions: a number, or a name where the caller chooses.
    pub shape: Vec<Dim>,
    /// The order of an image's dimensions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// The unit of its elements, before the steps: `intensity`, `m/s²`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The least and the largest element, before the steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// What is done to an image or to bytes to make it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Before>,
}

/// An output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Output {
    /// Its name in the graph.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Its dimensions.
    pub shape: Vec<Dim>,
    /// The unit of its elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What each position of the last dimension stands for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// What is done to it to make an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<After>,
}

/// A state that begins with zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Carried {
    /// The input that takes it.
    pub input: String,
    /// The output that gives the next one.
    pub output: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Its dimensions.
    pub shape: Vec<usize>,
}

/// Where a model is from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Lineage {
    /// What made it: a trainer, an exporter, a compressor, with its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<String>,
    /// The digest of the model that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The digest of the data that it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The seed that makes it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Where it was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A step before the model. Steps on pixels (`channels`, `resize`, `fit`, `invert`) stand before steps on numbers (`scale`,
/// `normalise`, `pad`); `bytes` stands alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Before {
    /// The channels and their order.
    Channels {
        /// Which.
        order: Channels,
    },
    /// To these sides, whatever the proportions.
    Resize {
        /// Pixels of a row.
        width: usize,
        /// Rows.
        height: usize,
        /// How pixels between pixels are found.
        #[serde(default)]
        filter: Filter,
    },
    /// As large as fits within these sides, proportions kept. With `pad` behind it, a letterbox.
    Fit {
        /// Pixels of a row at most.
        width: usize,
        /// Rows at most.
        height: usize,
        /// How pixels between pixels are found.
        #[serde(default)]
        filter: Filter,
    },
    /// Light for dark.
    Invert,
    /// Each value times `by`: 0.00392156862745098 makes 0 to 1 of bytes.
    Scale {
        /// The factor.
        by: f32,
    },
    /// Less the mean, over the standard deviation; one number, or one for each channel.
    Normalise {
        /// The means.
        mean: Vec<f32>,
        /// The standard deviations.
        deviation: Vec<f32>,
    },
    /// In a frame of these sides.
    Pad {
        /// Pixels of a row.
        width: usize,
        /// Rows.
        height: usize,
        /// The value of the frame.
        fill: f32,
        /// Where the image lies.
        #[serde(default)]
        anchor: Anchor,
    },
    /// Bytes of a file.
    Bytes(Excerpt),
}

/// A step after the model. `softmax` and `sigmoid` may be followed by one of the others, which end it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum After {
    /// Probabilities that sum to 1 in each row.
    Softmax,
    /// Each value between 0 and 1.
    Sigmoid,
    /// The best class of each row.
    Argmax,
    /// The best classes of each row.
    TopK {
        /// How many.
        k: usize,
    },
    /// Boxes from YOLOX's grid, without those that a better one covers.
    Yolox(Yolox),
    /// Text by greedy CTC decoding.
    Ctc {
        /// The position of the symbol that stands for none.
        #[serde(default)]
        blank: usize,
    },
}

/// Sides of an image and of a grid at most.
const SIDE: usize = 1 << 13;

impl Manifest {
    /// A manifest that says no more than the model itself. It has no licence yet.
    ///
    /// # Errors
    /// `Tensor` when an input or output is of a type that is not passed here.
    pub fn of(name: &str, model: &Model) -> Result<Self, Error> {
        let shape = |value: &Value| value.shape.clone().unwrap_or_default();
        let input = |value: Value| Input {
            shape: shape(&value),
            dtype: value.dtype,
            name: value.name,
            layout: None,
            unit: None,
            range: None,
            before: Vec::new(),
        };
        let output = |value: Value| Output {
            shape: shape(&value),
            dtype: value.dtype,
            name: value.name,
            unit: None,
            labels: Vec::new(),
            after: Vec::new(),
        };
        Ok(Self {
            name: name.to_owned(),
            description: String::new(),
            licence: String::new(),
            hash: None,
            inputs: model.inputs()?.into_iter().map(input).collect(),
            outputs: model.outputs()?.into_iter().map(output).collect(),
            states: Vec::new(),
            lineage: None,
        })
    }

    /// Checks what types alone do not say.
    ///
    /// # Errors
    /// `Manifest` with the first field that is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |field: String, reason: &str| Err(Error::Manifest { field, reason: reason.to_owned() });
        if self.name.is_empty() {
            return wrong("name".to_owned(), "is empty");
        }
        if self.licence.is_empty() {
            return wrong("licence".to_owned(), "is empty; give an SPDX expression");
        }
        if self.hash.as_deref().is_some_and(|hash| !is_digest(hash)) {
            return wrong("hash".to_owned(), "is not `sha256:` and 64 hexadecimal digits");
        }
        let mut names = BTreeSet::new();
        for (at, input) in self.inputs.iter().enumerate() {
            if !names.insert(("input", &input.name)) {
                return wrong(format!("inputs[{at}].name"), "is there twice");
            }
            input.check(&format!("inputs[{at}]"))?;
        }
        for (at, output) in self.outputs.iter().enumerate() {
            if !names.insert(("output", &output.name)) {
                return wrong(format!("outputs[{at}].name"), "is there twice");
            }
            output.check(&format!("outputs[{at}]"))?;
        }
        if self.outputs.is_empty() {
            return wrong("outputs".to_owned(), "is empty; a model has at least one");
        }
        Ok(())
    }

    /// Refuses a model whose inputs and outputs are not those that are declared.
    ///
    /// # Errors
    /// `Manifest` with the first field that differs.
    pub fn check_model(&self, model: &Model) -> Result<(), Error> {
        let carried = |name: &str| self.states.iter().any(|state| state.input == name || state.output == name);
        for (kind, declared, found) in [
            ("inputs", self.inputs.iter().map(Input::value).collect::<Vec<_>>(), model.inputs()?),
            ("outputs", self.outputs.iter().map(Output::value).collect(), model.outputs()?),
        ] {
            for (at, value) in declared.iter().enumerate() {
                let field = format!("{kind}[{at}]");
                let Some(real) = found.iter().find(|real| real.name == value.name) else {
                    let known: Vec<&str> = found.iter().map(|real| real.name.as_str()).collect();
                    let reason = format!("names `{}`, the model has `{}`", value.name, known.join("`, `"));
                    return Err(Error::Manifest { field, reason });
                };
                if let Some(reason) = differs(value, real) {
                    return Err(Error::Manifest { field, reason });
                }
            }
            let missing =
                found.iter().find(|real| !carried(&real.name) && !declared.iter().any(|d| d.name == real.name));
            if let (Some(missing), "inputs") = (missing, kind) {
                let reason = format!("lacks `{}`, which the model takes", missing.name);
                return Err(Error::Manifest { field: kind.to_owned(), reason });
            }
        }
        Ok(())
    }

    /// The states as an engine carries them.
    ///
    /// # Errors
    /// `Tensor` when a shape is too large.
    pub fn states(&self) -> Result<Vec<State>, Error> {
        let state = |carried: &Carried| {
            let first = Tensor::zeros(carried.shape.clone(), carried.dtype)?;
            Ok(State { input: carried.input.clone(), output: carried.output.clone(), first })
        };
        self.states.iter().map(state).collect()
    }
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn differs(declared: &Value, real: &Value) -> Option<String> {
    if declared.dtype != real.dtype {
        return Some(format!("says {}, the model has {}", declared.dtype, real.dtype));
    }
    let (Some(wanted), Some(found)) = (&declared.shape, &real.shape) else { return None };
    let fits = wanted.len() == found.len()
        && wanted.iter().zip(found).all(|pair| !matches!(pair, (Dim::Fixed(a), Dim::Fixed(b)) if a != b));
    let show = |dims: &[Dim]| dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    (!fits).then(|| format!("says [{}], the model has [{}]", show(wanted), show(found)))
}

impl Input {
    /// As a model describes it.
    pub fn value(&self) -> Value {
        Value { name: self.name.clone(), dtype: self.dtype, shape: Some(self.shape.clone()) }
    }

    fn check(&self, field: &str) -> Result<(), Error> {
        let wrong = |at: usize, reason: &str| {
            Err(Error::Manifest { field: format!("{field}.before[{at}]"), reason: reason.to_owned() })
        };
        let mut numbers = false;
        for (at, step) in self.before.iter().enumerate() {
            let on_pixels =
                matches!(step, Before::Channels { .. } | Before::Resize { .. } | Before::Fit { .. } | Before::Invert);
            if on_pixels && numbers {
                return wrong(at, "works on pixels; put it before the steps on numbers");
            }
            numbers |= !on_pixels;
            match step {
                Before::Resize { width, height, .. }
                | Before::Fit { width, height, .. }
                | Before::Pad { width, height, .. }
                    if [width, height].iter().any(|side| !(1..=SIDE).contains(*side)) =>
                {
                    return wrong(at, "has a side that is not between 1 and 8192");
                }
                Before::Bytes(_) if self.before.len() > 1 => {
                    return wrong(at, "stands alone: it makes the tensor itself");
                }
                Before::Scale { by } if !by.is_finite() => return wrong(at, "has a factor that is no number"),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Output {
    /// As a model describes it.
    pub fn value(&self) -> Value {
        Value { name: self.name.clone(), dtype: self.dtype, shape: Some(self.shape.clone()) }
    }

    fn check(&self, field: &str) -> Result<(), Error> {
        let wrong = |at: usize, reason: &str| {
            Err(Error::Manifest { field: format!("{field}.after[{at}]"), reason: reason.to_owned() })
        };
        let last = self.after.len().saturating_sub(1);
        for (at, step) in self.after.iter().enumerate() {
            if at != last && !matches!(step, After::Softmax | After::Sigmoid) {
                return wrong(at, "ends the answer; put it last");
            }
            match step {
                After::TopK { k: 0 } => return wrong(at, "asks for no class at all"),
                After::Yolox(yolox) if !(1..=SIDE).contains(&yolox.width) || !(1..=SIDE).contains(&yolox.height) => {
                    return wrong(at, "has a side that is not between 1 and 8192");
                }
                After::Yolox(yolox) if yolox.strides.len() > 8 || yolox.strides.iter().any(|stride| *stride < 4) => {
                    return wrong(at, "has more than 8 strides, or one under 4");
                }
                _ => {}
            }
        }
        Ok(())
    }
}
