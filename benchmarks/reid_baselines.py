"""Re-ID evaluation as textbooks have it: what the benchmarks compare with.

Plain and dense, for clarity and not for speed. Distances are Euclidean.
"""
import numpy as np

__all__ = ['dense_rerank', 'loop_evaluation', 'loop_over_distances']


def loop_evaluation(q_features: np.ndarray, g_features: np.ndarray, q_pids: np.ndarray,
                    g_pids: np.ndarray, q_camids: np.ndarray, g_camids: np.ndarray,
                    max_rank: int = 20) -> tuple[np.ndarray, float]:
    """CMC (max_rank,) and mAP, one query at a time: its distances, then its ranking."""
    rows = (np.sqrt(((g_features - query)**2).sum(axis=1)) for query in q_features)
    return loop_over_distances(rows, q_pids, g_pids, q_camids, g_camids, max_rank)


def loop_over_distances(rows, q_pids: np.ndarray, g_pids: np.ndarray,
                        q_camids: np.ndarray, g_camids: np.ndarray,
                        max_rank: int = 20) -> tuple[np.ndarray, float]:
    """The same from an iterable of rows of distances (G,)."""
    hits, precisions = np.zeros(max_rank), []
    for row, pid, camid in zip(rows, q_pids, q_camids):
        order = np.argsort(row, kind='stable')
        kept = order[(g_pids[order] != pid) | (g_camids[order] != camid)]
        is_true = g_pids[kept] == pid
        if not is_true.any():
            continue
        ranks = np.flatnonzero(is_true) + 1
        hits[ranks[0] - 1:] += 1
        precisions.append(sum((i + 1) / rank for i, rank in enumerate(ranks))
                          / len(ranks))
    return hits / len(precisions), float(np.mean(precisions))


def dense_rerank(q_features: np.ndarray, g_features: np.ndarray, k1: int = 20,
                 k2: int = 6, lambda_value: float = 0.3) -> np.ndarray:
    """k-reciprocal re-ranking with matrices of all items by all items, (Q, G).

    Holds four of them at a time: float32 distances, the sorted order (int64, as large
    as two), and V before and after the query expansion.
    """
    items = np.concatenate([q_features, g_features])
    count, num_query = len(items), len(q_features)
    squared = (items**2).sum(axis=1)
    distances = items @ items.T
    distances *= -2
    distances += squared[:, None]
    distances += squared[None]
    np.maximum(distances, 0, out=distances)
    np.fill_diagonal(distances, 0)
    distances /= distances.max(axis=1, keepdims=True)
    order = np.argsort(distances, axis=1, kind='stable')

    encoded = np.zeros_like(distances)
    for i in range(count):
        members = reciprocal = _reciprocal(order, i, k1)
        for candidate in reciprocal:
            its = _reciprocal(order, candidate, round(k1 / 2))
            if 3 * len(np.intersect1d(its, reciprocal)) >= 2 * len(its):
                members = np.append(members, its)
        members = np.unique(members)
        weight = np.exp(-distances[i, members])
        encoded[i, members] = weight / weight.sum()
    original = distances[:num_query, num_query:].copy()
    del distances
    if k2 > 1:
        encoded = np.stack([encoded[order[i, :k2]].mean(axis=0)
                            for i in range(count)])
    del order

    holders = [np.flatnonzero(column) for column in encoded.T]
    jaccard = np.empty((num_query, count), encoded.dtype)
    for i in range(num_query):
        minima = np.zeros(count, encoded.dtype)
        for column in np.flatnonzero(encoded[i]):
            rows = holders[column]
            minima[rows] += np.minimum(encoded[i, column], encoded[rows, column])
        jaccard[i] = 1 - minima / (2 - minima)
    return (1 - lambda_value) * jaccard[:, num_query:] + lambda_value * original


def _reciprocal(order: np.ndarray, item: int, k: int) -> np.ndarray:
    """Those among the k nearest of an item that have it among theirs."""
    nearest = order[item, :k + 1]
    return nearest[(order[nearest, :k + 1] == item).any(axis=1)]
