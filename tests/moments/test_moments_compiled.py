import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mnnbio import LIFParameters
from mnnbio.machine import CacheWarning
from mnnbio.moments import kernel as compiled
from mnnbio.moments.activation import _by_torch, moment_activation
from mnnbio.moments.kernel import activation_backend

FOUND = activation_backend()
needs_kernel = pytest.mark.skipif(FOUND.name == "torch", reason=FOUND.detail)
NAMES = ("tau_m", "v_th", "v_reset", "t_ref")


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def neurons(*parameters):
    return SimpleNamespace(**dict(zip(NAMES, parameters, strict=True)))


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """Forget the loaded kernel, now and afterwards, and give it an empty cache."""
    monkeypatch.setenv("MNNBIO_CACHE_DIR", str(tmp_path / "mnnbio"))
    monkeypatch.delenv("MNNBIO_KERNEL", raising=False)
    compiled._load.cache_clear()
    yield tmp_path
    compiled._load.cache_clear()


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def copying_compiler(folder, condition=""):
    """Return a compiler that logs its options and gives the library that is there already."""
    return script(
        folder / "compiler",
        f'echo "$@" >> {folder}/log\n{condition}\n'
        f'while [ "$1" != "-o" ]; do shift; done\ncp {FOUND.detail} "$2"',
    )  # fmt: skip


def grid():
    """Return inputs of all regimes: mean −10…20 mV/ms, std 0…100 mV/√ms, off threshold."""
    mean = torch.linspace(-10, 20, 41, dtype=torch.float64)[:, None] + 0.0137
    std = torch.cat([f64(0.0), torch.logspace(-5, 2, 31, dtype=torch.float64)])
    return mean.expand(41, 32).clone(), std.expand(41, 32).clone()


@needs_kernel
@pytest.mark.parametrize(
    "values", [(20, 20, 0, 5), (20, 20, 10, 2), (10, 15, -10, 0), (35, 12, 3, 1), (5, 20, -3, 2.5), (20, 20, 19, 0)]
)
@pytest.mark.parametrize("output", [0, 1, 2])
def test_values_and_all_slopes_are_those_of_the_torch_route(values, output):
    inputs = [x.requires_grad_() for x in (*grid(), *map(f64, values))]
    mean, std, *parameters = (x[0] if x.ndim == 1 else x for x in inputs)
    weights = torch.rand(mean.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(output))
    ours, theirs = (
        function(mean, std, neurons(*parameters))[output] for function in (moment_activation, _by_torch)
    )  # fmt: skip
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-300)
    ours, theirs = (torch.autograd.grad((weights * found).sum(), (mean, std, *parameters)) for found in (ours, theirs))
    for a, b, name in zip(ours, theirs, ("mean", "std", *NAMES), strict=True):
        scale = b.abs().max() if name in NAMES else b.abs()
        assert ((a - b).abs() <= 1e-10 * scale + 1e-12 * b.abs().max()).all(), name


@needs_kernel
def test_kept_slopes_equal_those_computed_anew():
    mean, std = (x.requires_grad_() for x in grid())
    rate, variance, gain = moment_activation(mean, std, LIFParameters())
    kept = torch.autograd.grad(rate.sum() + 2 * variance.sum(), (mean, std), retain_graph=True)
    anew = torch.autograd.grad(rate.sum() + 2 * variance.sum() + 0 * gain.sum(), (mean, std))
    for a, b in zip(kept, anew, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-290)


@needs_kernel
@pytest.mark.parametrize(
    ("mean", "std", "parameter"),
    [
        ((2, 3, 4), (2, 3, 4), ()), ((2, 3, 4), (4,), (4,)), ((4,), (2, 3, 4), (1, 4)), ((3, 1), (1, 4), (4,)),
        ((2, 1, 4), (3, 1), (3, 4)), ((), (4,), ()), ((4,), (), (3, 1)), ((1,), (1, 1), (3, 1, 1)), ((0, 4), (4,), (4,)),
    ],
)  # fmt: skip
def test_shapes_broadcast(mean, std, parameter):
    generator = torch.Generator().manual_seed(0)

    def draw(shape, low, high):
        return (low + (high - low) * torch.rand(shape, dtype=torch.float64, generator=generator)).requires_grad_()

    inputs = (draw(mean, 0.0, 2.0), draw(std, 0.1, 3.0), draw(parameter, 10, 30), draw((), 15, 25),
              draw(parameter, -2, 5), draw((1,), 0, 5))  # fmt: skip
    for function in (moment_activation, _by_torch):
        found = function(*inputs[:2], neurons(*inputs[2:]))
        slopes = torch.autograd.grad(found[1].sum() + (found[2] ** 2).sum(), inputs)
        if function is moment_activation:
            expected = (*found, *slopes)
    for a, b in zip((*found, *slopes), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-14)


