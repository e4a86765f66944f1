"""The demonstration: the configuration of the run on the shipped N-body bar.

``deeppot demo`` is ``deeppot run`` with this configuration. The quick one uses fewer stars and few steps, says so in its summary and
report, and is for tests and for a first look.
"""

from __future__ import annotations

from typing import Any

from .config import Config, make_config

QUICK_STARS = 32_768


def demo_config(*, quick: bool = False) -> Config:
    """The configuration of ``deeppot demo``, or of ``deeppot demo --quick``."""
    from .catalogue.truth import demo_path

    values: dict[str, Any] = {"catalogue": {"path": str(demo_path())}, "volume": {"kind": "cylinder", "r_out": 16.0, "half_height": 2.0}}
    if quick:
        values["catalogue"]["limit"] = QUICK_STARS
        values["distribution"] = {"preset": "quick"}
        values["gradients"] = {"n": QUICK_STARS}
        values["potential"] = {"preset": "quick"}
        values["run"] = {"quick": True}
    return make_config(values, source="demo")
