"""What the tests of the page share: the real server, a proxy in front of it that can answer in the
model's place, and Chromium.

The proxy passes everything on to `vl2 serve`, page and headers included; a question is answered from
a script instead, where a test has put one. So tests decide what the model says, and when, and see
what the page asks. Nothing here sleeps: answers wait at gates that a test opens.
"""
import collections
import http.client
import http.server
import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import zlib

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import expect, sync_playwright

SOURCE = pathlib.Path(os.environ.get("VL2_SOURCE", pathlib.Path(__file__).parents[2]))
BUILD = pathlib.Path(os.environ.get("VL2_BUILD", SOURCE / "build/release"))
PROGRAM = os.environ.get("VL2_PROGRAM", BUILD / "cli/vl2")
FAILURES = BUILD / "web"
DEMO = SOURCE / "models/demo"
EXAMPLES = json.loads((DEMO / "examples.json").read_text(encoding="utf-8"))

expect.set_options(timeout=60_000) # how long a hang takes to be one, on a machine that is busy with other things


def png(width, height, colour=(90, 140, 200)):
    """A picture of one colour, as a file."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + bytes(colour) * width) * height
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def file(name, width=300, height=200, colour=(90, 140, 200)):
    """A picture as Playwright's file inputs take it."""
    return {"name": name, "mimeType": "image/png", "buffer": png(width, height, colour)}


def in_pixels(text, image):
    """The boxes of an answer's text, which are in 999ths, in pixels of an image that the page shows."""
    size = image.evaluate("i => [i.naturalWidth, i.naturalHeight]")
    return [[int(value) * size[k % 2] / 999 for k, value in enumerate(box)]
            for box in re.findall(r"(\d+), *(\d+), *(\d+), *(\d+)", text)]


def overlap(a, b):
    """Intersection over union of two boxes."""
    both = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


