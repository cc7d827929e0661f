"""Writes cases.json, the reference values of the statistics tests.

    python generate.py        (from any folder; writes beside itself)

Values come from SciPy, statsmodels and NumPy in the versions asserted below,
or, where a library has no such statistic, from its definition written out here
in a second way (refitting instead of the hat matrix, itertools instead of an
in-place enumeration). Random draws are made with an independent ChaCha20 in
plain Python from the documented key, so seeded results are compared exactly.
"""

import hashlib
import itertools
import json
import math
import struct
from pathlib import Path

import mpmath
import numpy as np
import scipy
import statsmodels
import statsmodels.api as sm
from scipy import optimize, special, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

PINNED = {"mpmath": "1.3.0", "numpy": "2.4.6", "scipy": "1.17.1", "statsmodels": "0.15.0"}
FOUND = {m.__name__: m.__version__ for m in (mpmath, np, scipy, statsmodels)}
assert FOUND == PINNED, f"pinned {PINNED}, found {FOUND}"

TIE = 1e-12  # as TIE_TOLERANCE in the crate


# --- random streams ---------------------------------------------------------


def chacha20_words(key):
    """64-bit words of the ChaCha20 key stream, zero nonce, counter from 0."""
    constant = struct.unpack("<4I", b"expand 32-byte k")
    key = struct.unpack("<8I", key)
    rotate = lambda v, n: ((v << n) | (v >> (32 - n))) & 0xFFFFFFFF
    for counter in itertools.count():
        start = [*constant, *key, counter & 0xFFFFFFFF, counter >> 32, 0, 0]
        s = list(start)

        def quarter(a, b, c, d):
            s[a] = (s[a] + s[b]) & 0xFFFFFFFF; s[d] = rotate(s[d] ^ s[a], 16)
            s[c] = (s[c] + s[d]) & 0xFFFFFFFF; s[b] = rotate(s[b] ^ s[c], 12)
            s[a] = (s[a] + s[b]) & 0xFFFFFFFF; s[d] = rotate(s[d] ^ s[a], 8)
            s[c] = (s[c] + s[d]) & 0xFFFFFFFF; s[b] = rotate(s[b] ^ s[c], 7)

        for _ in range(10):
            for i in range(4):
                quarter(i, 4 + i, 8 + i, 12 + i)
            for i in range(4):
                quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
        block = [(a + b) & 0xFFFFFFFF for a, b in zip(s, start)]
        for low, high in zip(block[::2], block[1::2]):
            yield low | (high << 32)


def stream(seed, name):
    text = b"assay stream v1\0" + struct.pack("<Q", seed) + name.encode()
    return chacha20_words(hashlib.sha256(text).digest())


def index_below(words, bound):
    """Lemire (2019), algorithm 5."""
    while True:
        product = next(words) * bound
        if product % 2**64 >= (2**64 - bound) % bound:
            return product >> 64


def shuffle(words, items):
    for last in range(len(items) - 1, 0, -1):
        other = index_below(words, last + 1)
        items[last], items[other] = items[other], items[last]


# --- statistics no library gives --------------------------------------------


def residuals(y, columns):
    design = np.column_stack([np.ones(len(y)), *columns])
    return y - design @ np.linalg.lstsq(design, y, rcond=None)[0]


def partial_r(x, y, columns):
    return stats.pearsonr(residuals(x, columns), residuals(y, columns)).statistic


def freedman_lane(x, y, columns, orders):
    """Literally: residuals permuted, added to the reduced fit, r computed again."""
    left = residuals(y, columns)
    fit = y - left
    observed = abs(partial_r(x, y, columns))
    extreme = total = 0
    for order in orders:
        total += 1
        extreme += abs(partial_r(x, fit + left[list(order)], columns)) >= observed - TIE
    return extreme, total


def within_orders(labels):
    clusters = [[i for i, l in enumerate(labels) if l == c] for c in sorted(set(labels))]
    for choice in itertools.product(*(itertools.permutations(c) for c in clusters)):
        order = [0] * len(labels)
        for cluster, permuted in zip(clusters, choice):
            for target, source in zip(cluster, permuted):
                order[target] = source
        yield order


