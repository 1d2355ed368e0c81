"""Pictures that lie, swell, end too early or are none: each is refused in words that name the input and the row."""

import random
import re
import struct
import zlib

import numpy as np
import pytest
import seeded_images
import seeded_models
from hostile import INVALID, OK, Target
from pictures import GRAY, RGB, chunk, detailed, encoded, jpeg, png, png_of
from PIL import Image
from raw_grpc import INFER, Answer, Connection
from triton_calls import raw_bytes, raw_request

MODEL = "vit_32"
SEED = 20261124
MUTATIONS = 300
ROUNDS = 5
MIB = 1 << 20
SMALL = detailed(40, 30)
JPEG, PNG = jpeg(SMALL, subsampling=2), png(SMALL, RGB)
PROGRESSIVE = jpeg(SMALL, progressive=True)


@pytest.fixture(scope="module")
def target(identity_models, tmp_path_factory):
    models = seeded_models.write(tmp_path_factory.mktemp("images"), (seeded_images.vit_32,))
    with Target([identity_models, models]) as target:
        yield target


def message(*rows: bytes) -> bytes:
    return raw_request(MODEL, ("image", "BYTES", [len(rows)], raw_bytes(rows))).SerializeToString()


def png_bomb(width: int, height: int, data: bytes = b"", depth: int = 8, colour: int = RGB) -> bytes:
    """A file that promises far more than it holds."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return png_of(header, chunk(b"IDAT", data or zlib.compress(bytes(1000))))


def jpeg_bomb(width: int, height: int) -> bytes:
    """A JPEG whose frame says another size."""
    at = JPEG.index(b"\xff\xc0") + 5
    return JPEG[:at] + struct.pack(">HH", height, width) + JPEG[at + 4 :]


def many_scans(count: int) -> bytes:
    """A progressive JPEG that repeats its last scan, each of which goes over the whole picture."""
    begin = PROGRESSIVE.rindex(b"\xff\xda")
    return PROGRESSIVE[:begin] + PROGRESSIVE[begin:-2] * count + PROGRESSIVE[-2:]


def of_format(kind: str) -> bytes:
    return encoded(Image.fromarray(SMALL), kind)


NO_PICTURES = {
    "nothing": b"", "one byte": b"\xff", "zeros": bytes(1000), "text": b"not a picture at all", "svg": b"<svg/>",
    "html": b"<html><body>404</body></html>", "gif": of_format("GIF"), "tiff": of_format("TIFF"), "bmp": of_format("BMP"),
    "webp": of_format("WEBP"), "ppm": of_format("PPM"), "ico": of_format("ICO"), "pickle": b"\x80\x04\x95" + bytes(50),
    "jpeg signature": JPEG[:2], "png signature": PNG[:8], "jpeg header": JPEG[:200], "png header": PNG[:40],
    "half a jpeg": JPEG[: len(JPEG) // 2], "half a png": PNG[: len(PNG) // 2],
    "half a progressive jpeg": PROGRESSIVE[: len(PROGRESSIVE) // 2],
    "png without data": png_of(PNG[16:29], b""),
    "png of garbage": png_bomb(40, 30, b"no zlib stream"),
    "png with a wrong checksum": PNG[:-17] + bytes([PNG[-17] ^ 1]) + PNG[-16:],
    "png of no width": png_bomb(0, 30), "png of no height": png_bomb(40, 0), "png of odd depth": png_bomb(40, 30, depth=7),
    "png that is too short": png_bomb(40, 30, zlib.compress(bytes(40))),
    "jpeg of no width": jpeg_bomb(0, 30), "jpeg without tables": JPEG.replace(b"\xff\xdb", b"\xff\xe9"),
    "jpeg without a scan": JPEG[: JPEG.index(b"\xff\xda")] + b"\xff\xd9",
}  # fmt: skip
BOMBS = {
    "png 60,000 squared": png_bomb(60_000, 60_000), "png of largest size": png_bomb(2**31 - 1, 2**31 - 1),
    "png beyond that": png_bomb(2**32 - 1, 1), "png as wide as can be": png_bomb(2**31 - 1, 1),
    # All of it is there, in 32 kB: 16,000 squared, in black and white.
    "png of zeros": png_bomb(16_000, 16_000, zlib.compress(bytes(16_000 * 2_001), 9), depth=1, colour=GRAY),
    "jpeg 65,500 squared": jpeg_bomb(65_500, 65_500),
}  # fmt: skip


def send(target: Target, message: bytes) -> Answer:
    with Connection(target.grpc) as connection:
        return connection.call(INFER, message)


def assert_refused(answer: Answer, row: int) -> None:
    assert answer.status == INVALID, answer
    assert answer.reason == "invalid"
    assert re.search(r"\bimage\b", answer.message) and re.search(rf"\brow {row}\b", answer.message), answer.message
    assert "\n" not in answer.message and len(answer.message) < 1000


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_is_refused_by_name(target, name):
    assert_refused(send(target, message(JPEG, NO_PICTURES[name], PNG)), row=1)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_it_swells(target, name):
    with target.unharmed(memory_mib=16):
        answer = send(target, message(JPEG, PNG, BOMBS[name]))
        assert_refused(answer, row=2)
        assert answer.seconds < 0.2


def test_refusals_cost_nobody_else_anything(target):
    with target.unharmed(memory_mib=16), Connection(target.grpc) as connection:
        for _ in range(ROUNDS):
            for picture in NO_PICTURES.values():
                assert connection.call(INFER, message(picture)).status == INVALID


def test_scans_without_end(target):
    with target.unharmed(memory_mib=64):
        answer = send(target, message(many_scans(20_000)))
        assert answer.status in (OK, INVALID), answer
        assert answer.seconds < 5


def test_chunks_that_swell_are_not_inflated(target):
    """Text and colour profiles of a PNG are compressed too: 20 MB of zeros in each of them, in 20 kB."""
    zeros = zlib.compress(bytes(20 * MIB), 9)
    extra = chunk(b"iCCP", b"profile\0\0" + zeros) + chunk(b"zTXt", b"text\0\0" + zeros) * 20
    swelling = png(SMALL, RGB, extra=extra)
    with target.unharmed(memory_mib=32):
        answer = send(target, message(swelling))
        assert answer.status in (OK, INVALID), answer
        assert answer.seconds < 1


def mutated(picture: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut out or put in."""
    bytes_of = bytearray(picture)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(bytes_of))
        match rng.randrange(4):
            case 0:
                bytes_of[at] = rng.randrange(256)
            case 1:
                bytes_of[at] ^= 1 << rng.randrange(8)
            case 2:
                del bytes_of[at : at + rng.randint(1, 20)]
            case _:
                bytes_of[at:at] = rng.randbytes(rng.randint(1, 20))
        if not bytes_of:
            break
    return bytes(bytes_of)


