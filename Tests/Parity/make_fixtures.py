"""Writes Tests/InterchangeTests/Fixtures: checkpoints of the real programs with random parameters, and what they give.

    python -m venv .venv && .venv/bin/pip install -r Tests/Parity/requirements.txt
    .venv/bin/python Tests/Parity/make_fixtures.py

A case is NAME.pt or NAME.safetensors beside NAME.npz with x (NHWC), latents (ours: standardised, finest level first)
and logprob, all in double.
"""

import json
import os

import numpy as np

from models import CASES, build, images, save

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "InterchangeTests", "Fixtures")


def main():
    os.makedirs(FOLDER, exist_ok=True)
    index = []
    for name, (dialect, options, how, dtype, *_) in CASES.items():
        model, x, latents, log_prob = build(name)
        file = name + (".safetensors" if how == "safetensors" else ".pt")
        save(model, how, os.path.join(FOLDER, file))
        np.savez_compressed(
            os.path.join(FOLDER, name + ".npz"), x=images(x), latents=latents.numpy(), logprob=log_prob.numpy())
        index.append({"name": name, "file": file, "dialect": dialect, "options": options,
                      "dtype": str(dtype).removeprefix("torch.")})
    with open(os.path.join(FOLDER, "cases.json"), "w") as f:
        json.dump(index, f, indent=1)
        f.write("\n")
    # Arrays as NumPy writes them: byte orders, Fortran order, deflate.
    values = np.arange(24, dtype=np.float64).reshape(2, 3, 4) / 7
    np.savez_compressed(
        os.path.join(FOLDER, "arrays.npz"), little=values.astype("<f8"), big=values.astype(">f8"),
        single=values.astype("<f4"), fortran=np.asfortranarray(values), scalar=np.float64(0.25))


if __name__ == "__main__":
    main()
