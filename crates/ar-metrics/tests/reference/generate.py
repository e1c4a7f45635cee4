"""Writes expected.json, the reference numbers for the Rust networks and distances.

Run `python3 generate.py` in this folder; it needs torch and numpy. It uses no random numbers and no
files: weights and inputs are hashes of their key and index, which the tests compute in the same way.
"""

import json
import math
import re

import numpy as np
import torch
import torch.nn.functional as F

import networks


def noise(key, count):
    """Numbers in [-1, 1): the SplitMix64 sequence that starts at the FNV-1a hash of the key."""
    seed = 0xCBF29CE484222325
    for byte in key.encode():
        seed = ((seed ^ byte) * 0x100000001B3) % 2**64
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def tensor(key, *shape):
    values = noise(key, math.prod(shape)).astype(np.float32)
    return torch.from_numpy(values).reshape(shape)


class Weights:
    """Weights by key, scaled to keep activations in bounds; records the keys that were requested."""

    def __init__(self):
        self.shapes = {}

    def __call__(self, key, *shape):
        self.shapes[key] = list(shape)
        name = key.rsplit(".", 1)[1]
        if name == "num_batches_tracked":
            return None
        if key.startswith("lin"):
            name = "distance"
        scale, offset = {
            "distance": (0.5, 0.5),
            "running_var": (0.5, 1),
            "running_mean": (0.1, 0),
            "bias": (0.1, 0),
            "weight": (0.25, 1) if len(shape) == 1 else (math.sqrt(6 / math.prod(shape[1:])), 0),
        }[name]
        values = (noise(key, math.prod(shape)) * scale + offset).astype(np.float32)
        return torch.from_numpy(values).reshape(shape)


def summary(x):
    """A summary of a tensor that distinguishes it from others."""
    x = x.detach().double()
    flat = x.flatten()
    values = flat[[i * len(flat) // 16 for i in range(16)]]
    rounded = lambda value: float(f"{value:.8g}")
    return {
        "shape": list(x.shape),
        "mean": rounded(flat.mean().item()),
        "rms": rounded(flat.square().mean().sqrt().item()),
        "values": [rounded(value) for value in values.tolist()],
    }


def trace(network, shape):
    weights, stages = Weights(), {}
    see = lambda name, x: stages.__setitem__(name, summary(x))
    x = tensor("input", *shape)
    with torch.no_grad():
        result = network(weights, see, x)
    expected = {"input": shape, "weights": weights.shapes, "stages": stages}
    if torch.is_tensor(result):
        expected["features"] = summary(result)
    return expected


def trace_lpips(network, shape):
    weights, linear, stages = Weights(), Weights(), {}
    see = lambda name, x: stages.__setitem__(name, summary(x))
    a, b = tensor("a", *shape).requires_grad_(), tensor("b", *shape)
    distance = networks.lpips(network, weights, linear, see, a, b)
    distance.sum().backward()
    return {
        "input": shape,
        "weights": linear.shapes,
        "stages": stages,
        "features": summary(distance),
        "gradient": summary(a.grad),
    }


def preprocessed(shape):
    """Summaries of the networks' inputs for clips [batch, frames, 3, height, width] in [0, 1]."""
    clips = (tensor("clips", *shape) + 1) / 2
    frames = clips.flatten(0, 1)

    def stretch(size, mode):
        stretched = F.interpolate(frames, size=(size, size), mode=mode, align_corners=False)
        return stretched.unflatten(0, shape[:2])

    channels = lambda *values: torch.tensor(values).view(1, 1, 3, 1, 1)
    kinetics = stretch(112, "bilinear") - channels(0.4345, 0.4051, 0.3775)
    kinetics = kinetics / channels(0.2768, 0.2713, 0.2737)
    ucf = stretch(128, "bicubic")[:, :, [2, 1, 0]] * 255
    ucf = (ucf - channels(90.25165, 97.65701, 101.40832))[..., 8:120, 8:120]
    return {
        "input": shape,
        "i3d": summary((stretch(224, "bicubic") * 2 - 1).transpose(1, 2)),
        "inception_v3": summary((stretch(299, "bilinear") * 2 - 1).flatten(0, 1)),
        "resnet3d": summary(kinetics.transpose(1, 2)),
        "c3d": summary(ucf.transpose(1, 2)),
    }


def frechet(samples_a, samples_b, width):
    """From the eigenvalues of the product of the covariances, which is not symmetric."""
    a = tensor("frechet a", samples_a, width).double()
    b = tensor("frechet b", samples_b, width).double() * 0.5 + 0.25
    covariances = [torch.cov(x.T) for x in (a, b)]
    roots = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.clamp(min=0).sqrt()
    trace = sum(c.trace() for c in covariances) - 2 * roots.sum()
    distance = (a.mean(0) - b.mean(0)).square().sum() + trace
    return {"samples": [samples_a, samples_b], "width": width, "distance": distance.item()}


expected = {
    "vgg16": trace(networks.vgg16, [2, 3, 37, 32]),
    "alexnet": trace(networks.alexnet, [2, 3, 75, 64]),
    "lpips": trace_lpips(networks.vgg16, [2, 3, 37, 32]),
    "lpips_alexnet": trace_lpips(networks.alexnet, [2, 3, 75, 64]),
    "inception_v3": trace(networks.inception_v3, [1, 3, 147, 139]),
    "i3d": trace(networks.i3d, [1, 3, 10, 64, 48]),
    "resnet3d": trace(networks.resnet3d_50, [1, 3, 6, 48, 40]),
    "c3d": trace(networks.c3d, [1, 3, 16, 112, 112]),
    "preprocessed": preprocessed([1, 2, 3, 7, 9]),
    "frechet": [frechet(40, 30, 12), frechet(10, 9, 24)],
}
# Lists on one line each.
text = re.sub(r"\[[^][{}]*\]", lambda m: " ".join(m[0].split()), json.dumps(expected, indent=1))
with open("expected.json", "w") as file:
    file.write(text + "\n")
