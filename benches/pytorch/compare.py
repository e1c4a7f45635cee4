"""Runs the benches' networks in PyTorch: compares the results, and measures the times.

    python3 benches/pytorch/compare.py FOLDER BENCH...

BENCH is `transformer`, `training`, `sampling` or `tokenizer`; each has written its models, inputs and
outputs to a folder of its name in FOLDER. `cargo xtask bench --pytorch` runs both sides. Prints JSON:
medians in seconds by bench and by the way of running the network ("eager", "compiled", and "bf16" if
the processor has instructions for it), and the largest relative differences, all in f32 and eager, by
what was compared. Exit code 1 if a difference is too large.
"""

import contextlib
import json
import os
import statistics
import sys
import time
import tomllib
from pathlib import Path

import torch
from safetensors.torch import load_file

from diffusion import alphas_cumprod, sample
from network import Config, Transformer
from tokenizer import ArVae, ConvVae

STEPS = 50
# Rounding over up to 800 forward passes or ten training steps, each of which starts from the result of
# the previous one.
TOLERANCE = 1e-4
CONFIGS = Path(__file__).parents[2] / "configs"


def measure(run, least=3, most=5, budget=20.0):
    """The median time of `run`, repeated within the budget, and its result."""
    times = []
    begin = time.perf_counter()
    while len(times) < least or (len(times) < most and time.perf_counter() - begin < budget):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def log(name, way, seconds, remark=""):
    print(f"{name}: PyTorch, {way}: {seconds:.4f} s{remark}", file=sys.stderr)


def has_bf16():
    """Whether the processor has bf16 matrix instructions; without them, bf16 is slower than f32."""
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text()
        return "amx_bf16" in flags or "avx512_bf16" in flags
    return False


def compiled(network):
    """The network through PyTorch's compiler; None if PyTorch finds no C++ compiler."""
    # The shapes of a bench never change.
    torch._dynamo.reset()
    return torch.compile(network, dynamic=False)


def other_ways(name, network, seconds, run, **budget):
    """Times `run(network)` in the other ways that PyTorch offers."""
    with contextlib.suppress(torch._dynamo.exc.BackendCompilerFailed):
        fast = compiled(network)
        run(fast)
        seconds[name]["compiled"], _ = measure(lambda: run(fast), **budget)
        log(name, "compiled", seconds[name]["compiled"])
    if has_bf16():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            run(network)
            seconds[name]["bf16"], _ = measure(lambda: run(network), **budget)
        log(name, "bf16", seconds[name]["bf16"])


def difference(ours, theirs):
    return ((ours - theirs).norm() / ours.norm()).item()


def load(folder):
    """The network in a model folder, its context and its parameterization."""
    config = tomllib.loads((folder / "config.toml").read_text())
    weights = load_file(folder / "transformer.safetensors")
    context = weights.pop("context_emb")[None]
    prefix = "diffusion_model.model."
    network = Transformer(Config(**config["transformer"]))
    network.load_state_dict({key.removeprefix(prefix): weights[key] for key in weights})
    return network, context, config["diffusion"]["parameterization"]


def compare_sampling(folder, seconds):
    """Samples what the bench sampled."""
    differences = []
    for model in sorted(path.parent for path in folder.glob("*/config.toml")):
        network, context, parameterization = load(model)
        noise = load_file(model / "noise.safetensors")["noise"]
        theirs = load_file(model / "latents.safetensors")
        run = lambda way, ar_step: sample(way, parameterization, noise, context, STEPS, ar_step)
        run(network, 0)
        for key in [key for key in theirs if key.startswith("full_window/")]:
            case = key.removeprefix("full_window/")
            ar_step = int(case.removeprefix("ar_step_"))
            name = f"sampling/{model.name}/{case}"
            eager, latents = measure(lambda: run(network, ar_step))
            seconds[name] = {"eager": eager}
            for method in ["full_window", "active_frames"]:
                differences.append(difference(latents, theirs[f"{method}/{case}"]))
                log(name, "eager", eager, f", {method} differs by {differences[-1]:.1e}")
            other_ways(
                name, network, seconds, lambda way: run(way, ar_step), least=1, most=3, budget=3.0
            )
    return {"latents": differences}


def compare_forward(folder, seconds):
    """Forward passes over the clips of the bench."""
    differences = []
    for model in sorted(path.parent for path in folder.glob("*/config.toml")):
        network, context, _ = load(model)
        theirs = load_file(model / "forward.safetensors")
        output = time_forward(
            model.name, network, theirs["x"], theirs["timesteps"], context, seconds
        )
        differences.append(difference(output, theirs["output"]))
    # The bench does not write this one, which is large.
    config = Config()
    x = torch.randn(1, config.num_frames, config.tokens_per_frame, config.in_channels)
    timesteps = torch.full([1, config.num_frames], 500)
    context = torch.randn(1, config.context_tokens, config.context_dim)
    time_forward("published", Transformer(config), x, timesteps, context, seconds)
    return {"outputs of the network": differences}


