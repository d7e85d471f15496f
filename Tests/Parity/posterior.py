"""The posterior beside numpyro's NUTS and blackjax's, on the same flow: `make peers-posterior`, or posterior.py AIPO FOLDER.

The flow is written in JAX from the model file, and its log-density is first compared with the program's. Everything
samples the posterior of the same picture with noise, over the flow's latents (as the program does) and over pixels. One
thread each. ESS is ArviZ's, bulk, of the slowest of all pixels.
"""

import json
import os
import subprocess
import sys
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import arviz as az
import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import MCMC, NUTS
from safetensors import safe_open

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
MODEL = os.path.join(ROOT, "Models", "fashion-mnist-smooth.safetensors")
IMAGES = os.path.join(ROOT, "Models", "fashion-mnist-test-100.idx")
SIGMA = 0.1
DIMENSION = 784


def silu(x):
    return x * jax.nn.sigmoid(x)


def convolution(x, w):
    return jax.lax.conv_general_dilated(
        x[None], w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))[0]


class Glow:
    """The Glow of a model file at its least noise level, `forward` with log|det ∂z/∂x| and `inverse` with that of z → x."""

    def __init__(self, path):
        with safe_open(path, "np") as f:
            tensors = {k: np.asarray(f.get_tensor(k), np.float64) for k in f.keys()}
            spec = json.loads(f.metadata()["spec"])
        noise = spec["condition"]["noise"]
        s = noise["least"]
        bumps = np.exp(-0.5 * np.arange(8.0) ** 2)  # of the lower end, u = -1
        features = np.concatenate([[-1.0], bumps])
        self.layers = []
        number = 0
        for item in self.flat(spec["layers"]):
            name = item if isinstance(item, str) else next(iter(item))
            own = {k[len(f"flow.layers.{number}."):]: v for k, v in tensors.items() if k.startswith(f"flow.layers.{number}.")}
            if name == "whitening":
                self.layers.append(("scale", -own["mean"], -0.5 * np.log(own["variance"] + s * s)))
            elif name == "actnorm":
                self.layers.append(("scale", own["bias"], own["log_scale"]))
            elif name == "conv1x1":
                n = len(own["sign"])
                lower = np.tril(own["lower"], -1) + np.eye(n)
                upper = np.triu(own["upper"], 1) + np.diag(own["sign"] * np.exp(own["log_scale"]))
                place = np.zeros((n, n))
                place[own["permutation"].astype(int), np.arange(n)] = 1
                w = place @ lower @ upper
                self.layers.append(("matrix", w, np.linalg.inv(w), own["log_scale"].sum()))
            elif name == "coupling":
                hidden = features @ own["condition.0.weight"] + own["condition.0.bias"]
                hidden = hidden / (1 + np.exp(-hidden))
                biases = hidden @ own["condition.1.weight"] + own["condition.1.bias"]
                nets, start = [], 0
                for k in range(3):
                    w = own[f"net.{k}.weight"]
                    nets.append((w, biases[start:start + w.shape[-1]]))
                    start += w.shape[-1]
                self.layers.append(("coupling", nets))
            else:
                self.layers.append((name,))
            number += 1

    @classmethod
    def flat(cls, items):
        for item in items:
            if isinstance(item, dict) and "repeat" in item:
                for _ in range(item["repeat"]["times"]):
                    yield from cls.flat(item["repeat"]["layers"])
            else:
                yield item

    @staticmethod
    def head(nets, x):
        for k, (w, b) in enumerate(nets):
            x = convolution(x, w) + b
            if k < len(nets) - 1:
                x = silu(x)
        half = x.shape[-1] // 2
        return x[..., :half], jax.nn.log_sigmoid(x[..., half:] + 2)

    @staticmethod
    def squeeze(x):
        h, w, c = x.shape
        return x.reshape(h // 2, 2, w // 2, 2, c).transpose(0, 2, 4, 1, 3).reshape(h // 2, w // 2, 4 * c)

    @staticmethod
    def unsqueeze(x):
        h, w, c = x.shape
        return x.reshape(h, w, c // 4, 2, 2).transpose(0, 3, 1, 4, 2).reshape(2 * h, 2 * w, c // 4)

    def forward(self, x):
        log_det, latents = 0.0, []
        for layer in self.layers:
            if layer[0] == "scale":
                x = (x + layer[1]) * jnp.exp(layer[2])
                log_det += jnp.sum(jnp.broadcast_to(layer[2], x.shape))
            elif layer[0] == "matrix":
                x = x @ layer[1].T
                log_det += x.shape[0] * x.shape[1] * layer[3]
            elif layer[0] == "coupling":
                half = x.shape[-1] // 2
                shift, log_scale = self.head(layer[1], x[..., :half])
                x = jnp.concatenate([x[..., :half], (x[..., half:] + shift) * jnp.exp(log_scale)], -1)
                log_det += log_scale.sum()
            elif layer[0] == "squeeze":
                x = self.squeeze(x)
            else:
                half = x.shape[-1] // 2
                latents.append(x[..., half:].ravel())
                x = x[..., :half]
        return jnp.concatenate(latents + [x.ravel()]), log_det

    def inverse(self, z):
        sizes, shape = [], [28, 28, 1]
        for layer in self.layers:
            if layer[0] == "squeeze":
                shape = [shape[0] // 2, shape[1] // 2, shape[2] * 4]
            elif layer[0] == "split":
                shape[2] //= 2
                sizes.append(tuple(shape))
        rest = [z[:int(np.prod(s))].reshape(s) for s in sizes]
        x = z[sum(int(np.prod(s)) for s in sizes):].reshape(shape)
        for layer in reversed(self.layers):
            if layer[0] == "scale":
                x = x * jnp.exp(-layer[2]) - layer[1]
            elif layer[0] == "matrix":
                x = x @ layer[2].T
            elif layer[0] == "coupling":
                half = x.shape[-1] // 2
                shift, log_scale = self.head(layer[1], x[..., :half])
                x = jnp.concatenate([x[..., :half], x[..., half:] * jnp.exp(-log_scale) - shift], -1)
            elif layer[0] == "squeeze":
                x = self.unsqueeze(x)
            else:
                x = jnp.concatenate([x, rest.pop()], -1)
        return x

    def log_density(self, x):
        z, log_det = self.forward(x)
        return -0.5 * jnp.sum(z * z) - 0.5 * z.size * jnp.log(2 * jnp.pi) + log_det


def aipo(command, *arguments):
    result = subprocess.run([command, *arguments, "--json", "--quiet", "--threads", "1"], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"aipo {' '.join(arguments)}: {result.stderr}")
    return json.loads(result.stdout)


def slowest(draws):
    """Bulk ESS and R-hat of the worst pixel, of draws [chain, draw, ...]."""
    draws = np.asarray(draws, np.float64).reshape(draws.shape[0], draws.shape[1], -1)
    data = az.convert_to_dataset({"x": draws})
    return float(az.ess(data, method="bulk")["x"].min()), float(az.rhat(data)["x"].max())


def numpyro_nuts(potential, start, warm_up, draws, chains):
    """NUTS with its own adaptation of step and diagonal mass. Gives draws, gradients after the warm-up, and seconds."""
    kernel = NUTS(potential_fn=potential, max_tree_depth=10)
    sampler = MCMC(kernel, num_warmup=warm_up, num_samples=draws, num_chains=chains, chain_method="sequential",
                   progress_bar=False)
    began = time.time()
    sampler.run(jax.random.PRNGKey(1), init_params=start, extra_fields=("num_steps",))
    seconds = time.time() - began
    return sampler.get_samples(group_by_chain=True), int(sampler.get_extra_fields()["num_steps"].sum()), seconds


def blackjax_nuts(potential, start, warm_up, draws, chains):
    """The same of blackjax: window adaptation, then NUTS."""
    log_density = lambda x: -potential(x)
    found, gradients, began = [], 0, time.time()
    for chain in range(chains):
        key, other = jax.random.split(jax.random.PRNGKey(chain))
        adaptation = blackjax.window_adaptation(blackjax.nuts, log_density)
        (state, parameters), _ = adaptation.run(key, start[chain], num_steps=warm_up)
        step = blackjax.nuts(log_density, **parameters).step

        @jax.jit
        def run(state, keys):
            def one(state, key):
                state, info = step(key, state)
                return state, (state.position, info.num_integration_steps)
            return jax.lax.scan(one, state, keys)[1]

        positions, steps = run(state, jax.random.split(other, draws))
        found.append(np.asarray(positions))
        gradients += int(steps.sum())
    return np.stack(found), gradients, time.time() - began


def main():
    command, folder = os.path.abspath(sys.argv[1]), sys.argv[2]
    draws, warm_up, chains = (int(v) for v in (sys.argv[3:6] or (450, 300, 4)))
    index = sys.argv[6] if len(sys.argv) > 6 else "0"
    os.makedirs(folder, exist_ok=True)
    glow = Glow(MODEL)

    with open(IMAGES, "rb") as f:
        pixels = np.frombuffer(f.read()[16:], np.uint8).reshape(-1, 28, 28, 1)
    truth = (pixels[int(index)] + 0.5) / 256
    noisy = truth + SIGMA * np.random.default_rng(0).standard_normal(truth.shape)
    observation = os.path.join(folder, "noisy.npy")
    np.save(observation, noisy[None].astype(np.float32))
    ours = aipo(command, "logprob", observation, "--raw", "--model", MODEL, "--precision", "float64")["logprob"][0]
    with jax.enable_x64(True):
        theirs = float(glow.log_density(jnp.asarray(np.load(observation)[0], jnp.float64)))
    if not abs(ours - theirs) < 1e-6 * abs(ours):
        sys.exit(f"log p is {ours} by aipo and {theirs} in JAX")

    kept = os.path.join(folder, "draws.npz")
    began = time.time()
    found = aipo(command, "posterior", "--model", MODEL, "--task", "denoise", "--observation", observation, "--sigma",
                 str(SIGMA), "--draws", str(draws), "--warmup", str(warm_up), "--chains", str(chains), "--save-draws",
                 kept)["images"][0]
    seconds = time.time() - began
    own = np.load(kept)
    own = own[[k for k in own.files if own[k].shape[-3:] == (28, 28, 1)][0]]
    after = found["evaluations"] - found["warmupEvaluations"]
    rows = [("aipo, latents", own, after, found["evaluations"], seconds)]

    y = jnp.asarray(np.load(observation)[0])
    misfit = lambda x: jnp.sum((y - x) ** 2) / (2 * SIGMA**2)
    over_latents = jax.jit(lambda z: misfit(glow.inverse(z)) + 0.5 * jnp.sum(z * z))
    over_pixels = jax.jit(lambda x: misfit(x.reshape(28, 28, 1)) - glow.log_density(x.reshape(28, 28, 1)))
    random = np.random.default_rng(1)
    to_pixels = jax.jit(jax.vmap(glow.inverse))
    latents = jnp.asarray(random.standard_normal((chains, DIMENSION)), jnp.float32)
    starts = {"latents": latents, "pixels": to_pixels(latents).reshape(chains, -1)}
    for name, sample in (("numpyro", numpyro_nuts), ("blackjax", blackjax_nuts)):
        for space, potential in (("latents", over_latents), ("pixels", over_pixels)):
            result, gradients, seconds = sample(potential, starts[space], warm_up, draws, chains)
            if space == "latents":
                result = np.stack([np.asarray(to_pixels(jnp.asarray(c))) for c in result])
            rows.append((f"{name} NUTS, {space}", np.asarray(result), gradients, None, seconds))
            print(rows[-1][0], slowest(rows[-1][1]), gradients, f"{seconds:.0f} s", file=sys.stderr, flush=True)

    lines = ["| sampler | bulk ESS of the slowest pixel | R-hat of the worst | gradients after the warm-up | "
             "ESS a thousand of them | s | ESS a s | PSNR of the mean, dB |", "|---|--:|--:|--:|--:|--:|--:|--:|"]
    for name, values, gradients, _, seconds in rows:
        size, rhat = slowest(values)
        mean = np.asarray(values, np.float64).mean((0, 1)).reshape(truth.shape).clip(0, 1)
        lines.append(f"| {name} | {size:.0f} | {rhat:.3f} | {gradients} | {1000 * size / gradients:.2f} | {seconds:.0f} | "
                     f"{size / seconds:.2f} | {-10 * np.log10(((mean - truth) ** 2).mean()):.2f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    with open(os.path.join(folder, "posterior.md"), "w") as f:
        f.write(text)


if __name__ == "__main__":
    main()
