//! The GPUs of a server while it is measured: clocks, throttling, power.

use crate::report::MeasuredGpus;

/// The fields that nvidia-smi is asked for, in their order. `clocks_event_reasons` is the name since driver 535.
pub const GPU_FIELDS: &str =
    "index,clocks.sm,clocks.max.sm,clocks_event_reasons.active,power.draw,temperature.gpu,utilization.gpu";

/// Reasons that lower clocks against the owner's will: hardware slowdown, software and hardware thermal slowdown, power brake
/// (`nvmlClocksEventReasons`, `nvml.h`).
const THROTTLED: u64 = 0x8 | 0x20 | 0x40 | 0x80;
/// The limit of the power, which a loaded GPU reaches.
const POWER_CAP: u64 = 0x4;
/// Use in percent from which a GPU counts as one of the server's.
const USED: f64 = 5.0;

/// A look at one GPU.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GpuSample {
    /// Time of day, in seconds since the Unix epoch.
    pub at_unix: f64,
    /// Index in nvidia-smi.
    pub index: u32,
    /// Clock of its multiprocessors, in MHz.
    pub sm_mhz: Option<f64>,
    /// Highest such clock.
    pub max_sm_mhz: Option<f64>,
    /// Reasons for its clocks, as bits.
    pub reasons: Option<u64>,
    /// Power in watts.
    pub watts: Option<f64>,
    /// Temperature in degrees Celsius.
    pub celsius: Option<f64>,
    /// Share of the time in which a kernel ran, in percent.
    pub utilization: Option<f64>,
}

impl GpuSample {
    /// Reads a line of nvidia-smi with [`GPU_FIELDS`]; `None` for another line.
    #[must_use]
    pub fn read(line: &str, at_unix: f64) -> Option<Self> {
        let mut fields = line.split(',').map(str::trim);
        let index = fields.next()?.parse().ok()?;
        let mut number = || {
            fields
                .next()
                .map(|text| text.parse::<f64>().ok().filter(|value| value.is_finite()))
        };
        let (sm_mhz, max_sm_mhz) = (number()?, number()?);
        let reasons = fields.next()?;
        let mut number = || {
            fields
                .next()
                .map(|text| text.parse::<f64>().ok().filter(|value| value.is_finite()))
        };
        Some(Self {
            at_unix,
            index,
            sm_mhz,
            max_sm_mhz,
            reasons: reasons
                .strip_prefix("0x")
                .and_then(|digits| u64::from_str_radix(digits, 16).ok()),
            watts: number()?,
            celsius: number()?,
            utilization: number()?,
        })
    }
}

/// Returns the GPUs that worked between two times of day; `None` if none did. Before `begun` the server was idle. The energy of a
/// token is added by `add_energy`, which knows their rate.
#[must_use]
pub fn summarize_gpus(samples: &[GpuSample], begun: f64, (from, to): (f64, f64)) -> Option<MeasuredGpus> {
    let inside = |sample: &&GpuSample| from <= sample.at_unix && sample.at_unix <= to;
    let mut indices: Vec<u32> = samples.iter().filter(inside).map(|sample| sample.index).collect();
    indices.sort_unstable();
    indices.dedup();
    let of = |index: u32| samples.iter().filter(move |sample| sample.index == index);
    let used: Vec<u32> = indices
        .into_iter()
        .filter(|index| {
            mean_of(of(*index).filter(inside).map(|sample| sample.utilization)).unwrap_or(0.0) >= USED
        })
        .collect();
    if used.is_empty() {
        return None;
    }
    let is_used = |sample: &&GpuSample| used.contains(&sample.index);
    let window: Vec<&GpuSample> = samples.iter().filter(inside).filter(is_used).collect();
    let mut clocks: Vec<f64> = window.iter().filter_map(|sample| sample.sm_mhz).collect();
    clocks.sort_by(f64::total_cmp);
    let share_with = |bits: u64| {
        let known: Vec<u64> = window.iter().filter_map(|sample| sample.reasons).collect();
        #[expect(clippy::cast_precision_loss, reason = "counts of samples")]
        let share =
            known.iter().filter(|reasons| **reasons & bits != 0).count() as f64 / known.len().max(1) as f64;
        (!known.is_empty()).then_some(share)
    };
    let watts = |is_it: &dyn Fn(&&GpuSample) -> bool| -> Option<f64> {
        used.iter()
            .map(|index| mean_of(of(*index).filter(is_it).map(|sample| sample.watts)))
            .sum()
    };
    let (busy, idle) = (watts(&inside), watts(&|sample| sample.at_unix < begun));
    Some(MeasuredGpus {
        indices: used.clone(),
        samples: window.len() as u64,
        sm_clock_median_mhz: crate::measure::statistics::interpolated_percentile(&clocks, 50.0),
        sm_clock_max_mhz: window
            .iter()
            .filter_map(|sample| sample.max_sm_mhz)
            .reduce(f64::max),
        throttled_share: share_with(THROTTLED),
        power_capped_share: share_with(POWER_CAP),
        mean_w: busy,
        idle_w: idle,
        joules_per_output_token: None,
        joules_per_output_token_above_idle: None,
        hottest_c: window.iter().filter_map(|sample| sample.celsius).reduce(f64::max),
    })
}

