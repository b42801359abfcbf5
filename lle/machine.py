"""What a figure was measured on: the machine, the versions, what else changes the arithmetic."""

import json
import os
import platform
import re
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from lle.paths import replacing

HARDWARE = "hardware.json"  # in the folder of a run, the machines that it was trained on
# What changes the arithmetic, or the order in which sums are made, besides the hardware and the versions.
VARIABLES = (
    "TF_ENABLE_ONEDNN_OPTS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "OMP_NUM_THREADS",
    "XLA_FLAGS",
)
PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "opencv-python", "scikit-image", "pillow")


def hardware():
    """Name the processor, the cores and the GPU, if any, that this process runs on."""
    import keras

    if keras.backend.backend() == "torch":  # on which Keras 3.15 cannot list them
        import torch

        gpus = ["cuda"] * torch.cuda.device_count()
    else:
        gpus = [name for name in keras.distribution.list_devices() if name.startswith(("gpu", "cuda"))]
    # A process that `taskset` or a container binds to some of the cores has those alone; macOS and Windows don't say.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": _processor(), "cores": cores, "gpu": (_gpu_name() or gpus[0]) if gpus else None}


def hardware_text():
    """Name the same as `2 cores of AMD EPYC, GPU: None`, for the output of a notebook."""
    found = hardware()
    cores = f"{found['cores']} core{'' if found['cores'] == 1 else 's'}"
    return f"{cores} of {found['processor']}, GPU: {found['gpu']}"


def peak_memory():
    """The most memory that this process has had so far, in MiB: its largest resident size, nothing of a GPU."""
    status = Path("/proc/self/status")  # where there is one: there `getrusage` begins with the parent's peak
    if status.is_file():
        return int(re.search(r"VmHWM:\s*(\d+)", status.read_text())[1]) / 2**10
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def repeatable():
    """What decides, for the same seed, hardware and versions, whether a second run gives the same figures.

    Returns:
        A dictionary: `deterministic`, whether TensorFlow was told to give the same results bit for bit (`None` with
        another backend), and the environment variables that are set and change the arithmetic.
    """
    import keras

    deterministic = None
    if keras.backend.backend() == "tensorflow":
        from tensorflow.python.framework.config import is_op_determinism_enabled  # no public name

        deterministic = is_op_determinism_enabled()
    return {"deterministic": deterministic, **{name: os.environ[name] for name in VARIABLES if name in os.environ}}


def versions():
    """The versions of Python, the Keras backend in use and the packages that figures depend on."""
    import keras

    found = {"python": platform.python_version(), "backend": keras.backend.backend()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except ImportError:  # PackageNotFoundError: not every backend is installed
            continue
    return found


def note(folder):
    """Add this machine, and the backend in use, to those that a run was trained on, which are listed in its folder."""
    here = versions()
    known, found = machines_of([folder]), {**hardware(), "backend": f"{here['backend']} {here.get(here['backend'])}"}
    if found not in known:
        with replacing(Path(folder) / HARDWARE) as temporary:
            temporary.write_text(json.dumps([*known, found], indent=1), encoding="utf-8")


def machines_of(folders):
    """List the machines that the runs in these folders were trained on, each once: as `note` wrote them."""
    machines = []
    for path in (Path(folder) / HARDWARE for folder in folders):
        if path.is_file():  # runs of earlier versions have none
            machines += [found for found in json.loads(path.read_text(encoding="utf-8")) if found not in machines]
    return machines


def _processor():
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


@cache
def _gpu_name():
    try:
        return subprocess.check_output(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], text=True, timeout=20
        ).splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None
