//! The GPUs that a user chooses for a server.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Kind, Result};
use crate::facts::{Facts, Gpu};
use crate::units::Bytes;

/// Largest index that is read: a host has 16 GPUs at most, and a typing error should not become a list of millions.
const LARGEST: u32 = 255;
/// Bytes of memory in use from which on a GPU is not free: a display, or a driver in persistence mode, takes less.
const USED: u64 = 1 << 30;
/// The variable with the GPUs that a process sees.
pub const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
/// The variable that makes CUDA count GPUs as nvidia-smi does, with its value. Without it, CUDA counts the fastest first (CUDA's
/// programming guide, "CUDA environment variables").
pub const ORDER: (&str, &str) = ("CUDA_DEVICE_ORDER", "PCI_BUS_ID");

/// A choice of GPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GpuChoice {
    /// As many as the profile needs, of those whose memory nobody uses.
    Free,
    /// Those with these indices of nvidia-smi.
    Indices(Vec<u32>),
}

impl FromStr for GpuChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "free" {
            return Ok(Self::Free);
        }
        if text == "all" {
            return Err("leave out --gpus: the server then sees all GPUs".to_owned());
        }
        let wrong = || "write indices of nvidia-smi, as in 0-3 or 0,2,5, or the word free".to_owned();
        let index = |word: &str| -> std::result::Result<u32, String> {
            let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
            let number = word.parse().ok().filter(|number| is_number && *number <= LARGEST);
            number.ok_or_else(wrong)
        };
        let mut indices = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (index(first)?, index(last)?),
                None => (index(part)?, index(part)?),
            };
            if first > last {
                return Err(format!("{first}-{last} runs backwards: write {last}-{first}"));
            }
            for index in first..=last {
                if indices.contains(&index) {
                    return Err(format!("GPU {index} is named twice"));
                }
                indices.push(index);
            }
        }
        Ok(Self::Indices(indices))
    }
}

impl fmt::Display for GpuChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => f.write_str("free"),
            Self::Indices(indices) => f.write_str(&joined(indices)),
        }
    }
}

/// Returns indices as `CUDA_VISIBLE_DEVICES` has them.
#[must_use]
pub fn joined(indices: &[u32]) -> String {
    let words: Vec<String> = indices.iter().map(u32::to_string).collect();
    words.join(",")
}

/// Chooses the GPUs of a server that needs `needed` GPUs, leaves only these in the facts, and returns their indices.
///
/// # Errors
/// [`Kind::Usage`] for an index that no GPU has, or fewer than are needed; [`Kind::Host`] when too few are free, or
/// nvidia-smi is missing.
pub fn choose_gpus(choice: &GpuChoice, needed: u32, facts: &mut Facts) -> Result<Vec<u32>> {
    let Some(gpus) = facts.host.gpus.clone() else {
        return Err(
            Error::new(Kind::Host, format!("cannot choose GPUs by --gpus {choice}"))
                .cause("the GPUs of this host are not known: there is no nvidia-smi"),
        );
    };
    let chosen: Vec<u32> = match choice {
        GpuChoice::Indices(indices) => {
            if let Some(missing) = indices
                .iter()
                .find(|index| gpus.iter().all(|gpu| gpu.index != **index))
            {
                return Err(Error::new(Kind::Usage, format!("there is no GPU {missing}"))
                    .cause(format!("nvidia-smi lists {}", listed(&gpus)))
                    .hint("name GPUs of this list, as in --gpus 0-3"));
            }
            indices.clone()
        }
        GpuChoice::Free => free(&gpus, needed, facts)?,
    };
    if chosen.len() < needed as usize {
        let count = chosen.len();
        return Err(Error::new(
            Kind::Usage,
            format!("--gpus {choice} names {count} of the {needed} GPUs that the profile needs"),
        )
        .hint("name more, or another profile: dsr1 profiles list"));
    }
    let of = |index: &u32| gpus.iter().find(|gpu| gpu.index == *index).cloned();
    facts.host.gpus = Some(chosen.iter().filter_map(of).collect());
    Ok(chosen)
}

/// Returns the first GPUs that nobody uses.
fn free(gpus: &[Gpu], needed: u32, facts: &Facts) -> Result<Vec<u32>> {
    let taken = |index: u32| {
        facts
            .servers
            .iter()
            .find(|(_, server)| server.gpus.contains(&index))
    };
    let (mut free, mut used) = (Vec::new(), Vec::new());
    for gpu in gpus {
        let memory = gpu.memory_used_bytes.unwrap_or(0);
        match taken(gpu.index) {
            Some((name, _)) => used.push(format!("GPU {} is taken by {name}", gpu.index)),
            None if memory >= USED => used.push(format!("GPU {} has {} in use", gpu.index, Bytes(memory))),
            None => free.push(gpu.index),
        }
    }
    if free.len() < needed as usize {
        return Err(Error::new(
            Kind::Host,
            format!(
                "the profile needs {needed} free GPUs, and this host has {}",
                free.len()
            ),
        )
        .cause(if used.is_empty() {
            format!("nvidia-smi lists {}", listed(gpus))
        } else {
            used.join(", ")
        })
        .hint("dsr1 status lists the servers, and dsr1 doctor the processes on GPUs"));
    }
    free.truncate(needed as usize);
    Ok(free)
}

