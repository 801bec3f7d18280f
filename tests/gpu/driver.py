"""Launches compiled kernels on torch tensors, through NVIDIA's driver."""

import ctypes
import re
from pathlib import Path

import torch

# What launchers and kernels agree on, by name.
AGREEMENT: dict[str, int] = {}


def read_agreement(path: Path) -> None:
    """Reads `crates/kernels/cuda/agreement.txt`."""
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            AGREEMENT[name] = int(value)


class Long(int):
    """An argument of 64 bits."""


class Double(float):
    """An argument in double precision."""


class Driver:
    """The kernels of a folder of cubins, which are named after their sources."""

    def __init__(self, folder: Path) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        self.folder = folder
        self.modules: dict[str, ctypes.c_void_p] = {}
        self.functions: dict[str, ctypes.c_void_p] = {}
        torch.zeros(1, device="cuda")  # Makes the context.

    def call(self, name: str, *arguments: object) -> None:
        """Calls a function of the driver, and stops at an error."""
        code = getattr(self.library, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self.library.cuGetErrorString(code, ctypes.byref(text))
            raise RuntimeError(f"{name}: {text.value!r} ({code})")

    def function(self, source: str, name: str) -> ctypes.c_void_p:
        """A kernel of a source."""
        if source not in self.modules:
            module = ctypes.c_void_p()
            self.call("cuModuleLoad", ctypes.byref(module), str(self.folder / f"{source}.cubin").encode())
            self.modules[source] = module
        if name not in self.functions:
            function = ctypes.c_void_p()
            self.call("cuModuleGetFunction", ctypes.byref(function), self.modules[source], name.encode())
            self.functions[name] = function
        return self.functions[name]

    def launch(self, source: str, name: str, grid: tuple[int, int], threads: int, shared: int, *arguments: object) -> None:
        """Launches a kernel. Tensors are passed as their addresses, None as null, bytes by value."""
        function = self.function(source, name)
        if shared > 48 << 10:
            self.call("cuFuncSetAttribute", function, 8, shared)  # MAX_DYNAMIC_SHARED_SIZE_BYTES
        values = [value_of(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(value) for value in values])
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        x, y = grid
        self.call("cuLaunchKernel", function, x, y, 1, threads, 1, 1, shared, stream, pointers, None)


def value_of(argument: object) -> object:
    """An argument as the kernel takes it."""
    if argument is None:
        return ctypes.c_void_p(0)
    if isinstance(argument, torch.Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    if isinstance(argument, bytes):
        return ctypes.create_string_buffer(argument, len(argument))
    for kind, of in ((Long, ctypes.c_int64), (Double, ctypes.c_double), (int, ctypes.c_int32), (float, ctypes.c_float)):
        if isinstance(argument, kind):
            return of(argument)
    raise TypeError(f"{argument!r} is no argument of a kernel")


def structure(name: str, **fields: object) -> bytes:
    """A struct by value, with the layout that was agreed on."""
    whole = bytearray(AGREEMENT[name])
    for field, value in fields.items():
        part = bytes(value) if isinstance(value, bytes) else bytes(value_of(value))
        offset = AGREEMENT[f"{name}.{field}"]
        whole[offset : offset + len(part)] = part
    return bytes(whole)


def up(count: int, step: int) -> int:
    """How many steps hold `count`."""
    return -(-count // step)


def milliseconds(work: object, repeats: int = 20) -> float:
    """The median time of some device work."""
    for _ in range(3):
        work()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def relative(found: torch.Tensor, right: torch.Tensor) -> float:
    """|found - right| / |right|, in double precision."""
    found, right = found.detach().double(), right.detach().double()
    return float((found - right).norm() / right.norm())


def short(name: str) -> str:
    """A kernel's name without its dtype."""
    return re.sub("_(bf16|f16)", "", name)
