"""The net of `nets.py` as a PyTorch program has it, exported by PyTorch itself. Run by a Python that has torch.

    python torch_net.py FOLDER

writes three files. `legacy.onnx` is by torch.onnx.export with dynamo=False. `default.onnx` is by torch's defaults, with
its weights in a file beside it. `outputs.npz` is what torch itself answers to the pictures `part-*.npy` of the folder.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

MEAN, STD, TILE = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 32


class Net(nn.Module):
    """A small U: down, up by interpolation, group and batch normalisation, GELU; the last layer tells red from blue."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.GELU())
        self.middle = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.GroupNorm(4, 8), nn.SiLU())
        self.last = nn.Conv2d(11, 2, 1)
        with torch.no_grad():
            self.last.weight.zero_()
            self.last.weight[1, :3, 0, 0] = torch.tensor([12.0, 0.0, -12.0])
            self.last.weight[1, 3:] = 0.01
            self.last.bias.copy_(torch.tensor([0.0, -3.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Answer logits [N, 2, H, W] of background and red."""
        y = nn.functional.interpolate(self.middle(self.down(x)), scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.last(torch.cat([x, y], dim=1))


def main() -> None:
    """Write the three files."""
    folder = Path(sys.argv[1])
    torch.manual_seed(0)
    net = Net().eval()
    shown = torch.zeros(1, 3, TILE, TILE)
    torch.onnx.export(net, shown, folder / "legacy.onnx", opset_version=17, dynamo=False)
    torch.onnx.export(net, (shown,), folder / "default.onnx")
    answers = {}
    for path in sorted(folder.glob("part-*.npy")):
        rgb = np.load(path)[..., ::-1].astype(np.float32) / 255
        pixels = (rgb - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        with torch.no_grad():
            answers[path.stem] = net(torch.from_numpy(pixels).permute(2, 0, 1)[None].float()).numpy()
    np.savez(folder / "outputs.npz", **answers)


if __name__ == "__main__":
    main()
