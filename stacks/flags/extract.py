#!/usr/bin/env python3
"""Prints the options of SGLang's own parsers as JSON: what one version accepts, without its help texts.

    extract.py [--root DIR] [server|bench]
    extract.py [--root DIR] --lines '[["--port", "1"], ...]' accepts     what the server's parser says to each

DIR holds `sglang/`, as an unpacked wheel does; without it the installed package is read. SGLang's code runs
unchanged, so what is printed is the real parser. Packages that are not installed (torch, triton, ... beside a bare
wheel) are replaced by stand-ins that accept everything; inside an image nothing needs one. `stood_in` names them.

Standard library only: the same file runs in an image, in a venv and on a bare Python 3.11.
"""
import argparse
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import io
import json
import math
import os
import re
import runpy
import sys
import types
import warnings

# Optional packages whose absence SGLang handles itself: a stand-in would switch hardware support on.
ABSENT = set(
    "aiter decord deep_gemm habana_frameworks intel_extension_for_pytorch mlx modelopt mori sgl_kernel_npu torch_mlu "
    "torch_memory_saver torch_musa torch_npu torch_xla torchada torchao vllm".split()
)
ABSENT_ATTRIBUTES = {"torch.npu", "torch.musa", "torch.mlu", "torch.version.musa"}
# Modules of SGLang that only patch or call what is missing; nothing of theirs reaches a parser.
WITHOUT_TORCH = {
    "sglang.kernels.ops.attention.fla.chunk_delta_h",
    "sglang.srt.disaggregation.utils",
    "sglang.srt.hf_transformers_utils",
    "sglang.srt.layers.attention.fla.chunk_delta_h",
    "sglang.srt.model_executor.model_runner",
    "sglang.srt.utils.hf_transformers_patches",
    "sglang.srt.utils.hf_transformers_utils",
}
# Versions that SGLang compares with before it defines anything.
VERSIONS = {"torch": "2.9.1", "transformers": "5.3.0", "triton": "3.5.0"}


class Permissive(type):
    """Makes attributes of the class stand-ins too."""

    def __getattr__(cls, name):
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Anything()

    def __or__(cls, other):
        return cls

    def __ror__(cls, other):
        return cls


class Base:
    """What classes inherit from when their base is missing."""

    def __init__(self, *_, **named):
        self.__dict__.update(named)

    def __init_subclass__(cls, **_):
        pass

    def __class_getitem__(cls, _):
        return cls

    @classmethod
    def model_rebuild(cls, *_, **__):
        pass


class Anything(metaclass=Permissive):
    """A value that can be called, indexed, compared, subclassed and used as a decorator."""

    def __init__(self, *_, **__):
        pass

    def __getattr__(self, name):
        if name == "__version__":
            return "99.0.0"
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Anything()

    def __call__(self, *args, **named):
        if len(args) == 1 and not named and (inspect.isfunction(args[0]) or inspect.isclass(args[0])):
            return args[0]
        return Anything()

    def __mro_entries__(self, _):
        return (Base,)

    def __class_getitem__(cls, _):
        return cls

    def __hash__(self):
        return id(self)

    def __exit__(self, *_):
        return False

    def __iter__(self):
        return iter(())


def _always(value):
    return lambda self, *_: self if value is None else value


for _names, _value in [
    ("getitem enter or ror and add radd sub rsub mul rmul truediv rtruediv floordiv mod pow neg", None),
    ("bool contains lt gt", False),
    ("le ge", True),
    ("len int index", 0),
    ("float", 0.0),
    ("str repr fspath", "/nonexistent"),
]:
    for _name in _names.split():
        setattr(Anything, f"__{_name}__", _always(_value))
Anything.__setitem__ = lambda self, *_: None
Anything.__eq__ = lambda self, other: self is other

VALUES = {
    "dill.dumps": lambda *_, **__: b"",
    "importlib_metadata.version": lambda _: "99.0.0",
    "torch.Generator": Base,
    "torch.Tensor": Base,
    "torch.cuda.device_count": lambda: 0,
    "torch.cuda.is_available": lambda: False,
    "torch.device": Base,
    "torch.dtype": Base,
    "torch.nn.Module": Base,
    "torch.nn.Parameter": Base,
    "torch.version.cuda": None,
    "torch.version.hip": None,
    "torch.version.xpu": None,
}


class StandIn(types.ModuleType):
    """A module in place of one that is not installed."""

    def __init__(self, name):
        super().__init__(name)
        self.__path__ = []
        self.__all__ = []

    def __getattr__(self, name):
        if name == "__version__":
            return VERSIONS.get(self.__name__, "99.0.0")
        full = f"{self.__name__}.{name}"
        if full in ABSENT_ATTRIBUTES or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(full)
        return VALUES[full] if full in VALUES else Anything()


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Makes stand-ins: of everything that nobody else found, or of the given names only."""

    def __init__(self, only=None):
        self.only = only
        self.made = set()

    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if self.only is not None:
            wanted = name in self.only
        elif top == "sglang" or top in ABSENT or top in sys.stdlib_module_names:
            wanted = False
        else:
            # A package that is there keeps its own ImportError for what it lacks.
            wanted = path is None or isinstance(sys.modules.get(top), StandIn)
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if wanted else None

    def create_module(self, spec):
        self.made.add(spec.name.split(".")[0])
        return StandIn(spec.name)

    def exec_module(self, module):
        pass


def plain(value):
    """A default or a choice as JSON can hold it; what is computed at import has none."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (str, int, float, bool)) or value is None:
        return None if value is argparse.SUPPRESS else value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "value") and not isinstance(value, Anything):
        return plain(value.value)
    return str(value)


