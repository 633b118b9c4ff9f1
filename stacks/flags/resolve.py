#!/usr/bin/env python3
"""Prints as JSON what SGLang makes of command lines after its parser has read them: the arguments that it would run with,
or its refusal.

    resolve.py [--root DIR] --request JSON|@FILE

The request: {"machines": [machine, ...]}, and a machine: {"gpu": {"name", "capability": [9, 0], "memory_mib", "count"} or
null for a CPU, "files": {name: text}, "lines": [[word, ...], ...]}. "files" are those of the model's folder that the
resolution reads (config.json, hf_quant_config.json); `{model}` in a line stands for that folder. DIR holds `sglang/`, as an
unpacked wheel does; without it the installed package is asked.

SGLang's own code runs, unchanged. The GPU is that of the request, not of this machine: torch and SGLang are told its name,
its compute capability and its memory. Packages of kernels that are not installed, or that cannot be loaded without a
driver, have stand-ins, which `stood_in` names. Each line is resolved in a child of its own, because the resolution sets
variables of the environment; each machine too, because SGLang remembers what it found out about the GPU.

Nothing is fetched, and no code of a model runs: the code that a configuration names is left out of it. An answer is
{"resolved": arguments}, {"refused": reason}, or {"failed": error} if it says nothing about the engine.
"""
import argparse
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import io
import json
import os
import pathlib
import sys
import tempfile
import types
import warnings

# Packages of kernels and of optional parts. Nothing of theirs decides an argument.
KERNELS = set(
    "cuda deep_ep deep_gemm decord flash_mla flashinfer llguidance modelscope numba orjson outlines partial_json_parser "
    "pynvml setproctitle sgl_kernel tilelang torch_memory_saver xgrammar".split()
)
# Functions of SGLang that ask the machine, by name: each module that has one gets the answer of the request.
MEMORY = ("get_device_memory_capacity", "get_gpu_memory_capacity", "get_nvgpu_memory_capacity")


# The errors with which SGLang refuses arguments. Any other is one of this program or of its stand-ins.
REFUSALS = (ValueError, AssertionError, NotImplementedError, RuntimeError, TypeError)


class Anything:
    """A value that can be called, and whose attributes are such values; it is false and equal to nothing."""

    def __init__(self, *_, **__):
        pass

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()

    def __call__(self, *_, **__):
        return Anything()

    def __mro_entries__(self, _):
        return ()

    def __bool__(self):
        return False

    def __iter__(self):
        return iter(())


class StandIn(types.ModuleType):
    """A module in place of one that cannot be imported."""

    def __init__(self, name):
        super().__init__(name)
        self.__path__ = []
        self.__version__ = "99.0.0"

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes stand-ins of the packages of kernels that nobody else found."""

    def __init__(self):
        self.made = set()

    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top in KERNELS and (name == top or isinstance(sys.modules.get(top), StandIn)):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        self.made.add(spec.name.split(".")[0])
        return StandIn(spec.name)

    def exec_module(self, module):
        pass


def replace_what_cannot_load(finder):
    """Puts stand-ins in place of installed kernels that need a driver: their import raises without one."""
    for name in sorted(KERNELS):
        if importlib.machinery.PathFinder.find_spec(name) is None:
            continue
        try:
            importlib.import_module(name)
        except Exception:
            for known in [known for known in sys.modules if known.split(".")[0] == name]:
                del sys.modules[known]
            sys.modules[name] = finder.create_module(importlib.machinery.ModuleSpec(name, finder))


def pass_over_missing_operators():
    """Lets SGLang describe operators of kernels that have stand-ins: torch refuses it for operators that are not there."""
    import torch

    original = torch.library.register_fake

    def register_fake(operator, function=None, **options):
        def register(described):
            with contextlib.suppress(RuntimeError):
                original(operator, described, **options)
            return described

        return register if function is None else register(function)

    torch.library.register_fake = register_fake


def describe(gpu):
    """Tells torch about the GPU."""
    import torch

    capability, memory = tuple(gpu["capability"]), gpu["memory_mib"] << 20
    properties = types.SimpleNamespace(
        name=gpu["name"], total_memory=memory, major=capability[0], minor=capability[1], multi_processor_count=132
    )
    answers = {
        "is_available": True,
        "is_initialized": False,
        "device_count": gpu["count"],
        "current_device": 0,
        "get_device_capability": capability,
        "get_device_properties": properties,
        "get_device_name": gpu["name"],
        "mem_get_info": (memory, memory),
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)


def describe_to_sglang(gpu):
    """Tells the modules of SGLang that were imported so far."""
    answers = {name: gpu["memory_mib"] for name in MEMORY} | {"get_device": "cuda"}
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("sglang"):
            for name, answer in answers.items():
                if callable(getattr(module, name, None)):
                    setattr(module, name, lambda *_, answer=answer, **__: answer)


def plain(value):
    """A value as JSON can hold it."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "__struct_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if hasattr(value, "value"):
        return plain(value.value)
    return str(value)


