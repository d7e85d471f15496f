"""cases.py AIPO MATERIAL PRIORS [CASE…]: five measurements of public pictures, beside total variation and EPLL on the same
numbers; all of them, or those numbered.

MATERIAL is the folder of PatchNR's pictures of a material (github.com/FabianAltekrueger/patchNR: learn.png is the one training
picture, test.png is measured). The head is slice 80 of `ch2` in Debian's mricron-data; slices 45, 55, 105 and 115 train. PRIORS
holds material.safetensors and head.safetensors, and is filled where they are missing, by ten minutes of training each.

aipo makes the measurement and isn't told the truth. Total variation has the best of eight weights and EPLL (deepinv, 200
components on patches of 6x6 of the same training pictures) the best of six noise levels for its first step (from above, until it
has fallen twice), both chosen by the truth. A table goes to `runs/peers/cases.md`. What the peers made of a measurement is kept
beside it in cases.json, by the measurement's checksum, and isn't made again.

Needs deepinv, nibabel, scipy and torch (Tests/Parity/requirements.txt)."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import deepinv
import nibabel
import numpy as np
import scipy.sparse
import torch
from PIL import Image

if len(sys.argv) < 4:
    sys.exit(__doc__)
AIPO, MATERIAL, PRIORS = (os.path.abspath(path) for path in sys.argv[1:4])
ONLY = sys.argv[4:]
HEAD = "/usr/share/mricron/templates/ch2.nii.gz"
torch.set_num_threads(1)
torch.manual_seed(0)


def psnr(a, b):
    return -10 * np.log10(np.mean((np.clip(a, 0, 1) - b) ** 2))


def grey(path):
    """Values as aipo reads them: the middle of the bin of an 8-bit value."""
    return (np.asarray(Image.open(path).convert("L"), dtype=np.float64) + 0.5) / 256


def head(slice_):
    return np.asarray(nibabel.load(HEAD).dataobj)[:, :, slice_].T[::-1]


# MARK: Operators, as aipo defines them

class Rays:
    """Line integrals by Joseph's formula, a sparse matrix."""

    def __init__(self, n, angles, detectors, fan=None):
        rows, columns, values = [], [], []
        middle, steps = (n - 1) / 2, np.arange(n)
        magnification = 1 if fan is None else (fan[0] + fan[1]) / fan[0]
        for a, angle in enumerate(np.deg2rad(angles)):
            for j in range(detectors):
                s, turn = (j - (detectors - 1) / 2) * magnification, angle
                if fan is not None:
                    gamma = np.arctan2(s, fan[0] + fan[1])
                    s, turn = fan[0] * np.sin(gamma), angle - gamma
                c, d = np.cos(turn), np.sin(turn)
                across = abs(c) >= abs(d)
                start, slope = (middle + (s - middle * d) / c, d / c) if across else (middle - (s + middle * c) / d, c / d)
                place = start + slope * steps
                below = np.floor(place).astype(int)
                for at, weight in ((below, 1 - (place - below)), (below + 1, place - below)):
                    inside = (at >= 0) & (at < n)
                    pixel = steps * n + at if across else at * n + steps
                    columns.append(pixel[inside])
                    values.append(weight[inside] / max(abs(c), abs(d)))
                    rows.append(np.full(inside.sum(), a * detectors + j))
        self.matrix = scipy.sparse.csr_matrix(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (len(angles) * detectors, n * n))
        self.turned = self.matrix.T.tocsr()
        self.n = n

    def apply(self, x):
        return self.matrix @ x.ravel()

    def adjoint(self, y):
        return (self.turned @ y).reshape(self.n, self.n)


