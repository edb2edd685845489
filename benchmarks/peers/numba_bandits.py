"""Hand-tuned numba: K-armed Bernoulli bandits with offline data, one loop per run.

UCB, OtO with a known horizon (fixed radius) and OtO with an unknown one (delta / t^2), float32,
ties to the lowest index; the same algorithms as jaxbandit's, with the paper's constants.

What makes it fast: xoshiro128++ inlined, one draw a round; O(1) budget and LCB argmax; only the
pulled arm's bounds recomputed where delta is fixed; the UCB argmax kept with a bound on the
runner-up, so that most rounds need no scan; group maxima above GROUP arms; scans that vectorise.
"""

import numpy as np
from numba import njit, prange

F = np.float32
_FM = {"nnan", "nsz"}  # Lets max vectorise, rounds nothing differently; more gains 7 % at most.
GROUP = (
    16  # 8 to 32 measured: 16 is best or within 6 % at K = 100, within 26 % at K = 1000 (32 there)
)


@njit(inline="always")
def _rotl(x, k):
    return np.uint32((x << np.uint32(k)) | (x >> np.uint32(32 - k)))


@njit(inline="always")
def _next(s0, s1, s2, s3):  # xoshiro128++
    out = np.uint32(_rotl(np.uint32(s0 + s3), 7) + s0)
    t = np.uint32(s1 << np.uint32(9))
    s2 = np.uint32(s2 ^ s0)
    s3 = np.uint32(s3 ^ s1)
    s1 = np.uint32(s1 ^ s2)
    s0 = np.uint32(s0 ^ s3)
    s2 = np.uint32(s2 ^ t)
    s3 = _rotl(s3, 11)
    return out, s0, s1, s2, s3


@njit(inline="always")
def _seed(x):  # splitmix64 -> two words
    x = np.uint64(x + np.uint64(0x9E3779B97F4A7C15))
    z = x
    z = np.uint64((z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9))
    z = np.uint64((z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB))
    z = z ^ (z >> np.uint64(31))
    return x, np.uint32(z), np.uint32(z >> np.uint64(32))


@njit(inline="always", fastmath=_FM)
def _max(x, lo, hi):
    m = x[lo]
    for i in range(lo + 1, hi):
        m = max(m, x[i])
    return m


@njit(inline="always")
def _first(x, lo, hi, m):
    for i in range(lo, hi):
        if x[i] == m:
            return i
    return hi


@njit(inline="always", fastmath=_FM)
def _top(x, gmax, K, u_old):
    """(first argmax, max, an upper bound on all others)."""
    if K <= GROUP:
        m = _max(x, 0, K)
        u = _first(x, 0, K, m)
        x[u] = -np.inf
        second = _max(x, 0, K)
        x[u] = m
        return u, m, second
    G = (K + GROUP - 1) // GROUP
    m = _max(gmax, 0, G)
    g = _first(gmax, 0, G, m)
    lo = g * GROUP
    hi = min(K, lo + GROUP)
    u = _first(x, lo, hi, m)
    x[u] = -np.inf
    gmax[g] = -np.inf
    second = max(_max(gmax, 0, G), _max(x, lo, hi))
    x[u] = m
    gmax[g] = m
    return u, m, second


@njit(inline="always", fastmath=_FM)
def _regroup(x, gmax, K, a):
    if K > GROUP:
        g = a // GROUP
        lo = g * GROUP
        gmax[g] = _max(x, lo, min(K, lo + GROUP))


