"""Models of graphs: nodes, links, whole graphs, knowledge graphs."""
