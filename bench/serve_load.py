#!/usr/bin/env python3
"""Measures `vl2 serve` over loopback: how many people it answers, how soon, and what that costs.

    bench/serve_load.py load  [--clients 1 4 16 64] [--seconds 8]   throughput, time to the first token
    bench/serve_load.py loop  [--requests 40]                       the same questions one at a time by `vl2 batch --parallel 1`
    bench/serve_load.py gap                                         a stream's worst gap while long work arrives
    bench/serve_load.py cache                                       what a second question on a picture saves
    bench/serve_load.py soak  [--requests 20000]                    memory over many requests
    bench/serve_load.py agree [--requests 200]                      answers from kept beginnings beside whole ones

Each starts its own server on the demo checkpoint (--model another); --program build/release/cli/vl2.
Questions are on the checkpoint's example pictures, each picture changed in a pixel where it must not
be in a cache. The client is one thread, so that it does not take the server's cores.
"""
import argparse
import asyncio
import base64
import contextlib
import io
import json
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TALK = {"repetition_penalty": 0.01, "presence_penalty": -2, "frequency_penalty": -2} # so that short answers grow long
QUESTIONS = ("How many shapes are there?", "What is in the picture?", "Which colour is the circle?", "Where is the square?", "Read the text.",
             "Describe the picture.")


class Server:
    """Of `with`: stopped at the end, killed when something was raised."""

    def __init__(self, options, *words):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([options.program, "serve", "-m", options.model, "--port", "0", *words], stderr=self.log,
                                        stdout=subprocess.DEVNULL)
        while "http://" not in self.said():
            if self.process.poll() is not None:
                sys.exit(self.said())
            time.sleep(0.05)
        self.port = int(self.said().split("http://127.0.0.1:")[1].split("/")[0])

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.stop()
        finally:
            self.process.kill()
            self.process.wait()

    def said(self):
        self.log.seek(0)
        return self.log.read().decode()

    def memory(self, what="VmRSS"):
        with open(f"/proc/{self.process.pid}/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(90)
        said = self.said()
        if status or "Sanitizer" in said:
            print(said[-6000:])
            sys.exit(f"the server ended with {status}")


def pictures(options):
    return sorted(p for p in (pathlib.Path(options.model) / "examples").iterdir() if p.suffix in (".png", ".jpg", ".jpeg"))


def url_of(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


class Pictures:
    """The examples as data URLs; `new` gives one that no cache has."""

    def __init__(self, options):
        from PIL import Image
        self.images = [Image.open(p).convert("RGB") for p in pictures(options)]
        self.urls = [self.encode(image) for image in self.images]
        self.huge = self.encode(Image.new("1", (9990, 9990))) # 100 million pixels in some kilobytes
        self.count = 0

    @staticmethod
    def encode(image):
        out = io.BytesIO()
        image.save(out, "PNG", compress_level=1)
        return url_of(out.getvalue())

    def new(self):
        image = self.images[self.count % len(self.images)].copy()
        self.count += 1
        image.putpixel((0, 0), (self.count & 255, self.count >> 8 & 255, self.count >> 16))
        return self.encode(image)


def ask(text, *urls, **more):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls] + [{"type": "text", "text": text}]
    return {"messages": [{"role": "user", "content": parts}], **more}


async def send(port, body):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(raw) + raw)
    await writer.drain()
    return reader, writer


async def stream(port, body):
    """(status, times of tokens since the request, usage)"""
    begun = time.monotonic()
    reader, writer = await send(port, {**body, "stream": True, "stream_options": {"include_usage": True}})
    status = int((await reader.readline()).split()[1])
    times, usage = [], None
    while line := await reader.readline():
        if b'"delta":{"content"' in line and b'"role"' not in line:
            times.append(time.monotonic() - begun)
        elif b'"usage":{' in line:
            usage = json.loads(line[6:])["usage"]
    writer.close()
    return status, times, usage


async def whole(port, body):
    reader, writer = await send(port, body)
    data = await reader.read()
    writer.close()
    head, _, rest = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), rest


def median(values):
    return statistics.median(values) if values else float("nan")


def most(values, share=0.95):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


# ---- load ----

async def client(port, seconds, made, results):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        begun = time.monotonic()
        status, times, usage = await stream(port, made())
        results.append((status, times, usage, time.monotonic() - begun))
        if status == 429:
            await asyncio.sleep(1)


