"""vl2 batch: many conversations at once, errors a line, going on where a run stopped."""
import json
import os
import signal
import subprocess
import time
import unittest

from program import CASES, MINI, PROGRAM, ProgramTest, case, environment, vl2

NAMES = ("text", "one_image", "two_images_grounding", "three_images", "multi_turn_system")
F32 = ("-m", MINI, "--compute", "f32", "--max-tokens", "24", "--quiet")


def messages(name):
    talk = json.loads((CASES / f"{name}.json").read_text())
    for message in talk:
        message["images"] = [str(CASES / i) for i in message.get("images", [])]
    return talk


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class Batch(ProgramTest):
    def questions(self, items, name="in.jsonl"):
        return self.write(name, "".join(json.dumps(x) + "\n" for x in items))

    def golden(self, repeat=1):
        return self.questions([{"id": f"{n}/{i}", "messages": messages(n)} for i in range(repeat) for n in NAMES])

    def check_golden(self, out, repeat=1):
        answers = {x["id"]: x for x in lines(out)}
        self.assertEqual(set(answers), {f"{n}/{i}" for i in range(repeat) for n in NAMES})
        for id_, answer in answers.items():
            name = id_.split("/")[0]
            self.assertEqual(answer["text"], case(name)["greedy_text"].strip(), id_)
            self.assertIsNone(answer["error"])
            self.assertEqual(answer["usage"]["prompt_tokens"], case(name)["tokens"])
            self.assertEqual(set(answer), {"id", "text", "finish_reason", "grounding", "usage", "error"})

    def test_answers_are_the_same_in_any_company(self):
        source = self.golden(repeat=2)
        for parallel, chunk in ((1, 512), (3, 512), (8, 32), (16, 0)):
            out = self.folder / f"out-{parallel}.jsonl"
            self.good("batch", *F32, source, "-o", out, "--parallel", parallel, "--chunk-size", chunk)
            self.check_golden(out, repeat=2)

    def test_auto_answers_alone_and_in_company_are_equal(self):
        source = self.golden()
        alone, together = self.folder / "alone.jsonl", self.folder / "together.jsonl"
        words = ("-m", MINI, "--max-tokens", "24", "--quiet")
        self.good("batch", *words, source, "-o", alone, "--parallel", "1")
        self.good("batch", *words, source, "-o", together, "--parallel", "5")
        key = lambda x: x["id"]
        self.assertEqual(sorted(lines(alone), key=key), sorted(lines(together), key=key))
        for answer in lines(alone):
            said = self.good("run", *words, "--conversation", CASES / (answer["id"].split("/")[0] + ".json"))
            self.assertEqual(said, answer["text"] + "\n")

    def test_pictures_are_found_beside_the_file(self):
        (self.folder / "img0.png").write_bytes((CASES / "img0.png").read_bytes())
        talk = case("one_image")["conversation"]
        source, out = self.questions([{"id": 1, "messages": talk}]), self.folder / "out.jsonl"
        self.good("batch", *F32, source, "-o", out, cwd="/")
        self.assertEqual(lines(out)[0]["text"], case("one_image")["greedy_text"].strip())

    def test_going_on(self):
        source, out = self.golden(), self.folder / "out.jsonl"
        self.good("batch", *F32, source, "-o", out)
        whole = out.read_text()
        rows = whole.splitlines(keepends=True)
        out.write_text(rows[0] + rows[1] + rows[2][: len(rows[2]) // 2]) # torn in its third line
        done = vl2("batch", *F32[:-1], source, "-o", out)
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"cut off a torn last line", done.stderr)
        self.assertIn(b"3 answered, 0 failed, 2 were there already", done.stderr)
        self.assertEqual(out.read_text().splitlines(keepends=True)[:2], rows[:2])
        self.check_golden(out)
        self.good("batch", *F32, source, "-o", out)
        self.check_golden(out)

    def test_killed_again_and_again_it_comes_to_the_same_end(self):
        source, out = self.golden(repeat=40), self.folder / "out.jsonl"
        words = [PROGRAM, "batch", *map(str, F32), str(source), "-o", str(out), "--parallel", "4"]
        for _ in range(4):
            size = out.stat().st_size if out.exists() else 0
            process = subprocess.Popen(words, env=environment(), stderr=subprocess.DEVNULL)
            end = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < end and (
                    not out.exists() or out.stat().st_size <= size + 500):
                time.sleep(0.002)
            process.kill()
            process.wait()
        self.good("batch", *F32, source, "-o", out)
        self.check_golden(out, repeat=40)
        self.assertEqual(len(lines(out)), 40 * len(NAMES))

    def test_a_bad_line_is_an_answer_with_an_error(self):
        good = {"id": "good", "messages": messages("text")}
        bad = [
            ("none", {"messages": [{"role": "user", "content": "<image>", "images": ["none.png"]}]}, "none.png"),
            ("count", {"messages": [{"role": "user", "content": "<image><image>", "images": [str(CASES / "img0.png")]}]},
             "<image>"),
            ("role", {"messages": [{"role": "nurse", "content": "x"}]}, "nurse"),
            ("key", {"messages": [{"role": "user", "content": "x", "image": ["a.png"]}]}, 'did you mean "images"'),
            ("empty", {"messages": []}, "array of messages"),
            ("absent", {}, '"messages" is missing'),
            ("content", {"messages": [{"role": "user", "content": 5}]}, '"content"'),
            ("assistant", {"messages": [{"role": "assistant", "content": "<image>", "images": [str(CASES / "img0.png")]}]},
             "pictures"),
            ("long", {"messages": [{"role": "user", "content": "word " * 20000}]}, "tokens"),
        ]
        source = self.questions([{"id": n, **x} for n, x, _ in bad] + [good])
        source.write_text(source.read_text() + "{broken\n" + '{"id": 1.5, "messages": []}\n' + "\n" + '["list"]\n')
        out = self.folder / "out.jsonl"
        done = vl2("batch", *F32, source, "-o", out)
        self.assertEqual(done.returncode, 1, done.stderr)
        answers = {x["id"]: x for x in lines(out)}
        self.assertEqual(len(answers), len(bad) + 4)
        for name, _, contains in bad:
            self.assertIn(contains, answers[name]["error"], name)
            self.assertEqual((answers[name]["text"], answers[name]["grounding"]), ("", []))
        self.assertEqual(answers["good"]["text"], case("text")["greedy_text"].strip())
        self.assertIsNone(answers["good"]["error"])

    def test_an_id_that_comes_twice(self):
        source = self.questions([{"id": 1, "messages": messages("text")}, {"id": "1", "messages": messages("text")},
                                 {"id": 1, "messages": messages("text")}])
        out = self.folder / "out.jsonl"
        done = vl2("batch", *F32, source, "-o", out)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"line 3 has the id 1 of an earlier line", done.stderr)
        self.assertEqual(len(lines(out)), 2)

    def test_wrong_files(self):
        source, out = self.golden(), self.folder / "out.jsonl"
        self.bad(1, "batch", *F32, self.folder / "none.jsonl", "-o", out, contains="none.jsonl")
        self.bad(2, "batch", *F32, source, "-o", source, contains="questions")
        other = self.write("other.jsonl", "this is no result\n")
        self.bad(1, "batch", *F32, source, "-o", other, contains=["other.jsonl", "line 1"])
        self.assertEqual(other.read_text(), "this is no result\n")
        self.bad(1, "batch", *F32, source, "-o", "/nonexistent/out.jsonl", contains="/nonexistent/out.jsonl")

    def test_stdin_and_stdout(self):
        text = json.dumps({"id": "x", "messages": messages("text")})
        said = self.good("batch", *F32, "-", "-o", "-", stdin=text)
        self.assertEqual(json.loads(said)["text"], case("text")["greedy_text"].strip())

    @unittest.skipUnless(os.path.exists("/dev/full"), "there is no /dev/full here")
    def test_full_disk(self):
        self.bad(1, "batch", *F32, self.golden(), "-o", "/dev/full", contains="/dev/full: No space left")

    def test_ctrl_c_keeps_whole_lines(self):
        source = self.questions([{"id": i, "messages": messages("text")} for i in range(2000)])
        out = self.folder / "out.jsonl"
        process = subprocess.Popen([PROGRAM, "batch", *map(str, F32[:-1]), str(source), "-o", str(out)],
                                   stderr=subprocess.PIPE, env=environment())
        end = time.monotonic() + 60
        while (not out.exists() or out.stat().st_size == 0) and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        process.stderr.close()
        self.assertEqual(process.wait(timeout=60), 130, said)
        self.assertIn(b"the same command goes on", said)
        self.assertTrue(out.read_text().endswith("\n"))
        self.assertTrue(0 < len(lines(out)) < 2000)


if __name__ == "__main__":
    unittest.main()
