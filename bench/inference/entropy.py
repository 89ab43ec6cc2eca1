"""The threshold of entropy calibration on a known histogram, by the definition: what `compress::observe` is tested against.

For each threshold: what was seen, cut there with what lies beyond counted in the last bin; the same in 256 levels, each spread over its
bins that hold anything; their relative entropy (Migacz 2017). The least wins.
Needs: pip install numpy
"""

import numpy as np


def relative_entropy(counts, threshold, levels=256):
    kept = counts[:threshold].astype(float)
    seen = kept.copy()
    seen[-1] += counts[threshold:].sum()
    spread = np.zeros_like(seen)
    levels = min(levels, threshold)
    for level in range(levels):
        cell = slice(level * threshold // levels, (level + 1) * threshold // levels)
        filled = seen[cell] > 0
        if filled.any():
            spread[cell][filled] = max(kept[cell].sum() / filled.sum(), 1)
    there = seen > 0
    p, q = seen[there] / seen.sum(), spread[there] / kept.sum()
    return (p * np.log(p / q)).sum()


def main():
    edges = np.exp(-np.arange(2049) / 30)
    counts = (1e9 * (edges[:-1] - edges[1:])).astype(np.int64)
    counts[-1] += 1000
    tried = range(16, 2049, 16)
    print("bins:", min(tried, key=lambda threshold: relative_entropy(counts, threshold)), "of 2048, each of 4")


if __name__ == "__main__":
    main()
