"""Imports the module that is named, as the engine will, and says how long it took. For torch on `cuda`, also uses the GPU."""
import importlib
import json
import sys
import time

begun = time.monotonic()
module = importlib.import_module(sys.argv[1])
if sys.argv[1] == "torch" and sys.argv[2] == "cuda" and module.version.cuda:
    # An operation, because a driver that is too old and an architecture without kernels show only then.
    module.zeros(1, device="cuda").add_(1).item()
print(json.dumps({"ms": round((time.monotonic() - begun) * 1000)}))
