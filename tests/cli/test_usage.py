"""Commands, options, --help: what is said to who types something wrong."""
import re
import unittest

from program import PROGRAM, ProgramTest, vl2

COMMANDS = "run chat batch bench inspect tokenize detokenize trace quantize pull version".split()


class Usage(ProgramTest):
    def test_overview_names_every_command(self):
        said = self.good("--help")
        listed = re.findall(r"^  vl2 (\w+)  ", said, re.M)
        self.assertEqual([c for c in listed if c != "serve"], COMMANDS) # serve: where the build has it
        self.assertEqual(vl2().returncode, 2)
        self.assertEqual(vl2().stdout, b"")

    def test_help_of_every_command_has_examples(self):
        for command in COMMANDS:
            said = self.good(command, "--help")
            self.assertIn("\nExamples\n  vl2 ", said)
            self.assertIn("--help", said)
            self.assertEqual(said, self.good("help", command))
            self.assertLess(max(map(len, said.split("\n"))), 121, command)

    def test_help_names_every_option_of_the_product(self):
        said = self.good("run", "--help")
        for option in ("system max-tokens temperature top-p top-k min-p repetition-penalty presence-penalty "
                       "frequency-penalty seed stop chunk-size ctx-size threads cpu compute vision json draw verbose quiet "
                       "conversation image model skip-special-tokens").split():
            self.assertIn(f"--{option}", said)

    def test_unknown_command(self):
        self.usage("rum", contains=["unknown command rum", "did you mean run?"])
        self.usage("--verson", contains="unknown option --verson")
        self.usage("zzzzzzzz", contains="unknown command zzzzzzzz")

    def test_unknown_options_are_named_with_the_nearest(self):
        self.usage("run", "--max-token", "5", contains=["--max-token;", "did you mean --max-tokens?"])
        self.usage("run", "--temprature", "5", contains="did you mean --temperature?")
        self.usage("batch", "--paralel=2", contains="did you mean --parallel?")
        self.usage("run", "--zzzzzzzzzzzzz", contains="unknown option --zzzzzzzzzzzzz")
        self.usage("run", "-Z", contains="unknown option -Z")
        self.usage("run", "--parallel", "3", contains="unknown option --parallel") # batch's

    def test_values_are_checked(self):
        self.usage("run", "--max-tokens", "ten", contains='--max-tokens takes a number, not "ten"')
        self.usage("run", "--max-tokens", "1.5", contains="whole number")
        self.usage("run", "--max-tokens", "0", contains="--max-tokens takes 1 to")
        self.usage("run", "--max-tokens", "0x10", contains="--max-tokens takes a number")
        self.usage("run", "--top-p", "1.5", contains="--top-p takes 0 to 1")
        self.usage("run", "--temperature", "nan", contains="--temperature takes a number")
        self.usage("run", "--repetition-penalty", "0", contains="--repetition-penalty")
        self.usage("run", "--compute", "f16", contains="--compute takes auto|f32")
        self.usage("run", "--vision", "int4", contains="--vision takes auto|int8")
        self.usage("run", "--json=yes", contains="--json takes no value")
        self.usage("run", "--top-k", contains="--top-k needs a value: N")
        self.usage("run", "what", "is", "this", contains=['"is" is one word too many', "quotes"])

    def test_combinations_are_checked(self):
        self.usage("run", "--conversation", "a.json", "why?", contains="--conversation has the question")
        self.usage("run", "-i", "-", contains="the prompt must be an argument")
        self.usage("run", "-i", "-", "-i", "-", "why?", contains="- is there twice")
        self.usage("run", "--draw", "x.png", "why?", contains="--draw needs a picture")
        self.usage("run", "-i", "a.png", "--draw", "x.gif", "why?", contains=".png, .jpg or .jpeg")
        self.usage("batch", contains="vl2 batch [-m MODEL] IN.jsonl -o OUT.jsonl")
        self.usage("batch", "in.jsonl", contains="-o OUT.jsonl")
        self.usage("trace", contains="--conversation")
        self.usage("bench", "-m", "x", "--dummy", "tiny", contains="--dummy")
        self.usage("inspect", "-m", "x", "y", contains="twice")
        self.usage("pull", contains="vl2 pull NAME")

    def test_version_tells_features_and_levels(self):
        said = self.good("version")
        self.assertRegex(said, r"^vl2 \d+\.\d+\.\d+\nfeatures ")
        self.assertRegex(said, r"CPU levels .*\(in use: \w+\)")
        self.assertEqual(said, self.good("--version"))

    def test_a_level_that_is_not_here(self):
        said = self.bad(2, "run", "--cpu", "cray", "hello", contains=["--cpu", '"cray"'])
        self.assertRegex(said, r"levels: \w+")

    def test_words_behind_two_dashes_are_no_options(self):
        self.bad(1, "run", "-m", "/nonexistent/model", "--", "--what?", contains="/nonexistent/model")

    def test_the_program_is_there(self):
        self.assertTrue(PROGRAM.endswith("vl2"))


if __name__ == "__main__":
    unittest.main()
