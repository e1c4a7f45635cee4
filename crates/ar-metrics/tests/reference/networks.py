"""Plain PyTorch forward passes of the feature networks, with the keys of the published checkpoints.

Written from the papers, for comparison with the Rust networks: a network is a function of a `Weights`
table, which creates a tensor when its key is first requested, and of a `see` function, which is called
with the output of every stage.
"""

import torch
import torch.nn.functional as F


def vgg16(weights, see, x):
    """The five stages of torchvision's vgg16."""
    layers = [[0, 2], [5, 7], [10, 12, 14], [17, 19, 21], [24, 26, 28]]
    channels = [64, 128, 256, 512, 512]
    stages = []
    for stage, (indices, out) in enumerate(zip(layers, channels)):
        if stage > 0:
            x = F.max_pool2d(x, 2)
        for index in indices:
            key = f"features.{index}"
            weight = weights(f"{key}.weight", out, x.shape[1], 3, 3)
            x = F.relu(F.conv2d(x, weight, weights(f"{key}.bias", out), padding=1))
        see(f"stage{stage}", x)
        stages.append(x)
    weights("classifier.6.bias", 1000)
    return stages


def alexnet(weights, see, x):
    """The five activations of torchvision's alexnet."""
    stages = []
    for stage, (index, out, kernel, stride, padding) in enumerate(
        [(0, 64, 11, 4, 2), (3, 192, 5, 1, 2), (6, 384, 3, 1, 1), (8, 256, 3, 1, 1), (10, 256, 3, 1, 1)]
    ):
        key = f"features.{index}"
        weight = weights(f"{key}.weight", out, x.shape[1], kernel, kernel)
        x = F.conv2d(x, weight, weights(f"{key}.bias", out), stride=stride, padding=padding)
        x = F.relu(x)
        see(f"stage{stage}", x)
        stages.append(x)
        if stage < 2:
            x = F.max_pool2d(x, 3, stride=2)
    weights("classifier.6.bias", 1000)
    return stages


def lpips(network, network_weights, weights, see, a, b):
    """LPIPS 0.1 on the stages of a network: [batch]."""
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    ignore = lambda name, x: None
    stages_a = network(network_weights, ignore, (a - shift) / scale)
    stages_b = network(network_weights, ignore, (b - shift) / scale)
    unit = lambda x: x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
    total = 0
    for stage, (fa, fb) in enumerate(zip(stages_a, stages_b)):
        weight = weights(f"lin{stage}.model.1.weight", 1, fa.shape[1], 1, 1)
        distance = F.conv2d((unit(fa) - unit(fb)).square(), weight).mean((1, 2, 3))
        see(f"stage{stage}", distance)
        total = total + distance
    return total


def batch_norm(weights, key, x, eps):
    size = x.shape[1]
    weights(f"{key}.num_batches_tracked")
    return F.batch_norm(
        x,
        weights(f"{key}.running_mean", size),
        weights(f"{key}.running_var", size),
        weights(f"{key}.weight", size),
        weights(f"{key}.bias", size),
        eps=eps,
    )


