#!/usr/bin/env python3
"""Adds tables of extract.py to a history: which option looked how in which versions.

    fold.py HISTORY TABLE...

HISTORY is server.json or bench.json here; it is made when it does not exist. A table of a version that the history
has replaces what it said of that version. An option that looks the same in neighbouring versions is stored once,
with the span of their positions in `versions`, so every table can be read back exactly.
"""
import json
import pathlib
import re
import sys


def order(version):
    """Versions as Python orders them: 0.4.10 before 0.4.10.post1."""
    return [int(number) for number in re.findall(r"\d+", version)]


def unfolded(history):
    """The tables of a history, by version."""
    tables = {version: [] for version in history["versions"]}
    for look, spans in history["options"]:
        for first, last in spans:
            for version in history["versions"][first : last + 1]:
                tables[version].append(look)
    return tables


def folded(parser, tables):
    """The history of tables."""
    versions = sorted(tables, key=order)
    looks = {}
    for at, version in enumerate(versions):
        for look in tables[version]:
            _, spans = looks.setdefault(json.dumps(look, sort_keys=True), (look, []))
            if spans and spans[-1][1] == at - 1:
                spans[-1][1] = at
            else:
                spans.append([at, at])
    options = sorted(looks.values(), key=lambda entry: (entry[0]["names"], entry[1]))
    return {"schema": "dsr1.flag-history/1", "parser": parser, "versions": versions, "options": options}


def main():
    path = pathlib.Path(sys.argv[1])
    tables = unfolded(json.loads(path.read_text())) if path.exists() else {}
    parser = path.stem
    for name in sys.argv[2:]:
        table = json.loads(pathlib.Path(name).read_text())
        if table["schema"] != "dsr1.flags/1" or table["parser"] != parser:
            raise SystemExit(f"{name} is no table of the {parser} parser")
        tables[table["sglang"]] = table["options"]
    history = folded(parser, tables)
    options = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in history.pop("options"))
    head = json.dumps(history, separators=(",", ":"))[:-1]
    path.write_text(f'{head},"options":[\n{options}\n]}}\n')


if __name__ == "__main__":
    main()
