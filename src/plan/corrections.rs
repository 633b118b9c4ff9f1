//! The differences between `--recipe guide` and the guide's own Dockerfile and build line, with the evidence for each.
//!
//! The recipe itself is `Dockerfile.tera`.

use serde::Serialize;

/// A correction of one line of the guide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Correction {
    /// The guide's line ("Building Docker Image"), or the part of it that matters.
    pub guide: &'static str,
    /// Effect of the line.
    pub consequence: &'static str,
    /// Evidence for the effect.
    pub shown: &'static str,
    /// Replacement in the recipe.
    pub recipe: &'static str,
}

/// Every correction, in the order of the guide's lines.
pub const CORRECTIONS: [Correction; 13] = [
    Correction {
        guide: "FROM ...-cu128-b200@sha256:1a9e19b4...",
        consequence: "the image exists for amd64 alone: a GB200 or GB300 host is arm64",
        shown: "read: the name of the image and upstream's list of tags",
        recipe: "digests are kept by platform; a daemon of another architecture is refused, and nothing is emulated",
    },
    Correction {
        guide: "apt-get update && apt-get install ...",
        consequence: "the lists of packages stay in the layer",
        shown: "read: no line removes them",
        recipe: "lists and archives are in caches of the builder; no recommended packages",
    },
    Correction {
        guide: "pip install --upgrade pip; pip install httpx openai",
        consequence: "each build gets what the index serves that day",
        shown: "read: the lines name no version",
        recipe: "every package has a version, and the hash of its files",
    },
    Correction {
        guide: "lm-evaluation-harness@4f8195f",
        consequence: "seven digits of a commit are a prefix to search for, not a name; the dependencies are not pinned",
        shown: "read: git gitrevisions(7)",
        recipe: "all 40 digits, compared with the fetched commit; its dependencies with their hashes",
    },
    Correction {
        guide: "git clone .../sglang.git ... -b #HASH && \\",
        consequence: "`#` begins a comment in the shell: the clone fails, and the one of FlashInfer behind it never runs",
        shown: "run: `error: switch `b' requires a value`",
        recipe: "SGLang 0.4.10.post2 from its source package, by its hash: its server log is the one that the guide shows",
    },
    Correction {
        guide: "git clone --recursive ... -b v0.2.9rc2",
        consequence: "a tag can be moved, and the build would not notice",
        shown: "read: git-tag(1), \"On Re-tagging\"",
        recipe: "the tag's commit with 40 digits, compared with the fetched commit, which pins the submodules",
    },
    Correction {
        guide: "pip install --break-system-packages -e python",
        consequence: "pip resolves again and may replace the PyTorch and the kernels that the base was built for",
        shown: "read: the package's dependencies against the base's pins",
        recipe: "--no-deps: the base's own PyTorch, kernels and CUDA libraries stay",
    },
    Correction {
        guide: "pip install --break-system-packages (on some lines)",
        consequence: "where the base's Python is marked as managed, the other lines fail",
        shown: "read: PEP 668",
        recipe: "PIP_BREAK_SYSTEM_PACKAGES=1 on every line of pip",
    },
    Correction {
        guide: "\"with AOT kernels\": pip install --no-build-isolation -e .",
        consequence: "nothing is compiled: the first request compiles, on all eight ranks at once",
        shown: "read: FlashInfer 0.2.9rc2, setup.py: AOT only when `aot-ops` was filled before",
        recipe: "`python3 -m flashinfer.aot` first; --flashinfer jit or base skips it",
    },
    Correction {
        guide: "export TORCH_CUDA_ARCH_LIST=\"9.0a 9.0 10.0 10.0a\"",
        consequence: "four architectures are compiled for a host that has one; the variable ends with its RUN, so what is \
                      compiled later does not see it; unbounded jobs of nvcc take 3 to 8 GiB each until the build is killed",
        shown: "read: FlashInfer's issues 3634 and 3899; each RUN is a shell of its own",
        recipe: "10.0a alone, as ENV where the server compiles; as many jobs as processors and memory allow",
    },
    Correction {
        guide: "pip install -U nvidia-cudnn-cu12",
        consequence: "today's cuDNN over the exact version that PyTorch was built for",
        shown: "run: pip chooses 9.28 from the index, whatever PyTorch pins",
        recipe: "9.11.0.98, the newest when the guide was written, by its hash",
    },
    Correction {
        guide: "ENV PYTHONPATH=...:${PYTHONPATH}; no labels, no STOPSIGNAL; sources and a moving tag",
        consequence: "the unset variable leaves an empty last entry, which is the working directory: any file there can \
                      shadow a module. The image does not say what it contains",
        shown: "run: the value ends in `:`",
        recipe: "no PYTHONPATH: installed packages are found without it; sources stay in a stage of their own; labels \
                 state versions, base and inputs; the tag holds the digest of the inputs",
    },
    Correction {
        guide: "docker build --pull --no-cache -t sglang .",
        consequence: "every start builds everything again, kernels included, and asks the registry for a base that its \
                      digest already fixes; the whole working directory is sent, weights included",
        shown: "run: caches are discarded too; 500 MB beside the Dockerfile are sent every time",
        recipe: "if an image of the same inputs is present, nothing is built; the context is the recipe's own files",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The known defects of the guide's Dockerfile and build line: a word of the line, and a word of its effect.
    /// Defects that concern only running the container are not listed.
    const DEFECTS: [(&str, &str); 14] = [
        ("#HASH", "comment"),
        ("AOT", "first request"),
        ("--pull --no-cache", "builds everything again"),
        ("docker build", "weights"),
        ("PYTHONPATH", "working directory"),
        ("--upgrade pip", "that day"),
        ("cudnn", "over the exact version"),
        ("4f8195f", "seven digits"),
        ("v0.2.9rc2", "moved"),
        ("--break-system-packages", "managed"),
        ("-e python", "replace the PyTorch"),
        ("TORCH_CUDA_ARCH_LIST", "GiB"),
        ("b200", "arm64"),
        ("no labels", "does not say"),
    ];

    #[test]
    fn every_known_defect_of_the_guides_build_is_corrected() {
        for (line, effect) in DEFECTS {
            assert!(
                CORRECTIONS
                    .iter()
                    .any(|one| one.guide.contains(line) && one.consequence.contains(effect)),
                "{line}: {effect}"
            );
        }
        for one in CORRECTIONS {
            assert!(
                one.shown.starts_with("run: ") || one.shown.starts_with("read: "),
                "{}",
                one.shown
            );
        }
    }
}
