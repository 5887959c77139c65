"""Hostile clients beside honest ones, at every stage of a request, and SIGTERM in the middle of it.

    VL2_HOSTILE_SECONDS=1800 VL2_HOSTILE_SEED=7 ctest -R server_hostile -V

Seconds (8 where nothing is said) are spent in rounds of at most a minute, each with a server of its
own. The seed is printed; each client's doings follow from it, though not how they meet.
"""
import asyncio
import base64
import collections
import json
import logging
import os
import random
import signal
import socket
import struct
import time
import unittest

from serving import MINI, PICTURES, Server, user
from test_abuse import CHAT, honest_png, lying_png, part, png

SECONDS = float(os.environ.get("VL2_HOSTILE_SECONDS", "8"))
SEED = os.environ.get("VL2_HOSTILE_SEED") or str(random.randrange(1 << 32))
HOSTILE, HONEST, MAX_BODY = 24, 3, 4 << 20
HUGE = 1 << 30 if SECONDS > 60 else 64 << 20 # bytes of a body that does not end
GOODS = [{"messages": user(f"What is it, {i}?", i % 4), "max_tokens": 12, "temperature": i % 2, "seed": i} for i in range(6)]

logging.getLogger("asyncio").setLevel(logging.ERROR) # that a peer has gone is no news here


# ---- bodies ----

def mutated(rng, data, most=40):
    data = bytearray(data)
    for _ in range(rng.randrange(1, most)):
        how, at = rng.randrange(3), rng.randrange(len(data) or 1)
        if how == 0 and data:
            data[at] = rng.randrange(256)
        elif how == 1:
            del data[at:at + rng.randrange(1, 64)]
        else:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 16)))
    return bytes(data)


def deep(rng):
    n = rng.choice((63, 64, 65, 1000, 400000))
    kind = rng.choice(("[", '{"a":', '{"messages":[', '[{"content":'))
    return (kind * n)[:MAX_BODY].encode()


def many(rng):
    return b"[" + rng.choice((b"{},", b"0,", b'"",', b"[],", b'{"a":0},')) * rng.randrange(1, 400000) + b"0]"