def whole_orders(labels):
    clusters = [[i for i, l in enumerate(labels) if l == c] for c in sorted(set(labels))]
    for choice in itertools.permutations(clusters):
        if all(len(a) == len(b) for a, b in zip(clusters, choice)):
            order = [0] * len(labels)
            for cluster, permuted in zip(clusters, choice):
                for target, source in zip(cluster, permuted):
                    order[target] = source
            yield order


def free_draws(n, seed, name, draws):
    words, order = stream(seed, name), list(range(n))
    for _ in range(draws):
        shuffle(words, order)
        yield list(order)


def loo_r_squared(y, columns):
    errors = baseline = 0.0
    for i in range(len(y)):
        keep = np.arange(len(y)) != i
        design = np.column_stack([np.ones(len(y)), *columns])
        beta = np.linalg.lstsq(design[keep], y[keep], rcond=None)[0]
        errors += (y[i] - design[i] @ beta) ** 2
        baseline += (y[i] - y[keep].mean()) ** 2
    return 1 - errors / baseline


mpmath.mp.dps = 30


def nct_cdf(t, df, delta):
    """P(T <= t), noncentral t, by quadrature over the chi density.

    scipy.stats.nct loses its digits in the tails (7e-17 for 2.4e-19 at t = -5.84,
    df = 3, delta = 7.8) and is NaN further out."""
    t, df, delta = map(mpmath.mpf, (t, df, delta))
    scale = 2 * (df / 2) ** (df / 2) / mpmath.gamma(df / 2)
    value = lambda s: (scale * s ** (df - 1) * mpmath.exp(-df * s * s / 2)
                       * mpmath.ncdf(t * s - delta))
    width = 1 / mpmath.sqrt(2 * df)
    points = [0, *(1 + k * width for k in (-12, -6, -3, -1, 0, 1, 3, 6, 12, 20))]
    if t:
        points += [(delta + k) / t for k in (-12, -6, -3, 0, 3, 6, 12)]
    return mpmath.quad(value, sorted({p for p in map(mpmath.mpf, points) if p >= 0}))


def root(f, guess):
    """Refines a guess good to a few digits far beyond f64."""
    return float(mpmath.findroot(f, (guess, guess * 1.0001 + 1e-6), solver="secant", tol=1e-40))


def noncentrality(t, df, p):
    reach = 5 + abs(t)
    guess = optimize.brentq(lambda d: float(nct_cdf(t, df, d) - p), t - reach, t + reach, xtol=1e-6)
    return root(lambda d: nct_cdf(t, df, d) - p, guess)


def hedges(x, y, level):
    m = len(x) + len(y) - 2
    pooled = math.sqrt(((len(x) - 1) * np.var(x, ddof=1) + (len(y) - 1) * np.var(y, ddof=1)) / m)
    d = (np.mean(x) - np.mean(y)) / pooled
    j = math.exp(special.gammaln(m / 2) - special.gammaln((m - 1) / 2)) / math.sqrt(m / 2)
    unit = math.sqrt(1 / len(x) + 1 / len(y))
    t = stats.ttest_ind(x, y).statistic
    end = lambda p: unit * noncentrality(t, m, p)
    return {"d": d, "g": j * d, "correction": j,
            "low": end((1 + level) / 2), "high": end((1 - level) / 2)}


def sign_flips(columns):
    columns = np.array(columns)
    scale = np.sqrt(columns.shape[1] * np.sum(columns**2, axis=1))
    observed = np.abs(columns.sum(axis=1)) / scale
    alone = np.zeros(len(columns), int)
    family = np.zeros(len(columns), int)
    for signs in itertools.product([1, -1], repeat=columns.shape[1]):
        flipped = np.abs(columns @ np.array(signs)) / scale
        alone += flipped >= observed - TIE
        family += flipped.max() >= observed - TIE
    total = 2 ** columns.shape[1]
    return {"p": list(alone / total), "family_p": list(family / total)}


