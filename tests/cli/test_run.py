"""vl2 run: answers, JSON, pictures from files and stdin, pipes, Ctrl-C, a full disk."""
import json
import os
import pathlib
import signal
import struct
import subprocess
import time
import unittest
import zlib

from program import CASES, MINI, PROGRAM, ProgramTest, Terminal, case, environment, vl2

F32 = ("-m", MINI, "--compute", "f32", "--max-tokens", "24")


def expected(name):
    return case(name)["greedy_text"].strip()


def png_size(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", data[16:24])


class Run(ProgramTest):
    def test_conversations_give_the_reference_s_answers(self):
        for name in ("text", "one_image", "two_images_grounding", "three_images", "multi_turn_system"):
            with self.subTest(name):
                said = self.good("run", *F32, "--conversation", CASES / f"{name}.json")
                self.assertEqual(said, expected(name) + "\n")

    def test_prompt_and_picture_on_the_command_line(self):
        message = case("one_image")["conversation"][0]
        picture = CASES / message["images"][0]
        text = message["content"]
        self.assertEqual(self.good("run", *F32, "-i", picture, text), expected("one_image") + "\n")
        # a missing tag is put in front, a line of its own
        self.assertEqual(self.good("run", *F32, "-i", picture, text.replace("<image>\n", "")),
                         expected("one_image") + "\n")

    def test_prompt_from_stdin(self):
        text = case("text")["conversation"][0]["content"]
        self.assertEqual(self.good("run", *F32, stdin=text), expected("text") + "\n")

    def test_picture_from_stdin(self):
        message = case("one_image")["conversation"][0]
        data = (CASES / message["images"][0]).read_bytes()
        self.assertEqual(self.good("run", *F32, "-i", "-", message["content"], stdin=data),
                         expected("one_image") + "\n")

    def test_conversation_from_stdin(self):
        text = (CASES / "text.json").read_bytes()
        self.assertEqual(self.good("run", *F32, "--conversation", "-", stdin=text), expected("text") + "\n")

    def test_any_chunk_and_any_number_of_threads(self):
        for more in (("--chunk-size", 0), ("--chunk-size", 7), ("--threads", 1), ("--threads", 3)):
            said = self.good("run", *F32, *more, "--conversation", CASES / "one_image.json")
            self.assertEqual(said, expected("one_image") + "\n", more)

    def test_json(self):
        out = json.loads(self.good("run", *F32, "--json", "--conversation", CASES / "one_image.json"))
        self.assertEqual(set(out), {"text", "finish_reason", "grounding", "usage", "timings"})
        self.assertEqual(out["text"], expected("one_image"))
        self.assertIn(out["finish_reason"], ("stop", "length"))
        self.assertEqual(out["usage"]["prompt_tokens"], case("one_image")["tokens"])
        self.assertLessEqual(out["usage"]["completion_tokens"], 24)
        self.assertGreater(out["usage"]["image_tokens"], 0)
        self.assertEqual(set(out["timings"]), {"load_ms", "image_ms", "vision_ms", "prefill_ms", "decode_ms",
                                               "prefill_tokens_per_s", "decode_tokens_per_s"})
        self.assertTrue(all(isinstance(v, (int, float)) and v >= 0 for v in out["timings"].values()))

    def test_stdout_has_the_answer_only(self):
        done = vl2("run", *F32, "--verbose", "--conversation", CASES / "one_image.json")
        self.assertEqual(done.stdout.decode(), expected("one_image") + "\n")
        said = done.stderr.decode()
        for word in ("mini-tiny", "threads", "picture 1:", "prompt tokens"):
            self.assertIn(word, said)
        quiet = vl2("run", *F32, "--conversation", CASES / "one_image.json")
        self.assertEqual(quiet.stderr, b"")

    def test_seeds_are_reproducible(self):
        words = ("run", "-m", MINI, "--max-tokens", "24", "--temperature", "1.5", "--seed")
        one = self.good(*words, 7, "Hello")
        self.assertEqual(one, self.good(*words, 7, "Hello"))
        self.assertNotEqual(one, self.good(*words, 8, "Hello"))

    def test_stop_texts(self):
        whole = expected("text")
        word = whole[3:6]
        said = self.good("run", *F32, "--stop", word, "--conversation", CASES / "text.json")
        self.assertEqual(said, whole[: whole.index(word)].strip() + "\n")

    def test_drawing(self):
        to = self.folder / "drawn.png"
        picture = CASES / "img0.png"
        done = vl2("run", *F32, "-i", picture, "--draw", to, "What?")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(png_size(to.read_bytes()), png_size(picture.read_bytes()))
        self.assertIn(b"no boxes", done.stderr)
        self.bad(1, "run", *F32, "-i", picture, "--draw", "/nonexistent/folder/x.png", "What?", lines=2,
                 contains="/nonexistent/folder/x.png")

    def test_context_that_is_too_small(self):
        said = self.bad(1, "run", *F32, "--ctx-size", "20", "--conversation", CASES / "one_image.json",
                        contains="20")
        self.assertIn("picture", said)


class Streams(ProgramTest):
    def test_closed_pipe_ends_silently(self):
        with subprocess.Popen([PROGRAM, "run", "-m", str(MINI), "--max-tokens", "2000", "Hello"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
            process.stdout.read(1)
            process.stdout.close()
            said = process.stderr.read()
            process.wait(timeout=60)
        self.assertEqual(said, b"")
        self.assertNotEqual(process.returncode, 0)

    @unittest.skipUnless(os.path.exists("/dev/full"), "there is no /dev/full here")
    def test_full_disk(self):
        for more in ((), ("--json",)):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([PROGRAM, "run", *map(str, F32), *more, "Hello"], stdout=full,
                                      stderr=subprocess.PIPE, env=environment(), timeout=60)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"standard output: No space left on device", done.stderr)
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 1)

    def interrupted(self, *words):
        process = subprocess.Popen([PROGRAM, "run", "-m", str(MINI), *words], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=environment())
        first = process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        return process.returncode, first + out, err

    def test_ctrl_c_keeps_what_was_said(self):
        status, out, err = self.interrupted("--quiet", "--max-tokens", "4000", "--ctx-size", "100000", "Hello")
        self.assertEqual((status, err), (130, b""))
        self.assertTrue(out.endswith(b"\n") and len(out) > 1, out)

    def listens(self, process):
        """Waits until it handles SIGINT: a slow machine takes its time to get there."""
        deadline = time.monotonic() + 60
        caught = "0"
        while not int(caught, 16) >> (signal.SIGINT - 1) & 1:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            caught = next(line.split()[1] for line in status.split("\n") if line.startswith("SigCgt"))

    def test_ctrl_c_before_the_first_word(self):
        process = subprocess.Popen([PROGRAM, "run", "-m", str(MINI)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())
        self.listens(process)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertEqual((process.returncode, out, err), (130, b"", b""))

    def test_ctrl_c_while_the_model_or_a_picture_is_read(self):
        pipe = self.folder / "picture.png"
        os.mkfifo(pipe)
        held = os.open(pipe, os.O_RDWR) # a writer that says nothing: reading waits
        self.addCleanup(os.close, held)
        for words in (("run", "-i", str(pipe), "What?"), ("bench",), ("tokenize",)):
            process = subprocess.Popen([PROGRAM, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, env=environment())
            self.listens(process)
            time.sleep(0.1)
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
            self.assertEqual((process.returncode, out), (130, b""), words)
            self.assertLess(time.monotonic() - begun, 20) # only that it ends by itself, at one signal

    def test_a_terminal_gets_no_control_characters_of_an_answer(self):
        words = ("run", "-q", *F32, "--conversation", CASES / "text.json")
        self.assertIn("\x17", self.good(*words)) # a file gets what was said
        terminal = Terminal(*words)
        self.assertEqual(terminal.end(), 0)
        seen = terminal.seen.decode()
        self.assertNotRegex(seen, "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
        self.assertEqual(seen.replace("\r\n", "\n"), expected("text").replace("\x17", "\ufffd").replace(
            "\x0e", "\ufffd") + "\n")

    def test_terminal_shows_timings_and_colours(self):
        terminal = Terminal("run", *F32, "Hello")
        self.assertEqual(terminal.end(), 0)
        seen = terminal.seen.decode(errors="replace")
        self.assertIn("prompt tokens in", seen)
        self.assertIn("\x1b[2m", seen)
        terminal = Terminal("run", *F32, "Hello", NO_COLOR="1")
        self.assertEqual(terminal.end(), 0)
        self.assertNotIn("\x1b[2m", terminal.seen.decode(errors="replace"))


def png(width, height, raw=None):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    raw = raw if raw is not None else b"".join(b"\0" + b"\x80" * (3 * width) for _ in range(height))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b""))


class Pictures(ProgramTest):
    def run_with(self, status, name, content, contains):
        path = self.write(name, content)
        return self.bad(status, "run", *F32, "-i", path, "What?", contains=[str(path), *contains])

    def test_what_is_no_picture_is_refused_by_name(self):
        self.run_with(1, "text.png", b"this is a text, no picture", [])
        self.run_with(1, "empty.jpg", b"", [])
        self.run_with(1, "cut.png", png(40, 40)[:60], [])
        self.run_with(1, "vector.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", [])
        self.bad(1, "run", *F32, "-i", self.folder / "none.png", "What?", contains="none.png")
        self.bad(1, "run", *F32, "-i", self.folder, "What?", contains=str(self.folder))

    def test_a_bomb_is_refused(self):
        bomb = png(60000, 60000, b"\0" * 1000)
        self.run_with(1, "bomb.png", bomb, ["60000"])

    def test_several_pictures_get_their_tags_in_order(self):
        message = case("three_images")["conversation"][0]
        pictures = [w for image in message["images"] for w in ("-i", CASES / image)]
        text = message["content"]
        if text.startswith("<image>"):
            self.assertEqual(self.good("run", *F32, *pictures, text),
                             case("three_images")["greedy_text"].strip() + "\n")
        bare = text.replace("<image>", "").strip()
        tagged = self.good("run", *F32, *pictures, "<image>\n" * len(message["images"]) + bare)
        self.assertEqual(self.good("run", *F32, *pictures, bare), tagged)


if __name__ == "__main__":
    unittest.main()
