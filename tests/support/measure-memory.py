#!/usr/bin/env python3
"""Measures the GPU memory of a real SGLang server, run after run, and writes one JSON object a run.

    python3 measure-memory.py run --queue QUEUE.jsonl --models DIR --out OUT [--follow SECONDS] [--prestart N]
        [--gpus 0,1] [--port P] [--wait SECONDS] [--until EPOCH]
    python3 measure-memory.py collect --out OUT --json RESULT.json --date YYYY-MM-DD [--models-are TEXT] [--note TEXT ...]

The interpreter must see SGLang (0.5.16 was measured), torch, psutil and nvidia-ml-py; the environment given here is
the environment of the engine. Each line of the queue is a run, for example

    {"id": "triton-base", "varied": "base"}
    {"id": "chunk-16384", "varied": "chunked prefill 16384", "set": {"chunked-prefill-size": 16384}}

`set` changes flags of BASE below (null takes a flag away, true is a flag without a value); `model` names a folder
below --models (default "r12"); `env` adds variables; `concurrency` is the number of requests sent at once (default:
max-running-requests, at most 256); `phases` replaces the load, see `phases_of`; `prestart: false` keeps the imports of
this run from starting early. A run whose result is
there already is left out. With --follow the queue may still grow: the runner waits so long for a new line.

To save time the next engines (--prestart) are started while the one before them is still serving: they import, and
their worker processes wait at a gate before they touch the GPU. The gate opens when the engine before is gone and the GPU's memory in use is
back where it was. `prestarted` says so, and `seconds_to_ready` then counts from the gate.

Load: each phase is one POST to /generate with a list of `input_ids`, random token ids, `ignore_eos`, temperature 0.
In each worker process a thread reads torch's allocator every 50 ms and resets its peaks when the phase changes.
Memory in use is NVML's (version 2 of its structure, the figure of nvidia-smi), read every 0.1 s.
"GB" in SGLang's log is 2**30 bytes, so those figures are named gib.
"""
import argparse, glob, gzip, http.client, json, os, random, re, signal, subprocess, sys, threading, time

BASE = {
    "attention-backend": "triton", "chunked-prefill-size": 8192, "max-running-requests": 256,
    "mem-fraction-static": 0.80, "tp-size": 1, "trust-remote-code": True, "random-seed": 1, "decode-log-interval": 8,
}
BASE_ENV = {"SGLANG_ENABLE_JIT_DEEPGEMM": "0", "NCCL_NVLS_ENABLE": "0", "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
            "NVSHMEM_DISABLE_NVLS": "1"}
SHOWN_ENV = ("CUDA_VISIBLE_DEVICES", "PYTHONPATH", "CUDA_HOME", "LD_LIBRARY_PATH", *BASE_ENV)
MIB = 1 << 20


# ---------------------------------------------------------------- inside the engine
def worker_hook():
    """Runs in every process the engine spawns, before its target is known: imports, waits at the gate, watches torch."""
    import sglang.srt.managers.scheduler  # noqa: F401  the slow imports, before the gate
    gate = os.environ["MEASURE_GATE"]
    while not os.path.exists(gate):
        time.sleep(0.05)
    threading.Thread(target=watch_torch, args=(os.environ["MEASURE_STATS"],), daemon=True).start()


def watch_torch(folder):
    import torch
    path, phase = f"{folder}/stats-{os.getpid()}.json", None
    while True:
        time.sleep(0.05)
        if not torch.cuda.is_initialized():
            continue
        try:
            stats = [(torch.cuda.memory_stats(i), i) for i in range(torch.cuda.device_count())]
            stats, device = max(((s, i) for s, i in stats if s), key=lambda p: p[0]["reserved_bytes.all.current"])
            with open(folder + "/phase") as f:
                now = f.read()
            if now != phase:
                phase = now
                torch.cuda.reset_peak_memory_stats(device)
                stats = torch.cuda.memory_stats(device)
            row = {"device": device, "phase": phase}
            for kind in ("allocated", "reserved"):
                row[f"torch_{kind}_mib"] = round(stats[f"{kind}_bytes.all.current"] / MIB, 1)
                row[f"torch_{kind}_peak_mib"] = round(stats[f"{kind}_bytes.all.peak"] / MIB, 1)
            with open(path + ".new", "w") as f:
                json.dump(row, f)
            os.replace(path + ".new", path)
        except Exception:  # the engine must never suffer from being watched
            pass