class Blur:
    """Correlation on a torus, of which every k-th row and column is kept."""

    def __init__(self, shape, kernel, top, left, factor=1, first=0):
        padded = np.zeros(shape)
        for i in range(kernel.shape[0]):
            for j in range(kernel.shape[1]):
                padded[(i - top) % shape[0], (j - left) % shape[1]] += kernel[i, j]
        self.response = np.conj(np.fft.fft2(padded))
        self.shape, self.factor, self.first = shape, factor, first

    def apply(self, x):
        blurred = np.fft.ifft2(self.response * np.fft.fft2(x)).real
        return blurred[self.first::self.factor, self.first::self.factor].ravel()

    def adjoint(self, y):
        x = np.zeros(self.shape)
        kept = x[self.first::self.factor, self.first::self.factor]
        kept[:] = y.reshape(kept.shape)
        return np.fft.ifft2(np.conj(self.response) * np.fft.fft2(x)).real


class KSpace:
    def __init__(self, mask):
        self.mask = mask > 0

    def apply(self, x):
        k = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(x), norm="ortho"))[self.mask]
        return np.stack([k.real, k.imag], -1).ravel()

    def adjoint(self, y):
        k = np.zeros(self.mask.shape, complex)
        pairs = y.reshape(-1, 2)
        k[self.mask] = pairs[:, 0] + 1j * pairs[:, 1]
        return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(k), norm="ortho")).real


def norm(operator, shape):
    x = np.random.default_rng(0).normal(size=shape)
    for _ in range(30):
        x = operator.adjoint(operator.apply(x / np.linalg.norm(x)))
    return np.sqrt(np.linalg.norm(x))


# MARK: Peers

def gradient(x):
    return np.stack([np.roll(x, -1, 0) - x, np.roll(x, -1, 1) - x]) * EDGE


def minus_divergence(p):
    p = p * EDGE
    return np.roll(p[0], 1, 0) - p[0] + np.roll(p[1], 1, 1) - p[1]


EDGE = 1.0


def total_variation(operator, y, start, scale, weight, state=None, steps=300):
    """min ½|Ax − y|² + weight·TV(x), by Chambolle and Pock; `state` is where another weight has ended."""
    global EDGE
    EDGE = np.ones((2, *start.shape))
    EDGE[0, -1], EDGE[1, :, -1] = 0, 0
    rise = scale / np.sqrt(8)
    x, u, p = state or (start, np.zeros_like(y), np.zeros((2, *start.shape)))
    tau = sigma = 0.99 / (scale * np.sqrt(2))
    step = sigma
    before = x
    for _ in range(steps):
        ahead = 2 * x - before
        u = (u + step * (operator.apply(ahead) - y)) / (1 + step)
        p = p + step * rise * gradient(ahead)
        p = p / np.maximum(np.sqrt((p**2).sum(0)) / (weight / rise), 1)
        before, x = x, x - tau * (operator.adjoint(u) + rise * minus_divergence(p))
    return x, (x, u, p)


def best_total_variation(operator, y, start, truth, sigma):
    scale = norm(operator, start.shape)
    best, state = None, None
    for weight in sigma**2 * np.array([40, 20, 10, 6, 4, 2.5, 1.5, 0.8]):
        x, state = total_variation(operator, y, start, scale, weight, state, 300 if state is None else 150)
        if best is None or psnr(x, truth) > psnr(best, truth):
            best = x
    return best


class Physics(deepinv.physics.LinearPhysics):
    def __init__(self, operator, shape):
        super().__init__()
        self.operator, self.shape = operator, shape

    def A(self, x, **_):
        return torch.from_numpy(self.operator.apply(x[0, 0].double().numpy()))[None].float()

    def A_adjoint(self, y, **_):
        return torch.from_numpy(self.operator.adjoint(y[0].double().numpy()))[None, None].float()


