"""Our compressed files beside those of onnxruntime.quantization: accuracy on the same samples, bytes, time of a run.

    python bench/inference/models.py DATA --yolox yolox_nano.onnx
    cargo build --release -p nx-infer --features ort --example variants
    python bench/inference/compression.py DATA target/release/examples/variants [--only digits] [--table compression.md]

For each model of tasks.py: quantize_dynamic and quantize_static over the grid {dynamic, static} × {QDQ, QOperator} × {tensor, channel} ×
{min-max, entropy, percentile}, behind quant_pre_process (quantize_dynamic knows neither a form nor a calibration: two files); our
files from the same calibration samples; then every file in ONNX Runtime with one thread: scores on samples that no calibration saw,
and times, one run of each file after the other so that all see the same machine, three rounds, the median of their medians. For
each file of the grid: whether one of ours of no lower accuracy has at most 1.02 × its bytes and 1.05 × its time. What was
made and scored is kept in DATA/compression and found again by its digest.
Needs: pip install onnxruntime==1.32.0 onnx numpy sympy rapidocr-onnxruntime==1.4.4 magika==1.0.3 scikit-image scikit-learn; espeak-ng
"""

import argparse
import hashlib
import itertools
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import tasks

SIZE, TIME = 1.02, 1.05
CLAIMED = "int8-weights"


def grid(task, folder):
    """Makes what is missing of the grid; what cannot be made is said in NAME.error."""
    import onnxruntime.quantization as q
    from onnxruntime.quantization.shape_inference import quant_pre_process

    folder.mkdir(parents=True, exist_ok=True)
    prepared = folder / "prepared.onnx_"
    if not prepared.exists():
        for symbolic in (True, False):
            try:
                quant_pre_process(str(task.model), str(prepared), skip_symbolic_shape=not symbolic)
                break
            except Exception as error:  # the tool raises what it likes
                print(f"{task.name}: preprocessing{'' if symbolic else ' without symbolic shapes'}: {error!r:.150}", file=sys.stderr)
        else:
            prepared.write_bytes(task.model.read_bytes())

    class Reader(q.CalibrationDataReader):
        def __init__(self):
            self.feeds = iter(task.calibration)

        def get_next(self):
            return next(self.feeds, None)

    jobs = {}
    for channel in (False, True):
        scale = "channel" if channel else "tensor"
        jobs[f"dynamic-{scale}"] = lambda out, channel=channel: q.quantize_dynamic(str(prepared), out, per_channel=channel)
        for form, method in itertools.product(q.QuantFormat, (q.CalibrationMethod.MinMax, q.CalibrationMethod.Entropy, q.CalibrationMethod.Percentile)):
            def static(out, channel=channel, form=form, method=method):
                # unsigned activations: what x86 processors multiply fastest in either form
                q.quantize_static(str(prepared), out, Reader(), quant_format=form, per_channel=channel, calibrate_method=method,
                                  activation_type=q.QuantType.QUInt8, weight_type=q.QuantType.QInt8)

            jobs[f"static-{form.name}-{scale}-{method.name}".lower()] = static
    for name, job in jobs.items():
        path, failed = folder / f"{name}.onnx", folder / f"{name}.error"
        if path.exists() or failed.exists():
            continue
        start = time.time()
        try:
            job(str(folder / "making"))
            (folder / "making").rename(path)
        except Exception as error:
            # what lacked memory may have it another time
            if "allocate" not in repr(error):
                failed.write_text(repr(error)[:400])
        print(f"{task.name}: {name} in {time.time() - start:.0f} s", file=sys.stderr, flush=True)


