"""peers.py AIPO PHOTOGRAPHS [PICTURES]: denoising beside other programs, on the same noisy pictures, with times.

PHOTOGRAPHS is the folder that `scripts/photographs` makes: what the shipped priors were trained on, and here EPLL's mixture
and PatchNR's flow. PICTURES is a folder of pictures to measure on, else those that scikit-image brings. Every peer has its
best setting: the weight of total variation is chosen by the truth for every picture, that of PatchNR by the truth for all of
them; AIPO is not told the truth. One thread each. A table, a picture of all results and `peers.json` go to `runs/peers/`.

Needs bm3d, deepinv, FrEIA, scikit-image and torch (Tests/Parity/requirements.txt)."""

import json
import os
import subprocess
import sys
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import bm3d
import deepinv
import numpy as np
import skimage.data
import torch
from PIL import Image
from skimage.restoration import denoise_tv_chambolle

torch.set_num_threads(1)
torch.manual_seed(0)
SIDE = 256


def psnr(a, b):
    return -10 * np.log10(np.mean((np.clip(a, 0, 1) - b) ** 2))


def grey(image):
    """Values as aipo reads them: the middle of the bin of an 8-bit value."""
    return (np.asarray(image.convert("L"), dtype=np.float64) + 0.5) / 256


def pictures(folder):
    if folder:
        names = sorted(n for n in os.listdir(folder) if n.lower().endswith((".png", ".jpg", ".jpeg", ".tif", ".tiff")))
        images = {os.path.splitext(n)[0]: Image.open(os.path.join(folder, n)) for n in names}
    else:
        names = ["astronaut", "brick", "camera", "coffee", "coins", "moon"]
        images = {n: Image.fromarray(getattr(skimage.data, n)()) for n in names}
    found = {}
    for name, image in images.items():
        if not folder and min(image.size) >= 2 * SIDE:
            image = image.resize((image.width // 2, image.height // 2), Image.BOX)
        x = grey(image)
        h, w = (min(n, SIDE) for n in x.shape)
        top, left = (x.shape[0] - h) // 2, (x.shape[1] - w) // 2
        found[name] = x[top : top + h, left : left + w]
    return found


def patches(folder, size, count, seed=0):
    random = np.random.default_rng(seed)
    images = [grey(Image.open(os.path.join(folder, n))) for n in sorted(os.listdir(folder)) if n.endswith(".png")]
    out = np.empty((count, size * size), np.float32)
    for k in range(count):
        x = images[random.integers(len(images))]
        i, j = random.integers(x.shape[0] - size), random.integers(x.shape[1] - size)
        out[k] = x[i : i + size, j : j + size].ravel()
    return torch.from_numpy(out)


def tensor(x):
    return torch.from_numpy(x.astype(np.float32))[None, None]


class EPLL:
    """deepinv's: 200 components on patches of 6x6, fitted here."""

    name = "EPLL"

    def __init__(self, photographs):
        model = deepinv.optim.utils.GaussianMixtureModel(200, 36)
        data = patches(photographs, 6, 100_000)
        model.fit(torch.utils.data.DataLoader(data, batch_size=20_000), max_iters=15)
        self.solver = deepinv.optim.EPLL(GMM=model, pretrained=None, patch_size=6)
        self.physics = deepinv.physics.Denoising()

    def __call__(self, y, sigma, truth):
        with torch.no_grad():
            return self.solver(tensor(y), self.physics, sigma=sigma, batch_size=20_000)[0, 0].numpy()


class PatchNR:
    """deepinv's: five couplings on patches of 6x6, trained here; the mode by Adam."""

    name = "PatchNR"

    def __init__(self, photographs):
        self.prior = deepinv.optim.PatchNR(patch_size=6)
        data = patches(photographs, 6, 200_000)
        optimizer = torch.optim.Adam(self.prior.parameters(), lr=1e-3)
        for step in range(3000):
            chosen = data[torch.randint(len(data), (512,))]
            chosen = chosen + torch.rand_like(chosen) / 256 - 1 / 512
            loss = self.prior.fn(chosen[None]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.weight = None

    def solve(self, y, sigma, weight):
        y = tensor(y)
        x = y.clone().requires_grad_()
        optimizer = torch.optim.Adam([x], lr=0.02)
        for step in range(150):
            for group in optimizer.param_groups:
                group["lr"] = 0.02 * (1 - step / 150)
            found, _ = deepinv.utils.patch_extractor(x, 8192, 6)
            prior = self.prior.fn(found).mean()
            loss = ((x - y) ** 2).mean() / (2 * sigma**2) + weight * prior / 36
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return x.detach()[0, 0].numpy()

    def choose(self, noisy, truths, sigma):
        weights = (0.3, 0.6, 1.0, 1.6)
        means = [np.mean([psnr(self.solve(y, sigma, w), x) for y, x in zip(noisy, truths)]) for w in weights]
        self.weight = weights[int(np.argmax(means))]

    def __call__(self, y, sigma, truth):
        return self.solve(y, sigma, self.weight)


class BM3D:
    name = "BM3D"

    def __call__(self, y, sigma, truth):
        return bm3d.bm3d(y, sigma)


class TotalVariation:
    name = "total variation"

    def __call__(self, y, sigma, truth):
        results = [denoise_tv_chambolle(y, weight=w * sigma, max_num_iter=300, eps=1e-5) for w in (0.6, 0.8, 1, 1.2, 1.5)]
        return max(results, key=lambda x: psnr(x, truth))


class AIPO:
    name = "aipo"

    def __init__(self, program):
        self.program = program

    def __call__(self, y, sigma, truth):
        np.save("runs/peers/noisy.npy", y.astype(np.float32)[None, :, :, None])
        arguments = ["reconstruct", "--task", "denoise", "--observation", "runs/peers/noisy.npy", "--sigma", repr(sigma)]
        arguments += ["--out", "runs/peers/aipo.npy", "--threads", "1", "--quiet"]
        subprocess.run([self.program, *arguments], check=True, stdout=subprocess.DEVNULL)
        return np.load("runs/peers/aipo.npy").reshape(y.shape)


def sheet(rows):
    """Every picture a row: truth, noisy, results."""
    height, width = SIDE, SIDE
    image = Image.new("L", (width * len(rows[0]), height * len(rows)), 255)
    for i, row in enumerate(rows):
        for j, x in enumerate(row):
            image.paste(Image.fromarray((np.clip(x, 0, 1) * 255.99).astype(np.uint8)), (j * width, i * height))
    image.save("runs/peers/results.png")


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    program, photographs = os.path.abspath(sys.argv[1]), sys.argv[2]
    if not os.path.isdir(photographs):
        sys.exit(f"{photographs}: no such folder; scripts/photographs {photographs} makes it")
    os.makedirs("runs/peers", exist_ok=True)
    truths = pictures(sys.argv[3] if len(sys.argv) > 3 else None)
    methods = [TotalVariation(), BM3D(), EPLL(photographs), PatchNR(photographs), AIPO(program)]
    figures, shown = [], []
    lines = ["| σ·255 | " + " | ".join(m.name for m in methods) + " |", "|--:|" + "--:|" * len(methods)]
    for sigma in (15 / 255, 25 / 255, 50 / 255):
        noisy = [
            x + sigma * np.random.default_rng(k).standard_normal(x.shape) for k, x in enumerate(truths.values())
        ]
        cells = []
        images = [[x, y] for x, y in zip(truths.values(), noisy)]
        for method in methods:
            if isinstance(method, PatchNR):
                method.choose(noisy[:2], list(truths.values())[:2], sigma)
            values, seconds = [], []
            for k, (name, x) in enumerate(truths.items()):
                begin = time.monotonic()
                result = method(noisy[k], sigma, x)
                seconds.append(time.monotonic() - begin)
                values.append(psnr(result, x))
                images[k].append(result)
                figures.append(
                    {"sigma": sigma, "method": method.name, "picture": name, "psnr": values[-1], "seconds": seconds[-1]}
                )
            cells.append(f"{np.mean(values):.2f} dB, {np.mean(seconds):.1f} s")
            print(f"σ {round(sigma * 255)}: {method.name} {cells[-1]}", flush=True)
        lines.append(f"| {round(sigma * 255)} | " + " | ".join(cells) + " |")
        if not shown and sigma > 0.09:
            shown = images
    sheet(shown)
    with open("runs/peers/table.md", "w") as file:
        file.write("\n".join(lines) + "\n")
    with open("runs/peers/peers.json", "w") as file:
        json.dump(figures, file, indent=1)
    for name in ("noisy.npy", "aipo.npy"):
        os.remove(f"runs/peers/{name}")
    print("\n".join(lines))
    print("runs/peers/table.md, peers/results.png, peers/peers.json")


main()
