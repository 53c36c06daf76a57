"""What is linked, directly or through others: agglomerates, parts of one particle in several tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def components(count: int, first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.int64]:
    """The component (N,) from 0 of each of N members; first[i] and second[i] (P,) int, in 0..N-1, are linked."""
    from scipy.sparse import coo_array  # 0.2 s, which the start of an analysis need not wait for
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)