def bca(samples, statistic, seed, name, resamples, level):
    """SciPy's own BCa interval of a distribution whose resamples we drew."""
    words = stream(seed, name)
    replicates = []
    for _ in range(resamples):
        drawn = [[s[index_below(words, len(s))] for _ in s] for s in samples]
        replicates.append(float(statistic(*drawn)))
    made = stats._resampling.BootstrapResult(None, np.array(replicates), None)
    result = stats.bootstrap(
        samples, statistic, n_resamples=0, bootstrap_result=made,
        method="BCa", confidence_level=level, vectorized=False)
    jackknife = [[float(statistic(*samples[:j], s[:i] + s[i + 1:], *samples[j + 1:]))
                  for i in range(len(s))] for j, s in enumerate(samples)]
    return {"replicates": replicates, "jackknife": jackknife,
            "estimate": float(statistic(*samples)),
            "low": float(result.confidence_interval.low),
            "high": float(result.confidence_interval.high),
            "standard_error": float(result.standard_error)}


# --- cases -------------------------------------------------------------------


def pair_cases(rng):
    for n in (3, 4, 5, 8, 25, 200):
        x = rng.normal(size=n)
        yield x, 0.6 * x + rng.normal(size=n)
    x = rng.normal(size=12)
    yield x, -x + 1e-3 * rng.normal(size=12)  # |r| near 1: p far in the tail
    yield 1e6 + rng.normal(size=30), 1e-3 * rng.normal(size=30)  # badly scaled
    yield rng.integers(0, 4, 15).astype(float), rng.integers(0, 4, 15).astype(float)  # ties


def describe(rng):
    for n in (2, 5, 8, 25):
        x = np.exp(rng.normal(size=n))
        q = [0.0, 0.025, 0.3, 0.5, 0.77, 1.0]
        yield {"x": list(x), "mean": np.mean(x), "sd_population": np.std(x),
               "sd_sample": np.std(x, ddof=1), "median": np.median(x),
               "geometric_mean": stats.gmean(x), "probabilities": q,
               "quantiles": list(np.quantile(x, q))}


def correlation(rng):
    for x, y in pair_cases(rng):
        p, s = stats.pearsonr(x, y), stats.spearmanr(x, y)
        case = {"x": list(x), "y": list(y), "r": p.statistic, "p": p.pvalue,
                "spearman": s.statistic, "spearman_p": s.pvalue, "ranks": list(stats.rankdata(x))}
        if len(x) >= 4:
            keep = lambda i: np.arange(len(x)) != i
            case["fisher"] = {str(l): list(p.confidence_interval(l)) for l in (0.8, 0.95, 0.99)}
            case["leave_one_out"] = [stats.pearsonr(x[keep(i)], y[keep(i)]).statistic
                                     for i in range(len(x))] if len(x) < 30 else []
        yield case


def permutation(rng):
    for n in (3, 5, 7):
        x, y = rng.normal(size=n), rng.normal(size=n)
        if n == 7:
            x, y = np.round(x), np.round(2 * y) / 2  # ties
        extreme, total = freedman_lane(x, y, [], itertools.permutations(range(n)))
        yield {"x": list(x), "y": list(y), "covariates": [], "exchange": "free", "labels": [],
               "extreme": extreme, "permutations": total, "p": extreme / total}
    for exchange, orders in (("free", None), ("within", within_orders), ("whole", whole_orders)):
        labels = [0, 1, 0, 2, 1, 0, 2, 1] if orders else []
        n = 8 if orders else 6
        x, z = rng.normal(size=n), rng.normal(size=(2, n))
        y = 0.5 * x + z[0] - z[1] + rng.normal(size=n)
        columns = list(z) if orders else [z[0]]
        extreme, total = freedman_lane(
            x, y, columns, orders(labels) if orders else itertools.permutations(range(n)))
        yield {"x": list(x), "y": list(y), "covariates": [list(c) for c in columns],
               "exchange": exchange, "labels": labels, "extreme": extreme,
               "permutations": total, "p": extreme / total}
    n, draws = 12, 500
    x, z = rng.normal(size=n), rng.normal(size=n)
    y = 0.4 * x + z + rng.normal(size=n)
    extreme, total = freedman_lane(x, y, [z], free_draws(n, 7, "freedman-lane", draws))
    yield {"x": list(x), "y": list(y), "covariates": [list(z)], "exchange": "free", "labels": [],
           "extreme": extreme, "permutations": total, "p": (extreme + 1) / (total + 1),
           "seed": 7, "stream": "freedman-lane"}


