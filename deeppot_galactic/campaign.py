"""Many runs: epochs, sub-volumes, seeds and bootstrap samples as independent tasks, each in a folder of its own.

    configs = variations(config, volumes={...}, seeds=range(4), bootstraps=range(20))
    summaries = run_all(configs, "runs", executor=RetryingExecutor(lambda: ProcessPoolExecutor(4)))

A task is one run. It needs its configuration and the table alone and writes only its folder, so that any `concurrent.futures` executor
carries it out: threads, processes, a dask cluster, or one job of a batch system each (`docs/many_machines.md`). It goes on from its
checkpoints when its worker died, with the same numbers, and a campaign that is repeated does only what is missing.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from .config import Config, make_config
from .errors import ConfigError, DeepPotError


def variations(
    config: Config,
    *,
    volumes: Mapping[str, dict[str, Any]] | None = None,
    paths: Mapping[str, str | Path] | None = None,
    seeds: Iterable[int] | None = None,
    bootstraps: Iterable[int] | None = None,
) -> dict[str, Config]:
    """All combinations of what is given, by the names of their folders.

    Parameters
    ----------
    config : Config
        What they have in common.
    volumes : mapping of str to dict, optional
        Sub-volumes: names and the section ``[volume]`` of each.
    paths : mapping of str to path, optional
        Catalogues, such as epochs of a simulation.
    seeds : iterable of int, optional
    bootstraps : iterable of int, optional
        Numbers of bootstrap samples.

    Returns
    -------
    dict of str to Config

    Raises
    ------
    ConfigError
        For a name that is no name of a folder, or a section that is not valid.

    Examples
    --------
    >>> from deeppot_galactic.demo import demo_config
    >>> list(variations(demo_config(), seeds=[0, 1], bootstraps=[7]))
    ['seed0-bootstrap7', 'seed1-bootstrap7']
    """
    for what, given, kind in (
        ("volumes", volumes, Mapping), ("paths", paths, Mapping), ("seeds", seeds, Iterable), ("bootstraps", bootstraps, Iterable)
    ):  # fmt: skip
        if given is not None and (not isinstance(given, kind) or isinstance(given, str)):
            raise ConfigError(f"{what} must be {'a mapping of names' if kind is Mapping else 'several numbers'}, found {given!r}")
    axes: list[list[tuple[str, dict[str, Any]]]] = []
    if volumes is not None:
        axes.append([(name, {"volume": section}) for name, section in volumes.items()])
    if paths is not None:
        axes.append([(name, {"catalogue": {"path": str(path)}}) for name, path in paths.items()])
    if seeds is not None:
        axes.append([(f"seed{seed}", {"run": {"seed": seed}}) for seed in seeds])
    if bootstraps is not None:
        axes.append([(f"bootstrap{number}", {"catalogue": {"bootstrap": number}}) for number in bootstraps])
    found: dict[str, Config] = {}
    for choice in itertools.product(*axes):
        values = config.to_dict()
        for name, sections in choice:
            _check_name(name)
            for section, keys in sections.items():
                if not isinstance(keys, Mapping):
                    raise ConfigError(f"[{section}] of {name!r} must be a mapping, found {keys!r}")
                values[section] = dict(keys) if section == "volume" else {**values.get(section, {}), **keys}
        found["-".join(name for name, _ in choice) or "run"] = make_config(values)
    return found


def run_all(configs: Mapping[str, Config], out: str | Path, *, executor: Executor | None = None) -> dict[str, dict[str, Any]]:
    """Carry out many runs, each in ``out/name``; those that are finished there are not repeated.

    Parameters
    ----------
    configs : mapping of str to Config
        As `variations` gives them.
    out : str or Path
        Folder of the run folders; every worker must see it.
    executor : concurrent.futures.Executor, optional
        One after the other in this process by default.

    Returns
    -------
    dict of str to dict
        The summary of each run, or ``{"error": message}`` of one that could not be carried out; the others are not held up by it.

    Raises
    ------
    ConfigError
        For a name that cannot be that of a folder.
    """
    for name in configs:
        _check_name(name)
    jobs = [(config.to_dict(), str(Path(out).resolve() / name)) for name, config in configs.items()]
    results = map(carry_out, jobs) if executor is None else executor.map(carry_out, jobs)
    return dict(zip(configs, results, strict=True))


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ConfigError(f"{name!r} cannot be the name of a folder; use letters, digits, dots, dashes and underscores")


def carry_out(job: tuple[dict[str, Any], str]) -> dict[str, Any]:
    """One run, in whatever process this is; it goes on from what its folder holds.

    Parameters
    ----------
    job : tuple of dict and str
        The sections of its configuration, and its folder.

    Returns
    -------
    dict
        The summary of the run, or ``{"error": message}``.
    """
    from .pipeline import run

    sections, folder = job
    try:
        return run(make_config(sections), folder, resume=True).summary
    except DeepPotError as error:
        return {"error": str(error)}
