"""Small ONNX files, written field by field as protocol buffers have them: the journeys need no library for it."""

import struct
import zlib

FLOAT = 1


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def number(field, value):
    return varint(field << 3) + varint(value)


def chunk(field, content):
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def value(name, dims):
    def dim(of):
        return chunk(1, chunk(2, of) if isinstance(of, str) else number(1, of))

    shape = b"".join(dim(of) for of in dims)
    return chunk(1, name) + chunk(2, chunk(1, number(1, FLOAT) + chunk(2, shape)))


def tensor(name, dims, values):
    raw = struct.pack(f"<{len(values)}f", *values)
    return b"".join(number(1, dim) for dim in dims) + number(2, FLOAT) + chunk(8, name) + chunk(9, raw)


def node(operator, inputs, output):
    return b"".join(chunk(1, name) for name in inputs) + chunk(2, output) + chunk(3, output) + chunk(4, operator)


def sides(weights):
    """A picture of 2 × 2, flattened, times a matrix of 4 × 2: a score for each side."""
    graph = chunk(1, node("Flatten", ["image"], "flat")) + chunk(1, node("MatMul", ["flat", "weights"], "scores"))
    graph += chunk(2, "sides") + chunk(5, tensor("weights", [4, 2], weights))
    graph += chunk(11, value("image", ["batch", 1, 2, 2])) + chunk(12, value("scores", ["batch", 2]))
    return number(1, 8) + chunk(2, "journeys") + chunk(7, graph) + chunk(8, chunk(1, "") + number(2, 17))


def png(rows):
    """A grey picture of these rows of bytes."""

    def part(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    lines = b"".join(b"\0" + bytes(row) for row in rows)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(lines)) + part(b"IEND", b"")