def partial(rng):
    for n, k in ((5, 1), (8, 2), (40, 3), (9, 0)):
        z = rng.normal(size=(k, n))
        x, y = rng.normal(size=n) + z.sum(axis=0), rng.normal(size=n) - z.sum(axis=0)
        r = partial_r(x, y, list(z))
        # The t-test of x's coefficient in the full model is the same test.
        p = sm.OLS(y, np.column_stack([np.ones(n), x, *z])).fit().pvalues[1]
        yield {"x": list(x), "y": list(y), "covariates": [list(c) for c in z], "r": r, "p": p}


def regression(rng):
    for n, k in ((3, 1), (8, 2), (25, 3), (60, 5)):
        x = rng.normal(size=(k, n)) * np.arange(1, k + 1)[:, None] + 3
        y = 2 + x.sum(axis=0) + rng.normal(size=n)
        fit = sm.OLS(y, np.column_stack([np.ones(n), *x])).fit()
        yield {"y": list(y), "predictors": [list(c) for c in x], "estimates": list(fit.params),
               "standard_errors": list(fit.bse), "t": list(fit.tvalues), "p": list(fit.pvalues),
               "residuals": list(fit.resid), "residual_sd": math.sqrt(fit.scale),
               "leverage": list(fit.get_influence().hat_matrix_diag), "r_squared": fit.rsquared,
               "loo_r_squared": loo_r_squared(y, list(x))}


def t_tests(rng):
    # The last difference is so large that its t is in the hundreds.
    for n_x, n_y, shift in ((2, 3, 0.5), (5, 5, 0.5), (25, 10, 0.5), (200, 7, 0.5), (6, 9, 400)):
        x, y = rng.normal(1, 1, n_x), rng.normal(shift, 3, n_y)
        one, two = stats.ttest_1samp(x, 0.9), stats.ttest_ind(x, y, equal_var=False)
        level = 0.9
        case = {"x": list(x), "y": list(y), "null": 0.9, "level": level,
                "hedges": hedges(x, y, level)}
        for name, test, estimate, null in (("one", one, np.mean(x), 0.9),
                                           ("welch", two, np.mean(x) - np.mean(y), 0)):
            interval = test.confidence_interval(level)
            case[name] = {"estimate": estimate, "t": test.statistic, "df": test.df,
                          "standard_error": (estimate - null) / test.statistic, "p": test.pvalue, "low": interval.low, "high": interval.high}
        yield case


def bootstraps(rng):
    x = list(np.exp(rng.normal(size=25)))
    yield {"x": x, "strata": [], "statistic": "mean", "seed": 25, "stream": "plain", "level": 0.95,
           **bca([x], np.mean, 25, "plain", 400, 0.95)}
    x = [0.0, 1.0, 1.0, 0.0, 1.0, 3.0, 1.0, 2.0]  # many replicates equal the estimate
    yield {"x": x, "strata": [], "statistic": "mean", "seed": 27, "stream": "ties", "level": 0.8,
           **bca([x], np.mean, 27, "ties", 300, 0.8)}
    labels = [2, 0, 1, 0, 2, 2, 1, 0, 1, 2, 2, 0]
    x = list(np.exp(rng.normal(size=12)) + np.array(labels))
    samples = [[v for v, l in zip(x, labels) if l == c] for c in (0, 1, 2)]
    # The mean over all units as a statistic of three samples, of whatever sizes.
    pooled = lambda *parts: sum(map(np.sum, parts)) / sum(map(len, parts))
    yield {"x": x, "strata": labels, "statistic": "mean", "seed": 26, "stream": "strata",
           "level": 0.9, **bca(samples, pooled, 26, "strata", 400, 0.9)}


def multiplicity(rng):
    for m in (1, 2, 7, 30):
        p = rng.uniform(size=m) ** 3
        yield {"p": list(p), "adjusted": list(multipletests(p, method="holm")[1])}
    p = [0.01, 0.04, 0.01, 0.04, 1.0]
    yield {"p": p, "adjusted": list(multipletests(p, method="holm")[1])}


