"""Re-ID figures and re-ranking from their definitions, in plain loops.

Nothing here is shared with the package: the ranked list of each query exists and is
walked along, and the re-ranking holds every set and every matrix of the paper.
"""
import math

import numpy as np


def naive_distances(q, g, distance):
    """(Q, G) nested lists of float: summed coordinate by coordinate."""
    return [[_naive_distance(a, b, distance) for b in g] for a in q]


def _naive_distance(a, b, distance):
    a, b = [float(x) for x in a], [float(x) for x in b]
    if distance == 'cosine':
        norm = math.hypot(*a) * math.hypot(*b)
        return 1 - math.fsum(x * y for x, y in zip(a, b)) / norm if norm else 1.
    squared = math.fsum((x - y)**2 for x, y in zip(a, b))
    return squared if distance == 'squared_euclidean' else math.sqrt(squared)


def naive_ranked_list(distances, pid, camid, g_pids, g_camids):
    """Truth of each ranked entry of one query; of a tie, the wrong ones first."""
    entries = []
    for distance, g_pid, g_camid in zip(distances, g_pids, g_camids):
        if g_pid == pid and g_camid == camid:
            continue
        entries.append((distance, g_pid == pid))
    return [is_true for _, is_true in sorted(entries)]


def naive_query(distances, pid, camid, g_pids, g_camids):
    """dict(num_true, first_rank, last_rank, ap, inp) of one query; None: no truth."""
    ranked = naive_ranked_list(distances, pid, camid, g_pids, g_camids)
    ranks = [rank for rank, is_true in enumerate(ranked, start=1) if is_true]
    if not ranks:
        return None
    precisions = [sum(ranked[:rank]) / rank for rank in ranks]
    return dict(num_true=len(ranks), first_rank=ranks[0], last_rank=ranks[-1],
                ap=sum(precisions) / len(precisions), inp=len(ranks) / ranks[-1])


def naive_retrieval(distances, q_pids, g_pids, q_camids, g_camids, max_rank):
    """(queries, cmc, mAP, mINP); queries as :func:`naive_query` has them."""
    queries = [naive_query(row, pid, camid, g_pids, g_camids)
               for row, pid, camid in zip(distances, q_pids, q_camids)]
    valid = [query for query in queries if query is not None]
    cmc = [sum(query['first_rank'] <= k for query in valid) / len(valid)
           for k in range(1, max_rank + 1)]
    return (queries, cmc, sum(query['ap'] for query in valid) / len(valid),
            sum(query['inp'] for query in valid) / len(valid))


def naive_rerank(q, g, k1, k2, lambda_value, distance='squared_euclidean'):
    """Re-ranked distances (Q, G): equations 2 to 13 of the paper, densely.

    N(p, k) is p and the k nearest others among all items, ties by number; each row of
    d is divided by its largest value, each row of V by its sum.
    """
    items = [*q, *g]
    count = len(items)
    d = np.array(naive_distances(items, items, distance))
    d = np.array([row / row.max() if row.max() > 0 else row for row in d])

    def nearest(p, k):
        others = sorted((i for i in range(count) if i != p), key=lambda i: (d[p, i], i))
        return [p, *others[:k]]

    def reciprocal(p, k):
        return {i for i in nearest(p, k) if p in nearest(i, k)}

    def expanded(p):
        own = reciprocal(p, k1)
        out = set(own)
        for i in own:
            other = reciprocal(i, round(k1 / 2))
            if len(own & other) * 3 >= len(other) * 2:
                out |= other
        return out

    v = np.zeros((count, count))
    for p in range(count):
        for i in expanded(p):
            v[p, i] = math.exp(-d[p, i])
        v[p] /= v[p].sum()
    v = np.array([v[nearest(p, k2 - 1)].mean(axis=0) for p in range(count)])
    out = np.empty((len(q), len(g)))
    for p in range(len(q)):
        for j in range(len(g)):
            i = len(q) + j
            jaccard = 1 - np.minimum(v[p], v[i]).sum() / np.maximum(v[p], v[i]).sum()
            out[p, j] = (1 - lambda_value) * jaccard + lambda_value * d[p, i]
    return out
