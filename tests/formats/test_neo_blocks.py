"""Neo: round trips lose no bit, blocks of others are read as trials, and what cannot be read is said."""

import numpy as np
import pytest
import quantities as pq
import xarray as xr
from recorded_results import ALL, one_stimulus, spikes_and_voltages

from mnnbio import save
from mnnbio.formats import LeftOutWarning, from_neo, from_trains, to_neo

neo = pytest.importorskip("neo", reason="Neo is not installed: pip install neo")


@pytest.mark.parametrize("kind", ALL)
def test_a_result_comes_back_bit_by_bit(kind):
    result = ALL[kind]()
    xr.testing.assert_identical(from_neo(to_neo(result)), result)


def test_a_block_says_what_a_user_of_neo_looks_for():
    result = spikes_and_voltages()
    block = to_neo(result)
    assert len(block.segments) == 6
    assert [(s.annotations["stimulus"], s.annotations["trial"]) for s in block.segments[2:4]] == [(0, 2), (1, 0)]
    assert block.annotations["seed"] == 1
    segment = block.segments[4]  # stimulus 1, trial 1
    train = segment.spiketrains[4]
    assert (train.annotations["population"], train.annotations["index"]) == ("I", 1)
    assert (float(train.t_start.rescale("ms")), float(train.t_stop.rescale("ms"))) == pytest.approx((-100, 300))
    spikes = result["spikes"]
    sizes = spikes["row_size"].values
    before = int(sizes[0].sum() + sizes[1, 0].sum() + sizes[1, 1, :4].sum())
    np.testing.assert_array_equal(
        train.rescale("s").magnitude, spikes["spike_time"].values[before : before + sizes[1, 1, 4]]
    )
    (voltage,) = segment.analogsignals
    assert str(voltage.units.dimensionality) == "mV"
    np.testing.assert_array_equal(voltage.magnitude, result["states/E/v"].values[1, 1])
    assert list(voltage.array_annotations["index"]) == [2, 0]
    assert float(voltage.sampling_period.rescale("ms")) == pytest.approx(0.5)
    assert {group.name: len(group.spiketrains) for group in block.groups} == {"E": 18, "I": 12}


def test_a_block_survives_a_file_of_neo(tmp_path):
    from neo.io import PickleIO

    result = spikes_and_voltages()
    path = str(tmp_path / "block.pkl")
    PickleIO(path).write_block(to_neo(result))
    xr.testing.assert_identical(from_neo(PickleIO(path).read_block()), result)


def test_blocks_of_others_are_trials_with_their_own_clock_and_unit():
    block = neo.Block()
    for trial in range(4):
        start = 1000.0 * trial
        segment = neo.Segment(stimulus="left" if trial % 2 else "right")
        for times in ([10.0, 20.0 + trial], [300.0]):
            segment.spiketrains.append(
                neo.SpikeTrain(np.add(times, start) * pq.ms, t_start=start * pq.ms, t_stop=(start + 500.0) * pq.ms)
            )
        segment.analogsignals.append(
            neo.AnalogSignal(np.full((50, 1), -0.065), units="V", sampling_rate=100 * pq.Hz, t_start=start * pq.ms)
        )
        block.segments.append(segment)
    recorded = from_neo(block, window=100)
    assert list(recorded["spikes/stimulus"].values) == ["right", "left"]
    np.testing.assert_allclose(recorded["simulation/rate"].values, [[4.0, 2.0]] * 2)
    assert recorded.attrs["duration"] == pytest.approx(0.5)
    states = next(iter(recorded["states"].children.values()))
    assert states["v"].attrs["units"] == "mV"
    np.testing.assert_allclose(states["v"].values, -65.0)
    np.testing.assert_allclose(states["time"].values[:2], [0.0, 0.01], atol=1e-12)


def test_a_negative_start_is_a_warm_up():
    segment = neo.Segment()
    segment.spiketrains.append(neo.SpikeTrain([-50.0, 10.0] * pq.ms, t_start=-100 * pq.ms, t_stop=200 * pq.ms))
    recorded = from_neo([segment])
    assert recorded.attrs["warmup"] == pytest.approx(0.1)
    assert recorded.attrs["duration"] == pytest.approx(0.2)
    np.testing.assert_array_equal(recorded["spikes/spike_time"].values, [-0.05, 0.01])
    assert recorded["simulation/rate"].item() == pytest.approx(5.0)  # one spike in 200 ms


def test_what_cannot_be_read_is_said():
    with pytest.raises(ValueError, match="no segments"):
        from_neo(neo.Block())
    with pytest.raises(TypeError, match=r"neo\.Block or a list of neo\.Segment, got list"):
        from_neo([1])
    with pytest.raises(ValueError, match="neither spike trains nor analog signals"):
        from_neo([neo.Segment(name="empty")])
    lengths = []
    for stop in (0.5, 0.7):
        segment = neo.Segment()
        segment.spiketrains.append(neo.SpikeTrain([0.1] * pq.s, t_stop=stop * pq.s))
        lengths.append(segment)
    with pytest.raises(ValueError, match=r"from 0\.5 s to 0\.7 s: give the `duration`"):
        from_neo(lengths)
    assert from_neo(lengths, duration=500).attrs["trials"] == 2
    lengths[1].spiketrains.append(neo.SpikeTrain([0.1] * pq.s, t_stop=0.7 * pq.s))
    with pytest.raises(ValueError, match="the same neurons, got 1 and 2"):
        from_neo(lengths, duration=500)


def test_what_a_block_does_not_hold_is_said(tmp_path):
    result = one_stimulus().copy()
    result["prediction"] = xr.DataTree(xr.Dataset({"rate": ("neuron", np.zeros(4))}))
    with pytest.warns(LeftOutWarning, match=r"`to_neo` leaves out /prediction"):
        to_neo(result)
    with pytest.raises(ValueError, match="found nothing recorded: the result has the groups prediction"):
        to_neo(xr.DataTree.from_dict({"/prediction": xr.Dataset()}))
    with pytest.raises(TypeError, match="writes a result, as `simulate` returns it, got 3"):
        to_neo(3)
    save(from_trains([[1.0]], unit="ms", duration=5), tmp_path / "recorded.nc")  # a result like any other
