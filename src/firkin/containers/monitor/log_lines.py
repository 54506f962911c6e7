"""The lines of a container's log: JSON, one object a line, as Docker's json-file driver writes them. Pure.

A part of the stand-alone program `monitor`; all parts share its global names. Whole chunks are escaped at once, so a
line costs next to nothing. Mirrors: moby daemon/logger/jsonfilelog and daemon/logger/copier.go.
"""

from __future__ import annotations

TYPE_CHECKING = False

MOST_LINE = 16 << 10  # bytes of text in one object; a longer line is split into several
NEWLINE = b"\n"
# What JSON and Docker write in another way. Newlines separate lines and never get here.
ESCAPES = [(b"\\", b"\\\\"), (b'"', b'\\"'), (b"\t", b"\\t"), (b"\r", b"\\r"), (b"<", b"\\u003c"), (b">", b"\\u003e"),
           (b"&", b"\\u0026"), (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029")]  # fmt: skip
RARE = {bytes((code,)): b"\\u%04x" % code for code in range(32) if code not in (9, 10, 13)}
CONTROLS = b"".join(RARE)


def escaped(data: bytes) -> bytes:
    """Return text as it stands in a JSON string; bytes that are no UTF-8 become U+FFFD, newlines stay."""
    if not data.isascii():
        data = data.decode("utf-8", "replace").encode("utf-8")
    for character, instead in ESCAPES:
        if character in data:
            data = data.replace(character, instead)
    if len(data.translate(None, CONTROLS)) != len(data):
        for character, instead in RARE.items():
            data = data.replace(character, instead)
    return data


class LineCutter:
    """Cuts what one stream writes into objects; keeps a line that has not ended yet.

    `attributes` is JSON that goes into each (`"attrs":{…},`), or empty.
    """

    def __init__(self, stream: str, attributes: bytes) -> None:
        self.end = b'","stream":"%s",%s"time":"' % (stream.encode(), attributes)
        self.rest = b""
        self.begun = b""  # when the line in `rest`, or its first piece, was read

    def cut(self, data: bytes, when: bytes) -> bytes:
        """Return the lines that are complete now, as objects; `when` is the time at which `data` was read."""
        parts = []
        if self.rest or self.begun:
            # The first line began earlier and has the time of its beginning.
            stop = data.find(NEWLINE) + 1
            first = self.rest + (data[:stop] if stop else data)
            parts.append(self.pieces(first, self.begun, not stop))
            if not stop:
                return parts[0]
            data = data[stop:]
            self.begun = b""
        stop = data.rfind(NEWLINE) + 1
        if stop:
            parts.append(self.objects(data[:stop], when))
        self.rest = b""
        if stop < len(data):
            self.begun = when
            parts.append(self.pieces(data[stop:], when, True))
        return b"".join(parts)

    def flush(self) -> bytes:
        """Return the unfinished last line as an object."""
        rest, begun, self.rest, self.begun = self.rest, self.begun, b"", b""
        return self.object(rest, begun) if rest else b""

    def objects(self, lines: bytes, when: bytes) -> bytes:
        """Return complete lines as objects."""
        if len(lines) > MOST_LINE and longest_line(lines) > MOST_LINE:
            return b"".join([self.pieces(line + NEWLINE, when, False) for line in lines[:-1].split(NEWLINE)])
        between = b"\\n" + self.end + when + b'"}\n{"log":"'
        return b'{"log":"' + escaped(lines[:-1]).replace(NEWLINE, between) + b"\\n" + self.end + when + b'"}\n'

    def object(self, text: bytes, when: bytes) -> bytes:
        return b'{"log":"' + escaped(text).replace(NEWLINE, b"\\n") + self.end + when + b'"}\n'

    def pieces(self, line: bytes, when: bytes, unfinished: bool) -> bytes:
        """Return one line as objects of at most MOST_LINE; what is left of an unfinished one is kept."""
        parts = []
        position, length = 0, len(line)
        while length - position > MOST_LINE:
            stop = piece_end(line, position + MOST_LINE)
            parts.append(self.object(line[position:stop], when))
            position = stop
        if unfinished:
            self.rest = line[position:]
        elif position < length:
            parts.append(self.object(line[position:], when))
            self.rest = b""
        return b"".join(parts)


def piece_end(line: bytes, stop: int) -> int:
    """Return where to cut a line at or shortly before `stop`, so that no character of UTF-8 is cut in two."""
    for back in range(4):
        if line[stop - back] & 0xC0 != 0x80:
            return stop - back
    return stop


def longest_line(lines: bytes) -> int:
    """Return a bound for the longest line: more than MOST_LINE if and only if there is such a line."""
    position, length = 0, len(lines)
    while length - position > MOST_LINE:
        stop = lines.rfind(NEWLINE, position, position + MOST_LINE)
        if stop < 0:
            return MOST_LINE + 1
        position = stop + 1
    return min(length, MOST_LINE)