@pytest.mark.parametrize("kind, picture", [("jpeg", JPEG), ("progressive", PROGRESSIVE), ("png", PNG)])
def test_mutations_are_answered_or_refused(target, kind, picture):
    rng = random.Random(f"{SEED} {kind}")
    with target.unharmed(memory_mib=64), Connection(target.grpc) as connection:
        for number in range(MUTATIONS):
            answer = connection.call(INFER, message(mutated(picture, rng)))
            assert answer.status in (OK, INVALID), (number, answer)


def test_the_good_beside_the_bad(target):
    """A bad picture in the same batch as good ones is refused alone."""
    with Connection(target.grpc) as connection:
        streams = [(connection.send(INFER, message(JPEG)), connection.send(INFER, message(JPEG[:200]))) for _ in range(50)]
        answers = [(connection.wait(one), connection.wait(other)) for one, other in streams]
    assert {(one.status, other.status) for one, other in answers} == {(OK, INVALID)}


PIXELS = {
    "too narrow": [1, 3, 32, 31], "too tall": [1, 3, 33, 32], "four channels": [1, 4, 32, 32], "rank 3": [3, 32, 32],
    "channels last": [1, 32, 32, 3],
}  # fmt: skip


@pytest.mark.parametrize("name", PIXELS)
def test_pixels_of_other_shapes_are_refused_by_name(target, name):
    shape = PIXELS[name]
    answer = send(target, raw_request(MODEL, ("pixel_values", "FP32", shape, bytes(4 * int(np.prod(shape))))).SerializeToString())
    assert answer.status == INVALID, answer
    assert "pixel_values" in answer.message and "32" in answer.message, answer.message


def test_a_picture_and_pixels_are_refused(target):
    image = ("image", "BYTES", [1], raw_bytes([JPEG]))
    pixels = ("pixel_values", "FP32", [1, 3, 32, 32], bytes(4 * 3 * 32 * 32))
    answer = send(target, raw_request(MODEL, image, pixels).SerializeToString())
    assert answer.status == INVALID, answer
    assert "pixel_values" in answer.message, answer.message
