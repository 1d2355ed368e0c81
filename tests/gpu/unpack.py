"""Programs as tests/gpu/pack.sh packs them, made ready to run."""

import lzma
import shutil
from pathlib import Path

PACKED = ".xz"


def unpacked(packed: Path, folder: Path) -> Path:
    """The folder itself if nothing in it is packed; else `folder`, with its programs in it."""
    archives = sorted(packed.glob(f"*{PACKED}"))
    if not archives:
        return packed
    folder.mkdir()
    for archive in archives:
        program = folder / archive.name.removesuffix(PACKED)
        with lzma.open(archive) as source, program.open("wb") as target:
            shutil.copyfileobj(source, target)
        program.chmod(0o755)
    return folder
