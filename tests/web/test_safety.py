"""What the model and people say is inert: no script, no request, no link but to the web, no freeze."""
import re

import browser
from browser import Answer, expect

HOSTILE = r"""
<script>window.evil = 1</script> <SCRIPT SRC=//evil.example/x.js></SCRIPT>
<img src=x onerror="window.evil = 2"> <svg onload="window.evil = 3"><g/onclick=evil></svg>
<iframe src="data:text/html,<script>parent.evil = 4</script>"></iframe> <object data="https://evil.example/"></object>
<body onload=evil()> <details open ontoggle="window.evil = 5">open</details> <input autofocus onfocus="window.evil = 6">
<form action="https://evil.example/"><button formaction="javascript:window.evil = 7">go</button></form>
<style>body { background: url(https://evil.example/beacon) }</style> <link rel=stylesheet href=https://evil.example/x.css>
<meta http-equiv=refresh content="0;url=https://evil.example/"> <base href="https://evil.example/">
<math><mtext><table><mglyph><style><img src=x onerror="window.evil = 8"></style></mglyph></table></mtext></math>
<math href="javascript:window.evil = 9">x</math> <a href="https://evil.example/" ping="https://evil.example/ping">a</a>
<div id="message" name="turns" style="position:fixed;inset:0">over all</div> <!-- <img src=x onerror=evil> -->

[javascript](javascript:window.evil=10) [upper](JaVaScRiPt:window.evil=11) [tab](java&#x09;script:window.evil=12)
[entity](&#106;avascript:window.evil=13) [data](data:text/html,<script>window.evil=14</script>) [vb](vbscript:evil)
[file](file:///etc/passwd) [here](v1/models) [root](/metrics) [hash](#message) [proto](//evil.example/)
[fine](https://fine.example/page "a title") [mail](mailto:a@fine.example) <javascript:window.evil=15> <https://fine.example/auto>
![beacon](https://evil.example/beacon.png) ![js](javascript:window.evil=16) ![x](x" onerror="window.evil=17)
![ref][r] [a][r] [b][s]

[r]: javascript:window.evil=18
[s]: https://fine.example/ref "t\" onclick=\"window.evil=19"

$\href{javascript:window.evil=20}{x}$ $\url{https://evil.example/}$ $\includegraphics{https://evil.example/b.png}$
$\htmlStyle{position:fixed}{x}$ $\htmlId{message}{x}$ $\htmlClass{card}{x}$ $\htmlData{a=b}{x}$ $\rule{9999em}{9999em}$ $\def\a{\a\a}\a$ $\unknown{<img src=x onerror=evil>}$
$$\begin{matrix}<script>window.evil = 21</script>\end{matrix}$$ \(<img src=x onerror="window.evil = 22">\)

| <img src=x onerror="window.evil = 23"> | `<script>window.evil = 24</script>` |
|--|--|
| [x](javascript:window.evil=25) | <b onmouseover=evil>b</b> |

```html" onmouseover="window.evil = 26
<script>window.evil = 27</script></code></pre><img src=x onerror="window.evil = 28">
```

    <script>window.evil = 29</script>

# <img src=x onerror="window.evil = 30"> {#message onclick=evil}

<|ref|><img src=x onerror="window.evil = 31"><|/ref|><|det|>[[0, 0, 999, 999]]<|/det|> <|ref|><|ref|><|/ref|><|det|><|/det|>
<|det|>[[470,]]<|/det|><|/ref|> """ + "\u0001\u0002\u0003\u0004\u202e txet \u0000 \ufffe"

ALLOWED = {"A", "B", "BDI", "BLOCKQUOTE", "BR", "CODE", "DEL", "DIV", "EM", "H1", "H2", "H3", "H4", "H5", "H6", "HR", "LI", "MARK",
           "OL", "P", "PRE", "SPAN", "STRONG", "TABLE", "TBODY", "TD", "TH", "THEAD", "TR", "UL", "BUTTON", "SVG", "USE"}
NAMES = {"class", "href", "rel", "target", "align", "start", "tabindex", "lang"}

LOOK = """(root) => [...root.querySelectorAll("*")].filter((e) => e.namespaceURI !== "http://www.w3.org/1998/Math/MathML")
    .map((e) => [e.tagName.toUpperCase(), Object.fromEntries([...e.attributes].map((a) => [a.name, a.value]))])"""
