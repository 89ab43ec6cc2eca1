"""What the models of the suite are asked, and how good their answers are: data of known truth, made from a fixed seed.

Each task has a model's file, samples for calibration, samples that only the score is made on, and a score between 0 and 1 for each of
the latter. What is rendered for the one is of other words, fonts, files, sentences or photographs than what is rendered for the other.
"""

import functools
import gzip
import hashlib
import importlib.util
import pathlib
import pickle
import subprocess
import sys
import tempfile
import wave

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
FONTS = pathlib.Path("/usr/share/fonts/truetype")


class Task:
    """A model with its data. `calibration` is a list of feeds, `samples` one of (feed or feeds, truth)."""

    truth = "labels"

    def __init__(self, name, model, kept):
        self.name, self.model, self.kept = name, pathlib.Path(model), kept

    @functools.cached_property
    def calibration(self):
        return self.once("calibration", lambda: self.feeds(0, self.calibrated))

    @functools.cached_property
    def samples(self):
        return self.once("samples", lambda: self.asked(1, self.scored))

    def once(self, what, make):
        """Data that take long to make are kept beside the models."""
        path = self.kept / f"{self.name}-{what}.pickle"
        if not path.exists():
            self.kept.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps(make()))
        return pickle.loads(path.read_bytes())

    def feeds(self, part, count):
        return [feed for feed, _ in self.asked(part, count)]

    def timed(self):
        """What is given when time is taken."""
        return self.calibration[0]

    def scores(self, run):
        """`run` takes a feed and gives the outputs."""
        return np.array([self.score(run(feed), truth) for feed, truth in self.samples], np.float64)


class Digits(Task):
    """Images that the network was not trained on; calibration is on its training data."""

    calibrated, scored = 128, 1000

    def asked(self, part, count):
        images, labels = idx(ROOT / "testdata/digits")
        if part == 0:
            chosen = np.random.default_rng(1).permutation(7000)[:count]
        else:
            chosen = np.arange(7000, len(images))[:count]
        return [({"input": images[at][None, None].astype(np.float32) / 255}, int(labels[at])) for at in chosen]

    def score(self, outputs, truth):
        return float(outputs[0].argmax() == truth)


def idx(directory):
    images = np.frombuffer(gzip.open(next(directory.glob("*images*.gz"))).read(), np.uint8)[16:].reshape(-1, 28, 28)
    labels = np.frombuffer(gzip.open(next(directory.glob("*labels*.gz"))).read(), np.uint8)[8:]
    return images, labels


class Lines(Task):
    """Rendered lines of text; the parts share neither fonts nor words."""

    FONTS = [
        ["DejaVuSans", "DejaVuSerif-Bold", "DejaVuSansMono", "DejaVuSerifCondensed-Italic"],
        ["DejaVuSerif", "DejaVuSans-Bold", "DejaVuSansCondensed-Oblique", "DejaVuSansMono-Bold", "DejaVuSans-ExtraLight"],
    ]

    def lines(self, part, count, longest):
        import cv2
        from PIL import Image, ImageDraw, ImageFont

        rng = np.random.default_rng(11 + part)
        words = [word for word in vocabulary() if zlib_part(word) == part]
        for _ in range(count):
            text = ""
            while len(text) < longest - 6:
                word = str(rng.choice(words)) if rng.random() < 0.8 else str(rng.integers(10, 100000))
                if len(text) + len(word) + 1 > longest and text:
                    break
                text = f"{text} {word}".strip()
            text = text[:longest]
            name = str(rng.choice(self.FONTS[part]))
            font = ImageFont.truetype(next(FONTS.rglob(f"{name}.ttf")), int(rng.integers(18, 40)))
            left, top, right, bottom = font.getbbox(text)
            edge = [int(rng.integers(1, 8)) for _ in range(4)]
            size = (right - left + edge[0] + edge[1], bottom - top + edge[2] + edge[3])
            paper, ink = rng.integers(150, 256, 3), rng.integers(0, 90, 3)
            if rng.random() < 0.3:
                paper, ink = ink, paper
            image = Image.new("RGB", size, tuple(int(c) for c in paper))
            ImageDraw.Draw(image).text((edge[0] - left, edge[2] - top), text, tuple(int(c) for c in ink), font)
            pixels = np.asarray(image).astype(np.float32)
            if rng.random() < 0.5:
                pixels = cv2.GaussianBlur(pixels, (0, 0), float(rng.uniform(0.3, 1.3)))
            pixels += rng.normal(0, rng.uniform(0, 18), pixels.shape)
            yield np.clip(pixels, 0, 255).astype(np.uint8), text, rng


