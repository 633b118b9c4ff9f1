//! The condition of the GPUs, as `nvidia-smi -q -x` prints it: a static binary cannot load NVIDIA's library.

use std::borrow::Cow;

use roxmltree::{Document, Node, ParsingOptions};

use crate::facts::{Fabric, GpuHealth, GpuProcess};
use crate::units::MIB;

/// Reasons of a lower clock that are no choice of the owner, by the ends of their elements: `clocks_event_reason_*`, before
/// R535 `clocks_throttle_reason_*`.
const SLOWDOWNS: [&str; 4] = [
    "hw_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
    "sw_thermal_slowdown",
];
/// Longest list of processes that is read.
const MOST_PROCESSES: usize = 256;
/// Longest text of an element.
const LONGEST: usize = 256;

/// Returns the condition of each GPU, in the order of nvidia-smi; `None` for a text that is no such document.
#[must_use]
pub(super) fn read(xml: &str) -> Option<Vec<GpuHealth>> {
    let options = ParsingOptions {
        nodes_limit: 1 << 20,
        ..ParsingOptions::default()
    };
    let text = without_doctype(xml);
    let document = Document::parse_with_options(&text, options).ok()?;
    let root = document.root_element();
    if !root.has_tag_name("nvidia_smi_log") {
        return None;
    }
    Some(children(root, "gpu").map(health).collect())
}

/// Returns the document without the name of its DTD. One with a DTD inside stays as it is, and is not read: the entities that
/// it defines could grow without limit.
fn without_doctype(xml: &str) -> Cow<'_, str> {
    let Some(begin) = xml.find("<!DOCTYPE") else {
        return xml.into();
    };
    match xml[begin..].split_once('>') {
        Some((declaration, rest)) if !declaration.contains('[') => format!("{}{rest}", &xml[..begin]).into(),
        _ => xml.into(),
    }
}

fn health(gpu: Node<'_, '_>) -> GpuHealth {
    let text = |path: &[&str]| text(gpu, path);
    let is = |path: &[&str], yes: &str| text(path).map(|value| value == yes);
    GpuHealth {
        uuid: text(&["uuid"]).unwrap_or_default(),
        bus: gpu.attribute("id").map(cut).unwrap_or_default(),
        persistence: is(&["persistence_mode"], "Enabled"),
        compute_mode: text(&["compute_mode"]),
        recovery_action: text(&["gpu_recovery_action"]),
        uncorrectable_errors: uncorrectable(gpu),
        remap_pending: is(&["remapped_rows", "remapped_row_pending"], "Yes"),
        remap_failed: is(&["remapped_rows", "remapped_row_failure"], "Yes"),
        slowdowns: slowdowns(gpu),
        power_capped: power_capped(gpu),
        utilization: text(&["utilization", "gpu_util"]).and_then(|value| number(&value, "%")),
        temperature_c: text(&["temperature", "gpu_temp"]).and_then(|value| number(&value, "C")),
        power_w: watts(gpu, &["instant_power_draw", "power_draw"]),
        power_limit_w: watts(
            gpu,
            &["current_power_limit", "enforced_power_limit", "power_limit"],
        ),
        power_limit_max_w: watts(gpu, &["max_power_limit"]),
        fabric: text(&["fabric", "state"]).map(|state| Fabric {
            state,
            status: text(&["fabric", "status"]).unwrap_or_default(),
        }),
        processes: processes(gpu),
    }
}

fn children<'a, 'input: 'a>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

fn cut(text: &str) -> String {
    text.trim().chars().take(LONGEST).collect()
}

/// Returns the text of an element below a node; `None` if it is missing, or nvidia-smi does not know it.
fn text(node: Node<'_, '_>, path: &[&str]) -> Option<String> {
    let found = path.iter().try_fold(node, |node, name| {
        node.children().find(|child| child.has_tag_name(*name))
    })?;
    let text = cut(found.text()?);
    (!text.is_empty()
        && !["N/A", "[N/A]", "Requested functionality has been deprecated"].contains(&text.as_str()))
    .then_some(text)
}

/// Returns the whole number before a unit: 700 of `700.00 W`.
fn number(text: &str, unit: &str) -> Option<u32> {
    let digits = text.trim().strip_suffix(unit)?.trim();
    digits.split('.').next()?.parse().ok()
}

/// Returns the first of several values of power that is stated.
fn watts(gpu: Node<'_, '_>, names: &[&str]) -> Option<u32> {
    // Before R535 the element is `power_readings`.
    ["gpu_power_readings", "power_readings"]
        .iter()
        .find_map(|readings| {
            names
                .iter()
                .find_map(|name| number(&text(gpu, &[*readings, *name])?, "W"))
        })
}

/// Returns the sum of the volatile errors that were not corrected, of all memories.
fn uncorrectable(gpu: Node<'_, '_>) -> Option<u64> {
    let volatile = children(gpu, "ecc_errors").flat_map(|errors| children(errors, "volatile"));
    let counts: Vec<u64> = volatile
        .flat_map(|volatile| volatile.children())
        .filter(|count| count.tag_name().name().contains("uncorrectable"))
        .filter_map(|count| count.text()?.trim().parse().ok())
        .collect();
    (!counts.is_empty()).then(|| {
        counts
            .iter()
            .fold(0, |sum: u64, count| sum.saturating_add(*count))
    })
}

