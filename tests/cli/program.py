"""What the tests of the program share: running it, small files, a terminal of its own."""
import json
import os
import pathlib
import pty
import select
import shutil
import subprocess
import tempfile
import time
import unittest

PROGRAM = os.environ["VL2_PROGRAM"]
SOURCE = pathlib.Path(os.environ["VL2_SOURCE"])
GOLDEN = SOURCE / "tests/golden"
MINI = GOLDEN / "mini-tiny"
CASES = MINI / "golden"


def environment(**more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("XDG_") and k not in ("NO_COLOR", "TERM")}
    return {**clean, "HOME": "/nonexistent", **more}


def vl2(*words, stdin=b"", timeout=300, cwd=None, **env):
    if isinstance(stdin, str):
        stdin = stdin.encode()
    return subprocess.run([PROGRAM, *map(str, words)], input=stdin, capture_output=True, timeout=timeout,
                          cwd=cwd, env=environment(**env))


def case(name):
    return json.loads((CASES / "cases.json").read_text())[name]


class ProgramTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def good(self, *words, **more):
        done = vl2(*words, **more)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return done.stdout.decode()

    def bad(self, status, *words, contains=(), lines=1, **more):
        """Fails with that status and says why in so many lines, naming what `contains` has."""
        done = vl2(*words, **more)
        said = done.stderr.decode(errors="replace")
        self.assertEqual(done.returncode, status, f"{words}: {said}")
        self.assertEqual(len(said.strip("\n").split("\n")), lines, said)
        self.assertTrue(said.startswith("vl2"), said)
        for text in [contains] if isinstance(contains, str) else contains:
            self.assertIn(text, said)
        return said

    def usage(self, *words, contains=(), **more):
        """Wrong usage: a line, and one that points to --help."""
        return self.bad(2, *words, contains=contains, lines=2, **more)

    def copy_of_mini(self, name="model", which=MINI):
        to = self.folder / name
        shutil.copytree(which, to, ignore=shutil.ignore_patterns("golden"))
        return to

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path


class Terminal:
    """The program on a terminal: what a person sees and types."""

    def __init__(self, *words, columns=100, stdout=None, **env):
        self.master, slave = pty.openpty()
        self.seen = b""
        env = environment(TERM="xterm", COLUMNS=str(columns), **env)
        self.process = subprocess.Popen([PROGRAM, *map(str, words)], stdin=slave, stdout=stdout or slave,
                                        stderr=slave, env=env, start_new_session=True,
                                        preexec_fn=lambda: __import__("fcntl").ioctl(0, 0x540E, 0))
        os.close(slave)

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self, seconds=0.1):
        ready, _, _ = select.select([self.master], [], [], seconds)
        if not ready:
            return b""
        try:
            data = os.read(self.master, 65536)
        except OSError: # the other side is closed
            return b""
        self.seen += data
        return data

    def wait_for(self, text, seconds=60, after=""):
        """Until the text is on the screen; the first one behind `after`, if that is given."""
        end = time.monotonic() + seconds
        while text.encode() not in (self.seen.partition(after.encode())[2] if after else self.seen):
            if time.monotonic() > end:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{text!r} did not come; seen: {self.seen.decode(errors='replace')}")
            self.read()
        return self.seen.decode(errors="replace")

    def end(self, seconds=60, insist=None):
        """Waits for the end. insist: typed again and again, for a key can fall between two lines."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            if insist:
                self.type(insist)
                self.read(0.5)
            self.read()
        while self.read():
            pass
        os.close(self.master)
        return self.process.wait(timeout=1)
