"""The demo checkpoint end to end: what it answers about its example pictures is right, not only the same as before."""
import json
import os
import pathlib
import re
import unittest

from program import SOURCE, ProgramTest

DEMO = pathlib.Path(os.environ.get("VL2_DEMO", SOURCE / "models/demo"))
EXAMPLES = json.loads((DEMO / "examples.json").read_text(encoding="utf-8"))


def boxes(text):
    return [[int(v) for v in m] for m in re.findall(r"(\d+), *(\d+), *(\d+), *(\d+)", text)]


def overlap(a, b):
    """Intersection over union of two boxes."""
    both = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


class Demo(ProgramTest):
    def ask(self, example, *more):
        pictures = [w for name in example["images"] for w in ("-i", DEMO / name)]
        return self.good("run", "--quiet", "-m", DEMO, *more, *pictures, example["prompt"]).strip()

    def check(self, example, said):
        true = boxes(example["shows"])
        if not true:
            self.assertEqual(said, example["shows"])
            return
        found = boxes(said)
        self.assertEqual(len(found), len(true), said)
        self.assertEqual(re.findall(r"<\|ref\|>(.*?)<\|/ref\|>", said), re.findall(r"<\|ref\|>(.*?)<\|/ref\|>", example["shows"]))
        for a, b in zip(found, true):
            self.assertGreater(overlap(a, b), 0.5, said)

    def test_answers_are_right(self):
        kinds = {e["title"].split(" (")[0] for e in EXAMPLES}
        self.assertTrue({"Finding a thing", "A colour", "A shape", "How many things", "Is it there"} <= kinds, kinds)
        for example in EXAMPLES:
            with self.subTest(example["prompt"]):
                self.check(example, self.ask(example))

    def test_float32_chunks_and_threads_change_no_answer(self):
        for example in EXAMPLES[:4]:
            for more in (("--compute", "f32"), ("--chunk-size", 1), ("--threads", 1)):
                with self.subTest(example["prompt"], more=more):
                    self.check(example, self.ask(example, *more))

    def test_a_tower_in_bytes(self):
        """Right, the same for any number of threads; refused beside float32 throughout."""
        for example in EXAMPLES[:6]:
            with self.subTest(example["prompt"]):
                said = [self.ask(example, "--vision", "int8", "--threads", n) for n in (1, 2)]
                self.assertEqual(*said)
                self.check(example, said[0])
        self.bad(2, "run", "-m", DEMO, "--vision", "int8", "--compute", "f32", "-i", DEMO / EXAMPLES[0]["images"][0], "What?",
                 contains="leave one out")

    def test_another_picture_gets_another_answer(self):
        """The answer comes from the picture, not from the question alone."""
        names = sorted({name for e in EXAMPLES for name in e["images"]})
        said = {self.ask({"images": [name], "prompt": "<|ref|>the circle<|/ref|>"}) for name in names}
        self.assertGreater(len(said), len(names) // 3, said)


if __name__ == "__main__":
    unittest.main()