@needs_kernel
def test_strides_do_not_matter():
    mean, std = (x.T.requires_grad_() for x in grid())
    ours, theirs = (function(mean, std, LIFParameters()) for function in (moment_activation, _by_torch))
    weights = torch.linspace(0, 1, mean.numel(), dtype=torch.float64).reshape(mean.shape[::-1]).T
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-300)
    slopes = [torch.autograd.grad((found.rate * weights).sum(), mean)[0] for found in (ours, theirs)]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-290)


@needs_kernel
def test_threads_do_not_matter():
    before = torch.get_num_threads()
    mean = torch.linspace(-1, 3, 20_001, dtype=torch.float64).requires_grad_()
    std = torch.linspace(5, 0, 20_001, dtype=torch.float64)
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rate, variance, gain = moment_activation(mean, std, LIFParameters())
            found.append([rate, variance, gain, *torch.autograd.grad(variance.sum() + gain.sum(), mean)])
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*found, strict=True):
        assert (a == b).all()


@needs_kernel
def test_float32_gradients():
    def slopes(dtype):
        mean, std = (x[:, 8:].to(dtype).requires_grad_() for x in grid())
        tau_m = torch.tensor(20.0, dtype=dtype, requires_grad=True)
        rate, variance, gain = moment_activation(mean, std, neurons(tau_m, 20.0, 0.0, 5.0))
        return torch.autograd.grad((rate + variance + gain).sum(), (mean, std, tau_m))

    for a, b in zip(slopes(torch.float32), slopes(torch.float64), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=2e-4, atol=1e-6)


def test_batched_gradients():
    mean = f64(0.5, 0.9, 3.0).requires_grad_()
    rate, _, gain = moment_activation(mean, f64(1.0, 2.0, 0.3), LIFParameters())
    jacobian = torch.autograd.grad(rate, mean, torch.eye(3, dtype=torch.float64), is_grads_batched=True)[0]
    torch.testing.assert_close(jacobian, torch.diag(gain.detach()))


def test_one_tensor_as_both_inputs():
    x = f64(0.5, 1.5).requires_grad_()

    def of_one(x):
        return moment_activation(x, x, LIFParameters())[:2]

    assert torch.autograd.gradcheck(of_one, x)
    assert torch.autograd.gradgradcheck(of_one, x)


def test_inference_before_training():
    lif = LIFParameters(tau_m=17.25, t_ref=1.375)
    with torch.inference_mode():
        still = moment_activation(f64(1.4), f64(0.5), lif).rate
    mean = f64(1.4).requires_grad_()
    found = moment_activation(mean, f64(0.5), lif)
    assert found.rate.item() == still.item()
    slope = torch.autograd.grad(found.rate.sum(), mean)[0]
    torch.testing.assert_close(slope, found.gain.detach())


def test_default_device_does_not_matter():
    mean, std = f64(1.4), f64(0.5)
    try:
        torch.set_default_device("meta")
        found = moment_activation(mean, std, LIFParameters(tau_m=16.75))
    finally:
        torch.set_default_device(None)
    assert found.rate.item() == moment_activation(mean, std, LIFParameters(tau_m=16.75)).rate.item()


def test_mixed_dtypes_promote():
    found = moment_activation(torch.tensor([1.2]), f64(0.5), LIFParameters())
    assert found.rate.dtype == torch.float64


def test_dtypes_without_kernel():
    found = moment_activation(
        torch.tensor([1.2], dtype=torch.bfloat16), torch.tensor([0.5], dtype=torch.bfloat16), LIFParameters()
    )
    assert found.rate.dtype == torch.bfloat16


def test_can_be_turned_off(fresh, monkeypatch):
    monkeypatch.setenv("MNNBIO_KERNEL", "torch")
    assert activation_backend() == ("torch", "turned off by MNNBIO_KERNEL=torch")
    assert not any(fresh.iterdir())
    assert moment_activation(f64(1.2), f64(0.0), LIFParameters()).rate.item() == pytest.approx(0.0245, rel=1e-2)


def test_unknown_setting(fresh, monkeypatch):
    monkeypatch.setenv("MNNBIO_KERNEL", "gpu")
    with pytest.raises(ValueError, match=r"Invalid value 'gpu' for `MNNBIO_KERNEL`\. Must be one of"):
        activation_backend()


