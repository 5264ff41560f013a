"""Graph models: nodes, links, whole graphs, knowledge graphs."""