def engine(argv):
    """What `python3 -m sglang.launch_server ARGV` does, from a main module that spawned processes import first."""
    from sglang.launch_server import run_server
    from sglang.srt.plugins import load_plugins
    from sglang.srt.server_args import prepare_server_args
    from sglang.srt.utils import kill_process_tree
    load_plugins()
    try:
        run_server(prepare_server_args(argv))
    finally:
        kill_process_tree(os.getpid(), include_parent=False)


# ---------------------------------------------------------------- the runner
class Gpus:
    def __init__(self, indices):
        import pynvml
        self.n = pynvml
        self.n.nvmlInit()
        self.handles = [self.n.nvmlDeviceGetHandleByIndex(i) for i in indices or range(self.n.nvmlDeviceGetCount())]
        self.peak = [0] * len(self.handles)
        self.lock = threading.Lock()
        threading.Thread(target=self.watch, daemon=True).start()

    def used(self):
        return [round(self.n.nvmlDeviceGetMemoryInfo(h, version=self.n.nvmlMemory_v2).used / MIB) for h in self.handles]

    def watch(self):
        while True:
            used = self.used()
            with self.lock:
                self.peak = [max(a, b) for a, b in zip(self.peak, used)]
            time.sleep(0.1)

    def take_peak(self):
        with self.lock:
            peak, self.peak = self.peak, [0] * len(self.handles)
        return peak


def smi(query, indices):
    which = ["-i", ",".join(map(str, indices))] if indices else []
    out = subprocess.run(["nvidia-smi", *which, "--query-gpu=" + query, "--format=csv,noheader,nounits"], capture_output=True, text=True)
    return [line.strip() for line in out.stdout.strip().splitlines()]


def phases_of(spec, flags):
    """name, [(requests, tokens in, tokens out), ...]: one chunk without a prefix, one chunk behind a prefix, decode, all."""
    if "phases" in spec:
        return spec["phases"]
    chunk, limit = flags["chunked-prefill-size"], flags.get("context-length", 163840) - 64
    n = spec.get("concurrency", min(flags.get("max-running-requests", 256), 256))
    long = min(8192, limit)
    return [["chunk", [[1, min(chunk, limit), 2]]],
            ["chunk-behind-prefix", [[1, min(2 * chunk, limit), 2]]],
            ["decode", [[n, 16, 24]]],
            ["wave", [[min(4, n), long, 16], [max(n - 4, 0), 512, 16]]]]


class Engine:
    def __init__(self, spec, number, options):
        self.spec, self.options = spec, options
        self.folder = f"{options.out}/{spec['id']}"
        os.makedirs(self.folder, exist_ok=True)
        flags = {**BASE, **spec.get("set", {})}
        self.flags = flags = {k: v for k, v in flags.items() if v is not None}
        self.port = options.port + 20 * number
        argv = ["--model-path", f"{options.models}/{spec.get('model', 'r12')}", "--host", "127.0.0.1", "--port", str(self.port)]
        for k, v in flags.items():
            argv += ["--" + k] if v is True else ["--" + k, str(v)]
        self.argv = argv
        self.env = {**os.environ, **BASE_ENV, **spec.get("env", {})}
        if options.gpus:
            self.env["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, options.gpus))
        self.shown_env = {k: self.env[k] for k in (*SHOWN_ENV, *spec.get("env", {})) if k in self.env}
        self.log, self.gate = self.folder + "/engine.log", self.folder + "/gate"
        with open(self.folder + "/phase", "w") as f:
            f.write("start")
        self.started = time.time()
        env = {**self.env, "MEASURE_GATE": self.gate, "MEASURE_STATS": self.folder, "PYTHONUNBUFFERED": "1"}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), "engine", *argv], stdout=log,
                                            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, start_new_session=True)

    def text(self):
        with open(self.log, errors="replace") as f:
            return f.read()

    def dead(self):
        return self.process.poll() is not None or re.search(r"hit an exception|SIGQUIT received|Error in launch", self.text()) is not None

    def stop(self):
        import psutil
        try:
            family = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.Error:
            family = []
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        for p in family:
            try:
                p.kill()
            except psutil.Error:
                pass
        self.process.wait()

    def torch(self):
        rows = []
        for path in sorted(glob.glob(self.folder + "/stats-*.json")):
            try:
                with open(path) as f:
                    rows.append(json.load(f))
            except (OSError, ValueError):
                pass
        return sorted((r for r in rows if r["torch_reserved_mib"] > 0), key=lambda r: r["device"])

    def set_phase(self, name):
        with open(self.folder + "/phase.new", "w") as f:
            f.write(name)
        os.replace(self.folder + "/phase.new", self.folder + "/phase")
        end = time.time() + 2
        while time.time() < end and any(r["phase"] != name for r in self.torch()):
            time.sleep(0.03)

    def post(self, groups, limit):
        rng = random.Random(len(groups) * 7919 + time.time_ns())
        ids, out = [], []
        for count, tokens_in, tokens_out in groups:
            for _ in range(count):
                ids.append([rng.randrange(10, 120000) for _ in range(tokens_in)])
                out.append({"temperature": 0, "max_new_tokens": tokens_out, "ignore_eos": True})
        result = {}

        def work():
            try:
                c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=limit)
                c.request("POST", "/generate", json.dumps({"input_ids": ids, "sampling_params": out}), {"Content-Type": "application/json"})
                r = c.getresponse()
                body = r.read()
                result["status"] = r.status
                if r.status != 200:
                    result["body"] = body[:300].decode(errors="replace")
            except Exception as e:
                result["error"] = repr(e)

        t = threading.Thread(target=work, daemon=True)
        t.start()
        end = time.time() + limit
        while t.is_alive() and time.time() < end and not self.dead():
            t.join(0.2)
        return result or {"error": "no answer"}


