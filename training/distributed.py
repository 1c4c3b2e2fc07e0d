"""One run on several processes, started by torchrun: gloo on CPUs, nccl on GPUs.

Every process holds the whole model and reads its own share of the streams; gradients are averaged
at every step (Li et al. 2020, DistributedDataParallel). Only rank 0 writes.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

# Rank 0 may encode a large corpus while the others wait for it.
_TIMEOUT = timedelta(hours=12)


@dataclass(frozen=True)
class Workers:
    """This process among those of the run. A run without torchrun is one of one."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, num_streams: int) -> slice:
        """The streams of this process, of `num_streams` over all; ValueError if uneven."""
        if num_streams % self.size:
            raise ValueError(
                f"loop.batch_size {num_streams} cannot be shared evenly by {self.size} processes: "
                f"choose a multiple of {self.size}"
            )
        each = num_streams // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Element by element over all processes, in float64."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def gather(self, tensor: Tensor, dim: int) -> Tensor:
        """The tensors of all processes, joined along `dim` in the order of their ranks."""
        if self.size == 1:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts, dim)

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.size > 1:
            dist.barrier()

    def parallel(self, module: nn.Module) -> nn.Module:
        """`module` with gradients averaged over all processes at every backward pass."""
        return DistributedDataParallel(module) if self.size > 1 else module


def say(text: str) -> None:
    """Print, once for all processes."""
    if os.environ.get("RANK", "0") == "0":
        print(text, flush=True)


@contextlib.contextmanager
def join(device: str) -> Iterator[Workers]:
    """Take part in the run that torchrun has started, or run alone.

    device: "cpu", "cuda" or "auto". ValueError where there is no such device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no GPU on this machine")
    use_gpu = torch.cuda.is_available() if device == "auto" else device == "cuda"
    if use_gpu:
        torch.backends.cuda.matmul.fp32_precision = "tf32"  # as cuDNN's layers have it anyway
    if "WORLD_SIZE" not in os.environ:
        yield Workers(0, 1, torch.device("cuda" if use_gpu else "cpu"))
        return
    local = int(os.environ["LOCAL_RANK"])
    if use_gpu:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if use_gpu else "gloo", timeout=_TIMEOUT)
    place = torch.device("cuda", local) if use_gpu else torch.device("cpu")
    try:
        yield Workers(dist.get_rank(), dist.get_world_size(), place)
        dist.barrier()  # a process that leaves early takes its connections from the others
    finally:
        gc.collect()  # what still uses the connections goes before them, or may abort the process
        dist.destroy_process_group()