def test_without_compiler(fresh, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    name, detail = activation_backend()
    assert name == "torch"
    assert "no C++ compiler 'no-such-compiler'" in detail
    assert moment_activation(f64(1.2), f64(0.3), LIFParameters()).rate.item() > 0


def test_compiler_that_fails(fresh, monkeypatch):
    monkeypatch.setenv("CXX", script(fresh / "compiler", "echo 'fatal error: no headers' >&2; exit 1"))
    assert activation_backend().name == "torch"
    assert "fatal error: no headers" in activation_backend().detail
    assert not list((fresh / "mnnbio").iterdir())


@needs_kernel
def test_library_is_built_once(fresh, monkeypatch):
    monkeypatch.setenv("CXX", copying_compiler(fresh) + " -DEXTRA")
    path = Path(activation_backend().detail)
    assert path.parent == fresh / "mnnbio"
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    compiled._load.cache_clear()
    assert activation_backend().detail == str(path)
    (line,) = (fresh / "log").read_text().splitlines()
    assert "-DEXTRA" in line
    assert "-march=native -fopenmp" in line


@needs_kernel
def test_compilers_that_lack_options(fresh, monkeypatch):
    monkeypatch.setenv("CXX", copying_compiler(fresh, 'case "$*" in *-fopenmp*) exit 1;; esac'))
    assert activation_backend().name == "compiled"
    assert "-fopenmp" not in (fresh / "log").read_text().splitlines()[1]


def damaged(content, damage):
    middle = len(content) // 2
    return {
        "text": b"no library",
        "truncated": content[:middle],
        "empty": b"",
        "changed": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }[damage]


@needs_kernel
@pytest.mark.parametrize("damage", ["text", "truncated", "empty", "changed"])
def test_damaged_library_is_replaced(fresh, monkeypatch, damage):
    monkeypatch.setenv("CXX", copying_compiler(fresh))
    path = Path(activation_backend().detail)
    whole = path.read_bytes()
    path.unlink()  # it is loaded: what is written into it would end this process
    path.write_bytes(damaged(whole, damage))
    compiled._load.cache_clear()
    assert activation_backend() == ("compiled", str(path))
    assert path.read_bytes() == whole
    assert len((fresh / "log").read_text().splitlines()) == 2


@needs_kernel
def test_without_a_compiler_a_library_that_is_kept_is_loaded(fresh, monkeypatch):
    monkeypatch.setenv("CXX", copying_compiler(fresh))
    found = activation_backend()
    compiled._load.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert activation_backend() == found


@needs_kernel
@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_library_that_others_can_change_is_not_loaded(fresh, monkeypatch, mode):
    monkeypatch.setenv("CXX", copying_compiler(fresh))
    kept = Path(activation_backend().detail)
    kept.parent.chmod(mode)
    compiled._load.cache_clear()
    with pytest.warns(CacheWarning, match=rf"can be written by others \(mode {mode:04o}\).* MNNBIO_CACHE_DIR"):
        name, detail = activation_backend()
    assert name == "compiled"
    assert Path(detail).parent != kept.parent
    assert kept.exists()


def test_a_compiler_that_hangs_is_ended(fresh, monkeypatch):
    monkeypatch.setenv("CXX", script(fresh / "compiler", "sleep 600"))
    monkeypatch.setattr(compiled, "TIME_LIMIT", 0.5)
    name, detail = activation_backend()
    assert name == "torch"
    assert "timed out after 0.5 seconds" in detail
    assert not list((fresh / "mnnbio").iterdir())


def test_what_a_killed_build_left_is_removed_by_the_next(fresh, monkeypatch):
    monkeypatch.setenv("CXX", script(fresh / "compiler", "exit 1"))
    (fresh / "mnnbio").mkdir(mode=0o700)
    for name, age in (("building-old", 1e5), ("building-new", 0.0)):
        (fresh / "mnnbio" / name).mkdir()
        os.utime(fresh / "mnnbio" / name, (time.time() - age, time.time() - age))
    assert activation_backend().name == "torch"
    assert [path.name for path in (fresh / "mnnbio").iterdir()] == ["building-new"]


@needs_kernel
def test_cache_that_cannot_be_written(fresh, monkeypatch):
    monkeypatch.setenv("CXX", copying_compiler(fresh))
    (fresh / "mnnbio").write_text("in the way")
    name, detail = activation_backend()
    assert name == "compiled"
    assert not Path(detail).exists()  # loaded from a temporary folder that is gone
    assert moment_activation(f64(1.2), f64(0.3), LIFParameters()).rate.item() > 0


@needs_kernel
@pytest.mark.slow
@pytest.mark.standalone
def test_two_processes_build_at_once(tmp_path):
    code = "from mnnbio.moments import activation_backend as b; print(b().name)"
    environment = os.environ | {"MNNBIO_CACHE_DIR": str(tmp_path / "mnnbio")}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate()[0].strip() for process in started] == ["compiled", "compiled"]
    assert len(list((tmp_path / "mnnbio").iterdir())) == 1