def first(pattern, text, kind=float):
    m = re.search(pattern, text)
    return kind(m.group(1)) if m else None


def read_log(text):
    """The figures of the log; the first rank's where there are several."""
    g = {}
    g["before_weights_avail_gib"] = first(r"Load weight begin\. avail mem=([\d.]+)", text)
    g["weights_load_s"] = first(r"Load weight end\. elapsed=([\d.]+)", text)
    g["weights_gib"] = first(r"Load weight end\..*?mem usage=([\d.]+)", text)
    g["after_weights_avail_gib"] = first(r"Load weight end\..*?avail mem=([\d.]+)", text)
    g["kv_dtype"] = first(r"KV Cache is allocated\. dtype: ([\w.]+)", text, str)
    g["kv_tokens"] = first(r"KV Cache is allocated\..*?#tokens: (\d+)", text, int)
    g["kv_gib"] = first(r"KV Cache is allocated\..*?KV size: ([\d.]+)", text)
    g["kv_lines"] = re.findall(r"(?:KV Cache is allocated|Memory pool end)[^\n]*", text)
    g["after_pool_avail_gib"] = first(r"Memory pool end\. avail mem=([\d.]+)", text)
    m = re.search(r"Capture (?:target decode CUDA|cuda) graph begin\.[^\n]*?bs=\[([\d, ]+)\], avail mem=([\d.]+)", text)
    g["graph_batch_sizes"] = [int(x) for x in m.group(1).split(",")] if m else []
    g["graphs_n"] = len(g["graph_batch_sizes"])
    g["before_graphs_avail_gib"] = float(m.group(2)) if m else None
    g["graph_first_bar_avail_gib"] = first(r"Capturing batches \(bs=\d+ avail_mem=([\d.]+)", text)
    g["graphs_s"] = first(r"graph end\. elapsed=([\d.]+)", text)
    g["graphs_gib"] = first(r"graph end\. elapsed=[\d.]+ s, mem usage=([\d.]+)", text)
    g["after_graphs_avail_gib"] = first(r"graph end\..*?avail mem=([\d.]+)", text)
    m = re.search(r"max_total_num_tokens=(\d+), chunked_prefill_size=(-?\d+), max_prefill_tokens=(\d+), max_running_requests=(\d+), context_len=(\d+), available_gpu_mem=([\d.]+)", text)
    names = ("max_total_num_tokens", "chunked_prefill_size", "max_prefill_tokens", "max_running_requests", "context_len")
    for i, name in enumerate(names):
        g[name] = int(m.group(i + 1)) if m else None
    g["scheduler_available_gib"] = float(m.group(6)) if m else None
    g["server_args_mem_fraction"] = first(r"mem_fraction_static=([\d.]+)", text)
    g["prefill_new_tokens_max"] = max([int(x) for x in re.findall(r"Prefill batch.*?#new-token: (\d+)", text)] or [0])
    g["prefill_new_seqs_max"] = max([int(x) for x in re.findall(r"Prefill batch.*?#new-seq: (\d+)", text)] or [0])
    for word in ("True", "False"):
        seen = re.findall(r"Decode batch, #running-req: (\d+)[^\n]*cuda graph: " + word, text)
        g[f"decode_running_max_graph_{word.lower()}"] = max([int(x) for x in seen] or [0])
    return g


