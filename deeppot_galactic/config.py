"""The configuration of a run: a TOML file, checked before anything starts.

One section for each stage; every key but ``catalogue.path`` has a default. Lengths are kpc, angular speeds km/s/kpc.

    [catalogue]      path (relative to the file), limit (random thinning), bootstrap, errors ("ignore" or "correct": take the stars' known
                     errors out of every stage), options (keywords of `read_tracers`)
    [selection]      path (a file for `read_selection`), least, sky, order, taper; only for a catalogue that is not complete
    [volume]         kind = "cylinder": r_out, half_height, r_in, shells;  kind = "ball": center, radius
    [distribution]   preset, validation_fraction, options (keywords of `fit_distribution`); members (of an ensemble),
                     executor ("serial", "threads", "processes", or "package.module:Executor") and workers train them, or the shells
    [gradients]      n (points with ln f and its gradient)
    [pattern_speed]  omega ("weak" to measure it, or a number or vector to start from), free (what the fit may change), x0, v0 (of the
                     rotating frame), prior (a table: component = [mean, sigma])
    [potential]      method, preset, options (keywords of `fit_potential`)
    [run]            seed, device, threads, precision, quick (only a label)

The digest of a configuration covers everything that can change a number: all but ``run.threads``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import ConfigError

Length = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
AngularSpeed = Annotated[float, Field(ge=-1e4, le=1e4, allow_inf_nan=False)]
Vector = Annotated[list[Coordinate], Field(min_length=3, max_length=3)]
FreeParameter = Literal["omega_x", "omega_y", "omega_z", "x0_x", "x0_y", "x0_z", "v0_x", "v0_y", "v0_z"]
Prior = Annotated[list[Coordinate], Field(min_length=2, max_length=2)]
Options = dict[str, Any]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CatalogueConfig(_Section):
    """Where the stars are.

    Attributes
    ----------
    path : str
        The table.
    limit : int, optional
        Keep that many stars, drawn at random with the seed of the run.
    bootstrap : int, optional
        Take bootstrap sample of this number: every star with a weight drawn from Poisson(1).
    errors : {"ignore", "correct"}
        "correct" takes the stars' known errors out of every stage.
    options : dict
        Keywords of `read_tracers`.
    """

    path: Annotated[str, Field(min_length=1)]
    limit: Annotated[int, Field(ge=1)] | None = None
    bootstrap: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    errors: Literal["ignore", "correct"] = "ignore"
    options: Options = {}


class SelectionConfig(_Section):
    """The catalogue's selection function: stars are weighted by its inverse, or, for a distance limit, cut with a smooth edge.

    Attributes
    ----------
    path : str, optional
        A file for `read_selection`; without it the catalogue is complete.
    least : float, optional
        Selection below which stars are not used, in (0, 0.5]; 0.05 by default.
    sky : {"galactic", "icrs"}, optional
        Coordinates of the pixels, where the file does not say.
    order : {"ring", "nested"}, optional
        Their order, where the file does not say.
    taper : float, optional
        For limits: the last fraction of the distance over which the edge falls, in (0, 1).
    """

    path: Annotated[str, Field(min_length=1)] | None = None
    least: Annotated[float, Field(gt=0, le=0.5)] | None = None
    sky: Literal["galactic", "icrs"] | None = None
    order: Literal["ring", "nested"] | None = None
    taper: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _complete(self) -> SelectionConfig:
        given = [key for key in ("least", "sky", "order", "taper") if getattr(self, key) is not None]
        if self.path is None and given:
            raise ValueError(f"{' and '.join(given)} without path: give the file of the selection function")
        return self

    @property
    def least_of_use(self) -> float:
        """Selection below which stars are not used; 0.05 by default."""
        return 0.05 if self.least is None else self.least


class VolumeConfig(_Section):
    """The training volume: a cylinder about the origin or a ball anywhere.

    Attributes
    ----------
    kind : {"cylinder", "ball"}
        Which of the two.
    r_out, half_height : float, optional
        Of the cylinder [kpc]; 16 and 2 by default, as in the paper.
    r_in : float, optional
        Its inner radius [kpc].
    shells : list of float, optional
        Increasing radii of nested shells [kpc].
    center : list of float, optional
        Centre of the ball, three coordinates [kpc].
    radius : float, optional
        Its radius [kpc].
    """

    kind: Literal["cylinder", "ball"] = "cylinder"
    r_out: Length | None = None
    half_height: Length | None = None
    r_in: Annotated[float, Field(ge=0, le=1e6)] | None = None
    shells: Annotated[list[Annotated[float, Field(ge=0, le=1e6)]], Field(min_length=2)] | None = None
    center: Vector | None = None
    radius: Length | None = None

    @model_validator(mode="after")
    def _consistent(self) -> VolumeConfig:
        cylinder, ball = ("r_out", "half_height", "r_in", "shells"), ("center", "radius")
        foreign = [key for key in (ball if self.kind == "cylinder" else cylinder) if getattr(self, key) is not None]
        if foreign:
            raise ValueError(f"{' and '.join(foreign)} do not belong to a {self.kind}")
        if self.kind == "ball" and (self.center is None or self.radius is None):
            raise ValueError("a ball needs center = [x, y, z] and radius, in kpc")
        if self.r_in is not None and self.r_in >= self.outer_radius:
            raise ValueError(f"r_in = {self.r_in} must be smaller than r_out = {self.outer_radius}")
        if self.shells is not None and any(a >= b for a, b in zip(self.shells, self.shells[1:], strict=False)):
            raise ValueError(f"shells must increase, found {self.shells}")
        return self

    @property
    def outer_radius(self) -> float:
        """Outer radius of the cylinder [kpc]; 16 by default, as in the paper."""
        if self.r_out is not None:
            return self.r_out
        return 16.0 if self.shells is None else self.shells[-1]

    @property
    def height(self) -> float:
        """Half height of the cylinder [kpc]; 2 by default, as in the paper."""
        return 2.0 if self.half_height is None else self.half_height


class DistributionConfig(_Section):
    """How ln f and its gradient are learned.

    Attributes
    ----------
    preset : str
        One of those of `fit_distribution`.
    validation_fraction : float
        Share of the stars held out.
    members : int
        More than one make an ensemble, whose mean is used.
    executor : str
        Trains the members, and the shells of a volume: "serial", "threads", "processes", or any class of the `concurrent.futures.Executor`
        family such as "mpi4py.futures:MPIPoolExecutor".
    workers : int
        How many it has.
    options : dict
        Keywords of `fit_distribution`.
    """

    preset: str = "fast"
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.25
    members: Annotated[int, Field(ge=1, le=100)] = 1
    executor: Annotated[str, Field(pattern=r"^(serial|threads|processes|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")] = "serial"
    workers: Annotated[int, Field(ge=1, le=4096)] = 2
    options: Options = {}


class GradientsConfig(_Section):
    """The points that carry ln f and its gradient to the potential.

    Attributes
    ----------
    n : int
        How many; `method = "weak"` takes all stars (``catalogue.limit`` thins them).
    """

    n: Annotated[int, Field(ge=1, le=2**28)] = 2**17


class PatternSpeedConfig(_Section):
    """Where the rotating frame starts, and which parts of it the fit may change.

    Attributes
    ----------
    omega : "weak", float, or list of float
        Measure it, or a number about the z axis, or the three components of a vector [km/s/kpc].
    free : list of str
        Of omega_x, omega_y, omega_z, and x0_x, x0_y, x0_z or v0_x, v0_y, v0_z; as in `RotatingFrame`.
    x0 : list of float, optional
        A point of the rotation axis, three coordinates [kpc]; the origin by default. For a ball only.
    v0 : list of float, optional
        Velocity of the frame, three components [km/s]; zero by default.
    prior : dict, optional
        Gaussian priors on free components: name -> [mean, sigma] in km/s/kpc, kpc or km/s.
    """

    omega: Literal["weak"] | AngularSpeed | Annotated[list[AngularSpeed], Field(min_length=3, max_length=3)] = "weak"
    free: list[FreeParameter] = ["omega_z"]
    x0: Vector | None = None
    v0: Vector | None = None
    prior: dict[FreeParameter, Prior] | None = None

    @model_validator(mode="after")
    def _priors(self) -> PatternSpeedConfig:
        for name, (_, sigma) in (self.prior or {}).items():
            if name not in self.free:
                raise ValueError(f"a prior on {name} needs it in free = {self.free}")
            if not sigma > 0:
                raise ValueError(f"the prior {name} = [mean, sigma] needs a positive sigma, found {sigma}")
        return self

    @property
    def is_offset(self) -> bool:
        """Whether the axis is not through the origin, or the frame moves."""
        return any(self.x0 or ()) or any(self.v0 or ())


class PotentialConfig(_Section):
    """How Phi is represented and fitted.

    Attributes
    ----------
    method : {"network", "linear", "weak"}
        As in `fit_potential`.
    preset : str
        Of the network.
    options : dict
        Keywords of `fit_potential`, for the network.
    """

    method: Literal["network", "linear", "weak"] = "network"
    preset: str = "fast"
    options: Options = {}


class RunConfig(_Section):
    """Where and how to compute.

    Attributes
    ----------
    seed : int
        Fixes everything that is random.
    device : str
        "cpu", "mps", "cuda" or "cuda:1".
    threads : int
        0: torch's own choice.
    precision : {"single", "tf32"}, optional
        "tf32" lets a CUDA device multiply matrices of the trainings with rounded factors (ten bits, sums in single precision).
    quick : bool
        Marks a run whose numbers are not meant to be good.
    """

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    device: Annotated[str, Field(pattern=r"^(cpu|mps|cuda(:\d{1,3})?)$")] = "cpu"
    threads: Annotated[int, Field(ge=0, le=4096)] = 0
    precision: Literal["single", "tf32"] | None = None
    quick: bool = False


class Config(_Section):
    """A whole run.

    Attributes
    ----------
    catalogue, selection, volume, distribution, gradients, pattern_speed, potential, run
        The sections; all but ``catalogue`` have defaults.
    """

    catalogue: CatalogueConfig
    selection: SelectionConfig = SelectionConfig()
    volume: VolumeConfig = VolumeConfig()
    distribution: DistributionConfig = DistributionConfig()
    gradients: GradientsConfig = GradientsConfig()
    pattern_speed: PatternSpeedConfig = PatternSpeedConfig()
    potential: PotentialConfig = PotentialConfig()
    run: RunConfig = RunConfig()

    def to_dict(self) -> dict[str, Any]:
        """Plain sections without the keys that are unset, ready for TOML and JSON.

        Returns
        -------
        dict of dict
        """
        return self.model_dump(mode="json", exclude_none=True)

    def to_toml(self) -> str:
        """The resolved configuration as TOML; `parse_config` reads it back to an equal one.

        Returns
        -------
        str
        """
        import tomli_w

        return tomli_w.dumps(self.to_dict())

    def digest(self) -> str:
        """SHA-256 of all that can change a number.

        Returns
        -------
        str
            Hexadecimal.
        """
        sections = self.to_dict()
        sections["run"].pop("threads")
        return hashlib.sha256(json.dumps(sections, sort_keys=True).encode()).hexdigest()

    def replace(self, **sections: dict[str, Any]) -> Config:
        """The configuration with some keys changed, e.g. ``config.replace(run={"seed": 1})``; checked again.

        Parameters
        ----------
        **sections
            The new keys of each section, as dict.

        Returns
        -------
        Config

        Raises
        ------
        ConfigError
            For an unknown section or key, or a value out of range.
        """
        values = self.to_dict()
        for name, changes in sections.items():
            values[name] = {**values.get(name, {}), **changes}
        return make_config(values)

    def differences(self, other: Config) -> list[str]:
        """What differs between two configurations, apart from the threads.

        Parameters
        ----------
        other : Config
            The other one.

        Returns
        -------
        list of str
            Names ``section.key``.
        """
        mine, theirs = self.to_dict(), other.to_dict()
        return [
            f"{section}.{key}"
            for section in dict.fromkeys([*mine, *theirs])
            for key in sorted(mine.get(section, {}).keys() | theirs.get(section, {}).keys())
            if (section, key) != ("run", "threads") and mine.get(section, {}).get(key) != theirs.get(section, {}).get(key)
        ]


def read_config(path: str | Path) -> Config:
    """Read and check a TOML file; ``catalogue.path`` and ``selection.path`` are taken relative to the file's folder.

    Parameters
    ----------
    path : str or Path
        Of the file; lengths in kpc, angular speeds in km/s/kpc.

    Returns
    -------
    Config

    Raises
    ------
    ConfigError
        If the file is missing, not TOML, has an unknown key, or a value out of range.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"no configuration file {path}") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {' '.join(str(error).split())}") from None
    return parse_config(text, source=str(path), folder=path.parent)


