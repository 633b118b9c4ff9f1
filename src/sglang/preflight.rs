//! Knowledge of an environment before its engine loads a model: faults that the versions of its packages show, and the
//! meaning of an import that failed.
//!
//! The kinds of faults are those of public reports; each has the numbers of some (`sgl-project/sglang` unless another
//! repository is named).

use crate::facts::Environment;

/// The modules that a start on GPUs imports, in the order in which their faults explain each other, each with the packages
/// that bring it.
const MODULES: [(&str, &[&str]); 6] = [
    ("torch", &["torch"]),
    ("triton", &["triton"]),
    ("transformers", &["transformers"]),
    ("sgl_kernel", &["sglang-kernel", "sgl-kernel"]),
    ("flashinfer", &["flashinfer-python"]),
    ("sglang.srt.entrypoints.http_server", &["sglang"]),
];

/// Those of them that an engine on a processor does not use.
const ON_GPUS: [&str; 2] = ["sgl_kernel", "flashinfer"];

/// Returns the modules to import. One whose package is not installed is left out: `problems` says so.
#[must_use]
pub fn modules(environment: &Environment) -> Vec<String> {
    let is_installed = |names: &&[&str]| names.iter().any(|name| environment.packages.contains_key(*name));
    let is_used = |module: &&str| !environment.on_cpu || !ON_GPUS.contains(module);
    MODULES
        .iter()
        .filter(|(module, packages)| is_used(module) && is_installed(packages))
        .map(|(module, _)| (*module).to_owned())
        .collect()
}

/// A fault of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The fault.
    pub text: String,
    /// The remedy.
    pub fix: String,
    /// True if the engine cannot start with it.
    pub is_fatal: bool,
}

/// Returns the faults that the versions of the installed packages show.
#[must_use]
pub fn problems(environment: &Environment) -> Vec<Problem> {
    let version = |name: &str| environment.packages.get(name).map(String::as_str);
    let mut found = Vec::new();
    if version("torch").is_none() {
        found.push(Problem {
            text: "PyTorch is not installed for this Python".to_owned(),
            fix: "name the Python of the environment that has it, or install it there: pip install torch"
                .to_owned(),
            is_fatal: true,
        });
    }
    let Some(cuda) = environment.used_cuda() else {
        return found;
    };
    let kernel = ["sglang-kernel", "sgl-kernel"]
        .into_iter()
        .find_map(|name| Some((name, version(name)?)));
    if kernel.is_none() {
        found.push(Problem {
            text: "SGLang's kernels are not installed: neither `sglang-kernel` nor `sgl-kernel`".to_owned(),
            fix: "install SGLang with its dependencies: pip install \"sglang[all]\" in this environment"
                .to_owned(),
            is_fatal: true,
        });
    }
    if version("sglang-kernel").is_some() && version("sgl-kernel").is_some() {
        found.push(Problem {
            text:
                "`sglang-kernel` and `sgl-kernel` are both installed, and each writes the module `sgl_kernel`"
                    .to_owned(),
            fix: "pip uninstall sgl-kernel sglang-kernel, then install the one that this SGLang names"
                .to_owned(),
            is_fatal: false,
        });
    }
    // FlashInfer compares them when it is imported, and ends (flashinfer-ai/flashinfer, `jit/cubin_loader.py`).
    if let Some(python) = version("flashinfer-python") {
        for part in ["flashinfer-cubin", "flashinfer-jit-cache"] {
            let other = version(part).filter(|other| public(other) != public(python));
            if let Some(other) = other {
                found.push(Problem {
                    text: format!(
                        "flashinfer-python is {python}, and {part} is {other}: FlashInfer refuses to work"
                    ),
                    fix: format!("pip install {part}=={}", public(python)),
                    is_fatal: true,
                });
            }
        }
    } else {
        found.push(Problem {
            text: "FlashInfer is not installed (`flashinfer-python`)".to_owned(),
            fix: "install SGLang with its dependencies, or choose backends without FlashInfer".to_owned(),
            is_fatal: false,
        });
    }
    // Wheels say in their local version which CUDA they were built for: #29425, #25069, #14327.
    for (name, installed) in &environment.packages {
        let is_kernel = [
            "torch",
            "sglang-kernel",
            "sgl-kernel",
            "flashinfer-jit-cache",
            "torchvision",
            "torchaudio",
        ]
        .contains(&name.as_str());
        if let Some(built) = cuda_of(installed).filter(|_| is_kernel)
            && Some(built) != major(cuda)
        {
            found.push(Problem {
                text: format!("{name} {installed} is built for CUDA {built}, and torch for CUDA {cuda}"),
                fix: format!("install the {name} of the same CUDA as torch"),
                is_fatal: true,
            });
        }
    }
    found
}

