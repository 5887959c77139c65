"""vl2 chat: turns, commands, what it remembers, a real terminal."""
import json
import os
import unittest

from program import CASES, MINI, ProgramTest, Terminal, case, vl2

F32 = ("-m", MINI, "--compute", "f32", "--max-tokens", "24")


class Chat(ProgramTest):
    def talk(self, text, *words, **more):
        done = vl2("chat", *F32, *words, stdin=text, XDG_STATE_HOME=str(self.folder), **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.decode(), done.stderr.decode()

    def test_one_question(self):
        text = case("text")["conversation"][0]["content"].strip()
        out, err = self.talk(text + "\n", "-q")
        self.assertEqual((out, err), (case("text")["greedy_text"].strip() + "\n", ""))

    def test_a_picture(self):
        message = case("one_image")["conversation"][0]
        picture = CASES / message["images"][0]
        text = message["content"].replace("<image>\n", "")
        expected = case("one_image")["greedy_text"].strip() + "\n"
        self.assertEqual(self.talk(f"/image {picture}\n{text}\n", "-q")[0], expected)
        for dropped in (str(picture), f"'{picture}'", f"file://{picture}", str(picture).replace("img", "\\img")):
            self.assertEqual(self.talk(f"{dropped}\n{text}\n", "-q")[0], expected, dropped)
        self.assertEqual(self.talk(text + "\n", "-q", "-i", picture)[0], expected)

    def test_what_was_said_is_remembered_as_run_would_have_it(self):
        save = self.folder / "talk.json"
        picture = CASES / "img0.png"
        out, _ = self.talk(f"/image {picture}\nWhat is it?\nAnd then?\n/image {CASES / 'img1.png'}\nThis too?\n"
                           f"/save {save}\n", "-q")
        talk = json.loads(save.read_text())
        self.assertEqual([m["role"] for m in talk], ["user", "assistant"] * 3)
        self.assertEqual([len(m.get("images", [])) for m in talk], [1, 0, 0, 0, 1, 0])
        answers = [m["content"] for m in talk if m["role"] == "assistant"]
        self.assertEqual(out, "".join(a + "\n" for a in answers))
        for turn in (1, 3, 5): # each answer is what a fresh run of the same turns says
            for message in talk[:turn]:
                missing = len(message.get("images", [])) - message["content"].count("<image>")
                message["content"] = "<image>\n" * max(0, missing) + message["content"]
            so_far = self.write("so_far.json", talk[:turn])
            self.assertEqual(self.good("run", *F32, "--conversation", so_far), talk[turn]["content"] + "\n", turn)

    def test_what_was_saved_can_be_run(self):
        save = self.folder / "talk.json"
        picture = CASES / "img0.png"
        out, _ = self.talk(f"/image {picture}\nWhat is it?\n/image {picture}\nA <image> and <image>?\n/save {save}\n", "-q")
        talk = json.loads(save.read_text())
        self.assertEqual([m["content"].count("<image>") for m in talk[::2]], [1, 1])
        so_far = self.write("so_far.json", talk[:3])
        self.assertEqual(self.good("run", "-q", *F32, "--conversation", so_far), talk[3]["content"] + "\n")

    def test_retry_undo_clear(self):
        one, _ = self.talk("Hello\n")
        self.assertEqual(self.talk("Hello\n/retry\n")[0], one * 2)
        self.assertEqual(self.talk("Good evening\n/undo\nHello\n")[0].split("\n", 1)[1], one)
        self.assertEqual(self.talk("Good evening\nBye\n/clear\nHello\n")[0].split("\n", 2)[2], one)

    def test_commands_that_fail_say_so_and_the_chat_goes_on(self):
        out, err = self.talk("/undo\n/retry\n/imag x\n/image none.png\n/set temprature 1\n/set top-p 7\n/save\n"
                             "/set\n/help\nHello\n/quit\nnever said\n")
        for text in ("nothing has been said yet", "did you mean /image?", "none.png", "did you mean temperature?",
                     "--top-p takes 0 to 1", "/save needs", "repetition-penalty", "/retry         answer"):
            self.assertIn(text, err)
        self.assertEqual(out, self.talk("Hello\n")[0])

    def test_settings(self):
        out, _ = self.talk("/set max-tokens 3\nHello\n")
        self.assertTrue(self.talk("Hello\n")[0].startswith(out.strip()))
        self.assertLess(len(out), len(self.talk("Hello\n")[0]))

    def test_a_line_goes_on(self):
        self.assertEqual(self.talk("one\\\ntwo\n")[0], self.good("run", *F32, "one\ntwo"))

    def test_the_oldest_turns_are_dropped(self):
        done = vl2("chat", *F32, "--ctx-size", "150", "--max-tokens", "8",
                   stdin="".join(f"Question number {i}, of many words and more.\n" for i in range(12)))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(done.stdout.decode().rstrip("\n").split("\n")) >= 12, True)
        self.assertIn(b"the context is full: the ", done.stderr)

    def test_terminal(self):
        terminal = Terminal("chat", *F32, XDG_STATE_HOME=str(self.folder))
        terminal.wait_for("/help says")
        terminal.wait_for("> ")
        terminal.type("Hello\r")
        terminal.wait_for("new prompt tokens")
        terminal.wait_for("> ", after="new prompt tokens")
        terminal.type("图片里\x7f有什么?\r")
        terminal.wait_for("known), answer", after="有什么?")
        terminal.wait_for("> ", after="有什么?")
        terminal.type("\x03")
        terminal.wait_for("> ", after="once more")
        self.assertEqual(terminal.end(insist="\x15\x04"), 0)
        if (self.folder / "vl2/history").exists():
            self.assertIn("Hello", (self.folder / "vl2/history").read_text())
        else:
            self.skipTest("this build has no line editing")

    def test_ctrl_c_stops_an_answer_and_twice_ends(self):
        terminal = Terminal("chat", "-m", MINI, "--max-tokens", "100000", "--ctx-size", "100000",
                            XDG_STATE_HOME=str(self.folder))
        terminal.wait_for("> ")
        terminal.type("Hello\r")
        terminal.wait_for("Hello\r\n")
        seen = len(terminal.seen)
        while len(terminal.seen) < seen + 20:
            terminal.read()
        terminal.type("\x03")
        terminal.wait_for("> ", after="stopped")
        terminal.type("\x03")
        terminal.wait_for("> ", after="once more")
        terminal.type("\x03")
        self.assertEqual(terminal.end(), 130)

    @unittest.skipUnless(os.path.exists("/dev/full"), "there is no /dev/full here")
    def test_full_disk(self):
        with open("/dev/full", "wb") as full:
            terminal = Terminal("chat", *F32, stdout=full, XDG_STATE_HOME=str(self.folder))
            terminal.wait_for("> ")
            terminal.type("Hello\r")
            self.assertEqual(terminal.end(), 1)
        self.assertIn("No space left on device", terminal.seen.decode())


if __name__ == "__main__":
    unittest.main()
