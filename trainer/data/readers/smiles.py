"""Molecular graphs from SMILES strings (Weininger 1988)."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from trainer.utils.errors import DataError

CARDINALITIES = (119, 9, 11, 12, 9, 5, 9, 2, 2)
"""Number of codes of each atom feature: atomic number, chirality, degree, formal charge from -5, hydrogens, radical
electrons, hybridization, aromatic, in a ring."""
LOWEST_CHARGE = -5
BOND_TYPES = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")
STEREO_TYPES = ("STEREONONE", "STEREOZ", "STEREOE", "STEREOCIS", "STEREOTRANS", "STEREOANY")


def import_rdkit() -> ModuleType:
    """Import ``rdkit.Chem``.

    Raises:
        DataError: RDKit is not installed.
    """
    try:
        from rdkit import Chem
    except ImportError:
        raise DataError("data: molecules need the package rdkit: pip install 'train-zoo[molecules]'") from None
    return Chem


def parse_smiles(smiles: str) -> tuple[Tensor, Tensor, Tensor]:
    """Parse a SMILES string to atom codes (N, 9) int64, bonds in both directions (E, 2) and bond features (E, 11).

    Bond features are one-hot type and stereo configuration (zeros for others) and conjugation.

    Raises:
        ValueError: The text is not a molecule, or an atom has no code in ``CARDINALITIES``.
    """
    chem = import_rdkit()
    from rdkit import rdBase

    with rdBase.BlockLogs():  # the error below says it in one line
        molecule = chem.MolFromSmiles(smiles.strip())
    if molecule is None or not molecule.GetNumAtoms():
        raise ValueError(f"{smiles!r} is not a valid SMILES string")
    atoms = torch.tensor([_atom_codes(atom) for atom in molecule.GetAtoms()])
    invalid = ((atoms < 0) | (atoms >= torch.tensor(CARDINALITIES))).nonzero()
    if len(invalid):
        row, column = invalid[0].tolist()
        raise ValueError(
            f"{smiles!r}: atom {row} has {int(atoms[row, column])} for property {column}, which has no code"
        )
    bonds = list(molecule.GetBonds())
    ends = torch.tensor([(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in bonds]).view(-1, 2).long()
    bond_features = torch.tensor([_bond_features(bond) for bond in bonds]).view(
        len(bonds), len(BOND_TYPES) + len(STEREO_TYPES) + 1
    )
    return atoms, torch.cat((ends, ends.flip(1))), torch.cat((bond_features, bond_features))


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
    one_hot = _one_hot(str(bond.GetBondType()), BOND_TYPES) + _one_hot(str(bond.GetStereo()), STEREO_TYPES)
    return [*one_hot, float(bond.GetIsConjugated())]


def _one_hot(value: str, choices: Sequence[str]) -> list[float]:
    return [float(value == choice) for choice in choices]
