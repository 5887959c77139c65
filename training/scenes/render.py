"""A scene as a picture, and as a map that says which thing each pixel belongs to."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageDraw

from . import pages, words
from .world import Item, Scene, Text


def _backdrop(scene: Scene, rng: np.random.Generator) -> Image.Image:
    w, h = scene.width, scene.height
    if len(scene.back) == 1 and not scene.noise and not scene.texture:
        return Image.new("RGB", (w, h), scene.back[0])
    a = np.empty((h, w, 3), np.float32)
    a[:] = scene.back[0]
    if len(scene.back) == 2:
        x = np.linspace(-0.5, 0.5, w, dtype=np.float32)[None] * math.cos(scene.angle)
        y = np.linspace(-0.5, 0.5, h, dtype=np.float32)[:, None] * math.sin(scene.angle)
        a += ((x + y + 0.5).clip(0, 1)[..., None]) * (np.array(scene.back[1], np.float32) - a[0, 0])
    if scene.texture:
        a += _texture(scene, rng)[..., None]
    if scene.noise:
        g = scene.grain if w < 400 else scene.grain * 2
        specks = rng.standard_normal((-(-h // g), -(-w // g), 3), np.float32) * scene.noise
        a += specks.repeat(g, 0).repeat(g, 1)[:h, :w]
    return Image.fromarray(a.clip(0, 255).astype(np.uint8))


def _texture(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """[h,w] what a texture adds to the background's brightness."""
    w, h = scene.width, scene.height
    depth, period = rng.uniform(10, 24), rng.uniform(0.05, 0.2) * min(w, h)
    if scene.texture == "clouds":
        out = np.zeros((h, w), np.float32)
        for side in (3, 7, 15):
            specks = Image.fromarray(rng.standard_normal((side, side), np.float32))
            out += np.asarray(specks.resize((w, h), Image.Resampling.BICUBIC)) / side**0.5
        return out * depth
    x, y = np.arange(w, dtype=np.float32)[None], np.arange(h, dtype=np.float32)[:, None]
    turn = rng.uniform(0, math.pi)
    u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    lines = np.floor(u / period)
    return ((lines if scene.texture == "stripes" else lines + np.floor(v / period)) % 2 - 0.5) * depth


def _draw_hollow(big: Image.Image, item: Item, k: int) -> None:
    """The ring between the shape and the same shape, smaller by the line on each side."""
    points = item.points * k
    middle = (points.min(0) + points.max(0)) / 2
    size = float(min(points.max(0) - points.min(0)))
    inner = middle + (points - middle) * max(0.0, 1 - 2 * item.line * k / size)
    x0, y0 = (int(v) for v in np.floor(points.min(0)).clip(0))
    x1, y1 = (int(v) for v in np.ceil(points.max(0)) + 1)
    ring = Image.new("L", (x1 - x0, y1 - y0), 0)
    draw = ImageDraw.Draw(ring)
    draw.polygon([(x - x0, y - y0) for x, y in points.tolist()], fill=255)
    draw.polygon([(x - x0, y - y0) for x, y in inner.tolist()], fill=0)
    big.paste(item.rgb, (x0, y0), ring)


def _draw_items(scene: Scene, image: Image.Image) -> Image.Image:
    k = scene.supersample
    big = image.resize((image.width * k, image.height * k), Image.Resampling.NEAREST) if k > 1 else image
    draw = ImageDraw.Draw(big)
    for item in scene.items:
        if item.hollow:
            _draw_hollow(big, item, k)
            continue
        points = [(x * k, y * k) for x, y in item.points.tolist()]
        draw.polygon(points, fill=item.rgb)
        if item.outline:
            draw.line([*points, points[0]], fill=item.outline, width=max(1, round(item.line * k)), joint="curve")
    return big.reduce(k) if k > 1 else big


def _text_origin(text: Text) -> tuple[float, float, float, float]:
    face = words.font(text.font, text.size)
    x0, y0, x1, y1 = face.getbbox(text.text)
    return text.center[0] - (x0 + x1) / 2, text.center[1] - (y0 + y1) / 2, y0, y1


