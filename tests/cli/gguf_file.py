"""A GGUF file as Python values, to be changed and written again."""
import struct

FORMS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
BLOCKS = {0: (1, 4), 1: (1, 2), 30: (1, 2), 2: (32, 18), 6: (32, 22), 8: (32, 34), 12: (256, 144), 13: (256, 176),
          14: (256, 210), 20: (32, 18)}
STRING, ARRAY = 8, 9


class Gguf:
    """keys: name -> (type, value), an array's value being (type, values); tensors: name -> (sizes, type, bytes)."""

    def __init__(self, path):
        self.data, self.at = path.read_bytes(), 0
        magic, version, n_tensors, n_keys = self.take("<4sIQQ")
        assert magic == b"GGUF" and version == 3
        self.keys, self.tensors = {}, {}
        for _ in range(n_keys):
            name, (kind,) = self.text(), self.take("<I")
            self.keys[name] = (kind, self.value(kind))
        infos = []
        for _ in range(n_tensors):
            name, (rank,) = self.text(), self.take("<I")
            infos.append((name, self.take(f"<{rank}Q"), *self.take("<IQ")))
        self.head = self.at
        start = -(-self.at // 32) * 32
        for name, sizes, kind, offset in infos:
            block, size = BLOCKS[kind]
            count = 1
            for n in sizes:
                count *= n
            first = start + offset
            self.tensors[name] = (sizes, kind, self.data[first:first + count // block * size])

    def take(self, form):
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def text(self):
        (size,) = self.take("<Q")
        self.at += size
        return self.data[self.at - size:self.at].decode()

    def value(self, kind):
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            inner, n = self.take("<IQ")
            return inner, [self.value(inner) for _ in range(n)]
        return self.take(FORMS[kind])[0]

    def write(self, path):
        out = bytearray(struct.pack("<4sIQQ", b"GGUF", 3, len(self.tensors), len(self.keys)))
        for name, (kind, value) in self.keys.items():
            out += as_text(name) + struct.pack("<I", kind) + as_value(kind, value)
        data = bytearray()
        for name, (sizes, kind, content) in self.tensors.items():
            out += as_text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, len(data))
            data += content + bytes(-len(content) % 32)
        out += bytes(-len(out) % 32)
        path.write_bytes(out + data)
        return path


def as_text(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def as_value(kind, value):
    if kind == STRING:
        return as_text(value)
    if kind == ARRAY:
        return struct.pack("<IQ", value[0], len(value[1])) + b"".join(as_value(value[0], v) for v in value[1])
    return struct.pack(FORMS[kind], value)
