"""Runs the networks of the benches in PyTorch: that the latents are the same, and the times.

    python3 benches/pytorch/compare.py FOLDER

FOLDER is what the bench `sampling` left: models, noise and latents. `cargo xtask bench --pytorch`
runs both. Prints JSON: medians in seconds by the names of the benches. Exit code 1 if the latents
differ.
"""

import json
import os
import statistics
import sys
import time
import tomllib
from pathlib import Path

import torch
from safetensors.torch import load_file

from diffusion import alphas_cumprod, per_frame, sample
from network import Config, Transformer

STEPS = 50
# Rounding of up to 800 forward passes, each of which reads what the one before has written.
TOLERANCE = 1e-4
CONFIGS = Path(__file__).parents[2] / "configs"


def measure(run, least=1, most=5, budget=20.0):
    """The median of the times of `run`, which goes on while there is time; and its result."""
    times = []
    begin = time.perf_counter()
    while len(times) < least or (len(times) < most and time.perf_counter() - begin < budget):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def log(name, seconds, remark=""):
    print(f"{name}: PyTorch {seconds:.4f} s{remark}", file=sys.stderr)


def load(folder):
    """The network of a model folder, its context and its configuration."""
    config = tomllib.loads((folder / "config.toml").read_text())
    weights = load_file(folder / "transformer.safetensors")
    context = weights.pop("context_emb")[None]
    prefix = "diffusion_model.model."
    network = Transformer(Config(**config["transformer"]))
    network.load_state_dict({key.removeprefix(prefix): weights[key] for key in weights})
    return network, context, config["diffusion"]["parameterization"]


def compare_sampling(folder, seconds):
    """Samples what the bench has sampled; returns the relative errors."""
    errors = []
    for model in sorted(path.parent for path in folder.glob("*/config.toml")):
        network, context, parameterization = load(model)
        noise = load_file(model / "noise.safetensors")["noise"]
        expected = load_file(model / "latents.safetensors")
        for key in [key for key in expected if key.startswith("full_window/")]:
            case = key.removeprefix("full_window/")
            ar_step = int(case.removeprefix("ar_step_"))
            name = f"sampling/{model.name}/{case}"
            seconds[name], latents = measure(
                lambda: sample(network, parameterization, noise, context, STEPS, ar_step)
            )
            for method in ["full_window", "active_frames"]:
                theirs = expected[f"{method}/{case}"]
                error = ((theirs - latents).norm() / latents.norm()).item()
                errors.append(error)
                log(name, seconds[name], f", relative error of {method} {error:.1e}")
    return errors


def time_forward(name, config, seconds):
    network = Transformer(config)
    x = torch.randn(1, config.num_frames, config.tokens_per_frame, config.in_channels)
    timesteps = torch.full([1, config.num_frames], 500)
    context = torch.randn(1, config.context_tokens, config.context_dim)
    with torch.inference_mode():
        network(x, timesteps, context)
        seconds[name], _ = measure(
            lambda: network(x, timesteps, context), least=10, most=100, budget=2.0
        )
    log(name, seconds[name])


def time_training_step(run, seconds):
    """Forward and backward pass, clipping, AdamW and the average of the weights."""
    config, settings = Config(**run["transformer"]), run["optimizer"]
    batch, frames = run["run"]["batch_size"], config.num_frames
    assert run["diffusion"]["parameterization"] == "v"
    network = Transformer(config)
    average = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings["learning_rate"], weight_decay=1e-4, fused=True
    )
    x0 = torch.randn(batch, frames, config.tokens_per_frame, config.in_channels)
    eps = torch.randn_like(x0)
    context = torch.randn(batch, config.context_tokens, config.context_dim)
    alphas = alphas_cumprod()
    timesteps = torch.arange(frames) * len(alphas) // frames
    alpha = per_frame(alphas[timesteps])

    def step():
        noisy = alpha.sqrt() * x0 + (1 - alpha).sqrt() * eps
        target = alpha.sqrt() * eps - (1 - alpha).sqrt() * x0
        prediction = network(noisy, timesteps.expand(batch, frames), context)
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(prediction, target).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, list(network.parameters()), 1 - settings["ema_decay"])

    step()
    name = f"training_step/transformer_small_batch_{batch}_of_{frames}_frames"
    seconds[name], _ = measure(step, least=10, most=100, budget=5.0)
    log(name, seconds[name])


def main(folder):
    threads = os.cpu_count()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    seconds = {}
    small = tomllib.loads((CONFIGS / "shapes/diffusion.toml").read_text())
    time_training_step(small, seconds)
    time_forward("transformer_forward/small", Config(**small["transformer"]), seconds)
    time_forward("transformer_forward/published_one_block", Config(depth=1), seconds)
    time_forward("transformer_forward/published", Config(), seconds)
    errors = compare_sampling(folder, seconds)
    # Not by the largest: no comparison with NaN holds.
    if not errors or not all(error <= TOLERANCE for error in errors):
        sys.exit(f"the latents differ by {errors}, and by more than {TOLERANCE:.0e}")
    report = {
        "torch": torch.__version__,
        "threads": threads,
        "relative_error": max(errors),
        "seconds": seconds,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
