"""Configuration: defaults, round trip, and one clear line for everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppot_galactic.config import Config, make_config, parse_config, read_config
from deeppot_galactic.errors import ConfigError, FrameError
from deeppot_galactic.preparation import check_frame, make_frame, seen_from_axis
from deeppot_galactic.trainings import fit_run_potential

MINIMAL = '[catalogue]\npath = "stars.fits"\n'


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def test_defaults_are_the_papers_volume() -> None:
    config = parse_config(MINIMAL)
    assert (config.volume.kind, config.volume.outer_radius, config.volume.height) == ("cylinder", 16.0, 2.0)
    assert config.distribution.validation_fraction == 0.25
    assert config.pattern_speed.omega == "weak"
    assert config.run.device == "cpu"


def test_round_trip_through_toml() -> None:
    text = MINIMAL + (
        'limit = 1000\noptions = {ruwe_max = 1.4}\n[volume]\nkind = "ball"\ncenter = [-8, 0, 0.02]\nradius = 2\n'
        '[pattern_speed]\nomega = 39\nfree = []\n[potential]\nmethod = "linear"\n[potential.options]\nn_radial = 12\n[run]\nseed = 7\n'
    )
    config = parse_config(text)
    again = parse_config(config.to_toml())
    assert again == config
    assert again.digest() == config.digest()
    assert config.volume.center == [-8.0, 0.0, 0.02]
    assert config.pattern_speed.omega == 39.0


def test_path_is_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(MINIMAL)
    assert read_config(path).catalogue.path == str((tmp_path / "stars.fits").resolve())


def test_the_selection_belongs_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(MINIMAL + "[selection]\npath = 'limits.fits'\nleast = 0.2\n")
    config = read_config(path)
    assert config.selection.path == str((tmp_path / "limits.fits").resolve()) and config.selection.least_of_use == 0.2
    assert config.digest() != config.replace(selection={"least": 0.3}).digest()
    assert config.differences(parse_config(MINIMAL))[-2:] == ["selection.least", "selection.path"]
    assert "least without path" in refused(MINIMAL + "[selection]\nleast = 0.2\n")


def test_digest_follows_the_numbers_and_not_the_threads() -> None:
    config = parse_config(MINIMAL)
    assert config.replace(run={"threads": 2}).digest() == config.digest()
    for changed in (
        config.replace(run={"seed": 1}),
        config.replace(volume={"r_out": 15.0}),
        config.replace(potential={"options": {"a": 1}}),
    ):
        assert changed.digest() != config.digest()
    assert config.replace(run={"seed": 1, "threads": 3}, volume={"r_out": 15.0}).differences(config) == ["volume.r_out", "run.seed"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MINIMAL + "pth = 1", "unknown key 'catalogue.pth'; did you mean 'path'?"),
        (MINIMAL + "[potental]\n", "unknown key 'potental'; did you mean 'potential'?"),
        (MINIMAL + "[xyz]\n", "known are catalogue, selection, volume"),
        (MINIMAL + "[volume]\nr_ot = 3.0", "did you mean 'r_out'?"),
        ("", "catalogue is missing"),
        ("[catalogue]\n", "catalogue.path is missing"),
        ("[catalogue]\npaht = 'a'", "unknown key 'catalogue.paht'; did you mean 'path'? (and 1 more)"),
        ("[catalogue]\npath = ''", "catalogue.path"),
        (MINIMAL + "limit = 0", "catalogue.limit"),
        (MINIMAL + "[volume]\nr_out = -1", "volume.r_out: Input should be greater than 0, found -1"),
        (MINIMAL + "[volume]\nr_out = nan", "volume.r_out"),
        (MINIMAL + "[volume]\nr_out = inf", "volume.r_out"),
        (MINIMAL + "[volume]\nkind = 'sphere'", "volume.kind"),
        (MINIMAL + "[volume]\nkind = 'ball'", "needs center"),
        (MINIMAL + "[volume]\nradius = 1", "do not belong to a cylinder"),
        (MINIMAL + "[volume]\nr_in = 20", "must be smaller than r_out"),
        (MINIMAL + "[volume]\nshells = [0, 5, 5]", "must increase"),
        (MINIMAL + "[distribution]\nvalidation_fraction = 1.0", "validation_fraction"),
        (MINIMAL + "[gradients]\nn = 'many'", "gradients.n"),
        (MINIMAL + "[gradients]\nn = 1.5", "gradients.n"),
        (MINIMAL + "[pattern_speed]\nfree = ['omega']", "pattern_speed.free"),
        (MINIMAL + "[pattern_speed]\nomega = 'fast'", "pattern_speed.omega"),
        (MINIMAL + "[pattern_speed]\nomega = [1, 2]", "pattern_speed.omega"),
        (MINIMAL + "[pattern_speed]\nomega = inf", "pattern_speed.omega"),
        (MINIMAL + "[pattern_speed]\nx0 = [1, 2]", "pattern_speed.x0"),
        (MINIMAL + "[pattern_speed]\nv0 = [1, 2, 'fast']", "pattern_speed.v0"),
        (MINIMAL + "[pattern_speed.prior]\nomega_w = [39, 2]", "pattern_speed.prior"),
        (MINIMAL + "[pattern_speed.prior]\nomega_z = 39", "pattern_speed.prior.omega_z"),
        (MINIMAL + "[pattern_speed.prior]\nomega_z = [39, 0]", "positive sigma"),
        (MINIMAL + "[pattern_speed.prior]\nv0_x = [0, 1]", "needs it in free"),
        (MINIMAL + "[run]\nseed = -1", "run.seed"),
        (MINIMAL + "[run]\nseed = true", "run.seed"),
        (MINIMAL + "[run]\ndevice = 'gpu; rm -rf'", "run.device"),
        (MINIMAL + "run = 3", "unknown key 'catalogue.run'"),
        (MINIMAL + "path = 'twice'", "not valid TOML"),
        ("a = [" * 5000, "not valid TOML"),
        (MINIMAL + "options = {d = 1979-05-27}", "no place"),
    ],
)
def test_bad_configurations_say_what_is_wrong(text: str, expected: str) -> None:
    assert expected in refused(text)


@pytest.mark.parametrize("value", [None, [1, None], {"deep": {"er": None}}])
def test_none_in_options_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="leave the key out"):
        make_config({"catalogue": {"path": "a"}, "distribution": {"options": {"path": value}}})


def test_missing_unreadable_and_binary_files(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError):
            read_config(path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot read"):
        read_config(tmp_path / "binary.toml")
    (tmp_path / "nul.toml").write_text('[catalogue]\npath = "a\\u0000b"')
    with pytest.raises(ConfigError):
        read_config(tmp_path / "nul.toml")


SECTIONS = list(Config.model_fields)
KEYS = [key for field in Config.model_fields.values() for key in field.annotation.model_fields]  # type: ignore[union-attr]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["ball", "cylinder", "weak", "cpu"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(
    st.sampled_from(SECTIONS) | st.text(max_size=8),
    st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), values, max_size=5) | values,
)


@settings(max_examples=400, deadline=None)
@given(document=documents)
def test_any_mapping_is_accepted_or_refused_in_one_line(document: dict[str, Any]) -> None:
    try:
        config = make_config({"catalogue": {"path": "a"}, **document})
    except ConfigError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 500
    else:
        assert parse_config(config.to_toml()).digest() == config.digest()


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=200) | documents.map(lambda d: _toml(d)))
def test_any_text_is_accepted_or_refused_in_one_line(text: str) -> None:
    try:
        parse_config(text)
    except ConfigError as error:
        assert "\n" not in str(error)


def _toml(document: dict[str, Any]) -> str:
    try:
        return tomli_w.dumps(document)
    except (TypeError, ValueError):
        return MINIMAL


FRAME = """[potential]
method = "network"
[pattern_speed]
omega = [1.0, 2.0, 39.0]
free = ["omega_z", "v0_x"]
x0 = [8.0, 0.0, 0.1]
v0 = [0.0, -3.0, 0.0]
[pattern_speed.prior]
omega_z = [40.0, 2.0]
v0_x = [0.0, 5.0]
[volume]
kind = "ball"
center = [8.0, 0.0, 0.0]
radius = 3.0
"""


def test_the_whole_frame_comes_from_the_configuration() -> None:
    config = parse_config(MINIMAL + FRAME)
    assert parse_config(config.to_toml()) == config
    check_frame(config)
    frame = make_frame(config, config.pattern_speed.omega)
    assert frame.omega_vector.tolist() == [1.0, 2.0, 39.0]
    assert frame.x0_vector.tolist() == [8.0, 0.0, 0.1]
    assert frame.v0_vector.tolist() == [0.0, -3.0, 0.0]
    assert frame.free == ("omega_z", "v0_x")
    assert frame.prior == {"omega_z": (40.0, 2.0), "v0_x": (0.0, 5.0)}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('method = "network"', 'method = "weak"', "omega_z alone"),
        ('"v0_x"]', '"v0_x", "x0_x"]', "cannot both be free"),
        ('kind = "ball"\ncenter = [8.0, 0.0, 0.0]\nradius = 3.0', 'kind = "cylinder"', "does not fit a cylinder"),
        ("[volume]", '[selection]\npath = "s.fits"\n[volume]', "selection function"),
    ],
)
def test_frames_that_do_not_fit_are_refused_before_a_run(before: str, after: str, expected: str) -> None:
    with pytest.raises(FrameError, match=expected):
        check_frame(parse_config((MINIMAL + FRAME).replace(before, after)))


def test_a_shift_along_an_axis_that_is_still_to_be_measured_is_refused() -> None:
    with pytest.raises(FrameError, match="along it changes nothing"):
        check_frame(parse_config(MINIMAL + '[pattern_speed]\nfree = ["omega_z", "x0_z"]\n'))


def test_a_run_obeys_the_frame_of_its_configuration(tmp_path: Path) -> None:
    """A bar whose axis is elsewhere and moves: pattern speed and potential are found about it, and a narrow prior rules."""
    from deeppot_galactic.catalogue.tracers import Tracers
    from deeppot_galactic.catalogue.volumes import Ball
    from deeppot_galactic.distribution.gradients import GradientSample
    from deeppot_galactic.mocks.gaussian_bar import GaussianBar
    from deeppot_galactic.potential.pattern import pattern_speed

    offset = np.array([8.0, 0.0, 0.0, 0.0, -3.0, 0.0])
    text = MINIMAL + FRAME.replace("[1.0, 2.0, 39.0]", '"weak"').replace(', "v0_x"]', "]").replace("v0_x = [0.0, 5.0]\n", "")
    text = text.replace("[40.0, 2.0]", "[43.0, 0.001]").replace('"network"', '"weak"').replace("0.1]", "0.0]").replace("3.0\n", "4.0\n")
    config = parse_config(text)
    stars = GaussianBar(omega=40.0).sample(6000, np.random.default_rng(0)) + offset
    volume = Ball(offset[:3] * u.kpc, 4 * u.kpc)
    speed = pattern_speed(*seen_from_axis(config, Tracers(stars), volume))
    assert abs(speed.value.value - 40.0) < 4.0
    points = GradientSample.of_stars(Tracers(stars), volume)
    model = fit_run_potential(config, points, {"value": speed.value.value}, tmp_path / "c.safetensors")
    assert model.omega[2].value == pytest.approx(43.0, abs=0.01)
    assert model.frame.x0_vector.tolist() == [8.0, 0.0, 0.0]
    acceleration = model.acceleration([[9.0, 0.0, 0.0], [7.0, 0.0, 0.0]] * u.kpc).value
    assert acceleration[0, 0] < 0 < acceleration[1, 0]  # towards the axis
