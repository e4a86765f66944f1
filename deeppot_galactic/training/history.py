"""What a training left behind: losses, rates and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

OUTCOMES = ("running", "finished", "rate-exhausted", "stopped-early", "diverged")
"""Every way a training can end: all steps done, rate below its floor, no better validation, and losses that
were not finite, or rose without limit, again after every return to an earlier state."""


@dataclass
class History:
    """Losses along a training.

    Attributes
    ----------
    steps : list of int
        Steps at which a row was recorded (the number of updates made).
    train_loss : list of float
        Mean training loss since the previous row.
    validation_loss : list of float
        Loss of the averaged weights on the validation set; NaN without one.
    rate : list of float
        Learning rate at the row.
    outcome : str
        One of `OUTCOMES`.
    best_step : int
        Step whose weights the model holds at the end.
    skipped : int
        Updates left out because the loss or its gradient was not finite.
    restarts : list of dict
        Returns to an earlier state after a divergence: ``at`` which step, ``back_to`` which, ``rate_factor`` from then on, ``reason``;
        with a ``stage`` if it was not that of the losses, and the ``member`` of an ensemble or shells.
    initial_loss : float
        Loss on the validation set before the first update; NaN without one.
    """

    steps: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    rate: list[float] = field(default_factory=list)
    outcome: str = "running"
    best_step: int = 0
    skipped: int = 0
    restarts: list[dict[str, Any]] = field(default_factory=list)
    initial_loss: float = float("nan")

    def record(self, step: int, train_loss: float, validation_loss: float, rate: float) -> None:
        """Append one row.

        Parameters
        ----------
        step : int
            Number of updates made.
        train_loss, validation_loss, rate : float
            As the attributes.
        """
        self.steps.append(step)
        self.train_loss.append(train_loss)
        self.validation_loss.append(validation_loss)
        self.rate.append(rate)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and strings, ready for JSON; `from_dict` is the inverse.

        Returns
        -------
        dict
            By attribute; a loss that is not finite (no validation) becomes None.
        """
        return {
            "steps": list(self.steps),
            "train_loss": [_json(v) for v in self.train_loss],
            "validation_loss": [_json(v) for v in self.validation_loss],
            "rate": list(self.rate),
            "outcome": self.outcome,
            "best_step": self.best_step,
            "skipped": self.skipped,
            "restarts": [dict(restart) for restart in self.restarts],
            "initial_loss": _json(self.initial_loss),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> History:
        """Inverse of `to_dict`.

        Parameters
        ----------
        values : dict
            What `to_dict` gives.

        Returns
        -------
        History
        """
        nan = float("nan")
        return cls(
            steps=[int(v) for v in values["steps"]],
            train_loss=[nan if v is None else float(v) for v in values["train_loss"]],
            validation_loss=[nan if v is None else float(v) for v in values["validation_loss"]],
            rate=[float(v) for v in values["rate"]],
            outcome=str(values["outcome"]),
            best_step=int(values["best_step"]),
            skipped=int(values["skipped"]),
            restarts=[dict(restart) for restart in values.get("restarts", [])],
            initial_loss=nan if values.get("initial_loss") is None else float(values["initial_loss"]),
        )


def _json(value: float) -> float | None:
    return value if value == value and abs(value) != float("inf") else None
