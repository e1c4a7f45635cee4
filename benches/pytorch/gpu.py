"""The networks of `ar-gpu` in PyTorch on a GPU, eager and compiled, in f32 and bf16.

    python3 benches/pytorch/gpu.py FOLDER

`ar-gpu` has written its models to FOLDER/models, with an input and its output. Prints one line of JSON
for each result, as `ar-gpu` does: whether the two agree, and the times.

bf16 means 16-bit weights in forward passes and sampling, and autocast with 32-bit weights in training,
as in `ar-gpu`.
"""

import contextlib
import json
import statistics
import sys
import time
import tomllib
from pathlib import Path

import torch
from safetensors.torch import load_file

from diffusion import alphas_cumprod, sample
from network import Config, Transformer

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
STEPS = 50
AR_STEPS = [0, 5, 50]
BATCHES = {"small": 64, "larger": 16, "published": 4}
TOLERANCE = 2e-3
# A sampling run stops here; its total time is extrapolated from its iterations.
SAMPLING_SECONDS = 1.5


def synchronize():
    """Waits until the device has finished all its work."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def tell(**record):
    print(json.dumps(record), flush=True)


class Watch:
    """Memory in use according to the driver, less what was in use at the start."""

    def __init__(self):
        self.at_start = self.in_use()

    def in_use(self):
        if DEVICE.type != "cuda":
            return 0
        free, total = torch.cuda.mem_get_info()
        return total - free

    def used(self):
        return max(0, self.in_use() - self.at_start)


def timed(run, budget=2.0, least=3, most=50):
    """Seconds of the first run, and the median of the others."""

    def once():
        synchronize()
        start = time.perf_counter()
        run()
        synchronize()
        return time.perf_counter() - start

    first = once()
    # A compiler may recompile.
    once()
    times = []
    begin = time.perf_counter()
    while len(times) < least or (len(times) < most and time.perf_counter() - begin < budget):
        times.append(once())
    return first, statistics.median(times)


def load(folder):
    config = tomllib.loads((folder / "config.toml").read_text())
    weights = load_file(folder / "transformer.safetensors")
    context = weights.pop("context_emb")
    context = context.reshape(-1, *context.shape[-2:])[:1]
    prefix = "diffusion_model.model."
    network = Transformer(Config(**config["transformer"]))
    network.load_state_dict({key.removeprefix(prefix): weights[key] for key in weights})
    return network.to(DEVICE), context.to(DEVICE), config["diffusion"]["parameterization"]


def forward(network, x, timesteps, context):
    with torch.inference_mode():
        return network(x, timesteps, context)


class Narrow(torch.nn.Module):
    """A network in bf16 for a sampler in f32."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, timesteps, context):
        output = self.network(x.bfloat16(), timesteps, context.bfloat16())
        return output.float()


def measure_sampling(network, parameterization, shape, context, ar_step):
    """Seconds of `sample`; if it takes too long, extrapolated from the iterations that were done."""
    frames = shape[1]
    iterations = STEPS + ar_step * (frames - 1)
    noise = torch.randn(shape, device=DEVICE)
    done = 0

    class Stop(Exception):
        pass

    def counted(*args):
        nonlocal done
        if done % 10 == 0:
            synchronize()
            if time.perf_counter() - start > SAMPLING_SECONDS:
                raise Stop
        done += 1
        return network(*args)

    start = time.perf_counter()
    with contextlib.suppress(Stop):
        sample(counted, parameterization, noise, context, STEPS, ar_step)
    synchronize()
    return (time.perf_counter() - start) * iterations / done


def training_step(network, parameterization, config, batch, context, autocast):
    context = torch.nn.Parameter(context.clone())
    parameters = [*network.parameters(), context]
    average = [parameter.detach().clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=1e-4, fused=True)
    shape = [batch, config.num_frames, config.tokens_per_frame, config.in_channels]
    x0 = torch.randn(shape, device=DEVICE)
    alphas = alphas_cumprod().to(DEVICE)

    def step():
        eps = torch.randn_like(x0)
        timesteps = torch.randint(0, 1000, shape[:2], device=DEVICE).sort(dim=1).values
        alpha = alphas[timesteps].float()[:, :, None, None]
        noisy = alpha.sqrt() * x0 + (1 - alpha).sqrt() * eps
        target = x0
        if parameterization == "v":
            target = alpha.sqrt() * eps - (1 - alpha).sqrt() * x0
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=autocast):
            prediction = network(noisy, timesteps, context.expand(batch, -1, -1))
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(prediction.float(), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 0.001)

    return step


def measure(folder, compiled, precision):
    name = folder.name
    side = "PyTorch compiled" if compiled else "PyTorch eager"
    watch = Watch()
    network, context, parameterization = load(folder)
    config = network.config
    data = {key: value.to(DEVICE) for key, value in load_file(folder / "forward.safetensors").items()}

    def report(work, first, seconds):
        tell(
            record="time",
            side=side,
            work=work,
            network=name,
            precision=precision,
            seconds=seconds,
            first_seconds=first,
            memory_bytes=watch.used(),
        )

    if precision == "bf16":
        frequencies = network.t_embedder.frequencies
        inference = Narrow(network.bfloat16())
        # In 32 bits, like the angles: 16 bits would blur neighbouring timesteps.
        network.t_embedder.frequencies = frequencies
    else:
        inference = network
    if compiled:
        inference = torch.compile(inference)
    x, timesteps = data["x"], data["timesteps"].long()
    run = lambda: forward(inference, x, timesteps, context.float())
    report("forward", *timed(run))
    if not compiled:
        output = run()
        difference = ((output - data["output"]).norm() / data["output"].norm()).item()
        tell(
            record="check",
            device="PyTorch",
            what=f"{name} forward in PyTorch, {precision}",
            difference=difference,
            tolerance=TOLERANCE if precision == "f32" else 5e-2,
        )
    shape = [1, config.num_frames, config.tokens_per_frame, config.in_channels]
    for ar_step in AR_STEPS:
        seconds = measure_sampling(inference, parameterization, shape, context.float(), ar_step)
        report(f"sampling, s = {ar_step}, full window", seconds, seconds)
    del inference
    network, context, _ = load(folder)
    torch.cuda.empty_cache()
    model = torch.compile(network) if compiled else network
    model.config = config
    step = training_step(model, parameterization, config, BATCHES[name], context, precision == "bf16")
    report("training step", *timed(step))


def main(folder):
    torch.manual_seed(0)
    print(f"PyTorch {torch.__version__}", flush=True)
    # The most valuable first: time may run out.
    cases = [
        ("small", False, "f32"),
        ("published", False, "bf16"),
        ("published", True, "bf16"),
        ("published", False, "f32"),
        ("small", True, "f32"),
        ("small", False, "bf16"),
        ("larger", False, "bf16"),
        ("larger", False, "f32"),
        ("published", True, "f32"),
        ("small", True, "bf16"),
    ]
    for name, compiled, precision in cases:
        model = folder / "models" / name
        if not (model / "forward.safetensors").exists():
            continue
        try:
            measure(model, compiled, precision)
        except Exception as error:  # if a case fails, still run the others
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            tell(record="failure", part=f"PyTorch, {name}, {precision}, compiled: {compiled}", reason=reason)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