@functools.cache
def vocabulary():
    text = " ".join(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "benchmarks.md")
    words = {word.strip(".,;:()`*'\"") for word in text.split()}
    return sorted(word for word in words if 2 <= len(word) <= 12 and word.isascii() and word.isalnum())


def zlib_part(text):
    return hashlib.sha256(text.encode()).digest()[0] % 2


class Recognise(Lines):
    """A line is right when every character is."""

    # the tool keeps every activation of every sample in memory until the last
    calibrated, scored = 24, 40

    @functools.cached_property
    def reader(self):
        from rapidocr_onnxruntime import RapidOCR

        return RapidOCR().text_rec

    def asked(self, part, count):
        shape = self.reader.rec_image_shape
        return [
            ({"x": self.reader.resize_norm_img(image, shape[2] / shape[1])[None].astype(np.float32)}, text)
            for image, text, _ in self.lines(part, count, 22)
        ]

    def score(self, outputs, truth):
        return float(self.reader.postprocess_op(outputs[0])[0][0] == truth)


class Direction(Lines):
    """Upright, or upside down."""

    calibrated, scored = 128, 1200

    def asked(self, part, count):
        from rapidocr_onnxruntime import RapidOCR

        reader, made = RapidOCR().text_cls, []
        for image, _, rng in self.lines(part, count, 16):
            turned = bool(rng.random() < 0.5)
            image = np.ascontiguousarray(image[::-1, ::-1]) if turned else image
            made.append(({"x": reader.resize_norm_img(image)[None].astype(np.float32)}, int(turned)))
        return made

    def score(self, outputs, truth):
        return float(outputs[0].argmax() == truth)


class Find(Lines):
    """Lines on a page: F1 of the boxes that overlap a rendered line by half."""

    calibrated, scored = 8, 80
    SIDE = 480

    @functools.cached_property
    def reader(self):
        from rapidocr_onnxruntime import RapidOCR

        return RapidOCR().text_det

    def asked(self, part, count):
        from rapidocr_onnxruntime.ch_ppocr_det.utils import DetPreProcess

        prepare, made = DetPreProcess(self.SIDE, "max", self.reader.mean, self.reader.std), []
        lines = self.lines(part, count * 12, 24)
        for _ in range(count):
            _, _, rng = next(lines)
            page = np.full((self.SIDE, self.SIDE, 3), rng.integers(120, 256, 3), np.uint8)
            row, boxes = int(rng.integers(4, 30)), []
            for _ in range(11):
                image, _, rng = next(lines)
                height, width = image.shape[:2]
                if width >= self.SIDE - 10:
                    image, width = image[:, : self.SIDE - 12], self.SIDE - 12
                if row + height >= self.SIDE - 4:
                    continue
                column = int(rng.integers(4, self.SIDE - width - 4))
                page[row : row + height, column : column + width] = image
                boxes.append([column, row, column + width, row + height])
                row += height + int(rng.integers(10, 40))
            made.append(({"x": prepare(page)}, boxes))
        return made

    def score(self, outputs, truth):
        quads, _ = self.reader.postprocess_op(outputs[0], (self.SIDE, self.SIDE))
        quads = self.reader.filter_tag_det_res(quads, (self.SIDE, self.SIDE)) if len(quads) else []
        found = [[*np.min(quad, 0), *np.max(quad, 0)] for quad in quads]
        return f1(found, truth)


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared + 1e-9)


def f1(found, truth):
    """Each box of the truth is met once; 1 where there is nothing and nothing was found."""
    left, met = list(found), 0
    for box in truth:
        best = max(left, key=lambda other: overlap(box, other), default=None)
        if best is not None and overlap(box, best) >= 0.5 and list(best[4:]) == list(box[4:]):
            left.remove(best)
            met += 1
    return 2 * met / (len(found) + len(truth)) if found or truth else 1.0


