"""docs/HTTP.md's table of fields, held against the server: each is honoured, refused or ignored as it says."""
import json
import os
import pathlib
import re
import unittest

from serving import Server, user

TABLE = (pathlib.Path(os.environ["VL2_SOURCE"]) / "docs/HTTP.md").read_text()

# field -> (a good value that shows in the answer or does no harm, wrong values)
HONOURED = {
    "model": ("mini-base", ["other", 7, ""]),
    "messages": (user("hello"), [[], "x", None, 7, [{}]]),
    "max_tokens": (3, [0, -1, 1.5, "3"]),
    "max_completion_tokens": (3, [0, -1, "3"]),
    "temperature": (0.5, [-0.1, 2.1, "hot"]),
    "top_p": (0.5, [-0.1, 1.1, "x"]),
    "min_p": (0.5, [-0.1, 1.1]),
    "top_k": (4, [-1, 0.5]),
    "repetition_penalty": (1.2, [0, -1, 11]),
    "presence_penalty": (1, [-2.1, 2.1]),
    "frequency_penalty": (1, [-2.1, 2.1]),
    "seed": (3, [0.5, "x"]),
    "stop": (["\n"], ["", [""], 7, ["x"] * 17]),
    "n": (2, [0, 9, "2"]),
    "stream": (False, ["yes", 1]),
    "stream_options": ({"include_usage": True}, [[], "x", {"include_usage": 7}]),
    "logprobs": (True, ["yes", 3]),
    "top_logprobs": (None, [21, -1, 3]),
    "skip_special_tokens": (True, ["yes"]),
    "response_format": ({"type": "text"}, [{"type": "json_object"}, {"type": "json_schema", "json_schema": {}}, "text", {}]),
}
SAYS_NOTHING = [None, [], {}, False, "none", "auto"]


def rows():
    section = TABLE.split("## A request's fields")[1].split("Parts of a message")[0]
    for line in section.split("\n"):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 3 and cells[1] in ("honoured", "refused", "ignored"):
            for field in re.findall(r"`(\w+)`", cells[0]) or ["an_unknown_field"]:
                yield field, cells[1]


class FieldsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.plain = cls.say()

    @classmethod
    def tearDownClass(cls):
        status = cls.server.stop()
        assert not status, status

    @classmethod
    def say(cls, **fields):
        body = {"messages": user("Tell me what you see."), "max_tokens": 8, **fields}
        status, reply = cls.server.ask(**body)
        return status, reply["choices"][0]["message"]["content"] if status == 200 else reply["error"]

    def test_the_table_names_every_field(self):
        table = dict(rows())
        self.assertGreater(len(table), 30)
        self.assertEqual({field for field, how in table.items() if how == "honoured"}, set(HONOURED))
        source = (pathlib.Path(os.environ["VL2_SOURCE"]) / "server/request.c").read_text()
        refused = re.search(r"refused\[\] = \{(.*?)\}", source, re.S).group(1)
        self.assertEqual(set(re.findall(r'"(\w+)"', refused)), {field for field, how in table.items() if how == "refused"})
        read = set(re.findall(r'(?:said|read_\w+)\((?:r, )?root, "(\w+)"', source)) | {"messages"}
        self.assertEqual(read, set(HONOURED), "fields that the code reads, and the table's")

    def test_honoured(self):
        for field, (good, wrong) in HONOURED.items():
            with self.subTest(field):
                self.assertEqual(self.say(**{field: good})[0], 200)
                for value in wrong:
                    status, error = self.say(**{field: value})
                    self.assertEqual(status, 404 if field == "model" and isinstance(value, str) else 400, value)
                    self.assertRegex(error["param"], rf"^{field}\b", value)
                if field not in ("messages",):
                    self.assertEqual(self.say(**{field: None})[0], 200)

    def test_honoured_shows(self):
        """That a value is taken is not enough: it has to do something."""
        ask = lambda **fields: self.server.ask(**{"messages": user("Tell me what you see."), "max_tokens": 8, **fields})[1]
        text = lambda reply: reply["choices"][0]["message"]["content"]
        hot = {"temperature": 2, "max_tokens": 24}
        self.assertEqual(ask(max_tokens=3)["usage"]["completion_tokens"], 3)
        self.assertEqual(ask(max_completion_tokens=2)["usage"]["completion_tokens"], 2)
        self.assertNotEqual(text(ask(**hot, seed=1)), text(ask(**hot, seed=2)))
        self.assertEqual(text(ask(**hot, seed=1)), text(ask(**hot, seed=1)))
        greedy = text(ask(max_tokens=24))
        for narrow in ({"top_k": 1}, {"top_p": 0}, {"min_p": 1}):
            self.assertEqual(text(ask(**hot, seed=1, **narrow)), greedy, narrow)
        once = text(ask(max_tokens=24, repetition_penalty=10))
        self.assertNotEqual(once, greedy)
        self.assertNotEqual(text(ask(max_tokens=24, presence_penalty=2, frequency_penalty=2)), greedy)
        self.assertEqual(len(ask(n=2)["choices"]), 2)
        self.assertEqual(len(ask(logprobs=True)["choices"][0]["logprobs"]["content"]), 8)
        self.assertEqual(len(ask(logprobs=True, top_logprobs=4)["choices"][0]["logprobs"]["content"][0]["top_logprobs"]), 4)
        cut = greedy[5]
        self.assertNotIn(cut, text(ask(max_tokens=24, stop=cut)))

    def test_refused(self):
        for field in (field for field, how in rows() if how == "refused"):
            with self.subTest(field):
                for value in ([{"x": 1}], {"x": 1}, True, 7, "required"):
                    status, error = self.say(**{field: value})
                    self.assertEqual((status, error["param"]), (400, field), value)
                for value in SAYS_NOTHING:
                    self.assertEqual(self.say(**{field: value}), self.plain, value)

    def test_ignored(self):
        for field in (field for field, how in rows() if how == "ignored"):
            with self.subTest(field):
                for value in (None, 7, "x", [{"x": 1}], {"x": [1]}, True):
                    self.assertEqual(self.say(**{field: value}), self.plain, value)


if __name__ == "__main__":
    unittest.main()
