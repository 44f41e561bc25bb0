"""The device to predict for: this machine's GPU as `nvidia-smi` sees it, one from a table, or the CPU."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Literal

from qdl_engine.core.errors import SettingsError
from qdl_engine.core.gpus import Gpu, read_gpus, visible

MIB = 2**20


@dataclass(frozen=True)
class Hardware:
    """One device, and what it can do."""

    name: str
    kind: Literal["cuda", "cpu"]
    memory: int
    """Bytes."""
    free: int
    """Bytes that no other process holds."""
    short_flops: float
    """Peak multiply-adds x 2 a second in 16 bits, fp32 sums."""
    long_flops: float
    """The same in fp32, as torch runs it by default: without TF32."""
    bandwidth: float
    """Bytes a second between the device's memory and its cores."""
    has_bf16: bool
    utilisation: float
    """Share of the peak that training reaches while the device computes; see `speed.py`."""
    launch_seconds: float
    """Seconds that one layer of one pass takes at least, however few its tokens; see `speed.py`."""
    moves: float = 0.0
    """How often what a layer keeps moves through memory; for GPUs `utilisation` includes that."""
    count: int = 1
    measured: bool = False
    """Whether the machine reported its memory; else the table did."""

    @property
    def is_gpu(self) -> bool:
        """Whether it is a CUDA device."""
        return self.kind == "cuda"


def _gpu(
    name: str, mib: int, short: float, long: float, gigabytes: float, share: float, *, bf16: bool = True
) -> Hardware:
    size = mib * MIB
    return Hardware(name, "cuda", size, size, short * 1e12, long * 1e12, gigabytes * 1e9, bf16, share, 1.5e-3)


# Peaks (dense) and bandwidths are from the vendor's data sheets. The shares are estimates: published figures
# of full fine-tuning in Hugging Face's code lie between 0.13 and 0.4.
GPUS: dict[str, Hardware] = {
    "T4": _gpu("T4", 15_360, 65, 8.1, 320, 0.35, bf16=False),
    "V100": _gpu("V100", 16_384, 125, 15.7, 900, 0.30, bf16=False),
    "A10": _gpu("A10", 23_028, 70, 31.2, 600, 0.35),
    "L4": _gpu("L4", 23_034, 121, 30.3, 300, 0.35),
    "3090": _gpu("3090", 24_576, 71, 35.6, 936, 0.40),
    "4090": _gpu("4090", 24_564, 165, 82.6, 1008, 0.35),
    "L40S": _gpu("L40S", 46_068, 362, 91.6, 864, 0.30),
    "A100-40": _gpu("A100-40", 40_960, 312, 19.5, 1555, 0.35),
    "A100-80": _gpu("A100-80", 81_920, 312, 19.5, 2039, 0.35),
    "H100": _gpu("H100", 81_559, 989, 67, 3350, 0.30),
    "H200": _gpu("H200", 143_771, 989, 67, 4800, 0.30),
}
_SEEN_AS = {"A10G": "A10", "A100-SXM4-80GB": "A100-80", "A100 80GB": "A100-80"}
DEVICES = (*GPUS, "cpu")


def find_hardware(device: str = "", *, all_gpus: bool = False) -> Hardware:
    """The device that training would use here, or one from the table.

    Args:
        device: A name of `DEVICES`; empty for this machine's.
        all_gpus: Whether every GPU trains, as with `accelerate launch`, or only the first.

    Raises:
        SettingsError: for an unknown name.
    """
    if device.lower() == "cpu":
        return cpu()
    if device:
        named = {name.lower(): found for name, found in GPUS.items()}
        found = named.get(device.lower().removeprefix("rtx ").removeprefix("nvidia "))
        if found is None:
            raise SettingsError(f"--device {device}: not in the table", f"Accepted: {', '.join(DEVICES)}.")
        return found
    return _seen(visible(read_gpus(), os.environ), all_gpus=all_gpus) or cpu()


def _seen(gpus: list[Gpu], *, all_gpus: bool) -> Hardware | None:
    """The first GPU; where several train, the one with the least room, which decides."""
    gpus = gpus if all_gpus else gpus[:1]
    rooms = [
        (gpu.memory_total - gpu.memory_used, gpu.memory_total, gpu.name)
        for gpu in gpus
        if gpu.memory_used is not None and gpu.memory_total is not None
    ]
    if not rooms:
        return None
    free, total, name = min(rooms)
    return replace(_like(name, total), name=name, memory=total, free=free, count=len(gpus), measured=True)


def _like(name: str, memory: int) -> Hardware:
    """The table's entry for a GPU's name; for an unknown name, the entry with the nearest memory."""
    words = name.replace("NVIDIA ", "").replace("GeForce ", "")
    for part, key in _SEEN_AS.items():
        if part in words:
            return GPUS[key]
    exact = [key for key in GPUS if key.split("-")[0] in words.replace("-", " ").split()]
    candidates = [GPUS[key] for key in exact] or list(GPUS.values())
    return min(candidates, key=lambda gpu: abs(gpu.memory - memory))


def cpu(threads: int = 0) -> Hardware:
    """The CPU, by its cores, its clock and the width of its vectors.

    Two fused multiply-adds a cycle on 8 (AVX2) or 16 (AVX-512) fp32 numbers: 32 or 64 operations. The share
    of that which training reaches, and how much it moves, are fitted to measured trainings; see `speed.py`.

    Args:
        threads: Threads that train; 0 for all cores.
    """
    cores = threads or os.cpu_count() or 1
    flags, megahertz = _cpuinfo()
    wide = 64 if "avx512f" in flags else 32 if "avx2" in flags else 16
    flops = cores * megahertz * 1e6 * wide
    memory, free = _ram()
    return Hardware(
        "CPU", "cpu", memory, free, flops, flops, 10e9, False, 0.525, 0.2e-3, moves=8.6, measured=True
    )


def _cpuinfo() -> tuple[frozenset[str], float]:
    """Flags and MHz of the first core; cautious guesses without `/proc`."""
    flags: frozenset[str] = frozenset({"avx2"})
    megahertz = 2500.0
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as handle:
            for line in handle:
                key, _, value = line.partition(":")
                if key.strip() == "flags":
                    return frozenset(value.split()), megahertz
                if key.strip() == "cpu MHz":
                    megahertz = float(value)
    except (OSError, ValueError):
        return flags, megahertz
    return flags, megahertz


def _ram() -> tuple[int, int]:
    """Bytes of memory: in all, and available to a new process."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        with open("/proc/meminfo", encoding="ascii") as handle:
            values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in handle}
    except (OSError, ValueError, IndexError):
        return total, total
    return total, values.get("MemAvailable", total)