def inception_v3(weights, see, x):
    """Inception-v3 of 2015-12-05 up to its pooled features: [batch, 2048]."""

    def conv(key, x, out, kernel, stride=1, padding=0):
        kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        weight = weights(f"{key}.conv.weight", out, x.shape[1], *kernel)
        x = F.conv2d(x, weight, stride=stride, padding=padding)
        return F.relu(batch_norm(weights, f"{key}.bn", x, 1e-3))

    def average(x):
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)

    def mixed_a(key, x, pooled):
        b1 = conv(f"{key}.branch1x1", x, 64, 1)
        b5 = conv(f"{key}.branch5x5_1", x, 48, 1)
        b5 = conv(f"{key}.branch5x5_2", b5, 64, 5, padding=2)
        b3 = conv(f"{key}.branch3x3dbl_1", x, 64, 1)
        b3 = conv(f"{key}.branch3x3dbl_2", b3, 96, 3, padding=1)
        b3 = conv(f"{key}.branch3x3dbl_3", b3, 96, 3, padding=1)
        pool = conv(f"{key}.branch_pool", average(x), pooled, 1)
        return torch.cat([b1, b5, b3, pool], 1)

    def mixed_b(key, x):
        b3 = conv(f"{key}.branch3x3", x, 384, 3, stride=2)
        dbl = conv(f"{key}.branch3x3dbl_1", x, 64, 1)
        dbl = conv(f"{key}.branch3x3dbl_2", dbl, 96, 3, padding=1)
        dbl = conv(f"{key}.branch3x3dbl_3", dbl, 96, 3, stride=2)
        return torch.cat([b3, dbl, F.max_pool2d(x, 3, stride=2)], 1)

    def mixed_c(key, x, inside):
        row, column = dict(kernel=(1, 7), padding=(0, 3)), dict(kernel=(7, 1), padding=(3, 0))
        b1 = conv(f"{key}.branch1x1", x, 192, 1)
        b7 = conv(f"{key}.branch7x7_1", x, inside, 1)
        b7 = conv(f"{key}.branch7x7_2", b7, inside, **row)
        b7 = conv(f"{key}.branch7x7_3", b7, 192, **column)
        dbl = conv(f"{key}.branch7x7dbl_1", x, inside, 1)
        dbl = conv(f"{key}.branch7x7dbl_2", dbl, inside, **column)
        dbl = conv(f"{key}.branch7x7dbl_3", dbl, inside, **row)
        dbl = conv(f"{key}.branch7x7dbl_4", dbl, inside, **column)
        dbl = conv(f"{key}.branch7x7dbl_5", dbl, 192, **row)
        pool = conv(f"{key}.branch_pool", average(x), 192, 1)
        return torch.cat([b1, b7, dbl, pool], 1)

    def mixed_d(key, x):
        b3 = conv(f"{key}.branch3x3_1", x, 192, 1)
        b3 = conv(f"{key}.branch3x3_2", b3, 320, 3, stride=2)
        b7 = conv(f"{key}.branch7x7x3_1", x, 192, 1)
        b7 = conv(f"{key}.branch7x7x3_2", b7, 192, (1, 7), padding=(0, 3))
        b7 = conv(f"{key}.branch7x7x3_3", b7, 192, (7, 1), padding=(3, 0))
        b7 = conv(f"{key}.branch7x7x3_4", b7, 192, 3, stride=2)
        return torch.cat([b3, b7, F.max_pool2d(x, 3, stride=2)], 1)

    def mixed_e(key, x, pool):
        row, column = dict(kernel=(1, 3), padding=(0, 1)), dict(kernel=(3, 1), padding=(1, 0))
        b1 = conv(f"{key}.branch1x1", x, 320, 1)
        b3 = conv(f"{key}.branch3x3_1", x, 384, 1)
        b3a = conv(f"{key}.branch3x3_2a", b3, 384, **row)
        b3b = conv(f"{key}.branch3x3_2b", b3, 384, **column)
        dbl = conv(f"{key}.branch3x3dbl_1", x, 448, 1)
        dbl = conv(f"{key}.branch3x3dbl_2", dbl, 384, 3, padding=1)
        dbl_a = conv(f"{key}.branch3x3dbl_3a", dbl, 384, **row)
        dbl_b = conv(f"{key}.branch3x3dbl_3b", dbl, 384, **column)
        pooled = conv(f"{key}.branch_pool", pool(x), 192, 1)
        return torch.cat([b1, b3a, b3b, dbl_a, dbl_b, pooled], 1)

    maximum = lambda x: F.max_pool2d(x, 3, stride=1, padding=1)
    for key, layer in [
        ("Conv2d_1a_3x3", lambda x: conv("Conv2d_1a_3x3", x, 32, 3, stride=2)),
        ("Conv2d_2a_3x3", lambda x: conv("Conv2d_2a_3x3", x, 32, 3)),
        ("Conv2d_2b_3x3", lambda x: conv("Conv2d_2b_3x3", x, 64, 3, padding=1)),
        (None, lambda x: F.max_pool2d(x, 3, stride=2)),
        ("Conv2d_3b_1x1", lambda x: conv("Conv2d_3b_1x1", x, 80, 1)),
        ("Conv2d_4a_3x3", lambda x: conv("Conv2d_4a_3x3", x, 192, 3)),
        (None, lambda x: F.max_pool2d(x, 3, stride=2)),
        ("Mixed_5b", lambda x: mixed_a("Mixed_5b", x, 32)),
        ("Mixed_5c", lambda x: mixed_a("Mixed_5c", x, 64)),
        ("Mixed_5d", lambda x: mixed_a("Mixed_5d", x, 64)),
        ("Mixed_6a", lambda x: mixed_b("Mixed_6a", x)),
        ("Mixed_6b", lambda x: mixed_c("Mixed_6b", x, 128)),
        ("Mixed_6c", lambda x: mixed_c("Mixed_6c", x, 160)),
        ("Mixed_6d", lambda x: mixed_c("Mixed_6d", x, 160)),
        ("Mixed_6e", lambda x: mixed_c("Mixed_6e", x, 192)),
        ("Mixed_7a", lambda x: mixed_d("Mixed_7a", x)),
        ("Mixed_7b", lambda x: mixed_e("Mixed_7b", x, average)),
        ("Mixed_7c", lambda x: mixed_e("Mixed_7c", x, maximum)),
    ]:
        x = layer(x)
        if key:
            see(key, x)
    weights("fc.bias", 1008)
    return x.mean((2, 3))


