import pytest

from mnnbio.training.loop import TrainingOptions, learning_rate_factor


def test_one_cycle_rises_then_falls_to_zero():
    course = [learning_rate_factor("one_cycle", k / 100) for k in range(101)]
    peak = course.index(max(course))
    assert course[peak] == 1.0
    assert course[0] < 0.1
    assert course[-1] == pytest.approx(0, abs=1e-12)
    assert course[: peak + 1] == sorted(course[: peak + 1])
    assert course[peak:] == sorted(course[peak:], reverse=True)


def test_cosine_and_constant():
    assert [learning_rate_factor("cosine", t) for t in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert learning_rate_factor("constant", 0.7) == 1


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("loss", "hinge", r"Invalid value 'hinge' for `loss`. Must be one of \['cross_entropy', "),
        (
            "schedule",
            "step",
            r"Invalid value 'step' for `schedule`. Must be one of \['constant', 'cosine', 'one_cycle'\]",
        ),
        ("epochs", 0, "`epochs` must be an integer ≥ 1, got 0"),
        ("epochs", 2.5, "`epochs` must be an integer ≥ 1, got 2.5"),
        ("batch_size", 1, "`batch_size` must be an integer ≥ 2, got 1"),
        ("patience", 0, "`patience` must be an integer ≥ 1, got 0"),
        ("seed", -1, "`seed` must be an integer ≥ 0, got -1"),
        ("learning_rate", 0.0, "`learning_rate` must be > 0, got 0.0"),
        ("learning_rate", float("nan"), "`learning_rate` must be > 0, got nan"),
        ("weight_decay", -1.0, "`weight_decay` must be ≥ 0, got -1.0"),
        ("label_smoothing", 1.0, r"`label_smoothing` must be in \[0, 1\), got 1.0"),
        ("window", 0.0, "`window` must be > 0 ms, got 0.0"),
        ("validation_fraction", 1.0, r"`validation_fraction` must be in \[0, 1\), got 1.0"),
    ],
)
def test_values_out_of_range(option, value, message):
    with pytest.raises(ValueError, match=message):
        TrainingOptions(**{option: value})
