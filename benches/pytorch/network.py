"""The diffusion transformer in plain PyTorch, with the parameter names of published checkpoints.

It covers the configurations that the benches compare: any causal mask, `share_norm` and
`separate_norm`, `sin_cos` positions, and `frame_rotary` positions with `temporal_causal`.

If there are several plain ways to write an operation, it uses the one with the fastest forward pass on
a CPU.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass
class Config:
    """`[transformer]` of a model's config.toml; the defaults are the published size."""

    num_frames: int = 16
    tokens_per_frame: int = 32
    in_channels: int = 4
    hidden_size: int = 1152
    depth: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    merge_mode: str = "share_norm"
    causal_mask: str = "video_temporal_causal"
    positions: str = "sin_cos"
    qk_norm: bool = False
    context_tokens: int = 77
    context_dim: int = 768

    def __post_init__(self):
        known = {
            "merge_mode": ["share_norm", "separate_norm"],
            "causal_mask": ["none", "temporal_causal", "video_temporal_causal"],
            "positions": ["sin_cos", "frame_rotary"],
        }
        for key, values in known.items():
            if getattr(self, key) not in values:
                raise ValueError(f"{key} = {getattr(self, key)!r}: not in this comparison")
        if self.positions == "frame_rotary" and self.causal_mask != "temporal_causal":
            raise ValueError(f"frame_rotary under {self.causal_mask!r}: not in this comparison")


def sin_cos(positions, width):
    """`[positions, width]`: sines, then cosines."""
    frequencies = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    angles = torch.arange(positions, dtype=torch.float64)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def mask(config):
    """`[sequence, sequence]`, added to scores: -inf where a query (row) may not see a key, else 0; None
    if every query sees every key. Not booleans, which every call would convert to this."""
    if config.causal_mask == "none":
        return None
    video = torch.arange(config.num_frames).repeat_interleave(config.tokens_per_frame)
    # Context tokens precede all frames.
    frame = torch.cat([torch.full([config.context_tokens], -1), video])
    visible = frame[None, :] <= frame[:, None]
    if config.causal_mask == "video_temporal_causal":
        visible[: config.context_tokens] = True
    return torch.zeros(visible.shape).masked_fill(~visible, -torch.inf)


