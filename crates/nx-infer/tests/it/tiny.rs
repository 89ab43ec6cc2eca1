//! Small networks that are built here, with what they must answer, worked out by plain loops.

use nx_infer::{
    DType, Tensor,
    onnx::{Builder, Model, graph::Attribute},
};

/// A fixed sequence of numbers between −1 and 1 that looks random.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
        })
        .collect()
}

fn tensor(shape: &[usize], seed: u64) -> Tensor {
    Tensor::new(shape, numbers(shape.iter().product(), seed)).unwrap()
}

/// Convolution, batch norm, `ReLU`, max pooling, a full layer: the shape of a digit reader.
pub(crate) fn cnn() -> Model {
    let mut build = Builder::new("tiny-cnn", 17);
    let x = build.input("image", DType::F32, &["batch".into(), 1.into(), 8.into(), 8.into()]);
    let w = build.constant("conv.weight", &tensor(&[4, 1, 3, 3], 1));
    let b = build.constant("conv.bias", &tensor(&[4], 2));
    let pads = Attribute::Ints(vec![1, 1, 1, 1]);
    let conv =
        build.node("Conv", "conv", &[&x, &w, &b], &[("kernel_shape", Attribute::Ints(vec![3, 3])), ("pads", pads)]);
    let scale = build.constant("norm.scale", &tensor(&[4], 3));
    let shift = build.constant("norm.shift", &tensor(&[4], 4));
    let mean = build.constant("norm.mean", &tensor(&[4], 5));
    let variance = build.constant("norm.variance", &Tensor::new([4], vec![0.5_f32, 1.0, 2.0, 4.0]).unwrap());
    let norm = build.node(
        "BatchNormalization",
        "norm",
        &[&conv, &scale, &shift, &mean, &variance],
        &[("epsilon", Attribute::Float(1e-5))],
    );
    let relu = build.node("Relu", "relu", &[&norm], &[]);
    let two = || Attribute::Ints(vec![2, 2]);
    let pool = build.node("MaxPool", "pool", &[&relu], &[("kernel_shape", two()), ("strides", two())]);
    let flat = build.node("Flatten", "flat", &[&pool], &[]);
    let w = build.constant("full.weight", &tensor(&[10, 64], 6));
    let b = build.constant("full.bias", &tensor(&[10], 7));
    let logits = build.node("Gemm", "logits", &[&flat, &w, &b], &[("transB", Attribute::Int(1))]);
    build.output(&logits, DType::F32, &["batch".into(), 10.into()]);
    build.finish().unwrap()
}

/// What [`cnn`] answers to one image of 8 × 8.
pub(crate) fn cnn_answer(image: &[f32]) -> Vec<f32> {
    let (w, b) = (numbers(36, 1), numbers(4, 2));
    let (scale, shift, mean, variance) = (numbers(4, 3), numbers(4, 4), numbers(4, 5), [0.5_f32, 1.0, 2.0, 4.0]);
    let pixel = |x: i32, y: i32| {
        if (0..8).contains(&x) && (0..8).contains(&y) { image[(y * 8 + x) as usize] } else { 0.0 }
    };
    let mut pooled = vec![0.0_f32; 64];
    for c in 0..4 {
        for y in 0..8_i32 {
            for x in 0..8_i32 {
                let mut sum = b[c];
                for ky in 0..3_i32 {
                    for kx in 0..3_i32 {
                        sum += w[c * 9 + (ky * 3 + kx) as usize] * pixel(x + kx - 1, y + ky - 1);
                    }
                }
                let value = ((sum - mean[c]) / (variance[c] + 1e-5).sqrt() * scale[c] + shift[c]).max(0.0);
                let at = c * 16 + (y / 2 * 4 + x / 2) as usize;
                pooled[at] = pooled[at].max(value);
            }
        }
    }
    let (w, b) = (numbers(640, 6), numbers(10, 7));
    (0..10).map(|o| b[o] + (0..64).map(|i| w[o * 64 + i] * pooled[i]).sum::<f32>()).collect()
}

/// A state that is added to: `sum = x + state`, given back as the next state.
pub(crate) fn counter() -> Model {
    let mut build = Builder::new("counter", 17);
    let x = build.input("x", DType::F32, &[2.into()]);
    let state = build.input("state", DType::F32, &[2.into()]);
    let sum = build.node("Add", "sum", &[&x, &state], &[]);
    let next = build.node("Identity", "next", &[&sum], &[]);
    build.output(&sum, DType::F32, &[2.into()]).output(&next, DType::F32, &[2.into()]);
    build.finish().unwrap()
}

/// Whole numbers: `(a + 3) * a` in `i64`.
pub(crate) fn whole() -> Model {
    let mut build = Builder::new("whole", 17);
    let a = build.input("a", DType::I64, &["n".into()]);
    let three = build.constant("three", &Tensor::scalar(vec![3_i64]).unwrap());
    let sum = build.node("Add", "sum", &[&a, &three], &[]);
    let product = build.node("Mul", "product", &[&sum, &a], &[]);
    build.output(&product, DType::I64, &["n".into()]);
    build.finish().unwrap()
}
