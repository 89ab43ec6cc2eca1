//! From a detector's rows to boxes: YOLOX's grid, and non-maximum suppression.

use serde::{Deserialize, Serialize};

use super::classify::floats;
use crate::{Error, Tensor};

/// Something that was found in an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Left, top, right, bottom, in pixels of the image.
    pub corners: [f32; 4],
    /// The position of its class.
    pub class: usize,
    /// The label of its class, where the manifest names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How sure the model is.
    pub score: f32,
}

/// How the rows of YOLOX are read (Ge et al. 2021, arXiv:2107.08430).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Yolox {
    /// Width of the model's input.
    pub width: usize,
    /// Height of the model's input.
    pub height: usize,
    /// Pixels between the points of each grid: 8, 16, 32.
    #[serde(default = "strides")]
    pub strides: Vec<usize>,
    /// The least score of a detection.
    #[serde(default = "score")]
    pub score: f32,
    /// The overlap (intersection over union) above which the weaker of two is dropped.
    #[serde(default = "overlap")]
    pub overlap: f32,
    /// Detections at most.
    #[serde(default = "most")]
    pub most: usize,
}

fn strides() -> Vec<usize> {
    vec![8, 16, 32]
}

fn score() -> f32 {
    0.3
}

fn overlap() -> f32 {
    0.45
}

fn most() -> usize {
    300
}

impl Yolox {
    /// Reads `[batch, points, 5 + classes]`: centre and logarithm of the sides relative to the point, whether something is
    /// there, and what. Boxes are in pixels of the model's input.
    ///
    /// # Errors
    /// `Process` when the tensor has another shape than the grid.
    pub fn read(&self, tensor: &Tensor, labels: &[String]) -> Result<Vec<Vec<Detection>>, Error> {
        let wrong = |reason: String| Err(Error::Process { step: "yolox", reason });
        let values = floats("yolox", tensor)?;
        let points = self.points();
        let &[_, rows, columns] = tensor.shape() else {
            return wrong(format!("reads [batch, points, 5 + classes], the output has shape {:?}", tensor.shape()));
        };
        if rows != points.len() || columns < 6 {
            return wrong(format!("has a grid of {} points, the output has shape {:?}", points.len(), tensor.shape()));
        }
        let image = |rows: &[f32]| {
            let found = rows.chunks_exact(columns).zip(&points).filter_map(|(row, point)| self.row(row, *point));
            let mut kept = suppress(found.collect(), self.overlap, self.most);
            for found in &mut kept {
                found.label = labels.get(found.class).cloned();
            }
            kept
        };
        Ok(values.chunks_exact(rows * columns).map(image).collect())
    }

    fn row(&self, row: &[f32], (x, y, stride): (f32, f32, f32)) -> Option<Detection> {
        let &[dx, dy, dw, dh, there, ref classes @ ..] = row else { return None };
        let best = classes.iter().copied().enumerate();
        let (class, what) = best.fold((0, f32::NEG_INFINITY), |best, (at, s)| if s > best.1 { (at, s) } else { best });
        let score = there * what;
        if score.is_nan() || score < self.score {
            return None;
        }
        let (cx, cy, w, h) = ((dx + x) * stride, (dy + y) * stride, dw.exp() * stride, dh.exp() * stride);
        let corners = [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0];
        corners.iter().all(|corner| corner.is_finite()).then_some(Detection { corners, class, label: None, score })
    }

    fn points(&self) -> Vec<(f32, f32, f32)> {
        let grid = |&stride: &usize| {
            let (columns, rows) = (self.width.checked_div(stride), self.height.checked_div(stride));
            let columns = columns.unwrap_or(0);
            (0..rows.unwrap_or(0)).flat_map(move |y| (0..columns).map(move |x| (x as f32, y as f32, stride as f32)))
        };
        self.strides.iter().flat_map(grid).collect()
    }
}

/// Non-maximum suppression class by class: the best first, without those that overlap a better one of their class by
/// more than `overlap`.
pub fn suppress(mut found: Vec<Detection>, overlap: f32, most: usize) -> Vec<Detection> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in found {
        if kept.len() >= most {
            break;
        }
        let covered = |better: &Detection| {
            better.class == candidate.class && intersection_over_union(&better.corners, &candidate.corners) > overlap
        };
        if !kept.iter().any(covered) {
            kept.push(candidate);
        }
    }
    kept
}

/// The area that two boxes share over the area that they cover.
pub fn intersection_over_union(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let area = |[left, top, right, bottom]: [f32; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
    let [al, at, ar, ab] = *a;
    let [bl, bt, br, bb] = *b;
    let shared = area([al.max(bl), at.max(bt), ar.min(br), ab.min(bb)]);
    let union = area(*a) + area(*b) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(corners: [f32; 4], class: usize, score: f32) -> Detection {
        Detection { corners, class, label: None, score }
    }

    #[test]
    fn the_weaker_of_two_that_overlap_goes() {
        let a = found([0.0, 0.0, 10.0, 10.0], 0, 0.9);
        let b = found([1.0, 1.0, 11.0, 11.0], 0, 0.8);
        let other = found([1.0, 1.0, 11.0, 11.0], 1, 0.7);
        assert!((intersection_over_union(&a.corners, &b.corners) - 81.0 / 119.0).abs() < 1e-6);
        assert_eq!(suppress(vec![b.clone(), other.clone(), a.clone()], 0.5, 10), [a.clone(), other]);
        assert_eq!(suppress(vec![b.clone(), a.clone()], 0.7, 10), [a.clone(), b]);
        assert_eq!(suppress(vec![a.clone(), found([20.0, 0.0, 30.0, 9.0], 0, 0.1)], 0.5, 1), [a]);
    }

    #[test]
    fn a_row_is_read_relative_to_its_point() {
        let yolox = Yolox { width: 16, height: 16, strides: vec![8], score: 0.3, overlap: 0.45, most: 10 };
        let mut rows = vec![0.0_f32; 4 * 7];
        // the last point lies at column 1, row 1
        rows[21..].copy_from_slice(&[0.5, 0.5, 0.0, 2.0_f32.ln(), 0.9, 0.1, 0.5]);
        let labels = ["cat", "dog"].map(str::to_owned);
        let found = yolox.read(&Tensor::new([1, 4, 7], rows).unwrap(), &labels).unwrap();
        assert_eq!(found[0].len(), 1);
        assert_eq!((found[0][0].corners, found[0][0].label.as_deref()), ([8.0, 4.0, 16.0, 20.0], Some("dog")));
        assert!(yolox.read(&Tensor::new([1, 3, 7], vec![0.0_f32; 21]).unwrap(), &labels).is_err());
    }
}