MATH = """(root) => [...root.querySelectorAll("math, math *")].flatMap((e) => [e.tagName, ...[...e.attributes].map((a) => a.name)])"""


class Safety(browser.PageTest):
    def tidy(self, article):
        """Only elements and attributes that Markdown makes, links only to the web; nothing ran."""
        for name, attributes in article.locator(".answer").evaluate(LOOK):
            self.assertIn(name, ALLOWED)
            if name in ("BUTTON", "SVG", "USE"):
                continue # the page's own, to copy code
            self.assertLessEqual(set(attributes), NAMES, name)
            if "href" in attributes:
                self.assertRegex(attributes["href"], r"^(https?://|mailto:)")
                self.assertIn("noopener", attributes["rel"])
        for name in article.locator(".answer").evaluate(MATH):
            self.assertNotIn(name, ("href", "style", "id", "src", "xlink:href", "script", "mglyph", "maction"))
        self.assertFalse(self.page.evaluate("'evil' in window"))
        self.assertEqual(self.page.evaluate("document.querySelectorAll('#message').length"), 1)

    def test_hostile_text(self):
        article = self.ask(HOSTILE, Answer(HOSTILE))
        self.tidy(article)
        expect(self.said("user").locator(".said")).to_contain_text("<script>window.evil = 1</script>") # as text
        self.assertEqual(self.said("user").locator("script, img, iframe, a, style").count(), 0)
        expect(article.locator(".answer")).to_contain_text("<script>window.evil = 1</script>")
        links = article.locator(".answer a")
        for i in range(links.count()):
            self.assertRegex(links.nth(i).get_attribute("href"), r"^(https://(fine|evil)\.example/|mailto:)")
        self.assertGreaterEqual(links.count(), 4) # the fine ones are links

    def test_hostile_pieces(self):
        """The same text in pieces of a few characters: every state on the way is as harmless."""
        pieces = [HOSTILE[i:i + 7] for i in range(0, len(HOSTILE), 7)]
        self.tidy(self.ask("Piece by piece", Answer(*pieces)))

    def test_system_message_and_names_are_text(self):
        self.page.locator("input[type=file]").set_input_files(
            [{"name": "<img src=x onerror=evil>.png", "mimeType": "image/png", "buffer": b"no picture"}])
        expect(self.page.locator("#pending .no-preview")).to_have_text("<img src=x onerror=evil>.png")
        self.ask("What?", Answer("Nothing"))
        expect(self.said("user").locator(".no-preview")).to_have_text("<img src=x onerror=evil>.png")

    def test_an_error_is_text(self):
        self.MAY_LOG = ("Failed to load resource",)
        self.send("Hello", browser.Failure(400, "<img src=x onerror='window.evil = 1'> is wrong"))
        expect(self.said("assistant").locator(".error")).to_have_text("<img src=x onerror='window.evil = 1'> is wrong")

    def test_the_policy(self):
        reply = self.page.goto(self.proxy.address)
        policy = reply.headers["content-security-policy"]
        for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob:", "connect-src 'self'",
                     "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
                     "trusted-types dompurify"):
            self.assertIn(part, policy.split("; "))
        for word in ("unsafe-inline", "unsafe-eval", "*", "http:", "https:"):
            self.assertNotIn(word, policy)
        text = reply.text()
        self.assertNotRegex(text, r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|https?://(?!www\.w3\.org)")
        self.expect_blocked("const s = document.createElement('script'); s.append('window.evil = 1'); document.body.append(s)",
                            "TrustedScript")
        self.expect_blocked("try { document.body.innerHTML = '<p>words' } catch { }", "TrustedHTML")
        self.expect_blocked("new Image().src = 'https://evil.example/beacon.png'")
        self.assertFalse(self.page.evaluate("'evil' in window"))

    def expect_blocked(self, code, word="Content Security Policy"):
        """The policy stops it, and the tests would notice."""
        with self.page.expect_console_message(lambda m: word in m.text):
            self.page.evaluate(code)
        self.assertTrue(self.wrong)
        self.wrong.clear()

    def test_replies_that_are_none(self):
        """A server may say anything: it becomes an error or nothing, and the next question is asked."""
        evil = "<img src=x onerror='window.evil = 1'>"
        events = ([None], [7], ["text"], [[]], [{"choices": 3}], [{"choices": [None]}], [{"choices": [{"delta": evil}]}],
                  [{"choices": [{"delta": {"content": {"a": 1}}}]}], [{"error": {"message": evil}}], [{"error": evil}],
                  ['{"choices":'], [{"usage": evil}], [{"usage": {"prompt_tokens": evil, "completion_tokens": [1]}}],
                  [{"choices": [{"delta": {"content": "Words"}, "finish_reason": {"a": evil}, "grounding": evil}]}])
        for given in events:
            with self.subTest(given):
                answer = Answer(usage=given[0].get("usage") if isinstance(given[0], dict) else None)
                answer.events = lambda given=given: iter([*given, "[DONE]"])
                self.send("Hello", answer)
                expect(self.said("assistant").last).to_have_attribute("data-state", re.compile("done|error"))
                expect(self.said("assistant").last).not_to_contain_text("undefined")
                self.tidy(self.said("assistant").last)
        self.ask("Are you there?", Answer("Yes"))
        self.assertEqual({m["role"] for m in self.proxy.asked[-1]["messages"]}, {"user", "assistant"})

    def test_models_and_examples_that_are_none(self):
        self.MAY_LOG = ("Failed to load resource", "Refused to connect", "violates the following Content Security Policy", "Fetch API cannot load")
        evil = "<img src=x onerror='window.evil = 1'>"
        examples = [None, 7, {"prompt": evil}, {"prompt": 5, "images": []}, {"prompt": evil, "images": ["//evil.example/x.png"]},
                    {"prompt": evil, "images": ["examples.json"]}, {"prompt": evil, "images": [5]}]
        self.page.route("**/v1/models", lambda route: route.fulfill(json={"data": [{"id": evil, "max_images": "many", "demo": evil}]}))
        self.page.route("**/examples.json", lambda route: route.fulfill(json=examples))
        self.page.reload()
        expect(self.page.locator("#model")).to_have_value(evil)
        expect(self.page.locator("#examples button")).to_have_text([evil])
        self.ask("Hello", Answer("Yes"))
        self.assertEqual(self.proxy.asked[-1]["model"], evil)
        self.assertFalse(self.page.evaluate("'evil' in window"))

    def test_deep_and_endless(self):
        """Text that parsers choke on is shown before the patience of `complete` ends, and the page still answers."""
        deep = 4000
        for text in (">" * deep + " deep", "> " * deep + "deep", "- " * deep + "deep", "[" * 20000, "![" * 20000, "*a " * 20000,
                     "_" * 50000, "`" * 50000, "$" * 50000, "<" * 50000, "|" * 20000 + "\n" + "|-" * 20000, "<|ref|>" * 8000,
                     "<|ref|>a<|/ref|><|det|>" * 2500, "${" * 20000 + "$", "$" + "{" * 1900 + "$", "\n".join(" " * i + "- x" for i in range(300)),
                     "**" * 20000 + "a", "[a](" * 10000, "<div>" * 10000, "&lt;" * 15000, "\\" * 50000, "a\n" * 25000, "1. " * 5000 + "x",
                     "<!--\n```\n--> " + "*a " * 15000, "```\n" + "*a " * 15000):
            with self.subTest(text[:12]):
                article = self.ask("?", Answer(text))
                self.tidy(article)
                self.button("Remove last turn").click()
                expect(self.page.locator("article")).to_have_count(0)

    def test_a_megabyte(self):
        text = "Words <b>and</b> more [words](javascript:x). " * 23000
        self.ask(text, Answer("Yes"))
        said = self.said("user").locator(".said")
        self.assertEqual(said.evaluate("e => [e.textContent.split('more').length, e.querySelectorAll('b, a').length]"), [23001, 0])
        pieces = said.locator("p").evaluate_all("list => list.map((p) => [p.textContent.length, getComputedStyle(p).contentVisibility])")
        self.assertLessEqual(max(size for size, _ in pieces), 4000)
        self.assertEqual({how for _, how in pieces}, {"auto"}) # laid out when it comes into view
        self.button("Remove last turn").click()
        article = self.ask("All of it", Answer(*(text[i:i + 4096] for i in range(0, len(text), 4096))))
        self.assertEqual(article.locator(".answer").text_content().count("more"), 23000)
        self.tidy(article)
        self.page.reload()
        expect(self.said("assistant")).to_have_attribute("data-state", "done")
        self.ask("Still here?", Answer("Yes"))


if __name__ == "__main__":
    browser.main()
