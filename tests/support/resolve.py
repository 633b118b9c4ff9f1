#!/usr/bin/env python3
"""Runs stacks/flags/resolve.py with packages that are newer than the SGLang that is asked.

    resolve.py ARGUMENT...

Old versions register configurations that transformers has by now, and ask a function of torch that is gone. The product asks
an engine with its own packages, and needs none of this.
"""
import pathlib
import runpy
import sys

import torch
import transformers

if not hasattr(torch._C._cpu, "_is_amx_tile_supported"):
    torch._C._cpu._is_amx_tile_supported = lambda: False
register = transformers.AutoConfig.register
transformers.AutoConfig.register = staticmethod(lambda *args, **kw: register(*args, **{**kw, "exist_ok": True}))
runpy.run_path(str(pathlib.Path(__file__).parents[2] / "stacks/flags/resolve.py"), run_name="__main__")
