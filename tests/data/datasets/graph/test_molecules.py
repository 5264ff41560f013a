"""Molecules: synthetic graphs, SMILES and ESOL."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.real_data import FOLDER, needs
from trainer.core.batch import Batch
from trainer.data.datasets.graph import esol
from trainer.data.datasets.graph.esol import ESOL
from trainer.data.datasets.graph.molecules import CARDINALITIES, ELEMENT_CHARGES, MoleculeLike
from trainer.data.readers import smiles
from trainer.utils.errors import DataError, SystemFault


def make_dataset(**changes: Any) -> MoleculeLike:
    return MoleculeLike(**{"rows": 120, "bonds": 0.22, "noise": 0.1, "seed": 0, **changes})


def get_full_batch(data: MoleculeLike) -> Batch:
    return data.train.batch(torch.arange(len(data.train)), 0)


def count_atoms_and_bonds(data: MoleculeLike) -> Tensor:
    """Return the atoms per element and the sum of charge products along bonds of each molecule: (G, 6)."""
    inputs = get_full_batch(data).inputs
    sizes = inputs["sizes"]
    graph = torch.arange(len(sizes)).repeat_interleave(sizes)
    element = inputs["x"][:, 0]
    source, target = inputs["edge_index"]
    atoms = torch.zeros(len(sizes), 5).index_add(0, graph, torch.nn.functional.one_hot(element, 5).float())
    bonds = torch.zeros(len(sizes)).index_add(
        0, graph[source], ELEMENT_CHARGES[element[source]] * ELEMENT_CHARGES[element[target]] / 2
    )
    return torch.cat((atoms, bonds[:, None]), 1)


class TestMoleculeLike:
    def test_graphs_are_connected_and_undirected(self) -> None:
        data = make_dataset()
        for row in range(len(data.train)):
            inputs = data.train.batch(torch.tensor([row]), 0).inputs
            source, target = inputs["edge_index"].tolist()
            assert set(zip(source, target, strict=True)) == set(zip(target, source, strict=True))
            assert len(set(zip(source, target, strict=True))) == len(source)
            visited, frontier = {0}, {0}
            while frontier:
                frontier = {t for s, t in zip(source, target, strict=True) if s in frontier} - visited
                visited |= frontier
            assert len(visited) == int(inputs["sizes"]) >= 5

    def test_node_features_are_codes_and_include_degree(self) -> None:
        inputs = get_full_batch(make_dataset()).inputs
        x, edges = inputs["x"], inputs["edge_index"]
        assert x.dtype == torch.long
        assert bool((x >= 0).all())
        assert bool((x < torch.tensor(CARDINALITIES)).all())
        assert torch.equal(x[:, 2], edges[1].bincount(minlength=len(x)))
        assert int(x[:, 2].max()) <= 4

    def test_target_residual_is_noise_with_bonds_and_larger_without(self) -> None:
        data = make_dataset(rows=1200)
        y = get_full_batch(data).target.double()
        features = torch.cat((count_atoms_and_bonds(data), torch.ones(len(y), 1)), 1).double()

        def residual_std(columns: Tensor) -> float:
            return float((y - columns @ torch.linalg.lstsq(columns, y, driver="gelsd").solution).square().mean().sqrt())

        assert residual_std(features) == pytest.approx(0.1, abs=0.01)
        assert residual_std(features[:, [0, 1, 2, 3, 4, 6]]) == pytest.approx((0.22**2 + 0.1**2) ** 0.5, abs=0.02)
        assert float(y.std()) == pytest.approx(0.818, abs=0.03)

    def test_best_possible_rmse_is_the_noise(self) -> None:
        info = make_dataset(rows=1200).info
        assert info.best_possible["rmse"] == pytest.approx(0.1, abs=0.015)
        assert info.baseline["rmse"] == pytest.approx(0.818, abs=0.15)
        assert info.sizes["cardinalities"] == list(CARDINALITIES)

    def test_splits_are_disjoint_and_depend_on_seed(self) -> None:
        one, again, other = (make_dataset(seed=seed) for seed in (1, 1, 2))
        assert torch.equal(get_full_batch(one).target, get_full_batch(again).target)
        assert not torch.equal(get_full_batch(one).target, get_full_batch(other).target)
        targets = torch.cat([part.get_targets() for part in (one.train, one.val, one.test)])
        assert len(targets.unique()) == 120 == len(targets)
        assert [len(part) for part in (one.train, one.val, one.test)] == [96, 12, 12]


def test_missing_rdkit_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(DataError, match=r"molecules need the package rdkit: pip install 'train-zoo\[molecules\]'"):
        ESOL(seed=0, data_dir="/nowhere")


@needs("esol")
def test_find_table_accepts_file_with_and_without_final_newline(tmp_path: Path) -> None:
    path = esol.find_table(str(FOLDER))
    assert path == FOLDER / "esol" / esol.SOURCES[0].path
    (tmp_path / "esol").mkdir()
    copy = tmp_path / "esol" / esol.SOURCES[1].path
    copy.write_bytes(path.read_bytes().removesuffix(b"\n"))
    assert esol.find_table(str(tmp_path)) == copy
    copy.write_bytes(path.read_bytes())
    with pytest.raises(SystemFault, match="has a wrong checksum: sha256"):
        esol.find_table(str(tmp_path))


class TestSmiles:
    @pytest.fixture(autouse=True)
    def _rdkit(self) -> None:
        pytest.importorskip("rdkit")

    def test_parse_smiles_of_vinyl_alcohol_anion(self) -> None:
        """Parse SMILES with trailing whitespace."""
        atoms, bonds, kinds = smiles.parse_smiles("C=C[O-] ")
        assert atoms.tolist() == [[6, 0, 3, 5, 2, 0, 3, 0, 0], [6, 0, 3, 5, 1, 0, 3, 0, 0], [8, 0, 1, 4, 0, 0, 3, 0, 0]]
        assert bonds.tolist() == [[0, 1], [1, 2], [1, 0], [2, 1]]
        assert kinds[:2, :4].tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
        assert torch.equal(kinds[:2], kinds[2:])

    def test_parse_smiles_of_rings_stereoisomers_and_single_atom(self) -> None:
        atoms, bonds, kinds = smiles.parse_smiles("c1ccccc1")
        assert bool((atoms[:, 7:] == 1).all())
        assert bonds.shape == (12, 2)
        assert bool((kinds[:, 3] == 1).all())
        one, other = (smiles.parse_smiles(text)[2] for text in ("C/C=C/C", "C/C=C\\C"))
        assert not torch.equal(one, other)
        left, right = (smiles.parse_smiles(text)[0] for text in ("C[C@H](O)F", "C[C@@H](O)F"))
        assert not torch.equal(left, right)
        atoms, bonds, kinds = smiles.parse_smiles("C")
        assert (atoms.shape, bonds.shape, kinds.shape) == ((1, 9), (0, 2), (0, 11))

    @pytest.mark.parametrize("text", ["", "C1CC", "hello"])
    def test_an_invalid_molecule_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not a valid SMILES string"):
            smiles.parse_smiles(text)

    @needs("esol")
    def test_solubilities_are_reported_in_their_own_units(self) -> None:
        data = ESOL(seed=0, data_dir=str(FOLDER))
        parts = (data.train, data.val, data.test)
        assert [len(part) for part in parts] == [902, 113, 113]
        targets = torch.cat([part.get_targets() for part in parts]) * data.info.target.scale
        assert float(targets.std()) == pytest.approx(2.096, abs=0.01)
        assert data.info.baseline["rmse"] == pytest.approx(2.1, abs=0.25)
        assert int(torch.cat([part.sizes for part in parts]).min()) == 1
        torch.testing.assert_close(data.train.get_targets().mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
