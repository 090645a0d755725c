"""Model files of other tools: each with the way to a file that `convert` takes. None of them is opened."""

from __future__ import annotations

from pathlib import Path

from edge.errors import BundleError

_TORCH = (
    "It holds weights and, often, code that loading would run. Export it in the program that trained it: "
    'torch.onnx.export(model.eval(), torch.zeros(1, 3, HEIGHT, WIDTH), "model.onnx", dynamo=False, '
    'input_names=["pixels"], output_names=["answer"], dynamic_axes={"pixels": {0: "N"}, "answer": {0: "N"}})'
)
_TENSORRT = (
    "It runs only on the device and the TensorRT that built it. Convert the ONNX file that it was built from, then "
    "build the engine with: convert BUNDLE --to tensorrt"
)
_KERAS_2 = (
    "Save it as .keras first: python -c \"import keras; keras.saving.load_model('{name}', compile=False)"
    ".save('{stem}.keras')\""
)
_TENSORFLOW = (
    "Translate its SavedModel folder first: python -m tf2onnx.convert --saved-model FOLDER --output {stem}.onnx "
    "--opset 17; a frozen graph with --graphdef {name} --inputs NAME:0 --outputs NAME:0"
)
_WAYS: dict[str, tuple[str, str]] = {
    ".h5": ("a Keras 2 model (HDF5)", _KERAS_2),
    ".hdf5": ("a Keras 2 model (HDF5)", _KERAS_2),
    ".tflite": (
        "a TensorFlow Lite model",
        "Translate it first: python -m tf2onnx.convert --tflite {name} --output {stem}.onnx --opset 17",
    ),
    ".pb": ("a TensorFlow graph", _TENSORFLOW),
    ".pt": ("a PyTorch file", _TORCH),
    ".pth": ("a PyTorch file", _TORCH),
    ".ckpt": ("a checkpoint of a training", _TORCH),
    ".safetensors": ("a file of weights alone, without the net", _TORCH),
    ".engine": ("a TensorRT engine", _TENSORRT),
    ".plan": ("a TensorRT engine", _TENSORRT),
    ".trt": ("a TensorRT engine", _TENSORRT),
    ".xml": ("an OpenVINO model", "Convert the ONNX file that it was made from"),
    ".pdmodel": ("a PaddlePaddle model", "Translate it first with paddle2onnx, then convert the ONNX file"),
    ".mlmodel": ("a Core ML model", "Convert the ONNX file or the Keras model that it was made from"),
    ".ort": ("an ONNX Runtime file", "Convert the .onnx file that it was made from"),
    ".pkl": ("a pickle, which is code that loading would run", "Export the net as ONNX in the program that wrote it"),
}


def refuse_other_files(source: Path) -> None:
    """Raise BundleError with the way, where `source` is a model file of another tool."""
    if source.is_dir():
        if (source / "saved_model.pb").is_file():
            raise BundleError(
                f"{source} is a TensorFlow SavedModel. Translate it first: "
                f"python -m tf2onnx.convert --saved-model {source} --output {source.name}.onnx --opset 17. "
                f"Then: convert {source.name}.onnx …; see docs/other-models.md"
            )
        return
    known = _WAYS.get(source.suffix.lower())
    if known is not None and source.exists():
        kind, way = known
        told = way.replace("{name}", str(source)).replace("{stem}", source.stem)
        raise BundleError(f"{source} is {kind}, which `convert` does not read. {told}. See docs/other-models.md")
