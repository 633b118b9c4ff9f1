//! Tails and quantiles of the normal distribution and of Student's t.

use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::erf::erfc;

/// Returns the probability that a standard normal value is farther from 0 than `z`, on either side.
pub(super) fn normal_tails(z: f64) -> f64 {
    erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// Returns the probability that a value of Student's t is farther from 0 than `t`, on either side.
pub(super) fn student_tails(t: f64, degrees_of_freedom: f64) -> Option<f64> {
    let student = StudentsT::new(0.0, 1.0, degrees_of_freedom).ok()?;
    Some(2.0 * student.sf(t.abs()))
}

/// Returns the distance from 0 that a value of Student's t exceeds, on either side, with a probability of `risk`.
pub(super) fn student_quantile(risk: f64, degrees_of_freedom: f64) -> Option<f64> {
    let student = StudentsT::new(0.0, 1.0, degrees_of_freedom).ok()?;
    Some(student.inverse_cdf(1.0 - risk / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_scipy() {
        // scipy 1.17.1: 2 * norm.sf(z); 2 * t.sf(t, df).
        for (z, expected) in NORMAL {
            assert!((normal_tails(z) / expected - 1.0).abs() < 1e-9, "{z}");
        }
        for (t, degrees, expected) in STUDENT {
            let found = student_tails(t, degrees).unwrap();
            assert!((found / expected - 1.0).abs() < 1e-9, "{t} {degrees}: {found}");
        }
    }

    #[test]
    fn quantiles_of_student_are_those_of_scipy() {
        // scipy 1.17.1: t.ppf(1 - risk / 2, df). The first row of .05 is in every printed table: 12.706, 4.303, 3.182.
        for (risk, degrees, expected) in QUANTILES {
            let found = student_quantile(risk, degrees).unwrap();
            assert!((found - expected).abs() < 1e-6, "{risk} {degrees}: {found}");
        }
        assert_eq!(student_quantile(0.05, 0.0), None);
    }

    const NORMAL: [(f64, f64); 7] = [
        (0.0, 1.0),
        (0.5, 0.617_075_077_451_973_8),
        (1.0, 0.317_310_507_862_914_15),
        (1.959_963_984_540_054, 0.05),
        (-2.575_829_303_548_900_4, 0.01),
        (4.0, 6.334_248_366_623_973e-5),
        (8.0, 1.244_192_114_854_348e-15),
    ];
    const STUDENT: [(f64, f64, f64); 7] = [
        (0.5, 1.0, 0.704_832_764_699_133_5),
        (12.706_204_7, 1.0, 0.050_000_000_141_765_87),
        (-2.0, 3.5, 0.126_138_522_575_913_43),
        (3.0, 9.0, 0.014_956_363_910_414_222),
        (4.0, 38.0, 0.000_282_390_581_419_574_2),
        (2.5, 998.0, 0.012_578_887_688_909_303),
        (6.0, 10_000.0, 2.041_618_472_922_621_3e-9),
    ];
    const QUANTILES: [(f64, f64, f64); 19] = [
        (0.05, 1.0, 12.706_204_736_174_694),
        (0.05, 2.0, 4.302_652_729_749_462),
        (0.05, 3.0, 3.182_446_305_283_707_8),
        (0.05, 4.0, 2.776_445_105_197_793_4),
        (0.05, 5.0, 2.570_581_835_636_314_6),
        (0.05, 9.0, 2.262_157_162_798_205),
        (0.05, 29.0, 2.045_229_642_132_703),
        (0.05, 99.0, 1.984_216_951_586_417_4),
        (0.05, 1000.0, 1.962_339_080_826_408_3),
        (0.05, 2.5, 3.574_654_842_003_681_7),
        (0.01, 1.0, 63.656_741_162_871_526),
        (0.01, 2.0, 9.924_843_200_918_287),
        (0.01, 3.0, 5.840_909_309_733_355),
        (0.01, 4.0, 4.604_094_871_349_992),
        (0.01, 5.0, 4.032_142_983_555_228),
        (0.01, 9.0, 3.249_835_541_592_126),
        (0.01, 29.0, 2.756_385_903_670_605),
        (0.01, 99.0, 2.626_405_457_280_827),
        (0.01, 1000.0, 2.580_754_698_065_951),
    ];
}