def read_death(text):
    lines = re.split(r"[\n\r]", text)
    at = next((i for i, l in enumerate(lines) if re.match(r"(\[.*?\] )?(torch\.\w*|\w+\.)*(OutOfMemoryError|\w*Error|Exception|AssertionError): ", l)), None)
    frames = [m for l in lines[: at or 0] if (m := re.search(r'File ".*?/(sglang/[^"]+|flashinfer/[^"]+|torch/[^"]+)", line (\d+), in (\S+)', l))]
    inner = next((m for m in reversed(frames) if m.group(1).startswith("sglang/")), frames[-1] if frames else None)
    return {
        "error": lines[at][:900] if at is not None else None,
        "error_place": f"{inner.group(1)}:{inner.group(2)} {inner.group(3)}" if inner else None,
        "error_frames": [f"{m.group(1)}:{m.group(2)} {m.group(3)}" for m in frames[-8:]],
    }


def thin(text):
    """Access and batch lines: the first three of each kind and the last twenty; of a progress bar the ends."""
    kept, counts = [], {}
    lines = [l for part in text.split("\n") for l in part.split("\r")]
    kind_of = lambda l: next((k for k in ("GET /health", "POST /generate", "Prefill batch", "Decode batch", "Capturing batches", "Multi-thread loading") if k in l), None)
    total = {}
    for l in lines:
        if k := kind_of(l):
            total[k] = total.get(k, 0) + 1
    for l in lines:
        k = kind_of(l)
        if k:
            counts[k] = counts.get(k, 0) + 1
            if 3 < counts[k] <= total[k] - (20 if "batch," in l else 2):
                continue
        kept.append(l)
    return "\n".join(kept) + "\n"


def measure(e, gpus, options, versions, start_next, baseline):
    spec, flags = e.spec, e.flags
    tp = flags.get("tp-size", 1)
    end = time.time() + options.wait
    while time.time() < end and any(u > b + 20 for u, b in zip(gpus.used(), baseline)):
        time.sleep(0.1)
    before = gpus.used()
    row = {"id": spec["id"], "varied": spec.get("varied", ""), "model": spec.get("model", "r12"), "gpus": tp,
           "argv": ["python3", "-m", "sglang.launch_server", *e.argv], "environment": e.shown_env, "versions": versions,
           "prestarted": time.time() - e.started > 5, "engine_alone": not any(u > b + 20 for u, b in zip(before, baseline)),
           "used_before_mib": before[:tp], "total_mib": [int(x) for x in smi("memory.total", options.gpus)][:tp]}
    open(e.gate, "w").close()
    start_next()
    t0 = time.time() if row["prestarted"] else e.started
    gpus.take_peak()
    limit, ready = time.time() + spec.get("ready_limit_s", 330), False
    while time.time() < limit and not e.dead():
        if "The server is fired up and ready to roll" in e.text():
            ready = True
            break
        time.sleep(0.1)
    row["seconds_to_ready"] = round(time.time() - t0, 1) if ready else None
    row["outcome"] = "lived" if ready else "died before READY" if e.dead() else "not READY in time"
    row["used_peak_start_mib"] = gpus.take_peak()[:tp]
    row["torch_start"] = e.torch()
    if ready:
        time.sleep(0.3)
        row["used_ready_mib"] = [int(x) for x in smi("memory.used", options.gpus)][:tp]
        row["used_ready_nvml_mib"] = gpus.used()[:tp]
        row["torch_ready"] = e.torch()
        row["phases"] = []
        for name, groups in phases_of(spec, flags):
            e.set_phase(name)
            gpus.take_peak()
            t1 = time.time()
            answer = e.post(groups, spec.get("phase_limit_s", 100))
            seconds = round(time.time() - t1, 2)
            time.sleep(0.25)
            row["phases"].append({"name": name, "requests_tokens_in_out": groups, "seconds": seconds, **answer,
                                  "used_peak_mib": gpus.take_peak()[:tp], "torch": e.torch()})
            if e.dead() or "error" in answer:
                row["outcome"] = f"died in phase {name}" if e.dead() else f"phase {name} got no answer"
                break
        row["used_peak_load_mib"] = [max(c) for c in zip(*(p["used_peak_mib"] for p in row["phases"]))]
        row["used_after_mib"] = gpus.used()[:tp] if row["outcome"] == "lived" else None
    if row["outcome"] != "lived":
        time.sleep(0.7)
    text = e.text()
    row["log"] = read_log(text)
    row.update(read_death(text) if row["outcome"] != "lived" else {"error": None, "error_place": None})
    e.stop()
    with gzip.open(f"{e.folder}/{spec['id']}.log.gz", "wt") as f:
        f.write(thin(text))
    with open(f"{options.out}/{spec['id']}.json", "w") as f:
        json.dump(row, f, indent=1)
    p = row.get("phases", [])
    print(f"{spec['id']}: {row['outcome']} before={row['used_before_mib']} ready_s={row['seconds_to_ready']} weights={row['log']['weights_gib']} "
          f"tokens={row['log']['kv_tokens']} graphs={row['log']['graphs_gib']} ({row['log']['graphs_s']} s) avail={row['log']['scheduler_available_gib']} "
          f"used_ready={row.get('used_ready_mib')} peaks={[(x['name'], x['used_peak_mib'], [t['torch_allocated_peak_mib'] for t in x['torch']], x['seconds']) for x in p]} "
          f"error={(row['error'] or '')[:160]} at {row['error_place']} wall={time.time() - e.started:.0f} s", flush=True)


