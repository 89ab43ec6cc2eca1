//! What a model answers, as callers and the record see it.

use nx_infer::{
    Data, Tensor,
    process::{Answer, Class, Detection, Text},
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::Error;

/// Most elements of an output that is answered as numbers.
const MAX_ELEMENTS: usize = 1 << 20;

/// An output after its steps.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum OutputView {
    /// Numbers.
    Tensor {
        /// The elements' type: `f32`.
        dtype: &'static str,
        /// The dimensions.
        shape: Vec<usize>,
        /// The elements in row-major order, a JSON list.
        data: Box<RawValue>,
    },
    /// The best classes of each row, the best first.
    Classes {
        /// A list for each row.
        #[serde(rename = "classes")]
        rows: Vec<Vec<ClassView>>,
    },
    /// Boxes of each picture.
    Detections {
        /// A list for each picture.
        #[serde(rename = "detections")]
        rows: Vec<Vec<DetectionView>>,
    },
    /// Lines of text.
    Text {
        /// One for each row.
        #[serde(rename = "text")]
        rows: Vec<TextView>,
    },
}

/// A class.
#[derive(Debug, Clone, Serialize)]
pub struct ClassView {
    /// Its position among the scores.
    pub index: usize,
    /// Its label, where the manifest names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How sure the model is; a probability behind softmax or sigmoid.
    pub score: f32,
}

/// A box.
#[derive(Debug, Clone, Serialize)]
pub struct DetectionView {
    /// Left, top, right, bottom, in pixels of the picture that was given.
    pub corners: [f32; 4],
    /// Its class.
    pub index: usize,
    /// The class's label, where the manifest names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How sure the model is.
    pub score: f32,
}

/// A line of text.
#[derive(Debug, Clone, Serialize)]
pub struct TextView {
    /// The text.
    pub text: String,
    /// How sure the model is.
    pub score: f32,
}

impl OutputView {
    /// Of an answer; numbers that JSON does not have are an error.
    pub(crate) fn of(name: &str, answer: Answer) -> Result<Self, Error> {
        let finite = |score: f32| {
            let wrong = || Error::NotFinite { output: name.to_owned(), value: score.to_string() };
            if score.is_finite() { Ok(score) } else { Err(wrong()) }
        };
        let class =
            |class: Class| Ok(ClassView { index: class.index, label: class.label, score: finite(class.score)? });
        let detection = |found: Detection| {
            found.corners.iter().try_for_each(|corner| finite(*corner).map(drop))?;
            Ok(DetectionView {
                corners: found.corners,
                index: found.class,
                label: found.label,
                score: finite(found.score)?,
            })
        };
        let text = |line: Text| Ok(TextView { text: line.text, score: finite(line.score)? });
        match answer {
            Answer::Tensor(tensor) => numbers(name, tensor),
            Answer::Classes(rows) => {
                let rows = rows.into_iter().map(|row| row.into_iter().map(class).collect::<Result<_, Error>>());
                Ok(Self::Classes { rows: rows.collect::<Result<_, Error>>()? })
            }
            Answer::Detections(rows) => {
                let rows = rows.into_iter().map(|row| row.into_iter().map(detection).collect::<Result<_, Error>>());
                Ok(Self::Detections { rows: rows.collect::<Result<_, Error>>()? })
            }
            Answer::Text(rows) => Ok(Self::Text { rows: rows.into_iter().map(text).collect::<Result<_, Error>>()? }),
            _ => {
                Err(Error::damaged(format!("the answer of output `{name}`"), "it is of a form that is not known here"))
            }
        }
    }

    /// What it says in a word, and how sure it is, where it says one thing.
    pub(crate) fn verdict(&self) -> Option<(Option<String>, f32)> {
        match self {
            Self::Tensor { .. } => None,
            Self::Classes { rows } => {
                let best = rows.first()?.first()?;
                Some((Some(best.label.clone().unwrap_or_else(|| best.index.to_string())), best.score))
            }
            Self::Detections { rows } => {
                let best = rows.first()?.first()?;
                Some((Some(best.label.clone().unwrap_or_else(|| best.index.to_string())), best.score))
            }
            Self::Text { rows } => rows.first().map(|line| (Some(line.text.clone()), line.score)),
        }
    }

    /// The same, cut to what an event holds.
    pub(crate) fn summary(&self) -> Self {
        const ROWS: usize = 8;
        const COLUMNS: usize = 8;
        fn cut<T: Clone>(rows: &[Vec<T>]) -> Vec<Vec<T>> {
            rows.iter().take(ROWS).map(|row| row.iter().take(COLUMNS).cloned().collect()).collect()
        }
        match self {
            Self::Tensor { dtype, shape, data } => {
                let small = data.get().len() <= 512;
                let data = if small { data.clone() } else { RawValue::NULL.to_owned() };
                Self::Tensor { dtype, shape: shape.clone(), data }
            }
            Self::Classes { rows } => Self::Classes { rows: cut(rows) },
            Self::Detections { rows } => Self::Detections { rows: cut(rows) },
            Self::Text { rows } => {
                let line =
                    |line: &TextView| TextView { text: line.text.chars().take(128).collect(), score: line.score };
                Self::Text { rows: rows.iter().take(ROWS).map(line).collect() }
            }
        }
    }
}

fn numbers(name: &str, tensor: Tensor) -> Result<OutputView, Error> {
    let (dtype, shape) = (tensor.dtype().name(), tensor.shape().to_vec());
    let count = tensor.data().len();
    if count > MAX_ELEMENTS {
        let (bytes, max) = (count as u64, MAX_ELEMENTS as u64);
        return Err(Error::TooLarge { what: "an output, counted in elements,", bytes, max });
    }
    let not_finite = |value: f64| Error::NotFinite { output: name.to_owned(), value: value.to_string() };
    let text = match tensor.into_data() {
        Data::F32(values) => match values.iter().find(|value| !value.is_finite()) {
            Some(value) => return Err(not_finite(f64::from(*value))),
            None => serde_json::to_string(&values),
        },
        Data::F64(values) => match values.iter().find(|value| !value.is_finite()) {
            Some(value) => return Err(not_finite(*value)),
            None => serde_json::to_string(&values),
        },
        Data::F16(values) => {
            let values: Vec<f32> = values.iter().map(|value| value.to_f32()).collect();
            match values.iter().find(|value| !value.is_finite()) {
                Some(value) => return Err(not_finite(f64::from(*value))),
                None => serde_json::to_string(&values),
            }
        }
        Data::U8(values) => serde_json::to_string(&values),
        Data::I8(values) => serde_json::to_string(&values),
        Data::U16(values) => serde_json::to_string(&values),
        Data::I16(values) => serde_json::to_string(&values),
        Data::I32(values) => serde_json::to_string(&values),
        Data::I64(values) => serde_json::to_string(&values),
        Data::Bool(values) => serde_json::to_string(&values),
        Data::U32(values) => serde_json::to_string(&values),
        Data::U64(values) => serde_json::to_string(&values),
        other => return Err(Error::damaged(format!("output `{name}`"), format!("it is of {}", other.dtype()))),
    };
    let data =
        text.and_then(RawValue::from_string).map_err(|error| Error::damaged(format!("output `{name}`"), error))?;
    Ok(OutputView::Tensor { dtype, shape, data })
}