async def load(options):
    rows = []
    for n in options.clients:
        shown = Pictures(options)
        with Server(options, "--parallel", str(options.parallel), "--queue", "128") as server:
            pool = [shown.new() for _ in range(240)] # made before the clock runs
            made = lambda: ask(random.choice(QUESTIONS), pool.pop() if pool else shown.new(), max_tokens=64, **TALK)
            await stream(server.port, made())
            results, begun = [], time.monotonic()
            await asyncio.gather(*(client(server.port, options.seconds, made, results) for _ in range(n)))
            took = time.monotonic() - begun
            done = [r for r in results if r[0] == 200 and r[2]]
            tokens = sum(r[2]["completion_tokens"] for r in done)
            firsts = [r[1][0] for r in done if r[1]]
            gaps = [b - a for r in done for a, b in zip(r[1], r[1][1:])]
            rows.append((n, len(done), sum(r[0] == 429 for r in results), len(results) - len(done) - sum(r[0] == 429 for r in results),
                         len(done) / took, sum(r[2]["prompt_tokens"] for r in done) / took, tokens / took, median(firsts), most(firsts),
                         median(gaps), server.memory()))
    print("clients   done  429  failed  answers/s  prompt tok/s  answer tok/s  first ms median  95 %   gap ms  RSS MiB")
    for n, done, busy, failed, rate, prompt, tokens, first, late, gap, memory in rows:
        print(f"{n:7} {done:6} {busy:4} {failed:7} {rate:10.1f} {prompt:13.0f} {tokens:13.0f} {first * 1e3:16.0f} {late * 1e3:5.0f} {gap * 1e3:8.1f}"
              f" {memory:8.0f}")
    if any(row[3] for row in rows):
        sys.exit("requests failed")


def loop(options):
    from PIL import Image
    with tempfile.TemporaryDirectory() as folder:
        images = [Image.open(p).convert("RGB") for p in pictures(options)]
        with open(f"{folder}/in.jsonl", "w") as out:
            for i in range(options.requests):
                image = images[i % len(images)].copy()
                image.putpixel((0, 0), (i & 255, 7, 7))
                image.save(f"{folder}/{i}.png", compress_level=1)
                text = "<image>\n" + QUESTIONS[i % len(QUESTIONS)]
                out.write(json.dumps({"id": str(i), "messages": [{"role": "user", "content": text, "images": [f"{folder}/{i}.png"]}]}) + "\n")
        begun = time.monotonic()
        subprocess.run([options.program, "batch", "-m", options.model, "--parallel", "1", "--max-tokens", "64", "--repetition-penalty", "0.01",
                        "--presence-penalty", "-2", "--frequency-penalty", "-2", "-q", f"{folder}/in.jsonl", "-o",
                        f"{folder}/out.jsonl"], check=True)
        took = time.monotonic() - begun
        done = [json.loads(line) for line in open(f"{folder}/out.jsonl")]
    tokens = sum(one["usage"]["completion_tokens"] for one in done)
    print(f"one at a time: {len(done)} answers in {took:.1f} s: {len(done) / took:.1f} answers/s, {tokens / took:.0f} answer tok/s")


# ---- the worst gap ----

@contextlib.contextmanager
def with_nine_tiles(model):
    """The checkpoint, told that it may cut a square into nine: how a picture is cut is no matter of the weights."""
    with tempfile.TemporaryDirectory() as folder:
        for path in pathlib.Path(model).iterdir():
            if path.name not in ("config.json", "processor_config.json"):
                (pathlib.Path(folder) / path.name).symlink_to(path.resolve())
                continue
            config = json.loads(path.read_text())
            if "candidate_resolutions" in config:
                side = min(config["candidate_resolutions"])[0]
                config["candidate_resolutions"].append([3 * side, 3 * side])
            (pathlib.Path(folder) / path.name).write_text(json.dumps(config))
        yield folder, 3 * side


async def gap(options):
    with with_nine_tiles(options.model) as (options.model, side):
        await measure_gaps(options, side)


async def measure_gaps(options, side):
    shown = Pictures(options)
    with Server(options, "--ctx-size", "16384", "--kv-tokens", "65536", "--chunk-size", str(options.chunk)) as server:
        long = "Read the text." # the answer goes on and on in words; of spaces alone nothing would be sent
        words = " ".join(random.choice(QUESTIONS) for _ in range(4000))
        square = shown.images[0].resize((side, side)) # nine tiles, and the whole

        async def measured(*others):
            """Gaps of the running stream until the others are answered, milliseconds."""
            reader, writer = await send(server.port, {**ask(long), "max_tokens": 12000, "stream": True, **TALK})
            times, usage = [], []

            async def follow():
                while line := await reader.readline():
                    if b'"delta":{"content"' in line:
                        times.append(time.monotonic())

            following = asyncio.create_task(follow())
            await asyncio.sleep(0.3)
            begun = time.monotonic()
            if others:
                done = await asyncio.gather(*(whole(server.port, other) for other in others))
                usage = [json.loads(data)["usage"]["prompt_tokens"] for status, data in done if status == 200]
            else:
                await asyncio.sleep(1)
            end = time.monotonic()
            following.cancel()
            writer.close()
            await asyncio.sleep(0.2)
            inside = [t for t in times if begun <= t <= end]
            return [1e3 * (b - a) for a, b in zip(inside, inside[1:])], usage, end - begun

        text = words
        status, data = await whole(server.port, ask(text, max_tokens=1))
        while status != 200 or json.loads(data)["usage"]["prompt_tokens"] > 3000:
            text = text[:int(len(text) * 0.9)]
            status, data = await whole(server.port, ask(text, max_tokens=1))
        for what, others in (("alone", ()), ("a picture of 9 tiles", (ask("?", shown.encode(square), max_tokens=1),)),
                             ("100 million pixels", (ask("?", shown.huge, max_tokens=1),)),
                             ("a 3,000-token prompt", (ask("Now: " + text, max_tokens=1),)),
                             ("both at once", (ask("And?", shown.encode(square.transpose(0)), max_tokens=1), ask("Then: " + text, max_tokens=1)))):
            found, usage, took = await measured(*others)
            print(f"{what:24} prompts {str(usage):14} {took:6.2f} s  gaps: {len(found):5}  median {median(found):7.2f} ms  worst {max(found):7.1f} ms")


