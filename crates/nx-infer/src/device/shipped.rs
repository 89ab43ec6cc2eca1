//! Classes of devices that are shipped. Their figures are peaks by data sheet: clock × operations a cycle, and bandwidth. From
//! them and the counted work of a model follows a bound (the roofline of Williams, Waterman and Patterson 2009), and from how
//! near a model comes to its bound on a machine that was measured, a *prediction* for one that was not. It is no measurement.

use serde::{Deserialize, Serialize};

use super::{Profile, Work};

/// A class of devices.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Class {
    /// Its name, as [`Profile::class`] has it.
    pub name: &'static str,
    /// What was reckoned with.
    pub basis: &'static str,
    /// Cores that a model may use.
    pub cores: usize,
    /// 10⁹ multiplications with an addition a second and core, in `f32`.
    pub products: f64,
    /// The same in eight bits.
    pub products_int8: f64,
    /// 10⁹ bytes a second from memory.
    pub bandwidth: f64,
}

/// A latency that nobody measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prediction {
    /// The class.
    pub class: String,
    /// Threads.
    pub threads: usize,
    /// The bound in microseconds: no run can take less.
    pub bound_us: f64,
    /// The time in microseconds, if the model comes as near to its bound there as here.
    pub predicted_us: f64,
    /// What was reckoned with.
    pub basis: String,
}

/// All classes that are shipped.
pub fn classes() -> &'static [Class] {
    &CLASSES
}

const CLASSES: [Class; 10] = [
    Class {
        name: "x86_64-avx2",
        basis: "a core of 3.0 GHz, 2 × 8 lanes of FMA; eight bits by three instructions (no VNNI); 20 GB/s",
        cores: 4,
        products: 48.0,
        products_int8: 64.0,
        bandwidth: 20.0,
    },
    Class {
        name: "x86_64-avxvnni",
        basis: "a core of 3.0 GHz, 2 × 8 lanes of FMA; VNNI on 256 bits, 2 × 32; 30 GB/s",
        cores: 4,
        products: 48.0,
        products_int8: 192.0,
        bandwidth: 30.0,
    },
    Class {
        name: "x86_64-avx512vnni",
        basis: "a core of 3.5 GHz, 2 × 16 lanes of FMA; VNNI on 512 bits, 2 × 64; 15 GB/s a core that is shared",
        cores: 4,
        products: 112.0,
        products_int8: 448.0,
        bandwidth: 15.0,
    },
    Class {
        name: "raspberry-pi-4",
        basis: "Cortex-A72, 1.8 GHz, 4 lanes of FMA, no dot product; 4 GB/s",
        cores: 4,
        products: 7.2,
        products_int8: 14.4,
        bandwidth: 4.0,
    },
    Class {
        name: "raspberry-pi-5",
        basis: "Cortex-A76, 2.4 GHz, 2 × 4 lanes of FMA, dot product 2 × 16; 9 GB/s",
        cores: 4,
        products: 19.2,
        products_int8: 76.8,
        bandwidth: 9.0,
    },
    Class {
        name: "jetson-orin-nano",
        basis: "its processor: Cortex-A78AE, 1.5 GHz, 2 × 4 lanes of FMA, dot product 2 × 16; 34 GB/s",
        cores: 6,
        products: 12.0,
        products_int8: 48.0,
        bandwidth: 34.0,
    },
    Class {
        name: "jetson-orin-nano:gpu",
        basis: "its GPU as one core: 1,024 lanes at 625 MHz, 20 × 10¹² operations of eight bits dense; 68 GB/s; needs TensorRT",
        cores: 1,
        products: 640.0,
        products_int8: 10_000.0,
        bandwidth: 68.0,
    },
    Class {
        name: "qualcomm-qcs6490",
        basis: "its processor: Cortex-A78, 2.7 GHz, 2 × 4 lanes of FMA, dot product 2 × 16; 25 GB/s",
        cores: 4,
        products: 21.6,
        products_int8: 86.4,
        bandwidth: 25.0,
    },
    Class {
        name: "qualcomm-qcs6490:npu",
        basis: "its NPU as one core: 12 × 10¹² operations of eight bits; 25 GB/s; needs QNN and int8",
        cores: 1,
        products: 400.0,
        products_int8: 6_000.0,
        bandwidth: 25.0,
    },
    Class {
        name: "apple-silicon",
        basis: "M2, a performance core: 3.5 GHz, 4 × 4 lanes of FMA, dot product 4 × 16; 100 GB/s",
        cores: 4,
        products: 56.0,
        products_int8: 224.0,
        bandwidth: 100.0,
    },
];