/// Returns a version without what stands behind `+`.
fn public(version: &str) -> &str {
    version.split('+').next().unwrap_or(version)
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// Returns the major version of CUDA in a local version such as `2.9.1+cu129`.
fn cuda_of(version: &str) -> Option<u32> {
    let (_, local) = version.split_once('+')?;
    let digits: String = local
        .split('.')
        .find_map(|part| part.strip_prefix("cu"))?
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    // `cu129` is 12.9, `cu130` 13.0; a lone major version is `cu12`.
    digits.get(..2)?.parse().ok()
}

/// A text of a failed import, with its meaning.
struct Signature {
    /// Any of these is in the output.
    texts: &'static [&'static str],
    cause: &'static str,
    fix: &'static str,
}

/// The first that fits counts: special ones are first.
const SIGNATURES: &[Signature] = &[
    Signature {
        texts: &[
            "CUDA driver version is insufficient",
            "driver on your system is too old",
            "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        ],
        cause: "the NVIDIA driver is older than the CUDA that torch was built for",
        fix: "update the driver, or use an environment for an older CUDA (CUDA 13 needs R580, CUDA 12 R525)",
    },
    Signature {
        texts: &[
            "no kernel image is available for execution",
            "is not compatible with the current PyTorch installation",
        ],
        cause: "this torch has no kernels for the GPU's architecture",
        fix: "install a torch that is built for it: Blackwell needs CUDA 12.8 or newer",
    },
    Signature {
        texts: &[
            "No CUDA GPUs are available",
            "CUDA-capable device(s) is/are busy",
            "CUDA unknown error",
            "Found no NVIDIA driver",
        ],
        cause: "torch sees no GPU",
        fix: "nvidia-smi shows the GPUs; check CUDA_VISIBLE_DEVICES, and inside a container its --nv or --gpus option",
    },
    // #8654, #9173, #5100, #8373, #8432
    Signature {
        texts: &["undefined symbol"],
        cause: "the library was built for another version of torch or CUDA than the installed one",
        fix: "install the versions that this SGLang names together, in an environment of their own: uv pip install \"sglang==VERSION\"",
    },
    Signature {
        texts: &["GLIBCXX_", "CXXABI_"],
        cause: "the C++ library that was found is too old",
        fix: "conda install -c conda-forge libstdcxx-ng, or hand on its folder: --env LD_LIBRARY_PATH",
    },
    Signature {
        texts: &["GLIBC_2."],
        cause: "the C library of this system is older than the one that the wheel was built for",
        fix: "run inside a container with a newer system",
    },
    Signature {
        texts: &["libcuda.so.1: cannot open"],
        cause: "the driver's library libcuda.so.1 is not visible",
        fix: "inside Apptainer use --nv, inside Docker --gpus all; on the host install the driver's compute libraries",
    },
    Signature {
        texts: &[
            "libcudart.so",
            "libcublas.so",
            "libcudnn.so",
            "libnvrtc.so",
            "libcusparse",
            "libcufft",
            "libnvshmem",
        ],
        cause: "a library of CUDA that the wheel was built for is not found",
        fix: "install the packages of that CUDA version, or hand on where it is: --env LD_LIBRARY_PATH",
    },
    Signature {
        texts: &["libnuma.so.1: cannot open"],
        cause: "libnuma is not installed",
        fix: "apt-get install libnuma1, or conda install numactl",
    },
    Signature {
        texts: &["libibverbs.so.1: cannot open", "librdmacm.so.1: cannot open"],
        cause: "the libraries of RDMA are not installed",
        fix: "apt-get install libibverbs1 librdmacm1",
    },
    Signature {
        texts: &["flashinfer-cubin version", "flashinfer-jit-cache version"],
        cause: "the parts of FlashInfer have different versions",
        fix: "install flashinfer-python, flashinfer-cubin and flashinfer-jit-cache of one version",
    },
    Signature {
        texts: &[
            "Could not find nvcc",
            "nvcc: not found",
            "CUDA_HOME environment variable is not set",
            "No such file or directory: '/usr/local/cuda/bin/nvcc'",
        ],
        cause: "the CUDA compiler nvcc is not found, and kernels are compiled when they are first used",
        fix: "install the CUDA toolkit and hand on where it is: --env CUDA_HOME=/usr/local/cuda",
    },
    Signature {
        texts: &["Python.h: No such file", "Python.h' file not found"],
        cause: "the headers of Python are not installed, and kernels are compiled when they are first used",
        fix: "apt-get install python3-dev",
    },
    Signature {
        texts: &["Ninja is required", "ninja: not found"],
        cause: "ninja is not installed, and kernels are compiled when they are first used",
        fix: "pip install ninja",
    },
    Signature {
        texts: &[
            "Failed to find C compiler",
            "gcc: not found",
            "g++: not found",
            "cc1plus: No such",
        ],
        cause: "no C++ compiler is found, and kernels are compiled when they are first used",
        fix: "apt-get install g++, or name one: --env CC --env CXX",
    },
    // LLMFlux#124, proteinfold#463
    Signature {
        texts: &["Read-only file system", "[Errno 30]"],
        cause: "a cache is on a file system that cannot be written",
        fix: "name a writable folder: --env XDG_CACHE_HOME=/scratch/cache --env HOME=/scratch/home",
    },
    Signature {
        texts: &["Permission denied", "[Errno 13]"],
        cause: "a file or a cache belongs to another user",
        fix: "name a folder of your own: --env XDG_CACHE_HOME=/scratch/cache",
    },
    Signature {
        texts: &["No space left on device", "[Errno 28]"],
        cause: "a file system is full",
        fix: "df -h shows which one; --env XDG_CACHE_HOME names another folder for caches",
    },
    Signature {
        texts: &[
            "compiled using NumPy 1.x cannot be run in NumPy 2",
            "numpy.dtype size changed",
        ],
        cause: "a package was built for another major version of numpy",
        fix: "pip install \"numpy<2\", or newer versions of the package",
    },
    // #27654
    Signature {
        texts: &["from 'transformers", "No module named 'transformers."],
        cause: "this version of transformers is not the one that SGLang was written for",
        fix: "install the version that SGLang names: pip install \"sglang==VERSION\" changes it back",
    },
    Signature {
        texts: &["No module named"],
        cause: "a package is missing",
        fix: "install SGLang with its dependencies: pip install \"sglang[all]\" in this environment",
    },
    Signature {
        texts: &["cannot import name", "has no attribute"],
        cause: "two packages have versions that do not fit each other",
        fix: "install the versions that this SGLang names together, in an environment of their own",
    },
    Signature {
        texts: &["cannot open shared object file"],
        cause: "a library is not found",
        fix: "install it, or hand on where it is: --env LD_LIBRARY_PATH",
    },
    Signature {
        texts: &["cannot allocate memory in static TLS block"],
        cause: "too many libraries want thread-local memory",
        fix: "load the named library first: --env LD_PRELOAD=/path/to/library.so",
    },
    Signature {
        texts: &["signal: 4", "SIGILL"],
        cause: "a library uses instructions that this processor does not have",
        fix: "use a wheel for this processor",
    },
    Signature {
        texts: &["signal: 9"],
        cause: "the process was killed, most likely because memory ran out",
        fix: "free -h shows the memory of the host; a job's limit may be lower",
    },
];

/// Returns the cause and the fix of an import that failed, by its output; `None` for an output that is not known.
#[must_use]
pub fn meaning(output: &str) -> Option<(&'static str, &'static str)> {
    let fits = |one: &&Signature| one.texts.iter().any(|text| output.contains(text));
    SIGNATURES.iter().find(fits).map(|one| (one.cause, one.fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(packages: &[(&str, &str)], cuda: Option<&str>) -> Environment {
        Environment {
            packages: packages
                .iter()
                .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()))
                .collect(),
            cuda: cuda.map(str::to_owned),
            ..Environment::default()
        }
    }

    const WHOLE: [(&str, &str); 7] = [
        ("sglang", "0.5.19"),
        ("torch", "2.9.1+cu129"),
        ("triton", "3.5.0"),
        ("transformers", "5.1.0"),
        ("sglang-kernel", "0.4.6.post1+cu129"),
        ("flashinfer-python", "0.6.18"),
        ("flashinfer-cubin", "0.6.18"),
    ];

    fn with(changed: &[(&'static str, &'static str)], without: &str) -> Environment {
        let mut packages = WHOLE.to_vec();
        packages.retain(|(name, _)| *name != without && changed.iter().all(|(other, _)| other != name));
        packages.extend(changed);
        environment(&packages, Some("12.9"))
    }

    #[test]
    fn versions_that_fit_have_no_problem() {
        assert_eq!(problems(&with(&[], "")), Vec::new());
        assert_eq!(modules(&with(&[], "")).len(), 6);
        // On a CPU none of these packages is needed.
        assert_eq!(
            problems(&environment(&[("sglang", "0.5.23"), ("torch", "2.14.1")], None)),
            Vec::new()
        );
    }

    #[test]
    fn an_environment_without_torch_is_told() {
        // A venv of a venv with `--system-site-packages` does not see the first one's packages.
        let found = problems(&environment(&[("sglang", "0.5.16")], None));
        assert_eq!(found.len(), 1);
        assert!(found[0].is_fatal && found[0].text.contains("PyTorch is not installed"));
    }

    #[test]
    fn versions_that_do_not_fit_are_told_before_an_import() {
        for (changed, without, text, is_fatal) in [
            (
                &[][..],
                "sglang-kernel",
                "SGLang's kernels are not installed",
                true,
            ),
            (
                &[("flashinfer-cubin", "0.6.14")][..],
                "",
                "flashinfer-cubin is 0.6.14",
                true,
            ),
            (
                &[("flashinfer-jit-cache", "0.6.17+cu129")][..],
                "",
                "flashinfer-jit-cache is 0.6.17",
                true,
            ),
            (
                &[("sglang-kernel", "0.4.6+cu130")][..],
                "",
                "is built for CUDA 13",
                true,
            ),
            (&[("sgl-kernel", "0.3.9")][..], "", "are both installed", false),
            (&[][..], "flashinfer-python", "FlashInfer is not installed", false),
        ] {
            let found = problems(&with(changed, without));
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].text.contains(text), "{found:?}");
            assert_eq!(found[0].is_fatal, is_fatal, "{text}");
        }
    }

    #[test]
    fn a_failed_import_is_explained() {
        for (output, cause) in [
            (
                "ImportError: /opt/v/sgl_kernel/common_ops.abi3.so: undefined symbol: _ZN3c104cuda9SetDeviceEab",
                "built for another version of torch",
            ),
            (
                "RuntimeError: The NVIDIA driver on your system is too old (found version 12020).",
                "driver is older",
            ),
            (
                "OSError: libcudart.so.12: cannot open shared object file: No such file",
                "library of CUDA",
            ),
            (
                "ImportError: libnuma.so.1: cannot open shared object file",
                "libnuma",
            ),
            (
                "ImportError: libxyz.so.3: cannot open shared object file",
                "a library is not found",
            ),
            (
                "ImportError: /lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found",
                "C++ library",
            ),
            (
                "ImportError: /lib/libc.so.6: version `GLIBC_2.38' not found",
                "C library",
            ),
            (
                "ModuleNotFoundError: No module named 'torch'",
                "a package is missing",
            ),
            (
                "ImportError: cannot import name 'AutoVideoProcessor' from 'transformers' (/opt/v)",
                "version of transformers",
            ),
            (
                "OSError: [Errno 30] Read-only file system: '/root/.cache/flashinfer'",
                "cannot be written",
            ),
            (
                "RuntimeError: Could not find nvcc and default cuda_home='/usr/local/cuda' doesn't exist",
                "nvcc",
            ),
            ("OSError: CUDA_HOME environment variable is not set.", "nvcc"),
            ("RuntimeError: Ninja is required to load C++ extensions", "ninja"),
            (
                "fatal error: Python.h: No such file or directory",
                "headers of Python",
            ),
            (
                "torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device",
                "no kernels",
            ),
            ("RuntimeError: No CUDA GPUs are available", "sees no GPU"),
            (
                "ValueError: numpy.dtype size changed, may indicate binary incompatibility",
                "numpy",
            ),
            (
                "RuntimeError: flashinfer-cubin version (0.6.14) does not match flashinfer version (0.6.18)",
                "parts of FlashInfer",
            ),
        ] {
            let found = meaning(output).unwrap_or_else(|| panic!("{output}"));
            assert!(found.0.contains(cause), "{output}: {found:?}");
        }
        assert_eq!(meaning("AssertionError"), None);
    }

    #[test]
    fn the_cuda_of_a_wheel_is_in_its_local_version() {
        for (version, expected) in [
            ("2.9.1+cu129", Some(12)),
            ("2.11.0+cu130", Some(13)),
            ("0.6.18+cu12", Some(12)),
            ("0.4.6.post1", None),
            ("2.9.1+cpu", None),
        ] {
            assert_eq!(cuda_of(version), expected, "{version}");
        }
    }
}