def option(action):
    """One option of a parser."""
    cls = type(action).__name__
    text = action.help if isinstance(action.help, str) else ""
    # A text that begins with the word is about this option; elsewhere the word is about another one.
    says_so = re.match(r"\W*deprecated", text, re.IGNORECASE) is not None
    replacement = getattr(action, "new_flag", None) or getattr(action, "error_message", None) or (text if says_so else "")
    rejects = False
    if cls == "DeprecatedAction":
        rejects = getattr(action, "error_message", None) is not None
        if not rejects:
            # 0.5.3 and 0.5.4 raise from the action itself.
            try:
                rejects = "raise ValueError" in inspect.getsource(type(action).__call__)
            except OSError:
                pass
    # The parser counts values by this, whatever the class is called.
    if action.nargs != 0:
        kind = "store"
    else:
        kind = "switch_pair" if cls == "BooleanOptionalAction" else "switch"
    choices = action.choices
    if isinstance(choices, (set, frozenset)):
        choices = sorted(choices, key=str)
    found = {"names": list(action.option_strings), "kind": kind}
    if kind == "store":
        found["type"] = getattr(action.type, "__name__", None) or "str"
    if action.nargs not in (None, 0):
        found["nargs"] = action.nargs
    if choices is not None:
        found["choices"] = [plain(choice) for choice in choices]
    default = plain(action.default)
    if default is not None and not (kind != "store" and default is False):
        found["default"] = default
    if action.required:
        found["required"] = True
    if cls.startswith("Deprecated") or says_so:
        found["deprecated"] = True
        flag = re.search(r"--[a-z][a-z0-9-]*\S*", replacement)
        if flag:
            found["replacement"] = flag.group(0).strip("`'\".,;()")
    if rejects:
        found["rejects"] = True
    return found


def options(parser):
    """All options of a parser, by name."""
    found = [option(action) for action in parser._actions if action.option_strings]
    return sorted((one for one in found if "--help" not in one["names"]), key=lambda one: one["names"])


def server():
    """The parser of `sglang.launch_server`."""
    from sglang.srt.server_args import ServerArgs

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    return parser


def bench():
    """The parser of the benchmark client: the script is run up to the point where it parses."""

    class Parsed(Exception):
        pass

    def stop(self, *_, **__):
        raise Parsed(self)

    argparse.ArgumentParser.parse_args = argparse.ArgumentParser.parse_known_args = stop
    try:
        new = importlib.util.find_spec("sglang.benchmark.serving")
    except ModuleNotFoundError:
        new = None
    # From 0.5.15 on the old name is a shim that parses nothing.
    name = "sglang.benchmark.serving" if new else "sglang.bench_serving"
    sys.argv = [name]
    try:
        runpy.run_module(name, run_name="__main__")
    except Parsed as parsed:
        return parsed.args[0]
    raise SystemExit(f"{name} did not parse its arguments")


def version(root):
    """The version of SGLang, as its package metadata has it."""
    from importlib import metadata

    found = list(metadata.distributions(name="sglang", path=[root] if root else sys.path))
    if not found:
        raise SystemExit("no sglang here")
    return found[0].version


def complaint(parser, line):
    """What the parser says to a command line; None when it takes it."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parser.parse_args(line)
    except SystemExit as end:
        return None if end.code in (0, None) else said.getvalue().strip().splitlines()[-1]
    except Exception as error:  # actions of 0.5.3 and 0.5.4 raise
        return f"{type(error).__name__}: {error}"
    return None


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--root")
    arguments.add_argument("what", nargs="?", default="server", choices=["server", "bench", "accepts"])
    arguments.add_argument("--lines", type=json.loads, default=[])
    asked = arguments.parse_args()
    if asked.root:
        sys.path.insert(0, asked.root)
    warnings.filterwarnings("ignore")
    # Imports print what they like; only the result may be on standard output.
    out, sys.stdout = os.fdopen(os.dup(1), "w"), io.StringIO()
    os.dup2(2, 1)
    last = Finder()
    # Where SGLang can run, nothing is replaced: what is optional there is absent on purpose.
    if importlib.util.find_spec("torch") is None:
        sys.meta_path.insert(0, Finder(WITHOUT_TORCH))
        sys.meta_path.append(last)
    number = version(asked.root)
    if asked.what == "accepts":
        parser = server()
        said = [complaint(parser, line) for line in asked.lines]
        print(json.dumps({"schema": "dsr1.accepts/1", "sglang": number, "complaints": said}), file=out)
        return
    parser = {"server": server, "bench": bench}[asked.what]()
    head = {
        "schema": "dsr1.flags/1",
        "sglang": number,
        "parser": asked.what,
        "stood_in": sorted(last.made),
    }
    # One option to a line: what reads the output line by line may cut long ones.
    rows = ",\n".join(json.dumps(one, separators=(",", ":")) for one in options(parser))
    out.write(f'{json.dumps(head)[:-1]}, "options": [\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
