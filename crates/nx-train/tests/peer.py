"""Compares what ONNX Runtime makes of the exported model with what the stored network gives, on the digits it is judged by.

    pip install onnx==1.23.2 onnxruntime==1.32.0 scikit-learn==1.9.1
    cargo build --release -p nx-train --example predict
    python crates/nx-train/tests/peer.py target/release/examples/predict [--mlp]

With --mlp it also trains scikit-learn's MLPClassifier on the same digits and prints time and accuracy.
"""

import gzip
import pathlib
import subprocess
import sys
import time

import numpy as np
import onnx
import onnxruntime

DATA = pathlib.Path(__file__).resolve().parents[3] / "testdata"
TO_LEARN = 7000


def read(name, head, shape):
    raw = gzip.decompress((DATA / "digits" / name).read_bytes())
    return np.frombuffer(raw, np.uint8, offset=head).reshape(shape)


def compare(predict):
    model = DATA / "models" / "digits.onnx"
    onnx.checker.check_model(onnx.load(model), full_check=True)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    judged = images[TO_LEARN:].astype(np.float32)[:, None] / np.float32(255)
    theirs = session.run(None, {"input": judged})[0]
    one = session.run(None, {"input": judged[:1]})[0]
    command = [predict, DATA / "digits", model.with_suffix(".safetensors")]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ours = np.array([line.split() for line in text.splitlines()], np.float32)
    right = int((theirs.argmax(1) == labels[TO_LEARN:]).sum())
    worst = max(np.abs(ours - theirs).max(), np.abs(ours[:1] - one).max())
    print(f"{len(ours)} images, {right} right, largest difference {worst:.2e}")
    return worst <= 1e-5 and (ours.argmax(1) == theirs.argmax(1)).all()


def mlp():
    from sklearn.neural_network import MLPClassifier

    flat = images.reshape(len(images), -1) / 255
    wall, cpu = time.perf_counter(), time.process_time()
    peer = MLPClassifier((128,), random_state=1, max_iter=50, early_stopping=True).fit(flat[:TO_LEARN], labels[:TO_LEARN])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"MLPClassifier: {wall:.1f} s, {cpu:.1f} s of CPU, accuracy {peer.score(flat[TO_LEARN:], labels[TO_LEARN:]):.3f}")


images, labels = read("images-idx3-ubyte.gz", 16, (-1, 28, 28)), read("labels-idx1-ubyte.gz", 8, -1)
if "--mlp" in sys.argv:
    mlp()
sys.exit(0 if compare(sys.argv[1]) else 1)