class EPLL:
    def __init__(self, pictures):
        random = np.random.default_rng(0)
        patches = np.empty((100_000, 36), np.float32)
        for k in range(len(patches)):
            x = pictures[random.integers(len(pictures))]
            i, j = (random.integers(n - 6) for n in x.shape)
            patches[k] = x[i:i + 6, j:j + 6].ravel()
        model = deepinv.optim.utils.GaussianMixtureModel(200, 36)
        model.fit(torch.utils.data.DataLoader(torch.from_numpy(patches), batch_size=20_000), max_iters=15)
        self.solver = deepinv.optim.EPLL(GMM=model, pretrained=None, patch_size=6)

    def best(self, operator, y, start, truth, sigma):
        best, falls = None, 0
        physics = Physics(operator, start.shape)
        for level in (0.2, 0.1, 0.06, 0.04, 0.025, 0.015):
            betas = [b / level**2 for b in (1.0, 4.0, 8.0, 16.0, 32.0)]
            with torch.no_grad():
                x = self.solver(torch.from_numpy(y)[None].float(), physics, sigma=sigma, betas=betas,
                                x_init=torch.from_numpy(start.copy())[None, None].float(), batch_size=20_000)[0, 0].numpy()
            if best is None or psnr(x, truth) > psnr(best, truth):
                best, falls = x, 0
            else:
                falls += 1
            if falls == 2:
                break
        return best


# MARK: Cases

def train(images, model):
    runs = tempfile.mkdtemp()
    subprocess.run([AIPO, "train", "--data", images, "--grey", "--patch", "12x12", "--steps", "4000", "--threads", "1", "--out",
                    runs], check=True)
    os.replace(os.path.join(runs, "model.safetensors"), model)


def priors():
    os.makedirs(PRIORS, exist_ok=True)
    found = {name: os.path.join(PRIORS, f"{name}.safetensors") for name in ("material", "head")}
    if not os.path.exists(found["material"]):
        train(os.path.join(MATERIAL, "learn.png"), found["material"])
    if not os.path.exists(found["head"]):
        with tempfile.TemporaryDirectory() as folder:
            for k in (45, 55, 105, 115):
                Image.fromarray(head(k).astype(np.uint8)).save(os.path.join(folder, f"{k}.png"))
            train(folder, found["head"])
    return found


def gaussian_kernel(size, deviation):
    line = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / (2 * deviation**2))
    kernel = np.outer(line, line)
    return kernel / kernel.sum()


def cases(picture, part):
    """Name, truth, prior, flags, operator, σ as a share of the measurement's root mean square or as it is, training pictures."""
    n = part.shape[0]
    line = np.full((1, 15), 1 / 15)
    brain = (head(80)[:216, :180] + 0.5) / 256
    # A quarter of the rows: 17 in the middle, and 37 of the others at equal distances.
    mask = np.zeros(brain.shape)
    mask[108 - 8:108 + 9] = 1
    others = np.flatnonzero(mask[:, 0] == 0)
    mask[others[np.round(np.linspace(0, len(others) - 1, 54 - 17)).astype(int)]] = 1
    np.save("mask.npy", mask)
    np.save("line.npy", line)
    np.save("wide.npy", gaussian_kernel(16, 2))
    return [
        # PatchNR's operator, whose weights begin at every fourth pixel; around the torus, here, four pixels before.
        ("×4 super-resolution, 600×600", picture, "material",
         ["superresolve", "--scale", "4", "--kernel", "wide.npy", "--phase", "3.5", "--boundary", "circular"],
         lambda: Blur(picture.shape, gaussian_kernel(16, 2), 7, 7, 4, 3), 0.01, 40),
        ("60 angles, parallel, 256×256", part, "material", ["ct", "--angles", "60", "--detectors", "363"],
         lambda: Rays(n, np.arange(60) * 3.0, 363), None, 0),
        ("fan of 100°, 256×256", part, "material",
         ["ct", "--geometry", "fan:600,300", "--angles", "0:100:1", "--detectors", "400"],
         lambda: Rays(n, np.arange(100.0), 400, (600.0, 300.0)), None, 0),
        ("motion blur of 15 pixels, 256×256", part, "material", ["deblur", "--kernel", "line.npy", "--boundary", "circular"],
         lambda: Blur(part.shape, line, 0, 7), 0.01, 0),
        ("54 of 216 rows of k-space, 216×180", brain, "head", ["mri", "--kspace-mask", "mask.npy"], lambda: KSpace(mask), 0.01, 0),
    ]


