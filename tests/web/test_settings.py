"""The reference demo's controls, as docs/WEB.md's table has them; models, languages, appearance."""
import re
import threading

import browser
from browser import SOURCE, Answer, expect

# ours (id) and the words of docs/WEB.md's table
SLIDERS = {"top_p": "top-p", "temperature": "temperature", "repetition_penalty": "repetition penalty",
           "max_tokens": "max new tokens", "history": "max history tokens"}


def documented():
    """name -> (least, greatest, step, default), from the table's first column."""
    rows = {}
    for line in (SOURCE / "docs/WEB.md").read_text(encoding="utf-8").splitlines():
        found = re.match(r"\| ([a-z-][a-z -]*?) ([\d.]+)–([\d.]+), step ([\d.]+), ([\d.]+) \|", line)
        if found:
            rows[found.group(1)] = tuple(map(float, found.groups()[1:]))
    return rows


class Settings(browser.PageTest):
    def open(self):
        self.button("Settings").click()
        return self.page.get_by_role("dialog")

    def test_ranges_and_defaults(self):
        rows = documented()
        self.assertEqual(set(rows), set(SLIDERS.values()))
        self.assertEqual(rows["max history tokens"], (0, 8192, 128, 4096)) # as MODEL.md has them
        self.open()
        for name, words in SLIDERS.items():
            slider = self.page.locator(f"#set-{name}")
            found = [float(slider.get_attribute(a)) for a in ("min", "max", "step")] + [float(slider.input_value())]
            self.assertEqual(tuple(found), rows[words], words)

    def test_they_reach_the_request_and_stay(self):
        self.open()
        for name, value in (("top_p", "0.75"), ("temperature", "0.6"), ("repetition_penalty", "1.3"), ("max_tokens", "128")):
            self.page.locator(f"#set-{name}").fill(value)
        self.page.get_by_label("System message").fill("Be brief.")
        self.button("Close").last.click()
        self.page.reload()
        self.ask("Hello", Answer("Hi"))
        sent = self.proxy.asked[0]
        self.assertEqual({k: sent[k] for k in ("top_p", "temperature", "repetition_penalty", "max_tokens", "model")},
                         {"top_p": 0.75, "temperature": 0.6, "repetition_penalty": 1.3, "max_tokens": 128, "model": "demo"})
        self.assertEqual(sent["messages"][0], {"role": "system", "content": "Be brief."})
        self.open()
        self.button("Defaults").click()
        self.button("Close").last.click()
        self.ask("Hello", Answer("Hi"))
        self.assertEqual({k: self.proxy.asked[1][k] for k in ("top_p", "temperature", "repetition_penalty", "max_tokens")},
                         {"top_p": 0.9, "temperature": 0.1, "repetition_penalty": 1.1, "max_tokens": 2048})

    def test_what_zero_means(self):
        dialog = self.open()
        self.page.locator("#set-temperature").fill("0")
        self.page.keyboard.press("Escape")
        self.ask("Hello", Answer("Hi"))
        self.assertNotIn("repetition_penalty", self.proxy.asked.pop()) # though the slider has one
        self.open()
        for name in ("temperature", "repetition_penalty", "max_tokens"):
            self.page.locator(f"#set-{name}").fill("0")
        expect(dialog).to_contain_text("off")
        self.page.keyboard.press("Escape")
        self.ask("Hello") # the real server takes it
        sent = self.proxy.asked[0]
        self.assertEqual(sent["temperature"], 0)
        for name in ("repetition_penalty", "max_tokens", "top_p"):
            self.assertNotIn(name, sent)

    def test_chinese(self):
        self.page.get_by_label("Language").select_option("zh")
        self.assertEqual(self.page.evaluate("document.documentElement.lang"), "zh-CN")
        self.page.get_by_role("textbox", name="消息").fill("What color is it?")
        self.proxy.answers.append(Answer("红色的圆形"))
        self.page.get_by_role("button", name="发送").click()
        last = self.complete()
        expect(last).to_contain_text("个词元")
        expect(self.said("user").locator(".said")).to_have_attribute("lang", "en") # other than the page's
        self.assertIsNone(last.locator(".answer").get_attribute("lang"))
        untranslated = self.page.evaluate("""() => [...document.querySelectorAll("[data-text], [data-aria]")]
            .map((e) => e.dataset.text ? e.textContent : e.getAttribute("aria-label")).filter((t) => !/[\\u3400-\\u9fff]|^Top-p$/.test(t))""")
        self.assertEqual(untranslated, [])
        self.page.reload()
        expect(self.page.get_by_role("button", name="重新生成")).to_be_visible()

    def test_another_language_while_it_answers(self):
        gate = threading.Event()
        self.send("Hello", Answer("One", gate, " two"))
        expect(self.said("assistant")).to_contain_text("One")
        self.page.get_by_label("Language").select_option("zh")
        gate.set()
        expect(self.complete()).to_contain_text("One two")
        expect(self.said("assistant")).to_contain_text("个词元")

    def test_appearance(self):
        background = "getComputedStyle(document.body).backgroundColor"
        light = self.page.evaluate(background)
        self.page.emulate_media(color_scheme="dark")
        dark = self.page.evaluate(background)
        self.assertNotEqual(light, dark)
        self.open()
        self.page.get_by_label("Appearance").select_option("light")
        self.assertEqual(self.page.evaluate(background), light)
        self.page.reload()
        self.assertEqual(self.page.evaluate(background), light)

    def test_reduced_motion(self):
        self.page.emulate_media(reduced_motion="reduce")
        self.send("Hello", Answer("Hi"))
        self.complete()
        moving = self.page.evaluate("document.getAnimations().length")
        self.assertEqual(moving, 0)


class ChineseBrowser(browser.PageTest):
    OPTIONS = {"locale": "zh-CN"}
    MESSAGE = "消息"

    def test_it_begins_in_chinese(self):
        self.assertEqual(self.page.evaluate("document.documentElement.lang"), "zh-CN")
        expect(self.page.get_by_role("button", name="发送")).to_be_visible()


if __name__ == "__main__":
    browser.main()
