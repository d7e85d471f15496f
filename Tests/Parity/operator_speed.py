"""operator_speed.py AIPO MODEL: products with large operators beside other programs, in turns, on one thread and on two.

A 512×512 picture blurred by a full 31×31 kernel, and projected under 180 angles; and how long a 256×256 picture takes from a
quarter of its k-space. The fastest of all repetitions counts, which other work on the machine disturbs the least. Values are
compared in operators.py; ours are in float64. A table goes to `runs/peers/operators.md`.

Needs astra-toolbox, deepinv, scikit-image, scipy and torch (Tests/Parity/requirements.txt)."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import astra
import deepinv
import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.signal
import skimage.data
import torch
from skimage.transform import radon

if len(sys.argv) != 3:
    sys.exit("usage: operator_speed.py AIPO MODEL")
AIPO, MODEL = (os.path.abspath(path) for path in sys.argv[1:])
ROUNDS = 3
rng = np.random.default_rng(0)


def fastest(run, repeats):
    """Milliseconds; the first warms the caches."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1000 * min(times[1:])


def ours(product, *flags):
    def measure(threads):
        text = subprocess.run([AIPO, "bench", "operator", *flags, "--threads", str(threads), "--repeat", "5", "--json"],
                              check=True, capture_output=True, text=True).stdout
        return json.loads(text)[f"{product}_fastest_ms"]
    return measure


def peer(run, repeats=5, threads=(1, 2)):
    def measure(count):
        if count not in threads:
            return None
        torch.set_num_threads(count)
        with scipy.fft.set_workers(count):
            return fastest(run, repeats)
    return measure


def blurs():
    x, kernel = rng.random((512, 512)), rng.random((31, 31))
    np.save("k.npy", kernel / kernel.sum())
    flags = ["--task", "deblur", "--kernel", "k.npy", "--size", "512x512", "--boundary"]
    physics = deepinv.physics.BlurFFT(img_size=(1, 512, 512), filter=torch.tensor(kernel, dtype=torch.float32)[None, None])
    tensor = torch.tensor(x, dtype=torch.float32)[None, None]
    return {
        "aipo, zero": ours("apply", *flags, "zero"),
        "aipo, circular": ours("apply", *flags, "circular"),
        "scipy.signal.fftconvolve": peer(lambda: scipy.signal.fftconvolve(x, kernel, "same")),
        "scipy.signal.oaconvolve": peer(lambda: scipy.signal.oaconvolve(x, kernel, "same")),
        "scipy.ndimage.correlate": peer(lambda: scipy.ndimage.correlate(x, kernel, mode="constant"), 1, (1,)),
        "deepinv BlurFFT, circular, float32": peer(lambda: physics.A(tensor)),
    }


def projections(product):
    x = rng.random((512, 512)).astype("f4")
    physics = deepinv.physics.Tomography(img_width=512, angles=torch.arange(0, 180, 1.0), circle=True, normalize=False)
    tensor = torch.tensor(x)[None, None]
    rows = {"aipo": ours(product, "--task", "ct", "--angles", "180", "--detectors", "512", "--size", "512x512")}
    volume = astra.create_vol_geom(512, 512)
    scan = astra.create_proj_geom("parallel", 1.0, 512, np.deg2rad(np.arange(180.0)))
    for kind in ["linear", "line"]:
        operator = astra.OpTomo(astra.create_projector(kind, scan, volume))
        sinogram = operator @ x.ravel()
        run = (lambda o=operator: o @ x.ravel()) if product == "apply" else (lambda o=operator, y=sinogram: o.T @ y)
        rows[f"ASTRA {kind}, float32"] = peer(run, 3, (1,))
    sinogram = physics.A(tensor)
    rows["deepinv Tomography, float32"] = peer(
        (lambda: physics.A(tensor)) if product == "apply" else (lambda: physics.A_adjoint(sinogram)), 3)
    if product == "apply":
        rows["scikit-image radon"] = peer(lambda: radon(x.astype("f8"), np.arange(180.0), circle=True), 1, (1,))
    return rows


def table(title, rows):
    best = {name: [None, None] for name in rows}
    for _ in range(ROUNDS):
        for threads in (1, 2):
            for name, measure in rows.items():
                found = measure(threads)
                if found is not None:
                    old = best[name][threads - 1]
                    best[name][threads - 1] = found if old is None else min(old, found)
    lines = [f"| {title} | one thread | two threads |", "|---|---|---|"]
    for name, times in best.items():
        lines.append(f"| {name} | " + " | ".join("–" if t is None else f"{t:.1f} ms" for t in times) + " |")
    return "\n".join(lines) + "\n"


def kspace():
    """Solves, not products: seconds, and how near each comes."""
    x = skimage.data.camera().astype("f8")[::2, ::2] / 255
    np.save("x.npy", x)
    lines = ["| 256×256 picture, every fourth row of k-space and the middle, σ = 0.01 | one thread | two threads | PSNR |", "|---|---|---|---|"]
    for method in ["gaussian", "tv", "aipo"]:
        seconds = []
        for threads in (1, 2):
            text = subprocess.run(
                [AIPO, "reconstruct", "--task", "mri", "--kspace-mask", "lines:4", "--sigma", "0.01", "--simulate", "x.npy",
                 "--model", MODEL, "--method", method, "--threads", str(threads), "--json"],
                check=True, capture_output=True, text=True).stdout
            image = json.loads(text)["images"][0]
            seconds.append(image["seconds"])
        lines.append(f"| aipo, `--method {method}` | {seconds[0]:.1f} s | {seconds[1]:.1f} s | {image['psnr']:.2f} |")
    return "\n".join(lines) + "\n"


folder = tempfile.mkdtemp()
home = os.getcwd()
try:
    os.chdir(folder)
    text = "\n".join([
        table("512×512 blurred by a full 31×31 kernel", blurs()),
        table("512×512 projected under 180 angles, 512 detectors", projections("apply")),
        table("the transpose of that", projections("adjoint")),
        kspace(),
    ])
finally:
    shutil.rmtree(folder)
os.makedirs(os.path.join(home, "runs/peers"), exist_ok=True)
with open(os.path.join(home, "runs/peers/operators.md"), "w") as file:
    file.write(text)
print(text)
