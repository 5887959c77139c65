"""What is installed for running the server: the unit is one that systemd takes, and it closes what it can."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest


@unittest.skipIf(shutil.which("systemd-analyze") is None, "systemd-analyze is missing (`scripts/setup test` installs it)")
class UnitTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.prefix = tempfile.TemporaryDirectory()
        subprocess.run(["cmake", "--install", os.environ["VL2_BUILD"], "--prefix", cls.prefix.name], check=True, capture_output=True)
        cls.unit = pathlib.Path(cls.prefix.name) / "lib/systemd/system/vl2.service"

    @classmethod
    def tearDownClass(cls):
        cls.prefix.cleanup()

    def analyze(self, *words):
        return subprocess.run(["systemd-analyze", *words, str(self.unit)], capture_output=True, text=True)

    def test_systemd_takes_it(self):
        done = self.analyze("verify", "--man=no", "--recursive-errors=no")
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_a_mistake_would_be_seen(self):
        text = self.unit.read_text()
        try:
            self.unit.write_text(text.replace("ProtectSystem=strict", "ProtectSytem=strict"))
            done = self.analyze("verify", "--man=no", "--recursive-errors=no")
            self.assertIn("ProtectSytem", done.stderr)
        finally:
            self.unit.write_text(text)

    def test_it_names_the_installed_program(self):
        program = re.search(r"^ExecStart=(\S+) serve", self.unit.read_text(), re.M).group(1)
        self.assertEqual(program, f"{self.prefix.name}/bin/vl2")
        self.assertTrue(os.access(program, os.X_OK))

    def test_it_closes_what_it_can(self):
        done = self.analyze("security", "--offline=yes", "--no-pager")
        exposure = re.search(r"Overall exposure level.*?: ([\d.]+)", done.stdout)
        if not exposure:
            self.skipTest("this systemd-analyze does not rate unit files: " + done.stderr.strip()[:80])
        self.assertLess(float(exposure.group(1)), 3)


if __name__ == "__main__":
    unittest.main()
