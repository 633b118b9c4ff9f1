"""Puts command lines to SGLang's own parser: what the tests hold our reading of them against.

    parse.py WHEEL_DIR server|bench < lines.json     [[word, ...], ...] -> [null or the parser's complaint, ...]
    parse.py WHEEL_DIR mentions < names.json         [name, ...] -> [whether a Python file of SGLang has it, ...]

WHEEL_DIR is an unpacked wheel; nothing else of SGLang is installed (see stacks/flags/extract.py, whose stand-ins are
used).
"""
import contextlib
import importlib.util
import io
import json
import pathlib
import re
import sys
import warnings

sys.dont_write_bytecode = True
here = pathlib.Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("extract", here.parent.parent / "stacks/flags/extract.py")
extract = importlib.util.module_from_spec(spec)
spec.loader.exec_module(extract)


def mentions(root, names):
    words = set()
    for path in pathlib.Path(root, "sglang").rglob("*.py"):
        words.update(re.findall(r"\bSGL(?:ANG)?_\w+", path.read_text(errors="replace")))
    return [name in words for name in names]


def complaint(parser, parse_args, line):
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parse_args(parser, line)
    except SystemExit as end:
        return None if end.code in (0, None) else said.getvalue().strip().splitlines()[-1]
    except Exception as error:  # actions of 0.5.3 and 0.5.4 raise
        return f"{type(error).__name__}: {error}"
    return None


def main():
    root, what = sys.argv[1:]
    asked = json.load(sys.stdin)
    if what == "mentions":
        return json.dump(mentions(root, asked), sys.stdout)
    import argparse

    parse_args = argparse.ArgumentParser.parse_args
    sys.path.insert(0, root)
    warnings.filterwarnings("ignore")
    sys.meta_path.insert(0, extract.Finder(extract.WITHOUT_TORCH))
    sys.meta_path.append(extract.Finder())
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        parser = {"server": extract.server, "bench": extract.bench}[what]()
        # The client's parser was caught by replacing these.
        argparse.ArgumentParser.parse_args = parse_args
        argparse.ArgumentParser.parse_known_args = KNOWN
        answers = [complaint(parser, parse_args, line) for line in asked]
    json.dump(answers, out)


import argparse as _argparse  # noqa: E402

KNOWN = _argparse.ArgumentParser.parse_known_args

if __name__ == "__main__":
    main()