def _draw_text(scene: Scene, image: Image.Image) -> Image.Image:
    text = scene.text
    mask = Image.new("L", image.size, 0)
    x, y, _, _ = _text_origin(text)
    draw = ImageDraw.Draw(mask)
    draw.fontmode = "1" if scene.supersample == 1 else "L"
    draw.text((x, y), text.text, fill=255, font=words.font(text.font, text.size))
    if text.angle:
        mask = mask.rotate(text.angle, Image.Resampling.BICUBIC, center=text.center)
    image.paste(Image.new("RGB", image.size, text.rgb), (0, 0), mask)
    return image


def _draw_marks(scene: Scene, image: Image.Image) -> Image.Image:
    k = scene.supersample
    big = image.resize((image.width * k, image.height * k), Image.Resampling.NEAREST) if k > 1 else image
    draw = ImageDraw.Draw(big)
    for mark in scene.marks:
        if isinstance(mark, pages.Label):
            draw.text((mark.at[0] * k, mark.at[1] * k), mark.text, mark.rgb, words.font(mark.font, mark.size * k), mark.anchor)
        elif isinstance(mark, pages.Bar):
            draw.rectangle([v * k for v in mark.box], mark.fill, mark.edge, max(1, round(mark.line * k)))
        else:
            draw.line([(x * k, y * k) for x, y in mark.points], mark.rgb, max(1, round(mark.line * k)), "curve")
    return big.reduce(k) if k > 1 else big


def draw(scene: Scene, seed: int) -> Image.Image:
    """The picture, RGB. The seed gives the noise."""
    rng = np.random.default_rng([2, seed])
    image = _backdrop(scene, rng)
    image = (_draw_text if scene.text else _draw_marks if scene.marks else _draw_items)(scene, image)
    if rng.random() < 0.12:
        a = np.asarray(image, np.float32) + rng.standard_normal((image.height, image.width, 1), np.float32) * 8
        image = Image.fromarray(a.clip(0, 255).astype(np.uint8))
    if scene.jpeg:
        data = io.BytesIO()
        image.save(data, "JPEG", quality=scene.jpeg)
        image = Image.open(data).convert("RGB")
    return image


def _letter_cells(text: Text) -> list[list[tuple[float, float]]]:
    face = words.font(text.font, text.size)
    x, y, top, bottom = _text_origin(text)
    c, s = math.cos(math.radians(text.angle)), math.sin(math.radians(text.angle))
    cells = []
    for i in range(len(text.text)):
        left, right = x + face.getlength(text.text[:i]), x + face.getlength(text.text[: i + 1])
        corners = [(left, y + top), (right, y + top), (right, y + bottom), (left, y + bottom)]
        cells.append([(text.center[0] + (px - text.center[0]) * c + (py - text.center[1]) * s,
                       text.center[1] - (px - text.center[0]) * s + (py - text.center[1]) * c) for px, py in corners])
    return cells


def characters(scene: Scene) -> list[tuple[str, int, np.ndarray]]:
    """Of a page's letters and digits, at most 254: what, the place in its label, its cell in pixels [4,2]."""
    out = []
    for label in (m for m in scene.marks if isinstance(m, pages.Label)):
        face, (left, top, _, bottom) = words.font(label.font, label.size), label.box()
        for i, c in enumerate(label.text):
            a, b = (left + face.getlength(label.text[:j]) for j in (i, i + 1))
            if c.isascii() and c.isalnum():
                cell = np.array([(a, top), (b, top), (b, bottom), (a, bottom)]) + label.at
                out.append((c, i, cell))
    return out[:254]


def things(scene: Scene) -> list[np.ndarray]:
    """Outlines of what a patch can lie on, in pixels: items, or the letters' cells."""
    if scene.marks:
        return [cell for _, _, cell in characters(scene)]
    if scene.text:
        return [np.array(c) for c in _letter_cells(scene.text)]
    return [i.points for i in scene.items]


def owner_map(scene: Scene, width: int, height: int, scale: float, dx: float, dy: float) -> np.ndarray:
    """[height,width] u8: 1 + index of the thing at each pixel of a resized and padded picture, 0 for none."""
    mask = Image.new("L", (width, height), 0)
    draw_on = ImageDraw.Draw(mask)
    for i, points in enumerate(things(scene)):
        draw_on.polygon([(x * scale + dx, y * scale + dy) for x, y in points.tolist()], fill=i + 1)
    return np.asarray(mask)
