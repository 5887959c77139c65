"""What the browser keeps, and what happens when it cannot; long conversations; a prefix; an API key."""
import threading

import browser
from browser import Answer, Failure, expect, file

FULL = """IDBObjectStore.prototype.put = function () { throw new DOMException("full", "QuotaExceededError"); };"""
NOTHING = """Object.defineProperty(window, "indexedDB", {get() { throw new DOMException("denied", "SecurityError"); }});
Object.defineProperty(window, "localStorage", {get() { throw new DOMException("denied", "SecurityError"); }});
Object.defineProperty(window, "sessionStorage", {get() { throw new DOMException("denied", "SecurityError"); }});"""
# records that are none, and one with turns that are hardly any; settings of any type
STRANGE = """() => new Promise((resolve) => { indexedDB.open("vl2").onsuccess = ({target: {result: database}}) => {
    const change = database.transaction(["conversations", "pictures"], "readwrite");
    const conversations = change.objectStore("conversations");
    const turn = {text: "odd", answer: "odd", pictures: ["none", "odd"], state: 7, usage: {prompt_tokens: "<b>", completion_tokens: {}},
        grounding: {length: 3}, seconds: "long", first: NaN, pieces: [], from: -4, sent: 5, sampling: "hot", error: {}, finish: null};
    const changed = Date.now() + 1e6;
    for (const [id, turns] of [["a", null], ["b", 5], ["c", [null]], ["d", [{text: 1}]], ["e", [{text: "", answer: "", pictures: {}}]]]) {
        conversations.put({id, turns, revision: 1, changed: changed + 1});
    }
    conversations.put({id: "f"});
    conversations.put({id: 7, turns: [turn], revision: 1, changed: changed + 1});
    conversations.put({id: "odd", turns: [turn], revision: 1, changed});
    change.objectStore("pictures").put({id: "odd", name: {}, blob: "no picture"});
    localStorage.setItem("vl2-settings", JSON.stringify({temperature: "hot", top_p: [], max_tokens: -8, history: 1e9,
        language: "__proto__", theme: "<b>", model: {}, system: 5, apiKey: null}));
    change.oncomplete = () => { database.close(); resolve(); };
}; })"""


def usage(prompt, answer=10):
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