def proportion(_):
    for successes, trials in ((0, 5), (1, 8), (5, 8), (8, 8), (123, 1000)):
        for level in (0.8, 0.95):
            low, high = proportion_confint(successes, trials, 1 - level, method="wilson")
            yield {"successes": successes, "trials": trials, "level": level,
                   "low": low, "high": high}


def mcnemar_cases(_):
    for gained, lost in ((0, 0), (0, 5), (3, 1), (10, 25), (40, 41), (200, 150)):
        p = mcnemar([[9, gained], [lost, 4]], exact=True).pvalue
        yield {"gained": gained, "lost": lost, "p": p}


def flips(rng):
    for columns, n in ((1, 2), (1, 8), (4, 9)):
        x = rng.normal(0.5, 1, (columns, n)) * (10.0 ** np.arange(columns))[:, None]
        yield {"columns": [list(c) for c in x], "means": list(x.mean(axis=1)), **sign_flips(x)}


def power(_):
    for n in (4, 8, 25, 100):
        for alpha in (0.05, 0.01):
            z = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(0.8)
            short = lambda d: exact_power(d, n, alpha) - 0.8
            yield {"n": n, "alpha": alpha, "mean_shift": root(short, z / math.sqrt(n)),
                   "power_at_half": float(exact_power(0.5, n, alpha)),
                   "correlation": math.tanh(z / math.sqrt(n - 3))}


def exact_power(d, n, alpha):
    critical, delta = stats.t.ppf(1 - alpha / 2, n - 1), d * math.sqrt(n)
    return nct_cdf(-critical, n - 1, -delta) + nct_cdf(-critical, n - 1, delta)


def tails(_):
    for df in (1, 2.5, 7, 30, 300, 3000, 30000):
        for t in (1e-5, 1e-3, 0.5, 2.0, 6.0, 40.0):
            x = mpmath.mpf(df) / (df + mpmath.mpf(t) ** 2)
            p = mpmath.betainc(mpmath.mpf(df) / 2, 0.5, 0, x, regularized=True)
            if p > 1e-300:
                yield {"df": df, "t": t, "p": float(p)}


def quantiles(_):
    for level in (0.5, 0.9, 0.95, 0.999):
        for df in (1, 2.5, 7, 30, 300, 3000, 30000):
            yield {"df": df, "level": level, "t": stats.t.ppf(0.5 + level / 2, df),
                   "z": stats.norm.ppf(0.5 + level / 2)}


def noncentral(_):
    for t, df, delta in ((0.0, 5, 1.0), (1.2, 8, 0.5), (-5.84, 3, 7.8), (3, 23, 2.5), (-2, 9, -4),
                         (7, 1, 3), (90, 4, 99), (110, 4, 101), (150, 2, 120), (-150, 30, -170),
                         (5000, 12, 4000), (2, 4000, 1)):
        yield {"t": t, "df": df, "delta": delta, "p": float(nct_cdf(t, df, delta))}


def streams(_):
    for seed, name in ((0, ""), (25, "h25/bootstrap"), (2**64 - 1, "näme")):
        words, indices = stream(seed, name), stream(seed, name)
        # A bound just above 2^63 rejects nearly half of the words.
        yield {"seed": str(seed), "name": name, "words": [str(next(words)) for _ in range(20)],
               "bound": 2**63 + 1, "indices": [index_below(indices, 2**63 + 1) for _ in range(20)]}


SECTIONS = {"describe": describe, "correlation": correlation, "permutation": permutation,
            "partial": partial, "regression": regression, "t_tests": t_tests,
            "bootstrap": bootstraps, "holm": multiplicity, "wilson": proportion,
            "mcnemar": mcnemar_cases, "sign_flip": flips, "power": power, "streams": streams,
            "tails": tails, "quantiles": quantiles, "noncentral": noncentral}

if __name__ == "__main__":
    # One generator a section, so that a new case moves no other section's numbers.
    cases = {name: list(make(np.random.default_rng(2025 + i)))
             for i, (name, make) in enumerate(SECTIONS.items())}
    plain = lambda value: value.item() if isinstance(value, np.generic) else value
    text = json.dumps({"versions": FOUND, **cases}, indent=1, default=plain)
    Path(__file__).with_name("cases.json").write_text(text + "\n")
