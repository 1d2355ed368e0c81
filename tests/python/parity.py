"""How far answers are from a reference's."""

import numpy as np

# max|ours - theirs| / max|theirs| of each row, in f32.
BOUND = 1e-4


def difference(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """max|ours - theirs| / max|theirs| of each row."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    ours, theirs = ours.reshape(len(ours), -1), theirs.reshape(len(theirs), -1)
    return np.abs(ours - theirs).max(axis=1) / np.abs(theirs).max(axis=1)


def agree(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> bool:
    """Whether every row of every output is within the bound."""
    assert ours.keys() == theirs.keys()
    return all((difference(ours[name], theirs[name]) <= BOUND).all() for name in theirs)
