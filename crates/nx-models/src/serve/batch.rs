//! Several requests as one: tensors stacked along their first dimension, and taken apart again.

use nx_infer::{Data, Tensor};

/// Applies an expression to two lists of one type, or gives `None` where the types differ.
macro_rules! same_type {
    ($left:expr, $right:expr, |$a:ident, $b:ident| $body:expr) => {
        match ($left, $right) {
            (Data::F32($a), Data::F32($b)) => $body,
            (Data::U8($a), Data::U8($b)) => $body,
            (Data::I8($a), Data::I8($b)) => $body,
            (Data::U16($a), Data::U16($b)) => $body,
            (Data::I16($a), Data::I16($b)) => $body,
            (Data::I32($a), Data::I32($b)) => $body,
            (Data::I64($a), Data::I64($b)) => $body,
            (Data::Bool($a), Data::Bool($b)) => $body,
            (Data::F16($a), Data::F16($b)) => $body,
            (Data::F64($a), Data::F64($b)) => $body,
            (Data::U32($a), Data::U32($b)) => $body,
            (Data::U64($a), Data::U64($b)) => $body,
            _ => return None,
        }
    };
}

/// Tensors of one row each as one of as many rows; `None` where they do not fit together.
pub(super) fn stack(tensors: &[&Tensor]) -> Option<Tensor> {
    let (first, others) = tensors.split_first()?;
    let (&1, inner) = first.shape().split_first()? else { return None };
    let mut data = first.data().clone();
    for other in others {
        if other.shape() != first.shape() {
            return None;
        }
        same_type!(&mut data, other.data(), |all, more| all.extend_from_slice(more));
    }
    let shape: Vec<usize> = std::iter::once(tensors.len()).chain(inner.iter().copied()).collect();
    Tensor::new(shape, data).ok()
}

/// A tensor of `count` rows as that many of one row; `None` where it has another number of rows.
pub(super) fn split(tensor: &Tensor, count: usize) -> Option<Vec<Tensor>> {
    let (rows, inner) = tensor.shape().split_first()?;
    if *rows != count || count == 0 {
        return None;
    }
    let each = tensor.data().len() / count;
    let shape: Vec<usize> = std::iter::once(1).chain(inner.iter().copied()).collect();
    let part = |at: usize| -> Option<Tensor> {
        let empty = tensor.dtype().zeros(0);
        let data: Data = same_type!(tensor.data(), empty, |all, part| {
            let mut part = part;
            part.extend_from_slice(all.get(at * each..(at + 1) * each)?);
            part.into()
        });
        Tensor::new(shape.clone(), data).ok()
    };
    (0..count).map(part).collect()
}

/// How many of `waiting` requests are run together: the largest power of two that does not pass them and `most`, so that an
/// engine which plans for shapes sees few of them.
pub(super) fn size(waiting: usize, most: usize) -> usize {
    let most = waiting.min(most).max(1);
    1 << most.ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stacked_comes_apart() {
        let rows: Vec<Tensor> = (0..3).map(|n| Tensor::new([1, 2], vec![n, 10 * n]).unwrap()).collect();
        let whole = stack(&rows.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(whole, Tensor::new([3, 2], vec![0, 0, 1, 10, 2, 20]).unwrap());
        assert_eq!(split(&whole, 3).unwrap(), rows);
        assert!(split(&whole, 2).is_none());
    }

    #[test]
    fn what_does_not_fit_is_not_stacked() {
        let row = Tensor::new([1, 2], vec![1.0_f32, 2.0]).unwrap();
        let longer = Tensor::new([1, 3], vec![1.0_f32, 2.0, 3.0]).unwrap();
        let other = Tensor::new([1, 2], vec![1_i64, 2]).unwrap();
        let two = Tensor::new([2, 1], vec![1.0_f32, 2.0]).unwrap();
        assert!(stack(&[&row, &longer]).is_none());
        assert!(stack(&[&row, &other]).is_none());
        assert!(stack(&[&two, &two]).is_none());
        assert!(stack(&[]).is_none());
    }

    #[test]
    fn sizes_are_powers_of_two() {
        let sizes: Vec<usize> = [1, 2, 3, 5, 16, 40].into_iter().map(|waiting| size(waiting, 16)).collect();
        assert_eq!(sizes, [1, 2, 2, 4, 16, 16]);
        assert_eq!(size(40, 6), 4);
    }
}
