"""A small replica of UHCSDB, and a server on this computer that gives it out."""

import hashlib
import json
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pandas as pd
from PIL import Image

CLASSES = ("martensite", "network", "pearlite", "pearlite+spheroidite", "spheroidite", "pearlite+widmanstatten")


def draw_picture(number: int) -> np.ndarray:
    """An image as the archive has them: a line above, 481 rows of micrograph, a black and white band below."""
    rng = np.random.default_rng(number)
    grains = rng.integers(4, 60, 2)  # of a kind of its own each, or all pairs would be looked at as likely copies
    patches = cv2.resize(rng.standard_normal(grains), (645, 522), interpolation=cv2.INTER_CUBIC)
    wave = np.cos(np.arange(645) * rng.uniform(0.1, 1)) * np.cos(np.arange(522)[:, None] * rng.uniform(0.1, 1))
    picture = np.clip(128 + 30 * patches + 20 * wave + rng.normal(0, 12, wave.shape), 1, 254).astype(np.uint8)
    picture[0], picture[482:] = 255, np.where(np.arange(645) // 20 % 2, 255, 0)
    return picture


def make_replica(folder, n_specimens: int = 6):
    """Write the images, manifest.json, and selections.csv (in place of ``uhcsdb.SELECTIONS``)."""
    (folder / "micrographs").mkdir(parents=True)
    rows, files = [], {}
    for number in range(len(CLASSES) * n_specimens):
        label, specimen = CLASSES[number // n_specimens], number % n_specimens
        split = "quiz" if specimen == n_specimens - 1 else "" if "widman" in label else "train"
        name = f"micrographs/micrograph{number}.{'tif' if number % 3 else 'png'}"
        Image.fromarray(draw_picture(number)).save(folder / name)
        rows.append([name, label, f"{1 + number / 4}", f"s{specimen}", f"s{specimen}", split, "train"])
        files[name] = {"sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}
    columns = ["original", "label", "pixels_per_um", "specimen", "split_group", "quiz-like", "whole"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "selections.csv", index=False)
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return folder


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        self.server.asked.append(self.path.lstrip("/"))


@contextmanager
def served(folder):
    """An HTTP server on 127.0.0.1 that gives out a folder; ``asked`` holds what was asked for."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        server.folder, server.asked, server.url = folder, [], f"http://127.0.0.1:{server.server_port}/"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()
