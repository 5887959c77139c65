"""Boxes: at the right place of the right picture, labels clear of each other, list, highlight, the drawn copy."""
import threading

import browser
from browser import Answer, expect, file

SCENE = [("red circle", 0, [30, 20, 90, 60]), ("blue triangle with a long name", 0, [33, 18, 120, 80]),
         ("blue triangle with a long name", 0, [180, 120, 270, 180]), ("绿色的星形", 0, [31, 19, 150, 100])]


def grounding(items):
    return [{"label": label, "image": image, "box": box, "box_999": [0, 0, 999, 999]} for label, image, box in items]


def said(items):
    return " and ".join(f"<|ref|>{label}<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>" for label, _, _ in items)


class Boxes(browser.PageTest):
    def show(self, items, *files, text=None):
        self.choose(*(files or [file("scene.png", 300, 200)]))
        article = self.ask("<|grounding|>What is there?", Answer(text or said(items), grounding=grounding(items)))
        expect(article.locator("[data-box]")).to_have_count(len(items))
        return article

    def lies_right(self, article, items, sizes):
        """Each element lies where its data-box says, to a pixel of the screen."""
        boxes = article.locator("[data-box]")
        for i, (label, image, box) in enumerate(items):
            element = boxes.nth(i)
            self.assertEqual(element.get_attribute("data-label"), label)
            self.assertEqual(element.get_attribute("data-box"), ",".join(map(str, box)))
            place, picture = element.bounding_box(), element.locator("xpath=ancestor::figure//img").bounding_box()
            width, height = sizes[image]
            scale = picture["width"] / width
            self.assertAlmostEqual(picture["height"], height * scale, delta=1)
            self.assertAlmostEqual(place["x"], picture["x"] + box[0] * scale, delta=1)
            self.assertAlmostEqual(place["y"], picture["y"] + box[1] * scale, delta=1)
            self.assertAlmostEqual(place["width"], (box[2] - box[0]) * scale, delta=1)
            self.assertAlmostEqual(place["height"], (box[3] - box[1]) * scale, delta=1)

    def labels_clear(self, article):
        labels = article.locator(".label")
        places = [labels.nth(i).bounding_box() for i in range(labels.count())]
        frame = article.locator(".frame").bounding_box()
        for i, a in enumerate(places):
            self.assertGreaterEqual(a["x"], frame["x"] - 1)
            self.assertGreaterEqual(a["y"], frame["y"] - 1)
            self.assertLessEqual(a["x"] + a["width"], frame["x"] + frame["width"] + 1)
            self.assertLessEqual(a["y"] + a["height"], frame["y"] + frame["height"] + 1)
            for b in places[:i]:
                apart = (a["x"] >= b["x"] + b["width"] - 1 or b["x"] >= a["x"] + a["width"] - 1
                         or a["y"] >= b["y"] + b["height"] - 1 or b["y"] >= a["y"] + a["height"] - 1)
                self.assertTrue(apart, f"{a} covers {b}")
        return places

    def test_places_and_labels(self):
        article = self.show(SCENE)
        self.lies_right(article, SCENE, [(300, 200)])
        self.assertEqual(len(self.labels_clear(article)), 4)
        self.page.set_viewport_size({"width": 390, "height": 844})
        self.lies_right(article, SCENE, [(300, 200)])
        self.page.wait_for_function("""() => { const r = document.querySelector('.layer').getBoundingClientRect();
            return [...document.querySelectorAll('.label')].every((l) => l.getBoundingClientRect().right <= r.right + 1); }""")
        self.labels_clear(article)

    def test_a_crowd_of_equal_boxes(self):
        crowd = [(f"thing {i}", 0, [40, 40, 80, 80]) for i in range(12)]
        article = self.show(crowd)
        self.assertEqual(len(self.labels_clear(article)), 12)

    def test_the_words_stay_and_the_numbers_go(self):
        article = self.show(SCENE[:1], text="There is <|ref|>red circle<|/ref|><|det|>[[100, 100, 300, 300]]<|/det|> here.")
        self.assertEqual(article.locator(".answer").inner_text(), "There is red circle here.")
        expect(article.locator("mark.found")).to_have_text("red circle")

    def test_no_token_is_left_in_the_words(self):
        """Nor one that is half there, nor one that stands alone."""
        gate, text = threading.Event(), "<|grounding|>A <|ref|>red circle<|/ref|><|det|>[[1, 2, 3, 4]]<|/det|>, a <|ref|>square<|/ref|> and"
        self.send("What is there?", Answer(text, " <|/re", gate, "f|>more<|/det|><|det|>"))
        words = self.said("assistant").locator(".answer")
        expect(words).to_have_text("A red circle, a square and")
        gate.set()
        self.complete()
        expect(words).to_have_text("A red circle, a square and more")

    def test_the_right_picture_of_two(self):
        items = [("first", 0, [10, 10, 60, 60]), ("second", 1, [20, 5, 90, 50])]
        article = self.show(items, file("a.png", 200, 100), file("b.png", 100, 120, (200, 90, 90)))
        expect(article.locator("figure")).to_have_count(2)
        self.lies_right(article, items, [(200, 100), (100, 120)])
        shown = article.locator("figure img")
        self.assertEqual([shown.nth(i).evaluate("i => i.naturalWidth") for i in range(2)], [200, 100])
        expect(article.locator("figcaption").nth(1)).to_contain_text("Picture 2")

    def test_pictures_of_turns_that_were_not_sent_do_not_count(self):
        self.choose(file("old.png", 50, 50))
        self.ask("old", Answer("yes"))
        self.page.locator("#open-settings").click()
        self.page.locator("#set-history").fill("0")
        self.page.keyboard.press("Escape")
        article = self.show([("new", 0, [10, 10, 60, 60])], file("new.png", 200, 100))
        self.assertEqual(article.locator("figure img").evaluate("i => i.naturalWidth"), 200)
        expect(article.locator("figcaption")).to_contain_text("Picture 2")

    def test_highlight_both_ways(self):
        article = self.show(SCENE)
        boxes, entries = article.locator(".box"), article.locator(".box-list button")
        entries.nth(2).hover()
        expect(boxes.nth(2)).to_have_class("box hot")
        expect(boxes.nth(0)).to_have_class("box")
        article.locator(".label").nth(0).hover()
        expect(entries.nth(0)).to_have_class("hot")
        expect(boxes.nth(2)).to_have_class("box")
        article.locator("mark.found").nth(1).hover() # the words of two boxes
        expect(boxes.nth(1)).to_have_class("box hot")
        expect(boxes.nth(2)).to_have_class("box hot")
        self.page.mouse.move(1, 1)
        entries.nth(3).focus()
        expect(boxes.nth(3)).to_have_class("box hot")
        self.page.keyboard.press("Enter") # pinned: it stays when the focus goes
        expect(entries.nth(3)).to_have_attribute("aria-pressed", "true")
        self.message.focus()
        expect(boxes.nth(3)).to_have_class("box hot")

    def test_the_drawn_copy(self):
        article = self.show([("red circle", 0, [40, 60, 200, 160])], file("scene.png", 800, 400))
        with self.page.expect_download() as waiting:
            article.get_by_role("button", name="Download picture").click()
        self.assertEqual(waiting.value.suggested_filename, "boxes-1.png")
        data = waiting.value.path().read_bytes()
        pixels = self.page.evaluate("""async (bytes) => {
            const bitmap = await createImageBitmap(new Blob([new Uint8Array(bytes)], {type: "image/png"}));
            const canvas = new OffscreenCanvas(bitmap.width, bitmap.height), context = canvas.getContext("2d", {willReadFrequently: true});
            context.drawImage(bitmap, 0, 0);
            const at = (x, y) => [...context.getImageData(x, y, 1, 1).data].slice(0, 3);
            return [bitmap.width, bitmap.height, at(40, 110), at(200, 110), at(120, 160), at(120, 110), at(700, 300)];
        }""", list(data))
        colour = [214, 18, 63]
        self.assertEqual(pixels[:2], [800, 400])
        self.assertEqual(pixels[2:5], [colour] * 3)                      # left, right, bottom edge
        self.assertEqual(pixels[5:], [[90, 140, 200], [90, 140, 200]])   # inside, and far away

    def test_hostile_boxes(self):
        odd = [{"label": "<img src=x onerror=alert(1)>", "image": 0, "box": [-50, -50, 5000, 5000]},
               {"label": "upside down", "image": 0, "box": [90, 60, 30, 20]},
               {"label": "x" * 5000, "image": 0, "box": [0, 0, 0, 0]},
               {"label": "no picture", "image": 7, "box": [1, 2, 3, 4]}, {"label": "no box", "image": 0},
               {"label": "texts", "image": 0, "box": ["1", "2", "3", "4"]}, {"label": "nulls", "image": 0, "box": [None] * 4},
               {"label": "three", "image": 0, "box": [1, 2, 3]}, {"image": 0, "box": [1, 2, 3, 4]}, None, "text", 7, []]
        self.choose(file("scene.png", 300, 200))
        article = self.ask("Boxes?", Answer("Here", grounding=odd + odd * 100))
        expect(article.locator("[data-box]").first).to_have_attribute("data-box", "0,0,300,200")
        expect(article.locator("[data-box]").nth(1)).to_have_attribute("data-box", "30,20,90,60")
        self.assertEqual(article.locator("figure img").count(), 1)
        self.assertEqual(article.locator("figure").count(), 1)
        self.assertLessEqual(article.locator("[data-box]").count(), 200)
        frame = article.locator(".frame").bounding_box()
        self.assertLessEqual(frame["x"] + frame["width"], 1280)
        self.ask("Still there?", Answer("Yes", grounding={"label": 1}))


if __name__ == "__main__":
    browser.main()
