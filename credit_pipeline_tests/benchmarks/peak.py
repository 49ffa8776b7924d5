"""This process's own peak memory. `ru_maxrss` is no use: it keeps the parent's size from before exec."""

from pathlib import Path


def peak_mb() -> float:
    """The high-water mark of resident memory, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
