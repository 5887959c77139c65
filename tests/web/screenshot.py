"""A picture of the page for the README: the demo checkpoint answers the first of its examples that asks
where a thing is, in a real browser, as a person would ask it.

    scripts/setup page && tests/web/run screenshot.py docs/page.png

To be made again when the checkpoint changes. It fails where the answer has no box, or one beside the thing.
"""
import io
import sys

import browser
from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT, MOST_BYTES = 1000, 1080, 150_000


def photograph(page, example, index):
    page.locator("#examples button").nth(index).click()
    page.get_by_role("button", name="Send").click()
    page.locator('article[data-role="assistant"][data-state="done"]').wait_for()
    box = page.locator("[data-box]")
    box.first.wait_for()
    found = list(map(float, box.first.get_attribute("data-box").split(",")))
    true, *_ = browser.in_pixels(example["shows"], page.locator("figure img"))
    if browser.overlap(found, true) < 0.5:
        sys.exit(f"the box {found} is not where the thing is, {true}: no picture was made")
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    return page.screenshot()


def small(data):
    """PNG of at most MOST_BYTES: with a palette, if need be."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    for colours in (None, 256, 128, 64):
        out = io.BytesIO()
        (picture.quantize(colours) if colours else picture).save(out, "PNG", optimize=True)
        if out.tell() <= MOST_BYTES:
            return out.getvalue()
    sys.exit(f"the picture is larger than {MOST_BYTES} bytes")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: tests/web/run screenshot.py FILE.png")
    index, example = next((i, e) for i, e in enumerate(browser.EXAMPLES) if "<|det|>" in e["shows"])
    server = browser.Server()
    try:
        with sync_playwright() as playwright:
            page = browser.launch(playwright).new_page(locale="en-US", viewport={"width": WIDTH, "height": HEIGHT})
            page.goto(f"http://127.0.0.1:{server.port}/")
            page.locator("#examples button").nth(index).wait_for()
            data = small(photograph(page, example, index))
    finally:
        server.stop()
    with open(sys.argv[1], "wb") as out:
        out.write(data)
    print(f"{sys.argv[1]}: {len(data)} bytes, {example['prompt']!r}")


if __name__ == "__main__":
    main()
