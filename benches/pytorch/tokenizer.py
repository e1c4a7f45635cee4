"""The tokenizers in plain PyTorch, with the parameter names of our files; for the AR-VAE, these are
the names in published checkpoints."""

import torch
from torch import nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """The parameters of `nn.MultiheadAttention`, whose own forward pass is no faster."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def attend(self, q, k, v, mask=None):
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(x.transpose(1, 2).flatten(2))

    def forward(self, x, mask=None):
        return self.attend(*F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, -1), mask)

    def cross(self, q, k, v, mask):
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        projected = [F.linear(*inputs) for inputs in zip((q, k, v), weights, biases)]
        return self.attend(*projected, mask)


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


def visible(queries, keys):
    """`[queries, keys]`, added to scores: a frame sees itself and earlier frames."""
    mask = keys[None, :] <= queries[:, None]
    return torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)


class Fine(nn.Module):
    """Every patch position attends over time."""

    def __init__(self, width, heads):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)

    def forward(self, patches):
        frames = torch.arange(patches.shape[1])
        over_time = self.ln_1(patches).transpose(1, 2).flatten(0, 1)
        update = self.attn(over_time, visible(frames, frames))
        return patches + update.unflatten(0, (patches.shape[0], -1)).transpose(1, 2)


class Coarse(nn.Module):
    """Patch and latent tokens attend to the latent tokens of their own and earlier frames."""

    def __init__(self, width, heads):
        super().__init__()
        self.ln_q = nn.LayerNorm(width)
        self.ln_k = nn.LayerNorm(width)
        self.ln_v = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads)

    def forward(self, tokens, latents):
        frames = torch.arange(tokens.shape[1])
        queries, keys = (frames.repeat_interleave(n) for n in (tokens.shape[2], latents))
        memory = tokens[:, :, -latents:].flatten(1, 2)
        update = self.attn.cross(
            self.ln_q(tokens.flatten(1, 2)),
            self.ln_k(memory),
            self.ln_v(memory),
            visible(queries, keys),
        )
        return tokens + update.view_as(tokens)


class Encoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, patch = config["width"], config["patch_size"]
        patches = (config["image_size"] // patch) ** 2
        self.patch_embed = nn.Conv2d(3, width, patch, stride=patch)
        self.class_embedding = nn.Parameter(torch.randn(1, width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn(patches + 1, width) * width**-0.5)
        self.latent_token_positional_embedding = nn.Parameter(
            torch.randn(config["latent_tokens"], width) * width**-0.5
        )
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.ModuleList(
            Block(width, config["heads"]) for _ in range(config["layers"])
        )
        self.ln_post = nn.LayerNorm(width)
        self.conv_out = nn.Conv2d(width, 2 * config["latent_channels"], 1)

    def forward(self, pixels, latent_tokens):
        patches = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        images, _, width = patches.shape
        image = torch.cat([self.class_embedding.expand(images, 1, width), patches], dim=1)
        image = image + self.positional_embedding
        latents = latent_tokens + self.latent_token_positional_embedding
        x = self.ln_pre(torch.cat([image, latents.expand(images, -1, -1)], dim=1))
        for block in self.transformer:
            x = block(x)
        latents = self.ln_post(x[:, image.shape[1] :])
        # Read as [width, tokens] without a transpose, as the published networks do.
        return self.conv_out(latents.reshape(images, width, -1, 1)).squeeze(3)


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, codes, layers = config["width"], config["codebook_channels"], config["layers"]
        self.grid = config["image_size"] // config["patch_size"]
        self.decoder_embed = nn.Linear(config["latent_channels"], width)
        self.class_embedding = nn.Parameter(torch.randn(1, width) * width**-0.5)
        self.positional_embedding = nn.Parameter(
            torch.randn(self.grid**2 + 1, width) * width**-0.5
        )
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * width**-0.5)
        self.latent_token_positional_embedding = nn.Parameter(
            torch.randn(config["latent_tokens"], width) * width**-0.5
        )
        self.ln_pre = nn.LayerNorm(width)
        blocks = lambda kind, count: nn.ModuleList(
            kind(width, config["heads"]) for _ in range(count)
        )
        self.transformer = blocks(Block, layers)
        temporal = layers if config["temporal"] else 0
        self.fine_temporal_blocks = blocks(Fine, temporal)
        self.coarse_temporal_blocks = blocks(Coarse, temporal)
        self.ln_post = nn.LayerNorm(width)
        self.ffn = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1), nn.Tanh(), nn.Conv2d(2 * width, codes, 1)
        )

    def forward(self, latents):
        batch, frames, tokens, _ = latents.shape
        images, patches = batch * frames, self.grid**2
        latents = self.decoder_embed(F.normalize(latents, dim=-1)).flatten(0, 1)
        latents = latents + self.latent_token_positional_embedding
        masks = self.mask_token[0].expand(patches, -1)
        image = torch.cat([self.class_embedding, masks]) + self.positional_embedding
        x = self.ln_pre(torch.cat([image.expand(images, -1, -1), latents], dim=1))
        for layer, block in enumerate(self.transformer):
            if self.fine_temporal_blocks:
                video = x[:, 1:].unflatten(0, (batch, frames))
                image = self.fine_temporal_blocks[layer](video[:, :, :patches])
                video = torch.cat([image, video[:, :, patches:]], dim=2)
                video = self.coarse_temporal_blocks[layer](video, tokens)
                x = torch.cat([x[:, :1], video.flatten(0, 1)], dim=1)
            x = block(x)
        image = self.ln_post(x[:, 1 : 1 + patches]).transpose(1, 2)
        return self.ffn(image.unflatten(2, (self.grid, self.grid))).softmax(1)


def conv3x3(channels_in, channels_out, bias):
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=bias)


class NormBlock(nn.Module):
    """Two convolutions and a residual; if channels change, the residual is of the block's own output."""

    def __init__(self, channels_in, channels_out, groups):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels_in, eps=1e-6)
        self.conv1 = conv3x3(channels_in, channels_out, bias=False)
        self.norm2 = nn.GroupNorm(groups, channels_out, eps=1e-6)
        self.conv2 = conv3x3(channels_out, channels_out, bias=False)
        if channels_in != channels_out:
            self.nin_shortcut = nn.Conv2d(channels_out, channels_out, 1, bias=False)
        else:
            self.nin_shortcut = None

    def forward(self, x):
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return hidden + (x if self.nin_shortcut is None else self.nin_shortcut(hidden))