def run(options):
    import importlib.metadata as m
    os.makedirs(options.out, exist_ok=True)
    gpus = Gpus(options.gpus)
    versions = {}
    for name in ("sglang", "torch", "flashinfer-python", "sglang-kernel", "triton", "transformers"):
        try:
            versions[name] = m.version(name)
        except m.PackageNotFoundError:
            versions[name] = None
    versions.update(driver=smi("driver_version", options.gpus)[0], gpu=smi("name", options.gpus)[0], python=sys.version.split()[0])
    done, waiting, baseline = 0, [], [0] * len(gpus.handles)
    print("in use at the start, MiB:", gpus.used(), versions, flush=True)

    def take():
        nonlocal done
        with open(options.queue) as f:
            lines = f.read().split("\n")[:-1]
        while done < len(lines):
            done += 1
            spec = json.loads(lines[done - 1])
            if not os.path.exists(f"{options.out}/{spec['id']}.json"):
                return spec

    def start_next():
        while len(waiting) < options.prestart and time.time() < options.until and (not waiting or isinstance(waiting[-1], Engine)) and (spec := take()):
            waiting.append(spec if spec.get("prestart") is False else Engine(spec, done, options))

    last = time.time()
    while True:
        now = waiting.pop(0) if waiting else take()
        if time.time() > options.until:
            for e in waiting + [now]:
                if isinstance(e, Engine):
                    e.stop()
            break
        if now is None:
            if time.time() - last > options.follow:
                break
            time.sleep(0.5)
            continue
        e = Engine(now, done, options) if isinstance(now, dict) else now
        try:
            measure(e, gpus, options, versions, start_next, baseline)
        except Exception as error:
            print("runner:", repr(error), flush=True)
            e.stop()
        last = time.time()
    print("queue done", flush=True)


def collect(options):
    rows = [json.load(open(p)) for p in sorted(glob.glob(options.out + "/*.json"))]
    for r in rows:
        ready = {t["device"]: t["torch_allocated_mib"] for t in r.get("torch_ready", [])}
        for p in r.get("phases", []):
            for t in p["torch"]:
                t["allocated_peak_over_ready_mib"] = round(t["torch_allocated_peak_mib"] - ready[t["device"]], 1)
    v = rows[0]["versions"]
    header = {"hardware": v["gpu"], "memory_total_mib": rows[0]["total_mib"][0], "driver": v["driver"], "versions": v, "date": options.date,
              "models": options.models_are, "notes": options.note}
    with open(options.json, "w") as f:
        json.dump({"header": header, "runs": rows}, f, indent=1)
        f.write("\n")


if __name__ == "__mp_main__" and "MEASURE_GATE" in os.environ:
    worker_hook()
elif __name__ == "__main__" and sys.argv[1:2] == ["engine"]:
    engine(sys.argv[2:])
elif __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    p = verbs.add_parser("run")
    p.add_argument("--queue", required=True)
    p.add_argument("--models", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--follow", type=float, default=0)
    p.add_argument("--prestart", type=int, default=3)
    p.add_argument("--gpus", type=lambda s: [int(x) for x in s.split(",")], help="indices; all when left out")
    p.add_argument("--port", type=int, default=30000)
    p.add_argument("--wait", type=float, default=25, help="seconds to wait for an empty GPU")
    p.add_argument("--until", type=float, default=float("inf"), help="no new run after this time (seconds since 1970)")
    p = verbs.add_parser("collect")
    p.add_argument("--out", required=True)
    p.add_argument("--json", required=True)
    p.add_argument("--date", required=True)
    p.add_argument("--models-are", default="", help="what the model folders hold")
    p.add_argument("--note", action="append", default=[])
    options = parser.parse_args()
    {"run": run, "collect": collect}[options.verb](options)
