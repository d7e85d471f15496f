#!/usr/bin/env python3
"""What the command writes as TIFF and NIfTI is read by the programs that everybody has, and the other way round.

    Tests/Parity/formats.py .build/release/aipo      needs Tests/Parity/requirements.txt

The result of a denoising must be the same to the bit whatever format its observation comes in and it is written in.
"""

import gzip
import os
import shutil
import subprocess
import sys
import tempfile

import h5py
import nibabel
import numpy as np
import scipy.io
import tifffile

AIPO = os.path.abspath(sys.argv[1])
rng = np.random.default_rng(7)
faults = 0


def check(what, good):
    global faults
    faults += not good
    print(f"{'PASS' if good else 'FAIL'} {what}")


def denoise(source, out, *more):
    run = [AIPO, "reconstruct", "--task", "denoise", "--method", "gaussian", "--sigma", "0.1", "--threads", "1"]
    subprocess.run([*run, "--observation", source, "--out", out, *more], check=True, capture_output=True)


def main():
    images = (rng.random((3, 28, 28)) * 0.6 + 0.2).astype("f4")
    np.save("y.npy", images)
    denoise("y.npy", "x.npy")
    x = np.load("x.npy")[..., 0]

    tifffile.imwrite("y.tif", images, photometric="minisblack", resolution=(2000, 1000), resolutionunit="CENTIMETER")
    tifffile.imwrite("big.tif", images, photometric="minisblack", bigtiff=True, compression="zlib", predictor=3)
    with h5py.File("y.h5", "w") as file:
        file["scan/images"] = images
        file.create_dataset("scan/packed", data=images, chunks=(1, 16, 16), compression="gzip", shuffle=True)
    scipy.io.savemat("y.mat", {"images": images, "n": 3}, do_compression=True)
    affine = np.array([[0, -2, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 11], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti1Image(images.T, affine), "y.nii.gz")
    np.savez_compressed("y.npz", images=images, other=images[0])
    for source in ["y.tif", "big.tif", "y.h5:/scan/images", "y.h5:scan/packed", "y.mat:images", "y.nii.gz",
                   "y.npz:images"]:
        denoise(source, "again.npy")
        check(f"{source} is y.npy", np.array_equal(np.load("again.npy")[..., 0], x))

    denoise("y.tif", "x.tif")
    with tifffile.TiffFile("x.tif") as file:
        tags = file.pages[1].tags
        check("x.tif has the values", np.array_equal(file.asarray(), x))
        ratio = [tags[name].value[0] / tags[name].value[1] for name in ("XResolution", "YResolution")]
        check("x.tif has the resolution", np.allclose(ratio, [2000, 1000]) and tags["ResolutionUnit"].value == 3)
    clipped = np.clip(x, 0, None).astype("f8")
    for depth, scale in [("uint8", 256), ("uint16", 65536)]:
        denoise("y.tif", f"{depth}.tif", "--depth", depth)
        expected = np.minimum(np.floor(clipped * scale), scale - 1).astype(depth)
        check(f"{depth}.tif has the values", np.array_equal(tifffile.imread(f"{depth}.tif"), expected))
    for name in ["x.nii", "x.nii.gz"]:
        denoise("y.nii.gz", name)
        volume = nibabel.load(name)
        check(f"{name} has the values", np.array_equal(np.asarray(volume.dataobj).T, x))
        check(f"{name} has the place", np.allclose(volume.affine, affine) and volume.header.get_xyzt_units()[0] == "mm")
    denoise("y.nii.gz", "one.nii", "--indices", "2")
    check("one.nii is where its slice is", np.allclose(nibabel.load("one.nii").affine[:3, 3], affine[:3] @ [0, 0, 2, 1]))
    check("gzip holds x.nii", len(gzip.open("x.nii.gz").read()) == os.path.getsize("x.nii"))


folder = tempfile.mkdtemp()
try:
    os.chdir(folder)
    main()
finally:
    shutil.rmtree(folder)
sys.exit(1 if faults else 0)