class Objects(Task):
    """Parts of photographs; the truth is what the uncompressed model says."""

    truth = "teacher"
    calibrated, scored = 12, 160
    PHOTOS = [
        ["astronaut.png", "coffee.png", "rocket.jpg", "flower.jpg"],
        ["motorcycle_left.png", "motorcycle_right.png", "chelsea.png", "china.jpg", "horse.png", "coins.png"],
    ]

    def asked(self, part, count):
        import cv2

        # the photographs alone are wanted, not what the packages need to be imported
        home = lambda name: pathlib.Path(importlib.util.find_spec(name).origin).parent
        places = [home("skimage") / "data", home("sklearn") / "datasets/images"]
        photos = [cv2.imread(str(next(p / name for p in places if (p / name).exists()))) for name in self.PHOTOS[part]]
        rng, made = np.random.default_rng(21 + part), []
        while len(made) < count:
            photo = photos[len(made) % len(photos)]
            height, width = photo.shape[:2]
            side = int(min(height, width) * rng.uniform(0.55, 1.0))
            top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
            image = photo[top : top + side, left : left + side].astype(np.float32)
            image = image[:, ::-1] if rng.random() < 0.5 else image
            image = np.clip(image * rng.uniform(0.7, 1.2) + rng.normal(0, 4, image.shape), 0, 255)
            image = cv2.resize(np.ascontiguousarray(image), (416, 416)).astype(np.float32)
            made.append(({"images": np.ascontiguousarray(image.transpose(2, 0, 1)[None])}, None))
        if part == 1:
            teacher = session(self.model.read_bytes())
            made = [(feed, boxes(teacher.run(None, feed)[0])) for feed, _ in made]
        return made

    def score(self, outputs, truth):
        return f1(boxes(outputs[0]), truth)


def boxes(output):
    """YOLOX's rows as corners and class, without what a better box of the class covers."""
    rows, grid, strides = output[0], [], []
    for stride in (8, 16, 32):
        count = 416 // stride
        x, y = np.meshgrid(np.arange(count), np.arange(count))
        grid.append(np.stack([x, y], -1).reshape(-1, 2))
        strides.append(np.full((count * count, 1), stride))
    grid, strides = np.concatenate(grid), np.concatenate(strides)
    centre, size = (rows[:, :2] + grid) * strides, np.exp(rows[:, 2:4]) * strides
    each = rows[:, 4:5] * rows[:, 5:]
    kind, score = each.argmax(1), each.max(1)
    kept = []
    for at in np.argsort(-score):
        if score[at] < 0.3:
            break
        box = [*(centre[at] - size[at] / 2), *(centre[at] + size[at] / 2), int(kind[at])]
        if not any(box[4] == other[4] and overlap(box, other) > 0.45 for other in kept):
            kept.append(box)
    return kept


class Files(Task):
    """Files of this machine whose type their name says beyond doubt."""

    calibrated, scored = 96, 600
    TYPES = {
        ".py": "python", ".rs": "rust", ".c": "c", ".js": "javascript", ".css": "css", ".html": "html", ".json": "json",
        ".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".md": "markdown", ".rst": "rst", ".sh": "shell", ".pl": "perl",
        ".png": "png", ".jpg": "jpeg", ".gif": "gif", ".svg": "svg", ".pdf": "pdf", ".gz": "gzip", ".whl": "zip", ".zip": "zip",
        ".pyc": "pythonbytecode", ".ttf": "ttf", ".onnx": "onnx", ".npz": "npz", ".npy": "npy", ".wav": "wav", ".xml": "xml",
        ".java": "java", ".go": "go", ".cmake": "cmake", ".ts": "typescript", ".csv": "csv", ".deb": "deb", ".woff2": "woff2",
    }
    PLACES = ["/usr/share", "/usr/lib", "/usr/local/lib", sys.prefix, str(pathlib.Path.home() / ".cargo/registry/src"), str(ROOT)]

    def asked(self, part, count):
        import magika

        reader = magika.Magika()
        labels = list(reader._model_config.target_labels_space)
        found = {}
        for place in self.PLACES:
            for number, path in enumerate(sorted(pathlib.Path(place).rglob("*.*")) if pathlib.Path(place).exists() else []):
                kind = self.TYPES.get(path.suffix)
                if kind in labels and path.is_file() and not path.is_symlink() and 64 <= path.stat().st_size < 1 << 22:
                    content = path.read_bytes() if path.stat().st_size < 1 << 22 else b""
                    digest = hashlib.sha256(content).hexdigest()
                    if int(digest[:2], 16) % 2 == part:
                        found.setdefault(kind, {})[digest] = content
        rng, made, kinds = np.random.default_rng(31), [], sorted(found)
        order = {kind: [found[kind][digest] for digest in sorted(found[kind])] for kind in kinds}
        turn = 0
        while len(made) < count and any(len(each) > turn for each in order.values()):
            for kind in kinds:
                if len(order[kind]) > turn:
                    made.append((self.features(reader, order[kind][turn]), labels.index(kind)))
            turn += 1
        chosen = rng.permutation(len(made))[:count]
        return [made[at] for at in chosen]

    @staticmethod
    def features(reader, content):
        import io

        from magika.types import Seekable

        config = reader._model_config
        got = reader._extract_features_from_seekable(
            Seekable(io.BytesIO(content)), config.beg_size, config.mid_size, config.end_size, config.padding_token,
            config.block_size, config.use_inputs_at_offsets,
        )
        return {"bytes": np.array([got.beg + got.end], np.int32)}

    def score(self, outputs, truth):
        return float(outputs[0].argmax() == truth)