def resolved(server_args, line):
    """The arguments that SGLang makes of a line, or its refusal."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            arguments = server_args.prepare_server_args(line)
            # From 0.5.20 on an object is made without being resolved.
            if hasattr(arguments, "resolve_once"):
                arguments.resolve_once()
            # The engine asks this as the first thing after the resolution.
            arguments.check_server_args()
            values = arguments.resolved_dict() if hasattr(arguments, "resolved_dict") else vars(arguments)
            return {"resolved": plain(values)}
    except SystemExit:
        lines = said.getvalue().strip().splitlines()
        return {"refused": lines[-1] if lines else "the parser ended"}
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
        refused = isinstance(error, REFUSALS) and "Anything" not in text and "StandIn" not in text
        return {"refused" if refused else "failed": text}


def without_code(name, content):
    """A file of the model's folder without the code that it names, which is neither here nor needed."""
    if name != "config.json":
        return content
    config = json.loads(content)
    config.pop("auto_map", None)
    return json.dumps(config)


def in_child(work):
    """The result of a function that a child calls."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            result = json.dumps(work())
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
        with os.fdopen(writer, "w") as pipe:
            pipe.write(result)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else None


def answers(machine, finder):
    """The answers to all lines of a machine, and the names of the stand-ins."""
    gpu = machine["gpu"]
    if gpu:
        describe(gpu)
    from sglang.srt import server_args

    if gpu:
        describe_to_sglang(gpu)
    found = []

    def one(line):
        known = set(sys.modules)
        answer = resolved(server_args, line)
        return [answer, [name for name in sys.modules if name not in known]]

    with tempfile.TemporaryDirectory() as folder:
        for name, content in machine["files"].items():
            pathlib.Path(folder, name).write_text(without_code(name, content))
        for line in machine["lines"]:
            words = [word.replace("{model}", folder) for word in line]
            answer, new = in_child(lambda: one(words)) or [{"failed": "SGLang ended without an answer"}, []]
            found.append(json.loads(json.dumps(answer).replace(folder, "{model}")))
            # What one child imported, the next need not.
            for name in new:
                with contextlib.suppress(BaseException):
                    importlib.import_module(name)
            if gpu and new:
                describe_to_sglang(gpu)
    return [found, sorted(finder.made)]


def main():
    asked = argparse.ArgumentParser()
    asked.add_argument("--root")
    asked.add_argument("--request", required=True)
    asked = asked.parse_args()
    text = asked.request
    request = json.loads(pathlib.Path(text[1:]).read_text() if text.startswith("@") else text)
    if asked.root:
        sys.path.insert(0, asked.root)
    warnings.filterwarnings("ignore")
    # Imports print what they like; only the result may be on standard output.
    out, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    os.dup2(2, 1)
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    finder = Finder()
    sys.meta_path.append(finder)
    replace_what_cannot_load(finder)
    # Most of the time goes into these imports; all machines share them.
    for name in ("torch", "transformers"):
        importlib.import_module(name)
    pass_over_missing_operators()
    machines, stood_in = [], set()
    for machine in request["machines"]:
        result = in_child(lambda: answers(machine, finder))
        if result is None:
            sys.exit("SGLang could not be asked; its error is above")
        machines.append(result[0])
        stood_in.update(result[1])
    found = list(importlib.metadata.distributions(name="sglang", path=[asked.root] if asked.root else sys.path))
    head = {
        "schema": "dsr1.resolved/1",
        "sglang": found[0].version if found else "",
        "stood_in": sorted(stood_in),
        "machines": machines,
    }
    print(json.dumps(head), file=out, flush=True)


if __name__ == "__main__":
    main()
