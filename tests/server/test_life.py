"""A server's life: loading, keys, names, log, resting, and the end with answers on their way."""
import concurrent.futures
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from serving import MINI, PROGRAM, Server, user


ENDLESS = user("Talk") # to which the checkpoint, greedy, never comes to an end


def lines(server, word, n=1, seconds=10):
    """The log's lines with a word, when there are n of them."""
    deadline = time.monotonic() + seconds
    while True:
        found = [line for line in server.said().split("\n") if word in line]
        if len(found) >= n or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


class LifeTest(unittest.TestCase):
    def test_keys_of_a_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
            keys.write("# ours\nfirst\n\n  second  \r\n")
            keys.flush()
            server = Server("--api-key-file", keys.name)
            try:
                for key, status in (("first", 200), ("second", 200), ("# ours", 401), ("", 401), ("firs", 401), ("first2", 401), (" ", 401)):
                    headers = {"Authorization": f"Bearer {key}"}
                    self.assertEqual(server.request("GET", "/v1/models", headers=headers)[0], status, key)
                self.assertEqual(server.request("GET", "/metrics")[0], 401)
                self.assertEqual(server.request("GET", "/")[0], 200)
            finally:
                self.assertFalse(server.stop())
            keys.seek(0)
            keys.truncate()
            keys.write("# none\n\n")
            keys.flush()
            done = subprocess.run([PROGRAM, "serve", "-m", str(MINI), "--api-key-file", keys.name], capture_output=True, text=True)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("there is no key in it", done.stderr)

    def test_one_key_cannot_take_every_place(self):
        with tempfile.NamedTemporaryFile("w") as keys:
            keys.write("a\nb\n")
            keys.flush()
            server = Server("--api-key-file", keys.name, "--parallel", "1", "--queue", "7", "--ctx-size", "60000", "--kv-tokens", "60000")
            held = []

            def inside():
                _, data, _ = server.request("GET", "/metrics", headers={"Authorization": "Bearer a"})
                found = dict(line.rsplit(" ", 1) for line in data.decode().split("\n") if line and line[0] != "#")
                return float(found["vl2_requests_running"]) + float(found["vl2_requests_waiting"])

            def hold(key, n):
                """An answer that does not end, until the connection does; when n of them are inside."""
                body = json.dumps({"messages": ENDLESS, "max_tokens": 50000, "stream": True}).encode()
                line = socket.create_connection(("127.0.0.1", server.port))
                held.append(line)
                line.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
                             % (key, len(body)) + body)
                deadline = time.monotonic() + 60
                while inside() < n:
                    self.assertLess(time.monotonic(), deadline)
                    time.sleep(0.02)

            try:
                for i in range(6): # three quarters of eight places
                    hold(b"a", i + 1)
                body = {"messages": user("hello"), "max_tokens": 1}
                status, _, headers = server.request("POST", "/v1/chat/completions", body, {"Authorization": "Bearer a"})
                self.assertEqual(status, 429)
                self.assertGreaterEqual(int(headers["Retry-After"]), 1)
                hold(b"b", 7)
                hold(b"b", 8)
                self.assertEqual(server.request("POST", "/v1/chat/completions", body, {"Authorization": "Bearer b"})[0], 429)
            finally:
                for line in held:
                    line.close()
                self.assertFalse(server.stop())

    def test_log_for_people_and_machines(self):
        server = Server("--verbose")
        server.ask(messages=user("hello", 0), max_tokens=3)
        server.ask(messages=user("hello"), temperature=9)
        server.request("GET", "/nothing")
        server.request("GET", "/health")
        self.assertRegex(lines(server, "answer 3")[0], r"^\d\d:\d\d:\d\d  127\.0\.0\.1  POST /v1/chat/completions 200  chatcmpl-\w+  "
                         r"prompt \d+ \(cached \d+\)  answer 3  first [\d.]+ s  ok  [\d.]+ s$")
        self.assertIn("refused", lines(server, "completions 400")[0])
        self.assertTrue(lines(server, "GET /nothing 404") and lines(server, "GET /health 200"))
        self.assertFalse(server.stop())
        server = Server("--log-json")
        server.ask(messages=user("hello"), max_tokens=3)
        server.request("GET", '/a"b\\%0a')
        server.request("GET", "/health") # which leaves no line, unless --verbose
        said = [json.loads(line) for line in lines(server, '{"time"', 2)] # one line a request, as each is let go
        said.sort(key=lambda one: one["status"])
        self.assertEqual([(one["path"], one["status"]) for one in said], [("/v1/chat/completions", 200), ('/a"b\\\n', 404)])
        self.assertEqual((said[0]["completion_tokens"], said[0]["result"]), (3, "ok"))
        self.assertFalse(server.stop())

    def test_what_a_request_does_not_say(self):
        server = Server()
        full = {"messages": [{"role": "system", "content": "Be <|grounding|> exact."}, *user("Talk")], "max_tokens": 20, "temperature": 1.5, "seed": 4}
        said = server.ask(**full)[1]
        text = said["choices"][0]["message"]["content"]
        stripped = server.ask(**full, skip_special_tokens=True)[1]["choices"][0]["message"]["content"]
        self.assertFalse(server.stop())
        stop = text[len(text) // 2]
        server = Server("--system", "Be <|grounding|> exact.", "--stop", stop, "--max-tokens", "20", "--temperature", "1.5", "--seed", "4",
                        "--skip-special-tokens", "--chunk-size", "0")
        try:
            reply = server.ask(messages=user("Talk"), stop=[], skip_special_tokens=False)[1]
            self.assertEqual(reply["choices"][0]["message"]["content"], text)
            self.assertEqual(reply["usage"]["prompt_tokens"], said["usage"]["prompt_tokens"])
            self.assertEqual(server.ask(messages=user("Talk"), stop=[])[1]["choices"][0]["message"]["content"], stripped)
            cut = server.ask(messages=user("Talk"), skip_special_tokens=False)[1]["choices"][0]
            self.assertEqual((cut["message"]["content"], cut["finish_reason"]), (text[:text.index(stop)].strip(), "stop"))
            for role in ("system", "developer"): # the request's own is the only one
                own = server.ask(messages=[{"role": role, "content": "x"}, *user("Talk")])[1]
                self.assertLess(own["usage"]["prompt_tokens"], reply["usage"]["prompt_tokens"])
        finally:
            self.assertFalse(server.stop())

    def test_what_it_says_at_the_start(self):
        server = Server("--threads", "2", "--ctx-size", "512")
        said = server.said()
        self.assertRegex(said, r"2 thread\(s\); \d+ MiB of weights \(mapped\); \d+ MiB of KV for 2048 tokens")
        self.assertNotIn("warning", said)
        self.assertFalse(server.stop())
        server = Server("--host", "0.0.0.0", where="0.0.0.0")
        self.assertIn("warning: open to other machines without a key", server.said())
        self.assertEqual(server.request("GET", "/v1/models", headers={"Host": "any.example"})[0], 200)
        self.assertFalse(server.stop())

    def test_a_port_in_use(self):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = str(other.getsockname()[1])
            done = subprocess.run([PROGRAM, "serve", "-m", str(MINI), "--port", port], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"port {port}", done.stderr)

    def test_a_model_that_cannot_be_loaded(self):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "config.json").write_text("{}")
            done = subprocess.run([PROGRAM, "serve", "-m", folder, "--port", "0"], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 1)
            server = Server("--lazy-load", model=folder)
            status, data, headers = server.request("POST", "/v1/chat/completions", {"messages": user("x")})
            self.assertEqual(status, 503)
            self.assertNotIn(folder.encode(), data) # the log has it
            self.assertIn("Retry-After", headers)
            self.assertTrue(lines(server, folder))
            self.assertFalse(server.stop())

    def test_weights_come_and_go(self):
        server = Server("--lazy-load", "--idle-seconds", "0.5")
        try:
            self.assertIn("loaded with the first request", server.said())
            self.assertEqual(server.request("GET", "/health")[0], 200)
            first = server.ask(messages=user("hello", 0), max_tokens=6)[1]["choices"]
            self.assertTrue(lines(server, "the weights were let go"))
            self.assertEqual(server.request("GET", "/health")[0], 200)
            self.assertEqual(server.ask(messages=user("hello", 0), max_tokens=6)[1]["choices"], first)
            self.assertTrue(lines(server, "the weights were let go", 2))
            self.assertEqual(server.request("POST", "/tokenize", {"content": "x"})[0], 200)
        finally:
            self.assertFalse(server.stop())
        server = Server("--idle-seconds", "30") # loaded at the start, and not at once let go
        time.sleep(1.5)
        self.assertFalse(lines(server, "let go", seconds=0))
        self.assertFalse(server.stop())

    def test_under_a_prefix_and_another_name(self):
        server = Server("--root-path", "/vl2", "--host-name", "pictures.example", "--cors-origin", "https://pictures.example")
        try:
            for path in ("/vl2/health", "/vl2/", "/vl2/app.js", "/vl2/v1/models", "/health", "http://localhost/vl2/health"):
                self.assertEqual(server.request("GET", path)[0], 200, path)
            for path in ("/vl2", "http://localhost/vl2"):
                status, _, headers = server.request("GET", path)
                self.assertEqual((status, headers["Location"]), (308, "/vl2/"))
            self.assertEqual(server.request("GET", "/vl2x/health")[0], 404)
            status, _, headers = server.request("GET", "/v1/models", headers={"Host": "pictures.example", "Sec-Fetch-Site": "cross-site"})
            self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (200, "https://pictures.example"))
            self.assertEqual(server.request("OPTIONS", "/vl2/v1/chat/completions")[0], 204)
        finally:
            self.assertFalse(server.stop())

    def test_choices_fit_the_pool(self):
        """What n choices may take is bounded by the pool as it is given out: nobody waits for ever."""
        server = Server("--kv-tokens", "1000", "--request-seconds", "280")
        try:
            for n in range(1, 9):
                status, reply = server.ask(messages=user("Count"), n=n, max_tokens=1000, temperature=1)
                self.assertEqual(status, 200, reply)
                self.assertEqual(len(reply["choices"]), n)
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                done = list(pool.map(lambda i: server.ask(messages=user(f"Say {i}", i % 4), n=1 + i % 3, max_tokens=200)[0], range(16)))
            self.assertEqual(done, [200] * 16)
        finally:
            self.assertFalse(server.stop())

    def test_time_is_up(self):
        server = Server("--request-seconds", "0.2", "--kv-tokens", "100000", "--ctx-size", "100000")
        try:
            status, reply = server.ask(messages=ENDLESS, max_tokens=90000)
            self.assertEqual(status, 504)
            _, events, last = server.stream(messages=ENDLESS, max_tokens=90000)
            self.assertIn("error", events[-1])
            self.assertEqual(last, "[DONE]")
        finally:
            self.assertFalse(server.stop())

    def end(self, signals):
        """Two streams, one of them queued; the statuses and last events, and what the process ended with."""
        server = Server("--parallel", "1", "--ctx-size", "60000", "--kv-tokens", "60000")
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            running = [pool.submit(server.stream, messages=ENDLESS, max_tokens=50000) for _ in range(2)]
            deadline = time.monotonic() + 20
            while server.metric("vl2_requests_waiting") < 1 and time.monotonic() < deadline:
                time.sleep(0.02)
            late = socket.create_connection(("127.0.0.1", server.port)) # a connection that is open already
            for number in signals:
                server.process.send_signal(number)
                time.sleep(0.3)
            body = json.dumps({"messages": user("x"), "max_tokens": 1}).encode()
            try:
                late.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                answer = late.recv(1000)
            except OSError:
                answer = b""
            late.close()
            status = server.process.wait(60)
            said = server.said()
            server.log.close()
            return [one.result() for one in running], answer, status, said

    def test_told_twice_it_ends_with_a_clear_event(self):
        results, answer, status, said = self.end([signal.SIGTERM, signal.SIGTERM])
        self.assertEqual(status, 0)
        self.assertNotIn("Sanitizer", said)
        for http_status, events, last in results:
            if http_status == 200:
                self.assertEqual((events[-1]["error"]["message"], last), ("the server is stopping", "[DONE]"))
            else:
                self.assertEqual(http_status, 503)
        self.assertTrue(any(http_status == 200 for http_status, _, _ in results))
        self.assertNotIn(b" 200 ", answer)

    def test_told_once_it_lets_answers_finish(self):
        server = Server()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            running = [pool.submit(server.stream, messages=user(f"Talk {i}"), max_tokens=120, temperature=2) for i in range(8)]
            deadline = time.monotonic() + 20
            while server.metric("vl2_requests_running") < 8 and not all(one.done() for one in running) and time.monotonic() < deadline:
                time.sleep(0.005)
            self.assertFalse(server.stop())
            for one in running:
                status, events, last = one.result()
                self.assertEqual((status, last), (200, "[DONE]"))
                self.assertNotIn("error", events[-1])


if __name__ == "__main__":
    unittest.main()
