#!/usr/bin/env python3
"""The operators beside those of scipy, pylops, deepinv, finufft and BART: `make parity`, or operators.py PATH/TO/aipo.

Where two programs mean the same by an operator, their values must agree; where they don't, the line says which is right and
why, by a value that is known. BART is Debian's package; its lines are left out where it isn't installed.
"""

import os
import shutil
import subprocess
import sys
import tempfile

import finufft
import numpy as np
import pylops
import scipy.io
import scipy.ndimage
import scipy.sparse
import torch

AIPO = os.path.abspath(sys.argv[1])
rng = np.random.default_rng(5)
faults = 0
MODES = {"reflect": "reflect", "replicate": "nearest", "zero": "constant", "circular": "wrap"}


def check(what, found, expected, bound=1e-12):
    global faults
    found, expected = np.asarray(found).ravel(), np.asarray(expected).ravel()
    error = np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-300) if found.size == expected.size else np.inf
    faults += not error <= bound
    print(f"{'PASS' if error <= bound else 'FAIL'} {what:66} {error:.1e}")


def note(text):
    print(f"     {text}")


def operator(direction, values, size, *flags):
    """What the command makes of an array."""
    np.save("in.npy", values)
    run = [AIPO, "check-operator", *flags, "--size", f"{size[0]}x{size[1]}", f"--{direction}", "in.npy", "--out", "out.npy",
           "--threads", "1"]
    result = subprocess.run(run, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(run)}: {result.stderr}")
    return np.load("out.npy")


def apply(values, size, *flags):
    return operator("apply", values, size, *flags)


def adjoint(values, size, *flags):
    return operator("adjoint", values, size, *flags)


def of_scipy():
    x = rng.random((23, 31))
    for shape in [(3, 5), (4, 4), (6, 1), (11, 8)]:
        kernel = rng.normal(size=shape)
        np.save("k.npy", kernel)
        for boundary, mode in MODES.items():
            flags = ["--task", "deblur", "--kernel", "k.npy", "--boundary", boundary]
            check(f"scipy.ndimage.correlate, {shape[0]}x{shape[1]}, {boundary}", apply(x, x.shape, *flags),
                  scipy.ndimage.correlate(x, kernel, mode=mode))
    for sigma in [0.6, 1.7]:
        check(f"scipy.ndimage.gaussian_filter, {sigma}", apply(x, x.shape, "--task", "deblur", "--kernel", f"gaussian:{sigma}"),
              scipy.ndimage.gaussian_filter(x, sigma))
    matrix = scipy.sparse.random(57, x.size, 0.05, random_state=rng, format="csr")
    scipy.sparse.save_npz("a.npz", matrix)
    scipy.io.mmwrite("a.mtx", matrix, precision=17)
    u = rng.normal(size=57)
    for name in ["a.npz", "a.mtx"]:
        check(f"scipy.sparse, {name}", apply(x, x.shape, "--operator", name), matrix @ x.ravel(), 1e-14)
        check(f"scipy.sparse, {name}, transpose", adjoint(u, x.shape, "--operator", name), matrix.T @ u, 1e-14)


