use fearless_simd::{Level, Simd as _};
use nx_types::env::SeededRng;

use super::*;
use crate::{
    draw,
    shape::{Plane, Shape},
};

/// Each width of vectors that this machine has.
pub(crate) fn levels() -> Vec<Level> {
    let best = Level::new();
    let mut levels = vec![Level::baseline()];
    #[cfg(target_arch = "x86_64")]
    {
        levels.extend(best.as_sse4_2().map(|level| level.level()));
        levels.extend(best.as_avx2().map(|level| level.level()));
    }
    levels.push(best);
    levels
}

fn numbers(rng: &SeededRng, count: usize) -> Vec<f32> {
    (0..count).map(|_| draw::symmetric(rng, 1.0)).collect()
}

/// Images of random pixels.
fn images(rng: &SeededRng, plane: &Plane, count: usize) -> Vec<f32> {
    let mut values = numbers(rng, count * plane.len);
    plane.wipe(&mut values);
    values
}

/// What lies at a pixel, or 0 outside.
fn pixel(plane: &Plane, values: &[f32], image: usize, y: isize, x: isize) -> f64 {
    if y < 0 || x < 0 || y as usize >= plane.height || x as usize >= plane.width {
        return 0.0;
    }
    f64::from(values[image * plane.len + plane.first() + y as usize * plane.stride + x as usize])
}

/// A pixel and a place of the kernel.
fn everywhere(plane: &Plane, size: usize) -> Vec<(isize, isize, usize, usize)> {
    let (height, width) = (plane.height.cast_signed(), plane.width.cast_signed());
    let places = |y| (0..width).flat_map(move |x| (0..size).flat_map(move |v| (0..size).map(move |u| (y, x, v, u))));
    (0..height).flat_map(places).collect()
}

/// The defining sums, in double precision, beside the kernels at each width, whose bytes are the same.
fn check(shape: (usize, usize), (inputs, outputs): (usize, usize), size: usize, pad: usize) {
    let rng = SeededRng::new(7);
    let plane = Plane::new(Shape { channels: 1, height: shape.0, width: shape.1 }, pad);
    let (count, half) = (2, (size / 2).cast_signed());
    let weights = numbers(&rng, outputs * inputs * size * size);
    let (input, error) = (images(&rng, &plane, count * inputs), images(&rng, &plane, count * outputs));
    let kernels = Kernels { inputs, outputs, size, weights: &weights };
    let place = |o: usize, i: usize, v: usize, u: usize| ((o * inputs + i) * size + v) * size + u;
    let results: Vec<(Vec<f32>, Vec<f32>)> = levels()
        .into_iter()
        .map(|level| {
            let (mut output, mut gradient) = (vec![0.25; count * outputs * plane.len], vec![0.5; weights.len()]);
            correlate(level, &plane, &kernels, &input, &mut output);
            weight_gradient(level, &plane, &kernels, (&input, &error), &mut gradient);
            plane.wipe(&mut output);
            (output, gradient)
        })
        .collect();
    assert!(results.windows(2).all(|two| two[0] == two[1]), "{shape:?}: widths differ");
    let (output, gradient) = &results[0];
    let mut wanted = vec![0.5; weights.len()];
    for image in 0..count {
        for o in 0..outputs {
            let mut sums = vec![0.25; plane.height * plane.width];
            for i in 0..inputs {
                for (y, x, v, u) in everywhere(&plane, size) {
                    let seen = pixel(
                        &plane,
                        &input,
                        image * inputs + i,
                        y + v.cast_signed() - half,
                        x + u.cast_signed() - half,
                    );
                    sums[y as usize * plane.width + x as usize] += seen * f64::from(weights[place(o, i, v, u)]);
                    wanted[place(o, i, v, u)] += seen * pixel(&plane, &error, image * outputs + o, y, x);
                }
            }
            let found = &output[(image * outputs + o) * plane.len..][..plane.len];
            for (found, wanted) in plane.rows(found).flatten().zip(sums) {
                assert!((f64::from(*found) - wanted).abs() < 1e-4, "{shape:?}: {found} {wanted}");
            }
        }
    }
    for (found, wanted) in gradient.iter().zip(wanted) {
        assert!((f64::from(*found) - wanted).abs() < 1e-3, "{shape:?}: gradient {found} {wanted}");
    }
}

#[test]
fn convolutions_are_the_sums_that_define_them_at_each_width_of_vectors() {
    check((28, 28), (1, 16), 3, 1);
    check((7, 7), (9, 11), 3, 1);
    check((5, 3), (2, 3), 5, 2);
    check((4, 9), (3, 2), 1, 2);
    check((1, 2), (1, 1), 3, 1);
    check((6, 5), (2, 9), 1, 0);
}

#[test]
fn sums_are_what_they_say() {
    let rng = SeededRng::new(3);
    for count in [0, 1, 15, 16, 17, 100] {
        let (a, b) = (numbers(&rng, count), numbers(&rng, count));
        let wanted: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        assert!((f64::from(dot(&a, &b)) - wanted).abs() < 1e-5);
        assert!((sum_of_products(&a, &b) - wanted).abs() < 1e-12);
        assert!((moments(&a).1 - sum_of_products(&a, &a)).abs() < 1e-12);
        assert!((moments(&a).0 - sum(&a)).abs() < 1e-12);
    }
}