def solve(name, truth, prior, flags, sigma, method):
    np.save("x.npy", truth)
    run = [AIPO, "reconstruct", "--task", *flags, "--sigma", repr(sigma), "--simulate", "x.npy", "--model", prior, "--method",
           method, "--threads", "1", "--json", "--out", "out.npy", "--save-observation", "y.npy"]
    text = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    image = json.loads(text)["images"][0]
    return np.load("out.npy").reshape(truth.shape), np.load("y.npy").ravel().astype(np.float64), image


class Peers:
    """What they made of measurements, in a file."""

    def __init__(self, path):
        self.path = path
        self.known = json.load(open(path)) if os.path.exists(path) else {}

    def result(self, method, y, run):
        """PSNR and seconds."""
        key = f"{method} {hashlib.sha256(y.tobytes()).hexdigest()[:16]}"
        if key not in self.known:
            begin = time.monotonic()
            value = run()
            self.known[key] = [value, time.monotonic() - begin]
            with open(self.path, "w") as file:
                json.dump(self.known, file, indent=1)
        return self.known[key]


def main():
    models = priors()
    output, folder = os.path.abspath("runs/peers"), tempfile.mkdtemp()
    os.makedirs(output, exist_ok=True)
    peers = Peers(os.path.join(output, "cases.json"))
    os.chdir(folder)
    picture = grey(os.path.join(MATERIAL, "test.png"))
    training = {"material": [grey(os.path.join(MATERIAL, "learn.png"))],
                "head": [(head(k) + 0.5) / 256 for k in (45, 55, 105, 115)]}
    mixtures = {}
    lines = ["| measurement | direct | total variation | EPLL | gaussian | aipo |", "|---|--:|--:|--:|--:|--:|"]
    for k, (name, truth, prior, flags, make, sigma, rim) in enumerate(cases(picture, picture[172:428, 172:428])):
        if ONLY and str(k + 1) not in ONLY:
            continue
        operator = make()
        if sigma is None:
            sigma = float(0.01 * np.sqrt(np.mean(operator.apply(truth) ** 2)))
        inside = slice(rim, -rim or None)

        def quality(result):
            return float(psnr(result[inside, inside], truth[inside, inside]))

        def total_variation():
            return quality(best_total_variation(operator, y, gaussian, truth, sigma))

        def epll():
            if prior not in mixtures:
                mixtures[prior] = EPLL(training[prior])
            return quality(mixtures[prior].best(operator, y, gaussian, truth, sigma))

        gaussian, y, by_gaussian = solve(name, truth, models[prior], flags, sigma, "gaussian")
        residual = np.sqrt(np.mean((operator.apply(truth) - y) ** 2)) / sigma
        if not 0.9 < residual < 1.1:
            sys.exit(f"{name}: the peers' operator isn't aipo's: the truth misses the data by {residual:.3g} σ")
        result, _, by_aipo = solve(name, truth, models[prior], flags, sigma, "aipo")
        own = {"gaussian": [quality(gaussian), by_gaussian["seconds"]], "aipo": [quality(result), by_aipo["seconds"]]}
        print(f"{name}: direct {by_gaussian['psnrObserved']:.2f}, {own}", flush=True)
        columns = [peers.result("total variation", y, total_variation)]
        print(f"{name}: total variation {columns}", flush=True)
        columns += [peers.result("EPLL", y, epll), own["gaussian"], own["aipo"]]
        cells = [f"{by_gaussian['psnrObserved']:.2f}"] + [f"{value:.2f}, {seconds:.0f} s" for value, seconds in columns]
        lines.append(f"| {name}, σ = {sigma:.3g} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    with open(os.path.join(output, "cases.md"), "w") as file:
        file.write("\n".join(lines) + "\n")


main()
