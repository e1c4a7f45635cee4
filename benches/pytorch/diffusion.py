"""The diffusion process, and the sampler that evaluates every frame in every iteration."""

import torch


def alphas_cumprod(timesteps=1000, start=1e-4, end=2e-2):
    """The published noise schedule, f64."""
    line = torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64)
    return (1 - line**2).cumprod(0)


def clean(parameterization, output, x, alpha):
    """The clean latents that a network's output at `x` predicts."""
    if parameterization == "x0":
        return output
    if parameterization == "v":
        return alpha.sqrt() * x - (1 - alpha).sqrt() * output
    raise ValueError(f"parameterization = {parameterization!r}: not in this comparison")


def per_frame(values):
    """`[frames]` as f32 that broadcasts against latents."""
    return values.float()[None, :, None, None]


@torch.inference_mode()
def sample(network, parameterization, noise, context, steps, ar_step):
    """Deterministic DDIM sampling; each frame is `ar_step` steps behind the frame before it.

    noise and output: [1, frames, tokens, channels]; one window of frames.
    """
    device = noise.device
    alphas = alphas_cumprod().to(device)
    total = len(alphas)
    # In descending order; the last step ends at timestep 0.
    walk = (torch.arange(steps, device=device) * total // steps + 1).flip(0)
    end = torch.zeros(1, dtype=walk.dtype, device=device)
    alpha, alpha_prev = alphas[walk], alphas[torch.cat([walk[1:], end])]
    x = noise
    frames = torch.arange(x.shape[1], device=device)
    for iteration in range(steps + ar_step * (x.shape[1] - 1)):
        step = iteration - ar_step * frames
        waiting, finished = step < 0, step >= steps
        step = step.clamp(0, steps - 1)
        timesteps = torch.where(waiting, total - 1, walk[step])
        output = network(x, timesteps[None], context)
        a, a_prev = per_frame(alpha[step]), per_frame(alpha_prev[step])
        x0 = clean(parameterization, output, x, a)
        eps = (x / a.sqrt() - x0) / (1 / a - 1).sqrt()
        updated = a_prev.sqrt() * x0 + (1 - a_prev).sqrt() * eps
        x = torch.where((waiting | finished)[None, :, None, None], x, updated)
    return x
