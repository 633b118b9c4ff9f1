"""Prints the metrics that the sources of an SGLang wheel define, as JSON: for each name its kinds and the texts of its labels.

A metric is a call of a class of prometheus_client, or of a wrapper of one, whose name begins with `sglang:`. Nothing of
SGLang is imported.
"""

import ast
import json
import sys
from pathlib import Path

KINDS = {"Counter": "counter", "Gauge": "gauge", "Histogram": "histogram", "GaugeHistogram": "other", "Summary": "other"}


def text_of(node):
    """Returns the text of a constant, else None."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def main():
    root = Path(sys.argv[1]) / "sglang" / "srt"
    found = {}
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "sglang:" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.Call):
                continue
            callee = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            kind = next((kind for name, kind in KINDS.items() if callee.strip("_").endswith(name)), None)
            named = {word.arg: word.value for word in node.keywords}
            name = text_of(named.get("name")) or (text_of(node.args[0]) if node.args else None)
            if kind is None or not name or not name.startswith("sglang:"):
                continue
            # prometheus_client exports each counter with this ending.
            if kind == "counter" and not name.endswith("_total"):
                name += "_total"
            labels = named.get("labelnames") or (node.args[2] if len(node.args) > 2 else None)
            one = found.setdefault(name, {"kinds": [], "labels": ""})
            one["kinds"] = sorted({*one["kinds"], kind})
            one["labels"] += ast.unparse(labels) if labels is not None else ""
    json.dump(found, sys.stdout, sort_keys=True)


main()
