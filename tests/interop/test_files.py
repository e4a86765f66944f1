"""Exported files load in a fresh process, and damaged ones are refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from interop_models import MODEL, barred_galaxy, disc_points, network_galaxy

from deeppot_galactic import interop
from deeppot_galactic.errors import ExportError, StoreError
from deeppot_galactic.interop import compile_potential
from deeppot_galactic.interop.files import read_potential, write_potential
from deeppot_galactic.potential.basis import LinearPotential, basis_for
from deeppot_galactic.potential.blended import GlobalPotential
from deeppot_galactic.store import write_model


@pytest.fixture(scope="module")
def galaxy():
    return compile_potential(barred_galaxy(), nodes=(41, 41, 31))


def test_round_trip(galaxy, tmp_path):
    path = write_potential(galaxy, tmp_path / "bar.safetensors")
    again = read_potential(path)
    x = np.concatenate([disc_points(50), disc_points(20) * 3])
    for one, two in zip(galaxy.evaluate(x, 2), again.evaluate(x, 2), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-12)
    assert again.report == galaxy.report
    np.testing.assert_array_equal(again.omega, galaxy.omega)
    assert again.volume == galaxy.volume


@pytest.mark.parametrize("host", ["galpy", "gala"])
def test_loads_in_a_fresh_process_without_torch(galaxy, tmp_path, host):
    pytest.importorskip(host)
    path = interop.export(galaxy, tmp_path / "bar.safetensors", to=host)
    value = {"galpy": "p(1.0, 0.1, phi=0.5, use_physical=False) * 220.0 ** 2", "gala": "p.energy([-7.0, 3.0, 0.1]).to_value('km2/s2')[0]"}
    code = (
        f"from deeppot_galactic import interop; p = interop.load({str(path)!r}); import sys; print('torch' in sys.modules, {value[host]})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    torch, number = run.stdout.split()
    x = np.array([[-8.0 * np.cos(0.5), 8.0 * np.sin(0.5), 0.8]]) if host == "galpy" else np.array([[-7.0, 3.0, 0.1]])
    assert torch == "False"
    assert float(number) == pytest.approx(galaxy.potential(x)[0], rel=1e-9)


def exact_models():
    network = network_galaxy()
    basis = basis_for(network.volume)
    coefficients = np.random.default_rng(0).normal(0, 20.0, basis.size)
    linear = network.with_inner(LinearPotential(MODEL, basis, coefficients))
    return {"network": network, "linear": linear, "analytic": GlobalPotential(MODEL, network.volume, omega=network.omega)}


@pytest.mark.parametrize("kind", ["network", "linear", "analytic"])
def test_the_exact_backend_has_a_file_of_its_own(kind, tmp_path):
    potential = exact_models()[kind]
    path = interop.export(potential, tmp_path / "exact.safetensors", to="gala", backend="exact")
    again = read_potential(path)
    assert type(again.inner).__name__ == type(potential.inner).__name__ and again.report is None
    x = np.concatenate([disc_points(20), disc_points(10) * 3])
    for one, two in zip(potential.evaluate(x, 2), again.evaluate(x, 2), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-13)
    # the compiled one is another file of another kind, and differs
    compiled = interop.export(potential, tmp_path / "compiled.safetensors", to="gala")
    assert read_potential(compiled).report.maximum > 0
    with pytest.raises(ExportError, match="compiled"):
        interop.load(compiled, backend="exact")


def test_an_exact_file_loads_without_torch(tmp_path):
    pytest.importorskip("gala")
    potential = network_galaxy()
    path = interop.export(potential, tmp_path / "exact.safetensors", to="gala", backend="exact")
    lines = ["import sys", "from deeppot_galactic import interop", f"p = interop.load({str(path)!r})"]
    lines.append("print('torch' in sys.modules, p.report, p.energy([-7.0, 3.0, 0.1]).to_value('km2/s2')[0])")
    code = "; ".join(lines)
    torch, report, number = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert (torch, report) == ("False", "None")
    assert float(number) == pytest.approx(potential.potential(np.array([[-7.0, 3.0, 0.1]]))[0], rel=1e-12)


def test_agama_file_needs_no_agama(galaxy, tmp_path):
    path = interop.export(galaxy, tmp_path / "bar.ini", to="agama")
    text = path.read_text()
    assert "type=CylSpline" in text and "#dPhi/dz" in text
    head = text.split("Coefficients")[0]
    n_R = int(next(line for line in head.splitlines() if line.startswith("gridSizeR")).split("=")[1])
    blocks = text.split("#Phi\n")[1].split("\n\n")[0].splitlines()
    present = [int(line.split()[0]) for line in blocks if line.endswith("#m")]
    assert {0, 2, -2, 4} <= set(present) and len(blocks) == len(present) * (n_R + 2)
    # a symmetric bar has no odd harmonics, and the central potential stands at R = 0, z = 0 of m = 0
    assert not [m for m in present if m % 2]
    rows = blocks[present.index(0) * (n_R + 2) :]
    z = np.array(rows[1].split("\t")[1:], float)
    central = np.array(rows[2].split("\t"), float)
    assert central[0] == 0
    assert central[1 + len(z) // 2] == pytest.approx(galaxy.potential(np.zeros((1, 3)))[0], rel=1e-12)


def test_refusals(galaxy, tmp_path):
    with pytest.raises(ExportError, match="nemo"):
        interop.export(galaxy, tmp_path / "x", to="nemo")
    path = write_potential(galaxy, tmp_path / "bar.safetensors")
    with pytest.raises(ExportError, match="nemo"):
        interop.load(path, to="nemo")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(StoreError):
        interop.load(path)
    with pytest.raises(StoreError):
        interop.load(tmp_path / "absent.safetensors")
    with pytest.raises(ExportError, match="already|compiled"):
        interop.to_galpy(galaxy, backend="exact")
    with pytest.raises(ExportError, match="compiled"):
        interop.export(galaxy, tmp_path / "x", to="galpy", backend="exact")
    with pytest.raises(ExportError, match="Learned has no file format"):
        interop.export(barred_galaxy(), tmp_path / "x", to="galpy", backend="exact")
    with pytest.raises(ExportError, match="agama's file"):
        interop.export(galaxy, tmp_path / "x", to="agama", backend="exact")
    write_model(tmp_path / "x", {}, {"inner": {"type": "oracle"}, "volume": galaxy.volume.to_dict()}, "potential-exact")
    with pytest.raises(StoreError, match="incomplete or damaged"):
        interop.load(tmp_path / "x")
