"""Time the drawing of random connections beside Brian2's.

    python benchmarks/connectivity_sampling.py [--neurons 12500] [--probability 0.1]

Four projections between excitatory (80 %) and inhibitory neurons (20 %). The reference is Brian2 drawing pairwise
random connections with `Synapses.connect(p=...)`, the only random rule that it draws itself, in its best target
(Cython where there is a compiler, once compiled). Ours includes the sparse matrix of weights, sorted by target. Prints
seconds, million synapses per second and the ratio.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from mnnbio import Circuit, LIFParameters, Population, Projection
from mnnbio.circuit.connectivity import Bernoulli, Connectivity, FixedIndegree, FixedOutdegree, FixedTotalNumber
from mnnbio.circuit.spatial import DistanceDependent, GaussianProfile, Torus
from mnnbio.values import LogNormal, Normal


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the drawing of random connections beside Brian2's.")
    parser.add_argument("--neurons", type=int, default=12_500)
    parser.add_argument("--probability", type=float, default=0.1, help="of a connection; in-degrees follow")
    options = parser.parse_args()
    sizes = {"E": options.neurons * 4 // 5, "I": options.neurons // 5}
    p = options.probability

    def indegree(source: str) -> int:
        return round(p * sizes[source])

    rules: dict[str, Callable[[str, str], Connectivity]] = {
        "Bernoulli": lambda target, source: Bernoulli(p),
        "FixedIndegree": lambda target, source: FixedIndegree(indegree(source)),
        "FixedOutdegree": lambda target, source: FixedOutdegree(indegree(target)),
        "FixedTotalNumber": lambda target, source: FixedTotalNumber(round(p * sizes[source] * sizes[target])),
        "DistanceDependent, p": lambda target, source: DistanceDependent(GaussianProfile(0.2), p=0.5, space=Torus()),
        "DistanceDependent, in-degree": lambda target, source: DistanceDependent(
            GaussianProfile(0.2), indegree=indegree(source)
        ),
    }
    number, reference = brian2_connections(sizes, p)
    show("Brian2, connect(p)", number, reference, reference / number)
    for name, rule in rules.items():
        show(name, *draw(sizes, rule), reference / number)
    varied = {"weight": LogNormal(0.1, 0.05), "delay": Normal(1.5, 0.75, low=0.1)}
    show("FixedIndegree, weights, delays", *draw(sizes, rules["FixedIndegree"], **varied), reference / number)


def draw(
    sizes: dict[str, int], rule: Callable[[str, str], Connectivity], weight: object = 0.1, delay: object = 1.5
) -> tuple[int, float]:
    """Return the number of synapses and the seconds that drawing them takes."""
    circuit = Circuit(
        [Population(name, size, LIFParameters()) for name, size in sizes.items()],
        [Projection(s, t, weight=weight, delay=delay, connectivity=rule(t, s)) for s in sizes for t in sizes],
    )
    start = time.perf_counter()
    number = sum(circuit.matrix(projection).nnz for projection in circuit.projections)
    return number, time.perf_counter() - start


def brian2_connections(sizes: dict[str, int], p: float) -> tuple[int, float]:
    """Return the number of synapses that Brian2 draws, and the seconds it takes."""
    from brian2 import NeuronGroup, Synapses, seed

    def connect(sizes: dict[str, int]) -> tuple[int, float]:
        groups = {name: NeuronGroup(size, "v : volt") for name, size in sizes.items()}
        number, taken = 0, 0.0
        for source in groups:
            for target in groups:
                synapses = Synapses(groups[source], groups[target], "w : volt")
                start = time.perf_counter()
                synapses.connect(condition="i != j" if source == target else None, p=p)
                taken += time.perf_counter() - start
                number += len(synapses)
        return number, taken

    seed(1)
    connect(dict.fromkeys(sizes, 10))  # compiles
    return connect(sizes)


def show(name: str, number: int, seconds: float, reference: float) -> None:
    ratio = reference * number / seconds
    print(f"{name:32}{number / 1e6:8.2f} M synapses{seconds:8.2f} s{number / seconds / 1e6:8.1f} M/s{ratio:8.1f} times")


if __name__ == "__main__":
    main()