class Keep(browser.PageTest):
    MAY_LOG = ("Failed to load resource",)

    def set_slider(self, name, value):
        self.button("Settings").click()
        self.page.locator(f"#set-{name}").fill(str(value))
        self.page.keyboard.press("Escape")

    def roles(self):
        return [m["role"][0] + ":" + (m["content"] if isinstance(m["content"], str) else "pictures")
                for m in self.proxy.asked[-1]["messages"]]

    def test_a_reload_in_the_middle_of_an_answer(self):
        gate = threading.Event()
        self.send("A story", Answer("Once upon a time", gate))
        expect(self.said("assistant").last).to_contain_text("Once upon")
        self.page.reload()
        expect(self.said("user")).to_contain_text("A story")
        last = self.complete()
        expect(last).to_contain_text("stopped")
        self.proxy.answers.append(Answer("There was a cat"))
        self.button("Regenerate").click()
        expect(self.said("assistant").last).to_contain_text("There was a cat")

    def test_a_draft_survives(self):
        self.message.fill("half a thought")
        self.page.reload()
        expect(self.message).to_have_value("half a thought")

    def test_thirty_turns(self):
        for i in range(30):
            if i % 10 == 0:
                self.choose(file(f"{i}.png", 40 + i, 30))
            self.ask(f"Question {i}", Answer(f"Answer {i}", usage=usage(50 + 20 * i, 5)))
        self.assertEqual(len(self.proxy.asked[-1]["messages"]), 59)
        self.page.reload()
        expect(self.said("assistant")).to_have_count(30)
        expect(self.said("user").locator("img")).to_have_count(3)
        self.ask("One more", Answer("Yes"))
        self.assertEqual(len(self.proxy.asked[-1]["messages"]), 61)

    def test_history_that_does_not_fit(self):
        self.set_slider("history", 256)
        self.ask("One", Answer("First", usage=usage(100)))
        self.ask("Two", Answer("Second", usage=usage(210)))
        self.ask("Three", Answer("Third", usage=usage(320)))
        self.assertEqual(self.roles(), ["u:One", "a:First", "u:Two", "a:Second", "u:Three"])
        self.ask("Four", Answer("Fourth", usage=usage(330))) # 110 tokens a turn: two fit into 256
        self.assertEqual(self.roles(), ["u:Two", "a:Second", "u:Three", "a:Third", "u:Four"])
        expect(self.page.locator(".divider")).to_contain_text("The turn above no longer fits and is not sent")
        self.page.reload()
        expect(self.page.locator(".divider")).to_be_visible()

    def test_a_context_that_is_full(self):
        full = Failure(400, "the prompt is 900 tokens (text 900, pictures 0); the context holds 512", param="messages")
        self.ask("One", Answer("First"))
        self.ask("Two", Answer("Second"))
        self.ask("Three", full, full, Answer("Third"))
        self.assertEqual(self.roles(), ["u:Three"])
        expect(self.page.locator(".divider")).to_contain_text("2 turns")
        self.send("Four", full, full, full, full)
        self.complete("error")
        expect(self.said("assistant").last).to_contain_text("the context holds 512")

    def test_an_answer_that_breaks_off(self):
        self.send("Tell me", Answer("Half an ans", breaks=True))
        last = self.complete("error")
        expect(last).to_contain_text("Half an ans")
        expect(last).to_contain_text("The connection broke")

    def test_a_failed_question_is_not_sent_again(self):
        self.choose(file("lost.png"))
        self.send("One", Failure(500, "out of memory"))
        self.complete("error")
        self.choose(file("a.png", 200, 100))
        article = self.ask("Two", Answer("Second", grounding=[{"label": "x", "image": 0, "box": [1, 2, 30, 40]}]))
        self.assertEqual(self.roles(), ["u:pictures"])
        self.assertEqual(article.locator("figure img").evaluate("i => i.naturalWidth"), 200)
        expect(article.locator("figcaption")).to_contain_text("Picture 2") # of the conversation, though the first that was sent

    def test_earlier_conversations(self):
        self.choose(file("a.png"))
        self.ask("What is the first?", Answer("A cat"))
        self.button("New conversation").click()
        self.ask("And the second?", Answer("A dog"))
        self.button("History").click()
        entries = self.page.locator("#conversations li")
        expect(entries).to_have_count(2)
        expect(entries.first).to_contain_text("open now")
        entries.filter(has_text="What is the first?").get_by_role("button").first.click()
        expect(self.page.locator("#log")).to_contain_text("A cat")
        expect(self.page.locator("#log")).not_to_contain_text("A dog")
        self.button("History").click()
        entries.filter(has_text="And the second?").get_by_role("button", name="Delete").click()
        expect(entries).to_have_count(1)
        self.page.keyboard.press("Escape")
        expect(self.page.locator("#log")).to_contain_text("A cat")
        self.page.reload()
        expect(self.page.locator("#log")).to_contain_text("A cat")

    def test_deleted_while_it_answers(self):
        gate = threading.Event()
        self.send("A story", Answer("Once upon a time", gate))
        expect(self.said("assistant")).to_contain_text("Once upon")
        self.button("History").click()
        entries = self.page.locator("#conversations li")
        entries.get_by_role("button", name="Delete").click()
        expect(entries).to_contain_text("Nothing is kept yet")
        expect(self.page.locator("article")).to_have_count(0)
        self.page.reload()
        expect(self.page.locator("#model option")).to_have_count(1)
        expect(self.page.locator("article")).to_have_count(0)

    def test_two_tabs_do_not_write_over_each_other(self):
        self.ask("One", Answer("First"))
        first, second = self.page, self.watch(self.context.new_page())
        second.goto(self.proxy.address)
        self.page = second
        expect(self.said("assistant")).to_contain_text("First")
        self.ask("In the second tab", Answer("Second"))
        self.page = first
        self.ask("In the first tab", Answer("Third"))
        self.button("History").click()
        expect(self.page.locator("#conversations li")).to_have_count(2)

    def test_a_full_store(self):
        self.page.add_init_script(FULL)
        self.page.reload()
        self.choose(file("a.png"))
        self.ask("One", Answer("First"))
        expect(self.page.locator("#notice")).to_contain_text("storage is full")
        self.ask("Two", Answer("Second"))
        self.assertEqual(self.roles(), ["u:pictures", "a:First", "u:Two"])

    def test_a_browser_that_keeps_nothing(self):
        self.page.add_init_script(NOTHING)
        self.page.reload()
        self.ask("One", Answer("First"))
        expect(self.page.locator("#notice")).to_contain_text("keeps nothing")
        self.ask("Two", Answer("Second"))

    def test_what_others_wrote_into_the_store(self):
        """Another page of the same address may have left anything: the page begins, and shows what is its own."""
        self.ask("One", Answer("First"))
        self.page.evaluate(STRANGE)
        self.page.reload()
        expect(self.page.locator("#model option")).to_have_count(1)
        self.page.evaluate("sessionStorage.clear()")
        self.page.reload()
        expect(self.said("assistant")).to_have_count(1)
        expect(self.said("assistant")).to_contain_text("odd")
        self.button("History").click()
        entries = self.page.locator("#conversations li")
        expect(entries).to_have_count(2)
        entries.filter(has_text="One").get_by_role("button").first.click()
        expect(self.said("assistant")).to_contain_text("First")
        self.ask("Two", Answer("Second"))
        self.assertEqual(self.roles(), ["u:One", "a:First", "u:Two"])

    def test_a_server_that_comes_back(self):
        self.proxy.down = True
        self.page.evaluate("sessionStorage.clear()")
        self.proxy.down = False
        self.page.route("**/v1/models", lambda route: route.abort())
        self.page.reload()
        expect(self.page.locator("#notice")).to_contain_text("cannot be reached")
        self.page.unroute("**/v1/models")
        expect(self.page.locator("#model option")).to_have_count(1)
        expect(self.page.locator("#notice")).to_be_hidden()


