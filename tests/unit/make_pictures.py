#!/usr/bin/env python3
"""Draws the small pictures of tests/unit/pictures and writes what Pillow makes of each: a line of
SHA-256 of the decoded RGB, width, height, the same three turned as EXIF says, name; "refused" for those
that Pillow refuses, too.

    python3 -m venv venv && venv/bin/pip install pillow==13.0.0
    venv/bin/python tests/unit/make_pictures.py
"""
import hashlib
import io
import pathlib
import struct
import zlib

from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent / "pictures"
W, H = 29, 19


def scene(mode="RGB", size=(W, H), seed=1):
    """A drawing with slopes, edges and noise, the same on every machine."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    data, state = bytearray(), seed
    for y in range(size[1]):
        for x in range(size[0]):
            for band in range(bands):
                state = (state * 1103515245 + 12345) & 0x7FFFFFFF
                value = (x * (7 + band) + y * (11 - 3 * band)) % 256
                data.append((value + (state >> 16) % 24 + (90 if (x // 7 + y // 5) % 2 else 0)) % 256)
    return Image.frombytes(mode, size, bytes(data))


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(n, seed=5):
    out, state = bytearray(), seed
    for _ in range(n):
        state = (state * 1103515245 + 12345) & 0x7FFFFFFF
        out.append(state >> 16 & 255)
    return bytes(out)


# ---- formats that are written by hand -----------------------------------------------------------

def png(depth, colour, rows, palette=b"", extra=b"", interlace=0, size=(W, H)):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    head = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlace)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + (chunk(b"PLTE", palette) if palette else b"") + extra
            + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b""))


def png_of(depth, colour, **more):
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    stride = (W * samples * depth + 7) // 8
    data = noise(stride * H, depth * 7 + colour)
    return png(depth, colour, [data[i * stride:(i + 1) * stride] for i in range(H)], **more)


def png_interlaced():
    data = noise(W * H * 3, 3)
    rows = []
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        for y in range(y0, H, dy):
            rows.append(b"".join(data[(y * W + x) * 3:(y * W + x) * 3 + 3] for x in range(x0, W, dx)))
    return png(8, 2, rows, interlace=1)


def bmp(bits, pixels, colours=b"", compression=0, masks=b"", height=H, header=40, used=0):
    if header == 12:
        dib = struct.pack("<IHHHH", 12, W, height, 1, bits)
    else:
        dib = struct.pack("<IiiHHIIiiII", header, W, height, 1, bits, compression, len(pixels), 0, 0, used, 0)
        dib += (masks if header > 40 else b"").ljust(header - 40, b"\0")
    if header <= 40:
        colours = masks + colours
    offset = 14 + len(dib) + len(colours)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + dib + colours + pixels


def bmp_rows(bits):
    return noise((W * bits + 31) // 32 * 4 * H, bits)


def runs(bits):
    """Every kind of code: a run, plain indices (odd and even), end of row, a jump."""
    out = bytearray()
    for y in range(H):
        if y == 4:
            out += bytes([0, 2, 3, 2])  # right 3, up 2
            out += bytes([W - 3, 0x21, 0, 0])
        elif y in (5, 6):
            continue
        elif y % 3 == 0:
            out += bytes([10, 0x5A, 0, 5]) + (bytes([1, 2, 3, 4, 5, 0]) if bits == 8 else bytes([0x12, 0x34, 0x50, 0]))
            out += bytes([W - 15, 0x33, 0, 0])
        else:
            out += bytes([W - 4, (y * 17) & 255, 0, 4]) + (bytes([9, 8, 7, 6]) if bits == 8 else bytes([0x98, 0x76]))
            out += bytes([0, 0])
    return bytes(out) + bytes([0, 1])


def tiff(tags, *blocks):
    """A little-endian file of strips or tiles; `tags`: {number: (type, values)}."""
    tags = dict(tags)
    where = 324 if 322 in tags else 273
    offsets, at = [], 8
    for block in blocks:
        offsets.append(at)
        at += len(block) + len(block) % 2
    tags[where] = (4, offsets)
    tags[where + (1 if where == 324 else 6)] = (4, [len(block) for block in blocks])
    sizes = {1: "B", 3: "H", 4: "I"}
    entries, later = b"", b""
    base = at + 2 + 12 * len(tags) + 4
    for number, (kind, values) in sorted(tags.items()):
        packed = struct.pack("<%d%s" % (len(values), sizes[kind]), *values)
        if len(packed) > 4:
            entries += struct.pack("<HHII", number, kind, len(values), base + len(later))
            later += packed + b"\0" * (len(packed) % 2)
        else:
            entries += struct.pack("<HHI", number, kind, len(values)) + packed.ljust(4, b"\0")
    data = b"".join(block + b"\0" * (len(block) % 2) for block in blocks)
    return b"II*\0" + struct.pack("<I", at) + data + struct.pack("<H", len(tags)) + entries + bytes(4) + later


def tiff_of(photometric, bits, samples=1, form=1, extra=None, data=None, **more):
    tags = {256: (4, [W]), 257: (4, [H]), 258: (3, [bits] * samples), 259: (3, [1]), 262: (3, [photometric]),
            277: (3, [samples]), 278: (4, [H]), 339: (3, [form] * samples)}
    if extra is not None:
        tags[338] = (3, extra)
    tags.update(more.get("tags", {}))
    if isinstance(data, list):
        return tiff(tags, *data)
    return tiff(tags, data or noise((W * bits * samples + 7) // 8 * H, bits + samples + photometric))


def gif(frame=(0, 0, W, H), canvas=(W, H), colours=16, transparent=None, ramp=False, interlace=False):
    picture = scene("L", frame[2:]).point(lambda v: v // 8)
    if ramp:
        palette = bytes(v for i in range(256) for v in (i, i, i))
    else:
        palette = noise(colours * 3)
    picture.putpalette(palette)
    data = saved(picture, "GIF", optimize=False, interlace=interlace,
                 **({} if transparent is None else {"transparency": transparent}))
    out = bytearray(data)
    out[6:10] = struct.pack("<HH", *canvas)
    at = out.index(b",", 13 + 3 * (2 << (out[10] & 7)))
    out[at + 1:at + 5] = struct.pack("<HH", *frame[:2])
    return bytes(out)


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def pictures():
    rgb, grey, cmyk, rgba = scene(), scene("L"), scene("CMYK"), scene("RGBA")
    for name, sub in (("444", 0), ("422", 1), ("420", 2)):
        yield f"s{name}.jpg", saved(rgb, "JPEG", subsampling=sub)
    yield "grey.jpg", saved(grey, "JPEG")
    yield "cmyk.jpg", saved(cmyk, "JPEG")
    yield "progressive.jpg", saved(rgb, "JPEG", progressive=True)
    yield "restarts.jpg", saved(rgb, "JPEG", restart_marker_rows=1)
    yield "no_end.jpg", saved(rgb, "JPEG", subsampling=0)[:-2]
    for value in range(1, 9):
        yield f"turn{value}.jpg", saved(rgb, "JPEG", exif=exif(value))
    for depth in (1, 2, 4, 8, 16):
        yield f"grey{depth}.png", png_of(depth, 0)
    for depth in (1, 2, 4, 8):
        yield f"palette{depth}.png", png_of(depth, 3, palette=noise(3 * min(2 ** depth, 200)))
    yield "short_palette.png", png_of(4, 3, palette=noise(9))
    for colour in (2, 4, 6):
        yield f"colour{colour}_8.png", png_of(8, colour)
        yield f"colour{colour}_16.png", png_of(16, colour)
    yield "interlaced.png", png_interlaced()
    yield "turned.png", saved(rgb, "PNG", exif=exif(6))
    yield "no_end.png", png_of(8, 2)[:-12]
    yield "lossy.webp", saved(rgb, "WEBP", quality=60)
    yield "lossless.webp", saved(rgba, "WEBP", lossless=True, exact=True)
    yield "alpha.webp", saved(rgba, "WEBP", quality=80)
    yield "turned.webp", saved(rgb, "WEBP", exif=exif(8))
    small = rgb.crop((0, 0, 12, 9))
    yield "animated.webp", saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)], lossless=True)
    yield "small.webp", saved(small, "WEBP", lossless=True)
    yield "plain.gif", gif()
    yield "inside.gif", gif((5, 3, 20, 12))
    yield "inside_clear.gif", gif((5, 3, 20, 12), transparent=7)
    yield "outside.gif", gif((20, 10, W, H))
    yield "ramp.gif", gif(ramp=True)
    yield "interlaced.gif", gif(interlace=True)
    for bits in (1, 4, 8):
        yield f"palette{bits}.bmp", bmp(bits, bmp_rows(bits), noise(4 << bits))
        yield f"os2_{bits}.bmp", bmp(bits, bmp_rows(bits), noise(3 << bits), header=12)
    yield "few_colours.bmp", bmp(8, bmp_rows(8), noise(40), used=10)
    yield "forgotten_palette.bmp", bmp(4, bmp_rows(4), noise(64))[:10] + struct.pack("<I", 54) + bmp(
        4, bmp_rows(4), noise(64))[14:]
    yield "runs8.bmp", bmp(8, runs(8), noise(1024), 1)
    yield "runs4.bmp", bmp(4, runs(4), noise(64), 2)
    yield "runs_short.bmp", bmp(8, runs(8)[:60] + b"\0\1", noise(1024), 1)
    for bits in (16, 24, 32):
        yield f"deep{bits}.bmp", bmp(bits, bmp_rows(bits))
    yield "top_down.bmp", bmp(24, bmp_rows(24), height=-H)
    yield "mask565.bmp", bmp(16, bmp_rows(16), compression=3, masks=struct.pack("<III", 0xF800, 0x7E0, 0x1F))
    yield "mask555.bmp", bmp(16, bmp_rows(16), compression=3, masks=struct.pack("<III", 0x7C00, 0x3E0, 0x1F))
    yield "mask444.bmp", bmp(16, bmp_rows(16), compression=3, masks=struct.pack("<III", 0xF00, 0xF0, 0xF))
    yield "mask32.bmp", bmp(32, bmp_rows(32), compression=3,
                            masks=struct.pack("<III", 0xFF000000, 0xFF0000, 0xFF00))
    yield "mask_v4.bmp", bmp(32, bmp_rows(32), compression=3, header=108,
                             masks=struct.pack("<IIII", 0xFF, 0xFF00, 0xFF0000, 0xFF000000))
    yield "p1.pbm", b"P1 # a comment\n%d %d\n" % (W, H) + b"".join(
        b"%d" % (v & 1) + (b"\n" if i % 40 == 39 else b"") for i, v in enumerate(noise(W * H)))
    yield "p2.pgm", b"P2\n%d %d\n# ten\n200\n" % (W, H) + b" ".join(b"%d" % (v % 201) for v in noise(W * H))
    yield "p2_deep.pgm", b"P2\n%d %d\n900\n" % (W, H) + b"\n".join(b"%d" % (v * 3) for v in noise(W * H))
    yield "p3.ppm", b"P3\n%d %d\n31\n" % (W, H) + b" ".join(b"%d" % (v % 32) for v in noise(W * H * 3))
    yield "p4.pbm", b"P4\n%d %d\n" % (W, H) + noise((W + 7) // 8 * H)
    yield "p5.pgm", b"P5\n%d %d\n255\n" % (W, H) + noise(W * H)
    yield "p5_over.pgm", b"P5\n%d %d\n100\n" % (W, H) + noise(W * H)
    yield "p5_deep.pgm", b"P5\n%d %d\n65535\n" % (W, H) + noise(W * H * 2)
    yield "p5_1023.pgm", b"P5\n%d %d\n1023\n" % (W, H) + noise(W * H * 2)
    yield "p6.ppm", b"P6\n%d %d\n255\n" % (W, H) + noise(W * H * 3)
    yield "p6_deep.ppm", b"P6\n%d %d\n65535\n" % (W, H) + noise(W * H * 6)
    yield "p6_97.ppm", b"P6\n%d %d\n97\n" % (W, H) + noise(W * H * 3)
    for bits in (1, 2, 4, 8, 16):
        for photometric in (0, 1):
            yield f"grey{bits}_{photometric}.tiff", tiff_of(photometric, bits)
    yield "grey12.tiff", tiff_of(1, 12)
    yield "signed16.tiff", tiff_of(1, 16, form=2)
    yield "signed32.tiff", tiff_of(1, 32, form=2, data=struct.pack(f"<{W * H}i", *range(-200, W * H - 200)))
    yield "unsigned32.tiff", tiff_of(1, 32, data=struct.pack(f"<{W * H}I", *((i * 77777777) & 0xFFFFFFFF if i % 3
                                                                             else i for i in range(W * H))))
    yield "float.tiff", tiff_of(1, 32, form=3, data=struct.pack(f"<{W * H}f", *(i * 0.61 - 20 for i in range(W * H))))
    for bits in (8, 16):
        yield f"rgb{bits}.tiff", tiff_of(2, bits, 3)
        yield f"rgbx{bits}.tiff", tiff_of(2, bits, 4, extra=[0])
        yield f"rgba{bits}.tiff", tiff_of(2, bits, 4, extra=[2])
        yield f"premultiplied{bits}.tiff", tiff_of(2, bits, 4, extra=[1])
        yield f"cmyk{bits}.tiff", tiff_of(5, bits, 4)
    yield "grey_alpha.tiff", tiff_of(1, 8, 2, extra=[2])
    for bits in (1, 2, 4, 8):
        yield f"palette{bits}.tiff", tiff_of(3, bits, tags={320: (3, [v * 257 & 65535 for v in noise(3 << bits)])})
    planes = [noise(W * H, seed) for seed in (1, 2, 3)]
    yield "planes.tiff", tiff_of(2, 8, 3, data=planes, tags={284: (3, [2])})
    yield "planes_strips.tiff", tiff_of(2, 8, 3, tags={284: (3, [2]), 278: (4, [11])}, data=[
        part for plane in planes for part in (plane[:W * 11], plane[W * 11:])])
    for value in range(1, 9):
        yield f"turn{value}.tiff", tiff_of(2, 8, 3, tags={274: (3, [value])})
    for kind in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"{kind}.tiff", saved(rgb, "TIFF", compression=kind)
    yield "jpeg_grey.tiff", saved(grey, "TIFF", compression="jpeg")
    for kind in ("group3", "group4", "tiff_ccitt"):
        yield f"{kind}.tiff", saved(grey.convert("1"), "TIFF", compression=kind)
    yield "strips.tiff", saved(scene(size=(67, 50)), "TIFF", compression="tiff_lzw", strip_size=67 * 3 * 7)
    yield "tiles.tiff", tiff_of(2, 8, 3, tags={322: (4, [16]), 323: (4, [16])},
                                data=[noise(16 * 16 * 3, seed) for seed in range(4)])


def line(rgb):
    return f"{hashlib.sha256(rgb.tobytes()).hexdigest()} {rgb.width} {rgb.height}"


def main():
    HERE.mkdir(exist_ok=True)
    for old in HERE.iterdir():
        old.unlink()
    lines, total = [], 0
    for name, data in pictures():
        (HERE / name).write_bytes(data)
        total += len(data)
        try:
            image = Image.open(io.BytesIO(data))
            upright = ImageOps.exif_transpose(image).convert("RGB")
            lines.append(f"{line(image.convert('RGB'))} {line(upright)} {name}")
        except Exception as error:  # of any kind: Pillow's plugins raise many
            print(f"{name}: {error!r}")
            lines.append(f"refused 0 0 refused 0 0 {name}")
    (HERE / "sums.txt").write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} pictures, {total} bytes")


if __name__ == "__main__":
    main()
