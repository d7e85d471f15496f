"""Writes Tests/TestFiles/Cases/diagnostics.json: what ArviZ makes of chains of all kinds.

    python -m venv .venv && .venv/bin/pip install arviz==0.23.4
    .venv/bin/python Tests/Parity/make_diagnostics.py

A case has the chains, and of each quantity its value, or null where ArviZ gives NaN. Infinities are strings.
"""

import json
import math
import os
import warnings

import arviz as az
import numpy as np

warnings.simplefilter("ignore")
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "TestFiles", "Cases")


def autoregressive(rng, chains, draws, share):
    x = rng.standard_normal((chains, draws))
    for t in range(1, draws):
        x[:, t] = share * x[:, t - 1] + math.sqrt(1 - share * share) * x[:, t]
    return x


def cases():
    rng = np.random.default_rng(18)
    normal = rng.standard_normal((4, 60))
    yield "independent", normal
    yield "odd number of draws", rng.standard_normal((3, 37))
    yield "slow", autoregressive(rng, 4, 120, 0.95)
    yield "alternating", autoregressive(rng, 2, 80, -0.8)
    shifted = normal.copy()
    shifted[1] += 3
    yield "one chain elsewhere", shifted
    wide = normal.copy()
    wide[2] *= 6
    yield "one chain wider", wide
    yield "heavy tails", rng.standard_cauchy((4, 70))
    yield "ties", np.floor(3 * rng.random((4, 50)))
    yield "a constant", np.full((4, 20), 0.25)
    mixed = np.full((4, 20), 0.25)
    mixed[0] = 1
    yield "chains of other constants", mixed
    yield "one chain", rng.standard_normal((1, 50))
    infinite = rng.standard_normal((4, 40))
    infinite[1, 7] = np.inf
    infinite[3, 30] = -np.inf
    yield "infinities", infinite
    missing = rng.standard_normal((2, 20))
    missing[0, 3] = np.nan
    yield "not a number", missing
    yield "four draws", rng.standard_normal((2, 4))
    yield "five draws", rng.standard_normal((2, 5))
    yield "three draws", rng.standard_normal((2, 3))
    yield "large offset", 1e3 + autoregressive(rng, 3, 64, 0.5)


def number(value):
    value = float(value)
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")


def entry(name, x):
    def attempt(function):
        try:
            return number(function())
        except Exception:
            return None

    values = {
        "rhat": lambda: az.rhat(x, method="rank"),
        "rhatBulk": lambda: az.rhat(x, method="z_scale"),
        "rhatFolded": lambda: az.rhat(x, method="folded"),
        "essBulk": lambda: az.ess(x, method="bulk"),
        "essTail": lambda: az.ess(x, method="tail"),
        "essMean": lambda: az.ess(x, method="mean"),
        "essQuantile": lambda: az.ess(x, method="quantile", prob=0.1),
        "mcseMean": lambda: az.mcse(x, method="mean"),
        "mcseSD": lambda: az.mcse(x, method="sd"),
        "mcseQuantile": lambda: az.mcse(x, method="quantile", prob=0.1),
        "mcseMedian": lambda: az.mcse(x, method="quantile", prob=0.5),
        "energyFraction": lambda: az.bfmi(x)[0],
    }
    return {
        "name": name,
        "chains": [[number(v) if not math.isnan(v) else "nan" for v in chain] for chain in x],
        "expected": {key: attempt(function) for key, function in values.items()},
    }


def main():
    content = {"arviz": az.__version__, "cases": [entry(name, x) for name, x in cases()]}
    with open(os.path.join(FOLDER, "diagnostics.json"), "w") as out:
        json.dump(content, out, indent=None, separators=(",", ":"))
        out.write("\n")


main()