/// Returns the reasons of a lower clock, by the elements of either name.
fn clock_reasons<'a, 'input: 'a>(gpu: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    let lists = gpu.children().filter(|child| {
        ["clocks_event_reasons", "clocks_throttle_reasons"].contains(&child.tag_name().name())
    });
    lists.flat_map(|list| list.children())
}

/// Returns true if the limit of the power lowers the clocks; `None` if that is not stated.
fn power_capped(gpu: Node<'_, '_>) -> Option<bool> {
    let reason = clock_reasons(gpu).find(|reason| reason.tag_name().name().ends_with("_sw_power_cap"))?;
    Some(reason.text()?.trim() == "Active")
}

fn slowdowns(gpu: Node<'_, '_>) -> Vec<String> {
    clock_reasons(gpu)
        .filter(|reason| reason.text().is_some_and(|text| text.trim() == "Active"))
        .filter_map(|reason| {
            let name = reason.tag_name().name();
            let name = name
                .strip_prefix("clocks_event_reason_")
                .or_else(|| name.strip_prefix("clocks_throttle_reason_"))?;
            SLOWDOWNS.contains(&name).then(|| name.to_owned())
        })
        .collect()
}

fn processes(gpu: Node<'_, '_>) -> Vec<GpuProcess> {
    children(gpu, "processes")
        .flat_map(|list| children(list, "process_info"))
        .filter_map(|process| {
            Some(GpuProcess {
                pid: text(process, &["pid"])?.parse().ok()?,
                name: text(process, &["process_name"]).unwrap_or_default(),
                memory_bytes: text(process, &["used_memory"])
                    .and_then(|used| number(&used, "MiB"))
                    .map(|mib| u64::from(mib) * MIB),
            })
        })
        .take(MOST_PROCESSES)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sheet_of_an_h200_is_read() {
        let found = read(include_str!("../../tests/fixtures/gpu/h200-580.159.xml")).unwrap();
        let expected = GpuHealth {
            uuid: "GPU-0".to_owned(),
            bus: "00000000:00:06.0".to_owned(),
            persistence: Some(true),
            compute_mode: Some("Default".to_owned()),
            recovery_action: Some("None".to_owned()),
            uncorrectable_errors: Some(0),
            remap_pending: Some(false),
            remap_failed: Some(false),
            power_capped: Some(false),
            utilization: Some(0),
            temperature_c: Some(41),
            power_w: Some(81),
            power_limit_w: Some(700),
            power_limit_max_w: Some(700),
            // A virtual machine does not see the fabric.
            fabric: None,
            ..GpuHealth::default()
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn gpus_of_one_host_are_part_of_the_fabric() {
        let found = read(include_str!("../../tests/fixtures/gpu/h200x2-580.159.xml")).unwrap();
        let states: Vec<Fabric> = found.into_iter().filter_map(|gpu| gpu.fabric).collect();
        let completed = Fabric {
            state: "Completed".to_owned(),
            status: "Success".to_owned(),
        };
        assert_eq!(states, [completed.clone(), completed]);
    }

    #[test]
    fn a_driver_of_r535_has_other_names() {
        let found = read(
            "<?xml version=\"1.0\" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM \"nvsmi_device_v12.dtd\">\n<nvidia_smi_log>\
             <gpu id=\"00000000:19:00.0\"><persistence_mode>Disabled</persistence_mode>\
             <clocks_throttle_reasons><clocks_throttle_reason_gpu_idle>Active</clocks_throttle_reason_gpu_idle>\
             <clocks_throttle_reason_hw_thermal_slowdown>Active</clocks_throttle_reason_hw_thermal_slowdown>\
             </clocks_throttle_reasons><power_readings><power_draw>71.93 W</power_draw><power_limit>700.00 W</power_limit>\
             </power_readings><ecc_errors><volatile><sram_uncorrectable>1</sram_uncorrectable>\
             <dram_uncorrectable>2</dram_uncorrectable><dram_correctable>9</dram_correctable></volatile>\
             <aggregate><dram_uncorrectable>7</dram_uncorrectable></aggregate></ecc_errors></gpu></nvidia_smi_log>",
        )
        .unwrap();
        let expected = GpuHealth {
            bus: "00000000:19:00.0".to_owned(),
            persistence: Some(false),
            uncorrectable_errors: Some(3),
            slowdowns: vec!["hw_thermal_slowdown".to_owned()],
            power_w: Some(71),
            power_limit_w: Some(700),
            ..GpuHealth::default()
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn what_is_no_document_is_not_read() {
        for text in [
            "",
            "NVIDIA-SMI has failed",
            "<html></html>",
            "<nvidia_smi_log>",
            "<a/><b/>",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read("<nvidia_smi_log/>"), Some(Vec::new()));
    }

    #[test]
    fn entities_do_not_grow_without_end() {
        let mut text = String::from("<!DOCTYPE nvidia_smi_log [<!ENTITY a0 \"aaaaaaaaaa\">");
        for level in 1..12 {
            let before = format!("&a{};", level - 1).repeat(10);
            text += &["<!ENTITY a", &level.to_string(), " \"", &before, "\">"].concat();
        }
        text.push_str(
            "]><nvidia_smi_log><gpu id=\"&a11;\"><compute_mode>&a11;</compute_mode></gpu></nvidia_smi_log>",
        );
        assert_eq!(read(&text), None);
    }
}
