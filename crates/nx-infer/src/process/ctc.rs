//! Greedy decoding of connectionist temporal classification (Graves et al. 2006, best path): the best symbol of each
//! step, repetitions joined, blanks dropped.

use serde::{Deserialize, Serialize};

use super::classify::floats;
use crate::{Error, Tensor};

/// A line of text with how sure the model is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Text {
    /// The text.
    pub text: String,
    /// The mean score of the symbols that were kept; 0 where there are none.
    pub score: f32,
}

/// Reads `[batch, steps, symbols]`. `blank` is the position of the symbol that stands for none; label `i` belongs to
/// position `i`, and a position without a label to nothing.
///
/// # Errors
/// `Process` when the tensor has another shape.
pub fn greedy(tensor: &Tensor, blank: usize, labels: &[String]) -> Result<Vec<Text>, Error> {
    let values = floats("ctc", tensor)?;
    let &[_, steps, symbols] = tensor.shape() else {
        let reason = format!("reads [batch, steps, symbols], the output has shape {:?}", tensor.shape());
        return Err(Error::Process { step: "ctc", reason });
    };
    if steps == 0 || symbols == 0 {
        return Err(Error::Process { step: "ctc", reason: "has no steps or no symbols".to_owned() });
    }
    let line = |line: &[f32]| {
        let (mut text, mut sum, mut kept, mut last) = (String::new(), 0.0, 0_u32, blank);
        for row in line.chunks_exact(symbols) {
            let best =
                row.iter().copied().enumerate().fold((blank, f32::NEG_INFINITY), |best, (at, score)| {
                    if score > best.1 { (at, score) } else { best }
                });
            if best.0 != blank && best.0 != last {
                text.push_str(labels.get(best.0).map_or("", String::as_str));
                sum += best.1;
                kept += 1;
            }
            last = best.0;
        }
        Text { text, score: if kept == 0 { 0.0 } else { sum / kept as f32 } }
    };
    Ok(values.chunks_exact(steps * symbols).map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_join_and_blanks_part() {
        let labels: Vec<String> = ["", "a", "b"].map(str::to_owned).to_vec();
        let best = [1, 1, 0, 1, 2, 2, 0, 0];
        let row = |best: usize| (0..3).map(move |at| if at == best { 0.8_f32 } else { 0.1 });
        let scores = Tensor::new([1, 8, 3], best.into_iter().flat_map(row).collect::<Vec<_>>()).unwrap();
        let found = greedy(&scores, 0, &labels).unwrap();
        assert_eq!(found[0].text, "aab");
        assert!((found[0].score - 0.8).abs() < 1e-6);
        let blanks = Tensor::new([1, 1, 3], vec![1.0, 0.0, 0.0_f32]).unwrap();
        assert_eq!(greedy(&blanks, 0, &labels).unwrap(), [Text { text: String::new(), score: 0.0 }]);
        assert!(greedy(&Tensor::new([3], vec![0.0_f32; 3]).unwrap(), 0, &labels).is_err());
    }
}