impl Class {
    /// The least time of a run in microseconds: products at the peak, or weights and inner values at the bandwidth.
    pub fn bound_us(&self, work: &Work, threads: usize) -> f64 {
        let cores = threads.clamp(1, self.cores) as f64;
        let plain = work.products.saturating_sub(work.products_int8) as f64 / (self.products * cores * 1e3);
        let int8 = work.products_int8 as f64 / (self.products_int8 * cores * 1e3);
        let bytes = (work.weight_bytes + 2 * work.inner_bytes) as f64 / (self.bandwidth * 1e3);
        (plain + int8).max(bytes)
    }

    /// What a run would take here, where it takes `measured_us` on the machine of `profile`; none where that machine's class has
    /// no figures.
    pub fn predict(&self, work: &Work, threads: usize, profile: &Profile, measured_us: f64) -> Option<Prediction> {
        let here = classes().iter().find(|class| class.name == profile.class)?;
        let bound = here.bound_us(work, threads);
        // more than 1: nothing comes below its bound, and if it seems to, the data sheet is wrong
        let away = (measured_us / bound.max(1e-9)).max(1.0);
        let bound_us = self.bound_us(work, threads);
        Some(Prediction {
            class: self.name.to_owned(),
            threads: threads.clamp(1, self.cores),
            bound_us,
            predicted_us: bound_us * away,
            basis: self.basis.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str) -> &'static Class {
        classes().iter().find(|class| class.name == name).unwrap()
    }

    #[test]
    fn int8_helps_where_there_are_instructions_for_it() {
        let plain = Work { products: 1_000_000_000, weight_bytes: 4_000_000, ..Work::default() };
        let int8 = Work { products_int8: plain.products, weight_bytes: 1_000_000, ..plain };
        let gain = |name: &str| class(name).bound_us(&plain, 1) / class(name).bound_us(&int8, 1);
        assert!((gain("x86_64-avx512vnni") - 4.0).abs() < 0.01);
        assert!(gain("x86_64-avx2") < 1.5);
        // 10⁹ products at 7.2 × 10⁹ a second
        assert!((class("raspberry-pi-4").bound_us(&plain, 1) - 138_888.9).abs() < 1.0);
        assert!(class("raspberry-pi-4").bound_us(&plain, 8) > class("raspberry-pi-4").bound_us(&plain, 4) * 0.999);
    }

    #[test]
    fn a_prediction_keeps_its_distance_to_the_bound() {
        let work = Work { products: 1_000_000_000, ..Work::default() };
        let mut profile = Profile::here();
        profile.class = "x86_64-avx512vnni".to_owned();
        let bound = class(&profile.class).bound_us(&work, 1);
        let told = class("raspberry-pi-5").predict(&work, 1, &profile, bound * 3.0).unwrap();
        assert!((told.predicted_us / told.bound_us - 3.0).abs() < 1e-9);
        // and for the machine itself it is what was measured
        let own = class(&profile.class).predict(&work, 1, &profile, bound * 3.0).unwrap();
        assert!((own.predicted_us - bound * 3.0).abs() < 1e-6);
        profile.class = "vax".to_owned();
        assert_eq!(class("raspberry-pi-5").predict(&work, 1, &profile, 1.0), None);
    }
}
