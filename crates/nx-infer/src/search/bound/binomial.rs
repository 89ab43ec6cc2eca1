//! The binomial distribution by the incomplete beta function.

/// The natural logarithm of the gamma function of a positive number (Lanczos 1964, g = 7, 9 coefficients).
fn ln_gamma(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let sum = COEFFICIENTS
        .iter()
        .zip(1_u32..)
        .fold(0.999_999_999_999_809_9, |sum, (coefficient, at)| sum + coefficient / (x + f64::from(at)));
    let t = x + 7.5;
    0.5 * std::f64::consts::TAU.ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// The regularised incomplete beta function (its continued fraction by Lentz's method, DLMF 8.17.22).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(a, b, x) / a
    } else {
        1.0 - front * fraction(b, a, 1.0 - x) / b
    }
}

fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut above = 1.0;
    let mut below = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut result = below;
    for step in 1..20_000_u32 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        below = 1.0 / away(1.0 + even * below);
        above = away(1.0 + even / above);
        result *= below * above;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        below = 1.0 / away(1.0 + odd * below);
        above = away(1.0 + odd / above);
        result *= below * above;
        if (below * above - 1.0).abs() < 1e-14 {
            break;
        }
    }
    result
}

/// The probability of exactly `k` of `n`.
pub(super) fn exactly(k: u64, n: u64, p: f64) -> f64 {
    if k > n {
        return 0.0;
    }
    if p <= 0.0 {
        return f64::from(u8::from(k == 0));
    }
    if p >= 1.0 {
        return f64::from(u8::from(k == n));
    }
    let (k, n) = (k as f64, n as f64);
    let choose = ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0);
    (choose + k * p.ln() + (n - k) * (-p).ln_1p()).exp()
}

/// The probability of `k` or fewer of `n`.
pub fn at_most(k: u64, n: u64, p: f64) -> f64 {
    if k >= n { 1.0 } else { incomplete_beta((n - k) as f64, k as f64 + 1.0, 1.0 - p) }
}

/// The one-sided upper bound of a proportion of which `k` of `n` were seen (Clopper and Pearson 1934).
pub fn upper(k: u64, n: u64, error: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(k, n, middle) <= error { high = middle } else { low = middle }
    }
    high
}

/// The one-sided lower bound of a proportion of which `k` of `n` were seen (Clopper and Pearson 1934).
pub fn lower(k: u64, n: u64, error: f64) -> f64 {
    if k == 0 { 0.0 } else { 1.0 - upper(n - k.min(n), n, error) }
}

/// The exact two-sided interval of a proportion.
pub fn interval(k: u64, n: u64, confidence: f64) -> (f64, f64) {
    let error = (1.0 - confidence) / 2.0;
    (lower(k, n, error), upper(k, n, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_plain_sums_have_it() {
        // sums of single probabilities, in Python
        for (k, n, p, wanted) in [
            (0, 10, 0.1, 0.348_678_440_1),
            (3, 10, 0.5, 0.171_875),
            (5, 5000, 0.002, 0.066_896_771_4),
            (120, 1000, 0.1, 0.982_742_769_5),
        ] {
            assert!((at_most(k, n, p) - wanted).abs() < 1e-9, "{k} {n} {p}: {}", at_most(k, n, p));
        }
        let (low, high) = interval(10, 200, 0.95);
        assert!((low - 0.024_235).abs() < 1e-5 && (high - 0.090_027).abs() < 1e-5, "{low} {high}");
        assert!((upper(0, 1000, 0.05) - 0.002_991_25).abs() < 1e-7);
    }

    #[test]
    fn sums_of_single_probabilities() {
        for (n, p) in [(7, 0.3), (40, 0.02), (300, 0.9)] {
            let mut sum = 0.0;
            for k in 0..n {
                sum += exactly(k, n, p);
                assert!((sum - at_most(k, n, p)).abs() < 1e-11, "{k} {n} {p}");
            }
        }
    }
}
