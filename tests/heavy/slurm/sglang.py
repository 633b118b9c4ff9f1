#!/usr/bin/python3 -IS
"""Stands in for a rank of SGLang where a test is about a rack: it takes the flags of an engine over several nodes, meets the
other ranks at --dist-init-addr, prints the lines of 0.5.23 and answers at the paths of the engine, on the first rank, or of its
health, on the others. Its answer to a chat is the name of its engine.

STAND_IN="RANK:ACTION:STAGE,..." makes it fail. RANK is a name such as decode-0.2; ACTION is `die` (exit code 9), `hang`, or
`refuse`, which answers 503; STAGE is `start`, `rendezvous`, `load`, `serve`, `route`, which is only towards the router, or
`later`, 5 seconds after its start. STAND_IN_FACTS names a folder for the variables
and arguments of each rank."""
import http.server, json, os, socket, socketserver, sys, threading, time

words = sys.argv[1:]
flag = lambda name, default="": words[words.index(name) + 1] if name in words else default
rank, count = int(flag("--node-rank", "0")), int(flag("--nnodes", "1"))
engine = os.environ["DSR1_ENGINE"]
host, port, model = flag("--host"), int(flag("--port")), flag("--served-model-name", "stand-in")
faults = [fault.split(":") for fault in filter(None, os.environ.get("STAND_IN", "").split(","))]
fault_at = lambda stage: next((fault[1] for fault in faults if [fault[0], fault[2]] == [f"{engine}.{rank}", stage]), None)
say = lambda line: print(time.strftime("[%Y-%m-%d %H:%M:%S]"), line, flush=True)


begun = time.monotonic()


def reach(stage):
    fault = fault_at(stage)
    if fault == "die":
        say(f"RuntimeError: told to die at {stage}")
        os._exit(9)
    if fault == "hang":
        time.sleep(3600)


def watch(peer):
    peer.recv(1)
    say("the first rank has ended")
    os._exit(1)


def meet():
    address, _, meeting = flag("--dist-init-addr").rpartition(":")
    if rank == 0:
        server = socket.create_server((address, int(meeting)))
        peers = [server.accept()[0] for _ in range(count - 1)]
        for peer in peers:
            peer.sendall(b"go")
        return peers
    while True:
        try:
            peer = socket.create_connection((address, int(meeting)))
            break
        except OSError:
            time.sleep(0.1)
    peer.recv(2)
    threading.Thread(target=watch, args=[peer], daemon=True).start()
    return [peer]


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send(self, body, kind="application/json"):
        body = body.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if fault_at("serve") == "hang":
            time.sleep(3600)
        if fault_at("later") == "refuse" and time.monotonic() - begun > 5:
            return self.send_error(503)
        # The job asks with HTTP/1.0.
        is_router = self.request_version == "HTTP/1.1"
        if fault_at("serve") == "refuse" or (fault_at("route") == "refuse" and is_router):
            return self.send_error(503)
        path = self.path.partition("?")[0]
        if path in ("/health", "/health_generate", "/ping"):
            return self.send("")
        if path == "/metrics":
            return self.send("sglang:num_running_reqs 0.0\n", "text/plain")
        mode = flag("--disaggregation-mode", "null")
        answers = {
            "/v1/models": {"object": "list", "data": [{"id": model, "object": "model"}]},
            "/model_info": {"model_path": model, "is_generation": True},
            "/server_info": {"served_model_name": model, "model_path": model, "disaggregation_mode": mode, "version": "0.5.23"},
            "/v1/loads": {"loads": []},
        }
        answers["/get_server_info"] = answers["/server_info"]
        answers["/get_model_info"] = answers["/model_info"]
        if rank != 0 or path not in answers:
            return self.send_error(404)
        self.send(json.dumps(answers[path]))

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        say(f"asked by {asked.get('bootstrap_host')} in room {asked.get('bootstrap_room')}")
        message = {"role": "assistant", "content": engine}
        usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        self.send(json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": model, "choices": choices, "usage": usage}))


class Server(http.server.ThreadingHTTPServer):
    # Without its look-up of the host's name.
    server_bind = socketserver.TCPServer.server_bind


say(f"server_args=ServerArgs(port={port}, nnodes={count}, node_rank={rank})")
folder = os.environ.get("STAND_IN_FACTS")
if folder:
    with open(f"{folder}/{engine}.{rank}.json", "w") as file:
        json.dump({"words": words, "env": dict(os.environ)}, file)
reach("start")
reach("rendezvous")
peers = meet()
say("Load weight begin. avail mem=180.00 GB")
reach("load")
say("KV Cache is allocated. #tokens: 65536, K size: 0.02 GB, V size: 0.02 GB")
server = Server((host, port), Handler)
say("The server is fired up and ready to roll!")
server.serve_forever()
