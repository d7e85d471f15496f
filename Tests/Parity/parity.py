"""Compares the program with the libraries, live: `make parity`, or parity.py PATH/TO/aipo.

Every case is saved by its library, imported, and its latents and log-densities are compared; what can be exported is
written for the library, loaded by it, and compared again.
"""

import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file

from models import CASES, build, images, save


def run(aipo, *arguments):
    result = subprocess.run([aipo, *arguments, "--json"], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"aipo {' '.join(arguments)}: {result.stderr}")
    return json.loads(result.stdout)


def worst(found, expected):
    return float(np.abs(found - expected).max() / max(1, np.abs(expected).max()))


def main():
    aipo = os.path.abspath(sys.argv[1])
    failed = False
    for name, (dialect, options, how, dtype, _, results, shape) in CASES.items():
        model, x, latents, log_prob = build(name)
        bound = 1e-10 if dtype == torch.float64 else 1e-4
        with tempfile.TemporaryDirectory() as folder:
            path = lambda file: os.path.join(folder, file)
            save(model, how, path("in"))
            np.save(path("x.npy"), images(x))
            flags = [f for key, value in options.items() for f in ("--option", f"{key}={value}")]
            run(aipo, "import", path("in"), "--dialect", dialect, "--out", path("m.safetensors"), *flags)
            common = ["--model", path("m.safetensors"), "--precision", "float64"]
            run(aipo, "encode", path("x.npy"), "--raw", "--out", path("z.npy"), *common)
            log = run(aipo, "logprob", path("x.npy"), "--raw", *common)["logprob"]
            errors = [worst(np.load(path("z.npy")), latents.numpy()), worst(np.array(log), log_prob.numpy())]
            # `export` writes no glowip and neither vectors nor a transform of the data.
            if dialect != "glowip" and len(shape) == 3 and "transform" not in options:
                run(aipo, "export", path("m.safetensors"), "--dialect", dialect, "--out", path("back.safetensors"))
                state = load_file(path("back.safetensors"))
                if dialect == "normflows":
                    errors.append(normflows_back(state, name, options, x, latents, log_prob))
                else:
                    model.load_state_dict(state)
                    with torch.no_grad():
                        again = results(model.double(), x)
                    errors.append(max(worst(again[0].numpy(), latents.numpy()),
                                      worst(again[1].numpy(), log_prob.numpy())))
        ok = max(errors) <= bound
        failed = failed or not ok
        print(f"{'PASS' if ok else 'FAIL'}  {name:32} " + " ".join(f"{e:.1e}" for e in errors))
    sys.exit(failed)


def normflows_back(state, name, options, x, latents, log_prob):
    """Loads exported tensors as docs/interchange.md does; bases are DiagGaussians, nets without normalisation."""
    import normflows as nf

    from models import HIDDEN, normflows_glow_results

    levels = 1 + max(int(k.split(".")[1]) for k in state if k.startswith("flows."))
    steps = 1 + max(int(k.split(".")[2]) for k in state if k.startswith("flows."))
    q0 = [nf.distributions.DiagGaussian(tuple(state[f"q0.{i}.loc"].shape[1:])) for i in range(levels)]
    scale_map = options.get("scale-map", "sigmoid").replace("-", "_")
    channels = [state[f"flows.{i}.0.flows.2.s"].shape[1] for i in range(levels)]
    last = state["flows.0.0.flows.0.flows.1.param_map.net.4.weight"].shape[0]
    flows = [
        [nf.flows.GlowBlock(c, HIDDEN, scale=last == channels[0], scale_map=scale_map,
                            use_lu="flows.0.0.flows.1.P" in state) for _ in range(steps)] + [nf.flows.Squeeze()]
        for c in channels]
    model = nf.MultiscaleFlow(q0, flows, [nf.flows.Merge() for _ in range(levels - 1)], class_cond=False)
    model.to(next(iter(state.values())).dtype).load_state_dict(state)
    with torch.no_grad():
        found = normflows_glow_results(model.double(), x)
    return max(worst(found[0].numpy(), latents.numpy()), worst(found[1].numpy(), log_prob.numpy()))


if __name__ == "__main__":
    main()