class Server:
    """`vl2 serve` with the demo checkpoint, on a port of its own."""

    def __init__(self, *words):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([PROGRAM, "serve", "-m", str(DEMO), "--port", "0", *words],
                                        stderr=self.log, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while "http://" not in self.said():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self.said())
            time.sleep(0.05)
        self.port = int(self.said().split("http://127.0.0.1:")[1].split("/")[0])

    def said(self):
        self.log.seek(0)
        return self.log.read().decode()

    def post(self, path, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        reply = json.loads(connection.getresponse().read())
        connection.close()
        return reply

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.log.close()


class Answer:
    """What the model is made to say: pieces of text, with gates (threading.Event) between them."""

    def __init__(self, *pieces, grounding=(), finish="stop", usage=None, breaks=False):
        self.pieces, self.grounding, self.finish, self.breaks = pieces, list(grounding), finish, breaks
        self.usage = usage or {"prompt_tokens": 40, "completion_tokens": 8, "total_tokens": 48,
                               "prompt_tokens_details": {"cached_tokens": 16, "image_tokens": 20}}
        self.left = threading.Event() # the client went away

    def events(self):
        def event(**choice):
            return {"choices": [{"index": 0, "delta": {}, "finish_reason": None, **choice}]}
        yield event(delta={"role": "assistant", "content": ""})
        for piece in self.pieces:
            yield piece if isinstance(piece, threading.Event) else event(delta={"content": piece})
        if not self.breaks:
            yield event(finish_reason=self.finish, grounding=self.grounding)
            yield {"choices": [], "usage": self.usage}
            yield "[DONE]"

    def send(self, handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.end_headers()
        try:
            for event in self.events():
                if isinstance(event, threading.Event):
                    while not event.wait(0.05): # a comment shows whether anybody still listens
                        handler.wfile.write(b": working\n\n")
                    continue
                data = event if isinstance(event, str) else json.dumps(event)
                handler.wfile.write(f"data: {data}\n\n".encode())
        except OSError:
            self.left.set()


class Failure:
    """An error in the answer's place."""

    def __init__(self, status, message, retry_after=None, param=None):
        self.status, self.message, self.retry_after, self.param = status, message, retry_after, param

    def send(self, handler):
        body = json.dumps({"error": {"message": self.message, "type": "server_error", "param": self.param, "code": None}})
        handler.send_response(self.status)
        if self.retry_after:
            handler.send_header("Retry-After", str(self.retry_after))
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        handler.wfile.write(body.encode())


class Proxy:
    """In front of a server; `answers` are given to the questions that come, in turn."""

    def __init__(self, server, only_under=""):
        self.answers, self.asked, self.down = collections.deque(), [], False
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *words):
                pass

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if proxy.down or not self.path.startswith(only_under):
                    self.connection.close()
                    return
                if self.path.endswith("/v1/chat/completions"):
                    proxy.asked.append(json.loads(body))
                    if proxy.answers:
                        proxy.answers.popleft().send(self)
                        return
                try:
                    self.pass_on(body)
                except ConnectionError:
                    pass # the browser goes on when a test has ended and its server has gone

            def pass_on(self, body):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
                connection.request(self.command, self.path, body or None,
                                   {k: v for k, v in self.headers.items() if k != "Connection"})
                reply = connection.getresponse()
                self.send_response(reply.status)
                for name, value in reply.getheaders():
                    if name not in ("Connection", "Content-Length", "Transfer-Encoding", "Date"):
                        self.send_header(name, value)
                self.end_headers()
                try:
                    while data := reply.read1(65536):
                        self.wfile.write(data)
                except OSError:
                    pass # the browser went; the server sees that its own reader did
                connection.close()

            do_GET = do_POST = do_HEAD = handle_any

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        threading.Thread(target=self.httpd.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.httpd.server_port}{only_under}/"

    def stop(self):
        self.httpd.shutdown()
        self.httpd.server_close()


def launch(playwright):
    words = ["--disable-dev-shm-usage", "--disable-gpu"]
    if os.geteuid() == 0:
        words.append("--no-sandbox") # Chromium's sandbox does not run as root
    program = next(p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
                   if os.path.exists(p))
    return playwright.chromium.launch(executable_path=program, args=words)


class PageTest(unittest.TestCase):
    """A fresh browser profile for each test; an error of the page, a breach of its policy or a request
    to anywhere else fails it."""

    WORDS = ()    # more options of the server
    UNDER = ""    # the proxy serves only what is under this prefix
    OPTIONS = {}  # of the browser's context
    READY = "#model option" # what shows that the page has begun
    MAY_LOG = ()  # parts of console errors that a test expects

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.WORDS)
        cls.proxy = Proxy(cls.server, cls.UNDER)

    @classmethod
    def tearDownClass(cls):
        cls.proxy.stop()
        cls.server.stop()

    def setUp(self):
        self.proxy.answers.clear()
        self.proxy.asked.clear()
        self.proxy.down = False
        self.wrong = []
        self.context = BROWSER.new_context(**{"locale": "en-US", "viewport": {"width": 1280, "height": 800},
                                              **self.OPTIONS})
        self.page = self.watch(self.context.new_page())
        self.page.goto(self.proxy.address)
        self.page.locator(self.READY).first.wait_for(state="attached")

    def tearDown(self):
        outcome = self._outcome
        result = outcome.result
        if any(test is self for test, _ in result.failures + result.errors) and not self.page.is_closed():
            FAILURES.mkdir(exist_ok=True)
            self.page.screenshot(path=FAILURES / f"{self.id().split('.', 1)[1]}.png")
        self.context.close()
        self.assertEqual(self.wrong, [])

    def watch(self, page):
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("console", lambda message: self.noted(message))
        page.on("request", lambda request: self.requested(request.url))
        page.on("dialog", lambda dialog: self.wrong.append(f"dialog: {dialog.message}") or dialog.dismiss())
        return page

    def noted(self, message):
        if message.type in ("error", "warning") and not any(part in message.text for part in self.MAY_LOG):
            self.wrong.append(f"console: {message.text}")

    def requested(self, url):
        if not url.startswith((self.proxy.address.rstrip("/"), "blob:", "data:")):
            self.wrong.append(f"a request to {url}")

    # what a person does

    def button(self, name):
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def message(self):
        return self.page.get_by_role("textbox", name="Message", exact=True)

    def choose(self, *files):
        self.page.locator("input[type=file]").set_input_files(list(files))
        expect(self.page.locator("#pending li")).to_have_count(len(files))

    def send(self, text, *answers):
        self.proxy.answers.extend(answers)
        self.message.fill(text)
        self.button("Send").click()

    def ask(self, text, *answers):
        """Sends, and waits until the answer is complete."""
        before = self.said("assistant").count()
        self.send(text, *answers)
        expect(self.said("assistant")).to_have_count(before + 1)
        return self.complete()

    def said(self, role):
        return self.page.locator(f'article[data-role="{role}"]')

    def complete(self, state="done"):
        last = self.said("assistant").last
        expect(last).to_have_attribute("data-state", state)
        return last


def main():
    global BROWSER
    with sync_playwright() as playwright:
        try:
            BROWSER = launch(playwright)
        except (PlaywrightError, StopIteration) as why:
            print(f"Chromium does not run here: {str(why).strip().splitlines()[0] if str(why) else 'not installed'}")
            sys.exit(77)
        unittest.main(module="__main__")
