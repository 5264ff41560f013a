"""Graphs: nodes, links, whole graphs, knowledge graphs, brains."""
