"""Rates against their closed forms, and the plateau against a hand-made sequence of losses."""

from __future__ import annotations

import json
import math

import pytest

from deeppot_galactic.errors import ConfigError
from deeppot_galactic.training import Schedule


def test_warm_up_is_linear_and_reaches_the_rate():
    schedule = Schedule("constant", rate=1e-3, steps=10_000, warmup=2048)
    assert schedule.rate(0) == pytest.approx(1e-3 / 2048)
    assert schedule.rate(1023) == pytest.approx(5e-4)
    assert schedule.rate(2047) == schedule.rate(9999) == 1e-3


def test_cosine_starts_at_the_rate_is_half_way_in_the_middle_and_ends_at_the_floor():
    schedule = Schedule("cosine", rate=2.0, steps=1100, warmup=100, min_rate=0.02)
    assert schedule.rate(100) == pytest.approx(2.0)
    assert schedule.rate(600) == pytest.approx(1.01)
    assert schedule.rate(1100) == pytest.approx(0.02)
    assert all(schedule.rate(k) > schedule.rate(k + 1) for k in range(100, 1099))


def test_plateau_halves_only_without_a_drop():
    schedule = Schedule("plateau", rate=1.0, steps=10**6, patience=64, min_drop=0.01, min_rate=0.3)
    for step in range(512):
        schedule.observe(step, 10.0 - 0.01 * step)
    assert schedule.rate(512) == 1.0
    for step in range(512, 512 + 160):
        schedule.observe(step, 4.9)
    assert schedule.rate(700) in (0.5, 0.25)
    assert not (schedule.rate(700) == 0.5 and schedule.exhausted)
    for step in range(700, 1200):
        schedule.observe(step, 4.9)
    assert schedule.exhausted


def test_plateau_ignores_the_warm_up_and_non_finite_losses():
    schedule = Schedule("plateau", rate=1.0, steps=10**6, warmup=1000, patience=8)
    for step in range(1000):
        schedule.observe(step, 1.0)
    for step in range(1000, 1500):
        schedule.observe(step, math.nan)
    assert schedule.scale == 1.0


def test_state_survives_json():
    schedule = Schedule("plateau", rate=1.0, steps=100, patience=16)
    fresh = Schedule("plateau", rate=1.0, steps=100, patience=16)
    fresh.load_state(json.loads(json.dumps(schedule.state())))
    for step in range(37):
        schedule.observe(step, math.sin(step))
    fresh.load_state(json.loads(json.dumps(schedule.state())))
    for step in range(37, 300):
        schedule.observe(step, math.sin(step))
        fresh.observe(step, math.sin(step))
    assert fresh.state() == schedule.state()


def test_unknown_kind():
    with pytest.raises(ConfigError, match="cosine"):
        Schedule("linear", rate=1.0, steps=10)