class FrameRotary(nn.Module):
    """Half of a head's channels are rotated by the frame index, half by the token's index within the
    frame. Scores with context use queries and keys without rotation."""

    def __init__(self, config):
        super().__init__()
        half = config.hidden_size // config.num_heads // 2
        frequencies = 10000.0 ** (-torch.arange(0, half, 2, dtype=torch.float64) / half)
        frames = torch.arange(config.num_frames).repeat_interleave(config.tokens_per_frame)
        tokens = torch.arange(config.tokens_per_frame).repeat(config.num_frames)
        positions = torch.stack([frames, tokens], dim=1).double()
        angles = (positions[:, :, None] * frequencies).flatten(1)  # [video tokens, pairs]
        turns = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)
        self.context = config.context_tokens
        self.register_buffer("turns", turns, persistent=False)

    def turn(self, x):
        # There are no 16-bit complex numbers.
        pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * self.turns).flatten(-2).to(x.dtype)

    def forward(self, q, k, mask, scale):
        """Queries, keys and mask for attention: scores with context are passed as part of the mask, so
        that one fused attention computes the rest."""
        context_q, video_q = q.split([self.context, q.shape[2] - self.context], dim=2)
        context_k, video_k = k.split([self.context, k.shape[2] - self.context], dim=2)
        scores = torch.add(mask[:, : self.context], q @ context_k.mT, alpha=scale)
        others = mask[:, self.context :].expand(*scores.shape[:2], -1, -1)
        q = torch.cat([context_q, self.turn(video_q)], dim=2)
        k = torch.cat([torch.zeros_like(context_k), self.turn(video_k)], dim=2)
        return q, k, torch.cat([scores, others], dim=3)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        if config.qk_norm:
            self.q_norm = nn.LayerNorm(width // self.heads)
            self.k_norm = nn.LayerNorm(width // self.heads)
        else:
            self.q_norm = self.k_norm = nn.Identity()

    def forward(self, x, mask, rotary):
        batch, sequence, width = x.shape
        qkv = self.qkv(x).view(batch, sequence, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        if rotary is not None:
            q, k, mask = rotary(q, k, mask, q.shape[-1] ** -0.5)
        mask = None if mask is None else mask.to(q.dtype)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(x.transpose(1, 2).reshape(batch, sequence, width))


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden = int(config.hidden_size * config.mlp_ratio)
        self.fc1 = nn.Linear(config.hidden_size, hidden)
        self.fc2 = nn.Linear(hidden, config.hidden_size)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config.hidden_size
        self.share_norm = config.merge_mode == "share_norm"
        self.attn = Attention(config)
        self.mlp = Mlp(config)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def half(self, context, video, layer, shift, scale, gate):
        """`x + layer(norm(x))`; video is modulated and gated per frame, context is not. With
        `share_norm`, the residual is the normalised tokens."""
        normed = [F.layer_norm(x, x.shape[-1:], eps=1e-6) for x in (context, video)]
        modulated = torch.addcmul(shift, normed[1], 1 + scale)
        outputs = layer(torch.cat([normed[0], modulated.flatten(1, 2)], dim=1))
        outputs = outputs.split([context.shape[1], outputs.shape[1] - context.shape[1]], dim=1)
        context, video = normed if self.share_norm else (context, video)
        return context + outputs[0], torch.addcmul(video, gate, outputs[1].view_as(video))

    def forward(self, context, video, timestep, mask, rotary):
        """
        context: [batch, context tokens, width]; video: [batch, frames, tokens, width];
        timestep: [batch, frames, width]
        """
        # [batch, frames, 1, width] each
        chunks = self.adaLN_modulation(timestep)[:, :, None].chunk(6, -1)
        context, video = self.half(
            context, video, lambda x: self.attn(x, mask, rotary), *chunks[:3]
        )
        return self.half(context, video, self.mlp, *chunks[3:])


class TimestepEmbedder(nn.Module):
    FREQUENCIES = 256

    def __init__(self, width):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(self.FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        half = self.FREQUENCIES // 2
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(half) / half)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, timesteps):
        angles = timesteps[..., None] * self.frequencies
        embedding = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return self.mlp(embedding.to(self.mlp[0].weight.dtype))


class Transformer(nn.Module):
    """Predicts the diffusion target of every frame of a clip of `num_frames` frames."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        width = config.hidden_size
        self.x_embedder = nn.Linear(config.in_channels, width)
        self.c_embedder = nn.Linear(config.context_dim, width)
        self.t_embedder = TimestepEmbedder(width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_layer = nn.Sequential(
            nn.LayerNorm(width, eps=1e-6, elementwise_affine=False),
            nn.Linear(width, config.in_channels),
        )
        video = [config.num_frames, config.tokens_per_frame]
        if config.positions == "sin_cos":
            self.rotary = None
            table = sin_cos(math.prod(video), width).view(*video, width)
        else:
            self.rotary = FrameRotary(config)
            table = sin_cos(config.tokens_per_frame, width)
        self.register_buffer("table", table, persistent=False)
        self.register_buffer("mask", mask(config), persistent=False)

    def forward(self, x, timesteps, context):
        """
        x and output: [batch, frames, tokens, channels]; timesteps: [batch, frames];
        context: [batch, context_tokens, context_dim]
        """
        video = self.x_embedder(x) + self.table
        context = self.c_embedder(context)
        timestep = self.t_embedder(timesteps)  # [batch, frames, width]
        for block in self.blocks:
            context, video = block(context, video, timestep, self.mask, self.rotary)
        return self.final_layer(video)
