"""Hostile, broken and slow clients, quickly: whatever comes, the reply is an error and the server lives.

test_hostile.py does the same at random, many at once, for as long as one likes.
"""
import base64
import json
import os
import resource
import socket
import struct
import tempfile
import time
import unittest
import zlib

from serving import MINI, PICTURES, Server, picture, user

CHAT = "/v1/chat/completions"


def part(url):
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


def png(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def lying_png(width, height, rows=1):
    """A picture whose header promises more than its data hold."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(bytes(3 * 16 * rows)))
            + png_chunk(b"IEND", b""))


def honest_png(side):
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", zlib.compress(bytes(side * (side + 1))))
            + png_chunk(b"IEND", b""))


class AbuseTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--parallel", "2", "--queue", "8", "--max-images", "4", "--max-body", "2", "--max-connections", "40")

    @classmethod
    def tearDownClass(cls):
        status = cls.server.stop()
        assert not status, status

    def tearDown(self):
        self.assertEqual(self.server.request("GET", "/health")[0], 200)

    def raw(self, data, read=True, wait=10):
        """Sends bytes as they are; what came back, b"" where the server hung up."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=wait) as line:
            try:
                line.sendall(data)
                return line.recv(65536) if read else b""
            except (ConnectionError, TimeoutError):
                return b""

    def refused(self, body, contains="", status=400):
        got, data, _ = self.server.request("POST", CHAT, body)
        self.assertEqual(got, status, data[:300])
        error = json.loads(data)["error"]
        self.assertIn(contains, error["message"])
        self.assertNotIn(str(MINI), error["message"])
        return error

    def test_broken_json(self):
        for body in (b"", b"{", b"null", b"[]", b"\xff\xfe", b"{\"messages\": NaN}", b"{}" * 2, b"{\"a\":1,\"a\":2}", b"\0" * 1000,
                     b"[" * 500000, b"{\"a\":" * 100000, b"\"" * 999999):
            self.refused(body)

    def test_many_values_take_no_memory(self):
        self.refused(b"[" + b"[],"* 600000 + b"[]]", "values")
        error = self.refused({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}] * 26000}]}, "")
        self.assertIn("messages[0].content", error["param"])
        self.refused({"messages": [{"role": "user", "content": "x"}] * 20000}, "4096 messages")
        self.refused({"messages": user("x"), "stop": ["a"] * 1000}, "16 stop")

    def test_odd_values(self):
        for field, value in (("stop", "\0"), ("stop", ["a\0b"]), ("stop", 7), ("stop", ""), ("temperature", 1e999), ("seed", 0.5),
                             ("seed", "1"), ("n", -1), ("n", 1.5), ("max_tokens", 10 ** 30), ("top_logprobs", 3), ("stream", "yes"),
                             ("stream_options", []), ("messages", "hello"), ("messages", [1]), ("messages", [{"role": "user"}])):
            body = {"messages": user("hello"), "max_tokens": 1, field: value}
            got, data, _ = self.server.request("POST", CHAT, body)
            self.assertEqual(got, 400, (field, value, data))
        for seed in (-1, 0, 2 ** 63 - 1, -2 ** 63):
            self.assertEqual(self.server.ask(messages=user("hello"), max_tokens=1, seed=seed)[0], 200)
        for text in ("\0", "\ud83d\ude00", "\u202e", "\x1b[31m", ""):
            self.assertEqual(self.server.ask(messages=user("a" + text), max_tokens=1)[0], 200, repr(text))
        self.refused(b'{"messages":[{"role":"user\\u0000x","content":"a"}],"max_tokens":1}', "role")

    def test_pictures_that_lie(self):
        whole = PICTURES[0]
        for data in (b"", b"\x89PNG", whole[:100], whole[:-200], lying_png(60000, 60000), lying_png(2 ** 31 - 1, 2 ** 31 - 1),
                     lying_png(0, 5), b"GIF89a" + b"\xff" * 50, b"RIFF\xff\xff\xff\xffWEBPVP8 ", b"BM" + b"\xff" * 60, b"\xff\xd8\xff" * 30):
            self.refused({"messages": part(png(data))})
        for url in ("data:image/png;base64,", "data:image/png;base64,=====", "data:image/png;base64,AAA A", "data:,hello", "data:", "",
                    "data:image/png," + "A" * 99, "data:image/png;base64,%%%%", "javascript:1", "//x", "file:", "http://", "x" * 100000):
            self.refused({"messages": part(url)})
        self.assertEqual(self.server.ask(messages=part(png(whole)), max_tokens=1)[0], 200)

    def test_bodies_that_are_too_large(self):
        reply = self.raw(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1073741824\r\n\r\n" + b"x" * 1000)
        self.assertIn(b" 413 ", reply.split(b"\r\n")[0])
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        reply = self.raw(head + chunk * 100 + b"0\r\n\r\n")
        self.assertIn(b" 413 ", reply.split(b"\r\n")[0])
        self.assertIn(b"larger than this server takes", reply)

    def test_what_libmicrohttpd_answers_itself(self):
        """Before our code sees anything. There is no way to give it other words than its own, in HTML."""
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        for data, status in ((b"GET / HTTP/9.9\r\n\r\n", b"505"), (b"GET /health\r\n", b"400"),
                             (b"GET /health HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n", b"400"),
                             (head + b"Content-Length: -1\r\n\r\n", b"400"), (head + b"Content-Length: %d\r\n\r\n" % 10 ** 30, b"413"),
                             (head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
                             (head + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\n", b"413"),
                             (b"GET /" + b"a" * 200000 + b" HTTP/1.1\r\n\r\n", b"414"),
                             (b"GET / HTTP/1.1\r\nX: " + b"secret" * 20000 + b"\r\n\r\n", b"431"),
                             (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 50000 + b"\r\n", b"431")):
            reply, closed = self.talk(data)
            self.assertEqual(reply[:12], b"HTTP/1.1 " + status, data[:90])
            self.assertIn(b"Connection: close\r\n", reply)
            self.assertTrue(closed, data[:90])
            self.assertNotIn(b"secret", reply)
        for data in (b"GET\r\n\r\n", b"\x16\x03\x01" + b"\0" * 200 + b"\r\n\r\n", b"GET\t/health\tHTTP/1.1\r\nHost: localhost\r\n\r\n"):
            self.assertEqual(self.talk(data), (b"", True), data[:90]) # no HTTP at all: hung up on

    def talk(self, data):
        """What came back, and whether the server hung up within two seconds."""
        reply = b""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=2) as line:
            try:
                line.sendall(data)
                while piece := line.recv(65536):
                    reply += piece
            except ConnectionError: # it hung up with bytes of ours unread
                pass
            except TimeoutError:
                return reply, False
        return reply, True

    def test_a_request_has_one_end(self):
        """Two lengths, or one that a proxy may not see: refused, and nothing behind it is taken for a request."""
        behind = b"0\r\n\r\nGET /behind HTTP/1.1\r\nHost: localhost\r\n\r\n"
        for lines in (b"Content-Length: 5\r\nContent-Length: 6", b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Content-Length : 5",
                      b"Transfer-Encoding : chunked", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                      b"Transfer-Encoding: gzip, chunked", b"Content-Length: 5\r\nHost: other"):
            reply, closed = self.talk(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n\r\n" + behind)
            self.assertTrue(closed, lines)
            self.assertEqual((reply[:12], reply.count(b"HTTP/1.1 ")), (b"HTTP/1.1 400", 1), (lines, reply))
            self.assertIn(b'{"error":', reply)
        reply, closed = self.talk(b"GET /health HTTP/1.1\r\n\r\n")
        self.assertEqual((reply[:12], closed), (b"HTTP/1.1 400", True))
        self.assertIn(b"one Host header", reply)
        self.assertEqual(self.talk(b"GET /health HTTP/1.0\r\n\r\n")[0][:12], b"HTTP/1.1 200")

    def test_broken_http(self):
        for data in (b"\r\n" * 50, b"\0" * 500, b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhello"):
            self.assertEqual(self.raw(data, wait=1), b"", data[:60])
        for path in ("/../../etc/passwd", "/examples/../config.json", "/examples/..%2fconfig.json", "/%2e%2e/x", "/examples/", "/v1/models/x"):
            self.assertEqual(self.server.request("GET", path)[0], 404, path)
        self.assertEqual(self.server.request("GET", "/examples/%00")[0], 404)

    def test_names_that_are_not_ours(self):
        for host, status in (("evil.example", 403), ("evil.example:80", 403), ("localhost.evil.example", 403), ("x" * 400, 403),
                             ("localhost:80@evil.example", 403), ("localhost@evil.example", 403), ("localhost:x", 403), ("[::1", 403),
                             ("localhost", 200), ("localhost:", 200), ("127.0.0.1:1", 200), ("[::1]:5", 200), ("a.localhost", 200)):
            self.assertEqual(self.server.request("GET", "/v1/models", headers={"Host": host})[0], status, host)
        body = {"messages": user("hello"), "max_tokens": 1}
        for site, status in (("cross-site", 403), ("same-origin", 200), ("none", 200)):
            self.assertEqual(self.server.request("POST", CHAT, body, {"Sec-Fetch-Site": site})[0], status, site)

    def test_targets_that_name_a_host(self):
        """As a proxy asks (RFC 9112, 3.2.2): its path counts, and its host in place of the header's."""
        for target, host, status in (("http://localhost/health", "localhost", 200), ("HTTP://127.0.0.1:99/v1/models?x=/", "localhost", 200),
                                     ("https://[::1]/health", "localhost", 200), ("http://localhost", "localhost", 200),
                                     ("http://localhost//health", "localhost", 404), ("http://localhost/v1/models", "evil.example", 200),
                                     ("http://evil.example/v1/models", "localhost", 403), ("http://localhost@evil.example/", "localhost", 403),
                                     ("http:///v1/models", "localhost", 403), ("http://localhost:80@evil.example/", "localhost", 403),
                                     ("http://" + "a" * 300 + ".localhost/health", "localhost", 403), ("ftp://localhost/health", "localhost", 404),
                                     ("*", "localhost", 404)):
            reply = self.raw(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            self.assertEqual(reply.split(b"\r\n")[0].split()[1], b"%d" % status, (target, host))
        body = json.dumps({"messages": user("hello"), "max_tokens": 1}).encode()
        reply = self.raw(b"POST http://localhost/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        self.assertIn(b"chat.completion", reply)

    def test_a_line_of_the_log_stays_one(self):
        self.server.request("GET", "/a%0a12:00:00%20forged%1b[31m")
        deadline = time.monotonic() + 5
        while "forged" not in self.server.said() and time.monotonic() < deadline:
            time.sleep(0.02)
        line = next(line for line in self.server.said().split("\n") if "forged" in line)
        self.assertIn("/a?12:00:00?forged?[31m 404", line)

    def test_who_goes_at_every_stage(self):
        body = json.dumps({"messages": user("Talk long", 0), "max_tokens": 300, "stream": True, "temperature": 1}).encode()
        whole = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        for cut in (0, 1, 20, 90, 200, len(whole) // 2, len(whole) - 1, len(whole)):
            for abrupt in (False, True):
                line = socket.create_connection(("127.0.0.1", self.server.port))
                line.sendall(whole[:cut])
                if abrupt:
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                line.close()
        deadline = time.monotonic() + 30
        while self.server.metric("vl2_requests_running") + self.server.metric("vl2_requests_waiting") > 0:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        self.assertEqual(self.server.ask(messages=user("still there?"), max_tokens=2)[0], 200)

    def test_a_reader_that_does_not_read_delays_nobody(self):
        body = json.dumps({"messages": user("Talk"), "max_tokens": 2000, "stream": True, "temperature": 2, "logprobs": True,
                           "top_logprobs": 20}).encode()
        lines = []
        for _ in range(2):
            line = socket.socket()
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.connect(("127.0.0.1", self.server.port))
            line.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            lines.append(line)
        self.assertEqual(self.server.ask(messages=user("And me?"), max_tokens=2)[0], 200)
        for line in lines:
            line.close()


class ScarceTest(unittest.TestCase):
    def test_pictures_share_a_bound(self):
        """A small file may hold a huge picture: what decoding takes is bounded over all requests."""
        server = Server("--max-images", "16", "--image-cache", "8")
        try:
            url = png(honest_png(9900)) # 98 million pixels: 294 MB of the 1 GiB there is
            four = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}] * 4}]
            status, reply = server.ask(messages=four, max_tokens=1)
            self.assertEqual(status, 400, reply)
            self.assertEqual(reply["error"]["param"], "messages[0].content[3]")
        finally:
            self.assertFalse(server.stop())

    def test_few_files(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
        server = Server("--max-connections", "200", preexec_fn=limit)
        lines = []
        try:
            self.assertIn("--max-connections is 24", server.said())
            for _ in range(60):
                line = socket.create_connection(("127.0.0.1", server.port), timeout=5)
                line.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
                lines.append(line)
            for line in lines:
                line.close()
            deadline = time.monotonic() + 20
            status = 0
            while status != 200 and time.monotonic() < deadline:
                try:
                    status = server.request("GET", "/health")[0]
                except OSError:
                    time.sleep(0.05)
            self.assertEqual(status, 200)
            self.assertEqual(server.ask(messages=user("hello", 0), max_tokens=2)[0], 200)
        finally:
            for line in lines:
                line.close()
            self.assertFalse(server.stop())

    @unittest.skipIf("san" in os.path.basename(os.environ.get("VL2_BUILD", "")), "a sanitizer needs the address space")
    def test_little_memory(self):
        server = Server("--parallel", "2", "--chunk-size", "64")
        try:
            for _ in range(2):
                self.assertEqual(server.ask(messages=user("hello", 0), max_tokens=2)[0], 200)
            with open(f"/proc/{server.process.pid}/status") as status:
                size = next(int(line.split()[1]) for line in status if line.startswith("VmSize")) << 10
            resource.prlimit(server.process.pid, resource.RLIMIT_AS, (size + (6 << 20), resource.RLIM_INFINITY))
            statuses = set()
            for i in range(40):
                text = "x" * (i % 8 << 18)
                try:
                    statuses.add(server.ask(messages=user(text, i % 4), max_tokens=2, n=1 + i % 8)[0])
                except OSError:
                    statuses.add("hung up")
            self.assertTrue(statuses - {200}, statuses)
            resource.prlimit(server.process.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            self.assertEqual(server.ask(messages=user("hello"), max_tokens=2)[0], 200)
        finally:
            self.assertFalse(server.stop())


if __name__ == "__main__":
    unittest.main()
