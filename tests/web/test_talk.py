"""Asking: the real checkpoint's answers, stop, regenerate, edit, remove, reload, two pictures, errors."""
import base64
import json
import re
import threading

import browser
from browser import DEMO, EXAMPLES, Answer, Failure, expect, file, in_pixels, overlap

# how many turns the store holds of its only conversation
KEPT_TURNS = """(wanted) => new Promise((resolve) => { indexedDB.open("vl2").onsuccess = ({target: {result: database}}) => {
    database.transaction("conversations").objectStore("conversations").getAll().onsuccess = ({target: {result: [kept]}}) => {
        database.close();
        resolve(kept.turns.length === wanted); }; }; })"""


class Torn(Answer):
    """A stream whose packets end anywhere: a number of bytes behind where a word begins; a gate behind each."""

    def __init__(self, *cuts):
        super().__init__("One ", "红色 ", "three ", "four")
        self.cuts, self.gates = cuts, [threading.Event() for _ in cuts]

    def send(self, handler):
        data = b"".join(b"data: %s\n\n" % (e if isinstance(e, str) else json.dumps(e, ensure_ascii=False)).encode() for e in self.events())
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.end_headers()
        at = 0
        for (word, behind), gate in zip(self.cuts, self.gates):
            end = data.index(word, at) + behind
            handler.wfile.write(data[at:end])
            gate.wait(60)
            at = end
        handler.wfile.write(data[at:])


class RealModel(browser.PageTest):
    """What the page shows is what the API answers, and the examples are answered rightly."""

    def test_every_example(self):
        for i, example in enumerate(EXAMPLES):
            with self.subTest(example["prompt"]):
                self.page.locator("#examples button").nth(i).click()
                self.button("Send").click()
                article = self.complete()
                sent = self.proxy.asked[-1]
                self.assertEqual(sent["temperature"], 0)
                self.assertNotIn("repetition_penalty", sent)
                expect(article).to_contain_text("temperature 0")
                self.is_right(article, example)
                self.button("New conversation").click()

    def is_right(self, article, example):
        if "<|det|>" not in example["shows"]:
            expect(article.locator(".answer")).to_have_text(example["shows"])
            return
        boxes = article.locator("[data-box]")
        true = in_pixels(example["shows"], article.locator("figure img"))
        expect(boxes).to_have_count(len(true))
        for i, box in enumerate(true):
            found = list(map(float, boxes.nth(i).get_attribute("data-box").split(",")))
            self.assertGreater(overlap(found, box), 0.5, f"{found} for {box}")

    def test_boxes_are_the_servers(self):
        example = next(e for e in EXAMPLES if "<|ref|>" in e["prompt"])
        self.page.locator("input[type=file]").set_input_files([DEMO / name for name in example["images"]])
        article = self.ask(example["prompt"])
        self.assertEqual(self.proxy.asked[0]["temperature"], 0.1) # no example of the page: asked as the settings say
        direct = self.server.post("/v1/chat/completions", {**self.proxy.asked[0], "stream": False})
        choice = direct["choices"][0]
        boxes = article.locator("[data-box]")
        expect(boxes).to_have_count(len(choice["grounding"]))
        for i, item in enumerate(choice["grounding"]):
            expect(boxes.nth(i)).to_have_attribute("data-label", item["label"])
            expect(boxes.nth(i)).to_have_attribute("data-box", ",".join(map(str, item["box"])))
        tokens = direct["usage"]["completion_tokens"]
        expect(article).to_contain_text(f"{tokens} tokens")