def i3d(weights, see, x):
    """Logits averaged over time: [batch, 400]."""

    def same(x, kernel, stride):
        pads = []
        for size, k, s in zip(x.shape[2:], kernel, stride):
            total = max((-(-size // s) - 1) * s + k - size, 0)
            pads = [total // 2, total - total // 2] + pads
        return F.pad(x, pads)

    def unit(key, x, out, kernel, stride=1):
        weight = weights(f"{key}.conv3d.weight", out, x.shape[1], kernel, kernel, kernel)
        x = F.conv3d(same(x, [kernel] * 3, [stride] * 3), weight, stride=stride)
        return F.relu(batch_norm(weights, f"{key}.bn", x, 1e-3))

    def pool(x, kernel, stride):
        return F.max_pool3d(same(x, kernel, stride), kernel, stride)

    def mixed(key, x, b0, b1a, b1b, b2a, b2b, b3b):
        branches = [
            unit(f"{key}.b0", x, b0, 1),
            unit(f"{key}.b1b", unit(f"{key}.b1a", x, b1a, 1), b1b, 3),
            unit(f"{key}.b2b", unit(f"{key}.b2a", x, b2a, 1), b2b, 3),
            unit(f"{key}.b3b", pool(x, [3] * 3, [1] * 3), b3b, 1),
        ]
        return torch.cat(branches, 1)

    for key, layer in [
        ("Conv3d_1a_7x7", lambda x: unit("Conv3d_1a_7x7", x, 64, 7, 2)),
        (None, lambda x: pool(x, [1, 3, 3], [1, 2, 2])),
        ("Conv3d_2b_1x1", lambda x: unit("Conv3d_2b_1x1", x, 64, 1)),
        ("Conv3d_2c_3x3", lambda x: unit("Conv3d_2c_3x3", x, 192, 3)),
        (None, lambda x: pool(x, [1, 3, 3], [1, 2, 2])),
        ("Mixed_3b", lambda x: mixed("Mixed_3b", x, 64, 96, 128, 16, 32, 32)),
        ("Mixed_3c", lambda x: mixed("Mixed_3c", x, 128, 128, 192, 32, 96, 64)),
        (None, lambda x: pool(x, [3] * 3, [2] * 3)),
        ("Mixed_4b", lambda x: mixed("Mixed_4b", x, 192, 96, 208, 16, 48, 64)),
        ("Mixed_4c", lambda x: mixed("Mixed_4c", x, 160, 112, 224, 24, 64, 64)),
        ("Mixed_4d", lambda x: mixed("Mixed_4d", x, 128, 128, 256, 24, 64, 64)),
        ("Mixed_4e", lambda x: mixed("Mixed_4e", x, 112, 144, 288, 32, 64, 64)),
        ("Mixed_4f", lambda x: mixed("Mixed_4f", x, 256, 160, 320, 32, 128, 128)),
        (None, lambda x: pool(x, [2] * 3, [2] * 3)),
        ("Mixed_5b", lambda x: mixed("Mixed_5b", x, 256, 160, 320, 32, 128, 128)),
        ("Mixed_5c", lambda x: mixed("Mixed_5c", x, 384, 192, 384, 48, 128, 128)),
    ]:
        x = layer(x)
        if key:
            see(key, x)
    # The published network averages over 2 x 7 x 7, which is the whole plane of 224 x 224 frames.
    x = F.avg_pool3d(x, (2, x.shape[3], x.shape[4]), stride=1)
    weight = weights("logits.conv3d.weight", 400, 1024, 1, 1, 1)
    return F.conv3d(x, weight, weights("logits.conv3d.bias", 400)).mean(2).flatten(1)


def resnet3d_50(weights, see, x):
    """Pooled features: [batch, 2048]."""

    def conv_bn(conv, bn, x, out, kernel, stride, padding):
        weight = weights(f"{conv}.weight", out, x.shape[1], kernel, kernel, kernel)
        x = F.conv3d(x, weight, stride=stride, padding=padding)
        return batch_norm(weights, bn, x, 1e-5)

    def bottleneck(key, x, inside, stride):
        y = F.relu(conv_bn(f"{key}.conv1", f"{key}.bn1", x, inside, 1, 1, 0))
        y = F.relu(conv_bn(f"{key}.conv2", f"{key}.bn2", y, inside, 3, stride, 1))
        y = conv_bn(f"{key}.conv3", f"{key}.bn3", y, 4 * inside, 1, 1, 0)
        if x.shape != y.shape:
            down = f"{key}.downsample"
            x = conv_bn(f"{down}.0", f"{down}.1", x, 4 * inside, 1, stride, 0)
        return F.relu(x + y)

    x = F.relu(conv_bn("conv1", "bn1", x, 64, 7, (1, 2, 2), 3))
    see("conv1", x)
    x = F.max_pool3d(x, 3, stride=2, padding=1)
    for layer, (blocks, inside) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], 1):
        for block in range(blocks):
            stride = 2 if layer > 1 and block == 0 else 1
            x = bottleneck(f"layer{layer}.{block}", x, inside, stride)
        see(f"layer{layer}", x)
    weights("fc.bias", 400)
    return x.mean((2, 3, 4))


def c3d(weights, see, x):
    """Class probabilities: [batch, 101]."""
    for key, out, pool in [
        ("conv1", 64, (1, 2, 2)),
        ("conv2", 128, 2),
        ("conv3a", 256, None),
        ("conv3b", 256, 2),
        ("conv4a", 512, None),
        ("conv4b", 512, 2),
        ("conv5a", 512, None),
        ("conv5b", 512, 2),
    ]:
        weight = weights(f"{key}.weight", out, x.shape[1], 3, 3, 3)
        x = F.relu(F.conv3d(x, weight, weights(f"{key}.bias", out), padding=1))
        see(key, x)
        if pool:
            x = F.max_pool3d(x, pool, ceil_mode=True)
    x = x.flatten(1)
    for key, out in [("fc6", 4096), ("fc7", 4096), ("fc8", 101)]:
        x = F.linear(x, weights(f"{key}.weight", out, x.shape[1]), weights(f"{key}.bias", out))
        x = x.softmax(1) if key == "fc8" else F.relu(x)
    return x
