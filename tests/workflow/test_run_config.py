import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mnnbio.workflow.options import ConfigError, fields_of
from mnnbio.workflow.run_config import (
    PRESETS,
    SECTIONS,
    Config,
    all_fields,
    differences,
    make_config,
    read_layer,
    to_yaml,
)


def test_yaml_holds_every_option_and_gives_it_back():
    for preset in PRESETS:
        config = make_config({"data": {"name": preset}})
        text = to_yaml(config)
        assert make_config(yaml.safe_load(text)) == config
        assert set(yaml.safe_load(text)) == set(SECTIONS)
        assert all(field.help in text for field in all_fields())


@given(st.text(min_size=1), st.floats(1e-8, 10), st.lists(st.integers(1, 10**6), min_size=1, max_size=4))
def test_any_values_survive_the_yaml_file(target, rate, hidden):
    config = make_config({"data": {"target": target}, "training": {"learning_rate": rate}, "model": {"hidden": hidden}})
    assert make_config(yaml.safe_load(to_yaml(config))) == config


def test_defaults_match_those_of_the_estimators():
    import inspect

    from mnnbio.training.estimators import MomentClassifier

    parameters = inspect.signature(MomentClassifier.__init__).parameters
    ours = {field.name: field.default for field in fields_of(SECTIONS["training"])}
    assert {name: parameters[name].default for name in ours if name in parameters} == {
        name: value for name, value in ours.items() if name in parameters
    }


def test_later_layers_win_over_the_preset():
    config = make_config({"data": {"name": "mnist"}}, {"decisions": {"trials": 3}}, {"decisions": {"trials": 5}})
    assert config.decisions.trials == 5
    assert config.decisions.stimuli == PRESETS["mnist"]["decisions"]["stimuli"]


def test_differences_name_what_changed():
    assert differences(Config(), make_config({"training": {"epochs": 7}})) == {"training.epochs": (60, 7)}


def test_command_line_flags_are_unique():
    flags = [field.flag for field in all_fields()]
    assert len(flags) == len(set(flags))


def test_numbers_without_a_dot_are_numbers():
    assert make_config(yaml.safe_load("training: {learning_rate: 1e-3}")).training.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"trainin": {}}, r"unknown section 'trainin'; did you mean 'training'\?"),
        ({"training": {"epoch": 1}}, r"unknown option in 'training': 'epoch'; did you mean 'epochs'\?"),
        ({"training": {"qqqq": 1}}, r"'qqqq'; must be one of \['epochs', "),
        ({"data": {"name": "digit"}}, r"data.name must be one of .*, got 'digit'; did you mean 'digits'\?"),
        ({"training": {"epochs": 1.5}}, "training.epochs must be a whole number ≥ 1, got 1.5"),
        ({"training": {"epochs": True}}, "training.epochs must be a whole number ≥ 1, got True"),
        ({"training": {"epochs": 0}}, "training.epochs must be a whole number ≥ 1, got 0"),
        ({"training": {"patience": "x"}}, "training.patience must be a whole number ≥ 1, or null, got 'x'"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate must be a number > 0, got nan"),
        ({"training": {"label_smoothing": 1}}, "must be a number ≥ 0 and < 1, got 1"),
        ({"training": {"schedule": "cosin"}}, r"must be one of .*'cosine'.*, got 'cosin'; did you mean 'cosine'\?"),
        ({"model": {"noise": "yes"}}, "model.noise must be true or false, got 'yes'"),
        ({"model": {"hidden": []}}, r"model.hidden must be a list of whole numbers ≥ 1, got \[\]"),
        ({"model": {"hidden": [10, "a"]}}, "model.hidden must be a list of whole numbers"),
        ({"model": {"v_reset": 20.0}}, "model.v_reset must be below model.v_th = 20 mV, got 20 mV"),
        ({"simulation": {"dt": 0.3}}, "simulation.dt must divide model.t_ref = 5 ms, got 0.3 ms"),
        ({"decisions": {"window": 100.05}}, "simulation.dt must divide decisions.window = 100.05 ms"),
        ({"statistics": {"duration": 150}}, "statistics.window must divide statistics.duration = 150 ms, got 100 ms"),
        ({"model": {"max_rate": 20}}, "max_rate · simulation.dt must be ≤ 1, got 20 spikes/ms · 0.1 ms"),
    ],
)
def test_errors_say_what_was_expected_what_came_and_where(layer, message):
    with pytest.raises(ConfigError, match=message):
        make_config(layer)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: [", "is not YAML"),
        ("- 1\n- 2", r"must hold sections .*, got \[1, 2\]"),
        ("training: 5", "section 'training' must hold options, got 5"),
        ("training: {epoch: 5}", "did you mean 'epochs'"),
        ("trainings: {}", "did you mean 'training'"),
    ],
)
def test_errors_in_a_file_name_the_file(tmp_path, text, message):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_layer(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no configuration file .*none\.yaml"):
        read_layer(tmp_path / "none.yaml")


def test_an_empty_file_or_section_means_the_defaults(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("")
    assert make_config(read_layer(path)) == Config()
    path.write_text("training:\n")
    assert make_config(read_layer(path)) == Config()


def test_data_must_be_located():
    with pytest.raises(ConfigError, match="a table needs a file and a column"):
        make_config({"data": {"name": "table"}}).data.located()
    with pytest.raises(ConfigError, match="mnist needs the folder"):
        make_config({"data": {"name": "mnist"}}).data.located()


def test_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    located = make_config({"data": {"name": "mnist", "data_dir": "files"}}).data.located()
    assert located.data_dir == str(tmp_path / "files")
    assert located.changed(data_dir="files").located() == located


@pytest.mark.parametrize(
    ("where", "text", "value"),
    [
        ("model.hidden", "200,100", (200, 100)),
        ("model.hidden", "30", (30,)),
        ("training.patience", "none", None),
        ("training.patience", "5", 5),
        ("training.learning_rate", "1e-3", 1e-3),
        ("data.target", "5", "5"),
    ],
)
def test_text_of_the_command_line_becomes_values(where, text, value):
    field = next(field for field in all_fields() if field.where == where)
    assert field.from_text(text) == value


@pytest.mark.parametrize(
    ("where", "text"), [("training.epochs", "1.5"), ("model.hidden", "a,b"), ("simulation.dt", "x")]
)
def test_text_that_is_no_value_is_an_error(where, text):
    field = next(field for field in all_fields() if field.where == where)
    with pytest.raises(ConfigError, match=f"{where} must be"):
        field.from_text(text)
