#!/usr/bin/env python3
"""Writes Tests/TestFiles/Formats: small files of laboratories' formats, by the programs that everybody has.

Usage: make_formats.py FOLDER    needs numpy, tifffile, imagecodecs, Pillow, h5py, scipy, nibabel

ramp(shape, mul, mod) = (arange(n)·mul % mod).reshape(shape) is what they hold unless a name says else.
"""
import os, sys
import numpy as np
import tifffile
from PIL import Image

folder = sys.argv[1]
os.makedirs(folder, exist_ok=True)


def path(name):
    return os.path.join(folder, name)


def ramp(shape, mul=37, mod=256, dtype="u1"):
    return (np.arange(np.prod(shape)) * mul % mod).reshape(shape).astype(dtype)


def tiff():
    def write(name, data, **options):
        tifffile.imwrite(path(name), data, software=None, metadata=None, **options)

    words = ramp((20, 24), 3001, 65536, "u2")
    colour = ramp((20, 24, 3))
    stack = (ramp((3, 8, 10), 37, 251, "f4") / 8 - 1).astype("f4")
    write("grey8.tif", ramp((20, 24)))
    write("grey16-big-endian.tif", words, byteorder=">")
    write("rgb8-lzw-predictor.tif", colour, compression="lzw", predictor=True, rowsperstrip=7)
    write("rgb16-tiles-deflate.tif", ramp((40, 50, 3), 3001, 65536, "u2"), tile=(16, 32), compression="zlib")
    write("rgb8-planes.tif", np.moveaxis(colour, 2, 0), planarconfig="separate", photometric="rgb")
    write("rgb8-planes-tiles.tif", np.moveaxis(colour, 2, 0), planarconfig="separate", photometric="rgb", tile=(16, 16))
    write("float32-stack.tif", stack, photometric="minisblack", resolution=(5080, 2540), resolutionunit="INCH")
    write("float32-stack-big.tif", stack, photometric="minisblack", bigtiff=True, compression="zlib", predictor=3)
    write("float64.tif", stack[0].astype("f8"))
    write("float16.tif", stack[0].astype("f2"))
    write("uint32.tif", ramp((4, 5), 300000007, 1 << 32, "u4"))
    write("int16.tif", ramp((4, 5), 37, 256, "i2") - 100)
    write("channels5.tif", ramp((4, 6, 5)), photometric="minisblack", planarconfig="contig")
    write("white-is-zero.tif", 255 - ramp((20, 24)), photometric="miniswhite")
    write("bilevel.tif", ramp((9, 11)) > 127, photometric="minisblack")
    write("zstd.tif", words, compression="zstd")
    write("packbits.tif", ramp((20, 24)) // 64, compression="packbits")
    write("rgba-opaque.tif", np.dstack([colour, np.full((20, 24), 255, "u1")]), extrasamples=["unassalpha"])
    write("rgba.tif", np.dstack([colour, np.where(colour[..., 0] == 37, 9, 255).astype("u1")]),
          extrasamples=["unassalpha"])
    write("complex.tif", stack[0].astype("c8"))
    for k in range(2, 9):
        write(f"orientation{k}.tif", ramp((3, 5)), extratags=[(274, "H", 1, k, True)])
    with tifffile.TiffWriter(path("pages-differ.tif")) as file:
        file.write(ramp((4, 5)), metadata=None)
        file.write(ramp((6, 5)), metadata=None)
    # A page, and its thumbnail, which isn't an image of the stack.
    with tifffile.TiffWriter(path("thumbnail.tif")) as file:
        file.write(ramp((8, 8)), metadata=None)
        file.write(ramp((2, 2)), metadata=None, subfiletype=1)
        file.write(255 - ramp((8, 8)), metadata=None)
    tifffile.imwrite(path("imagej.tif"), ramp((3, 8, 10), 3001, 65536, "u2"), imagej=True,
                     resolution=(4, 4), metadata={"unit": "um", "spacing": 2.5, "axes": "ZYX"})
    # As ImageJ writes stacks beyond 4 GB: a single directory.
    write("imagej-truncated.tif", ramp((8, 10)), description="ImageJ=1.54f\nimages=3\nslices=3\n")
    picture = Image.fromarray(colour)
    picture.quantize(32).save(path("palette.tif"))
    Image.fromarray(np.add.outer(np.arange(32) * 4, np.arange(48) * 2).astype("u1")).convert("RGB").save(
        path("jpeg.tif"), compression="jpeg", quality=95)
    picture.convert("CMYK").save(path("cmyk.tif"))


def webp():
    colour = ramp((20, 24, 3))
    Image.fromarray(colour).save(path("lossless.webp"), lossless=True)
    smooth = np.dstack([np.add.outer(np.arange(16) * 8, np.arange(24) * 3)] * 3).astype("u1")
    Image.fromarray(smooth).save(path("lossy.webp"), quality=90)
    alpha = np.dstack([colour, np.full((20, 24), 255, "u1")])
    alpha[2, 3, 3] = 9
    Image.fromarray(alpha).save(path("alpha.webp"), lossless=True)
    frames = [Image.fromarray(colour), Image.fromarray(255 - colour)]
    frames[0].save(path("animation.webp"), save_all=True, append_images=frames[1:], lossless=True)


def hdf5():
    import h5py

    floats = ramp((3, 8, 10), 37, 251, "f4") / 8 - 1
    words = ramp((50, 80), 3001, 65536, "u2")
    for name, version in [("earliest.h5", "earliest"), ("latest.h5", "latest")]:
        with h5py.File(path(name), "w", libver=version, track_order=False) as file:
            file.create_dataset("plain", data=floats)
            file.create_dataset("big", data=floats.astype(">f8"))
            group = file.create_group("scan/one")
            group.create_dataset("packed", data=words, chunks=(16, 30), compression="gzip", shuffle=True,
                                 fletcher32=True)
            group.create_dataset("lzf", data=words, chunks=(50, 80), compression="lzf")
            group.create_dataset("chunks", data=ramp((5, 7), dtype="i1") - 3, chunks=(2, 3))
            group.create_dataset("flags", data=ramp((4, 5)) > 127)
            group.create_dataset("complex", data=(floats[0] + 2j * floats[1]).astype("c8"))
            # Only one chunk of four is written, behind a fill value.
            partial = group.create_dataset("partial", (4, 6), "f4", chunks=(2, 3), fillvalue=0.5)
            partial[2:, 3:] = ramp((2, 3))
            empty = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            empty.set_layout(h5py.h5d.COMPACT)
            compact = h5py.h5d.create(group.id, b"compact", h5py.h5t.STD_U8LE, h5py.h5s.create_simple((2, 3)), empty)
            compact.write(h5py.h5s.ALL, h5py.h5s.ALL, ramp((2, 3)))
            file["text"] = "text"
            file["link"] = h5py.SoftLink("/plain")
            file["outside"] = h5py.ExternalLink("other.h5", "/x")
    with h5py.File(path("one.h5"), "w") as file:
        file.create_dataset("images", data=ramp((2, 3, 4)))
    with h5py.File(path("many.h5"), "w") as file:
        for k in range(40):
            file.create_dataset(f"a{k:02}", data=ramp((2, 2)) + k)
    with h5py.File(path("external.h5"), "w") as file:
        file.create_dataset("x", (4,), "u1", external=[("/etc/passwd", 0, 4)])
    # A grid of chunks that takes more than a leaf of the tree, and one that is paged in the newest format.
    for name, version in [("tree.h5", "earliest"), ("paged.h5", "latest")]:
        with h5py.File(path(name), "w", libver=version) as file:
            file.create_dataset("x", data=ramp((40, 60)), chunks=(1, 2))
    # What MATLAB writes: a block of its own before, and axes in the opposite order.
    with h5py.File(path("matlab73.mat"), "w", userblock_size=512) as file:
        data = file.create_dataset("x", data=np.ascontiguousarray(ramp((3, 4, 2), dtype="f8").T))
        data.attrs["MATLAB_class"] = np.bytes_("double")
        file.create_group("#refs#").create_dataset("a", data=[1.0])
    with open(path("matlab73.mat"), "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")


def matlab():
    import scipy.io
    import scipy.sparse

    sparse = scipy.sparse.random(6, 5, 0.4, random_state=1, dtype="f8", format="csc")
    for name, packed in [("packed.mat", True), ("plain.mat", False)]:
        scipy.io.savemat(path(name), {
            "x": ramp((3, 4, 2), dtype="f8"), "u": ramp((3, 4)), "z": ramp((2, 3)) * (1 + 2j), "s": "text",
            "f": ramp((2, 2), 37, 251, "f4") / 8, "flag": ramp((2, 3)) > 50, "A": sparse, "w": {"a": 1},
        }, do_compression=packed)
    scipy.io.savemat(path("one.mat"), {"x": ramp((3, 4), dtype="u2")})
    scipy.io.savemat(path("sparse.mat"), {"A": sparse})


def sparse():
    import scipy.io
    import scipy.sparse

    matrix = scipy.sparse.csr_array(np.where(ramp((5, 7), 37, 100) < 40, ramp((5, 7), 37, 100) / 8 - 2, 0))
    np.save(path("sparse-dense.npy"), matrix.toarray())
    for kind in ["csr", "csc", "coo", "bsr"]:
        scipy.sparse.save_npz(path(f"{kind}.npz"), matrix.asformat(kind))
    scipy.io.mmwrite(path("general.mtx"), scipy.sparse.coo_array(matrix), precision=17)
    scipy.io.mmwrite(path("array.mtx"), matrix.toarray(), precision=17)
    square = matrix.toarray()[:5, :5]
    scipy.io.mmwrite(path("symmetric.mtx"), scipy.sparse.coo_array(square + square.T), precision=17)
    np.save(path("symmetric-dense.npy"), square + square.T)
    scipy.io.mmwrite(path("skew.mtx"), scipy.sparse.coo_array(square - square.T), precision=17)
    np.save(path("skew-dense.npy"), square - square.T)
    with open(path("pattern.mtx"), "w") as file:
        file.write("%%MatrixMarket matrix coordinate pattern general\n% two\n2 3 2\n1 3\n2 1\n")
    import gzip
    with open(path("general.mtx"), "rb") as file, gzip.GzipFile(path("general.mtx.gz"), "wb", mtime=0) as out:
        out.write(file.read())


def volumes():
    import gzip
    import nibabel

    data = ramp((5, 4, 3), 37, 251, "i2") - 60
    affine = np.array([[-2, 0.1, 0, 10], [0.2, 3, 0, -20], [0, 0.3, 4, 30], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path("int16.nii"))
    image.header.set_slope_inter(0.5, -1)
    scaled = nibabel.Nifti1Image(data, affine, image.header)
    scaled.header.set_slope_inter(0.5, -1)
    scaled.to_filename(path("scaled.nii"))
    raw = bytearray(open(path("int16.nii"), "rb").read())
    raw[112:120] = np.array([0.5, -1], "<f4").tobytes()
    open(path("scaled.nii"), "wb").write(raw)
    with open(path("int16.nii"), "rb") as file, gzip.GzipFile(path("int16.nii.gz"), "wb", mtime=0) as out:
        out.write(file.read())
    nibabel.save(nibabel.Nifti2Image(data.astype("f4"), affine), path("second.nii"))
    nibabel.save(nibabel.Nifti1Image(ramp((3, 4, 2, 2), dtype="f4"), np.diag([1, 2, 3, 1])), path("time.nii"))
    turned = nibabel.Nifti1Image(data.astype(">f4"), None)
    turned.header.set_qform(nibabel.affines.from_matvec(np.array([[0, -3.0, 0], [2, 0, 0], [0, 0, -4]]), [1, 2, 3]), 1)
    turned.header["sform_code"] = 0
    turned.to_filename(path("quaternion.nii"))
    big = turned.header.as_byteswapped(">")
    big["vox_offset"] = 352
    with open(path("big-endian.nii"), "wb") as file:
        file.write(big.binaryblock + b"\0" * 4 + data.astype(">f4").tobytes(order="F"))
    # k-space of 4x3 and 2 coils, as bart writes it.
    with open(path("kspace.hdr"), "w") as file:
        file.write("# Dimensions\n4 3 1 2 1 1 1 1 1 1 1 1 1 1 1 1 \n")
    space = ramp((2, 3, 4), 37, 251, "f4") + 1j * ramp((2, 3, 4), 41, 251, "f4")
    space.astype("c8").tofile(path("kspace.cfl"))


tiff()
webp()
hdf5()
matlab()
sparse()
volumes()
