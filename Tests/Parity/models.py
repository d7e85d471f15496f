"""Models of the three programs with random parameters, and what they give for an image.

normflows comes from PyPI. GlowIP and glow-pytorch are no packages: their repositories are cloned at the commits below
into the folder that $AIPO_PEERS names (default ~/.cache/aipo-peers), and used as they are, but for narrower nets.
"""

import math
import os
import subprocess
import sys
import types

import normflows as nf
import numpy as np
import torch
from torch import nn

PEERS = os.environ.get("AIPO_PEERS", os.path.expanduser("~/.cache/aipo-peers"))
REPOSITORIES = {
    "GlowIP": ("https://github.com/CACTuS-AI/GlowIP", "7173408"),
    "glow-pytorch": ("https://github.com/rosinality/glow-pytorch", "97081ff"),
}
HIDDEN = 6


def peer(name):
    """The folder of a cloned repository."""
    folder = os.path.join(PEERS, name)
    if not os.path.isdir(folder):
        url, commit = REPOSITORIES[name]
        subprocess.run(["git", "clone", "--quiet", url, folder], check=True)
        subprocess.run(["git", "-C", folder, "checkout", "--quiet", commit], check=True)
    return folder


def randomize(model, seed, deviation=0.06):
    """Random numbers in all parameters, signs and permutations left as they are; flags say initialised."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if name.split(".")[-1] in ("W", "weight") and "invconv" in name or name.endswith(".1.W"):
                parameter.add_(deviation * noise)  # a matrix stays near its rotation
            elif name.endswith("actnorm.scale"):
                sign = torch.where(torch.rand(parameter.shape, generator=generator) < 0.3, -1.0, 1.0)
                parameter.copy_(sign * torch.exp(deviation * noise))  # signs may be either
            else:
                # A conditional base is kept calm, so that draws of it are finite.
                parameter.copy_((0.3 if ".prior." in name else 2) * deviation * noise)
        for name, buffer in model.named_buffers():
            if name.endswith("initialized") or name.endswith("data_dep_init_done"):
                buffer.fill_(1)
    return model


def nhwc(z):
    return z.permute(0, 2, 3, 1).reshape(z.shape[0], -1)


def standard(z, mean, log_scale):
    return (z - mean) * torch.exp(-log_scale)


# ---- normflows


def normflows_glow(channels=1, size=(8, 8), levels=2, steps=2, scale_map="sigmoid", use_lu=True,
                   net_actnorm=False, scale=True, base="diag", classes=None, split_mode="channel", leaky=0.0,
                   transform=None):
    h, w = size
    q0, merges, flows = [], [], []
    for i in range(levels):
        c = channels * 2 ** (levels + 1 - i)
        flows.append(
            [nf.flows.GlowBlock(c, HIDDEN, scale=scale, scale_map=scale_map, use_lu=use_lu,
                                net_actnorm=net_actnorm, init_zeros=False, split_mode=split_mode, leaky=leaky) for _ in range(steps)]
            + [nf.flows.Squeeze()])
        if i > 0:
            merges.append(nf.flows.Merge())
            shape = (c // 2, h // 2 ** (levels - i), w // 2 ** (levels - i))
        else:
            shape = (c, h // 2**levels, w // 2**levels)
        if base == "diag":
            q0.append(nf.distributions.DiagGaussian(shape))
        elif base == "class":
            q0.append(nf.distributions.ClassCondDiagGaussian(shape, classes))
        else:
            q0.append(nf.distributions.GlowBase(shape, classes))
    return nf.MultiscaleFlow(q0, flows, merges, transform=transform, class_cond=classes is not None)


def normflows_glow_results(model, x, label=None):
    """Standardised latents in our order and log p of x on [0, 1], NCHW."""
    z, _ = model.inverse_and_log_det(x)
    y = None if label is None else torch.full((len(x),), label)
    latents = []
    for base, zi in zip(model.q0, z):
        if isinstance(base, nf.distributions.ClassCondDiagGaussian):
            mean, log_scale = base.loc[..., label], base.log_scale[..., label]
        elif isinstance(base, nf.distributions.GlowBase):
            mean = base.loc * torch.exp(3 * base.loc_logs)
            log_scale = base.log_scale * torch.exp(3 * base.log_scale_logs)
            if label is not None:
                mean = mean + base.loc_cc[label].view(1, -1, 1, 1)
                log_scale = log_scale + base.log_scale_cc[label].view(1, -1, 1, 1)
        else:
            mean, log_scale = base.loc, base.log_scale
        latents.append(nhwc(standard(zi, mean, log_scale)))
    return torch.cat(latents[::-1], 1), model.log_prob(x, y)


def normflows_vectors(kind):
    mlp = nf.nets.MLP
    if kind == "readme":  # the library's README: a swap behind every coupling
        flows = []
        for _ in range(2):
            flows += [nf.flows.AffineCouplingBlock(mlp([1, 6, 6, 2], leaky=0.1)), nf.flows.Permute(2, mode="swap")]
        return nf.NormalizingFlow(nf.distributions.DiagGaussian(2), flows)
    if kind == "realnvp":  # the library's tutorial: masks in turn
        b = torch.tensor([1.0, 0.0])
        flows = []
        for i in range(4):
            s = mlp([2, 8, 8, 2]) if i != 1 else None
            t = mlp([2, 8, 2]) if i != 2 else None
            flows += [nf.flows.MaskedAffineFlow(b if i % 2 == 0 else 1 - b, t, s), nf.flows.ActNorm(2)]
        return nf.NormalizingFlow(nf.distributions.DiagGaussian(2), flows)
    flows = []
    for i in range(3):
        flows += [
            nf.flows.AffineCouplingBlock(mlp([2, 7, 2]), scale_map="sigmoid" if kind == "sigmoid" else "exp"),
            nf.flows.Permute(3, mode="swap" if i % 2 == 0 else "shuffle"),
        ]
    flows += [nf.flows.ActNorm(3)]
    return nf.NormalizingFlow(nf.distributions.DiagGaussian(3), flows)


def normflows_vectors_results(model, x):
    # A scalar log-determinant would lose digits to the single-precision zeros of a Permute.
    z, log_det = x, torch.zeros(len(x), dtype=x.dtype)
    for flow in reversed(model.flows):
        z, d = flow.inverse(z)
        log_det = log_det + d
    return standard(z, model.q0.loc, model.q0.log_scale), model.q0.log_prob(z) + log_det


# ---- GlowIP


def glowip(size=8, levels=2, steps=2, coupling="affine", squeeze="interleave", last_bias=0, coupling_bias=0):
    """`squeeze` and `last_bias` as the versions of the program have had them."""
    for name in ("skimage", "skimage.io", "skimage.transform"):
        module = sys.modules.setdefault(name, types.ModuleType(name))
        module.resize = None
    sys.modules["skimage"].io = sys.modules["skimage.io"]
    sys.path.insert(0, peer("GlowIP"))
    from glow.actnorm import ActNorm
    from glow.glow import Glow
    from glow.squeeze import Squeeze

    sys.path.pop(0)
    model = Glow((3, size, size), K=steps, L=levels, coupling=coupling, device="cpu", n_bits_x=8,
                 coupling_bias=coupling_bias, squeeze_contig=squeeze != "interleave",
                 nn_init_last_zeros=bool(last_bias))
    squeezes = [m for m in model.glow_modules if isinstance(m, Squeeze)]
    squeezes[-1].contiguous = squeeze == "contiguous"
    for module in model.glow_modules:
        if hasattr(module, "coupling"):
            net = module.coupling.net
            into, out = net.conv1.in_channels, net.conv3.out_channels
            net.conv1 = nn.Conv2d(into, HIDDEN, 3, padding=1)
            net.conv2 = nn.Conv2d(HIDDEN, HIDDEN, 1)
            net.conv3 = nn.Conv2d(HIDDEN, out, 3, padding=1)
            net.actnorm1, net.actnorm2 = ActNorm(HIDDEN, "cpu"), ActNorm(HIDDEN, "cpu")
    model.set_actnorm_init()
    return model.eval()


def glowip_results(model, x):
    z, log_det, _ = model(x - 0.5)
    latents = torch.cat([nhwc(zi) for zi in z], 1)
    return latents, log_det - 0.5 * (latents**2 + math.log(2 * math.pi)).sum(1)


# ---- glow-pytorch


def glow_pytorch(channels=3, blocks=2, steps=2, affine=True, conv_lu=True):
    folder = peer("glow-pytorch")
    sys.path.insert(0, folder)
    import model as peer_model

    sys.path.pop(0)
    model = peer_model.Glow(channels, steps, blocks, affine=affine, conv_lu=conv_lu)
    for block in model.blocks:
        for flow in block.flows:
            net = flow.coupling.net
            into, out = net[0].in_channels, net[4].conv.out_channels
            net[0] = nn.Conv2d(into, HIDDEN, 3, padding=1)
            net[2] = nn.Conv2d(HIDDEN, HIDDEN, 1)
            net[4] = peer_model.ZeroConv2d(HIDDEN, out)
    return model


def glow_pytorch_results(model, x):
    log_p, log_det, _ = model(x - 0.5)
    latents, out = [], x - 0.5
    for block in model.blocks:
        squeezed, _, _, z = block(out)
        kept = squeezed if block.split else torch.zeros_like(z)
        mean, log_sd = block.prior(kept).chunk(2, 1)
        latents.append(nhwc(standard(z, mean, log_sd)))
        out = squeezed
    return torch.cat(latents, 1), log_p + log_det


# ---- the list

CASES = {
    # name: (dialect, options for import, how to save, dtype, model, results)
    "normflows-class-plu": ("normflows", {"scale-map": "sigmoid", "class": "2"}, "zip", torch.float64,
        lambda: normflows_glow(base="class", classes=3), lambda m, x: normflows_glow_results(m, x, 2), (1, 8, 8)),
    "normflows-exp-dense": ("normflows", {"scale-map": "exp"}, "zip", torch.float32,
        lambda: normflows_glow(channels=3, size=(4, 8), levels=1, scale_map="exp", use_lu=False),
        normflows_glow_results, (3, 4, 8)),
    "normflows-inverse-actnorm": ("normflows", {"scale-map": "sigmoid-inv", "class": "1", "size": "8x4"}, "safetensors",
        torch.float64, lambda: normflows_glow(size=(8, 4), scale_map="sigmoid_inv", net_actnorm=True, base="glow",
                                              classes=2),
        lambda m, x: normflows_glow_results(m, x, 1), (1, 8, 4)),
    "normflows-additive": ("normflows", {"size": "8x8"}, "legacy", torch.float64,
        lambda: normflows_glow(scale=False, base="glow", levels=3, steps=1), normflows_glow_results, (1, 8, 8)),
    "normflows-vector-realnvp": ("normflows", {}, "zip", torch.float64, lambda: normflows_vectors("realnvp"),
        normflows_vectors_results, (2,)),
    "normflows-vector-exp": ("normflows", {"scale-map": "exp"}, "zip", torch.float32,
        lambda: normflows_vectors("exp"), normflows_vectors_results, (3,)),
    "normflows-vector-sigmoid": ("normflows", {"scale-map": "sigmoid"}, "safetensors", torch.float64,
        lambda: normflows_vectors("sigmoid"), normflows_vectors_results, (3,)),
    "normflows-logit-leaky": ("normflows", {"transform": "logit", "alpha": "0.02", "split": "channel-inv",
        "leaky": "0.1"}, "zip", torch.float64,
        lambda: normflows_glow(split_mode="channel_inv", leaky=0.1, transform=nf.transforms.Logit(0.02), net_actnorm=True),
        normflows_glow_results, (1, 8, 8)),
    "normflows-vector-readme": ("normflows", {"leaky": "0.1"}, "zip", torch.float64,
        lambda: normflows_vectors("readme"), normflows_vectors_results, (2,)),
    "glowip-interleave": ("glowip", {"squeeze": "interleave", "last-bias": "0", "size": "8x8"}, "legacy",
        torch.float64, lambda: glowip(), glowip_results, (3, 8, 8)),
    "glowip-contiguous-but-last": ("glowip", {"squeeze": "contiguous-except-last", "last-bias": "1", "size": "8x8"},
        "zip", torch.float32, lambda: glowip(squeeze="contiguous-except-last", last_bias=1), glowip_results, (3, 8, 8)),
    "glowip-contiguous": ("glowip", {"squeeze": "contiguous", "last-bias": "0", "coupling-bias": "0.25",
        "size": "8x8"}, "safetensors", torch.float64,
        lambda: glowip(squeeze="contiguous", coupling_bias=0.25, levels=3, steps=1), glowip_results, (3, 8, 8)),
    "glowip-additive": ("glowip", {"squeeze": "interleave", "size": "8x8"}, "zip", torch.float64,
        lambda: glowip(coupling="additive"), glowip_results, (3, 8, 8)),
    "glow-pytorch-affine-plu": ("glow-pytorch", {"size": "8x8"}, "zip-parallel", torch.float64,
        lambda: glow_pytorch(), glow_pytorch_results, (3, 8, 8)),
    "glow-pytorch-affine-dense": ("glow-pytorch", {"size": "4x8", "bits": "8"}, "zip", torch.float32,
        lambda: glow_pytorch(channels=1, conv_lu=False), glow_pytorch_results, (1, 4, 8)),
    "glow-pytorch-additive": ("glow-pytorch", {"size": "8x8"}, "nested", torch.float64,
        lambda: glow_pytorch(channels=1, affine=False, blocks=3, steps=1), glow_pytorch_results, (1, 8, 8)),
}


def build(name):
    """Model, images (NCHW or vectors), latents, log-densities of a case, in its type."""
    _, _, _, dtype, make, results, shape = CASES[name]
    torch.manual_seed(1)
    np.random.seed(1)
    model = randomize(make().to(dtype), seed=sum(name.encode()))
    generator = torch.Generator().manual_seed(2)
    x = torch.rand((3,) + shape, generator=generator, dtype=torch.float64)
    if len(shape) == 1:
        x = 3 * (x - 0.5)
    with torch.no_grad():
        # The library's own results in double, whatever the type of the parameters.
        latents, log_prob = results(model.double(), x)
    return model.to(dtype), x, latents, log_prob


def images(x):
    """As our files have them: NHWC, or vectors as they are."""
    return x.numpy() if x.dim() == 2 else x.permute(0, 2, 3, 1).numpy()


def save(model, how, path):
    from safetensors.torch import save_file

    state = model.state_dict()
    if how == "safetensors":
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    elif how == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    elif how == "zip-parallel":
        torch.save({"module." + k: v for k, v in state.items()}, path)
    elif how == "nested":
        torch.save({"model": state, "epoch": 3, "loss": 0.5, "args": {"lr": 1e-4, "name": "x"}}, path)
    else:
        torch.save(state, path)
