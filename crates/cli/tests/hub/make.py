"""Asks huggingface_hub itself what environments mean and how its cache is laid out, and writes the answers for the tests.

usage: pip install huggingface_hub==2.4.0; python make.py     (no network; writes environment.json and layout.json beside it)
"""
import hashlib, http.server, json, os, subprocess, sys, tempfile, threading

HERE = os.path.dirname(os.path.abspath(__file__))
ASK = """
import json, os
from huggingface_hub import constants as c, get_token
from huggingface_hub.utils import build_hf_headers
agent = build_hf_headers()["user-agent"].split("; ")
sent = build_hf_headers().get("authorization")
print(json.dumps({
    "cache": c.HF_HUB_CACHE, "token": sent and sent.removeprefix("Bearer "), "endpoint": c.ENDPOINT, "offline": c.HF_HUB_OFFLINE,
    "etag_timeout": c.HF_HUB_ETAG_TIMEOUT, "download_timeout": c.HF_HUB_DOWNLOAD_TIMEOUT,
    "no_links": c.HF_HUB_DISABLE_SYMLINKS, "no_bars": bool(c.HF_HUB_DISABLE_PROGRESS_BARS),
    "origin": next((part.removeprefix("origin/") for part in agent if part.startswith("origin/")), None),
}))
"""
TOKEN = {".cache/huggingface/token": "hf_kept\n"}
CASES = [
    ({}, {}), ({}, TOKEN),
    ({"XDG_CACHE_HOME": "@HOME@/xdg"}, {"xdg/huggingface/token": "hf_xdg", **TOKEN}),
    ({"XDG_CACHE_HOME": "~/xdg"}, {}), ({"XDG_CACHE_HOME": "$BASE/xdg", "BASE": "@HOME@"}, {}),
    ({"HF_HOME": "@HOME@/hf"}, {"hf/token": "  hf_home \r\n"}), ({"HF_HOME": "~/hf"}, {}), ({"HF_HOME": "~"}, {}),
    ({"HF_HOME": "@HOME@/hf", "XDG_CACHE_HOME": "@HOME@/xdg"}, {}),
    ({"HF_HOME": "${BASE}/hf", "BASE": "@HOME@"}, {}), ({"HF_HOME": "@HOME@/$UNKNOWN/hf"}, {}), ({"HF_HOME": "@HOME@/a$/b"}, {}),
    ({"HF_HUB_CACHE": "@HOME@/c"}, TOKEN), ({"HF_HUB_CACHE": "~/c"}, {}), ({"HF_HUB_CACHE": "$BASE/c", "BASE": "@HOME@"}, {}),
    ({"HUGGINGFACE_HUB_CACHE": "@HOME@/old"}, {}), ({"HUGGINGFACE_HUB_CACHE": "~/old"}, {}),
    ({"HUGGINGFACE_HUB_CACHE": "@HOME@/old", "HF_HUB_CACHE": "@HOME@/new"}, {}),
    ({"HUGGINGFACE_HUB_CACHE": "@HOME@/old", "HF_HOME": "@HOME@/hf"}, {"hf/token": "hf_home"}),
    ({"HF_TOKEN": "hf_env"}, TOKEN), ({"HF_TOKEN": "hf_env\n"}, {}), ({"HF_TOKEN": "  hf_env \r\n"}, {}), ({"HF_TOKEN": "hf_\nenv"}, {}),
    ({"HF_TOKEN": ""}, TOKEN), ({"HUGGING_FACE_HUB_TOKEN": "hf_old\n"}, TOKEN),
    ({"HUGGING_FACE_HUB_TOKEN": "hf_old", "HF_TOKEN": "hf_new"}, {}),
    ({"HF_TOKEN_PATH": "@HOME@/secret"}, {"secret": "hf_path\n", **TOKEN}), ({"HF_TOKEN_PATH": "~/secret"}, {"secret": "hf_path"}),
    ({"HF_TOKEN_PATH": "@HOME@/none"}, TOKEN), ({"HF_TOKEN_PATH": "@HOME@/secret", "HF_TOKEN": "hf_env"}, {"secret": "hf_path"}),
    ({"HF_TOKEN": "hf_env", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, {}), ({"HF_HUB_DISABLE_IMPLICIT_TOKEN": "yes"}, TOKEN),
    ({"HF_HUB_DISABLE_IMPLICIT_TOKEN": "0"}, TOKEN),
    ({"HF_ENDPOINT": "https://mirror.example"}, {}), ({"HF_ENDPOINT": "https://mirror.example/hf//"}, {}),
    *[({"HF_HUB_OFFLINE": word}, {}) for word in ["1", "0", "on", "ON", "Yes", "true", "TRUE", "False", "no", "2", "y", "off"]],
    ({"TRANSFORMERS_OFFLINE": "1"}, {}), ({"TRANSFORMERS_OFFLINE": "no"}, {}),
    ({"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"}, {}), ({"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "1"}, {}),
    ({"HF_DATASETS_OFFLINE": "1"}, {}),
    ({"HF_HUB_ETAG_TIMEOUT": "30"}, {}), ({"HF_HUB_ETAG_TIMEOUT": "0"}, {}), ({"HF_HUB_DOWNLOAD_TIMEOUT": "120"}, {}),
    ({"HF_HUB_DISABLE_SYMLINKS": "true"}, {}), ({"HF_HUB_DISABLE_PROGRESS_BARS": "1"}, {}), ({"HF_HUB_DISABLE_PROGRESS_BARS": "0"}, {}),
    ({"HF_HUB_USER_AGENT_ORIGIN": "partner"}, {}),
]


def ask(code, environment):
    environment = {"PATH": os.environ["PATH"], "HF_HUB_DISABLE_TELEMETRY": "1", **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout


def environments():
    for variables, files in CASES:
        with tempfile.TemporaryDirectory() as home:
            for name, text in files.items():
                os.makedirs(os.path.dirname(f"{home}/{name}"), exist_ok=True)
                open(f"{home}/{name}", "w", newline="").write(text)
            here = {name: value.replace("@HOME@", home) for name, value in variables.items()}
            answer = ask(ASK, {"HOME": home, **here}).replace(home, "@HOME@")
        yield {"environment": variables, "files": files, "expected": json.loads(answer)}


COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b"{}", "sub/x-Q4_0.gguf": b"weights", "sub/copy.gguf": b"weights"}


class Hub(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        name = self.path.split("/resolve/main/", 1)[-1]
        if name not in FILES:
            self.send_response(404)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(200)
        self.send_header("ETag", f'"{etag(name)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(FILES[name])))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(FILES[name])

    do_HEAD = do_GET


def etag(name):
    text = FILES[name]
    return hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest() if name.endswith(".json") else hashlib.sha256(text).hexdigest()


def layout(environment, missing=False):
    """Every path of a cache, what a link says, and what a file holds."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = "from huggingface_hub import hf_hub_download as get\n" + "".join(f"get('org/repo', {name!r})\n" for name in FILES)
    if missing:
        code += "try: get('org/repo', 'none.json')\nexcept Exception: pass\n"
    with tempfile.TemporaryDirectory() as home:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        ask(code, {"HOME": home, "HF_HOME": home + "/hf", "HF_ENDPOINT": endpoint, **environment})
        found, root = {}, home + "/hf/hub"
        for folder, folders, files in os.walk(root):
            for name in [*folders, *files]:
                path = os.path.join(folder, name)
                short = os.path.relpath(path, root)
                if os.path.islink(path):
                    found[short] = {"link": os.readlink(path)}
                elif os.path.isdir(path):
                    found[short] = {"folder": True}
                else:
                    text = open(path).read()
                    found[short] = {"file": None if name == "CACHEDIR.TAG" else text}
    server.shutdown()
    return dict(sorted(found.items()))


if __name__ == "__main__":
    import huggingface_hub

    version = huggingface_hub.__version__
    write = lambda name, value: open(f"{HERE}/{name}", "w").write(json.dumps({"huggingface_hub": version, **value}, indent=1) + "\n")
    write("environment.json", {"cases": list(environments())})
    files = {name: text.decode() for name, text in FILES.items()}
    layouts = {"linked": layout({}, missing=True), "without links": layout({"HF_HUB_DISABLE_SYMLINKS": "1"})}
    write("layout.json", {"commit": COMMIT, "files": files, "layouts": layouts})