class Talk(browser.PageTest):
    MAY_LOG = ("Failed to load resource",) # the browser's own word on an error status

    def test_a_stream_is_shown_as_it_comes(self):
        gate = threading.Event()
        self.send("Tell me", Answer("One **two", gate, "** three"))
        last = self.said("assistant").last
        expect(last).to_contain_text("One")
        expect(last).not_to_have_attribute("data-state", "done")
        expect(self.button("Stop")).to_be_visible()
        gate.set()
        self.complete()
        expect(last.locator("strong")).to_have_text("two")
        expect(last).to_contain_text("8 tokens")
        expect(self.said("user").last).to_contain_text("Tell me")

    def test_packets_end_anywhere(self):
        """In the name of a field, in a character of three bytes, in its JSON, between two line ends, in [DONE]."""
        torn = Torn((b"One", 37), ("红".encode(), 1), (b"three", 2), (b"four", 33), (b"[DONE]", 3))
        self.send("Tell me", torn)
        last = self.said("assistant").last
        for gate, shown in zip(torn.gates, ("One", "One", "One 红色", "One 红色 three four", "One 红色 three four")):
            expect(last.locator(".answer")).to_have_text(shown)
            gate.set()
        self.complete()
        expect(last.locator(".answer")).to_have_text("One 红色 three four")
        expect(last).to_contain_text("8 tokens")

    def test_tables_code_and_formulas(self):
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        code = 'def area(r):\n    return 3 * r ** 2  # about'
        article = self.ask("Show me", Answer(f"# Areas\n\n| r | area |\n|---|--:|\n| 1 | 3 |\n\nAs $x^2$ and\n\n$$\\frac{{1}}{{2}}$$\n\n"
                                             f"```python\n{code}\n```\n\n1. one\n2. two\n\n- [x] done"))
        expect(article.locator("h1")).to_have_text("Areas")
        expect(article.locator("td")).to_have_text(["1", "3"])
        expect(article.locator("math msup")).to_have_count(1)
        expect(article.locator("div.math mfrac")).to_have_count(1)
        expect(article.locator("ol li")).to_have_text(["one", "two"])
        expect(article.locator("ul li")).to_have_text(["☑ done"])
        expect(article.locator("pre code")).to_have_text(code)
        expect(article.locator("pre .hljs-keyword").first).to_have_text("def")
        article.get_by_role("button", name="Copy code").click()
        self.page.wait_for_function("async (code) => (await navigator.clipboard.readText()).trim() === code", arg=code)
        article.get_by_role("button", name="Copy", exact=True).click()
        expect(article.get_by_role("button", name="Copied")).to_be_visible()

    def test_stop_keeps_what_was_said(self):
        gate = threading.Event()
        answer = Answer("Once upon a time", gate, " there was more")
        self.send("A story", answer)
        expect(self.said("assistant").last).to_contain_text("Once upon a time")
        self.button("Stop").click()
        last = self.complete()
        self.assertTrue(answer.left.wait(10), "the request goes on after Stop")
        expect(last).to_contain_text("Once upon a time")
        expect(last).not_to_contain_text("there was more")
        expect(self.button("Send")).to_be_visible()
        self.ask("Go on", Answer("There was more"))
        sent = self.proxy.asked[1]["messages"]
        self.assertEqual([m["role"] for m in sent], ["user", "assistant", "user"])
        self.assertEqual(sent[1]["content"], "Once upon a time")

    def test_regenerate(self):
        self.choose(file("a.png"))
        self.ask("What is it?", Answer("First try"))
        self.proxy.answers.append(Answer("Second try"))
        self.button("Regenerate").click()
        expect(self.said("assistant").last).to_contain_text("Second try")
        self.complete()
        expect(self.said("assistant")).to_have_count(1)
        expect(self.page.locator("#log")).not_to_contain_text("First try")
        self.assertEqual(self.proxy.asked[0]["messages"], self.proxy.asked[1]["messages"])

    def test_an_example_asked_again(self):
        """Greedy as long as it has no answer; who regenerates an answer wants another one."""
        self.page.locator("#examples button").first.click()
        self.button("Send").click()
        self.complete()
        self.proxy.answers.append(Failure(500, "out of memory"))
        self.button("Regenerate").click()
        self.complete("error")
        self.proxy.answers.append(Answer("Another answer"))
        self.button("Regenerate").click()
        expect(self.complete()).to_contain_text("temperature 0.1, top-p 0.9, penalty 1.1")
        self.button("New conversation").click()
        self.page.locator("#examples button").first.click()
        self.proxy.answers.extend([Failure(500, "out of memory"), Answer("An answer")])
        self.button("Send").click()
        self.complete("error")
        self.button("Regenerate").click()
        self.complete()
        self.assertEqual([asked["temperature"] for asked in self.proxy.asked], [0, 0.1, 0.1, 0, 0])

    def test_a_changed_example_is_a_question_of_ones_own(self):
        self.page.locator("#examples button").first.click()
        self.message.press("End")
        self.page.keyboard.type("!")
        self.proxy.answers.append(Answer("Well"))
        self.button("Send").click()
        expect(self.complete()).to_contain_text("temperature 0.1, top-p 0.9, penalty 1.1")
        self.button("New conversation").click()
        self.page.locator("#examples button").first.click()
        self.page.get_by_role("button", name="Remove picture 1").click()
        self.proxy.answers.append(Answer("Well"))
        self.button("Send").click()
        self.complete()
        self.assertEqual([asked["temperature"] for asked in self.proxy.asked], [0.1, 0.1])

    def test_edit_and_resend(self):
        self.choose(file("a.png"))
        self.ask("What color?", Answer("Red"))
        self.ask("And now?", Answer("Blue"))
        self.said("user").first.get_by_role("button", name="Edit").click()
        expect(self.message).to_have_value("What color?")
        expect(self.page.locator("#pending li")).to_have_count(1)
        self.send("What shape?", Answer("Round"))
        expect(self.said("assistant").last).to_contain_text("Round")
        self.complete()
        expect(self.said("user")).to_have_count(1)
        expect(self.said("user")).to_contain_text("What shape?")
        self.assertEqual(len(self.proxy.asked[-1]["messages"]), 1)
        self.assertEqual(self.proxy.asked[-1]["messages"][0]["content"][0],
                         self.proxy.asked[0]["messages"][0]["content"][0])

    def test_remove_last_turn_and_new_conversation(self):
        self.ask("One", Answer("First"))
        self.ask("Two", Answer("Second"))
        self.button("Remove last turn").click()
        expect(self.said("user")).to_have_count(1)
        expect(self.page.locator("#log")).not_to_contain_text("Second")
        self.ask("Three", Answer("Third"))
        self.assertEqual([m["content"] for m in self.proxy.asked[-1]["messages"]], ["One", "First", "Three"])
        self.button("Remove last turn").click()
        self.page.wait_for_function(KEPT_TURNS, arg=1)
        self.page.reload()
        expect(self.said("user")).to_have_text(re.compile("One"))
        self.button("New conversation").click()
        expect(self.page.locator("article")).to_have_count(0)
        self.ask("Four", Answer("Fourth"))
        self.assertEqual([m["content"] for m in self.proxy.asked[-1]["messages"]], ["Four"])

    def test_a_reload_keeps_everything(self):
        self.choose(file("one.png"), file("two.png", 120, 90))
        expect(self.page.locator("#pending .number")).to_have_text(["1", "2"])
        self.ask("Which is larger?", Answer("The first", grounding=[
            {"label": "small", "image": 1, "box": [10, 20, 60, 70], "box_999": [83, 222, 500, 777]}]))
        self.page.reload()
        expect(self.said("assistant")).to_contain_text("The first")
        expect(self.said("user").locator("img")).to_have_count(2)
        expect(self.said("user").locator(".thumbs .number")).to_have_text(["1", "2"])
        expect(self.page.locator("[data-box]")).to_have_attribute("data-box", "10,20,60,70")
        self.ask("Sure?", Answer("Yes"))
        parts = self.proxy.asked[-1]["messages"][0]["content"]
        self.assertEqual([p["type"] for p in parts], ["image_url", "image_url", "text"])
        self.assertEqual(parts, self.proxy.asked[0]["messages"][0]["content"])

    def test_two_pictures_go_where_the_text_says(self):
        self.choose(file("one.png"), file("two.png", 120, 90))
        self.ask("First: <image>\nSecond: <image>\nWhat differs?", Answer("Size"))
        parts = self.proxy.asked[0]["messages"][0]["content"]
        self.assertEqual([p.get("text", "picture") for p in parts],
                         ["First: ", "picture", "Second: ", "picture", "What differs?"])
        for part, given in ((parts[1], file("one.png")), (parts[3], file("two.png", 120, 90))):
            self.assertEqual(part["image_url"]["url"].split(",")[1], base64.b64encode(given["buffer"]).decode())

    def test_an_error_of_the_server(self):
        self.ask_and_fail(Failure(429, "the queue is full; try again shortly", retry_after=3), "the queue is full; try again shortly (3 s)")
        self.ask_and_fail(Failure(500, "out of memory"), "out of memory")
        self.proxy.answers.append(Answer("Here I am"))
        self.button("Regenerate").click()
        expect(self.said("assistant").last).to_contain_text("Here I am")
        self.complete()

    def ask_and_fail(self, failure, words):
        self.send("Are you there?", failure)
        expect(self.said("assistant").last).to_contain_text(words)
        expect(self.button("Send")).to_be_visible()

    def test_a_dead_server(self):
        self.ask("One", Answer("First"))
        self.proxy.down = True
        self.send("Two")
        expect(self.said("assistant").last).to_contain_text("cannot be reached")
        self.proxy.down = False
        self.page.reload()
        expect(self.said("user").last).to_contain_text("Two")
        self.proxy.answers.append(Answer("Second"))
        self.button("Regenerate").click()
        expect(self.said("assistant").last).to_contain_text("Second")
        self.complete()
        self.assertEqual([m["content"] for m in self.proxy.asked[-1]["messages"]], ["One", "First", "Two"])


if __name__ == "__main__":
    browser.main()
