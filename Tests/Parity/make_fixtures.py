"""Writes Tests/InterchangeTests/Fixtures: checkpoints of the real programs with random parameters, and what they give.

    python -m venv .venv && .venv/bin/pip install -r Tests/Parity/requirements.txt
    .venv/bin/python Tests/Parity/make_fixtures.py

A case is NAME.pt or NAME.safetensors beside NAME.npz with x (NHWC), latents (ours: standardised, finest level first)
and logprob, all in double.
"""

import argparse
import collections
import datetime
import json
import os
import pathlib

import numpy as np
import torch

from models import CASES, build, images, save

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "InterchangeTests", "Fixtures")


class Model(torch.nn.Module):
    """Somebody's own class: a file with one of these can't be read without the program."""


def odd_files():
    """What people save beside or instead of a state dict; normflows-vector-sigmoid is the model in all of them."""
    model, *_ = build("normflows-vector-sigmoid")
    state = model.state_dict()
    average = {k: v + 0.25 if k.startswith("q0") else v for k, v in state.items()}
    whole = Model()
    whole.flow = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    big = collections.defaultdict(list, {1.5: [1], (2, 3): [2], None: [b"x"]})
    odd = {
        "state_dict": state, "args": argparse.Namespace(lr=1e-3, out=pathlib.PurePosixPath("/tmp/x")),
        "loss": np.float64(0.25), "history": np.arange(3.0), "tags": {"a", "b"}, "frozen": frozenset([1]),
        "when": datetime.datetime(2024, 5, 6, 7, 8), "seed": 2**80, "device": torch.device("cpu"),
        "dtype": torch.float32, "shape": torch.Size([1, 2]), "names": collections.Counter("abca"), "by": big,
        "array": bytearray(b"abc"), "rng": torch.get_rng_state()[:8], "complex": 1 + 2j, "range": range(3)}
    files = {
        "odd-values": odd,
        "odd-averaged": {"model": {"module." + k: v for k, v in state.items()}, "optimizer": optimizer.state_dict(),
                         "ema": average},
        "odd-wrapped": {"state_dict": {
            **{"net.module._orig_mod." + k: v for k, v in state.items()},
            **{"ema_model.module." + k: v for k, v in average.items()},
            "ema_model.n_averaged": torch.tensor(7), "loss.weight": torch.ones(2)}},
        "odd-swa": torch.optim.swa_utils.AveragedModel(model).state_dict(),
        "odd-optimizer": optimizer.state_dict(),
        "odd-whole-model": whole,
    }
    for name, value in files.items():
        torch.save(value, os.path.join(FOLDER, name + ".pt"))
    torch.save(odd, os.path.join(FOLDER, "odd-values-protocol-5.pt"), pickle_protocol=5)
    torch.save(odd, os.path.join(FOLDER, "odd-values-legacy.pt"), _use_new_zipfile_serialization=False)


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
    odd_files()
    # Arrays as NumPy writes them: byte orders, Fortran order, deflate.
    values = np.arange(24, dtype=np.float64).reshape(2, 3, 4) / 7
    np.savez_compressed(
        os.path.join(FOLDER, "arrays.npz"), little=values.astype("<f8"), big=values.astype(">f8"),
        single=values.astype("<f4"), fortran=np.asfortranarray(values), scalar=np.float64(0.25))


if __name__ == "__main__":
    main()
