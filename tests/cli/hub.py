"""A hub on this computer, with the faults that real ones have."""
import hashlib
import http.server
import json
import threading
import time


class Hub:
    """files: {path: bytes}. faults: {path: [fault…]}, one used up a request:
    "cut" (half of it, then the connection breaks), "busy" (503), "other" (other bytes of the same length),
    "no-range" (the whole file although a range was asked for), "longer", "missing" (404), "slow" (a pause of
    two seconds in the middle)."""

    def __init__(self, files, name="deepseek-ai/mini", entries=None, sums=True):
        self.files, self.name, self.faults, self.log = files, name, {}, []
        self.entries = entries if entries is not None else [
            {"type": "file", "path": path, "size": len(data), "oid": "0" * 40,
             **({"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}} if sums else {})}
            for path, data in files.items()]
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                hub.answer(self)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *_: None # a client that leaves is no news
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @staticmethod
    def reply(request, code, data, headers=()):
        request.send_response(code)
        for key, value in headers:
            request.send_header(key, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def answer(self, request):
        path, asked = request.path, request.headers.get("Range")
        self.log.append((path, asked))
        if path == f"/api/models/{self.name}/tree/main?recursive=1":
            return self.reply(request, 200, json.dumps(self.entries).encode())
        start = f"/{self.name}/resolve/main/"
        key = path[len(start):] if path.startswith(start) else None
        if key is None or key not in self.files:
            return self.reply(request, 404, b"no such thing")
        return self.send(request, key, self.files[key], asked)

    def send(self, request, key, data, asked):
        fault = self.faults[key].pop(0) if self.faults.get(key) else None
        if fault == "busy":
            return self.reply(request, 503, b"later")
        if fault == "missing":
            return self.reply(request, 404, b"gone")
        if fault == "other":
            return self.reply(request, 200, bytes(len(data)))
        if fault == "longer":
            return self.reply(request, 200, data + b"more")
        first = int(asked.split("=")[1].split("-")[0]) if asked and fault != "no-range" else 0
        if asked and first >= len(data):
            return self.reply(request, 416, b"")
        headers = [("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")] if first else []
        if fault == "cut":
            request.send_response(206 if first else 200)
            for header in headers:
                request.send_header(*header)
            request.send_header("Content-Length", str(len(data) - first))
            request.end_headers()
            request.wfile.write(data[first : first + (len(data) - first) // 2])
            request.wfile.flush()
            request.close_connection = True
            request.connection.shutdown(2)
            return None
        if fault == "slow":
            request.send_response(200)
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            for part in (data[: len(data) // 2], data[len(data) // 2 :]):
                request.wfile.write(part)
                request.wfile.flush()
                time.sleep(2)
            return None
        return self.reply(request, 206 if first else 200, data[first:], headers)
