"""Knowledge graph benchmarks for link prediction."""

from __future__ import annotations

from types import MappingProxyType
from typing import Literal

from trainer.core.preprocessing import Preprocessing
from trainer.data.encoding.knowledge_graph import KnowledgeGraph
from trainer.data.readers import triples_file
from trainer.data.readers.download import Source, fetch_files
from trainer.data.splits import triple_queries

URL = "https://raw.githubusercontent.com/villmow/datasets_knowledge_embedding/9e392453d6804d1f51c13e5650ae58ed48b638d5/"
FILE_STEMS = ("train", "valid", "test")
WORDNET_SHA256 = (
    "038612e783c215ee5f3ca9fbfca27b8d0739be1028fe4ee7c174aecf0b83d5df",
    "453ce7202afa58094a04d2b1560ee2b02660f1c260b32ce6651c8ccedd1028ab",
    "0383bceaaa1096cf3c03ec021ed0048068e2355dbfc0239b292cefdac821cec5",
)
SMALL_SHA256 = {
    "kinship": (
        "ef89f322b30dc328f6d87c72cff4ac8a4a1a2126929f85c31a4486632e73c875",
        "65a2ca576c21282a399735dc1c44eb9349d34fa5621d9a1a6fec35c8709726fc",
        "f6f8440d98758afcdeaf60ad1017fb146daf2a606b0878cf3fc9a94188e3b3ff",
    ),
    "nations": (
        "b923bd0e8393b7cad275ee567b5570886f9ff12426e0b3e84e2af17523281b47",
        "f3c4bf2a02d29a42fad53a6f91e24100d3d6762b4e0f428999b3267e7526f700",
        "e3c3383b3fc0177b88df073f0680ba6b36f16e4dba87326b64b8821b1c928415",
    ),
}


class WN18RR(KnowledgeGraph):
    """WN18RR: 40,943 WordNet synsets and 11 relations, without inverse relations; 86,835 training triples.

    Every triple is a head and a tail query, so there are 22 relations.

    Args:
        data_dir: Parent directory of ``wn18rr/``; None for the default data directory.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    References:
        Dettmers et al. 2018, Convolutional 2D Knowledge Graph Embeddings, AAAI.
    """

    shapes = "head (B), relation (B), known (B, K), edge_index (2, E), edge_type (E) -> (B)"

    reusable_values = MappingProxyType(dict.fromkeys(("entities", "relations"), ()))
    counted_values = triples_file.COUNTED_VALUES

    def __init__(self, data_dir: str | None = None, fitted: Preprocessing | None = None):
        self.fitted = fitted or Preprocessing()
        sources = [
            Source(f"raw/{part}.txt", digest, f"{URL}WN18RR/original/{part}.txt")
            for part, digest in zip(FILE_STEMS, WORDNET_SHA256, strict=True)
        ]
        folder = fetch_files("wn18rr", sources, data_dir)
        parts = [triples_file.read(folder / source.path, ("head", "relation", "tail")) for source in sources]
        triple_queries.set_splits(self, *triples_file.encode_triples(parts, self.fitted))


class SmallKnowledgeGraph(KnowledgeGraph):
    """Kinship and Nations knowledge graphs.

    ``kinship``: 25 kinship terms between 104 members of the Alyawarra. ``nations``: 56 relations between 14 countries.
    Every triple is a head and a tail query.

    Args:
        name: Name of the graph.
        data_dir: Parent directory of ``kg_small/``; None for the default data directory.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    References:
        Kemp et al. 2006, Learning Systems of Concepts with an Infinite Relational Model, AAAI.
    """

    shapes = "head (B), relation (B), known (B, K), edge_index (2, E), edge_type (E) -> (B)"

    reusable_values = MappingProxyType(dict.fromkeys(("entities", "relations"), ("name",)))
    counted_values = triples_file.COUNTED_VALUES

    def __init__(
        self, name: Literal["kinship", "nations"], data_dir: str | None = None, fitted: Preprocessing | None = None
    ):
        self.fitted = fitted or Preprocessing()
        sources = [
            Source(f"{name}/{part}.txt", digest, f"{URL}other/{name}/{part}.txt")
            for part, digest in zip(FILE_STEMS, SMALL_SHA256[name], strict=True)
        ]
        folder = fetch_files("kg_small", sources, data_dir)
        parts = [triples_file.read(folder / source.path, ("relation", "head", "tail")) for source in sources]
        triple_queries.set_splits(self, *triples_file.encode_triples(parts, self.fitted))