class UpLevel(nn.Module):
    def __init__(self, channels_in, channels_out, config, doubles):
        super().__init__()
        blocks, groups = config["res_blocks"], config["norm_groups"]
        inputs = [channels_in] + (blocks - 1) * [channels_out]
        self.block = nn.ModuleList(NormBlock(n, channels_out, groups) for n in inputs)
        self.upsample_conv = conv3x3(channels_out, channels_out, bias=True) if doubles else None

    def forward(self, x):
        for block in self.block:
            x = block(x)
        if self.upsample_conv is None:
            return x
        return self.upsample_conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class PixelDecoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        channels = [m * config["hidden_channels"] for m in config["channel_multipliers"]]
        coarsest, groups = channels[-1], config["norm_groups"]
        self.conv_in = conv3x3(config["z_channels"], coarsest, bias=True)
        self.mid = nn.ModuleList(
            NormBlock(coarsest, coarsest, groups) for _ in range(config["res_blocks"])
        )
        inputs = channels[1:] + [coarsest]
        self.up = nn.ModuleList(
            UpLevel(n, m, config, level > 0) for level, (n, m) in enumerate(zip(inputs, channels))
        )
        self.norm_out = nn.GroupNorm(groups, channels[0], eps=1e-6)
        self.conv_out = conv3x3(channels[0], 3, bias=True)

    def forward(self, codes):
        x = self.conv_in(codes)
        for block in self.mid:
            x = block(x)
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class ArVae(nn.Module):
    """A `[vae]` of kind `transformer`."""

    def __init__(self, config):
        super().__init__()
        width, pixel = config["width"], config["pixel_decoder"]
        self.encoder = Encoder(config)
        self.latent_tokens = nn.Parameter(
            torch.randn(config["latent_tokens"], width) * width**-0.5
        )
        self.decoder = Decoder(config)
        self.pixel_quantize_conv = nn.Conv2d(config["codebook_channels"], pixel["z_channels"], 1)
        self.pixel_decoder = PixelDecoder(pixel)

    def encode(self, pixels):
        """`[batch, frames, 3, height, width]` to means, `[batch, frames, tokens, channels]`"""
        moments = self.encoder(pixels.flatten(0, 1), self.latent_tokens)
        mean = moments.chunk(2, 1)[0].transpose(1, 2)
        return mean.unflatten(0, pixels.shape[:2])

    def decode(self, latents):
        """The other way round."""
        pixels = self.pixel_decoder(self.pixel_quantize_conv(self.decoder(latents)))
        return pixels.unflatten(0, latents.shape[:2])


class ReluBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = conv3x3(channels, channels, bias=True)
        self.conv2 = conv3x3(channels, channels, bias=True)

    def forward(self, x):
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class EncoderLevel(nn.Module):
    def __init__(self, channels_in, channels_out, blocks):
        super().__init__()
        self.res = nn.Sequential(*(ReluBlock(channels_in) for _ in range(blocks)))
        self.down = nn.Conv2d(channels_in, channels_out, 2, stride=2)

    def forward(self, x):
        return self.down(self.res(x))


class DecoderLevel(nn.Module):
    def __init__(self, channels_in, channels_out, blocks):
        super().__init__()
        self.up = nn.Conv2d(channels_in, 4 * channels_out, 1)
        self.res = nn.Sequential(*(ReluBlock(channels_out) for _ in range(blocks)))

    def forward(self, x):
        return self.res(F.pixel_shuffle(self.up(x), 2))


class ConvVae(nn.Module):
    """A `[vae]` of kind `conv`."""

    def __init__(self, config):
        super().__init__()
        channels, blocks, latent = (
            config[key] for key in ("channels", "res_blocks", "latent_channels")
        )
        self.patch = patch = config["patch_size"]
        coarsest, finest = channels[-1], channels[0]
        pairs = list(zip(channels, channels[1:]))
        self.patch_embed = nn.Conv2d(3, finest, patch, stride=patch)
        self.encoder = nn.Sequential(*(EncoderLevel(a, b, blocks) for a, b in pairs))
        self.encoder_out = nn.Sequential(*(ReluBlock(coarsest) for _ in range(blocks)))
        self.moments = nn.Conv2d(coarsest, 2 * latent, 1)
        self.latent_embed = conv3x3(latent, coarsest, bias=True)
        self.decoder_in = nn.Sequential(*(ReluBlock(coarsest) for _ in range(blocks)))
        self.decoder = nn.Sequential(*(DecoderLevel(b, a, blocks) for a, b in reversed(pairs)))
        self.pixels = conv3x3(finest, 3 * patch**2, bias=True)

    def encode(self, pixels):
        """`[batch, frames, 3, height, width]` to means, `[batch, frames, tokens, channels]`"""
        x = self.encoder_out(self.encoder(self.patch_embed(pixels.flatten(0, 1))))
        mean = self.moments(x).chunk(2, 1)[0].flatten(2).transpose(1, 2)
        return mean.unflatten(0, pixels.shape[:2])

    def decode(self, latents):
        """The other way round."""
        side = round(latents.shape[2] ** 0.5)
        x = latents.flatten(0, 1).transpose(1, 2).unflatten(2, (side, side))
        x = self.pixels(self.decoder(self.decoder_in(self.latent_embed(x))))
        return F.pixel_shuffle(x, self.patch).unflatten(0, latents.shape[:2])
