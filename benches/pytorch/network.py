"""The diffusion transformer in plain PyTorch, with the parameter names of published checkpoints.

What its configuration offers is what the benches compare: any causal mask, `share_norm` and
`separate_norm`, `sin_cos` and `frame_rotary` positions.
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


def sin_cos(positions, width):
    """`[positions, width]`: sines, then cosines."""
    frequencies = 10000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    angles = torch.arange(positions, dtype=torch.float64)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def visible_pairs(config):
    """`[sequence, sequence]`, true where a query (row) may see a key; None where all may."""
    if config.causal_mask == "none":
        return None
    video = torch.arange(config.num_frames).repeat_interleave(config.tokens_per_frame)
    # Context stands before all frames.
    frame = torch.cat([torch.full([config.context_tokens], -1), video])
    visible = frame[None, :] <= frame[:, None]
    if config.causal_mask == "video_temporal_causal":
        visible[: config.context_tokens] = True
    return visible


class FrameRotary(nn.Module):
    """Half of a head's channels turn with the frame, half with the token's place in it. Scores
    with context are those of queries and keys that are not turned."""

    def __init__(self, config):
        super().__init__()
        half = config.hidden_size // config.num_heads // 2
        frequencies = 10000.0 ** (-torch.arange(0, half, 2, dtype=torch.float64) / half)
        frames = torch.arange(config.num_frames).repeat_interleave(config.tokens_per_frame)
        tokens = torch.arange(config.tokens_per_frame).repeat(config.num_frames)
        positions = torch.stack([frames, tokens], dim=1).double()
        angles = (positions[:, :, None] * frequencies).flatten(1)  # [video tokens, pairs]
        self.context = config.context_tokens
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def turn(self, x):
        even, odd = x[..., 0::2], x[..., 1::2]
        turned = [even * self.cos - odd * self.sin, even * self.sin + odd * self.cos]
        return torch.stack(turned, dim=-1).flatten(-2)

    def forward(self, q, k):
        """Queries and keys of twice the channels, whose products are the scores."""
        context_q, video_q = q.split([self.context, q.shape[2] - self.context], dim=2)
        context_k, video_k = k.split([self.context, k.shape[2] - self.context], dim=2)
        q_turned = torch.cat([torch.zeros_like(context_q), self.turn(video_q)], dim=2)
        k_turned = torch.cat([torch.zeros_like(context_k), self.turn(video_k)], dim=2)
        k_plain = torch.cat([context_k, torch.zeros_like(video_k)], dim=2)
        return torch.cat([q_turned, q], dim=3), torch.cat([k_turned, k_plain], dim=3)


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

    def forward(self, x, visible, rotary):
        batch, sequence, width = x.shape
        qkv = self.qkv(x).view(batch, sequence, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        scale = q.shape[-1] ** -0.5
        if rotary is not None:
            q, k = rotary(q, k)
            # The fused kernel takes heads of one size.
            v = F.pad(v, [0, q.shape[-1] - v.shape[-1]])
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, scale=scale)
        x = x[..., : width // self.heads]
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
        self.context = config.context_tokens
        self.tokens = config.tokens_per_frame
        self.share_norm = config.merge_mode == "share_norm"
        self.attn = Attention(config)
        self.mlp = Mlp(config)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def half(self, x, layer, shift, scale, gate):
        """`x + layer(norm(x))`, video modulated and gated by frame, context not. With `share_norm`
        the sum is with the normalised tokens."""
        normed = F.layer_norm(x, x.shape[-1:], eps=1e-6)
        context, video = normed[:, : self.context], normed[:, self.context :]
        output = layer(torch.cat([context, video * (1 + scale) + shift], dim=1))
        context, video = output[:, : self.context], output[:, self.context :]
        return (normed if self.share_norm else x) + torch.cat([context, gate * video], dim=1)

    def forward(self, x, timestep, visible, rotary):
        # [batch, video tokens, width] each
        chunks = self.adaLN_modulation(timestep).repeat_interleave(self.tokens, dim=1).chunk(6, -1)
        x = self.half(x, lambda x: self.attn(x, visible, rotary), *chunks[:3])
        return self.half(x, self.mlp, *chunks[3:])


class TimestepEmbedder(nn.Module):
    FREQUENCIES = 256

    def __init__(self, width):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(self.FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, timesteps):
        half = self.FREQUENCIES // 2
        frequencies = torch.exp(-math.log(10000.0) * torch.arange(half) / half)
        angles = timesteps[..., None] * frequencies
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))


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
        video_tokens = config.num_frames * config.tokens_per_frame
        if config.positions == "sin_cos":
            self.rotary = None
            table = sin_cos(video_tokens, width)
        else:
            self.rotary = FrameRotary(config)
            table = sin_cos(config.tokens_per_frame, width).repeat(config.num_frames, 1)
        self.register_buffer("table", table, persistent=False)
        self.register_buffer("visible", visible_pairs(config), persistent=False)

    def forward(self, x, timesteps, context):
        """
        x and output: [batch, frames, tokens, channels]; timesteps: [batch, frames];
        context: [batch, context_tokens, context_dim]
        """
        video = self.x_embedder(x.flatten(1, 2)) + self.table
        stream = torch.cat([self.c_embedder(context), video], dim=1)
        timestep = self.t_embedder(timesteps)  # [batch, frames, width]
        for block in self.blocks:
            stream = block(stream, timestep, self.visible, self.rotary)
        video = stream[:, self.config.context_tokens :]
        return self.final_layer(video).view_as(x)
