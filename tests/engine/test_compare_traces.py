"""dev/compare_traces.py: says yes to a file and itself, and sees one wrong number or id."""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden/mini-tiny/golden/one_image.safetensors"


def compare(*arguments):
    done = subprocess.run([sys.executable, ROOT / "dev/compare_traces.py", *map(str, arguments)],
                          capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


class CompareTraces(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name) / "trace.safetensors"

    def change(self, name, form, value):
        """A copy of the golden with the first number of a tensor replaced."""
        data = bytearray(GOLDEN.read_bytes())
        size = struct.unpack_from("<Q", data)[0]
        header = json.loads(data[8:8 + size])
        struct.pack_into(form, data, 8 + size + header[name]["data_offsets"][0], value)
        self.path.write_bytes(data)

    def test_a_file_and_itself(self):
        status, text = compare(GOLDEN, GOLDEN)
        self.assertEqual(status, 0, text)
        self.assertIn("greedy_ids           equal", text)

    def test_sees_one_number(self):
        for name, form, value in (("logits", "<f", 99.0), ("vision", "<f", float("nan")),
                                  ("greedy_ids", "<i", 12345), ("tiles", "<B", 1)):
            self.change(name, form, value)
            status, text = compare(self.path, GOLDEN)
            self.assertEqual(status, 1, text)
            self.assertRegex(text, rf"(?m)^{name} .*over the tolerance")
            self.assertIn(" 1 over 0.0001", text)

    def test_refuses_what_is_no_trace(self):
        for content in (b"", b"short", b"\xff" * 64, struct.pack("<Q", 4) + b"nope"):
            self.path.write_bytes(content)
            status, text = compare(self.path, GOLDEN)
            self.assertEqual(status, 2, text)
            self.assertIn("trace.safetensors", text)


if __name__ == "__main__":
    unittest.main()