@torch.inference_mode()
def time_forward(name, network, x, timesteps, context, seconds):
    run = lambda way: way(x, timesteps, context)
    run(network)
    name = f"transformer_forward/{name}"
    budget = {"least": 5, "most": 100, "budget": 2.0}
    eager, output = measure(lambda: run(network), **budget)
    seconds[name] = {"eager": eager}
    log(name, "eager", eager)
    other_ways(name, network, seconds, run, **budget)
    return output


def compare_training(folder, seconds):
    """Forward and backward pass, clipping, AdamW and the weight average: the steps that the bench
    wrote, for comparison, then more steps for timing."""
    run = tomllib.loads((CONFIGS / "shapes/diffusion.toml").read_text())
    settings = run["optimizer"]
    network, context, parameterization = load(folder / "small")
    assert parameterization == "v"
    context = torch.nn.Parameter(context)
    parameters = [*network.parameters(), context]
    average = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(
        parameters, betas=(0.9, settings["beta_2"]), weight_decay=1e-4, fused=True
    )
    data = load_file(folder / "small/steps.safetensors")
    x0, eps, timesteps = data["x0"], data["eps"], data["timesteps"]
    batch, frames = timesteps.shape
    alpha = alphas_cumprod()[timesteps.long()].float()[:, :, None, None]
    steps = 0

    def step(way):
        nonlocal steps
        steps += 1
        noisy = alpha.sqrt() * x0 + (1 - alpha).sqrt() * eps
        target = alpha.sqrt() * eps - (1 - alpha).sqrt() * x0
        prediction = way(noisy, timesteps, context.expand(batch, -1, -1))
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(prediction.float(), target)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        warm = min(1, steps / settings["warmup_steps"])
        optimizer.param_groups[0]["lr"] = settings["learning_rate"] * warm
        optimizer.step()
        decay = min(settings["ema_decay"], (1 + steps) / (10 + steps))
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1 - decay)
        return loss.item(), norm.item()

    ours = torch.tensor([step(network) for _ in data["steps"]])
    # Compare each loss and each norm individually.
    differences = (ours / data["steps"] - 1).abs().flatten().tolist()
    name = f"training_step/transformer_small_batch_{batch}_of_{frames}_frames"
    budget = {"least": 5, "most": 100, "budget": 5.0}
    eager, _ = measure(lambda: step(network), **budget)
    seconds[name] = {"eager": eager}
    log(name, "eager", eager, f", losses and norms differ by {max(differences):.1e}")
    other_ways(name, network, seconds, step, **budget)
    return {"losses and gradient norms": differences}


@torch.inference_mode()
def compare_tokenizer(folder, seconds):
    """Encodes and decodes the frames of the bench."""
    differences = []
    for model in sorted(path.parent for path in folder.glob("*/config.toml")):
        config = tomllib.loads((model / "config.toml").read_text())["vae"]
        theirs = load_file(model / "frames.safetensors")
        kind = {"transformer": ArVae, "conv": ConvVae}[config["kind"]]
        vae = kind(config).to(memory_format=torch.channels_last)
        vae.load_state_dict(load_file(model / "vae.safetensors"))
        mean, decoded = time_tokenizer(model.name, config, vae, theirs, seconds)
        differences.append(difference(mean, theirs["mean"]))
        differences.append(difference(decoded, theirs["decoded"]))
        if kind is ArVae:
            # The bench does not write all layers, which are large.
            config["layers"] = 24
            vae = ArVae(config).to(memory_format=torch.channels_last)
            name = model.name.removesuffix("_one_layer")
            time_tokenizer(name, config, vae, theirs, seconds)
    return {"frames of the tokenizers": differences}


def time_tokenizer(name, config, vae, theirs, seconds):
    """Means and frames, and their times."""
    pixels, latents = theirs["pixels"], theirs["latents"]
    frames = f"{pixels.shape[1]}_frames"
    ways = {f"decode_{frames}": (vae.decode, latents)}
    # Only the decoder has temporal blocks.
    if not config.get("temporal"):
        ways[f"encode_{frames}"] = (vae.encode, pixels)
    budget = {"least": 5, "most": 100, "budget": 2.0}
    for way, (network, x) in ways.items():
        run = lambda network: network(x)
        run(network)
        bench = f"tokenizer/{name}/{way}"
        eager, _ = measure(lambda: run(network), **budget)
        seconds[bench] = {"eager": eager}
        log(bench, "eager", eager)
        other_ways(bench, network, seconds, run, **budget)
    return vae.encode(pixels), vae.decode(latents)


BENCHES = {
    "transformer": compare_forward,
    "training": compare_training,
    "sampling": compare_sampling,
    "tokenizer": compare_tokenizer,
}


def main(folder, benches):
    threads = os.cpu_count()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    seconds, differences = {}, {}
    for bench in benches:
        differences |= BENCHES[bench](folder / bench, seconds)
    # Not through the maximum: comparisons with NaN are false.
    for what, values in differences.items():
        if not values or not all(value <= TOLERANCE for value in values):
            sys.exit(f"{what} differ by {values}, and by more than {TOLERANCE:.0e}")
    report = {
        "torch": torch.__version__,
        "threads": threads,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "differences": {what: max(values) for what, values in differences.items()},
        "seconds": seconds,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