fn listed(gpus: &[Gpu]) -> String {
    let indices: Vec<u32> = gpus.iter().map(|gpu| gpu.index).collect();
    match indices.as_slice() {
        [] => "no GPU".to_owned(),
        [only] => format!("GPU {only}"),
        several => format!("the GPUs {}", joined(several)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::facts::RunningServer;

    fn facts(used: &[u64]) -> Facts {
        let gpu = |(index, used): (usize, &u64)| Gpu {
            index: u32::try_from(index).unwrap(),
            name: "NVIDIA H200".to_owned(),
            memory_bytes: 150 << 30,
            memory_used_bytes: Some(*used),
            compute_capability: "9.0".to_owned(),
            mig: None,
            health: None,
        };
        let mut facts = Facts::default();
        facts.host.gpus = Some(used.iter().enumerate().map(gpu).collect());
        facts
    }

    #[test]
    fn a_choice_is_a_list_of_indices_and_ranges() {
        for (text, indices) in [
            ("0", Ok(vec![0])),
            ("0-3", Ok(vec![0, 1, 2, 3])),
            ("5, 0-1", Ok(vec![5, 0, 1])),
            ("3-0", Err("3-0 runs backwards: write 0-3")),
            ("0,0", Err("GPU 0 is named twice")),
            ("0-2,1", Err("GPU 1 is named twice")),
            (
                "",
                Err("write indices of nvidia-smi, as in 0-3 or 0,2,5, or the word free"),
            ),
            (
                "+1",
                Err("write indices of nvidia-smi, as in 0-3 or 0,2,5, or the word free"),
            ),
            (
                "0-999999999",
                Err("write indices of nvidia-smi, as in 0-3 or 0,2,5, or the word free"),
            ),
            ("all", Err("leave out --gpus: the server then sees all GPUs")),
        ] {
            let read = text.parse::<GpuChoice>();
            assert_eq!(
                read,
                indices.map(GpuChoice::Indices).map_err(str::to_owned),
                "{text}"
            );
        }
        assert_eq!("free".parse(), Ok(GpuChoice::Free));
    }

    #[test]
    fn chosen_gpus_are_the_only_ones_of_the_plan() {
        let mut host = facts(&[0; 8]);
        let chosen = choose_gpus(&GpuChoice::Indices(vec![6, 7]), 2, &mut host).unwrap();
        let left: Vec<u32> = host.host.gpus.unwrap().iter().map(|gpu| gpu.index).collect();
        assert_eq!((chosen, left), (vec![6, 7], vec![6, 7]));
        let few = choose_gpus(&GpuChoice::Indices(vec![6]), 2, &mut facts(&[0; 8])).unwrap_err();
        assert_eq!(
            few.message(),
            "--gpus 6 names 1 of the 2 GPUs that the profile needs"
        );
        let none = choose_gpus(&GpuChoice::Indices(vec![8]), 1, &mut facts(&[0; 8])).unwrap_err();
        assert_eq!(none.message(), "there is no GPU 8");
        assert_eq!(none.causes(), ["nvidia-smi lists the GPUs 0,1,2,3,4,5,6,7"]);
        assert!(choose_gpus(&GpuChoice::Free, 1, &mut Facts::default()).is_err());
    }

    #[test]
    fn free_gpus_are_those_that_nobody_uses() {
        let mut host = facts(&[90 << 30, 0, 0, 500 << 20]);
        let server = RunningServer {
            gpus: vec![1],
            ..RunningServer::default()
        };
        host.servers.insert("dsr1-a".to_owned(), server);
        let chosen = choose_gpus(&GpuChoice::Free, 2, &mut host.clone()).unwrap();
        assert_eq!(chosen, [2, 3]);
        let error = choose_gpus(&GpuChoice::Free, 3, &mut host).unwrap_err();
        assert_eq!(
            error.message(),
            "the profile needs 3 free GPUs, and this host has 2"
        );
        assert_eq!(
            error.causes(),
            ["GPU 0 has 96.6 GB in use, GPU 1 is taken by dsr1-a"]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_a_choice_or_an_error(text in "\\PC{0,30}") {
            if let Ok(choice) = text.parse::<GpuChoice>() {
                prop_assert_eq!(choice.to_string().parse(), Ok(choice));
            }
        }
    }
}
