"""Molecules written as SMILES (Weininger 1988) as graphs of their atoms."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from trainer.utils.errors import ConfigError

CARDINALITIES = (119, 9, 11, 12, 9, 5, 9, 2, 2)
"""Atomic number, chirality, degree, formal charge from -5, hydrogens, radical electrons, hybridisation, aromatic, in a
ring: the columns of ``atoms``, by how many codes each has."""
LOWEST_CHARGE = -5
BOND_TYPES = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")
STEREO_TYPES = ("STEREONONE", "STEREOZ", "STEREOE", "STEREOCIS", "STEREOTRANS", "STEREOANY")


def import_rdkit() -> ModuleType:
    """The library's chemistry, imported when it is needed. Raises ConfigError where it is not installed."""
    try:
        from rdkit import Chem
    except ImportError:
        raise ConfigError("data: molecules need the package rdkit: pip install 'train-zoo[molecules]'") from None
    return Chem


def parse_smiles(smiles: str) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of the atoms (N, 9) int64, bonds in both directions (E, 2), and what they are, one-hot (E, 11).

    Bonds are described by their type, their stereo and whether they are conjugated; one of another type or stereo has
    zeros there. Raises ValueError for text that is no molecule, and for an atom that ``CARDINALITIES`` has no code for.
    """
    chem = import_rdkit()
    molecule = chem.MolFromSmiles(smiles.strip())
    if molecule is None or not molecule.GetNumAtoms():
        raise ValueError(f"{smiles!r} is no molecule in SMILES")
    atoms = torch.tensor([_atom_codes(atom) for atom in molecule.GetAtoms()])
    outside = ((atoms < 0) | (atoms >= torch.tensor(CARDINALITIES))).nonzero()
    if len(outside):
        row, column = outside[0].tolist()
        raise ValueError(
            f"{smiles!r}: atom {row} has {int(atoms[row, column])} for property {column}, which has no code"
        )
    bonds = list(molecule.GetBonds())
    ends = torch.tensor([(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in bonds]).view(-1, 2).long()
    kinds = torch.tensor([_bond_features(bond) for bond in bonds]).view(
        len(bonds), len(BOND_TYPES) + len(STEREO_TYPES) + 1
    )
    return atoms, torch.cat((ends, ends.flip(1))), torch.cat((kinds, kinds))


def _atom_codes(atom: Any) -> list[int]:
    return [
        atom.GetAtomicNum(),
        int(atom.GetChiralTag()),
        atom.GetTotalDegree(),
        atom.GetFormalCharge() - LOWEST_CHARGE,
        atom.GetTotalNumHs(),
        atom.GetNumRadicalElectrons(),
        int(atom.GetHybridization()),
        int(atom.GetIsAromatic()),
        int(atom.IsInRing()),
    ]


def _bond_features(bond: Any) -> list[float]:
    told = _one_hot(str(bond.GetBondType()), BOND_TYPES) + _one_hot(str(bond.GetStereo()), STEREO_TYPES)
    return [*told, float(bond.GetIsConjugated())]


def _one_hot(value: str, known: Sequence[str]) -> list[float]:
    return [float(value == one) for one in known]
