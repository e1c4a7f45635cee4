"""Writes the PyTorch files in this folder: a linear layer with the weights 0 to 5 and the biases 10 and
11, saved in the ways that checkpoints are. Run `python3 generate.py` here; it needs torch."""

import torch

layer = {
    "weight": torch.arange(6.0).reshape(2, 3),
    "bias": torch.tensor([10.0, 11.0]),
}
torch.save(layer, "plain.pt")
torch.save(layer, "legacy.pt", _use_new_zipfile_serialization=False)
torch.save({key: value.half() for key, value in layer.items()}, "half.pt")
torch.save(
    {
        "epoch": 3,
        "state_dict": {f"module.{key}": value for key, value in layer.items()},
        "optimizer": {"state": {0: {"momentum": torch.zeros(2, 3)}}},
    },
    "checkpoint.pt",
)