def _make(algorithm, parallel):
    """algorithm: 0 UCB, 1 OtO known horizon, 2 OtO unknown horizon (radius[t], t = 1..T)."""
    OTO = algorithm > 0
    MOVING = algorithm == 2

    @njit(parallel=parallel, fastmath=_FM, error_model="numpy", boundscheck=False)
    def simulate(seed, mean, count0, total0, radius, alpha_b, floor, T, pulls):
        runs, K = total0.shape
        thr = np.empty(K, np.uint32)
        for k in range(K):
            thr[k] = np.uint32(min(np.float64(mean[k]) * 4294967296.0, 4294967295.0))
        for r in prange(runs):
            n = np.empty(K, np.float32)
            s = np.empty(K, np.float32)
            w = np.empty(K, np.float32)
            low = np.empty(K, np.float32)
            plays = np.zeros(K, np.float32)
            mu = np.empty(K, np.float32)
            rs = np.empty(K, np.float32)
            gmax = np.empty((K + GROUP - 1) // GROUP, np.float32)
            x, s0, s1 = _seed(np.uint64(seed) + np.uint64(r) * np.uint64(0x5851F42D4C957F2D))
            x, s2, s3 = _seed(x)
            h = 0
            lh = F(-np.inf)
            for k in range(K):
                n[k] = count0[k]
                s[k] = total0[r, k]
                if n[k] > F(0):
                    mu[k] = s[k] / n[k]
                    rs[k] = F(1) / np.sqrt(n[k])
                    w[k] = mu[k] + radius[1] / np.sqrt(n[k])
                    low[k] = max(floor, mu[k] - radius[1] / np.sqrt(n[k]))
                else:
                    mu[k] = F(0)
                    rs[k] = np.inf
                    w[k] = np.inf
                    low[k] = floor
                if low[k] > lh:
                    lh = low[k]
                    h = k
            if K > GROUP:
                for g in range(gmax.size):
                    gmax[g] = _max(w, g * GROUP, min(K, (g + 1) * GROUP))
            u = 0
            top = F(0)
            second = F(0)
            if not MOVING:
                u, top, second = _top(w, gmax, K, 0)
            gam = lh - alpha_b
            spent = F(0)
            lcb_rounds = F(0)
            H = F(2)
            if not MOVING:
                H = F(T)
            for t in range(1, T + 1):
                bits, s0, s1, s2, s3 = _next(s0, s1, s2, s3)
                if MOVING:
                    if F(t) > H:
                        H = F(2) * H
                    c = radius[t]
                    top = F(-np.inf)
                    for k in range(K):
                        w[k] = mu[k] + c * rs[k]
                        top = max(top, w[k])
                    u = _first(w, 0, K, top)
                a = u
                if OTO:
                    optimist = spent + (low[u] - gam) + (lcb_rounds + (H - F(t))) * alpha_b > F(0)
                    if not optimist:
                        a = h
                n1 = n[a] + F(1)
                s1_ = s[a] + (F(1) if bits < thr[a] else F(0))
                n[a] = n1
                s[a] = s1_
                m1 = s1_ / n1
                if MOVING:
                    q = F(1) / np.sqrt(n1)
                    mu[a] = m1
                    rs[a] = q
                    rad = radius[min(t + 1, T)] * q
                else:
                    rad = radius[1] / np.sqrt(n1)
                if OTO:
                    old = low[a]
                    lo = max(old, m1 - rad)
                    low[a] = lo
                    spent += plays[a] * (lo - old)
                    if optimist:
                        plays[a] += F(1)
                        spent += lo - gam
                    else:
                        lcb_rounds += F(1)
                    if lo > lh or (lo == lh and a < h):
                        lh = lo
                        h = a
                if not MOVING:
                    new = m1 + rad
                    w[a] = new
                    if K > GROUP:
                        g = a // GROUP
                        if new >= gmax[g]:
                            gmax[g] = new
                        else:
                            gmax[g] = _max(w, g * GROUP, min(K, g * GROUP + GROUP))
                    if a == u:
                        if new > second:
                            top = new
                        else:
                            u, top, second = _top(w, gmax, K, u)
                    elif new > top or (new == top and a < u):
                        second = top
                        top = new
                        u = a
                    elif new > second:
                        second = new
            for k in range(K):
                pulls[r, k] = np.int32(n[k] - count0[k])

    return simulate


ucb = _make(0, False)
oto = _make(1, False)
oto_unknown = _make(2, False)
ucb_parallel = _make(0, True)
oto_parallel = _make(1, True)
oto_unknown_parallel = _make(2, True)


def play(policy, setting, threads):
    """Pulls, [runs, arms], in `setting`, on one thread or, where `threads` is not 1, on all."""
    function = {
        "UCB": (ucb, ucb_parallel),
        "OtO": (oto, oto_parallel),
        "OtO, unknown horizon": (oto_unknown, oto_unknown_parallel),
    }[policy][threads != 1]
    total = np.broadcast_to(setting.total, (setting.runs, len(setting.total)))
    pulls = np.empty(total.shape, np.int32)
    alpha_budget, floor = F(setting.alpha_budget), F(0)
    function(
        1,
        setting.mean,
        setting.count,
        total,
        setting.radius,
        alpha_budget,
        floor,
        setting.horizon,
        pulls,
    )
    return pulls