def imresize(x, factor):
    """MATLAB's imresize by 1/factor, 'bicubic' with antialiasing, after its documented contributions."""
    def cubic(t):
        t = np.abs(t)
        return np.where(t <= 1, 1.5 * t**3 - 2.5 * t**2 + 1, np.where(t < 2, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2, 0))

    def line(n):
        m = -(-n // factor)
        matrix = np.zeros((m, n))
        for i in range(m):
            middle = (i + 1) * factor + 0.5 * (1 - factor)          # counted from 1
            left = int(np.floor(middle - 2 * factor))
            places = np.arange(left, left + 4 * factor + 2)
            weights = cubic((middle - places) / factor) / factor
            mirror = np.concatenate([np.arange(1, n + 1), np.arange(n, 0, -1)])
            for place, weight in zip(places, weights / weights.sum()):
                matrix[i, mirror[(place - 1) % (2 * n)] - 1] += weight
        return matrix

    return line(x.shape[0]) @ x @ line(x.shape[1]).T


def of_bicubic():
    # imresize(x, 0.5) of one bright pixel in a line of zeros: the weights of the cubic at odd quarters, over their sum.
    line = np.zeros((1, 16))
    line[0, 8] = 1
    table = np.array([0, 0, -3, 29, 111, -9, 0, 0]) / 256
    found = apply(line, line.shape, "--task", "superresolve", "--scale", "2")
    check("MATLAB's imresize of a bright pixel, by its table", found, table, 1e-15)
    x = rng.random((24, 36))
    for factor in [2, 3, 4]:
        check(f"MATLAB's imresize, bicubic, 1/{factor}", apply(x, x.shape, "--task", "superresolve", "--scale", str(factor)),
              imresize(x, factor))
    wide = torch.nn.functional.interpolate(torch.tensor(x)[None, None], scale_factor=0.5, mode="bicubic", antialias=True)
    found = apply(x, x.shape, "--task", "superresolve", "--scale", "2")[..., 0]
    check("torch's bicubic with antialias, inside", found[2:-2, 2:-2], wide[0, 0].numpy()[2:-2, 2:-2])
    note("at the borders torch leaves weights out and divides by the others' sum; MATLAB mirrors the image, and so do we")


def of_pylops():
    h, w = 12, 15
    x = rng.normal(size=(h, w))
    kernel = rng.normal(size=(3, 5))
    np.save("k.npy", kernel[::-1, ::-1])
    blur = pylops.signalprocessing.Convolve2D((h, w), h=kernel, offset=(1, 2))
    flags = ["--task", "deblur", "--kernel", "k.npy", "--boundary", "zero"]
    check("pylops Convolve2D (turned kernel)", apply(x, x.shape, *flags), blur @ x.ravel())
    check("pylops Convolve2D, adjoint", adjoint(x, x.shape, *flags), blur.H @ x.ravel())
    fourier = pylops.signalprocessing.FFT2D((h, w), norm="ortho", ifftshift_before=True, fftshift_after=True,
                                            dtype="complex128")
    mask = (rng.random((h, w)) < 0.4).astype("f8")
    np.save("m.npy", mask)
    samples = (fourier @ x.ravel().astype(complex)).reshape(h, w)[mask > 0]
    flags = ["--task", "mri", "--kspace-mask", "m.npy"]
    check("pylops FFT2D, ortho, with Restriction", apply(x, x.shape, *flags),
          np.stack([samples.real, samples.imag], -1))
    # Kernels at the middles of 2 x 3 parts, which are pixels of an image of 10 x 15.
    x = rng.normal(size=(10, 15))
    filters = rng.normal(size=(2, 3, 3, 5))
    np.save("k.npy", filters[:, :, ::-1, ::-1])
    varying = pylops.signalprocessing.NonStationaryConvolve2D(x.shape, filters, ihx=(2, 7), ihz=(2, 7, 12))
    flags = ["--task", "deblur", "--kernel", "k.npy", "--kernel-of", "image", "--boundary", "zero"]
    check("pylops NonStationaryConvolve2D (turned kernels)", apply(x, x.shape, *flags), varying @ x.ravel())
    check("pylops NonStationaryConvolve2D, adjoint", adjoint(x, x.shape, *flags), varying.H @ x.ravel())


def of_deepinv():
    import deepinv

    x = torch.tensor(rng.random((1, 1, 24, 24)))
    kernel = torch.tensor(rng.random((1, 1, 5, 5)))
    for name, boundary in [("circular", "circular"), ("valid", "valid"), ("replicate", "replicate"), ("constant", "zero")]:
        physics = deepinv.physics.Blur(filter=kernel, padding=name)
        np.save("k.npy", kernel[0, 0].numpy())
        found = apply(x[0, 0], (24, 24), "--task", "deblur", "--kernel", "k.npy", "--boundary", boundary)
        expected = physics.A(x)[0, 0].numpy()
        turned = apply_turned(x[0, 0].numpy(), kernel[0, 0].numpy(), boundary)
        best = min([found, turned], key=lambda y: np.abs(y.ravel() - expected.ravel()).max())
        check(f"deepinv Blur, {name}{' (turned kernel)' if best is turned else ''}", best, expected, 1e-6)
    mask = torch.tensor((rng.random((24, 24)) < 0.4).astype("f8"))
    physics = deepinv.physics.MRI(mask=mask[None, None].expand(1, 2, 24, 24), img_size=(2, 24, 24))
    z = torch.tensor(rng.normal(size=(1, 2, 24, 24)))
    expected = physics.A(z)[0].numpy()
    np.save("m.npy", mask.numpy())
    found = apply(np.moveaxis(z[0].numpy(), 0, -1), (24, 24), "--task", "mri", "--kspace-mask", "m.npy", "--channels", "2")
    samples = expected[:, mask.numpy() > 0].T
    check("deepinv MRI", found, samples, 1e-6)
    of_deepinv_tomography(deepinv)


def apply_turned(x, kernel, boundary):
    np.save("k.npy", kernel[::-1, ::-1])
    return apply(x, x.shape, "--task", "deblur", "--kernel", "k.npy", "--boundary", boundary)


def of_deepinv_tomography(deepinv):
    """A disk's middle ray is its diameter: that tells whose integrals are lengths."""
    n, radius = 64, 20.0
    fine = 8
    y, x = np.mgrid[:n * fine, :n * fine] / fine + 0.5 / fine - n / 2
    disk = (x**2 + y**2 <= radius**2).reshape(n, fine, n, fine).mean((1, 3))
    ours = apply(disk, (n, n), "--task", "ct", "--angles", "36", "--detectors", str(n))[..., 0]
    physics = deepinv.physics.Tomography(img_width=n, angles=torch.arange(0, 180, 5.0), circle=True, normalize=False)
    theirs = physics.A(torch.tensor(disk, dtype=torch.float32)[None, None])[0, 0].numpy().T
    s = np.arange(n) - (n - 1) / 2
    chord = 2 * np.sqrt(np.maximum(radius**2 - s**2, 0))
    inside = np.abs(s) < 0.9 * radius
    check("chords of a disk, ours", ours[:, inside], np.tile(chord[inside], (36, 1)), 0.01)
    ratio = theirs[:, inside] / chord[inside]
    note(f"deepinv's Tomography gives {ratio.mean():.3f} of the chords, from {ratio.min():.3f} to {ratio.max():.3f}: it turns the "
         "image by interpolation and sums its columns; ours integrates along the rays")


def of_finufft():
    for h, w in [(32, 32), (33, 24)]:
        m = 500
        k = rng.uniform(-0.5, 0.5, (m, 2))
        np.save("t.npy", k)
        z = rng.normal(size=(h, w)) + 1j * rng.normal(size=(h, w))
        pairs = np.stack([z.real, z.imag], -1)
        expected = finufft.nufft2d2(2 * np.pi * k[:, 0], 2 * np.pi * k[:, 1], z, eps=1e-13, isign=-1) / np.sqrt(h * w)
        flags = ["--task", "mri", "--trajectory", "t.npy", "--channels", "2"]
        check(f"finufft, {h}x{w}", apply(pairs, (h, w), *flags), np.stack([expected.real, expected.imag], -1), 1e-10)
        c = rng.normal(size=m) + 1j * rng.normal(size=m)
        expected = finufft.nufft2d1(2 * np.pi * k[:, 0], 2 * np.pi * k[:, 1], c, (h, w), eps=1e-13, isign=1) / np.sqrt(h * w)
        check(f"finufft, adjoint, {h}x{w}", adjoint(np.stack([c.real, c.imag], -1), (h, w), *flags),
              np.stack([expected.real, expected.imag], -1), 1e-10)


def write_cfl(name, array):
    """BART's own format: dimensions in a header, complex floats with the first dimension fastest."""
    with open(name + ".hdr", "w") as file:
        file.write("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n")
    array.astype("complex64").ravel(order="F").tofile(name + ".cfl")


def read_cfl(name):
    shape = [int(n) for n in open(name + ".hdr").read().splitlines()[1].split()]
    while len(shape) > 2 and shape[-1] == 1:
        shape.pop()
    return np.fromfile(name + ".cfl", "complex64").reshape(shape, order="F")


def of_bart():
    if not shutil.which("bart"):
        return note("BART isn't installed (Debian: bart): its lines are left out")
    h, w, coils = 20, 24, 3
    z = rng.normal(size=(h, w)) + 1j * rng.normal(size=(h, w))
    pairs = np.stack([z.real, z.imag], -1)
    maps = rng.normal(size=(h, w, 1, coils)) + 1j * rng.normal(size=(h, w, 1, coils))
    write_cfl("z", z)
    write_cfl("s", maps)
    bart = lambda *words: subprocess.run(["bart", *words], check=True, capture_output=True)
    bart("fmac", "z", "s", "c")
    bart("fft", "-u", "3", "c", "k")
    expected = np.moveaxis(read_cfl("k")[:, :, 0, :], -1, 0)
    np.save("m.npy", np.ones((h, w)))
    np.save("coils.npy", np.stack([maps.real, maps.imag], -1)[:, :, 0].transpose(2, 0, 1, 3))
    found = apply(pairs, (h, w), "--task", "mri", "--kspace-mask", "m.npy", "--coils", "coils.npy", "--channels", "2")
    check("bart fmac, fft -u, three coils", found, np.stack([expected.real, expected.imag], -1), 1e-5)
    m = 200
    k = rng.uniform(-0.4, 0.4, (m, 2))
    np.save("t.npy", k)
    # BART counts cycles a field of view, along the first dimension first.
    write_cfl("t", np.stack([k[:, 0] * h, k[:, 1] * w, np.zeros(m)])[:, :, None])
    write_cfl("z3", z[:, :, None])
    bart("nufft", "t", "z3", "y")
    expected = read_cfl("y").ravel()
    found = apply(pairs, (h, w), "--task", "mri", "--trajectory", "t.npy", "--channels", "2").reshape(-1, 2)
    check("bart nufft, up to 0.4 cycles a pixel", found, np.stack([expected.real, expected.imag], -1), 3e-3)
    note("at the edges of k-space BART's window is cut off; ours winds around, as the sum does (finufft above)")


folder = tempfile.mkdtemp()
try:
    os.chdir(folder)
    for part in [of_scipy, of_bicubic, of_pylops, of_deepinv, of_finufft, of_bart]:
        part()
finally:
    shutil.rmtree(folder)
sys.exit(1 if faults else 0)
