"""Cost of convolutional moment networks against their plain twin, and of their covariances against full matrices.

    python benchmarks/convolution.py [--image 28] [--batch 20] [--rounds 5] [--threads 2]

Forward and backward pass of a loss on the mean, float32: Conv-BatchNorm-ReLU networks as `ann_twin` builds them; the
moment network of the same shape that passes on variances alone; and the one with full covariances. The variances
behind the second convolution are timed alone as well: as the layers compute them, by sending every pixel through, and
from the matrices themselves (on an image small enough for these). Rounds alternate; the shortest of each counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping

import torch

from mnnbio.moments.covariance import Dense, Diagonal
from mnnbio.moments.maps import Convolution, Pooling, transform
from mnnbio.nn.cnn import MomentCNN
from mnnbio.nn.twins import ann_twin

CHANNELS = (8, 16)
MATRIX_IMAGE = 16


def shortest(tasks: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the shortest time of each task, s."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds + 1):  # the first is warm-up
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - start)
    return {name: min(values[1:]) for name, values in times.items()}


def show(title: str, times: dict[str, float]) -> None:
    """Print times and their ratio to the first."""
    print(title)
    reference = next(iter(times.values()))
    for name, seconds in times.items():
        print(f"{name:>34}: {seconds * 1e3:9.2f} ms, {seconds / reference:8.2f}×")


def networks(image: int, batch: int, hidden: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    """Return forward and backward passes, the reference first."""
    full, variance = (
        MomentCNN((1, image, image), CHANNELS, 10, hidden=hidden, correlations=kind, seed=0, dtype=torch.float32)
        for kind in ("full", "variance")
    )
    twin = ann_twin(full, seed=0)
    x = torch.rand(batch, image * image, generator=torch.Generator().manual_seed(0))
    return {
        "plain twin": lambda: twin(x).square().sum().backward(),
        "moments, variances alone": lambda: variance(x).mean.square().sum().backward(),
        "moments, full covariances": lambda: full(x).mean.square().sum().backward(),
    }


def second_variances(image: int, batch: int) -> tuple[dict[str, Callable[[], torch.Tensor]], float]:
    """Return ways to the variances behind a second convolution, and the largest relative difference between them."""
    g = torch.Generator().manual_seed(0)
    first = Convolution(torch.randn(CHANNELS[0], 1, 3, 3, generator=g), (1, image, image), 1, 1)
    pool = Pooling(first.out_image, 2, first.kernel, 0.25)
    second = Convolution(torch.randn(CHANNELS[1], CHANNELS[0], 3, 3, generator=g), pool.out_image, 1, 1)
    pixels = torch.rand(batch, first.columns, generator=g)
    gain, own = torch.rand(2, batch, first.rows, generator=g)

    def layer() -> torch.Tensor:
        trains = transform(Diagonal(pixels), first).scale(gain).add_diagonal(own)
        return transform(transform(trains, pool), second).diagonal()

    def every_pixel() -> torch.Tensor:
        columns = second.apply(pool.apply(first.apply(torch.eye(first.columns)) * gain[:, None, :]))
        shared = (pixels[:, None, :] @ columns**2)[:, 0]
        return shared + second.apply_squared(pool.apply_squared(own))

    def matrices() -> torch.Tensor:
        trains = transform(Diagonal(pixels), first).scale(gain).add_diagonal(own).to_dense()
        return Dense(trains).quadratic_diagonal(second.to_dense() @ pool.to_dense())

    ways = {"from matrices": matrices, "every pixel": every_pixel, "by the layers": layer}
    reference = matrices() if image <= MATRIX_IMAGE else every_pixel()
    difference = max(float(((way() - reference) / reference).abs().max()) for way in (every_pixel, layer))
    return ways, difference


def main() -> None:
    parser = argparse.ArgumentParser(description="Time convolutional moment networks.")
    parser.add_argument("--image", type=int, default=28, help="side of the image")
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    side, batch = options.image, options.batch
    for hidden in ((), (100,)):
        shape = "-".join(map(str, (*CHANNELS, *hidden, 10)))
        show(
            f"forward and backward, {side}×{side}, batch {batch}, {shape}",
            shortest(networks(side, batch, hidden), options.rounds),
        )
    for image in (MATRIX_IMAGE, side):
        ways, difference = second_variances(image, batch)
        if image > MATRIX_IMAGE:
            del ways["from matrices"]
        show(f"variances behind the second convolution, {image}×{image}", shortest(ways, options.rounds))
        print(f"{'largest relative difference':>34}: {difference:.1e} (float32)")


if __name__ == "__main__":
    main()