def parse_config(text: str, *, source: str = "configuration", folder: str | Path | None = None) -> Config:
    """Check a configuration given as TOML text; see `read_config`.

    Parameters
    ----------
    text : str
        Content of a file.
    source : str
        What it comes from, for the message.
    folder : str or Path, optional
        Relative paths in it are taken from here.

    Returns
    -------
    Config

    Raises
    ------
    ConfigError
        If it is not TOML, has an unknown key, or a value out of range.
    """
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is not valid TOML: {' '.join(str(error).split())}") from None
    config = make_config(values, source=source)
    if folder is None:
        return config
    changes = {"catalogue": {"path": _located(config.catalogue.path, folder, source, "catalogue.path")}}
    if config.selection.path is not None:
        changes["selection"] = {"path": _located(config.selection.path, folder, source, "selection.path")}
    return config.replace(**changes)


def _located(path: str, folder: str | Path, source: str, name: str) -> str:
    try:
        return str((Path(folder) / Path(path).expanduser()).resolve())
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{source}: {name} cannot be used: {error}") from None


def make_config(values: dict[str, Any], *, source: str = "configuration") -> Config:
    """Check nested mappings, as TOML gives them.

    Parameters
    ----------
    values : dict
        Sections and their keys; lengths in kpc, angular speeds in km/s/kpc.
    source : str
        What they come from, for the message.

    Returns
    -------
    Config

    Raises
    ------
    ConfigError
        With one line for the first problem.
    """
    try:
        config = Config.model_validate_json(json.dumps(values, allow_nan=True))
        if _holds_none(config.to_dict()):  # in options, whose content is free
            raise TypeError("None; leave the key out")
        return config
    except ValidationError as error:
        problems = error.errors(include_url=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source} holds a value that has no place in it: {' '.join(str(error).split())[:200]}") from None
    # Unknown keys first: a misspelt key is often also reported as a missing one.
    problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    raise ConfigError(f"{source}: {_describe(problems[0])}{more}")


def _holds_none(value: Any) -> bool:
    """Whether there is a None anywhere in it, which TOML cannot write."""
    if isinstance(value, dict):
        return any(_holds_none(inner) for inner in value.values())
    return any(_holds_none(inner) for inner in value) if isinstance(value, list) else value is None


def _describe(problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    where = ".".join(location) or "the whole"
    if problem["type"] == "extra_forbidden":
        known = _fields(location[:-1])
        close = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        return f"unknown key {_short(where)!r}; {hint}"
    if problem["type"] == "missing":
        return (
            f"{where} is missing; give it, e.g. [catalogue] path = 'stars.fits'" if where.startswith("catalogue") else f"{where} is missing"
        )
    found = "" if isinstance(problem["input"], dict) else f", found {_short(repr(problem['input']))}"
    return f"{_short(where)}: {problem['msg'].removeprefix('Value error, ')}{found}"


def _fields(location: list[str]) -> list[str]:
    model: Any = Config
    for part in location:
        annotation = model.model_fields[part].annotation
        model = next((kind for kind in (annotation, *get_args(annotation)) if hasattr(kind, "model_fields")), None)
        if model is None:
            return []
    return list(model.model_fields)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:77] + "..."
