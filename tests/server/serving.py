"""A server for tests: `vl2 serve` on a small checkpoint, asked over HTTP."""
import base64
import http.client
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

PROGRAM = os.environ["VL2_PROGRAM"]
MINI = pathlib.Path(os.environ["VL2_SOURCE"]) / "tests/golden/mini-base"
PICTURES = [(MINI / "golden" / f"img{i}.png").read_bytes() for i in range(4)]


class Server:
    def __init__(self, *words, model=MINI, where="127.0.0.1", **how):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([PROGRAM, "serve", "-m", str(model), "--port", "0", "--compute", "f32", *words],
                                        stderr=self.log, stdout=subprocess.DEVNULL, **how)
        deadline = time.monotonic() + 60
        while "http://" not in self.said():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self.said())
            time.sleep(0.05)
        self.port = int(self.said().split(f"http://{where}:")[1].split("/")[0])

    def said(self):
        self.log.seek(0)
        return self.log.read().decode()

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        raw = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        connection.request(method, path, raw, headers or {})
        reply = connection.getresponse()
        data = reply.read()
        connection.close()
        return reply.status, data, dict(reply.getheaders())

    def ask(self, **body):
        status, data, _ = self.request("POST", "/v1/chat/completions", body)
        return status, json.loads(data)

    def stream(self, **body):
        status, data, _ = self.request("POST", "/v1/chat/completions", {**body, "stream": True})
        lines = [line[6:] for line in data.decode().split("\n") if line.startswith("data: ")]
        if not lines: # refused before it began
            return status, [json.loads(data)], ""
        return status, [json.loads(line) for line in lines[:-1]], lines[-1]

    def metric(self, name):
        _, data, _ = self.request("GET", "/metrics")
        return next(float(line.split()[-1]) for line in data.decode().split("\n") if line.startswith(name + " "))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        said = self.said()
        self.log.close()
        return status or ("Sanitizer" in said and said)


def picture(i):
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(PICTURES[i]).decode(),
                                               "detail": "low"}}


def user(text, *pictures):
    if not pictures:
        return [{"role": "user", "content": text}]
    return [{"role": "user", "content": [*map(picture, pictures), {"type": "text", "text": text}]}]
