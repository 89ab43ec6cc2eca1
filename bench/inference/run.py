"""Measures every engine on every model beside Python's onnxruntime, interleaved, and prints the medians.

    bench/inference/run.py DATA BINARY [--rounds 5] [--table figures.md]

DATA is what models.py made; BINARY is the example: cargo build --release -p nx-infer --features ort --example engines
Each figure is one process: one model, one engine, one number of threads. A round visits all engines of a model before the next
model; medians are over the rounds. CPU time is user and system time of a run, which other programs on the machine disturb less
than they do latency.
Needs: pip install onnxruntime==1.32.0 onnx numpy
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

ENGINES = ["python", "onnxruntime", "rten", "tract"]


def one(directory, threads):
    """This process measures Python's onnxruntime, as the example measures ours."""
    import onnxruntime
    from onnx import TensorProto, numpy_helper

    def read(path):
        tensor = TensorProto()
        tensor.ParseFromString(path.read_bytes())
        return tensor.name, numpy_helper.to_array(tensor)

    given = dict(read(path) for path in sorted((directory / "test_data_set_0").glob("input_*.pb")))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    start = time.perf_counter()
    session = onnxruntime.InferenceSession(str(directory / "model.onnx"), options, providers=["CPUExecutionProvider"])
    loaded = time.perf_counter()
    session.run(None, given)
    first = time.perf_counter()
    times = []
    used = resource.getrusage(resource.RUSAGE_SELF)
    begin = time.perf_counter()
    while len(times) < 2000 and (len(times) < 10 or time.perf_counter() - begin < 1):
        start_run = time.perf_counter()
        session.run(None, given)
        times.append(time.perf_counter() - start_run)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    times.sort()
    at = lambda part: times[min(len(times) * part // 100, len(times) - 1)] * 1e6
    status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    print(json.dumps({
        "model": directory.name, "engine": "python", "version": onnxruntime.__version__, "threads": threads,
        "runs": len(times), "load_ms": (loaded - start) * 1e3, "first_ms": (first - loaded) * 1e3,
        "least_us": at(0), "p50_us": at(50), "p99_us": at(99), "cpu_us": cpu / len(times) * 1e6,
        "rss_kb": int(status["VmRSS"].split()[0]),
    }))


def library():
    import onnxruntime

    return next((pathlib.Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*"))


def measure(binary, directory, engine, threads, found):
    if engine == "python":
        command = [sys.executable, __file__, "--one", str(directory), str(threads)]
    else:
        command = [str(binary), "run", str(directory), engine, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "ORT_DYLIB_PATH": str(found)})
    if done.returncode:
        return {"model": directory.name, "engine": engine, "threads": threads, "error": done.stderr.strip()[-300:]}
    return json.loads(done.stdout.strip().splitlines()[-1])


FIELDS = ["p50_us", "p99_us", "least_us", "cpu_us", "load_ms", "first_ms", "rss_kb"]


def table(figures, models):
    """Markdown: milliseconds, and beside them the ratio to Python's onnxruntime in the same rounds."""
    lines = []
    for threads in (1, 2):
        lines += ["", f"| {threads} thread{'s' * (threads > 1)}, p50 / p99 ms (CPU ms; × onnxruntime's p50) | "
                  + " | ".join(ENGINES) + " |", "|---" * (len(ENGINES) + 1) + "|"]
        for model in models:
            base = figures.get((model, "python", threads))
            cells = []
            for engine in ENGINES:
                figure = figures.get((model, engine, threads))
                if not figure or "p50_us" not in figure:
                    cells.append("refused")
                    continue
                ratio = f"; {figure['p50_us'] / base['p50_us']:.2f} ×" if engine != "python" else ""
                cells.append(f"{figure['p50_us'] / 1e3:.2f} / {figure['p99_us'] / 1e3:.2f} ({figure['cpu_us'] / 1e3:.2f}{ratio})")
            lines.append(f"| {model} | " + " | ".join(cells) + " |")
    lines += ["", "| load + first run, ms; resident MB | " + " | ".join(ENGINES) + " |", "|---" * (len(ENGINES) + 1) + "|"]
    for model in models:
        cells = []
        for engine in ENGINES:
            figure = figures.get((model, engine, 1))
            good = figure and "load_ms" in figure
            cells.append(f"{figure['load_ms'] + figure['first_ms']:.1f}; {figure['rss_kb'] / 1024:.0f}" if good else "refused")
        lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    if sys.argv[1:2] == ["--one"]:
        return one(pathlib.Path(sys.argv[2]), int(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--table", type=pathlib.Path)
    arguments = parser.parse_args()
    models = sorted(path.name for path in (arguments.data / "models").iterdir() if (path / "model.onnx").exists())
    found, rounds, binary = library(), {}, arguments.binary.resolve()
    for _ in range(arguments.rounds):
        for model in models:
            for threads in (1, 2):
                for engine in ENGINES:
                    figure = measure(binary, arguments.data / "models" / model, engine, threads, found)
                    print(json.dumps(figure), flush=True)
                    rounds.setdefault((model, engine, threads), []).append(figure)
    medians = {}
    for key, several in rounds.items():
        good = [figure for figure in several if "error" not in figure]
        medians[key] = {field: statistics.median(figure[field] for figure in good) for field in FIELDS} if good else {}
    text = table(medians, models)
    print(text, file=sys.stderr)
    if arguments.table:
        arguments.table.write_text(text + "\n")


if __name__ == "__main__":
    main()
