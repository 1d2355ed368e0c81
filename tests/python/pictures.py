"""Encoded pictures of every kind that a client may send: sizes, colours, samplings, orientations, depths, interlacing."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

SEED = 20261124
ORIENTATION = 0x0112
# Colour types of PNG, and how many channels each has.
GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}
# Where each pass of an interlaced PNG begins and how far it steps: x, y, dx, dy.
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


# --- contents ---------------------------------------------------------------------------------------------------------


def smooth(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Slow waves of colours that the seed decides, [height, width, 3] of bytes."""
    rng = np.random.default_rng(SEED + seed)
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    waves = [np.sin(a * x + b * y + c * x * y + d) for a, b, c, d in rng.uniform(-5, 5, (3, 4))]
    levels, heights = rng.uniform(60, 195, (3, 1, 1)), rng.uniform(20, 60, (3, 1, 1))
    return np.moveaxis(levels + heights * np.stack(waves), 0, -1).astype(np.uint8)


def detailed(width: int, height: int, seed: int = 0) -> np.ndarray:
    """The same with edges of strong colours, and noise."""
    rng = np.random.default_rng(SEED + seed)
    pixels = smooth(width, height, seed).astype(np.int64)
    pixels[height // 3 : height // 2, :, seed % 3] = 250
    pixels[:, width // 4 : width // 3, (seed + 2) % 3] = 10
    pixels[::5, ::7] = (20, 200, 40)
    return np.clip(pixels + rng.normal(0, 25, pixels.shape), 0, 255).astype(np.uint8)


# --- files ------------------------------------------------------------------------------------------------------------


def encoded(image: Image.Image, kind: str, **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def jpeg(pixels: np.ndarray, mode: str = "RGB", **settings) -> bytes:
    return encoded(Image.fromarray(pixels).convert(mode), "JPEG", **{"quality": 90, "subsampling": 0, **settings})


def oriented(pixels: np.ndarray, orientation: int, kind: str = "JPEG", **settings) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(Image.fromarray(pixels), kind, exif=exif, **settings)


def palette(pixels: np.ndarray, colours: int, **settings) -> bytes:
    return encoded(Image.fromarray(pixels).quantize(colours), "PNG", **settings)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def scanlines(samples: np.ndarray) -> bytes:
    """Rows without a filter; samples of 16 bits have the high byte first."""
    return b"".join(b"\0" + row.astype(samples.dtype.newbyteorder(">")).tobytes() for row in samples)


def png(samples: np.ndarray, colour: int, interlaced: bool = False, extra: bytes = b"") -> bytes:
    """What Pillow does not write. `samples`: [height, width, channels] of 8 or 16 bits; `extra`: chunks before the data."""
    height, width, channels = samples.shape
    assert channels == CHANNELS[colour]
    passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [samples]
    data = b"".join(scanlines(part) for part in passes if part.size)
    header = struct.pack(">IIBBBBB", width, height, samples.dtype.itemsize * 8, colour, 0, 0, interlaced)
    return png_of(header, extra + chunk(b"IDAT", zlib.compress(data)))


def png_of(header: bytes, chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + chunk(b"IEND", b"")


def deep(pixels: np.ndarray) -> np.ndarray:
    """The same in 16 bits, with low bytes that matter where they are not cut off."""
    return pixels.astype(np.uint16) * 256 + pixels[::-1].astype(np.uint16)


def with_alpha(pixels: np.ndarray) -> np.ndarray:
    """The first channels, and one of all degrees of transparency."""
    alpha = np.linspace(0, 255, pixels[..., 0].size).reshape(pixels.shape[:2]).astype(pixels.dtype)
    return np.dstack([pixels, alpha])


# --- the collection ---------------------------------------------------------------------------------------------------


def jpegs() -> dict[str, bytes]:
    content = [detailed(97, 75, seed) for seed in range(17)]
    large = [detailed(640, 480, seed) for seed in range(20, 25)]
    return {
        "444": jpeg(large[0]), "422": jpeg(large[1], subsampling=1), "420": jpeg(large[2], subsampling=2),
        "420 smooth": jpeg(smooth(640, 480, 30), subsampling=2), "420 odd": jpeg(content[0], subsampling=2),
        "coarse": jpeg(large[3], subsampling=2, quality=30), "small": jpeg(detailed(20, 30, 31), subsampling=2),
        "progressive": jpeg(large[4], subsampling=2, progressive=True),
        "restarts": jpeg(content[1], subsampling=2, restart_marker_blocks=3), "optimised": jpeg(content[2], optimize=True),
        "gray": jpeg(content[3], "L"), "gray progressive": jpeg(content[4], "L", progressive=True),
        "cmyk": jpeg(content[5], "CMYK"), "rgb": jpeg(content[6], keep_rgb=True),
        "1x1": jpeg(smooth(1, 1, 32)), "3x500": jpeg(detailed(3, 500, 33)),
        "1000x37": jpeg(detailed(1000, 37, 34), subsampling=2),
        **{f"orientation {i}": oriented(content[8 + i], i, quality=90, subsampling=0) for i in range(1, 9)},
    }  # fmt: skip


def pngs() -> dict[str, bytes]:
    content = [detailed(97, 75, seed) for seed in range(40, 60)]
    large = detailed(320, 240, 60)
    return {
        "png rgb": png(large, RGB), "png smooth": png(smooth(640, 480, 61), RGB), "png rgba": png(with_alpha(content[0]), RGBA),
        "png gray": png(content[1][..., :1], GRAY), "png gray alpha": png(with_alpha(content[2][..., :1]), GRAY_ALPHA),
        "png palette": palette(content[3], 200), "png palette transparent": palette(content[4], 17, transparency=3),
        "png 4 bits": palette(content[5], 16, bits=4),
        "png 1 bit": encoded(Image.fromarray(content[6]).convert("1"), "PNG"),
        "png 16 bits rgb": png(deep(content[7]), RGB), "png 16 bits rgba": png(with_alpha(deep(content[8])), RGBA),
        "png 16 bits gray alpha": png(with_alpha(deep(content[9][..., :1])), GRAY_ALPHA),
        # Pillow cuts these off at 255 instead of scaling them.
        "png 16 bits gray": png(content[10][..., :1].astype(np.uint16) * 2, GRAY),
        "png interlaced": png(content[11], RGB, interlaced=True),
        "png interlaced rgba": png(with_alpha(content[12]), RGBA, interlaced=True),
        "png interlaced 3x2": png(detailed(3, 2, 62), RGB, interlaced=True),
        "png transparent colour": png(content[13], RGB, extra=chunk(b"tRNS", struct.pack(">HHH", *content[13][0, 0]))),
        "png gamma": png(content[14], RGB, extra=chunk(b"gAMA", struct.pack(">I", 100_000))),
        "png orientation 6": oriented(content[15], 6, "PNG"),
        "png 1x1": png(smooth(1, 1, 63), RGB), "png 3x500": png(detailed(3, 500, 64), RGB),
    }  # fmt: skip


def pictures() -> dict[str, bytes]:
    """Every picture by a name that says what is special about it."""
    return {**jpegs(), **pngs()}
