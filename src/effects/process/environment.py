"""Prints the packages of a Python environment as JSON, without importing any of them."""
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
import sysconfig


def cuda_of_torch():
    found = importlib.util.find_spec("torch")
    if found is None or not found.origin:
        return None
    path = os.path.join(os.path.dirname(found.origin), "version.py")
    try:
        with open(path, encoding="utf-8") as file:
            match = re.search(r"^cuda\s*(?::[^=]*)?=\s*['\"]([^'\"]+)['\"]", file.read(), re.MULTILINE)
    except OSError:
        return None
    return match.group(1) if match else None


packages, rows = {}, []
for found in importlib.metadata.distributions():
    name = re.sub(r"[-_.]+", "-", found.metadata["Name"] or "").lower()
    # Of two copies Python imports the one that is first on its path.
    if not name or name in packages:
        continue
    version = found.version or ""
    packages[name] = version
    files = hashlib.sha256((found.read_text("RECORD") or "").encode()).hexdigest()
    rows.append(f"{name}=={version} {files}\n")
rows.sort()
seal = hashlib.sha256((sys.version + "\n" + "".join(rows)).encode()).hexdigest()
print(
    json.dumps(
        {
            "version": ".".join(map(str, sys.version_info[:3])),
            "packages": packages,
            "cuda": cuda_of_torch(),
            "sha256": seal,
            "headers": os.path.isfile(os.path.join(sysconfig.get_path("include") or "", "Python.h")),
        }
    )
)