/// Returns the GPUs with the energy of an output token, of which there were so many a second.
pub(super) fn add_energy(gpus: MeasuredGpus, output_throughput: f64) -> MeasuredGpus {
    let per_token = |watts: f64| (output_throughput > 0.0).then(|| watts / output_throughput);
    let above_idle = gpus.mean_w.zip(gpus.idle_w);
    MeasuredGpus {
        joules_per_output_token: gpus.mean_w.and_then(per_token),
        joules_per_output_token_above_idle: above_idle
            .and_then(|(busy, idle)| per_token((busy - idle).max(0.0))),
        ..gpus
    }
}

fn mean_of(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.flatten().collect();
    crate::measure::statistics::mean(&values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_nvidia_smi_are_read() {
        let line = "0, 1980, 1980, 0x0000000000000004, 612.53, 61, 98";
        let sample = GpuSample::read(line, 5.0).unwrap();
        let expected = GpuSample {
            at_unix: 5.0,
            index: 0,
            sm_mhz: Some(1980.0),
            max_sm_mhz: Some(1980.0),
            reasons: Some(4),
            watts: Some(612.53),
            celsius: Some(61.0),
            utilization: Some(98.0),
        };
        assert_eq!(sample, expected);
        let unknown = GpuSample::read("3, [N/A], 1980, [N/A], [N/A], 30, 0", 5.0).unwrap();
        assert_eq!(
            (unknown.sm_mhz, unknown.reasons, unknown.watts),
            (None, None, None)
        );
        for line in ["", "x, 1", "0", "Unable to determine the device handle"] {
            assert_eq!(GpuSample::read(line, 0.0), None, "{line}");
        }
    }

    /// Two GPUs, of which one works; a look each second, ten before the window.
    fn samples() -> Vec<GpuSample> {
        let look = |second: u32, index: u32, watts: f64, use_: u32| {
            let line = format!(
                "{index}, 1500, 1980, 0x{:x}, {watts}, 60, {use_}",
                if second == 15 { 0x40 } else { 4 }
            );
            GpuSample::read(&line, f64::from(second)).unwrap()
        };
        (0..30)
            .flat_map(|second| {
                let is_busy = second >= 10;
                let (watts, use_) = if is_busy { (500.0, 90) } else { (100.0, 0) };
                [look(second, 0, watts, use_), look(second, 1, 80.0, 0)]
            })
            .collect()
    }

    #[test]
    fn energy_is_that_of_the_gpus_that_worked() {
        let gpus = add_energy(summarize_gpus(&samples(), 5.0, (10.0, 29.0)).unwrap(), 1000.0);
        assert_eq!((gpus.indices.as_slice(), gpus.samples), (&[0][..], 20));
        assert_eq!((gpus.mean_w, gpus.idle_w), (Some(500.0), Some(100.0)));
        assert_eq!(gpus.joules_per_output_token, Some(0.5));
        assert_eq!(gpus.joules_per_output_token_above_idle, Some(0.4));
        assert_eq!(
            (gpus.throttled_share, gpus.power_capped_share),
            (Some(0.05), Some(0.95))
        );
        assert_eq!(
            (gpus.sm_clock_median_mhz, gpus.sm_clock_max_mhz),
            (Some(1500.0), Some(1980.0))
        );
        assert_eq!(summarize_gpus(&samples(), 0.0, (0.0, 9.0)), None);
        assert_eq!(summarize_gpus(&[], 0.0, (0.0, 9.0)), None);
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read(line in "[0-9a-fx,. \\[\\]/N-]{0,60}") {
            let _ = GpuSample::read(&line, 0.0);
        }
    }
}
