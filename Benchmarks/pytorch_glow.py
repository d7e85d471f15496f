"""The Glow of `aipo bench flow` in eager PyTorch: the same layers, weights of the same kind, the same passes."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Step(nn.Module):
    """Actnorm, invertible 1x1 convolution, affine coupling with a 3x3 -> 1x1 -> 3x3 net."""

    def __init__(self, channels, hidden):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0])
        self.net = nn.Sequential(
            nn.Conv2d(channels // 2, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 3, padding=1),
        )
        for parameter in self.net.parameters():
            nn.init.normal_(parameter, 0, 0.02)

    def volume(self, x):
        """The part of the log-determinant that doesn't depend on the values."""
        return (self.log_scale.sum() + torch.linalg.slogdet(self.weight)[1]) * x.shape[2] * x.shape[3]

    def forward(self, x):
        c = x.shape[1]
        x = (x + self.bias) * self.log_scale.exp()
        x = F.conv2d(x, self.weight.view(c, c, 1, 1))
        a, b = x.chunk(2, 1)
        shift, scale = self.net(a).chunk(2, 1)
        log_scale = F.logsigmoid(scale + 2)
        b = (b + shift) * torch.sigmoid(scale + 2)
        return torch.cat([a, b], 1), self.volume(x) + log_scale.sum((1, 2, 3))

    def inverse(self, y):
        c = y.shape[1]
        a, b = y.chunk(2, 1)
        shift, scale = self.net(a).chunk(2, 1)
        log_scale = F.logsigmoid(scale + 2)
        b = b / torch.sigmoid(scale + 2) - shift
        y = F.conv2d(torch.cat([a, b], 1), torch.inverse(self.weight).view(c, c, 1, 1))
        return y * (-self.log_scale).exp() - self.bias, -self.volume(y) - log_scale.sum((1, 2, 3))


class Glow(nn.Module):
    """Levels of squeeze, steps, split; the last without split."""

    def __init__(self, levels, steps, hidden, channels):
        super().__init__()
        self.levels = nn.ModuleList()
        for _ in range(levels):
            channels *= 4
            self.levels.append(nn.ModuleList([Step(channels, hidden) for _ in range(steps)]))
            channels //= 2

    def forward(self, x):
        """Images to latents, with the log-determinant."""
        latents, log_det = [], 0
        for number, level in enumerate(self.levels):
            x = F.pixel_unshuffle(x, 2)
            for step in level:
                x, change = step(x)
                log_det = log_det + change
            if number < len(self.levels) - 1:
                x, z = x.chunk(2, 1)
                latents.append(z)
        latents.append(x)
        return latents, log_det

    def inverse(self, latents):
        """Latents to images, with the log-determinant."""
        x, log_det = latents[-1], 0
        for number in reversed(range(len(self.levels))):
            if number < len(self.levels) - 1:
                x = torch.cat([x, latents[number]], 1)
            for step in reversed(self.levels[number]):
                x, change = step.inverse(x)
                log_det = log_det + change
            x = F.pixel_shuffle(x, 2)
        return x, log_det


class Passes:
    """What is measured, by the names of `aipo bench flow --json`. Parameters are frozen but for the training step."""

    def __init__(self, levels, steps, hidden, size, channels, batch, threads, precision):
        self.threads = threads
        self.use_threads()
        torch.manual_seed(0)
        torch.set_default_dtype(getattr(torch, precision))
        self.glow = Glow(levels, steps, hidden, channels)
        self.images = torch.rand(batch, channels, size, size)
        with torch.no_grad():
            self.latents = [torch.randn_like(z) for z in self.glow(self.images)[0]]
        self.freeze(True)
        self.optimizer = None

    def use_threads(self):
        """PyTorch has one number of threads for all; whoever has it sets it again."""
        torch.set_num_threads(self.threads)

    def freeze(self, frozen):
        for parameter in self.glow.parameters():
            parameter.requires_grad_(not frozen)

    def forward(self):
        with torch.no_grad():
            self.glow(self.images)

    def inverse(self):
        with torch.no_grad():
            self.glow.inverse(self.latents)

    def latent_gradient(self):
        latents = [z.clone().requires_grad_(True) for z in self.latents]
        x, log_det = self.glow.inverse(latents)
        torch.autograd.grad(0.5 * (x**2).sum() + log_det.sum(), latents)

    def pixel_gradient(self):
        x = self.images.clone().requires_grad_(True)
        latents, log_det = self.glow(x)
        torch.autograd.grad(sum(0.5 * (z**2).sum() for z in latents) - log_det.sum(), x)

    def training_step(self):
        self.freeze(False)
        if self.optimizer is None:
            self.optimizer = torch.optim.Adam(self.glow.parameters(), lr=1e-6)
        self.optimizer.zero_grad(set_to_none=True)
        latents, log_det = self.glow(self.images)
        (sum(0.5 * (z**2).sum() for z in latents) - log_det.sum()).div(len(self.images)).backward()
        self.optimizer.step()
        self.freeze(True)
