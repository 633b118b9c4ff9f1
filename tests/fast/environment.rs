//! Engines in an environment of the user: `--python` and `--env`.

use std::fs;

use crate::support::{Home, Run};

/// A folder with packages that are only metadata and empty modules, as a Python finds them by `PYTHONPATH`.
struct Site {
    home: Home,
}

impl Site {
    fn new(packages: &[(&str, &str)]) -> Self {
        let site = Self {
            home: Home::new().without_docker(),
        };
        for (name, version) in packages {
            let info = site.path(&format!("{}-{version}.dist-info", name.replace('-', "_")));
            fs::create_dir_all(&info).unwrap();
            let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
            fs::write(format!("{info}/METADATA"), metadata).unwrap();
            fs::write(format!("{info}/RECORD"), format!("{name}/__init__.py,,\n")).unwrap();
        }
        site
    }

    fn path(&self, name: &str) -> String {
        self.home
            .path()
            .join("site")
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// Writes a module.
    fn module(&self, name: &str, text: &str) {
        let path = self.path(&format!("{}/__init__.py", name.replace('.', "/")));
        fs::create_dir_all(path.trim_end_matches("/__init__.py")).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs a command with the environment of these packages.
    fn run(&self, args: &[&str]) -> Run {
        let variable = format!("PYTHONPATH={}", self.path(""));
        let mut all = args.to_vec();
        all.extend(["--python", "python3", "--env", &variable]);
        self.home.run(&all)
    }
}

/// Returns the step of a plan in JSON that has this name.
fn step_of<'a>(plan: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let mut steps = plan["steps"].as_array().unwrap().iter();
    steps.find(|step| step["step"] == name).unwrap()
}

const GPU_PACKAGES: [(&str, &str); 5] = [
    ("sglang", "0.5.16"),
    ("torch", "2.11.0+cu130"),
    ("sglang-kernel", "0.4.5"),
    ("flashinfer-python", "0.6.14"),
    ("flashinfer-cubin", "0.6.14"),
];

fn gpu_site() -> Site {
    let site = Site::new(&GPU_PACKAGES);
    site.module("torch", "");
    fs::write(
        site.path("torch/version.py"),
        "__version__ = '2.11.0+cu130'\ncuda: Optional[str] = '13.0'\n",
    )
    .unwrap();
    site
}

#[test]
fn an_environment_is_a_stack_of_its_own_in_a_plan() {
    let site = gpu_site();
    let plan = site.run(&["plan", "h200-fp8-high-throughput"]).expect(3);
    let words = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in [
        "SGLang 0.5.16, FlashInfer 0.6.14, CUDA 13.0",
        "stack found",
        "check the environment of /",
    ] {
        assert!(words.contains(text), "no `{text}`:\n{words}");
    }
    let json = site
        .run(&["plan", "h200-fp8-high-throughput", "--format", "json"])
        .expect(3)
        .json();
    let check = step_of(&json, "check_environment");
    assert_eq!(check["sglang"], "0.5.16");
    assert_eq!(
        check["modules"],
        serde_json::json!([
            "torch",
            "sgl_kernel",
            "flashinfer",
            "sglang.srt.entrypoints.http_server"
        ])
    );
    assert!(check["variables"]["PATH"].as_str().unwrap().contains("/bin:"));
    let start = step_of(&json, "start_process");
    assert!(start["env"]["PYTHONPATH"].as_str().unwrap().ends_with("/site/"));
    assert_eq!(start["argv"][1], "-m");
}

#[test]
fn an_environment_without_sglang_is_refused_at_once() {
    let site = Site::new(&[("torch", "2.11.0")]);
    let run = site.run(&["serve", "rehearsal"]).expect(3);
    assert!(run.stderr.contains("cannot run the engine"), "{}", run.stderr);
    assert!(
        run.stderr.contains("SGLang is not installed for it"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("--python PATH"), "{}", run.stderr);
}

#[test]
fn a_python_that_is_none_is_refused_with_its_path() {
    let home = Home::new().without_docker();
    let run = home
        .run(&["serve", "rehearsal", "--python", "/nonexistent/python3"])
        .expect(2);
    assert!(
        run.stderr
            .contains("there is no Python at `/nonexistent/python3`"),
        "{}",
        run.stderr
    );
    let run = home
        .run(&["serve", "rehearsal", "--python", "/bin/true"])
        .expect(3);
    assert!(
        run.stderr.contains("`/bin/true` does not list its packages"),
        "{}",
        run.stderr
    );
}

#[test]
fn options_that_contradict_an_environment_are_refused() {
    let site = gpu_site();
    for (args, text) in [
        (
            &["serve", "rehearsal", "--runtime", "docker"][..],
            "--python and --runtime docker contradict each other",
        ),
        (
            &["serve", "rehearsal", "--stack", "cpu"][..],
            "--stack cpu and --python name two engines",
        ),
        (
            &["serve", "rehearsal", "--env", "NOT_SET_ANYWHERE"][..],
            "$NOT_SET_ANYWHERE is not set in this shell",
        ),
        (
            &["serve", "rehearsal", "--env", "1=2"][..],
            "`1=2` is not a variable for the engine",
        ),
    ] {
        let run = site.run(args).expect(2);
        assert!(run.stderr.contains(text), "no `{text}`:\n{}", run.stderr);
    }
}

#[test]
fn the_doctor_imports_what_the_engine_needs_and_explains_a_failure() {
    let site = Site::new(&[("sglang", "0.5.23"), ("torch", "2.14.1")]);
    site.module("torch", "class version:\n    cuda = None\n");
    for package in ["sglang", "sglang.srt", "sglang.srt.entrypoints"] {
        site.module(package, "");
    }
    let server = "sglang.srt.entrypoints.http_server";
    site.module(
        server,
        "raise ImportError('/x/sgl_kernel/ops.so: undefined symbol: _ZN3c10')\n",
    );
    let run = site.run(&["doctor", "rehearsal", "--port", "31997"]).expect(3);
    for text in [
        "SGLang 0.5.23 without CUDA, ",
        "cannot be imported",
        "built for another version of torch or CUDA",
        "failed checks: environment.imports",
    ] {
        let all = format!("{}{}", run.stdout, run.stderr)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(all.contains(text), "no `{text}`:\n{all}");
    }
    assert!(!run.stdout.contains("Docker"), "{}", run.stdout);
    site.module(server, "");
    let json = site.run(&["doctor", "rehearsal", "--format", "json"]).json();
    let imports = json["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["id"] == "environment.imports")
        .unwrap();
    assert_eq!(imports["verdict"], "ok");
    // What passed is not imported again, until a package changes.
    site.module(
        server,
        "raise ImportError('libnuma.so.1: cannot open shared object file')\n",
    );
    let again = site.run(&["doctor", "rehearsal", "--port", "31997"]);
    assert!(again.stdout.contains("by an earlier check"), "{}", again.stdout);
    fs::write(site.path("torch-2.14.1.dist-info/RECORD"), "other\n").unwrap();
    let changed = site.run(&["doctor", "rehearsal", "--port", "31997"]).expect(3);
    assert!(changed.stdout.contains("libnuma"), "{}", changed.stdout);
}

#[test]
fn versions_that_do_not_fit_are_told_without_an_import() {
    let mut packages = GPU_PACKAGES.to_vec();
    packages[4].1 = "0.6.10";
    let site = Site::new(&packages);
    site.module("torch", "");
    fs::write(site.path("torch/version.py"), "cuda = '13.0'\n").unwrap();
    let run = site.run(&["doctor", "h200-fp8-high-throughput"]).expect(3);
    let all = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        all.contains("flashinfer-python is 0.6.14, and flashinfer-cubin is 0.6.10"),
        "{all}"
    );
    assert!(all.contains("pip install flashinfer-cubin==0.6.14"), "{all}");
}

/// PyTorch from the package index is built for CUDA: the profile decides which device is used.
#[test]
fn a_profile_for_a_processor_runs_in_an_environment_for_gpus() {
    let site = Site::new(&[
        ("sglang", "0.5.23"),
        ("torch", "2.14.1"),
        ("flashinfer-python", "0.7.2"),
        ("flashinfer-cubin", "0.7.1"),
    ]);
    site.module("torch", "");
    fs::write(site.path("torch/version.py"), "cuda: Optional[str] = '13.0'\n").unwrap();
    let json = site
        .run(&["plan", "rehearsal", "--port", "31997", "--format", "json"])
        .expect(0)
        .json();
    let check = step_of(&json, "check_environment");
    assert_eq!(check["on_cpu"], true);
    assert_eq!(
        check["modules"],
        serde_json::json!(["torch", "sglang.srt.entrypoints.http_server"])
    );
}

/// Variables of the shell that decide the GPUs and the libraries of a process are in the plan.
#[test]
fn the_shells_choice_of_gpus_and_libraries_is_in_the_plan() {
    let site = gpu_site();
    let variable = format!("PYTHONPATH={}", site.path(""));
    let mut command = site.home.command(&[
        "plan",
        "h200-fp8-high-throughput",
        "--format",
        "json",
        "--python",
        "python3",
        "--env",
        &variable,
    ]);
    command
        .env("CUDA_VISIBLE_DEVICES", "0,1")
        .env("LD_LIBRARY_PATH", "/opt/cuda/lib64");
    let run = Run::from(command.output().unwrap()).expect(3);
    let json = run.json();
    let start = step_of(&json, "start_process");
    assert_eq!(start["env"]["CUDA_VISIBLE_DEVICES"], "0,1");
    assert_eq!(start["env"]["LD_LIBRARY_PATH"], "/opt/cuda/lib64");
}

/// A folder for compiled kernels that cannot be written to ends every start: doctor says so, and a start is refused.
#[test]
fn a_cache_that_cannot_be_written_is_told_before_the_start() {
    let site = gpu_site();
    let doctor = site
        .run(&[
            "doctor",
            "h200-fp8-high-throughput",
            "--env",
            "XDG_CACHE_HOME=/proc/version/cache",
        ])
        .expect(3);
    let text = doctor.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("may not write to /proc/version/cache"), "{text}");
    assert!(text.contains("--env XDG_CACHE_HOME=PATH"), "{text}");
    assert!(text.contains("process.open_files"), "{text}");
    let serve = site
        .run(&[
            "plan",
            "h200-fp8-high-throughput",
            "--env",
            "XDG_CACHE_HOME=/proc/version/cache",
        ])
        .expect(3);
    let text = serve.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("cannot run as a process"), "{text}{}", serve.stderr);
}

/// The environment that is active in the shell is named where a GPU stack cannot run, ready to be copied.
#[test]
fn the_active_environment_is_named_where_it_helps() {
    let home = Home::new().without_docker();
    let bin = home.path().join("env/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(bin.join("python3"), "").unwrap();
    let python = bin.join("python3");
    let option = format!("--python {} (the active environment)", python.display());
    for args in [
        &["plan", "--profile", "high-throughput", "--fp8"][..],
        &[
            "plan",
            "--profile",
            "high-throughput",
            "--fp8",
            "--runtime",
            "process",
        ],
    ] {
        let mut command = home.command(args);
        command.env("VIRTUAL_ENV", home.path().join("env"));
        let run = Run::from(command.output().unwrap());
        let text = format!("{}{}", run.stdout, run.stderr);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(&option), "no `{option}`:\n{text}");
    }
}
