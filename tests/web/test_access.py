"""axe-core finds nothing in any state of the page; nothing is wider than a phone; targets can be hit."""
import browser
from axe_playwright_python.sync_playwright import Axe
from browser import Answer, Failure, expect, file

RICH = """## Heading

| a | b |
|---|--:|
| 1 | 2 |

Text with `code`, $x^2$, [a link](https://fine.example/) and <|ref|>a thing<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>.

```python
def f(x): return "a" + str(1)  # why
```

> quoted

- [x] done

A line with a verylongwordwithoutanyplacetobreakit_verylongwordwithoutanyplacetobreakit_verylongword.
"""
BOXES = [{"label": "a thing", "image": 0, "box": [10, 10, 100, 90]}, {"label": "一个东西", "image": 0, "box": [60, 40, 200, 160]}]


class Access(browser.PageTest):
    MAY_LOG = ("Failed to load resource",)

    def clean(self, state):
        # the policy stops nothing of it: Playwright evaluates axe from outside of the page
        found = Axe().run(self.page)
        said = [f"{v['id']}: {v['help']}: {[n['html'][:120] for n in v['nodes'][:3]]}" for v in found.response["violations"]]
        self.assertEqual(said, [], state)
        self.assertGreater(len(found.response["passes"]), 10)
        wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        self.assertLessEqual(wide, 0, f"{state}: wider than the window")

    def walk(self):
        self.clean("empty")
        self.choose(file("scene.png"), file("b.png", 100, 300))
        self.clean("pictures to send")
        self.message.fill("<|grounding|>What is there?")
        self.ask("<|grounding|>What is there?", Answer(RICH, grounding=BOXES))
        expect(self.page.locator("[data-box]")).to_have_count(2)
        self.clean("an answer")
        self.send("And now?", Failure(500, "out of memory"))
        self.complete("error")
        self.clean("an error")
        self.said("user").first.get_by_role("button", name="Edit").click()
        self.clean("editing")
        self.button("Cancel").click()
        self.button("Settings").click()
        self.clean("settings")
        self.page.keyboard.press("Escape")
        self.button("History").click()
        expect(self.page.locator("#conversations button")).to_have_count(2)
        self.clean("history")
        self.page.keyboard.press("Escape")

    def test_light(self):
        self.walk()

    def test_dark(self):
        self.page.emulate_media(color_scheme="dark")
        self.walk()

    def test_phone(self):
        self.page.set_viewport_size({"width": 390, "height": 844})
        self.walk()
        self.small_targets()

    def test_phone_dark(self):
        self.page.set_viewport_size({"width": 390, "height": 844})
        self.page.emulate_media(color_scheme="dark")
        self.walk()

    def test_narrow_and_low(self):
        """The width of 400 % zoom, and a phone on its side: all of it can be reached."""
        for size in ({"width": 320, "height": 256}, {"width": 844, "height": 390}):
            self.page.set_viewport_size(size)
            self.ask("Hello", Answer("Hi", grounding=[]))
            self.clean(str(size))
            self.button("Remove last turn").click()

    def small_targets(self):
        small = self.page.evaluate("""() => [...document.querySelectorAll("button, select, .button, input[type=range]")]
            .filter((e) => e.checkVisibility()).map((e) => [e.id || e.className || e.textContent, e.getBoundingClientRect()])
            .filter(([, r]) => r.width < 24 || r.height < 24).map(([name]) => name)""")
        self.assertEqual(small, [])


if __name__ == "__main__":
    browser.main()