# ---- caches ----

async def cache(options):
    shown = Pictures(options)
    with Server(options) as server:
        async def first(body):
            _, times, usage = await stream(server.port, body)
            return times[0] * 1e3, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]

        rows = {"new picture": [], "same picture and question": [], "same picture, other question": [], "next turn": [], "rows only": []}
        for i in range(options.repeat):
            url, other = shown.new(), shown.new()
            body = ask("What is in the picture?", url, max_tokens=16)
            rows["new picture"].append(await first(body))
            status, data = await whole(server.port, body)
            answer = json.loads(data)["choices"][0]["message"]["content"]
            rows["same picture and question"].append(await first(body))
            rows["same picture, other question"].append(await first(ask("Which colours are there?", url, max_tokens=16)))
            turns = [*body["messages"], {"role": "assistant", "content": answer}, {"role": "user", "content": "And where is it?"}]
            rows["next turn"].append(await first({"messages": turns, "max_tokens": 16}))
            front = [{"role": "system", "content": f"Answer in {i} words."}, *body["messages"]]
            rows["rows only"].append(await first({"messages": front, "max_tokens": 16}))
        print("                               first token ms  prompt  cached")
        for what, found in rows.items():
            print(f"{what:30} {median([f[0] for f in found]):14.1f} {found[-1][1]:7} {found[-1][2]:7}")


# ---- agreement ----

async def agree(options):
    """Follow-up questions, with and without a kept beginning: how many answers are the same."""
    async def talk(server, i):
        url = shown.urls[i % len(shown.urls)]
        turns, said = ask(QUESTIONS[i % len(QUESTIONS)], url)["messages"], []
        for question in (QUESTIONS[(i + 1) % len(QUESTIONS)], QUESTIONS[(i + 2) % len(QUESTIONS)]):
            reply = json.loads((await whole(server.port, {"messages": turns, "max_tokens": 64}))[1])
            said.append((reply["choices"][0]["message"]["content"], reply["usage"]["prompt_tokens_details"]["cached_tokens"]))
            turns = [*turns, {"role": "assistant", "content": said[-1][0]}, {"role": "user", "content": question}]
        return said

    shown, both = Pictures(options), []
    for words in (("--prefix-cache", "0"), ()):
        with Server(options, *words) as server:
            both.append([one for i in range(options.requests // 2) for one in await talk(server, i)])
    same = sum(a[0] == b[0] for a, b in zip(*both))
    print(f"{len(both[0])} answers, {sum(known > 0 for _, known in both[1])} of them with a kept beginning: {same} the same as without")


# ---- memory ----

async def soak(options):
    shown = Pictures(options)
    with Server(options, "--parallel", "16", "--queue", "64", "--image-cache", "8") as server: # full soon: what grows then is a leak
        pool, made, bad = [shown.new() for _ in range(64)], 0, 0
        begun, rows, tokens = time.monotonic(), [], 0

        def body():
            nonlocal made
            made += 1
            if made % 8 == 0: # a picture that is not in a cache
                pool[made // 8 % len(pool)] = shown.new()
            return ask(QUESTIONS[made % len(QUESTIONS)] + f" {made % 997}", pool[made % len(pool)], max_tokens=8 + made % 24, temperature=made % 3 / 2,
                       n=1 + made % 2)

        async def work():
            nonlocal bad, tokens
            while made < options.requests:
                status, data = await whole(server.port, body())
                bad += status != 200
                tokens += json.loads(data)["usage"]["total_tokens"] if status == 200 else 0
                if made % (options.requests // 10) < 16 and (not rows or made - rows[-1][0] > 100):
                    rows.append((made, server.memory(), server.descriptors()))

        await asyncio.gather(*(work() for _ in range(32)))
        took = time.monotonic() - begun
        print(f"{made} requests, {bad} not answered, {tokens} tokens in {took:.0f} s; most memory ever {server.memory('VmHWM'):.0f} MiB")
        for n, memory, files in rows:
            print(f"  after {n:6} requests: RSS {memory:7.1f} MiB, {files} descriptors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("load", "loop", "gap", "cache", "soak", "agree"))
    parser.add_argument("--program", default=str(ROOT / "build/release/cli/vl2"))
    parser.add_argument("--model", default=str(ROOT / "models/demo"))
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 4, 16, 64])
    parser.add_argument("--parallel", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--requests", type=int, default=None)
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--chunk", type=int, default=512)
    options = parser.parse_args()
    options.requests = options.requests or {"loop": 40, "soak": 20000, "agree": 200}.get(options.what)
    random.seed(1)
    what = globals()[options.what]
    what(options) if options.what == "loop" else asyncio.run(what(options))


if __name__ == "__main__":
    main()
