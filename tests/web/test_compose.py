"""The message box and its pictures: drop, paste, order, places, tokens, and all of it by keyboard."""
import threading

import browser
from browser import Answer, expect, file, png

FILES = """(list) => { const data = new DataTransfer();
    for (const [name, type, bytes] of list) data.items.add(new File([new Uint8Array(bytes)], name, {type}));
    return data; }"""


class Compose(browser.PageTest):
    def files(self, *named):
        return self.page.evaluate_handle(FILES, [[name, kind, list(data)] for name, kind, data in named])

    def thumbnails(self):
        return self.page.locator("#pending li")

    def test_drop(self):
        data = self.files(("a.png", "image/png", png(30, 20)), ("b.png", "image/png", png(20, 30)))
        self.page.dispatch_event("body", "dragenter", {"dataTransfer": data})
        expect(self.page.locator("#drop")).to_be_visible()
        self.page.dispatch_event("body", "drop", {"dataTransfer": data})
        expect(self.page.locator("#drop")).to_be_hidden()
        expect(self.thumbnails()).to_have_count(2)
        self.ask("Two?", Answer("Two"))
        kinds = [p["type"] for p in self.proxy.asked[0]["messages"][0]["content"]]
        self.assertEqual(kinds, ["image_url", "image_url", "text"])
        self.page.dispatch_event("body", "drop", {"dataTransfer": self.files(("notes.pdf", "application/pdf", b"%PDF"))})
        expect(self.page.locator("#notice")).to_contain_text("notes.pdf is not a picture")
        expect(self.thumbnails()).to_have_count(0)

    def test_paste(self):
        self.message.focus()
        data = self.files(("image.png", "image/png", png(30, 20)))
        self.page.evaluate("""(data) => document.activeElement.dispatchEvent(
            new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}))""", data)
        expect(self.thumbnails()).to_have_count(1)
        self.page.evaluate("""() => { const data = new DataTransfer(); data.setData("text/plain", "words");
            window.passed = document.activeElement.dispatchEvent(
                new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true})); }""")
        self.assertTrue(self.page.evaluate("window.passed"), "pasted text is left to the box")

    def test_order_and_places(self):
        self.choose(file("a.png", 30, 20), file("b.png", 40, 20), file("c.png", 50, 20))
        self.page.get_by_role("button", name="Move earlier: picture 3").click()
        self.page.get_by_role("button", name="Remove picture 1").click()
        images = self.thumbnails().locator("img")
        expect(images).to_have_count(2)
        self.assertEqual([images.nth(i).evaluate("i => i.naturalWidth") for i in range(2)], [50, 40])
        expect(self.page.locator(".place")).to_have_text(["before the text", "before the text"])
        expect(self.page.locator("#pending .number")).to_have_text(["1", "2"])
        self.message.fill("See <image>\nand say")
        expect(self.page.locator(".place")).to_have_text(["before the text", "at <image> 1"])
        self.message.fill("<image>, <image>, <image> and say")
        expect(self.page.locator(".place")).to_have_text(["at <image> 1", "at <image> 2"])
        self.button("Send").click()
        self.complete()
        parts = self.proxy.asked[0]["messages"][0]["content"]
        self.assertEqual([p.get("text", "picture") for p in parts], [", ", "picture", ", ", "picture", " and say"])
        expect(self.page.locator("#notice")).to_contain_text("more <image> marks than pictures")

    def test_the_buttons_that_insert(self):
        self.choose(file("a.png"))
        self.message.fill("the red circle")
        self.message.select_text()
        self.button("Find a thing").click()
        expect(self.message).to_have_value("<|ref|>the red circle<|/ref|>")
        self.message.fill("What is there?")
        self.button("Answer with boxes").click()
        expect(self.message).to_have_value("<|grounding|>What is there?")
        self.button("Answer with boxes").click()
        expect(self.message).to_have_value("What is there?")
        self.message.fill("")
        self.button("Place picture").click()
        expect(self.message).to_have_value("<image>\n")
        self.message.fill("")
        self.button("Find a thing").click()
        self.page.keyboard.type("a cat")
        expect(self.message).to_have_value("<|ref|>a cat<|/ref|>")

    def test_nothing_to_send(self):
        self.button("Send").click()
        expect(self.page.locator("#notice")).to_contain_text("Write a question")
        self.assertEqual(self.proxy.asked, [])

    def test_an_example_fills_the_box(self):
        examples = self.page.locator("#examples button")
        expect(examples).to_have_count(len(browser.EXAMPLES))
        examples.first.click()
        expect(self.message).to_have_value(browser.EXAMPLES[0]["prompt"])
        expect(self.thumbnails()).to_have_count(len(browser.EXAMPLES[0]["images"]))

    def test_an_edit_can_be_left(self):
        self.ask("One", Answer("First"))
        self.ask("Two", Answer("Second"))
        self.message.fill("half a thought")
        self.said("user").first.get_by_role("button", name="Edit").click()
        expect(self.message).to_have_value("One")
        self.button("Cancel").click()
        expect(self.message).to_have_value("half a thought")
        expect(self.said("assistant")).to_have_count(2)
        self.said("user").last.get_by_role("button", name="Edit").click()
        self.ask_instead("Two, please", Answer("The second"))
        expect(self.message).to_have_value("half a thought") # it waits until the edit is sent
        self.message.fill("another thought")
        self.said("user").last.get_by_role("button", name="Edit").click()
        self.button("Cancel").click()
        expect(self.message).to_have_value("another thought")

    def ask_instead(self, text, answer):
        self.send(text, answer)
        expect(self.said("assistant").last).to_contain_text(answer.pieces[0])
        self.complete()

    def test_the_end_stays_in_view(self):
        """While nobody scrolls, neither a long answer nor a higher message box hides the last line."""
        at_end = "() => { const m = document.getElementById('main'); return m.scrollHeight - m.scrollTop - m.clientHeight < 4; }"
        self.ask("Long", Answer("\n\n".join(f"Line {i}" for i in range(80))))
        self.page.wait_for_function(at_end)
        before = self.page.locator("#main").bounding_box()["height"]
        self.choose(file("a.png"), file("b.png"))
        self.message.fill("<image>\n<image>\none\ntwo\nthree")
        self.page.wait_for_function("(before) => document.getElementById('main').clientHeight < before - 40", arg=before)
        self.page.wait_for_function(at_end)

    def test_enter_of_an_input_method(self):
        """The Enter that takes a proposal of an input method sends nothing."""
        self.message.fill("ni hao")
        self.message.evaluate("""box => box.dispatchEvent(new KeyboardEvent("keydown",
            {key: "Enter", isComposing: true, bubbles: true, cancelable: true}))""")
        expect(self.message).to_have_value("ni hao")
        self.assertEqual(self.proxy.asked, [])

    def test_scrolled_up_stays_there(self):
        gate, end = threading.Event(), threading.Event()
        lines = "\n\n".join(f"Line {i}" for i in range(80))
        self.send("Long", Answer(lines, gate, "\n\n" + lines + "\n\nbehind the gate", end))
        last = self.said("assistant").last
        expect(last).to_contain_text("Line 79")
        main = self.page.locator("#main")
        self.page.wait_for_function("() => { const m = document.getElementById('main'); return m.scrollHeight - m.scrollTop - m.clientHeight < 4; }")
        self.page.mouse.move(640, 400)
        self.page.mouse.wheel(0, -900)
        expect(self.button("To the newest")).to_be_visible()
        before = last.locator("p", has_text="Line 20").bounding_box()["y"]
        gate.set()
        expect(last).to_contain_text("behind the gate")
        self.assertAlmostEqual(last.locator("p", has_text="Line 20").first.bounding_box()["y"], before, delta=1)
        self.button("To the newest").click()
        end.set()
        self.complete()
        self.page.wait_for_function("() => { const m = document.getElementById('main'); return m.scrollHeight - m.scrollTop - m.clientHeight < 60; }")
        expect(main).to_be_visible()

    def test_by_keyboard_alone(self):
        """Tab, Enter and Escape reach and do everything; what has the focus can be seen."""
        self.page.keyboard.press("Tab")
        expect(self.page.locator(".skip")).to_be_focused()
        self.page.keyboard.press("Enter")
        expect(self.message).to_be_focused()
        self.page.keyboard.type("Hello")
        gate = threading.Event()
        self.proxy.answers.append(Answer("Well", gate))
        self.page.keyboard.press("Enter")
        expect(self.said("assistant").last).to_contain_text("Well")
        self.page.keyboard.press("Escape")
        self.complete()
        reached = []
        self.page.locator("h1").evaluate("h => { h.tabIndex = -1; h.focus(); }")
        for _ in range(40):
            self.page.keyboard.press("Tab")
            name, outlined = self.page.evaluate("""() => { const e = document.activeElement;
                if (e === document.body) return [null, true];
                const s = getComputedStyle(e.id === "message" || e.id === "files" ? e.closest(".card") : e);
                return [e.getAttribute("aria-label") || e.innerText.trim() || e.id,
                        s.outlineStyle !== "none" || e.matches("#message, #files") ]; }""")
            if name is None:
                break
            reached.append(name)
            self.assertTrue(outlined, f"{name}: the focus is not seen")
        for name in ("Model", "History", "New conversation", "Settings", "Language", "Edit", "Regenerate",
                     "Remove last turn", "Message", "files", "Find a thing", "Answer with boxes", "Send"):
            self.assertIn(name, reached)
        self.button("Settings").focus()
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("dialog")).to_be_visible()
        self.page.keyboard.press("Escape")
        expect(self.button("Settings")).to_be_focused()
        self.button("Remove last turn").focus()
        self.page.keyboard.press("Enter")
        expect(self.page.locator("article")).to_have_count(0)
        expect(self.message).to_be_focused()


if __name__ == "__main__":
    browser.main()
