#!/usr/bin/env python3
"""Writes which variables the Python sources of SGLang name, by version.

    variables.py OUT WHEEL...

A WHEEL is the folder of an unpacked wheel, whose name is the version. OUT is variables.json here: a name and the spans of
its positions in `versions`. A name in a comment counts, so that a variable is never called unknown wrongly.
"""
import json
import pathlib
import re
import sys

NAME = re.compile(r"\bSGL(?:ANG)?_[A-Z0-9_]*[A-Z0-9]\b")


def order(version):
    """Versions as Python orders them: 0.4.10 before 0.4.10.post1."""
    return [int(number) for number in re.findall(r"\d+", version)]


def named(wheel):
    """The variables that a wheel names."""
    found = set()
    for path in pathlib.Path(wheel, "sglang").rglob("*.py"):
        found.update(NAME.findall(path.read_text(errors="replace")))
    return found


def main():
    out, *wheels = sys.argv[1:]
    tables = {pathlib.Path(wheel).name: named(wheel) for wheel in wheels}
    versions = sorted(tables, key=order)
    spans = {}
    for at, version in enumerate(versions):
        for name in tables[version]:
            known = spans.setdefault(name, [])
            if known and known[-1][1] == at - 1:
                known[-1][1] = at
            else:
                known.append([at, at])
    lines = ["%s: %s" % (json.dumps(name), json.dumps(spans[name])) for name in sorted(spans)]
    head = '{"schema": "dsr1.variables/1",\n "versions": %s,\n "variables": {\n' % json.dumps(versions)
    pathlib.Path(out).write_text(head + ",\n".join(lines) + "\n}}\n")


if __name__ == "__main__":
    main()
