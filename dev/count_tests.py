#!/usr/bin/env python3
"""Runs a build's tests with ctest and counts what really ran: cases, not programs.

    dev/count_tests.py BUILD [--title TEXT] [--add COUNTS.json] [ctest arguments…]

Reads the output of cmocka and unittest programs; any other test counts as one case, and its lines
that begin with "skipped: " as skipped ones. A program that ran no case has failed, and so has one
that ended badly though its cases passed (a leak, a race, a crash). Skipped cases are listed with
what they said. --add sums the counts up in a file.
"""
import argparse
import json
import pathlib
import re
import subprocess
import sys

OUTPUT = re.compile(r"^(\d+): ?(.*)$")
END = re.compile(r"^\s*\d+/\d+ Test\s+#(\d+): (\S+) \.*\s*(.*?)\s+([\d.]+) sec")
CMOCKA = re.compile(r"^\[\s*(RUN|OK|FAILED|SKIPPED|ERROR)\s*\] (?!\d+ test)(?:\w+: )?(\S+)")
CMOCKA_TOTAL = re.compile(r"^\[==========\] (?:\S+: )?Running (\d+) test")
UNITTEST = re.compile(r"^Ran (\d+) tests? in")
UNITTEST_CASE = re.compile(r"(\w+) \([\w.]+\).*? \.\.\. (?:skipped ['\"](.*)['\"]|FAIL|ERROR)$")


class Counts:
    def __init__(self):
        self.passed, self.failed, self.skipped = 0, [], []

    def add_cmocka(self, name, lines):
        announced, seen, running, said = 0, 0, None, ""
        for line in lines:
            total = CMOCKA_TOTAL.match(line)
            case = CMOCKA.match(line)
            if total:
                announced += int(total.group(1))
            elif case and case.group(1) == "RUN":
                running, said = case.group(2), ""
            elif case and running == case.group(2):
                seen, running = seen + 1, None
                if case.group(1) == "OK":
                    self.passed += 1
                elif case.group(1) == "SKIPPED":
                    self.skipped.append(f"{name} {case.group(2)}: {said or 'no reason given'}")
                else:
                    self.failed.append(f"{name} {case.group(2)}")
            elif running and line.strip() and not case:
                said = line.strip()
        if running:
            self.failed.append(f"{name} {running}: did not end")
            seen += 1
        self.failed += [f"{name}: a case that was not reached"] * max(0, announced - seen)
        if announced == 0:
            self.failed.append(f"{name}: ran no case")

    def add_unittest(self, name, text):
        ran = sum(int(n) for n in re.findall(r"^Ran (\d+) tests? in", text, re.M))
        bad = sum(int(n) for n in re.findall(r"(?:failures|errors|unexpected successes)=(\d+)", text))
        skipped = sum(int(n) for n in re.findall(r"skipped=(\d+)", text))
        reasons = re.findall(r"^(.*?) (?:\([\w.]+\)).*?skipped ['\"](.*)['\"]$", text, re.M)
        reasons = [f"{name} {case}: {why}" for case, why in reasons]
        self.skipped += reasons[:skipped] + [f"{name}: a case"] * (skipped - len(reasons))
        whole = re.findall(r"^(?:FAIL|ERROR): (\S+)", text, re.M)
        self.failed += [f"{name} {case}" for case in whole[:bad]] + [f"{name}: a case"] * (bad - len(whole))
        self.passed += max(0, ran - bad - skipped)
        if ran == 0:
            self.failed.append(f"{name}: ran no case")

    def add(self, name, status, lines):
        before = len(self.failed)
        text = "\n".join(lines)
        if any(CMOCKA_TOTAL.match(line) for line in lines):
            self.add_cmocka(name, lines)
        elif re.search(UNITTEST.pattern, text, re.M):
            self.add_unittest(name, text)
        elif status == "Passed":
            self.passed += 1
            self.skipped += [f"{name}: {line[9:]}" for line in lines if line.startswith("skipped: ")]
        elif "Skipped" in status:
            self.skipped.append(f"{name}: {lines[-1] if lines else 'no reason given'}")
        if status != "Passed" and "Skipped" not in status and len(self.failed) == before:
            self.failed.append(f"{name}: {status.strip('*')}")
        return len(self.failed) > before


def run(build, arguments):
    counts, outputs, ended = Counts(), {}, 0
    command = ["ctest", "--test-dir", build, "-V", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace") as process:
        for line in process.stdout:
            line = line.rstrip("\n")
            output, end = OUTPUT.match(line), END.match(line)
            if output:
                outputs.setdefault(output.group(1), []).append(output.group(2))
            elif end:
                ended += 1
                number, name, status, seconds = end.groups()
                lines = outputs.pop(number, [])
                # ctest's own lines stand before a test's output
                lines = [x for x in lines if not x.startswith(("Test command:", "Working Directory:",
                                                               "Test timeout computed", "Environment", " VL2_"))]
                bad = counts.add(name, status, lines)
                print(f"  {'FAILED' if bad else 'ok':6} {name} ({float(seconds):.1f} s)", flush=True)
                if bad:
                    print("\n".join("         " + x for x in lines[-60:]), flush=True)
    if ended == 0:
        counts.failed.append("ctest ran no test")
    return counts


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("build")
    parser.add_argument("--title", default="")
    parser.add_argument("--add")
    known, rest = parser.parse_known_args()
    counts = run(known.build, rest)
    title = known.title or known.build
    print(f"  {title}: {counts.passed} passed, {len(counts.failed)} failed, {len(counts.skipped)} skipped")
    if known.add:
        path = pathlib.Path(known.add)
        total = json.loads(path.read_text()) if path.exists() else {"passed": 0, "failed": [], "skipped": []}
        total["passed"] += counts.passed
        total["failed"] += [f"{title}: {x}" for x in counts.failed]
        total["skipped"] += [f"{title}: {x}" for x in counts.skipped]
        path.write_text(json.dumps(total))
    return 1 if counts.failed else 0


if __name__ == "__main__":
    sys.exit(main())
