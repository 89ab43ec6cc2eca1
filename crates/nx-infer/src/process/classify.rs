//! From scores to classes.

use serde::{Deserialize, Serialize};

use crate::{Error, Tensor};

/// One class with how sure the model is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// Its position among the scores.
    pub index: usize,
    /// Its label, where the manifest names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its score: a probability behind softmax or sigmoid.
    pub score: f32,
}

/// Each row of the last dimension made to probabilities that sum to 1.
///
/// # Errors
/// `Process` when the tensor is not of `f32`.
pub fn softmax(tensor: &Tensor) -> Result<Tensor, Error> {
    let mut values = floats("softmax", tensor)?.to_vec();
    for row in values.chunks_exact_mut(row_length(tensor)) {
        // without the largest no exponent overflows
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for value in &mut *row {
            *value = (*value - most).exp();
        }
        let sum: f32 = row.iter().sum();
        for value in row {
            *value /= sum;
        }
    }
    Tensor::new(tensor.shape(), values)
}

/// Each value between 0 and 1.
///
/// # Errors
/// `Process` when the tensor is not of `f32`.
pub fn sigmoid(tensor: &Tensor) -> Result<Tensor, Error> {
    let values = floats("sigmoid", tensor)?;
    Tensor::new(tensor.shape(), values.iter().map(|value| 1.0 / (1.0 + (-value).exp())).collect::<Vec<_>>())
}

/// The best classes of each row of the last dimension, the best first; of equal scores the first.
///
/// # Errors
/// `Process` when the tensor is not of `f32`, or has no scores.
pub fn top_k(tensor: &Tensor, k: usize, labels: &[String]) -> Result<Vec<Vec<Class>>, Error> {
    let values = floats("top_k", tensor)?;
    if values.is_empty() {
        return Err(Error::Process { step: "top_k", reason: "has no scores to choose from".to_owned() });
    }
    let best = |row: &[f32]| {
        let mut order: Vec<(usize, f32)> = row.iter().copied().enumerate().collect();
        // not-a-number is the worst
        let key = |score: f32| if score.is_nan() { f32::NEG_INFINITY } else { score };
        order.sort_by(|(_, a), (_, b)| key(*b).total_cmp(&key(*a)));
        order.truncate(k);
        order.into_iter().map(|(index, score)| Class { index, label: labels.get(index).cloned(), score }).collect()
    };
    Ok(values.chunks_exact(row_length(tensor)).map(best).collect())
}

/// The best class of each row.
///
/// # Errors
/// As [`top_k`].
pub fn argmax(tensor: &Tensor, labels: &[String]) -> Result<Vec<Class>, Error> {
    Ok(top_k(tensor, 1, labels)?.into_iter().flatten().collect())
}

pub(super) fn floats<'t>(step: &'static str, tensor: &'t Tensor) -> Result<&'t [f32], Error> {
    let reason = || format!("works on f32, the output is of {}", tensor.dtype());
    tensor.f32s().ok_or_else(|| Error::Process { step, reason: reason() })
}

fn row_length(tensor: &Tensor) -> usize {
    tensor.shape().last().copied().unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_as_numpy_computes_them() {
        let scores = Tensor::new([2, 3], vec![1.0, 2.0, 3.0, 1000.0, 0.0, -1000.0_f32]).unwrap();
        let found = softmax(&scores).unwrap();
        // np.exp(x - x.max()) / np.exp(x - x.max()).sum()
        let wanted = [0.090_030_57, 0.244_728_48, 0.665_240_94, 1.0, 0.0, 0.0];
        assert!(found.f32s().unwrap().iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-7), "{found:?}");
        let found = sigmoid(&scores).unwrap();
        let wanted = [0.731_058_6, 0.880_797, 0.952_574_1, 1.0, 0.5, 0.0];
        assert!(found.f32s().unwrap().iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
    }

    #[test]
    fn the_best_come_first_and_carry_their_labels() {
        let labels: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let scores = Tensor::new([1, 4], vec![0.1, f32::NAN, 0.7, 0.7_f32]).unwrap();
        let found = top_k(&scores, 3, &labels).unwrap();
        let found: Vec<_> = found[0].iter().map(|class| (class.index, class.label.as_deref())).collect();
        assert_eq!(found, [(2, Some("c")), (3, None), (0, Some("a"))]);
        assert_eq!(argmax(&scores, &labels).unwrap()[0].index, 2);
        assert!(argmax(&Tensor::new([1], vec![1_i64]).unwrap(), &[]).is_err());
    }
}