def images(rng):
    url = rng.choice(("data:image/png;base64,AAAA", "x", "file:a", png(lying_png(1, 1)), png(honest_png(4))))
    one = {"type": "image_url", "image_url": {"url": url}}
    content = [one] * rng.choice((17, 4097, 100000))
    if rng.randrange(2): # spread over messages
        return json.dumps({"messages": [{"role": "user", "content": content[:3]}] * (len(content) // 3)}).encode()
    return json.dumps({"messages": [{"role": "user", "content": content}]}).encode()


def lies(rng):
    head = rng.choice((b"GIF89a", b"BM", b"RIFF\xff\xff\xff\xffWEBPVP8 ", b"RIFF\x24\0\0\0WEBPVP8X", b"\xff\xd8\xff\xe0", b"II*\0", b"MM\0*",
                       b"P6 999999 999999 255\n", b"P6 30000 30000 255\n", b"P5 1 1 65535\n", b"\x89PNG\r\n\x1a\n"))
    noise = head + bytes(rng.randrange(256) for _ in range(rng.randrange(200)))
    side = rng.choice((0, 1, 9000, 10001, 60000, 2 ** 31 - 1))
    return png(rng.choice((noise, lying_png(side, rng.choice((1, 60000))), mutated(rng, rng.choice(PICTURES)), mutated(rng, honest_png(64)))))


def broken_url(rng):
    whole = base64.b64encode(PICTURES[0]).decode()
    at = rng.randrange(len(whole))
    return rng.choice(("data:image/png;base64,", "data:;base64,====", "data:image/png;base64," + whole[:at], "data:image/png;base64," + whole[:at] + "\n" + whole[at:],
                       "data:image/png;base64," + whole[:at] + "=" + whole[at:], "data:image/png," + whole, "data:" + "x" * 300000, "file:///etc/passwd",
                       "http://127.0.0.1:1/", "FILE:../../x", "\0", "data:image/png;base64,%41"))


def odd_field(rng, good):
    field = rng.choice(("n", "stop", "temperature", "messages", "tools", "seed", "max_tokens", "stream", "stream_options", "logprobs", "top_logprobs",
                        "model", "response_format", "top_k", "min_p", "repetition_penalty"))
    value = rng.choice((-1, "", [], {}, None, 1e300, 2 ** 63, "\ud800", [[[]]], {"a": {"b": []}}, True, 0, "x" * 5000, [""] * 17, 1e-320))
    return {**good, field: value}


def body(rng):
    good = rng.choice(GOODS)
    kind = rng.randrange(12)
    if kind == 0:
        return deep(rng)
    if kind == 1:
        return many(rng)
    if kind == 2:
        return images(rng)
    if kind == 3:
        return json.dumps({"messages": part(lies(rng)), "max_tokens": 2}).encode()
    if kind == 4:
        return json.dumps({"messages": part(broken_url(rng)), "max_tokens": 2}).encode()
    if kind == 5:
        return json.dumps({**good, "messages": user("x " * rng.randrange(1 << 20))}).encode()
    if kind == 6:
        return mutated(rng, json.dumps(good).encode())
    if kind == 7:
        return json.dumps(odd_field(rng, good)).encode()
    return json.dumps({**good, "stream": bool(rng.randrange(2)), "max_tokens": rng.choice((1, 50, 4000)), "temperature": 1.5, "n": rng.randrange(1, 9),
                       "logprobs": True, "top_logprobs": 20, "stop": rng.choice((None, "e", ["\n", "zz"]))}).encode()


def request(rng):
    """The bytes of a request, or of something near it."""
    raw = body(rng)
    path = rng.choice((CHAT,) * 12 + ("/tokenize", "/v1/models", "/metrics", "/", "/examples/%00", "/" + "a" * rng.choice((100, 70000)), "//", "*"))
    method = rng.choice((b"POST",) * 12 + (b"GET", b"HEAD", b"PUT", b"OPTIONS", b"\xff", b"B" * 300))
    head = method + b" " + path.encode() + rng.choice((b" HTTP/1.1",) * 12 + (b" HTTP/1.0", b" HTTP/9.9", b"", b" HTTP/1.1 x")) + b"\r\n"
    for _ in range(rng.choice((0, 0, 0, 1, 200, 5000))):
        head += rng.choice((b"X: y", b"Expect: 100-continue", b"Host: a\0b", b"Cookie: " + b"a=b;" * 50, b": ", b"no colon", b" folded")) + b"\r\n"
    head += rng.choice((b"Host: localhost\r\n",) * 8 + (b"", b"Host: evil.example\r\n"))
    kind = rng.randrange(8)
    if kind == 0: # chunks, some of them broken
        size = rng.choice((b"%x" % len(raw), b"zz", b"-1", b"f" * 20, b"%x;x=y" % len(raw), b"%x" % (len(raw) + 5)))
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + raw + b"\r\n0\r\n\r\n"
    length = rng.choice((len(raw),) * 6 + (len(raw) + 7, HUGE, 0, -1, 10 ** 30))
    data = head + b"Content-Length: %d\r\n\r\n" % length + raw
    return data * rng.choice((1, 1, 1, 1, 3)) if len(data) < 100000 else data # pipelined


# ---- clients ----

class Tally(collections.Counter):
    """Statuses by number; what an error may not hold."""

    def judge(self, reply):
        if not reply:
            self["nothing"] += 1
            return
        status = reply[9:12].decode("latin1")
        self[status if reply.startswith(b"HTTP/1.1 ") else "odd"] += 1
        assert reply.startswith(b"HTTP/1.1 "), reply[:200]
        assert str(MINI).encode() not in reply, reply[:2000]
        head, _, rest = reply.partition(b"\r\n\r\n")
        if b"application/json" in head and int(status) >= 400 and len(reply) < 60000 and b"Connection: close" in head and rest:
            assert b'"error"' in rest, rest[:300]


async def send_endless(rng, writer):
    """A body that goes on until the server has had enough, in chunks or with a length."""
    block = bytes(1 << 16)
    chunked = rng.randrange(2)
    writer.write(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\n" +
                 (b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % MAX_BODY) + b"\r\n\r\n")
    for _ in range(HUGE >> 16):
        writer.write((b"10000\r\n" + block + b"\r\n") if chunked else block)
        await writer.drain()


async def send_slowly(rng, writer, data):
    for at in range(0, min(len(data), 400), 20):
        writer.write(data[at:at + 20])
        await asyncio.sleep(rng.choice((0.01, 0.1)))
    if rng.randrange(2):
        writer.write(data[400:])


async def read_slowly(reader):
    reply = b""
    for _ in range(40):
        got = await asyncio.wait_for(reader.read(7), 1)
        if not got:
            break
        reply += got
        await asyncio.sleep(0.02)
    return reply


async def attack(rng, port, tally):
    line = socket.socket()
    line.setblocking(False)
    if rng.randrange(4) == 0:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    data, how = request(rng), rng.randrange(10)
    try:
        await asyncio.get_running_loop().sock_connect(line, ("127.0.0.1", port))
    except OSError:
        line.close()
        raise
    reader, writer = await asyncio.open_connection(sock=line)
    try:
        if how == 0: # cut anywhere
            writer.write(data[:rng.randrange(len(data) + 1)])
        elif how == 1:
            await send_slowly(rng, writer, data)
        elif how == 2:
            await asyncio.wait_for(send_endless(rng, writer), 5)
        else:
            writer.write(data)
            if rng.randrange(4) == 0 and writer.can_write_eof():
                writer.write_eof()
        if how >= 3:
            late = rng.choice((0.02, 0.3, 1, 4))
            reply = await (read_slowly(reader) if how == 3 else asyncio.wait_for(reader.read(rng.choice((1, 12, 500, 100000))), late))
            if len(reply) >= 12:
                tally.judge(reply)
    finally:
        if rng.randrange(2):
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.close()


async def hostile(name, port, until, tally):
    rng = random.Random(name)
    while time.monotonic() < until():
        try:
            await attack(rng, port, tally)
        except (OSError, asyncio.TimeoutError, TimeoutError) as error:
            tally["left"] += 1
            await asyncio.sleep(0.1 if isinstance(error, ConnectionRefusedError) else 0)


async def ask(port, question, begun=None):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    raw = json.dumps(question).encode()
    writer.write(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw)
    data = await asyncio.wait_for(reader.read(1), 300)
    if begun:
        begun.set()
    data += await asyncio.wait_for(reader.read(), 300)
    writer.close()
    head, _, rest = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), rest


async def honest(name, port, until, expected, served):
    rng = random.Random(name)
    while time.monotonic() < until():
        i = rng.randrange(len(GOODS))
        try:
            status, rest = await ask(port, GOODS[i])
        except (OSError, IndexError, asyncio.TimeoutError, TimeoutError) as error:
            served[f"failed: {error!r}"] += 1
            continue
        if status == 200:
            right = json.loads(rest)["choices"] == expected[i]
            served["right" if right else "wrong"] += 1
        elif status in (429, 503) and b"no memory" in rest or status == 429:
            served["busy"] += 1
            await asyncio.sleep(0.1)
        else:
            served[f"failed: {status} {rest[:200]}"] += 1


async def stream(port, question, begun):
    """Whether a stream that the end came upon had a clear last word."""
    try:
        status, rest = await ask(port, {**question, "stream": True, "max_tokens": 200}, begun)
    except (ConnectionRefusedError, ConnectionResetError, IndexError): # not let in any more
        return "refused"
    if status != 200:
        return f"{status}"
    return "ended" if b"data: [DONE]" in rest else "cut off"


def descriptors(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def memory(server):
    with open(f"/proc/{server.process.pid}/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) >> 10


class HostileTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print(f"VL2_HOSTILE_SEED={SEED}", flush=True)
        server = Server() # what honest clients get when they are alone
        cls.expected = [server.ask(**good)[1]["choices"] for good in GOODS]
        assert not server.stop()

    def attackers(self, name, server, until, tally):
        return [asyncio.create_task(hostile(f"{SEED}/{name}/{i}", server.port, until, tally)) for i in range(HOSTILE)]

    async def together(self, number, server, seconds, tally):
        """Hostile and honest clients; afterwards everything that was taken for them is given back."""
        served, end = collections.Counter(), time.monotonic() + seconds
        attackers = self.attackers(number, server, lambda: end, tally)
        await asyncio.gather(*attackers, *(honest(f"{SEED}/{number}/good{i}", server.port, lambda: end, self.expected, served) for i in range(HONEST)))
        until = time.monotonic() + 60
        while (files := descriptors(server)) > self.files or server.metric("vl2_requests_running") + server.metric("vl2_requests_waiting"):
            self.assertLess(time.monotonic(), until, f"{files} descriptors are open, {self.files} were")
            await asyncio.sleep(0.1)
        return served

    async def ended(self, number, server, tally):
        """SIGTERM with streams under way and attackers about; how the streams ended."""
        attackers = self.attackers(f"{number}/end", server, lambda: end, tally)
        begun = asyncio.Event()
        streams = [asyncio.create_task(stream(server.port, good, begun)) for good in GOODS]
        end = time.monotonic() + 60
        await asyncio.wait([asyncio.create_task(begun.wait())], timeout=20)
        for _ in range(1 + number % 2): # told twice it does not wait for anybody
            server.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
        ends = collections.Counter(await asyncio.gather(*streams))
        until = time.monotonic() + 45
        while server.process.poll() is None and time.monotonic() < until:
            await asyncio.sleep(0.05)
        end = 0
        await asyncio.gather(*attackers)
        return ends

    async def round(self, number, server, seconds):
        tally = Tally()
        server.ask(**GOODS[0])
        self.files = descriptors(server) + 1 # a connection that asks is one
        served = await self.together(number, server, seconds, tally)
        most = memory(server)
        return tally, served, await self.ended(number, server, tally), most

    def test_rounds(self):
        left, number = SECONDS, 0
        while left > 0:
            seconds = min(left, 60)
            server = Server("--parallel", "4", "--queue", "24", "--max-body", str(MAX_BODY >> 20), "--max-connections", "64")
            begun = time.monotonic()
            tally, served, ends, most = asyncio.run(self.round(number, server, seconds))
            status, said = server.process.poll(), server.said()
            print(f"round {number}, {time.monotonic() - begun:.0f} s: hostile {dict(sorted(tally.items()))}; honest {dict(served)}; "
                  f"streams {dict(ends)}; at most {most} MiB", flush=True)
            server.log.close()
            if status is None:
                server.process.kill()
            self.assertEqual(status, 0, said[-3000:])
            self.assertNotIn("Sanitizer", said)
            self.assertGreater(sum(tally.values()), 0)
            self.assertGreater(served["right"], 0)
            self.assertLessEqual(set(served), {"right", "busy"})
            self.assertLessEqual(set(ends), {"ended", "refused", "429", "503"})
            left, number = left - seconds, number + 1


if __name__ == "__main__":
    unittest.main()
