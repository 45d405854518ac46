"""Headers that do not say how long their file is, put right while the file is read.

Two kinds are common and valid, and libsndfile does not read them whole:

    wav written into a pipe   its size was not known: 0 in the header, or a very large number
    mp3 of variable bit rate  without the Xing, Info or VBRI frame that counts its frames, its
                              length is guessed from the bit rate of the first frame

Layouts of the headers: RIFF WAVE (Microsoft, 1991); ISO/IEC 11172-3 and 13818-3, sec. 2.4.1.3;
the Xing frame as LAME writes it. Nothing is written to the disk.
"""

import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

CHUNKS = 1000  # of a wav, among which its samples are looked for
UNKNOWN = 0xFFFFFFFF  # a size that libsndfile takes for "up to the end of the file"
_VERSIONS = {3: 0, 2: 1, 0: 2}  # MPEG 1, 2, 2.5 -> how often the rate is halved
_RATES = (44_100, 48_000, 32_000)
_KBITS = {  # layer III, by whether it is MPEG 1
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def placeholder(size: int) -> bool:
    """Whether a wav's size stands for one that was not known when it was written: SoX writes
    0x7FFFF000, arecord 0x80000000, ffmpeg 0xFFFFFFFF, others these less the header.
    """
    return size == 0 or 0x7FFF0000 <= size <= 0x80000000 or 0xFFFF0000 <= size <= UNKNOWN


def mended(path: Path) -> IO[bytes] | None:
    """The file under a header that states its length; None where it can be read as it is.

    Raises:
        OSError: it cannot be read at all.
    """
    with open(path, "rb") as file:
        start = file.read(12)
        if start[:4] == b"RIFF" and start[8:] == b"WAVE":
            # a header that fits its file was finished: what it says is so, and nothing is nothing
            finished = struct.unpack("<I", start[4:8])[0] + 8 == os.path.getsize(path)
            return None if finished else _wav(path, file)
        file.seek(0)
        return _mp3(path, file)


class _Spliced(io.RawIOBase):
    """`head`, followed by what the file holds from byte `skip` on."""

    def __init__(self, path: Path, head: bytes, skip: int):
        self.file = open(path, "rb")  # noqa: SIM115  closed with this object
        self.head, self.skip, self.place = head, skip, 0
        self.size = len(head) + os.path.getsize(path) - skip

    def readinto(self, buffer) -> int:
        wanted, place = len(buffer), self.place
        data = self.head[place : place + wanted]
        if len(data) < wanted:
            self.file.seek(self.skip + max(0, place - len(self.head)))
            data += self.file.read(wanted - len(data))
        buffer[: len(data)] = data
        self.place += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.place}.get(whence, self.size)
        return self.place

    def tell(self) -> int:
        return self.place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self.file.close()
        super().close()


# ---- wav -----------------------------------------------------------------------------------------


def _wav(path: Path, file: IO[bytes]) -> IO[bytes] | None:
    """A size of 0 before samples; libsndfile knows the other placeholders."""
    for _ in range(CHUNKS):
        if len(chunk := file.read(8)) < 8:
            break
        name, size = chunk[:4], struct.unpack("<I", chunk[4:])[0]
        place = file.tell()
        if name == b"data":
            if size or os.path.getsize(path) == place:
                return None
            file.seek(0)
            return _Spliced(path, file.read(place - 4) + struct.pack("<I", UNKNOWN), place)
        file.seek(size + size % 2, io.SEEK_CUR)
    return None


# ---- mp3 -----------------------------------------------------------------------------------------


class _Frame(NamedTuple):
    size: int  # bytes
    kbits: int
    mpeg1: bool
    mono: bool


def _frame(header: bytes) -> _Frame | None:
    """Of layer III, from its first four bytes."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return None
    version, kbits, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version not in _VERSIONS or kbits in (0, 15) or rate == 3:
        return None
    mpeg1, hz = version == 3, _RATES[rate] >> _VERSIONS[version]
    spoken = _KBITS[mpeg1][kbits]
    size = (144 if mpeg1 else 72) * spoken * 1000 // hz + (header[2] >> 1 & 1)
    return _Frame(size, spoken, mpeg1, header[3] >> 6 == 3)


def _mp3(path: Path, file: IO[bytes]) -> IO[bytes] | None:
    """Counted, and the count put before it, where its frames differ and nothing counts them."""
    tag = file.read(10)
    begin = 0
    if tag[:3] == b"ID3" and len(tag) == 10:  # its size has 7 bits a byte
        begin = 10 + sum((byte & 0x7F) << 7 * (3 - n) for n, byte in enumerate(tag[6:]))
    file.seek(begin)
    first = file.read(200)
    if _frame(first) is None or any(word in first for word in (b"Xing", b"Info", b"VBRI")):
        return None
    file.seek(begin)
    rates, count = set(), 0
    for frame in _frames(file.read()):
        rates.add(frame.kbits)
        count += 1
    if len(rates) < 2:
        return None
    return _Spliced(path, _xing(first[:4], count), begin)


def _frames(data: bytes) -> Iterator[_Frame]:
    """Every frame of a stream, across what lies between them."""
    place = 0
    while 0 <= place < len(data):
        frame = _frame(data[place : place + 4])
        if frame:
            yield frame
            place += frame.size
        else:
            place = data.find(b"\xff", place + 1)


def _xing(header: bytes, count: int) -> bytes:
    """A silent frame of the stream's kind, whatever its size, that says how many follow."""
    header = bytes((0xFF, header[1] | 1, header[2] & 0x0D | 0xE0, header[3]))  # no checksum
    frame = _frame(header)
    assert frame is not None  # of a header that was one
    side = (17 if frame.mono else 32) if frame.mpeg1 else (9 if frame.mono else 17)
    told = header + bytes(side) + b"Xing" + struct.pack(">II", 1, count)
    return told + bytes(frame.size - len(told))
