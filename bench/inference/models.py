"""Fetches the models of the inference suite from PyPI and writes down what ONNX Runtime answers.

    python bench/inference/models.py DIR [--yolox yolox_nano.onnx]

Makes DIR/models/NAME/model.onnx with its manifest (`neuraxis model pull NAME --from DIR/models/NAME/model.onnx`) and
test_data_set_0/{input,output}_N.pb beside it, as ONNX's own tests lie, for
`NEURAXIS_TEST_DATA=DIR cargo test -p nx-infer` and `bench/inference/run.py`. Inputs are made from a fixed seed. YOLOX-nano is not
on PyPI: give its file, or do without it. `--nodes` also unpacks ONNX's tests of single operators.
Needs: pip install onnxruntime==1.32.0 onnx numpy
"""

import argparse
import json
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

WHEELS = {
    "rapidocr-onnxruntime==1.4.4": {
        "ppocr-cls": "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "ppocr-rec": "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        "ppocr-det": "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
    },
    "magika==1.0.3": {"magika": "magika/models/standard_v3_3/model.onnx"},
    "silero-vad==6.2.3": {"silero-vad": "silero_vad/data/silero_vad.onnx"},
}


def inputs(name):
    """What each model is asked: names as in the graph, typical shapes."""
    rng = np.random.default_rng(7)
    image = lambda *shape: rng.uniform(-1, 1, shape).astype(np.float32)
    return {
        "ppocr-cls": {"x": image(1, 3, 48, 192)},
        "ppocr-rec": {"x": image(1, 3, 48, 320)},
        "ppocr-det": {"x": image(1, 3, 320, 320)},
        "yolox-nano": {"images": rng.integers(0, 256, (1, 3, 416, 416)).astype(np.float32)},
        "magika": {"bytes": rng.integers(0, 257, (1, 2048)).astype(np.int32)},
        "silero-vad": {
            "input": image(1, 576) * 0.3,
            "state": np.zeros((2, 1, 128), np.float32),
            "sr": np.array(16000, np.int64),
        },
    }[name]


def write(root, name, model):
    directory = root / "models" / name
    (directory / "test_data_set_0").mkdir(parents=True, exist_ok=True)
    (directory / "model.onnx").write_bytes(model)
    (directory / "model.yaml").write_text(manifest(name, model))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    given = inputs(name)
    outputs = session.run(None, given)
    names = [output.name for output in session.get_outputs()]
    for kind, values in (("input", list(given.items())), ("output", list(zip(names, outputs)))):
        for at, (label, value) in enumerate(values):
            tensor = numpy_helper.from_array(value, label)
            (directory / "test_data_set_0" / f"{kind}_{at}.pb").write_bytes(tensor.SerializeToString())
    print(name, {label: value.shape for label, value in given.items()})


def manifest(name, model):
    """What `neuraxis model pull` finds beside the model. A reader's characters are in the model's own metadata."""
    text = (pathlib.Path(__file__).parent / "manifests" / f"{name}.yaml").read_text()
    properties = {entry.key: entry.value for entry in onnx.load_from_string(model).metadata_props}
    if "character" in properties:
        # position 0 is the blank, the last one the space
        labels = json.dumps(["", *properties["character"].splitlines(), " "], ensure_ascii=False)
        text = text.replace("    after: [{ step: ctc", f"    labels: {labels}\n    after: [{{ step: ctc")
    return text


def download(requirement, directory):
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(directory), requirement]
    subprocess.run(pip, check=True)
    stem = requirement.split("==")[0].replace("-", "_")
    return zipfile.ZipFile(next(directory.glob(f"{stem}-*.whl")))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--yolox", type=pathlib.Path)
    parser.add_argument("--nodes", action="store_true")
    arguments = parser.parse_args()
    wheels = arguments.directory / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    for requirement, models in WHEELS.items():
        wheel = download(requirement, wheels)
        for name, path in models.items():
            write(arguments.directory, name, wheel.read(path))
    if arguments.yolox:
        write(arguments.directory, "yolox-nano", arguments.yolox.read_bytes())
    if arguments.nodes:
        # later wheels no longer carry them
        wheel = download("onnx==1.18.0", wheels)
        prefix = "onnx/backend/test/data/node/"
        for path in wheel.namelist():
            if path.startswith(prefix) and not path.endswith("/"):
                target = arguments.directory / "nodes" / path.removeprefix(prefix)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(wheel.read(path))


if __name__ == "__main__":
    main()