def ours(task, folder, binary, recipes):
    """Our files, made anew when the program or what is asked of it is another."""
    from onnx import numpy_helper

    data = folder / "calibration"
    if not data.exists():
        for at, feed in enumerate(task.calibration):
            (data / f"{at:04}").mkdir(parents=True)
            for number, (name, value) in enumerate(feed.items()):
                tensor = numpy_helper.from_array(np.asarray(value), name)
                (data / f"{at:04}" / f"input_{number}.pb").write_bytes(tensor.SerializeToString())
    digest = hashlib.sha256(binary.read_bytes() + repr(recipes).encode()).hexdigest()
    stamp = folder / "ours" / "made-by"
    if not stamp.exists() or stamp.read_text() != digest:
        for old in folder.glob("ours/*.onnx"):
            old.unlink()
        done = subprocess.run([binary, str(task.model), str(data), str(folder / "ours"), *recipes], env={**os.environ, "ORT_DYLIB_PATH": library()})
        if done.returncode == 0:
            stamp.write_text(digest)


def library():
    import onnxruntime

    return str(next((pathlib.Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*")))


def scored(task, path, folder):
    """The mean score of a file, or why there is none."""
    kept = folder / f"{hashlib.sha256(path.read_bytes()).hexdigest()[:24]}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        session = tasks.session(path.read_bytes())
        scores = task.scores(lambda feed: session.run(None, feed))
        result = {"mean": float(scores.mean()), "scores": [round(float(score), 6) for score in scores]}
    except Exception as error:
        result = {"error": repr(error)[:300]}
    kept.write_text(json.dumps(result))
    print(f"{task.name}: {path.parent.name}/{path.stem}: {result.get('mean', result.get('error'))}", file=sys.stderr, flush=True)
    return result


def timed(task, paths, seconds, rounds=3):
    """Milliseconds of a run for each file: the median of the medians of the rounds."""
    sessions, medians = {}, {}
    for path in paths:
        sessions[path] = tasks.session(path.read_bytes())
    feed = task.timed()
    for session in sessions.values():
        session.run(None, feed)
    for _ in range(rounds):
        taken, begin = {path: [] for path in paths}, time.perf_counter()
        order = list(paths)
        while time.perf_counter() - begin < seconds or len(taken[paths[0]]) < 11:
            # who runs behind whom changes
            order = order[1:] + order[:1]
            for path in order:
                session = sessions[path]
                start = time.perf_counter()
                session.run(None, feed)
                taken[path].append(time.perf_counter() - start)
        for path in paths:
            medians.setdefault(path, []).append(statistics.median(taken[path]) * 1e3)
    return {path: statistics.median(each) for path, each in medians.items()}


def embedded(task, paths, folder, binary):
    """Milliseconds of a run in our own engine, or what it refuses."""
    command = [binary, "time", str(folder / "calibration" / "0000"), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True)
    return dict(zip(paths, map(json.loads, done.stdout.splitlines()))) if done.returncode == 0 else {}


def most(lost, samples, error=0.05):
    """The exact one-sided bound of a binomial part (Clopper and Pearson 1934)."""
    tail = lambda part: sum(math.comb(samples, k) * part**k * (1 - part) ** (samples - k) for k in range(lost + 1))
    low, high = lost / samples, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle) > error else (low, middle)
    return high


def claimed(rows):
    """What one form loses that was chosen before any sample was looked at: the samples that it scores lower, as if all of their score were lost."""
    before = rows[0]["scores"]
    for row in rows:
        if row["name"] == CLAIMED:
            lost = sum(after < score for score, after in zip(before, row["scores"]))
            gained = sum(after > score for score, after in zip(before, row["scores"]))
            part = most(lost, len(before)) * 100
            return (f"`{CLAIMED}` scores {lost} of {len(before)} samples lower than fp32 and {gained} higher: it loses at most {part:.2f} % "
                    f"with 95 % confidence; {row['bytes'] / rows[0]['bytes']:.2f} × the bytes, {row['ms'] / rows[0]['ms']:.2f} × the time.")
    return ""


def judged(rows):
    """For each file of the grid: the fastest of ours that is no worse by the bar, or none."""
    mine = [row for row in rows if row["by"] == "ours"]
    for row in (row for row in rows if row["by"] == "grid"):
        fits = [m for m in mine if m["mean"] >= row["mean"] and m["bytes"] <= SIZE * row["bytes"] and m["ms"] <= TIME * row["ms"]]
        row["met"] = min(fits, key=lambda m: m["ms"])["name"] if fits else None


def table(task, rows, missing, every):
    lines = [f"\n### {task.name}\n", f"{len(task.samples)} samples, truth: {task.truth}.\n",
             "| file | by | score | bytes | ms | rten ms | met by ours |", "|---|---|--:|--:|--:|--:|---|"]
    # of ours those that meet something, and the fastest and the smallest that lose nothing
    named = {row.get("met") for row in rows}
    kept = [row for row in rows if row["by"] == "ours" and row["mean"] >= rows[0]["mean"]]
    named |= {min(kept, key=lambda row: row[what])["name"] for what in ("ms", "bytes") if kept}
    shown = rows if every else [row for row in rows if row["by"] != "ours" or row["name"] in named]
    for row in sorted(shown, key=lambda row: (row["by"] != "original", row["by"], row["ms"])):
        met = {"grid": row.get("met") or "**none**"}.get(row["by"], "")
        own = row.get("rten", {})
        own = f"{own['ms']:.3f}" if "ms" in own else "refused" if own else ""
        lines.append(f"| {row['name']} | {row['by']} | {row['mean']:.4f} | {row['bytes']:,} | {row['ms']:.3f} | {own} | {met} |")
    total = [row for row in rows if row["by"] == "grid"]
    lines.append(f"\n{sum(bool(row['met']) for row in total)} of {len(total)} met.")
    lines.append(claimed(rows))
    lines += [f"- {name}: `{reason[:160]}`" for name, reason in missing]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("binary", type=pathlib.Path, nargs="?", help="our example `variants`; without it the grid alone is made and scored")
    parser.add_argument("--only", action="append", help="this model; may be given several times")
    parser.add_argument("--recipe", action="append", default=[], help="of ours this alone, as its file is named; may be given several times")
    parser.add_argument("--seconds", type=float, default=20, help="of each of the three rounds of timing a model's files")
    parser.add_argument("--table", type=pathlib.Path)
    arguments = parser.parse_args()
    arguments.data = arguments.data.resolve()
    binary = arguments.binary and arguments.binary.resolve()
    table_file = arguments.table and arguments.table.resolve()
    # the tool leaves files where it stands
    os.chdir(tempfile.mkdtemp())
    for name, task in tasks.tasks(arguments.data).items():
        if arguments.only and name not in arguments.only:
            continue
        folder = arguments.data / "compression" / name
        grid(task, folder / "grid")
        if binary:
            ours(task, folder, binary, arguments.recipe)
        paths = [(task.model, "original")] + [(path, "grid") for path in sorted(folder.glob("grid/*.onnx"))]
        paths += [(path, "ours") for path in sorted(folder.glob("ours/*.onnx"))]
        rows, missing = [], [(f"grid: {path.stem}", path.read_text()) for path in sorted(folder.glob("grid/*.error"))]
        for path, by in paths:
            result = scored(task, path, folder / "scores")
            if "error" in result:
                missing.append((f"{by}: {path.stem}", result["error"]))
            else:
                rows.append({"name": "fp32" if by == "original" else path.stem, "by": by, "path": path, "mean": result["mean"],
                             "scores": result["scores"], "bytes": path.stat().st_size})
        if not binary:
            continue
        times = timed(task, [row["path"] for row in rows], arguments.seconds)
        own = embedded(task, [row["path"] for row in rows], folder, binary)
        for row in rows:
            row["ms"], row["rten"] = times[row["path"]], own.get(row["path"], {})
        judged(rows)
        print(table(task, rows, missing, every=True), flush=True)
        (folder / "table.md").write_text(table(task, rows, missing, every=False) + "\n")
    if table_file:
        table_file.write_text("".join(path.read_text() for path in sorted(arguments.data.glob("compression/*/table.md"))))


if __name__ == "__main__":
    main()
