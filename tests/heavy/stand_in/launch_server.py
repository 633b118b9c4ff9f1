"""Stands in for SGLang where a test is about dsr1 and not about SGLang: it starts in seconds, prints the lines of
0.5.23 that dsr1 reads, fails to listen as uvicorn does, and answers what the wiring checks ask.

A POST to /stand-in makes it fail: {"say": LINE} prints a line, {"metrics": TEXT} sets what /metrics answers, {"status": N} what
the probes answer, {"mute": true} leaves every further request without an answer, {"slow": S} makes each answer take S seconds,
{"take": "self" or "child"} lets the process or a child of it take memory without end, {"exit": N} ends it at once. At SIGTERM it
ends after the running requests."""
import argparse, errno, http.server, json, os, signal, socketserver, subprocess, sys, threading, time

# Imports, which take most of the time until the first weight.
START_S = 2
LOAD_S = 3
# Seconds before each token of a stream; with 0 it is sent at once.
PACE_S = 0
# Pages that are written are memory.
TAKE = "taken = []\nwhile True: taken.append(b'x' * (8 << 20))"
WORDS = " one two three four five six seven eight nine ten eleven twelve".split(" ")[1:]


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.server.mute:
            time.sleep(3600)
        if self.path == "/metrics":
            return self.send("text/plain", self.server.metrics.encode())
        if self.path in ("/ready", "/health") and self.server.status != 200:
            return self.send_error(self.server.status)
        models = {"object": "list", "data": [{"id": self.server.model, "object": "model"}]}
        self.send("application/json", json.dumps(models if self.path == "/v1/models" else {}).encode())

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/stand-in":
            return self.steer(asked)
        if self.server.mute:
            time.sleep(3600)
        with self.server.lock:
            self.server.running += 1
        try:
            time.sleep(self.server.slow)
            self.answer(asked)
        finally:
            with self.server.lock:
                self.server.running -= 1

    def answer(self, asked):
        words = (WORDS * 2)[: asked.get("max_tokens", 16)]
        prompt = asked.get("prompt")
        # A text has three tokens, whatever it is; ids are counted.
        count = len(prompt) if isinstance(prompt, list) else 3
        if not asked.get("stream"):
            message = {"role": "assistant", "content": " ".join(words)}
            choice = {"index": 0, "message": message, "finish_reason": "length"}
            usage = {"prompt_tokens": 3, "completion_tokens": len(words), "total_tokens": 3 + len(words)}
            return self.send("application/json", json.dumps({"choices": [choice], "usage": usage}).encode())
        is_chat = self.path != "/v1/completions"
        piece = lambda text: {"delta": {"content": text}} if is_chat else {"text": text}
        pieces = [{**piece(word + " "), "finish_reason": None} for word in words]
        pieces.append({**piece(""), "finish_reason": "length"})
        chunks = [{"choices": [piece]} for piece in pieces]
        if asked.get("stream_options", {}).get("include_usage"):
            chunks.append({"choices": [], "usage": {"prompt_tokens": count, "completion_tokens": len(words)}})
        events = [json.dumps(chunk) for chunk in chunks] + ["[DONE]"]
        if not PACE_S:
            return self.send("text/event-stream", "".join(f"data: {event}\n\n" for event in events).encode())
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        # By the clock, so that a busy machine does not add up its delays.
        begun = time.monotonic()
        for number, event in enumerate(events):
            time.sleep(max(0, begun + PACE_S * (number + 1) - time.monotonic()))
            self.wfile.write(f"data: {event}\n\n".encode())
            self.wfile.flush()

    def steer(self, asked):
        for line in filter(None, [asked.get("say")]):
            print(line)
        for name in ("metrics", "status", "mute", "slow"):
            setattr(self.server, name, asked.get(name, getattr(self.server, name)))
        self.send("application/json", b"{}")
        if asked.get("take") == "child":
            subprocess.Popen([sys.executable, "-c", TAKE]).wait()
        if asked.get("take") == "self":
            exec(TAKE)
        if "exit" in asked:
            self.wfile.flush()
            self.server.scheduler.kill()
            os._exit(asked["exit"])


class Server(http.server.ThreadingHTTPServer):
    # Without its look-up of the host's name.
    server_bind = socketserver.TCPServer.server_bind
    # As uvicorn: many clients connect at once.
    request_queue_size = 2048
    metrics, status, mute = "sglang:num_running_reqs 0.0\nsglang:num_requests_total 1.0\n", 200, False
    slow, running, lock = 0, 0, threading.Lock()


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=30000)
    parser.add_argument("--served-model-name", default="stand-in")
    args, _ = parser.parse_known_args()
    sys.stdout.reconfigure(line_buffering=True)
    stamp = lambda: time.strftime("[%Y-%m-%d %H:%M:%S]")
    print(f"{stamp()} server_args=ServerArgs(port={args.port})")
    # A scheduler in its own process, which works on whatever becomes of the first one.
    scheduler = subprocess.Popen([sys.executable, "-c", "import time\nwhile True: sum(range(10000)); time.sleep(0.01)"])

    def drain():
        while serving and serving[0].running:
            time.sleep(0.05)
        scheduler.kill()
        os._exit(0)

    serving = []
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=drain).start())
    time.sleep(START_S)
    print(f"{stamp()} Load weight begin. avail mem=22.14 GB")
    time.sleep(LOAD_S)
    print(f"{stamp()} KV Cache is allocated. #tokens: 65536, K size: 0.02 GB, V size: 0.02 GB")
    print(f"{stamp()} max_total_num_tokens=65536, chunked_prefill_size=2048, max_running_requests=2048")
    try:
        server = Server((args.host, args.port), Handler)
        server.model = args.served_model_name
        server.scheduler = scheduler
        serving.append(server)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        address = (args.host, args.port)
        print(f"ERROR:    [Errno 98] error while attempting to bind on address {address}: address already in use")
        scheduler.wait()
    print(f"INFO:     Uvicorn running on http://{args.host}:{args.port} (Press CTRL+C to quit)")
    print(f"{stamp()} The server is fired up and ready to roll!")
    server.serve_forever()


main()
