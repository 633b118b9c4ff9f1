"""Stands in for SGLang's benchmark client: it prints, and goes on until it is ended."""
import time

print("Starting initial single prompt test run...", flush=True)
time.sleep(600)