class Speech(Task):
    """Sentences by espeak-ng between silence and noise; a clip's score is the part of its frames that are told rightly."""

    calibrated, scored = 192, 120
    VOICES = [["en-us", "de", "fr"], ["en-gb", "es", "it", "en-scotland"]]
    FRAME, RATE, BEFORE = 512, 16000, 64

    def clips(self, part, count):
        rng, words = np.random.default_rng(41 + part), [word for word in vocabulary() if zlib_part(word) == part]
        for _ in range(count):
            text = " ".join(str(rng.choice(words)) for _ in range(int(rng.integers(3, 8))))
            speech = spoken(text, str(rng.choice(self.VOICES[part])), int(rng.integers(120, 200)), int(rng.integers(20, 80)))
            quiet = lambda: np.zeros(int(rng.integers(self.RATE // 2, self.RATE * 3 // 2)), np.float32)
            first, last = quiet(), quiet()
            clean = np.concatenate([first, speech / (np.abs(speech).max() + 1e-6) * rng.uniform(0.2, 0.9), last])
            noise = rng.normal(0, 1, len(clean))
            if rng.random() < 0.5:
                noise = np.convolve(noise, np.ones(24) / 24**0.5, "same")
            sound = (clean + noise * rng.choice([0.0, 0.002, 0.01])).astype(np.float32)
            frames = len(sound) // self.FRAME
            loud = np.array([np.abs(clean[at * self.FRAME : (at + 1) * self.FRAME]).max() for at in range(frames)])
            heard = loud > 0.02
            # frames at a border are neither: the detector's own delay
            sure = np.array([heard[max(at - 3, 0) : at + 4].min() == heard[max(at - 3, 0) : at + 4].max() for at in range(frames)])
            padded = np.concatenate([np.zeros(self.BEFORE, np.float32), sound])
            yield [padded[at * self.FRAME : (at + 1) * self.FRAME + self.BEFORE][None] for at in range(frames)], heard, sure

    def feeds(self, part, count):
        """Frames with the states that the uncompressed model has reached by then."""
        teacher, feeds = session(self.model.read_bytes()), []
        for frames, _, _ in self.clips(part, 12):
            state = np.zeros((2, 1, 128), np.float32)
            for frame in frames:
                feed = {"input": frame, "state": state, "sr": np.array(self.RATE, np.int64)}
                feeds.append(feed)
                _, state = teacher.run(None, feed)
        chosen = np.random.default_rng(42).permutation(len(feeds))[:count]
        return [feeds[at] for at in chosen]

    def asked(self, part, count):
        return [(frames, (heard, sure)) for frames, heard, sure in self.clips(part, count)]

    def scores(self, run):
        return np.array([self.clip(run, frames, *truth) for frames, truth in self.samples])

    def clip(self, run, frames, heard, sure):
        state, right = np.zeros((2, 1, 128), np.float32), []
        for frame, speech, counts in zip(frames, heard, sure):
            probability, state = run({"input": frame, "state": state, "sr": np.array(self.RATE, np.int64)})
            if counts:
                right.append((probability.item() > 0.5) == speech)
        return float(np.mean(right))


def spoken(text, voice, speed, pitch):
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "-w", file.name, text], check=True)
        with wave.open(file.name) as sound:
            rate, raw = sound.getframerate(), sound.readframes(sound.getnframes())
    samples = np.frombuffer(raw, np.int16).astype(np.float32) / 32768
    # its voices have little above 8 kHz: linear interpolation does
    return np.interp(np.arange(0, len(samples), rate / Speech.RATE), np.arange(len(samples)), samples).astype(np.float32)


def session(model, threads=1):
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def tasks(models):
    """`models` is the directory that models.py filled."""
    file = lambda name: models / "models" / name / "model.onnx"
    kept = models / "samples"
    all_tasks = [
        Digits("digits", ROOT / "testdata/models/digits.onnx", kept),
        Direction("ppocr-cls", file("ppocr-cls"), kept),
        Speech("silero-vad", file("silero-vad"), kept),
        Files("magika", file("magika"), kept),
        Recognise("ppocr-rec", file("ppocr-rec"), kept),
        Find("ppocr-det", file("ppocr-det"), kept),
        Objects("yolox-nano", file("yolox-nano"), kept),
    ]
    return {task.name: task for task in all_tasks if task.model.exists()}