class Prefix(browser.PageTest):
    """Behind a proxy that passes on only what is under a prefix."""
    WORDS = ("--root-path", "/a/model")
    UNDER = "/a/model"

    def test_all_of_it_is_under_the_prefix(self):
        expect(self.page.locator("#examples img").first).to_be_visible()
        self.choose(file("a.png"))
        self.ask("Hello") # the real server answers
        code = self.ask("Code?", Answer("```python\ndef f(): pass\n```")) # its colours are fetched
        expect(code.locator(".hljs-keyword").first).to_have_text("def")
        self.page.goto(self.proxy.address.rstrip("/"))
        expect(self.page.locator("#model option")).to_have_count(1)
        self.assertEqual(self.page.url, self.proxy.address)


class Key(browser.PageTest):
    WORDS = ("--api-key", "secret")
    MAY_LOG = ("Failed to load resource",)
    READY = "#notice p:not(:empty)"

    def test_the_key_is_asked_for(self):
        expect(self.page.locator("#notice")).to_contain_text("API key")
        self.button("Settings").click()
        self.page.get_by_label("API key").fill("secret")
        self.page.get_by_label("API key").press("Tab")
        expect(self.page.locator("#model option")).to_have_count(1)
        self.page.keyboard.press("Escape")
        expect(self.page.locator("#examples img").first).to_be_visible()
        self.page.locator("#examples button").first.click()
        self.button("Send").click()
        self.complete()
        self.page.reload()
        expect(self.page.locator("#model option")).to_have_count(1)


if __name__ == "__main__":
    browser.main()
