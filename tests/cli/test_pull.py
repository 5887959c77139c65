"""vl2 pull: against a hub on this computer that breaks transfers, lies and plays tricks with names."""
import random
import shutil
import signal
import subprocess
import time
import unittest

from hub import Hub
from program import CASES, MINI, PROGRAM, ProgramTest, Terminal, case, environment, vl2

BIG = random.Random(1).randbytes(300000)


class Pull(ProgramTest):
    def hub(self, files, **more):
        hub = Hub(files, **more)
        self.addCleanup(hub.close)
        return hub

    def pull(self, hub, *words, name="mini"):
        done = vl2("pull", name, "--from", hub.url, *words, XDG_DATA_HOME=str(self.folder))
        return done.returncode, done.stderr.decode()

    @property
    def model(self):
        return self.folder / "vl2/deepseek-ai/mini"

    def setUp(self):
        super().setUp()
        if "no libcurl" in vl2("pull", "x", "--from", "ftp://x").stderr.decode():
            self.skipTest("this build has no libcurl")

    def same(self, files):
        there = {p.relative_to(self.model).as_posix(): p.read_bytes() for p in self.model.rglob("*") if p.is_file()}
        self.assertEqual(there, files)

    def test_a_whole_model_is_fetched_and_used(self):
        files = {p.name: p.read_bytes() for p in MINI.iterdir() if p.is_file()}
        files["README.md"] = b"---\nlicense: other\nlicense_name: deepseek\n---\n# mini\n"
        files[".gitattributes"] = b"x"
        hub = self.hub(files)
        status, said = self.pull(hub)
        self.assertEqual(status, 0, said)
        self.assertIn("licence of the model: DeepSeek Model License", said)
        del files[".gitattributes"]
        self.same(files)
        for name in ("mini", "deepseek-ai/mini"):
            out = self.good("run", "-m", name, "--compute", "f32", "--max-tokens", "24", "--conversation",
                            CASES / "text.json", XDG_DATA_HOME=str(self.folder))
            self.assertEqual(out, case("text")["greedy_text"].strip() + "\n")
        self.assertIn("DeepSeek Model License", self.good("inspect", "mini", XDG_DATA_HOME=str(self.folder)))
        asked = len(hub.log)
        self.assertEqual(self.pull(hub)[0], 0)
        self.assertEqual(len(hub.log), asked + 1) # the list, and nothing else

    def test_broken_transfers_are_taken_up_again(self):
        files = {"a.bin": BIG, "sub/b.bin": BIG[:1000], "empty.txt": b""}
        hub = self.hub(files)
        hub.faults = {"a.bin": ["cut", "busy", "cut"], "sub/b.bin": ["busy"]}
        status, said = self.pull(hub)
        self.assertEqual(status, 0, said)
        self.same(files)
        self.assertIn(("/deepseek-ai/mini/resolve/main/a.bin", "bytes=150000-"), hub.log)

    def test_the_next_call_goes_on(self):
        hub = self.hub({"a.bin": BIG})
        hub.faults = {"a.bin": ["cut", "missing"]}
        status, said = self.pull(hub)
        self.assertEqual(status, 1)
        self.assertIn("404", said)
        self.assertFalse(self.model.exists()) # a half model has no name yet
        self.assertEqual(self.pull(hub)[0], 0)
        self.assertEqual(hub.log[-1][1], "bytes=150000-")
        self.same({"a.bin": BIG})

    def test_a_server_without_ranges(self):
        hub = self.hub({"a.bin": BIG})
        hub.faults = {"a.bin": ["cut", "no-range"]}
        self.assertEqual(self.pull(hub)[0], 0)
        self.same({"a.bin": BIG})

    def test_a_wrong_sum_is_found_and_nothing_stays(self):
        hub = self.hub({"a.bin": BIG})
        hub.faults = {"a.bin": ["other"]}
        status, said = self.pull(hub)
        self.assertEqual(status, 1)
        self.assertIn("SHA-256", said)
        self.assertFalse(self.model.exists())
        self.assertEqual(self.pull(hub)[0], 0)
        self.same({"a.bin": BIG})

    def test_a_file_longer_than_announced(self):
        hub = self.hub({"a.bin": BIG})
        hub.faults = {"a.bin": ["longer"]}
        status, said = self.pull(hub)
        self.assertEqual(status, 1)
        self.assertIn("longer than", said)

    def test_names_that_lead_elsewhere(self):
        for path in ("../evil", "/etc/evil", "a/../../evil", "a//b", "a/./b", "a\\b", "a\u0001b", "x/.ssh/key",
                     "evil.part", "a" * 600, "\u202eevil"):
            hub = self.hub({}, entries=[{"type": "file", "path": "ok.txt", "size": 1},
                                        {"type": "file", "path": path, "size": 1}])
            status, said = self.pull(hub)
            self.assertEqual(status, 1, path)
            self.assertIn("nothing was fetched", said)
            self.assertEqual(len(hub.log), 1)

    def test_lists_that_make_no_sense(self):
        for entries in ({}, [], [5], [{"type": "file", "path": "a"}], [{"type": "file", "path": "a", "size": -1}],
                        [{"type": "file", "path": "a", "size": 1, "lfs": {"oid": "xyz", "size": 1}}],
                        [{"type": "file", "path": "a", "size": 1 << 60}], [{"type": "file"}]):
            status, said = self.pull(self.hub({}, entries=entries))
            self.assertEqual((status, said.count("\n")), (1, 1), (entries, said))

    def test_names_of_models(self):
        hub = self.hub({"a": b"x"})
        for name in ("../x", "a/b/c", "/etc", "a b", ".hidden", "", "a/../b", "x" * 200):
            status, said = self.pull(hub, name=name)
            self.assertEqual(status, 2, name)
            self.assertIn("is no model's name", said)
        self.assertEqual(self.pull(hub, name="absent")[0], 2)
        self.assertIn("no such model", self.pull(hub, name="absent")[1])
        self.bad(2, "pull", "mini", "--from", "ftp://127.0.0.1/", contains="--from takes a URL",
                 XDG_DATA_HOME=str(self.folder))

    def test_a_server_that_is_not_there(self):
        hub = Hub({})
        hub.close()
        status, said = self.pull(hub)
        self.assertEqual((status, said.count("\n")), (1, 1), said)

    def test_a_disk_that_is_too_small(self):
        status, said = self.pull(self.hub({}, entries=[{"type": "file", "path": "a", "size": 1 << 41}]))
        self.assertEqual(status, 1)
        self.assertIn("the disk has room for", said)

    def test_a_bar_on_a_terminal_only(self):
        hub = self.hub({"a.bin": BIG})
        hub.faults = {"a.bin": ["slow"]}
        terminal = Terminal("pull", "mini", "--from", hub.url, XDG_DATA_HOME=str(self.folder))
        self.assertEqual(terminal.end(), 0)
        seen = terminal.seen.decode()
        self.assertRegex(seen, r"\rpull .* 50 %  150 kB of 300 kB, \d+ k?B/s")
        self.assertIn("\r\x1b[K", seen) # and it is taken away
        self.same({"a.bin": BIG})
        hub = self.hub({"a.bin": BIG})
        hub.faults = {"a.bin": ["slow"]}
        shutil.rmtree(self.model)
        status, said = self.pull(hub)
        self.assertEqual((status, "%" in said), (0, False))

    def test_ctrl_c_goes_on_later(self):
        hub = self.hub({"a.bin": BIG})
        hub.faults = {"a.bin": ["cut"] + ["busy"] * 4}
        process = subprocess.Popen([PROGRAM, "pull", "mini", "--from", hub.url], stderr=subprocess.PIPE,
                                   env=environment(XDG_DATA_HOME=str(self.folder)))
        end = time.monotonic() + 30
        while len(hub.log) < 3 and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        process.stderr.close()
        self.assertEqual(process.wait(timeout=30), 130)
        self.assertIn(b"goes on from here", said)
        hub.faults = {}
        self.assertEqual(self.pull(hub)[0], 0)
        self.same({"a.bin": BIG})


if __name__ == "__main__":
    unittest.main()
